/* The streaming detokenizer: whatever the tokens' borders are, what is shown is the text, cut before a stop string, and no
 * call shows half a character or the beginning of a stop string. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "format/weights.h"
#include "text/tokenizer/tokenizer.h"
#include "text/unicode.h"

#define GOLDEN "tests/golden/tokenizer/"

static struct tokenizer *load(const char *dir)
{
    struct tokenizer *t = NULL;
    struct err e = { 0 };
    if (!tokenizer_from_dir(&t, dir, &e)) fail_msg("%s", e.msg);
    return t;
}

/* One stream at a time, so that its stop strings live here. */
static struct stop_set *stops_now;

static void finish(struct detok *d)
{
    detok_free(d);
    stop_set_free(stops_now);
    stops_now = NULL;
}

static struct detok *start(const struct tokenizer *t, const char *const *stop, int n, bool show)
{
    struct detok *d = NULL;
    struct err e = { 0 };
    if (!stop_set_new(&stops_now, stop, n, &e) || !detok_new(&d, t, stops_now, show, &e))
        fail_msg("%s", e.msg);
    return d;
}

/* The token of one byte. */
static int32_t byte_token(const struct tokenizer *t, unsigned char b)
{
    for (int32_t id = 0; id < tokenizer_n_vocab(t); id++) {
        size_t len;
        const char *s = tokenizer_bytes(t, id, &len);
        if (len == 1 && (unsigned char)s[0] == b) return id;
    }
    fail_msg("no token for byte %d", b);
    return -1;
}

/* Pushes text byte by byte; everything shown goes to out. True when a stop string was met. */
static bool push_bytes(struct detok *d, const struct tokenizer *t, const char *text, size_t n,
                       struct buf *out)
{
    const char *s;
    size_t len;
    for (size_t i = 0; i < n; i++) {
        bool stopped = detok_push(d, byte_token(t, (unsigned char)text[i]), &s, &len);
        assert_int_equal(utf8_valid(s, len), len);
        buf_append(out, s, len);
        if (stopped) return true;
    }
    return false;
}

static void check(const struct tokenizer *t, const char *text, const char *const *stop, int n_stop,
                  bool stops, const char *want)
{
    struct detok *d = start(t, stop, n_stop, false);
    struct buf out = BUF_INIT(0);
    const char *s;
    size_t len;
    assert_int_equal(push_bytes(d, t, text, strlen(text), &out), stops);
    if (!stops) {
        detok_finish(d, &s, &len);
        buf_append(&out, s, len);
    } else { /* nothing more comes */
        assert_true(detok_push(d, byte_token(t, 'x'), &s, &len));
        assert_int_equal(len, 0);
        detok_finish(d, &s, &len);
        assert_int_equal(len, 0);
    }
    assert_string_equal(out.data ? out.data : "", want);
    buf_free(&out);
    finish(d);
}
#define STOPS(...)                                                                                           \
    (const char *const[]){ __VA_ARGS__ }, sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *)

static void test_stop(void **state)
{
    (void)state;
    struct tokenizer *t = load(GOLDEN "qwen_small");
    check(t, "hello world", NULL, 0, false, "hello world");
    check(t, "hello world", STOPS("lo w"), true, "hel");
    check(t, "hello world", STOPS("xyz"), false, "hello world");
    check(t, "hello world", STOPS("worlds"), false, "hello world");
    check(t, "hello", STOPS("hello"), true, "");
    check(t, "ababababc", STOPS("ababc"), true, "abab");
    check(t, "aaaaab", STOPS("aab"), true, "aaa");
    check(t, "xabcd", STOPS("abcde", "bc"), true, "xa");
    check(t, "xabcd", STOPS("c", "abc", "bc"), true, "x");
    check(t, "a\n\nb", STOPS("\n\n"), true, "a");
    check(t, "", STOPS("a"), false, "");
    check(t, "abc", STOPS(""), false, "abc");
    check(t, "日本語です", STOPS("語で"), true, "日本");
    check(t, "日本語", STOPS("語で"), false, "日本語");
    tokenizer_free(t);
}

static void test_characters(void **state)
{
    (void)state;
    struct tokenizer *t = load(GOLDEN "qwen_small");
    check(t, "a\U0001F642b", NULL, 0, false, "a\U0001F642b");
    check(t, "\xe2\x82", NULL, 0, false, "\uFFFD");
    check(t, "\xe2\x82x", NULL, 0, false, "\uFFFDx");
    check(t, "\xff\xfe", NULL, 0, false, "\uFFFD\uFFFD");
    check(t, "\xf0\x9f\x98 \xf0\x9f", NULL, 0, false, "\uFFFD \uFFFD");
    check(t, "\xed\xa0\x80", NULL, 0, false, "\uFFFD\uFFFD\uFFFD");
    check(t, "\xe2\x82\xe2\x82\xac", NULL, 0, false, "\uFFFD\u20ac");

    /* Held back until the character is whole, and nothing else with it. */
    struct detok *d = start(t, NULL, 0, false);
    const char *s;
    size_t len;
    const char euro[] = "\u20ac";
    for (int i = 0; i < 3; i++) {
        assert_false(detok_push(d, byte_token(t, (unsigned char)euro[i]), &s, &len));
        assert_int_equal(len, i == 2 ? 3 : 0);
    }
    finish(d);

    /* The beginning of a stop string is held back, and shown when it turns out to be none. */
    const char *stop = "STOP";
    d = start(t, &stop, 1, false);
    assert_false(detok_push(d, byte_token(t, 'S'), &s, &len));
    assert_int_equal(len, 0);
    assert_false(detok_push(d, byte_token(t, 'T'), &s, &len));
    assert_int_equal(len, 0);
    assert_false(detok_push(d, byte_token(t, 'S'), &s, &len));
    assert_int_equal(len, 2);
    assert_memory_equal(s, "ST", 2);
    detok_finish(d, &s, &len);
    assert_int_equal(len, 1);
    finish(d);
    tokenizer_free(t);
}

/* Random bytes and stop strings against the plain definition. */
static void test_random(void **state)
{
    (void)state;
    struct tokenizer *t = load(GOLDEN "qwen_small");
    int32_t id[256];
    unsigned seed = 3;
    for (int b = 0; b < 256; b++) id[b] = byte_token(t, (unsigned char)b);
    for (int round = 0; round < 3000; round++) {
        char text[25] = "", stop_text[2][6] = { "", "" };
        for (int i = 0; i < 24; i++)
            text[i] = "abab\xe2\x82\xac"[(seed = seed * 1664525 + 1013904223) >> 20 & 3 ? seed >> 24 & 1
                                                                                        : (seed >> 24) % 7];
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < 1 + (int)(seed >> 28) % 5; i++)
                stop_text[k][i] = (char)('a' + ((seed = seed * 1664525 + 1013904223) >> 20 & 1));
        struct masked whole = { 0 };
        struct err e;
        assert_true(utf8_repair(text, NULL, strlen(text), &whole, &e));
        size_t cut = whole.len; /* the first end of a stop string; of several the longest */
        bool stops = false;
        for (size_t end = 1; end <= whole.len && !stops; end++)
            for (int k = 0; k < 2; k++) {
                size_t n = strlen(stop_text[k]);
                if (n > end || memcmp(whole.text + end - n, stop_text[k], n) != 0) continue;
                stops = true;
                if (end - n < cut) cut = end - n;
            }
        const char *stop[2] = { stop_text[0], stop_text[1] };
        struct detok *d = start(t, stop, 2, false);
        struct buf out = BUF_INIT(0);
        const char *s;
        size_t len;
        bool stopped = false;
        for (size_t i = 0; text[i] && !stopped; i++) {
            stopped = detok_push(d, id[(unsigned char)text[i]], &s, &len);
            buf_append(&out, s, len);
        }
        detok_finish(d, &s, &len);
        buf_append(&out, s, len);
        assert_int_equal(out.len, cut);
        assert_memory_equal(out.len ? out.data : "", whole.text, cut);
        buf_free(&out);
        masked_free(&whole);
        finish(d);
    }
    tokenizer_free(t);
}

static void test_control(void **state)
{
    (void)state;
    struct tokenizer *t = load(GOLDEN "qwen_small");
    int32_t end = tokenizer_find(t, "<|im_end|>"), think = tokenizer_find(t, "<think>");
    const char *s;
    size_t len;
    for (int show = 0; show < 2; show++) {
        struct detok *d = start(t, NULL, 0, show);
        detok_push(d, end, &s, &len);
        assert_int_equal(len, show ? 10 : 0);
        detok_push(d, think, &s, &len); /* not flagged special: always shown */
        assert_int_equal(len, 7);
        detok_push(d, -1, &s, &len); /* no such tokens: no text */
        assert_int_equal(len, 0);
        detok_push(d, 1 << 30, &s, &len);
        assert_int_equal(len, 0);
        finish(d);
    }
    tokenizer_free(t);
}

/* SentencePiece: the first piece's space goes, the others stay; bytes join to characters. */
static void test_spm(void **state)
{
    (void)state;
    struct weights *w = NULL;
    struct tokenizer *t = NULL;
    struct err e = { 0 };
    if (!weights_open(&w, GOLDEN "spm_small/spm_small.gguf", &e) ||
        !tokenizer_from_gguf(&t, weights_gguf(w), &e))
        fail_msg("%s", e.msg);
    static const char *const texts[] = { "Hello world", " two  spaces", "日本\U0001F642語", "a\nb", "x" };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct token_list l = { 0 };
        assert_true(tokenizer_encode(t, texts[i], strlen(texts[i]), NULL, false, 0, &l, &e));
        struct detok *d = start(t, NULL, 0, false);
        struct buf out = BUF_INIT(0);
        const char *s;
        size_t len;
        for (size_t k = 0; k < l.n; k++) {
            assert_false(detok_push(d, l.id[k], &s, &len));
            buf_append(&out, s, len);
        }
        detok_finish(d, &s, &len);
        buf_append(&out, s, len);
        assert_string_equal(out.data, texts[i]);
        buf_free(&out);
        finish(d);
        token_list_free(&l);
    }
    tokenizer_free(t);
    weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stop),    cmocka_unit_test(test_characters), cmocka_unit_test(test_random),
        cmocka_unit_test(test_control), cmocka_unit_test(test_spm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
