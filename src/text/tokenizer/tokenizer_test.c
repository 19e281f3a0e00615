/* Ids against the reference tokenizers (tests/golden/tokenizer, made by tools/reference/tokenizer/make_golden.py), and what
 * callers rely on beyond ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/weights.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/tokenizer_cases.h"
#include "text/unicode.h"

#define GOLDEN "tests/golden/tokenizer/"

struct loaded {
    struct tokenizer *t;
    struct weights *w;  /* of a GGUF file */
    int32_t *published; /* of a cut tokenizer: the ids that its tokens have in the whole one; else NULL */
};

/* The numbers in published_ids.txt of a cut tokenizer, NULL for a whole one. */
static int32_t *published_ids(const char *folder, const struct tokenizer *t)
{
    char path[300];
    snprintf(path, sizeof path, "%s/published_ids.txt", folder);
    FILE *f = fopen(path, "r");
    if (!f) return NULL;
    int32_t n = tokenizer_n_vocab(t), *id = calloc((size_t)n, sizeof *id);
    assert_non_null(id);
    for (int32_t i = 0; i < n; i++) assert_int_equal(fscanf(f, "%d", &id[i]), 1);
    fclose(f);
    return id;
}

static struct loaded load(const char *path)
{
    struct loaded l = { 0 };
    struct err e = { 0 };
    bool gguf = strlen(path) > 5 && strcmp(path + strlen(path) - 5, ".gguf") == 0;
    bool ok = gguf ? weights_open(&l.w, path, &e) && tokenizer_from_gguf(&l.t, weights_gguf(l.w), &e)
                   : tokenizer_from_dir(&l.t, path, &e);
    if (!ok) fail_msg("%s: %s", path, e.msg);
    l.published = published_ids(path, l.t);
    return l;
}

static void unload(struct loaded *l)
{
    tokenizer_free(l->t);
    free(l->published);
    if (l->w) weights_close(l->w);
}

static void publish(const struct loaded *l, struct token_list *ids)
{
    for (size_t i = 0; l->published && i < ids->n; i++) ids->id[i] = l->published[ids->id[i]];
}

static struct token_list encode(const struct tokenizer *t, const char *s, size_t n, const unsigned char *data,
                                bool special, unsigned flags)
{
    struct token_list l = { 0 };
    struct err e = { 0 };
    if (!tokenizer_encode(t, s, n, data, special, flags, &l, &e)) fail_msg("encode: %s", e.msg);
    return l;
}

static void check_ids(const struct loaded *from, const char *text, bool special, const int32_t *want,
                      size_t n, const char *what)
{
    struct token_list l = encode(from->t, text, strlen(text), NULL, special, 0);
    publish(from, &l);
    if (l.n != n || memcmp(l.id, want, n * sizeof *want) != 0) {
        for (size_t i = 0; i < l.n; i++) print_error("%d ", (int)l.id[i]);
        fail_msg("other ids for %s: \"%s\"", what, text);
    }
    token_list_free(&l);
}
#define CHECK_IDS(l, text, special, what, ...)                                                               \
    check_ids(l, text, special, (int32_t[]){ __VA_ARGS__ },                                                  \
              sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t), what)

static void compare(const struct loaded *from, const char *text, size_t n, bool special,
                    const struct token_list *want, int line, const char *name)
{
    struct token_list got = encode(from->t, text, n, NULL, special, 0);
    publish(from, &got);
    bool same = got.n == want->n && (got.n == 0 || memcmp(got.id, want->id, got.n * sizeof *got.id) == 0);
    if (!same) {
        print_error("%s, case %d, %s: \"%.*s\"\n got ", name, line, special ? "special" : "plain", (int)n,
                    text);
        for (size_t i = 0; i < got.n; i++) print_error("%d ", (int)got.id[i]);
        print_error("\nwant ");
        for (size_t i = 0; i < want->n; i++) print_error("%d ", (int)want->id[i]);
        fail_msg("other ids than the reference");
    }
    token_list_free(&got);
}

static void golden(const char *model, const char *name)
{
    char path[300];
    snprintf(path, sizeof path, GOLDEN "%s.ids", name);
    FILE *cases = fopen(GOLDEN "cases.txt", "r"), *ids = fopen(path, "r");
    assert_non_null(cases);
    assert_non_null(ids);
    struct loaded l = load(model);
    char *line = NULL, *want = NULL;
    size_t cap = 0, want_cap = 0;
    struct token_list list = { 0 };
    int n = 0;
    for (ssize_t len; (len = case_next(cases, &line, &cap)) >= 0;) {
        n++;
        assert_true(getline(&want, &want_cap, ids) > 0);
        size_t bytes = (size_t)len;
        const char *p = case_ids(want, &list);
        compare(&l, line, bytes, false, &list, n, name);
        if (*p == '|') case_ids(p + 1, &list);
        compare(&l, line, bytes, true, &list, n, name);
    }
    assert_true(n > 150);
    assert_true(getline(&want, &want_cap, ids) <= 0);
    free(line);
    free(want);
    token_list_free(&list);
    fclose(cases);
    fclose(ids);
    unload(&l);
}

static void test_qwen_small(void **s) { (void)s, golden(GOLDEN "qwen_small", "qwen_small"); }
static void test_o200k_small(void **s) { (void)s, golden(GOLDEN "o200k_small", "o200k_small"); }
static void test_odd_small(void **s) { (void)s, golden(GOLDEN "odd_small", "odd_small"); }
static void test_spm_gguf(void **s) { (void)s, golden(GOLDEN "spm_small/spm_small.gguf", "spm_small"); }
static void test_spm_model(void **s) { (void)s, golden(GOLDEN "spm_small", "spm_small"); }
static void test_spm_legacy(void **s) { (void)s, golden(GOLDEN "spm_legacy", "spm_legacy"); }
static void test_spm_first(void **s) { (void)s, golden(GOLDEN "spm_first", "spm_first"); }

static void test_bert(void **s) { (void)s, golden(GOLDEN "bert_small", "bert_small"); }
static void test_bert_cased(void **s) { (void)s, golden(GOLDEN "bert_cased", "bert_cased"); }
static void test_bert_lines(void **s) { (void)s, golden(GOLDEN "bert_lines", "bert_small"); }
static void test_bert_gguf(void **s) { (void)s, golden(GOLDEN "bert_lines/bert_small.gguf", "bert_small"); }

/* Published ones, cut down to what the cases need (tools/reference/tokenizer/cut.py); the ids are the whole files'. */
static void test_llama3(void **s) { (void)s, golden(GOLDEN "llama3_1", "llama3_1"); }
static void test_qwen3(void **s) { (void)s, golden(GOLDEN "qwen3", "qwen3"); }
static void test_deepseek(void **s) { (void)s, golden(GOLDEN "deepseek_v3", "deepseek_v3"); }

static void test_smollm2(void **state)
{
    (void)state;
    char path[600];
    const char *models = getenv("HEARTH_MODELS"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    const char *file = "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (models)
        snprintf(path, sizeof path, "%s/%s", models, file);
    else if (data)
        snprintf(path, sizeof path, "%s/hearth/models/%s", data, file);
    else
        snprintf(path, sizeof path, "%s/.local/share/hearth/models/%s", home ? home : "", file);
    if (access(path, R_OK) != 0) fail_msg("%s is not there: make starter", path);
    golden(path, "smollm2");
}

/* Ids computed from the public Llama 3 files, independent of the tokenizers library. */
static void test_llama3_known(void **state)
{
    (void)state;
    struct loaded l = load(GOLDEN "llama3_1");
    const char *w = "Llama 3";
    CHECK_IDS(&l, "Hello world", false, w, 9906, 1917);
    CHECK_IDS(&l, "Hello, world!", false, w, 9906, 11, 1917, 0);
    CHECK_IDS(&l, " The year is 2024, not 12345.", false, w, 578, 1060, 374, 220, 2366, 19, 11, 539, 220,
              4513, 1774, 13);
    CHECK_IDS(&l, "don't DON'T I'll", false, w, 15357, 956, 45373, 17773, 358, 3358);
    CHECK_IDS(&l, "x = foo(bar[1]);\n\n\tif (y != 0) {\r\n", false, w, 87, 284, 15586, 55730, 58, 16, 10359,
              748, 320, 88, 976, 220, 15, 8, 987);
    CHECK_IDS(&l, "東京都は日本の首都です。", false, w, 101778, 108931, 15682, 102433, 16144, 61075, 72368,
              38641, 1811);
    CHECK_IDS(&l, "naïve café — résumé", false, w, 3458, 38672, 588, 53050, 2001, 9517, 1264, 978);
    CHECK_IDS(&l, "CamelCaseHTTPServer2", false, w, 26479, 301, 4301, 9412, 5592, 17);
    CHECK_IDS(&l, "   leading and   trailing   ", false, w, 256, 6522, 323, 256, 28848, 262);
    CHECK_IDS(&l, "Привет, как дела?", false, w, 54745, 28089, 8341, 11, 52770, 123936, 30);
    CHECK_IDS(&l, "\U0001F642\U0001F469\u200D\U0001F469\u200D\U0001F467 ok", false, w, 9468, 19044, 9468, 239,
              102, 102470, 9468, 239, 102, 102470, 9468, 239, 100, 5509);
    CHECK_IDS(&l, "<|begin_of_text|>Hi<|eot_id|>", true, w, 128000, 13347, 128009);
    assert_int_equal(l.published[tokenizer_bos(l.t)], 128000);
    for (int32_t id = 0; id < tokenizer_n_vocab(l.t);
         id++) { /* in this file 128008 is still a reserved one */
        int32_t whole = l.published[id];
        assert_int_equal(tokenizer_is_end(l.t, id), whole == 128001 || whole == 128009);
    }
    unload(&l);
}

/* What a person says is never a control token, what the template says is, and one half of each is not. */
static void test_mask(void **state)
{
    (void)state;
    struct loaded l = load(GOLDEN "qwen_small");
    int32_t end = tokenizer_find(l.t, "<|im_end|>"), think = tokenizer_find(l.t, "<think>");
    assert_true(end >= 0 && think >= 0);
    assert_int_equal(tokenizer_find(l.t, "<|im_end|"), -1);
    const char text[] = "<|im_end|><think><|im_end|><think>";
    unsigned char data[sizeof text] = { 0 };
    memset(data, 1, 17); /* the first two are the user's */
    struct token_list a = encode(l.t, text, strlen(text), data, true, 0);
    int ends = 0, thinks = 0;
    for (size_t i = 0; i < a.n; i++) ends += a.id[i] == end, thinks += a.id[i] == think;
    assert_int_equal(ends, 1);
    assert_int_equal(thinks, 1);
    assert_int_equal(a.id[a.n - 2], end);
    assert_int_equal(a.id[a.n - 1], think);
    token_list_free(&a);
    for (size_t at = 0; at < 10; at++) { /* one byte of the user's anywhere in it is enough */
        memset(data, 0, sizeof data);
        data[at] = 1;
        a = encode(l.t, text, 10, data, true, 0);
        for (size_t i = 0; i < a.n; i++) assert_int_not_equal(a.id[i], end);
        token_list_free(&a);
    }
    /* A bad sequence in front moves the bytes but not the mask from its text. */
    const char bad[] = "\xff<|im_end|>\xe4\xb8<|im_end|>";
    memset(data, 0, sizeof data);
    memset(data + 13, 1, 10);
    a = encode(l.t, bad, strlen(bad), data, true, 0);
    ends = 0;
    for (size_t i = 0; i < a.n; i++) ends += a.id[i] == end;
    assert_int_equal(ends, 1);
    token_list_free(&a);
    /* Normalising too: the mask follows the mark into the letter. */
    const char mark[] = "e\u0301<|im_end|>";
    memset(data, 0, sizeof data);
    memset(data, 1, 3);
    a = encode(l.t, mark, strlen(mark), data, true, 0);
    assert_int_equal(a.id[a.n - 1], end);
    token_list_free(&a);
    unload(&l);
}

/* Every text comes back byte for byte where nothing is normalised. */
static void round_trip(const struct tokenizer *t, const char *s, size_t n)
{
    struct token_list l = encode(t, s, n, NULL, false, 0);
    size_t at = 0;
    for (size_t i = 0; i < l.n; i++) {
        size_t len;
        const char *p = tokenizer_bytes(t, l.id[i], &len);
        assert_true(at + len <= n && memcmp(s + at, p, len) == 0);
        at += len;
    }
    assert_int_equal(at, n);
    token_list_free(&l);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct loaded l = load(GOLDEN "o200k_small");
    unsigned seed = 1;
    for (int i = 0; i < 300; i++) {
        char s[400];
        size_t n = 0;
        while (n < 390) {
            seed = seed * 1664525 + 1013904223;
            uint32_t c = seed >> 8 & 1 ? seed >> 12 & 0x7f : (seed >> 9) % 0x110000;
            if (c < 0xd800 || c > 0xdfff) n += utf8_put(c, s + n);
        }
        round_trip(l.t, s, n);
    }
    unload(&l);
}

/* A quadratic merge would take the better part of an hour here (and long enough on the less that the thread checker gets). */
static void test_million(void **state)
{
    (void)state;
    static const char *const units[] = { "a", "ab", " ", "\n", "the", "哈", "e\u0301", "\u0301" };
    static const char *const models[] = { GOLDEN "qwen_small", GOLDEN "spm_small/spm_small.gguf",
                                          GOLDEN "odd_small" };
#if defined(__SANITIZE_THREAD__)
    size_t n = 1 << 16;
#else
    size_t n = 1 << 20;
#endif
    char *s = malloc(n + 8);
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        struct loaded l = load(models[m]);
        for (size_t k = 0; k < sizeof units / sizeof *units; k++) {
            size_t len = strlen(units[k]), total = n / len * len;
            for (size_t i = 0; i < total; i += len) memcpy(s + i, units[k], len);
            struct token_list got = encode(l.t, s, total, NULL, true, 0);
            assert_true(got.n > 0);
            token_list_free(&got);
        }
        unload(&l);
    }
    free(s);
}

/* A text that has as many tokens as there may be passes, and one with more is refused, whether it is one long word or many; the
 * bound that spares long words their merging is never above the truth. */
static void test_limit(void **state)
{
    (void)state;
    static const char *const units[] = { "a",  "ab ",     " ",    "\n", "the quick ",
                                         "哈", "e\u0301", "\x01", "0",  "\xf0\x9f\x98\x80" };
    static const char *const models[] = { GOLDEN "qwen_small", GOLDEN "spm_small/spm_small.gguf",
                                          GOLDEN "spm_legacy", GOLDEN "odd_small" };
    enum { BYTES = 30000 };
    char *s = malloc(BYTES + 16);
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        struct loaded l = load(models[m]);
        for (size_t k = 0; k < sizeof units / sizeof *units; k++) {
            const size_t len = strlen(units[k]), total = BYTES / len * len;
            const atomic_bool cancel = true;
            struct err e = { ERR_NONE, "" };
            for (size_t i = 0; i < total; i += len) memcpy(s + i, units[k], len);
            struct token_list all = encode(l.t, s, total, NULL, true, 0), got = { .limit = all.n };
            if (all.n > 1) {
                if (!tokenizer_encode(l.t, s, total, NULL, true, 0, &got, &e))
                    fail_msg("%s: %s", models[m], e.msg);
                assert_int_equal(got.n, all.n);
                assert_memory_equal(got.id, all.id, all.n * sizeof *all.id);
                got.n = 0;
                got.limit = all.n - 1;
                assert_false(tokenizer_encode(l.t, s, total, NULL, true, 0, &got, &e));
                assert_int_equal(e.code, ERR_CONTEXT);
                assert_int_equal(got.n, 0);
            }
            got.limit = 0;
            got.cancel = &cancel;
            if (tokenizer_encode(l.t, s, total, NULL, true, 0, &got, &e))
                fail_msg("%s, %s", models[m], units[k]);
            assert_int_equal(e.code, ERR_CANCELLED);
            token_list_free(&all);
            token_list_free(&got);
        }
        unload(&l);
    }
    free(s);
}

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

#define TINY_HEAD                                                                                            \
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"</s>\":3},\"merges\":[\"a b\"]},"
#define TINY_TAIL                                                                                            \
    "\"added_tokens\":[{\"id\":3,\"content\":\"</"                                                           \
    "s>\",\"special\":true}],\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}"

/* Added tokens whose settings matter; what the reference makes of each. */
static void test_added_tokens(void **state)
{
    (void)state;
#define REPLACE "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}"
#define PREPEND                                                                                              \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\u2581\"}," REPLACE "]}"
    static const struct {
        const char *normalizer, *metaspace, *settings, *text;
        int n;
        int32_t ids[6];
    } cases[] = {
        /* Metaspace writes its space after the token was found, a Prepend normalizer before, into the token as well */
        { "null", "first", "normalized", "<x>a", 2, { 11, 2 } },
        { "null", "first", "normalized", "a<x>a", 3, { 9, 11, 2 } },
        { "null", "always", "normalized", "a<x>a <x>", 5, { 9, 11, 9, 1, 11 } },
        { "null", "never", "normalized lstrip", "\u2581<x>", 2, { 1, 11 } },
        { PREPEND, "", "normalized", "<x>a", 2, { 11, 2 } },
        { PREPEND, "", "normalized", "a<x>", 4, { 9, 4, 5, 6 } },
        { PREPEND, "", "normalized", "a <x> a", 3, { 9, 11, 9 } },
        /* what was replaced is no white space any more */
        { REPLACE, "", "normalized lstrip rstrip", "a <x> a", 4, { 2, 1, 11, 9 } },
        { REPLACE, "", "lstrip rstrip", "a <x> a", 3, { 2, 11, 2 } },
        /* a superscript is no part of a word, what joins words is */
        { REPLACE, "", "single_word", "\u00b2<x>", 2, { 7, 11 } },
        { REPLACE, "", "single_word", "\u200d<x>", 4, { 8, 4, 5, 6 } },
        { REPLACE, "", "single_word", "a<x>", 4, { 2, 4, 5, 6 } },
        { REPLACE, "", "single_word", "<x>b", 4, { 4, 5, 6, 3 } },
        { REPLACE, "", "single_word", "b <x>\u00b2", 4, { 3, 1, 11, 7 } },
    };
    char dir[] = "/tmp/hearth-tokenizer-XXXXXX", json[2000], pre[200], path[300];
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *f = cases[i].settings;
        snprintf(pre, sizeof pre,
                 "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"%s\"}",
                 cases[i].metaspace);
        snprintf(
            json, sizeof json,
            "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"vocab\":{\"<unk>\":0,\"\u2581\":1,"
            "\"a\":2,\"b\":3,\"<\":4,\"x\":5,\">\":6,\"\u00b2\":7,\"\u200d\":8,\"\u2581a\":9},"
            "\"merges\":[\"\u2581 a\"]},\"normalizer\":%s,\"pre_tokenizer\":%s,\"added_tokens\":[{\"id\":11,"
            "\"content\":\"<x>\",\"normalized\":%s,\"lstrip\":%s,\"rstrip\":%s,\"single_word\":%s}]}",
            cases[i].normalizer, *cases[i].metaspace ? pre : "null",
            strstr(f, "normalized") ? "true" : "false", strstr(f, "lstrip") ? "true" : "false",
            strstr(f, "rstrip") ? "true" : "false", strstr(f, "single_word") ? "true" : "false");
        write_file(dir, "tokenizer.json", json);
        struct loaded l = load(dir);
        check_ids(&l, cases[i].text, true, cases[i].ids, (size_t)cases[i].n, cases[i].settings);
        unload(&l);
    }
    /* an added token that is no piece of the vocabulary is not what a whole word means */
    write_file(dir, "tokenizer.json",
               "{\"model\":{\"type\":\"BPE\",\"ignore_merges\":true,\"vocab\":{\"a\":0,\"b\":1,\"1\":2},"
               "\"merges\":[]},\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"added_tokens\":"
               "[{\"id\":3,\"content\":\"ab\",\"single_word\":true}]}");
    struct loaded l = load(dir);
    CHECK_IDS(&l, "ab1", true, "not alone", 0, 1, 2);
    CHECK_IDS(&l, "ab", true, "alone", 3);
    unload(&l);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    unlink(path);
    rmdir(dir);
}

static void test_folder(void **state)
{
    (void)state;
    char dir[] = "/tmp/hearth-tokenizer-XXXXXX";
    assert_non_null(mkdtemp(dir));
    write_file(dir, "tokenizer.json", TINY_HEAD TINY_TAIL);
    struct loaded l = load(dir);
    assert_null(tokenizer_chat_template(l.t));
    assert_int_equal(tokenizer_bos(l.t), -1);
    assert_true(tokenizer_is_end(l.t, 3)); /* by its spelling */
    assert_false(tokenizer_is_end(l.t, 99));
    CHECK_IDS(&l, "abba", true, "the tiny one", 2, 1, 0);
    unload(&l);
    write_file(dir, "tokenizer_config.json",
               "{\"bos_token\":{\"content\":\"ab\"},\"eos_token\":\"b\",\"add_bos_token\":true,"
               "\"model_max_length\":1000000000000000019884624838656,"
               "\"chat_template\":[{\"name\":\"tool\",\"template\":\"T\"},"
               "{\"name\":\"default\",\"template\":\"D\"}]}");
    write_file(dir, "generation_config.json", "{\"eos_token_id\":[0,7]}");
    l = load(dir);
    assert_string_equal(tokenizer_chat_template(l.t), "D");
    assert_int_equal(tokenizer_bos(l.t), 2);
    assert_int_equal(tokenizer_eos(l.t), 1);
    assert_true(tokenizer_is_end(l.t, 0) && tokenizer_is_end(l.t, 1) && tokenizer_is_end(l.t, 3) &&
                !tokenizer_is_end(l.t, 2));
    struct token_list a = encode(l.t, "b", 1, NULL, false, TOK_BOS);
    assert_int_equal(a.n, 2);
    assert_int_equal(a.id[0], 2);
    token_list_free(&a);
    a = encode(l.t, "ab", 2, NULL, false, TOK_BOS); /* it is there already */
    assert_int_equal(a.n, 1);
    token_list_free(&a);
    unload(&l);
    write_file(dir, "chat_template.jinja", "F\n");
    l = load(dir);
    assert_string_equal(tokenizer_chat_template(l.t), "F\n");
    unload(&l);

    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"model\":{}}",
        "{\"model\":{\"vocab\":{\"a\":-1}}}",
        "{\"model\":{\"vocab\":{\"a\":99999999}}}",
        "{\"model\":{\"vocab\":{\"a\":4000000},\"merges\":[]}}",
        "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[\"ab\"]}}",
        "{\"model\":{\"vocab\":{\"a\":0},\"merges\":[[\"a\"]]}}",
        "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}",
        TINY_HEAD "\"added_tokens\":[{\"id\":-3,\"content\":\"x\"}]}",
        TINY_HEAD "\"added_tokens\":[{\"id\":3}]}",
        TINY_HEAD "\"normalizer\":{\"type\":\"BertNormalizer\"}}",
        TINY_HEAD "\"pre_tokenizer\":{\"type\":\"CharDelimiterSplit\"}}",
        TINY_HEAD
        "\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"(\"}}}",
        TINY_HEAD TINY_TAIL "x",
        TINY_HEAD "\"a\":\"\xff\"," TINY_TAIL,
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tokenizer *t = NULL;
        struct err e = { 0 };
        write_file(dir, "tokenizer.json", bad[i]);
        if (tokenizer_from_dir(&t, dir, &e)) fail_msg("accepted: %s", bad[i]);
        assert_null(t);
        assert_true(e.code != ERR_NONE && e.msg[0]);
    }
    static const char *const files[] = { "tokenizer.json", "tokenizer_config.json", "generation_config.json",
                                         "chat_template.jinja" };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qwen_small), cmocka_unit_test(test_o200k_small),
        cmocka_unit_test(test_bert),       cmocka_unit_test(test_bert_cased),
        cmocka_unit_test(test_bert_lines), cmocka_unit_test(test_bert_gguf),
        cmocka_unit_test(test_odd_small),  cmocka_unit_test(test_spm_gguf),
        cmocka_unit_test(test_spm_model),  cmocka_unit_test(test_spm_legacy),
        cmocka_unit_test(test_spm_first),  cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_qwen3),      cmocka_unit_test(test_deepseek),
        cmocka_unit_test(test_smollm2),    cmocka_unit_test(test_llama3_known),
        cmocka_unit_test(test_mask),       cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_million),    cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_folder),     cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
