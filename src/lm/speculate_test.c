/* Guesses without an engine: what is looked up, what a foreseen answer counts, and how many guesses are taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "lm/ngram.h"
#include "lm/predicted.h"
#include "lm/speculate.h"

/* ---- the text so far ------------------------------------------------------------------------------------------------- */

static struct ngram *text(const char *s)
{
    struct ngram *g = ngram_new();
    assert_non_null(g);
    for (; *s; s++) assert_true(ngram_push(g, *s == '|' ? NGRAM_BORDER : *s));
    return g;
}

static void guesses(const char *said, int n_max, const char *want, int want_match)
{
    struct ngram *g = text(said);
    int32_t id[32];
    char got[33];
    int match = -1;
    const int n = ngram_guess(g, id, n_max, &match);
    for (int i = 0; i < n; i++) got[i] = (char)id[i];
    got[n] = 0;
    if (strcmp(got, want) != 0 || match != want_match)
        fail_msg("'%s': guessed '%s' behind %d, expected '%s' behind %d", said, got, match, want, want_match);
    ngram_free(g);
}

static void test_guesses_follow_the_longest_match(void **state)
{
    (void)state;
    guesses("", 4, "", 0);
    guesses("ab", 4, "", 0);
    guesses("abcdef", 4, "", 0);
    guesses("the cat sat. the cat", 4, " sat", 7);
    guesses("1abX 2abY 2ab", 1, "Y", 4);  /* the longer one */
    guesses("abX abY ab", 1, "Y", 3);     /* of equal ones the latest */
    guesses("xab1 yab2 xab", 2, "1 ", 3); /* also where it is older */
    guesses("ababab", 6, "ababab", 4);    /* a text that repeats goes on so */
    guesses("abcd|abc", 4, "d", 3);       /* nothing is guessed over a border */
    guesses("ab|c ab", 4, "", 2);         /* ... and there is nothing in front of it */
    guesses("a|b a|b", 4, "", 0);         /* ... and it matches nothing */
    guesses("the cat sat. the cat", 0, "", 7);
}

static void test_long_texts_are_found_in(void **state)
{
    (void)state;
    struct ngram *g = ngram_new();
    int32_t id[4];
    int match;
    for (int i = 0; i < 100000; i++) assert_true(ngram_push(g, i));
    assert_int_equal(ngram_guess(g, id, 4, &match), 0);
    for (int i = 5000; i < 5040; i++) ngram_push(g, i);
    assert_int_equal(ngram_guess(g, id, 4, &match), 4);
    assert_int_equal(match, 32);
    for (int i = 0; i < 4; i++) assert_int_equal(id[i], 5040 + i);
    ngram_free(g);
}

/* ---- foreseen answers ------------------------------------------------------------------------------------------------- */

static void counts(const char *foreseen, const char *answer, int accepted, const char *next)
{
    int32_t id[64], guess[8];
    char got[9];
    const int n = (int)strlen(foreseen);
    for (int i = 0; i < n; i++) id[i] = foreseen[i];
    struct predicted p = predicted_begin(id, n);
    for (const char *s = answer; *s; s++) predicted_take(&p, *s);
    const int n_guess = predicted_guess(&p, guess, 3);
    for (int i = 0; i < n_guess; i++) got[i] = (char)guess[i];
    got[n_guess] = 0;
    if (p.accepted != accepted || strcmp(got, next) != 0)
        fail_msg("'%s' answered '%s': %d came true, then '%s'; expected %d, '%s'", foreseen, answer,
                 p.accepted, got, accepted, next);
}

static void test_a_foreseen_answer_is_followed(void **state)
{
    (void)state;
    counts("abcdef", "", 0, "abc");
    counts("abcdef", "abc", 3, "def");
    counts("abcdef", "abcdef", 6, "");
    /* One in place of another: found again by two, which both came true. */
    counts("abcdefgh", "abXdef", 5, "gh");
    counts("abcdefgh", "abcXYef", 5, "gh");
    counts("abcdefgh", "xyz", 0, "");
    counts("abcdefgh", "abef", 4, "gh"); /* left out: e alone says nothing, f behind it does */
    counts("", "abc", 0, "");
}

/* ---- how many ---------------------------------------------------------------------------------------------------------- */

static struct step_costs costs(double row) /* a step of one row takes 1, each more `row` */
{
    struct step_costs c = { 0 };
    for (int rows = COST_ROWS; rows >= 1; rows--) step_costs_learn(&c, rows, 1 + row * (rows - 1));
    return c;
}

static struct guess_offer offer(int n, double odds)
{
    struct guess_offer o = { .n = n };
    for (int i = 0; i < n; i++) o.odds[i] = odds;
    return o;
}

static void test_guesses_are_taken_where_they_pay(void **state)
{
    (void)state;
    struct guess_offer o[32];
    const struct step_costs cheap = costs(0.02), dear = costs(0.9);
    o[0] = offer(16, 0.95);
    guess_choose(o, 1, 1, 64, &cheap);
    assert_true(o[0].take >= 12);
    o[0] = offer(16, 0.5);
    guess_choose(o, 1, 1, 64, &cheap);
    assert_in_range(o[0].take, 3, 6);
    o[0] = offer(16, 0.5);
    guess_choose(o, 1, 1, 64, &dear);
    assert_int_equal(o[0].take, 0);
    /* A row more is dear and the next ones are not: it takes enough to make up for it, or none. */
    struct step_costs jump = { 0 };
    for (int rows = 40; rows >= 1; rows--) step_costs_learn(&jump, rows, rows == 1 ? 1 : 2.5);
    o[0] = offer(16, 0.95);
    guess_choose(o, 1, 1, 64, &jump);
    assert_true(o[0].take > 8);
    o[0] = offer(16, 0.5);
    guess_choose(o, 1, 1, 64, &jump);
    assert_int_equal(o[0].take, 0);
    /* Good guesses before bad ones, and no more rows than there are. */
    o[0] = offer(4, 0.2), o[1] = offer(16, 0.97), o[2] = offer(0, 0);
    guess_choose(o, 3, 3, 13, &cheap);
    assert_true(o[1].take > o[0].take);
    assert_true(o[0].take + o[1].take <= 10);
    assert_int_equal(o[2].take, 0);
    /* Many streams with costs that grow by the row leave nothing to gain. */
    for (int i = 0; i < 32; i++) o[i] = offer(16, 0.7);
    struct step_costs full = { 0 };
    for (int rows = COST_ROWS; rows >= 1; rows--) step_costs_learn(&full, rows, rows < 8 ? 8 : rows);
    guess_choose(o, 32, 32, 96, &full);
    for (int i = 0; i < 32; i++) assert_int_equal(o[i].take, 0);
}

static void test_nothing_is_guessed_before_a_plain_step(void **state)
{
    (void)state;
    struct step_costs c = { 0 };
    struct guess_offer o = offer(16, 0.99);
    guess_choose(&o, 1, 1, 64, &c);
    assert_int_equal(o.take, 0);
    step_costs_learn(&c, 1, 0.01);
    guess_choose(&o, 1, 1, 64, &c); /* more rows were never seen: they are tried */
    assert_true(o.take > 0);
    for (int i = 0; i < 33; i++) step_costs_learn(&c, 5, 0.02);
    guess_choose(&o, 1, 1, 64, &c); /* the plain step is measured again now and then */
    assert_int_equal(o.take, 0);
    step_costs_learn(&c, 1, 0.01);
    guess_choose(&o, 1, 1, 64, &c);
    assert_true(o.take > 0);
}

static void test_odds_are_learnt_and_forgotten(void **state)
{
    (void)state;
    struct guess_odds own = { 0 }, all = { 0 };
    const double hoped = guess_odds_of(&own, &all, 2);
    assert_true(guess_odds_of(&own, &all, 40) > hoped); /* longer matches are better ones */
    for (int i = 0; i < 30; i++) guess_odds_learn(&own, 2, false);
    const double bad = guess_odds_of(&own, &all, 2);
    assert_true(bad < 0.1);
    assert_true(guess_odds_of(&own, &all, 40) > 0.8); /* of other classes nothing was learnt */
    for (int i = 0; i < 1000; i++) guess_odds_fade(&own, 0.99f);
    assert_true(guess_odds_of(&own, &all, 2) > 0.9 * hoped);
    for (int i = 0; i < 60; i++) guess_odds_learn(&all, 3, true);
    assert_true(guess_odds_of(&own, &all, 3) > 0.8); /* a new sequence begins with what others had */
}

static void test_costs_between_those_seen(void **state)
{
    (void)state;
    struct step_costs c = { 0 };
    assert_true(step_costs_of(&c, 4) == 0);
    step_costs_learn(&c, 2, 1.0);
    step_costs_learn(&c, 6, 2.0);
    assert_float_equal(step_costs_of(&c, 4), 1.5, 1e-9);
    assert_true(step_costs_of(&c, 1) < 1.0);
    assert_true(step_costs_of(&c, 12) >= 2.0 && step_costs_of(&c, 12) < 2.3);
    step_costs_learn(&c, 2, 100.0); /* held up once */
    assert_true(step_costs_of(&c, 2) <= 1.26);
    for (int i = 0; i < 600; i++) step_costs_learn(&c, 6, 2.0);
    assert_true(step_costs_of(&c, 2) > 1.26); /* too old to be believed */
    step_costs_learn(&c, COST_ROWS + 1, 1);
    assert_true(step_costs_of(&c, COST_ROWS + 1) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guesses_follow_the_longest_match),
        cmocka_unit_test(test_long_texts_are_found_in),
        cmocka_unit_test(test_a_foreseen_answer_is_followed),
        cmocka_unit_test(test_guesses_are_taken_where_they_pay),
        cmocka_unit_test(test_nothing_is_guessed_before_a_plain_step),
        cmocka_unit_test(test_odds_are_learnt_and_forgotten),
        cmocka_unit_test(test_costs_between_those_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
