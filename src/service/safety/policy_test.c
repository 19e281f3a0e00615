/* policy_test.c - what is found in texts and what is not, however they are spelled and wherever they are cut; what a policy then says; and in mode
 * "seed" what the guides' own function says over all its cases (tools/reference/seed_functions.py asked it). */
#include "service/safety/policy.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char file[] =
    "words:\n"
    "  default: careful\n"
    "  projects: {shop: \"off\", desk: careful}\n"
    "  lists:\n"
    "    - name: bad\n"
    "      category: violence\n"
    "      words: [violence, kill you, sex, 暴力, ナイフ, 폭력, оружие, café noir, bomb*, straße, أسلحة]\n"
    "    - name: odd\n"
    "      words: [weapon, drug, \"kill you all\"]\n"
    "  policies:\n"
    "    - name: careful\n"
    "      refuse: [bad]\n"
    "      review: [odd]\n"
    "  seed:\n"
    "    prohibited: [violence]\n";

static struct word_rules *rules;
static const struct word_policy *careful;

static int load(void **state)
{
    (void)state;
    struct err e;
    if (!word_rules_read(&rules, "f", file, strlen(file), &e)) fail_msg("%s", e.msg);
    careful = word_rules_find(rules, "", &e);
    assert_string_equal(careful->name, "careful");
    assert_string_equal(word_rules_project(rules, "shop")->name, "off");
    assert_ptr_equal(word_rules_project(rules, "desk"), careful);
    assert_null(word_rules_project(rules, "none"));
    return 0;
}

static int unload(void **state)
{
    (void)state;
    word_rules_free(rules);
    return 0;
}

static enum word_verdict verdict(const char *text, size_t len)
{
    struct word_found f = { 0 };
    struct err e;
    if (!word_check(rules, careful, text, len, &f, &e)) fail_msg("%s", e.msg);
    const enum word_verdict v = f.verdict;
    assert_int_equal(v == WORD_REFUSE, f.reason[0] != 0);
    assert_true(v != WORD_REVIEW || f.warnings.n > 0);
    word_found_free(&f);
    return v;
}

static const char *const refused[] = {
    "violence",
    "Violence in the street",
    "VIOLENCE!",
    "no (violence), please",
    "ＶＩＯＬＥＮＣＥ",
    "víolènce",
    "vio\xe2\x80\x8blence",
    "vio\xc2\xadlence",
    "𝐕𝐢𝐨𝐥𝐞𝐧𝐜𝐞",
    "v10lence",
    "v1ol3nce",
    "vi0l3nc3",
    "V!olence",
    "v i o l e n c e",
    "v.i.o.l.e.n.c.e",
    "v-i-o-l-e-n-c-e",
    "a v i o l e n c e b",
    "say  v 1 o l e n c e  now",
    "v*i*o*l*e*n*c*e",
    "vіоlеncе" /* four letters are Cyrillic */,
    "i will kill you",
    "kill   you",
    "kill\nyou",
    "k1ll you",
    "kill-you",
    "s e x",
    "s3x",
    "$ex",
    "一些暴力的图",
    "暴 力",
    "これはナイフです",
    "폭력",
    "폭력을 그려",
    "купить ОРУЖИЕ",
    "CAFE NOIR",
    "cafe\xcc\x81 noir",
    "bomb",
    "bombing",
    "b0mbing",
    "two bombs",
    "STRASSE",
    "straße",
    "أَسْلِحَة",
    "well, sex.",
    "(sex)",
    "kill you all",
};
static const char *const innocent[] = {
    "",
    "nonviolence",
    "violenced",
    "Scunthorpe",
    "Essex",
    "Sussex county",
    "sexton",
    "unsexy",
    "the skill you have",
    "e s s e x",
    "Middlesex",
    "abomb",
    "s x",
    "kill young",
    "kill, then you'd",
    "5 3 x",
    "53x",
    "1 2 3 4 5",
    "ナイフル",
    "ジャックナイフ",
    "폭",
    "오폭력",
    "невооружие",
    "a viol ence of",
    "vi olence",
    "kil lyou",
    "v i o l",
    "c a f e",
    "$5 exchange",
    "s.e.cond x",
    "we s e t x",
};
static const char *const reviewed[] = { "a weapon on a table", "drug", "w e a p o n", "dr\xc3\xbcg" };

static void test_whole_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (verdict(refused[i], strlen(refused[i])) != WORD_REFUSE) fail_msg("\"%s\" passed", refused[i]);
    for (size_t i = 0; i < sizeof innocent / sizeof *innocent; i++)
        if (verdict(innocent[i], strlen(innocent[i])) != WORD_PROCEED)
            fail_msg("\"%s\" did not pass", innocent[i]);
    for (size_t i = 0; i < sizeof reviewed / sizeof *reviewed; i++)
        if (verdict(reviewed[i], strlen(reviewed[i])) != WORD_REVIEW)
            fail_msg("\"%s\" is not reviewed", reviewed[i]);
}

/* Far into a long text, and across the places where it is cut. */
static void test_long_texts(void **state)
{
    (void)state;
    enum { LEN = 1200 << 10 };
    char *text = malloc(LEN + 1);
    assert_non_null(text);
    const size_t at[] = { 0, (1 << 20) - 8, (1 << 20) - 4, 1 << 20, (1 << 20) + 1, LEN - 8 };
    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        memset(text, 'n', LEN);
        for (size_t i = 9; i < LEN; i += 10) text[i] = ' ';
        if (!k) assert_int_equal(verdict(text, LEN), WORD_PROCEED);
        if (at[k]) text[at[k] - 1] = ' ';
        memcpy(text + at[k], "violence", 8);
        if (at[k] + 8 < LEN) text[at[k] + 8] = ' ';
        if (verdict(text, LEN) != WORD_REFUSE) fail_msg("not found at %zu", at[k]);
    }
    free(text);
}

/* The text in pieces: what is settled before the phrase is all that is ever let through. */
static bool found_growing(const char *text, size_t piece, struct buf *out)
{
    struct buf window = BUF_INIT(0);
    struct phrase_context c = { 0 };
    struct phrase_hit hit;
    struct err e;
    size_t settled, len = strlen(text);
    bool found = false;
    for (size_t i = 0; i < len && !found;) {
        size_t n = piece < len - i ? piece : len - i;
        while (i + n < len && ((unsigned char)text[i + n] & 0xc0) == 0x80) n++;
        buf_append(&window, text + i, n);
        i += n;
        if (!phrases_find_growing(word_rules_phrases(rules), careful->refuse, window.data, window.len, true,
                                  &c, &found, &hit, &settled, &e))
            fail_msg("%s", e.msg);
        buf_append(out, window.data, settled);
        buf_drop(&window, settled);
    }
    if (!found &&
        !phrases_find_growing(word_rules_phrases(rules), careful->refuse, window.data ? window.data : "",
                              window.len, false, &c, &found, &hit, &settled, &e))
        fail_msg("%s", e.msg);
    if (!found) buf_append(out, window.data ? window.data : "", window.len);
    buf_free(&window);
    return found;
}

static void test_growing(void **state)
{
    (void)state;
    static const size_t pieces[] = { 1, 2, 3, 5, 8, 1000 };
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
            char text[300];
            struct buf out = BUF_INIT(0);
            snprintf(text, sizeof text, "It was quiet, and then %s", refused[i]);
            if (!found_growing(text, pieces[p], &out))
                fail_msg("\"%s\" in pieces of %zu passed", text, pieces[p]);
            if (out.len && verdict(out.data, out.len) == WORD_REFUSE)
                fail_msg("of \"%s\" was let through: %s", text, out.data);
            buf_free(&out);
        }
        for (size_t i = 0; i < sizeof innocent / sizeof *innocent; i++) {
            char text[300];
            struct buf out = BUF_INIT(0);
            snprintf(text, sizeof text, "Of all %s and more", innocent[i]);
            if (found_growing(text, pieces[p], &out))
                fail_msg("\"%s\" in pieces of %zu did not pass", text, pieces[p]);
            assert_string_equal(out.data, text);
            buf_free(&out);
        }
    }
}

/* Texts of words, parts of words, signs and gaps: cut anywhere, a text is refused for what it is refused for as a whole. */
static void test_cut_anywhere(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "s",        "e",   "x",    "s.e.x", "k",  "i",  "l",  "kill", " you", "y", "o",        "u",
        " ",        " ",   "  ",   ".",     "+",  "1",  "!",  "3",    "5",    "v", "b",        "bomb",
        "暴",       "力",  "폭",   "력",    "ナ", "イ", "フ", "а",    "е",    "о", "\xcc\x81", " a ",
        "violence", "$ex", "b0mb", "-",     "n",  "9",  "ж",  "у",    "no ",  "и", "й ",       "е",
    };
    uint64_t x = 88172645463325252;
    unsigned n_refused = 0;
    for (int k = 0; k < 20000; k++) {
        char text[300];
        size_t len = 0;
        x = x * 6364136223846793005 + 1442695040888963407;
        const size_t piece = 1 + (x >> 40) % 12;
        for (int n = 1 + (int)((x >> 33) % 16); n > 0; n--) {
            x = x * 6364136223846793005 + 1442695040888963407;
            len += (size_t)snprintf(text + len, sizeof text - len, "%s",
                                    parts[(x >> 33) % (sizeof parts / sizeof *parts)]);
        }
        struct buf out = BUF_INIT(0);
        const bool whole = verdict(text, len) == WORD_REFUSE;
        n_refused += whole;
        if (found_growing(text, piece, &out) != whole)
            fail_msg("\"%s\" is %s as a whole, not in pieces of %zu", text, whole ? "refused" : "passed",
                     piece);
        buf_free(&out);
    }
    assert_in_range(n_refused, 1000, 19000);
}

static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } bad[] = {
        { "words: 3\n", "f:1:1: " },
        { "words:\n  lists:\n    - name: a\n      words: ['!!']\n", "f:4:15: \"!!\" has no letter or digit" },
        { "words:\n  lists:\n    - name: a\n      category: rude\n      words: [x]\n",
          "f:4:7: there is no category \"rude\"" },
        { "words:\n  lists:\n    - name: a\n      words: [x]\n    - name: a\n      words: [x]\n", "f:5:7: " },
        { "words:\n  policies:\n    - name: p\n      refuse: [none]\n", "f:4:16: there is no list \"none\"" },
        { "words:\n  policies:\n    - name: off\n", "cannot be a policy's name" },
        { "words:\n  policies:\n    - name: p\n", "needs lists" },
        { "words:\n  default: p\n", "f:2:3: there is no policy \"p\"" },
        { "words:\n  colour: red\n", "f:2:3: " },
        { "words:\n  projects: [a]\n", "expected PROJECT: POLICY" },
        { "words:\n  projects:\n    shop: none\n", "f:3:5: there is no safety policy \"none\"" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct word_rules *r;
        struct err e;
        assert_false(word_rules_read(&r, "f", bad[i].text, strlen(bad[i].text), &e));
        if (!strstr(e.msg, bad[i].why)) fail_msg("%zu: %s", i, e.msg);
    }
    struct word_rules *r;
    struct err e;
    if (!word_rules_read(&r, "f", "images: x\n", 10, &e)) fail_msg("%s", e.msg);
    assert_string_equal(word_rules_find(r, "", &e)->name, "off");
    assert_null(word_rules_find(r, "strict", &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    word_rules_free(r);
}

static void test_as_the_guides(void **state)
{
    (void)state;
    json_error_t why;
    struct word_rules *r;
    struct err e;
    size_t i;
    json_t *c, *all = json_load_file("tests/golden/advice/cases.json", 0, &why);
    json_t *cases = json_object_get(all, "safety");
    if (!word_rules_load(&r, NULL, &e)) fail_msg("%s", e.msg);
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, i, c)
    {
        const json_t *p = json_object_get(c, "prompt"), *want = json_object_get(c, "answer");
        struct word_found f;
        assert_true(word_check_seed(r, json_string_value(p), json_string_length(p), &f, &e));
        assert_string_equal(word_action(f.verdict), json_string_value(json_object_get(want, "action")));
        assert_int_equal(f.verdict != WORD_REFUSE, json_is_true(json_object_get(want, "safe")));
        if (f.verdict == WORD_REFUSE)
            assert_string_equal(f.reason, json_string_value(json_object_get(want, "reason")));
        const json_t *warnings = json_object_get(want, "warnings");
        assert_int_equal(f.warnings.n, json_array_size(warnings));
        for (int k = 0; k < f.warnings.n; k++)
            assert_string_equal(f.warnings.v[k], json_string_value(json_array_get(warnings, (size_t)k)));
        word_found_free(&f);
    }
    json_decref(all);
    word_rules_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_words), cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_growing),     cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_files),       cmocka_unit_test(test_as_the_guides),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
