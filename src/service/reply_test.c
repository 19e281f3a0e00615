/* reply_test.c - the plain reader, and what a reader of thoughts and calls has to rely on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "lm/lm.h"
#include "service/reply.h"

/* A toy family: {thought} is a thought, [name:arguments] a call, and <> is a mark that is never shown. A '<' is kept until it is known what
 * it becomes. */
struct toy {
    enum { TOY_TEXT, TOY_THOUGHT, TOY_NAME, TOY_ARGUMENTS } in;
    bool half; /* a '<' was kept */
    char name[16];
    size_t n_name;
};

static bool toy_letter(struct toy *t, char c, struct reply_out *out)
{
    switch (t->in) {
    case TOY_THOUGHT:
        if (c != '}') return reply_think(out, &c, 1, SIZE_MAX);
        t->in = TOY_TEXT;
        return true;
    case TOY_NAME:
        if (c != ':') {
            t->name[t->n_name++] = c;
            return true;
        }
        t->in = TOY_ARGUMENTS;
        t->name[t->n_name] = 0;
        t->n_name = 0;
        return reply_call(out, t->name);
    case TOY_ARGUMENTS:
        if (c != ']') return reply_arguments(out, &c, 1);
        reply_call_end(out);
        t->in = TOY_TEXT;
        return true;
    case TOY_TEXT: break;
    }
    if (t->half) {
        t->half = false;
        if (c == '>') return true;
        if (!reply_say(out, "<", 1)) return false;
    }
    if (c == '{')
        t->in = TOY_THOUGHT;
    else if (c == '[')
        t->in = TOY_NAME;
    else if (c == '<')
        t->half = true;
    else
        return reply_say(out, &c, 1);
    return true;
}

static bool toy_feed(void *state, const char *text, size_t len, struct reply_out *out)
{
    for (size_t i = 0; i < len; i++)
        if (!toy_letter(state, text[i], out)) return false;
    return true;
}

static bool toy_flush(void *state, bool cut, struct reply_out *out)
{
    const struct toy *t = state;
    return cut || !t->half || reply_say(out, "<", 1);
}

static const struct reply_reader toy = {
    .family = "toy", .state_bytes = sizeof(struct toy), .feed = toy_feed, .flush = toy_flush
};

static void feed_text(struct reply *r, int choice, const char *text, size_t len, int n_tokens)
{
    struct lm_event ev = { .type = LM_EV_TEXT, .choice = choice, .text = malloc(len + 1), .len = len };
    memcpy(ev.text, text, len);
    ev.text[len] = 0;
    ev.n_tokens = n_tokens;
    ev.tokens = n_tokens ? calloc((size_t)n_tokens, sizeof *ev.tokens) : NULL;
    for (int i = 0; i < n_tokens; i++) ev.tokens[i].id = text[0] + i;
    reply_feed(r, &ev);
}

static void feed_end(struct reply *r, int choice, enum lm_finish finish)
{
    struct lm_event ev = { .type = LM_EV_CHOICE_END, .choice = choice, .finish = finish };
    reply_feed(r, &ev);
}

/* Everything that was said of choice 0 as one line, pieces of one kind joined: "text|THOUGHT|name(arguments)|end". */
static void read_all(struct reply *r, struct buf *b)
{
    struct reply_event ev;
    enum reply_type before = REPLY_DONE;
    while (reply_next(r, &ev)) {
        if (ev.type != before || ev.call.name) buf_puts(b, "|");
        before = ev.type;
        if (ev.call.name) buf_printf(b, "%s#%d:", ev.call.name, ev.call.index);
        if (ev.type == REPLY_THOUGHT) buf_puts(b, "~");
        if (ev.type == REPLY_THOUGHT) before = REPLY_DONE; /* the toy says letters: each with its mark */
        if (ev.len) buf_append(b, ev.text, ev.len);
        if (ev.type == REPLY_CHOICE_END) buf_printf(b, "end %d", ev.finish);
        reply_event_free(&ev);
    }
}

static void test_plain(void **state)
{
    (void)state;
    struct reply *r;
    struct reply_event ev;
    assert_true(reply_new(&r, &(struct reply_style){ .reader = &reply_plain }, 2, NULL));
    feed_text(r, 1, "{a}<>", 5, 2);
    assert_true(reply_next(r, &ev));
    assert_int_equal(ev.type, REPLY_TEXT);
    assert_int_equal(ev.index, 1);
    assert_string_equal(ev.text, "{a}<>");
    assert_int_equal(ev.n_tokens, 2);
    assert_int_equal(ev.tokens[1].id, '{' + 1);
    reply_event_free(&ev);
    assert_false(reply_next(r, &ev));

    feed_text(r, 0, "", 0, 1); /* a token that shows nothing yet */
    assert_true(reply_next(r, &ev));
    assert_int_equal(ev.len, 0);
    assert_int_equal(ev.n_tokens, 1);
    reply_event_free(&ev);
    feed_text(r, 0, "", 0, 0);
    assert_false(reply_next(r, &ev));

    struct lm_event end = { .type = LM_EV_CHOICE_END,
                            .choice = 1,
                            .finish = LM_FINISH_LENGTH,
                            .stop_hit = "x",
                            .usage = { .prompt_tokens = 3, .cached_tokens = 2, .completion_tokens = 5 } };
    reply_feed(r, &end);
    assert_true(reply_next(r, &ev));
    assert_int_equal(ev.type, REPLY_CHOICE_END);
    assert_int_equal(ev.finish, REPLY_LENGTH);
    assert_string_equal(ev.stop_hit, "x");
    assert_int_equal(ev.usage.cached_tokens, 2);
    reply_event_free(&ev);
    feed_end(r, 0, LM_FINISH_STOP);
    assert_true(reply_next(r, &ev));
    assert_int_equal(ev.finish, REPLY_STOP);

    struct lm_event done = { .type = LM_EV_DONE, .usage = { .completion_tokens = 7 } };
    reply_feed(r, &done);
    feed_text(r, 0, "late", 4, 0);
    assert_true(reply_next(r, &ev));
    assert_int_equal(ev.type, REPLY_DONE);
    assert_int_equal(ev.usage.completion_tokens, 7);
    assert_false(reply_next(r, &ev)); /* nothing follows */
    reply_free(r);
}

static void test_error(void **state)
{
    (void)state;
    struct reply *r;
    struct reply_event ev;
    assert_true(reply_new(&r, &(struct reply_style){ .reader = &reply_plain }, 1, NULL));
    struct lm_event error = { .type = LM_EV_ERROR, .usage = { .completion_tokens = 4 } };
    err_set(&error.error, ERR_FORMAT, "numbers are not finite");
    feed_text(r, 0, "so far", 6, 3);
    reply_feed(r, &error);
    assert_true(reply_next(r, &ev));
    assert_int_equal(ev.type, REPLY_TEXT);
    reply_event_free(&ev);
    assert_true(reply_next(r, &ev));
    assert_int_equal(ev.type, REPLY_ERROR);
    assert_int_equal(ev.error.code, ERR_FORMAT);
    assert_string_equal(ev.error.msg, "numbers are not finite");
    assert_int_equal(ev.usage.completion_tokens, 4);
    feed_text(r, 0, "never shown", 11, 1); /* and freed */
    assert_false(reply_next(r, &ev));
    reply_free(r);
}

static const char story[] = "Hm{why<>}a<b<>c[f:{}][g:1]d<";
static const char told[] = "|Hm|~w|~h|~y|~<|~>|a<bc|f#0:{}|g#1:1|d<|end 2";

/* The same is said wherever the text was cut. */
static void test_every_cut(void **state)
{
    (void)state;
    const size_t n = sizeof story - 1;
    for (size_t i = 0; i <= n; i++) {
        for (size_t k = i; k <= n; k++) {
            struct reply *r;
            struct buf b = BUF_INIT(0);
            assert_true(reply_new(&r, &(struct reply_style){ .reader = &toy }, 1, NULL));
            feed_text(r, 0, story, i, 0);
            read_all(r, &b);
            feed_text(r, 0, story + i, k - i, 0);
            feed_text(r, 0, story + k, n - k, 0);
            feed_end(r, 0, LM_FINISH_STOP);
            struct buf all = BUF_INIT(0);
            read_all(r, &all);
            /* Only the bar between the two halves of a piece may be one more. */
            char joined[400];
            snprintf(joined, sizeof joined, "%s%s", b.data ? b.data : "", all.data);
            if (strcmp(joined, told) != 0 && b.data) {
                const size_t seam = b.len;
                assert_int_equal(joined[seam], '|');
                memmove(joined + seam, joined + seam + 1, strlen(joined + seam));
            }
            assert_string_equal(joined, told);
            buf_free(&b);
            buf_free(&all);
            reply_free(r);
        }
    }
}

/* No token is lost, whether its text was shown, kept or was a mark. */
static void test_tokens_stay(void **state)
{
    (void)state;
    for (size_t piece = 1; piece <= sizeof story; piece++) {
        struct reply *r;
        struct reply_event ev;
        int fed = 0, seen = 0;
        assert_true(reply_new(&r, &(struct reply_style){ .reader = &toy }, 1, NULL));
        for (size_t i = 0; i < sizeof story - 1; i += piece) {
            const size_t left = sizeof story - 1 - i;
            feed_text(r, 0, story + i, left < piece ? left : piece, 2);
            fed += 2;
        }
        feed_text(r, 0, "<>", 2, 1); /* ends in a mark: its token goes with the end */
        feed_end(r, 0, LM_FINISH_LENGTH);
        while (reply_next(r, &ev)) {
            seen += ev.n_tokens;
            if (ev.type == REPLY_CHOICE_END) assert_int_equal(ev.finish, REPLY_LENGTH); /* calls or not */
            reply_event_free(&ev);
        }
        assert_int_equal(seen, fed + 1);
        reply_free(r);
    }
}

/* Choices are read apart, and what nobody took is freed. */
static void test_choices(void **state)
{
    (void)state;
    struct reply *r;
    struct reply_event ev;
    assert_true(reply_new(&r, &(struct reply_style){ .reader = &toy }, 2, NULL));
    feed_text(r, 0, "{x", 2, 0);
    feed_text(r, 1, "y[f:2", 5, 1);
    feed_text(r, 0, "}z", 2, 0);
    static const struct {
        enum reply_type type;
        int index;
        const char *text;
    } want[] = { { REPLY_THOUGHT, 0, "x" },
                 { REPLY_TEXT, 1, "y" },
                 { REPLY_CALL, 1, "" },
                 { REPLY_CALL, 1, "2" },
                 { REPLY_TEXT, 0, "z" } };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_true(reply_next(r, &ev));
        assert_int_equal(ev.type, want[i].type);
        assert_int_equal(ev.index, want[i].index);
        assert_string_equal(ev.text, want[i].text);
        reply_event_free(&ev);
    }
    feed_end(r, 0, LM_FINISH_STOP);
    feed_end(r, 1, LM_FINISH_STOP);
    assert_true(reply_next(r, &ev));
    assert_int_equal(ev.finish, REPLY_STOP); /* of choice 0: it called nothing */
    feed_text(r, 1, "left [h:0]", 10, 1);
    reply_free(r);
}

static void test_usage(void **state)
{
    (void)state;
    struct usage sum = { .prompt_tokens = 1, .ttft_s = 2, .total_s = 5 };
    usage_add(&sum, &(struct usage){ .prompt_tokens = 2, .completion_tokens = 3, .ttft_s = 1, .total_s = 4 });
    usage_add(&sum, &(struct usage){ .pictures = 1, .steps = 4, .pixels = 9 });
    assert_int_equal(sum.prompt_tokens, 3);
    assert_int_equal(sum.completion_tokens, 3);
    assert_int_equal(sum.pictures + sum.steps + (int)sum.pixels, 14);
    assert_true(sum.ttft_s == 1 && sum.total_s == 5); /* a part without a first token has no say */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),       cmocka_unit_test(test_error),   cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_tokens_stay), cmocka_unit_test(test_choices), cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
