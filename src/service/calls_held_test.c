/* calls_held_test.c - what a format's grammar lets a decoder say, its reader reads as calls that fit their schemas: random walks through every
 * grammar, and what is held off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/rng.h"
#include "lm/lm.h"
#include "service/tools/tool_format.h"
#include "text/grammar/grammar.h"
#include "text/grammar/rules.h"

/* ---- a constraint over single bytes ---------------------------------------------------------------------------------- */

enum { N_VOCAB = 256 };

struct bytes { /* a vocabulary of all bytes */
    char text[N_VOCAB][2];
    const char *at[N_VOCAB];
    uint32_t len[N_VOCAB];
    struct vocab_trie *trie;
    struct free_masks *masks;
};

static void bytes_new(struct bytes *v)
{
    struct err e;
    for (int i = 0; i < N_VOCAB; i++) {
        v->text[i][0] = (char)i;
        v->text[i][1] = 0;
        v->at[i] = v->text[i];
        v->len[i] = 1;
    }
    assert_true(vocab_trie_new(&v->trie, v->at, v->len, N_VOCAB, &e));
    assert_true(free_masks_new(&v->masks, v->trie, &e));
}

static void bytes_free(struct bytes *v)
{
    free_masks_free(v->masks);
    vocab_trie_free(v->trie);
}

static void two_tools(struct tool_set *t)
{
    json_t *j = json_loads(
        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
        "\"properties\":{\"city\":{\"type\":\"string\",\"maxLength\":5},\"n\":{\"type\":\"integer\","
        "\"minimum\":0,\"maximum\":99},\"way\":{\"enum\":[\"a\",\"}\\\"\"]}},\"required\":[\"city\",\"n\"]}}}"
        ",{\"type\":\"function\",\"function\":{\"name\":\"g-2\",\"parameters\":{\"type\":\"object\"}}}]",
        0, NULL);
    *t = (struct tool_set){ 0 };
    assert_non_null(j);
    assert_true(tool_set_read(t, j, "tools", false, true, NULL));
    json_decref(j);
}

static struct constraint *constraint_of(const struct tool_format *f, const struct tool_set *set,
                                        struct bytes *v, const char **forced)
{
    struct buf gbnf = BUF_INIT(0);
    json_t *schemas = json_object();
    struct constraint *c;
    struct err e = { 0 };
    assert_true(f->grammar(set, &gbnf, schemas, forced));
    /* As the service compiles them: what is not listed is no argument. */
    const struct schema_limits closed = { .closed_objects = true };
    struct grammar_limits limits = grammar_default_limits;
    limits.schemas = &closed;
    if (!constraint_of_grammar(&c, gbnf.data, gbnf.len, schemas, &limits, v->masks, &e))
        fail_msg("%s: %s\n%s", f->name, e.msg, gbnf.data);
    json_decref(schemas);
    buf_free(&gbnf);
    return c;
}

/* ---- walks ------------------------------------------------------------------------------------------------------------ */

/* Bytes that bring a text to its end are taken more often. */
static int pick(const uint32_t *bits, double r, double closes)
{
    static const char closing[] = "\"}]>`)";
    int n = 0, allowed[N_VOCAB], m = 0, ends[N_VOCAB];
    for (int i = 0; i < N_VOCAB; i++) {
        if (!(bits[i / 32] >> (i % 32) & 1)) continue;
        allowed[n++] = i;
        if (i && strchr(closing, i)) ends[m++] = i;
    }
    if (!n) return -1;
    return m && closes < 0.5 ? ends[(int)(r * m)] : allowed[(int)(r * n)];
}

/* A text that the constraint lets through, or nothing where it has not ended by `limit` bytes. */
static bool walk(struct constraint *c, uint64_t seed, size_t limit, struct buf *out)
{
    struct matcher *m;
    struct err e;
    bool ended = false;
    assert_true(matcher_new(&m, c, &e));
    for (uint64_t i = 0; !ended && out->len < limit; i++) {
        uint32_t bits[N_VOCAB / 32];
        bool ok;
        assert_true(matcher_mask(m, bits, &e));
        const int next = pick(bits, philox_uniform(seed, i, 0), philox_uniform(seed, i, 1));
        ended = matcher_can_end(m) && (next < 0 || philox_uniform(seed, i, 2) < 0.5);
        if (ended) break;
        assert_true(next >= 0); /* never a dead end */
        assert_true(matcher_take(m, next, &ok, &e) && ok);
        buf_putc(out, (char)next);
    }
    matcher_free(m);
    return ended;
}

static void check_arguments(const char *name, const struct buf *text)
{
    json_t *j =
        json_loadb(text->data ? text->data : "", text->len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    if (!json_is_object(j)) fail_msg("arguments of %s are no object: %s", name, text->data);
    if (!strcmp(name, "f")) {
        const json_t *n = json_object_get(j, "n"), *way = json_object_get(j, "way");
        assert_true(json_is_string(json_object_get(j, "city")));
        assert_true(json_is_number(n) && json_number_value(n) >= 0 && json_number_value(n) <= 99);
        if (way) assert_true(!strcmp(json_string_value(way), "a") || !strcmp(json_string_value(way), "}\""));
        assert_int_equal(json_object_size(j), way ? 3 : 2);
    } else {
        assert_string_equal(name, "g-2");
    }
    json_decref(j);
}

/* How many calls the reader finds in forced + text; there is nothing else in it. */
static int read_calls(const struct tool_format *f, const char *forced, const struct buf *text, bool only_g)
{
    const struct reply_style style = { .reader = f->reader, .id_seed = 3 };
    struct reply *r;
    struct reply_event ev;
    struct buf all = BUF_INIT(0), arguments = BUF_INIT(0);
    char name[16] = "";
    int n = 0;
    buf_puts(&all, forced ? forced : "");
    buf_append(&all, text->data, text->len);
    struct lm_event in = { .type = LM_EV_TEXT, .text = strdup(all.data), .len = all.len };
    struct lm_event end = { .type = LM_EV_CHOICE_END, .finish = LM_FINISH_STOP };
    assert_true(reply_new(&r, &style, 1, NULL));
    reply_feed(r, &in);
    reply_feed(r, &end);
    while (reply_next(r, &ev)) {
        if (ev.call.name || ev.type == REPLY_CHOICE_END) {
            if (n) check_arguments(name, &arguments);
            buf_clear(&arguments);
        }
        if (ev.call.name) {
            snprintf(name, sizeof name, "%s", ev.call.name);
            if (only_g) assert_string_equal(name, "g-2");
            n++;
        }
        if (ev.type == REPLY_TEXT) fail_msg("%s: '%s' was said of %s", f->name, ev.text, all.data);
        if (ev.type == REPLY_CALL) buf_append(&arguments, ev.text, ev.len);
        if (ev.type == REPLY_CHOICE_END && ev.finish != REPLY_CALLS)
            fail_msg("%s: no call in %s", f->name, all.data);
        reply_event_free(&ev);
    }
    reply_free(r);
    buf_free(&all);
    buf_free(&arguments);
    return n;
}

/* Per format: any tool, several calls; any tool, one call; the second one alone. */
static void test_walks(void **state)
{
    enum { WALKS = 40 };
    struct bytes v;
    (void)state;
    bytes_new(&v);
    for (const struct tool_format *const *f = tool_formats; *f; f++) {
        for (int how = 0; how < 3; how++) {
            struct tool_set set;
            const char *forced;
            int done = 0, several = 0;
            two_tools(&set);
            set.choice = how == 2 ? TOOL_NAMED : TOOL_REQUIRED;
            set.named = 1;
            set.one = how == 1;
            struct constraint *c = constraint_of(*f, &set, &v, &forced);
            for (uint64_t seed = 0; seed < WALKS; seed++) {
                struct buf text = BUF_INIT(0);
                if (walk(c, seed, 2000, &text)) {
                    const int n = read_calls(*f, forced, &text, how == 2);
                    if (how) assert_int_equal(n, 1);
                    several += n > 1;
                    done++;
                }
                buf_free(&text);
            }
            assert_true(done > WALKS / 2);
            if (!how) assert_true(several > 0);
            constraint_free(c);
            tool_set_free(&set);
        }
    }
    bytes_free(&v);
}

/* ---- single texts -------------------------------------------------------------------------------------------------------- */

static bool passes(struct constraint *c, const char *text)
{
    struct matcher *m;
    struct err e;
    size_t taken;
    assert_true(matcher_new(&m, c, &e));
    assert_true(matcher_take_bytes(m, text, strlen(text), &taken, &e));
    const bool ok = taken == strlen(text) && matcher_can_end(m);
    matcher_free(m);
    return ok;
}

/* Earlier calls as they are written pass; a name that is not offered, arguments that do not fit and one call too many do not. Every opening is
 * the beginning of something. */
static void test_texts(void **state)
{
    (void)state;
    struct bytes v;
    bytes_new(&v);
    for (const struct tool_format *const *f = tool_formats; *f; f++) {
        static const struct {
            const char *calls;
            bool one, several; /* passes where there may be one call, and where there may be several */
        } cases[] = {
            { "[{\"function\":{\"name\":\"f\",\"arguments\":{\"city\":\"Rome\",\"n\":7}}}]", true, true },
            { "[{\"function\":{\"name\":\"g-2\",\"arguments\":{}}}]", true, true },
            { "[{\"function\":{\"name\":\"g-2\",\"arguments\":{\"x\":[1,{\"y\":null}]}}},"
              "{\"function\":{\"name\":\"f\",\"arguments\":{\"city\":\"\",\"n\":0,\"way\":\"a\"}}}]",
              false, true },
            { "[{\"function\":{\"name\":\"f\",\"arguments\":{\"city\":\"Rome\"}}}]", false, false },
            { "[{\"function\":{\"name\":\"f\",\"arguments\":{\"city\":\"Rome\",\"n\":100}}}]", false, false },
            { "[{\"function\":{\"name\":\"f\",\"arguments\":{\"city\":\"Rome\",\"n\":1,\"z\":1}}}]", false,
              false },
            { "[{\"function\":{\"name\":\"h\",\"arguments\":{}}}]", false, false },
        };
        for (int one = 0; one < 2; one++) {
            struct tool_set set;
            const char *forced;
            two_tools(&set);
            set.one = one;
            struct constraint *c = constraint_of(*f, &set, &v, &forced);
            for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                json_t *calls = json_loads(cases[i].calls, 0, NULL);
                struct buf b = BUF_INIT(0);
                assert_true((*f)->rewrite(calls, &b));
                if (forced) assert_memory_equal(b.data, forced, strlen(forced));
                if (passes(c, b.data + (forced ? strlen(forced) : 0)) !=
                    (one ? cases[i].one : cases[i].several))
                    fail_msg("%s, %s: %s", (*f)->name, one ? "one call" : "several", b.data);
                json_decref(calls);
                buf_free(&b);
            }
            for (const char *const *open = (*f)->opens; *open; open++) {
                struct matcher *m;
                struct err e;
                size_t taken;
                assert_true(matcher_new(&m, c, &e));
                assert_true(matcher_take_bytes(m, *open, strlen(*open), &taken, &e));
                assert_int_equal(taken, strlen(*open));
                matcher_free(m);
            }
            constraint_free(c);
            tool_set_free(&set);
        }
    }
    bytes_free(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_walks), cmocka_unit_test(test_texts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
