/* CLIP and T5 tokenizers against transformers (tests/golden/tokenizer, made by tools/reference/tokenizer/make_image_golden.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "text/tokenizer/clip_tokenizer.h"
#include "text/tokenizer/t5_tokenizer.h"
#include "text/tokenizer/tokenizer_cases.h"

#define GOLDEN "tests/golden/tokenizer/"

/* Either of the two. */
struct prompt_tokenizer {
    struct clip_tokenizer *clip;
    struct t5_tokenizer *t5;
    int32_t end, pad;
};

static struct prompt_tokenizer load(const char *name)
{
    struct prompt_tokenizer p = { 0 };
    struct err e = { 0 };
    char dir[200];
    snprintf(dir, sizeof dir, GOLDEN "%s", name);
    bool clip = strncmp(name, "clip", 4) == 0;
    if (!(clip ? clip_tokenizer_load(&p.clip, dir, &e) : t5_tokenizer_load(&p.t5, dir, &e)))
        fail_msg("%s", e.msg);
    p.end = clip ? clip_tokenizer_end(p.clip) : 1;
    p.pad = clip ? clip_tokenizer_pad(p.clip) : 0;
    return p;
}

static void unload(struct prompt_tokenizer *p)
{
    clip_tokenizer_free(p->clip);
    t5_tokenizer_free(p->t5);
}

static size_t encode(const struct prompt_tokenizer *p, const char *s, size_t len, int32_t *ids, int n)
{
    struct err e = { 0 };
    size_t used = 0;
    bool ok = p->clip ? clip_tokenizer_encode(p->clip, s, len, ids, n, &used, &e)
                      : t5_tokenizer_encode(p->t5, s, len, ids, n, &used, &e);
    if (!ok) fail_msg("%s", e.msg);
    return used;
}

static void check(const struct prompt_tokenizer *p, const char *s, size_t len, const struct token_list *want,
                  int n, const char *name, int line)
{
    int32_t ids[600];
    size_t used = encode(p, s, len, ids, n), head = p->clip ? 1 : 0;
    size_t room = (size_t)n - head - 1, kept = want->n < room ? want->n : room;
    bool same = used == want->n && (!p->clip || ids[0] == clip_tokenizer_start(p->clip)) &&
                ids[head + kept] == p->end;
    for (size_t i = 0; i < kept; i++) same &= ids[head + i] == want->id[i];
    for (size_t i = head + kept + 1; i < (size_t)n; i++) same &= ids[i] == p->pad;
    if (same) return;
    print_error("%s, case %d, %d tokens: \"%.*s\"\n got (%zu)", name, line, n, (int)len, s, used);
    for (int i = 0; i < n; i++) print_error(" %d", (int)ids[i]);
    print_error("\nwant (%zu)", want->n);
    for (size_t i = 0; i < want->n; i++) print_error(" %d", (int)want->id[i]);
    fail_msg("other ids than the reference");
}

static void golden(const char *name)
{
    static const char *const files[] = { GOLDEN "cases.txt", GOLDEN "prompts.txt" };
    char path[200];
    snprintf(path, sizeof path, GOLDEN "%s.ids", name);
    FILE *ids = fopen(path, "r");
    assert_non_null(ids);
    struct prompt_tokenizer p = load(name);
    char *line = NULL, *expected = NULL;
    size_t cap = 0, expected_cap = 0;
    struct token_list want = { 0 };
    int n = 0;
    for (int k = 0; k < 2; k++) {
        FILE *f = fopen(files[k], "r");
        assert_non_null(f);
        for (ssize_t len; (len = case_next(f, &line, &cap)) >= 0;) {
            n++;
            assert_true(getline(&expected, &expected_cap, ids) > 0);
            case_ids(expected, &want);
            static const int lengths[] = { 2, 5, 77, 512 };
            for (int i = 0; i < 4; i++) check(&p, line, (size_t)len, &want, lengths[i], name, n);
        }
        fclose(f);
    }
    assert_true(n > 160);
    free(line);
    free(expected);
    token_list_free(&want);
    fclose(ids);
    unload(&p);
}

static void test_clip(void **s) { (void)s, golden("clip_small"); }
static void test_clip_pad(void **s) { (void)s, golden("clip_pad_small"); }
static void test_clip_json(void **s) { (void)s, golden("clip_json_small"); }
static void test_t5(void **s) { (void)s, golden("t5_small"); }
static void test_t5_json(void **s) { (void)s, golden("t5_json_small"); }

static void test_limits(void **state)
{
    (void)state;
    struct prompt_tokenizer clip = load("clip_small"), t5 = load("t5_small");
    assert_int_equal(clip_tokenizer_max(clip.clip), 77);
    assert_int_equal(t5_tokenizer_max(t5.t5), 512);
    struct err e = { 0 };
    int32_t ids[4];
    assert_false(clip_tokenizer_encode(clip.clip, "a", 1, ids, 1, NULL, &e));
    assert_false(t5_tokenizer_encode(t5.t5, "a", 1, ids, 0, NULL, &e));
    assert_int_equal(encode(&clip, "", 0, ids, 4), 0);
    assert_int_equal(encode(&t5, "", 0, ids, 4), 0);
    assert_int_equal(ids[0], 1);
    size_t n = 1 << 20; /* a million letters take a moment, not an hour */
    char *s = malloc(n);
    memset(s, 'a', n);
    assert_true(encode(&clip, s, n, ids, 4) > 0);
    assert_true(encode(&t5, s, n, ids, 4) > 0);
    free(s);
    unload(&clip);
    unload(&t5);
    struct clip_tokenizer *c = NULL;
    struct t5_tokenizer *t = NULL;
    assert_false(clip_tokenizer_load(&c, GOLDEN, &e));
    assert_true(e.code != ERR_NONE);
    assert_false(t5_tokenizer_load(&t, GOLDEN, &e));
    assert_null(c);
    assert_null(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clip), cmocka_unit_test(test_clip_pad), cmocka_unit_test(test_clip_json),
        cmocka_unit_test(test_t5),   cmocka_unit_test(test_t5_json),  cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
