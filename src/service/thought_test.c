/* thought_test.c - thoughts in their three forms, wherever the text is cut, and where their tokens go. */
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

static struct reply_style style_of(enum thought_form form, bool inside)
{
    return (struct reply_style){ .reader = &reply_plain,
                                 .think_open = "<think>",
                                 .think_close = "</think>",
                                 .begins_inside = inside,
                                 .form = form };
}

/* Text whose every byte is a token, ids from `at` on. */
static void feed(struct reply *r, const char *text, size_t at, size_t len)
{
    struct lm_event ev = { .type = LM_EV_TEXT, .text = malloc(len + 1), .len = len, .n_tokens = (int)len };
    ev.tokens = calloc(len + 1, sizeof *ev.tokens);
    assert_true(ev.text && ev.tokens);
    memcpy(ev.text, text + at, len);
    ev.text[len] = 0;
    for (size_t i = 0; i < len; i++) {
        ev.tokens[i].id = (int32_t)(at + i);
        ev.tokens[i].text_offset = at + i;
        ev.tokens[i].text_len = 1;
    }
    reply_feed(r, &ev);
}

struct said {
    struct buf all;     /* ~thought~ and text */
    char *token;        /* of each: 't' went with a thought, 'a' with the answer, '-' with nothing */
    bool empty_thought; /* an event of a thought that has neither text nor tokens */
};

static void take(struct reply *r, struct said *s, enum reply_type *before)
{
    struct reply_event ev;
    while (reply_next(r, &ev)) {
        if (ev.type == REPLY_THOUGHT && !ev.len) s->empty_thought |= !ev.n_tokens;
        for (int i = 0; i < ev.n_tokens; i++) {
            assert_int_equal(s->token[ev.tokens[i].id], '-');
            s->token[ev.tokens[i].id] = ev.type == REPLY_THOUGHT ? 't' : 'a';
        }
        if (ev.len || ev.type == REPLY_CHOICE_END) {
            if (*before != ev.type && (*before == REPLY_THOUGHT || ev.type == REPLY_THOUGHT))
                buf_putc(&s->all, '~');
            *before = ev.type;
        }
        buf_append(&s->all, ev.text ? ev.text : "", ev.len);
        reply_event_free(&ev);
    }
}

static void check(const struct reply_style *style, const char *text, const char *want, const char *tokens,
                  enum lm_finish finish)
{
    const size_t n = strlen(text);
    for (size_t i = 0; i <= n; i++) {
        for (size_t k = i; k <= n; k++) {
            struct reply *r;
            struct said s = { .token = malloc(n + 1) };
            enum reply_type before = REPLY_DONE;
            assert_non_null(s.token);
            memset(s.token, '-', n);
            s.token[n] = 0;
            assert_true(reply_new(&r, style, 1, NULL));
            feed(r, text, 0, i);
            take(r, &s, &before);
            feed(r, text, i, k - i);
            take(r, &s, &before);
            feed(r, text, k, n - k);
            struct lm_event end = { .type = LM_EV_CHOICE_END, .finish = finish };
            reply_feed(r, &end);
            take(r, &s, &before);
            assert_string_equal(s.all.data ? s.all.data : "", want);
            if (tokens) assert_string_equal(s.token, tokens);
            assert_false(s.empty_thought);
            buf_free(&s.all);
            free(s.token);
            reply_free(r);
        }
    }
}

static void test_split(void **state)
{
    (void)state;
    const struct reply_style split = style_of(THOUGHT_SPLIT, false), hidden = style_of(THOUGHT_HIDDEN, false);
    check(&split, "<think>\na b\n</think>\n\nHi <x> ", "~a b~Hi <x> ", "ttttttttttttttttttttttaaaaaaa",
          LM_FINISH_STOP);
    check(&hidden, "<think>\na b\n</think>\n\nHi", "Hi", "----------------------aa", LM_FINISH_STOP);
    check(&split, "\n <think>a</think>b", "~a~b", NULL, LM_FINISH_STOP);
    check(&split, "<think>a <b </thin </think>", "~a <b </thin~", "ttttttttttttttttttttttttttt",
          LM_FINISH_STOP);
    check(&split, "<think>\n\n</think>\n\nHi", "Hi", "tttttttttttttttttttaa", LM_FINISH_STOP);
    check(&split, "<think> </think>\n<think>b</think> c", "~b~c", NULL, LM_FINISH_STOP);
    check(&split, "  Hi <think>x</think>", "  Hi <think>x</think>", NULL, LM_FINISH_STOP);
    check(&split, "<thin", "<thin", NULL, LM_FINISH_STOP);
    check(&split, "<thin", "", NULL, LM_FINISH_LENGTH);
    check(&split, " \n", " \n", NULL, LM_FINISH_STOP);
    check(&split, "<think>on and on ", "~on and on~", "ttttttttttttttttt", LM_FINISH_LENGTH);
    check(&split, "<think>on </thi", "~on~", NULL, LM_FINISH_LENGTH);
    check(&split, "<think>on </thi", "~on </thi~", NULL, LM_FINISH_STOP);
    check(&split, "<think>on</think>\n", "~on~", NULL, LM_FINISH_LENGTH);
    check(&hidden, "<think>on and on", "", "----------------", LM_FINISH_LENGTH);
}

static void test_inside(void **state)
{
    (void)state;
    struct reply_style style = style_of(THOUGHT_SPLIT, true);
    check(&style, "a\n</think>\n\nHi", "~a~Hi", "ttttttttttttaa", LM_FINISH_STOP);
    check(&style, "</think>Hi", "Hi", NULL, LM_FINISH_STOP);
    check(&style, "", "", NULL, LM_FINISH_STOP);
    style.form = THOUGHT_INLINE;
    check(&style, "a\n</think>\n\nHi", "<think>\na\n</think>\n\nHi", "aaaaaaaaaaaaaa", LM_FINISH_STOP);
    check(&style, "", "", NULL, LM_FINISH_STOP);
    check(&style, "a </thi", "<think>\na </thi", NULL, LM_FINISH_LENGTH);
}

static void test_inline(void **state)
{
    (void)state;
    const struct reply_style style = style_of(THOUGHT_INLINE, false),
                             as_set = style_of(THOUGHT_AS_SET, false);
    check(&style, " <think>\na </thinker> \n</think>\n\n Hi", " <think>\na </thinker> \n</think>\n\n Hi",
          NULL, LM_FINISH_STOP);
    check(&as_set, "<think></think>", "<think></think>", NULL, LM_FINISH_STOP);
    check(&style, "no <think>", "no <think>", NULL, LM_FINISH_STOP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_inside),
        cmocka_unit_test(test_inline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
