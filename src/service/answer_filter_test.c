/* answer_filter_test.c - what a policy refuses is never seen, however the answer is cut; everything else passes, in its order and with its ends. */
#include "service/answer_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char file[] = "words:\n  lists:\n    - name: a\n      words: [violence, kill you]\n    - name: "
                           "b\n      words: [weapon]\n"
                           "  policies:\n    - name: p\n      refuse: [a]\n      review: [b]\n";
static struct word_rules *rules;
static const struct word_policy *policy;

static int load(void **state)
{
    (void)state;
    struct err e;
    if (!word_rules_read(&rules, "f", file, strlen(file), &e)) fail_msg("%s", e.msg);
    policy = word_rules_find(rules, "p", &e);
    return policy ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    word_rules_free(rules);
    return 0;
}

static struct answer_filter *filter(int n)
{
    struct answer_filter *f;
    struct err e;
    if (!answer_filter_new(&f, rules, policy, n, &e)) fail_msg("%s", e.msg);
    return f;
}

static void feed(struct answer_filter *f, struct reply_event ev, const char *text)
{
    struct err e;
    if (text) {
        ev.text = strdup(text);
        ev.len = strlen(text);
    }
    if (!answer_filter_take(f, &ev, &e)) fail_msg("%s", e.msg);
}

/* What is seen of choice 0 so far: its texts one behind the other, "|" for an end, "!" for a filtered one, "." for the last event. */
static void see(struct answer_filter *f, struct buf *out)
{
    struct reply_event ev;
    while (answer_filter_next(f, &ev)) {
        if (ev.text) buf_append(out, ev.text, ev.len);
        if (ev.type == REPLY_CHOICE_END) buf_putc(out, ev.finish == REPLY_FILTERED ? '!' : '|');
        if (ev.type == REPLY_DONE) buf_putc(out, '.');
        reply_event_free(&ev);
    }
}

static void answer(const char *text, size_t piece, const char *want)
{
    struct answer_filter *f = filter(1);
    struct buf out = BUF_INIT(0);
    for (size_t i = 0; i < strlen(text); i += piece) {
        char part[64] = "";
        strncat(part, text + i, piece);
        feed(f, (struct reply_event){ .type = REPLY_TEXT }, part);
        see(f, &out);
    }
    feed(f, (struct reply_event){ .type = REPLY_CHOICE_END, .finish = REPLY_STOP }, NULL);
    assert_true(answer_filter_over(f));
    feed(f, (struct reply_event){ .type = REPLY_DONE }, NULL);
    see(f, &out);
    assert_string_equal(out.data, want);
    buf_free(&out);
    answer_filter_free(f);
}

static void test_answers(void **state)
{
    (void)state;
    answer("All is well, a weapon or not.", 1, "All is well, a weapon or not.|.");
    answer("All is well, a weapon or not.", 7, "All is well, a weapon or not.|.");
    answer("There was violence then", 1, "There was !.");
    answer("There was v1olence then", 1, "There was !.");
    answer("There was violence", 1, "There was !.");
    answer("nonviolence, violenced", 1, "nonviolence, violenced|.");
    answer("I may kill you", 1, "I may !.");
    answer("I may kill", 1, "I may kill|.");
    answer("I may kill time", 2, "I may kill time|.");
    answer("violence", 50, "!.");
    answer("", 1, "|.");
}

static void test_kinds_are_apart(void **state)
{
    (void)state;
    struct answer_filter *f = filter(2);
    struct buf out = BUF_INIT(0);
    feed(f, (struct reply_event){ .type = REPLY_THOUGHT }, "vio");
    feed(f, (struct reply_event){ .type = REPLY_TEXT }, "lence ");
    see(f, &out);
    assert_string_equal(out.data, "violence ");
    feed(f, (struct reply_event){ .type = REPLY_TEXT }, "so kill ");
    feed(f, (struct reply_event){ .type = REPLY_CALL, .call = { .index = 0 } }, "");
    feed(f, (struct reply_event){ .type = REPLY_CALL, .call = { .index = 0 } }, "{\"a\":\"kill");
    see(f, &out);
    assert_string_equal(out.data, "violence so kill ");
    feed(f, (struct reply_event){ .type = REPLY_CALL, .call = { .index = 0 } }, " you\"}");
    see(f, &out);
    assert_string_equal(out.data, "violence so kill ");
    assert_false(answer_filter_over(f)); /* the other choice goes on */
    feed(f, (struct reply_event){ .type = REPLY_TEXT }, "more");
    feed(f, (struct reply_event){ .type = REPLY_TEXT, .index = 1 }, "well ");
    see(f, &out);
    assert_string_equal(out.data, "violence so kill well ");
    feed(f, (struct reply_event){ .type = REPLY_CHOICE_END, .index = 1 }, NULL);
    assert_true(answer_filter_over(f));
    feed(f, (struct reply_event){ .type = REPLY_DONE }, NULL); /* and ends the one that nobody ended */
    see(f, &out);
    assert_string_equal(out.data, "violence so kill well |!.");
    buf_free(&out);
    answer_filter_free(f);
}

static void test_left_early(void **state)
{
    (void)state;
    struct answer_filter *f = filter(1);
    feed(f, (struct reply_event){ .type = REPLY_TEXT }, "vio");
    feed(f, (struct reply_event){ .type = REPLY_TEXT }, "len");
    answer_filter_free(f);
    answer_filter_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_kinds_are_apart),
        cmocka_unit_test(test_left_early),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
