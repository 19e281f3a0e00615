/* grammar_test.c - grammars and regular expressions: what they accept, masks against bytes, what is refused, and long texts. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "text/grammar/grammar.h"
#include "text/grammar/rules.h"
#include "text/grammar/test_vocab.h"

/* A small vocabulary that crosses every border: of symbols, of rules, of JSON and what is around it, of characters. */
static const char *const pieces[] = {
    "a",
    "b",
    "ab",
    "aa",
    "ba",
    "c",
    "x",
    "y",
    "xy",
    "0",
    "1",
    "12",
    "+",
    "*",
    "1+",
    "+1",
    "(",
    ")",
    "((",
    "))",
    ")+",
    "(1",
    "\"",
    "\"a",
    "a\"",
    "\"a\"",
    "{",
    "}",
    "{\"",
    "\"}",
    "\":",
    "\": ",
    ":",
    " ",
    "  ",
    "\n",
    " a",
    "\n\n",
    "a ",
    "; ",
    ";",
    "=",
    "==",
    " = ",
    "if",
    "if (",
    "int ",
    "<",
    "</",
    "<tool_call>",
    "</tool_call>",
    "\n</",
    "}\n",
    "}\n</tool",
    "_call>",
    "tool",
    "[",
    "]",
    "[[",
    "],",
    ",",
    ", ",
    "1, ",
    "true",
    "tr",
    "ue",
    "null",
    "\\",
    "\\n",
    "\\u",
    "00e9",
    "\xc3",
    "\xa9",
    "é",
    "é\xc3",
    "\xe6\x97",
    "\xa5",
    "日",
    "日本",
    "\xf0\x9f",
    "\x98\x80",
    "😀",
    "-",
    "-1",
    ".",
    ".5",
    "e",
    "1e",
    "foo",
    "return",
    " }",
    "{ ",
    "{\"a\": ",
    "\"n\"",
    "ame",
    "name",
    "\"name\": \"",
};
enum { N_PIECES = sizeof pieces / sizeof *pieces };

static struct constraint *grammar(struct vocab *v, const char *gbnf, const char *schemas)
{
    struct constraint *c = NULL;
    struct err e;
    json_t *j = schemas ? json_loads(schemas, 0, NULL) : NULL;
    assert_true(!schemas || j);
    if (!constraint_of_grammar(&c, gbnf, strlen(gbnf), j, NULL, v->masks, &e))
        fail_msg("%s\n%s", gbnf, e.msg);
    json_decref(j);
    return c;
}

/* Whether the text may go on, and end, behind s[n]. */
static bool lives(struct constraint *c, const char *s, size_t n, bool *ends)
{
    struct matcher *m;
    struct err e;
    assert_true(matcher_new(&m, c, &e));
    const bool can = feed(m, s, n) == n;
    *ends = can && matcher_can_end(m);
    matcher_free(m);
    return can;
}

/* At a place of a text: a token is in the mask exactly when its bytes can follow; what is forced is the only thing that can. */
static void check_place(struct matcher *m, const char *text, size_t at)
{
    struct err e;
    uint32_t bits[(N_PIECES + 31) / 32];
    if (!matcher_mask(m, bits, &e)) fail_msg("%s", e.msg);
    struct matcher *k = NULL;
    for (int i = 0; i < N_PIECES; i++) {
        if (!k) assert_true(matcher_copy(&k, m, &e));
        const bool can = feed(k, pieces[i], strlen(pieces[i])) == strlen(pieces[i]);
        const bool said = bits[i / 32] >> (i % 32) & 1;
        if (can != said)
            fail_msg("behind %.*s the mask says %d of %s, its bytes %d", (int)at, text, said, pieces[i], can);
        if (!can) continue; /* nothing has changed */
        matcher_free(k);
        k = NULL;
    }
    char forced[16];
    size_t n, possible = 0;
    if (!matcher_forced(m, forced, sizeof forced, &n, &e)) fail_msg("%s", e.msg);
    for (int b = 0; b < 256; b++) {
        const char one = (char)b;
        if (!k) assert_true(matcher_copy(&k, m, &e));
        const bool can = feed(k, &one, 1) == 1;
        possible += can;
        if (can && n > 0) assert_int_equal((unsigned char)forced[0], b);
        if (!can) continue;
        matcher_free(k);
        k = NULL;
    }
    matcher_free(k);
    assert_true(matcher_can_end(m) || possible > 0); /* whatever was begun can be ended */
    assert_int_equal(n > 0, possible == 1 && !matcher_can_end(m));
}

static void check_masks(struct constraint *c, const char *text)
{
    struct matcher *m;
    struct err e;
    const size_t len = strlen(text);
    assert_true(matcher_new(&m, c, &e));
    for (size_t at = 0; at <= len; at++) {
        check_place(m, text, at);
        if (at < len && feed(m, text + at, 1) != 1) break;
    }
    matcher_free(m);
}

struct row {
    const char *gbnf, *text;
    bool ok;
};

static void check_rows(const struct row *rows, size_t n, const char *schemas)
{
    struct vocab v;
    vocab_open(&v, pieces, N_PIECES);
    for (size_t i = 0; i < n; i++) {
        bool ends;
        struct constraint *c = grammar(&v, rows[i].gbnf, schemas);
        lives(c, rows[i].text, strlen(rows[i].text), &ends);
        if (ends != rows[i].ok) fail_msg("%s\n%s: %d", rows[i].gbnf, rows[i].text, ends);
        check_masks(c, rows[i].text);
        assert_true(constraint_bytes(c) > 1000);
        constraint_free(c);
    }
    vocab_close(&v);
}

#define ARITHMETIC                                                                                           \
    "root  ::= (expr \"=\" ws term \"\\n\")+\n"                                                              \
    "expr  ::= term ([-+*/] term)*\n"                                                                        \
    "term  ::= ident | num | \"(\" ws expr \")\" ws\n"                                                       \
    "ident ::= [a-z] [a-z0-9_]* ws\n"                                                                        \
    "num   ::= [0-9]+ ws\n"                                                                                  \
    "ws    ::= [ \\t\\n]*\n"

#define JSON_GRAMMAR                                                                                         \
    "root   ::= object\n"                                                                                    \
    "value  ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n"                   \
    "object ::=\n  \"{\" ws (\n            string \":\" ws value\n    (\",\" ws string \":\" ws value)*\n  " \
    ")? \"}\" ws\n"                                                                                          \
    "array  ::=\n  \"[\" ws (\n            value\n    (\",\" ws value)*\n  )? \"]\" ws\n"                    \
    "string ::=\n  \"\\\"\" (\n    [^\"\\\\\\x7F\\x00-\\x1F] |\n    \"\\\\\" ([\"\\\\bfnrt] | \"u\" "        \
    "[0-9a-fA-F]{4}) # escapes\n  )* \"\\\"\" ws\n"                                                          \
    "number ::= (\"-\"? ([0-9] | [1-9] [0-9]{0,15})) (\".\" [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws\n"   \
    "# Optional space: by convention, applied in this grammar after literal chars when allowed\n"            \
    "ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n"

#define C_LIKE                                                                                               \
    "root ::= (declaration)*\n"                                                                              \
    "declaration ::= dataType identifier \"(\" parameter? \")\" \"{\" statement* \"}\"\n"                    \
    "dataType  ::= \"int\" ws | \"float\" ws | \"char\" ws\n"                                                \
    "identifier ::= [a-zA-Z_] [a-zA-Z_0-9]*\n"                                                               \
    "parameter ::= dataType identifier\n"                                                                    \
    "statement ::=\n    ( dataType identifier ws \"=\" ws expression \";\" ) |\n    ( identifier ws \"=\" "  \
    "ws expression \";\" ) |\n"                                                                              \
    "    ( identifier ws \"(\" argList? \")\" \";\" ) |\n    ( \"return\" ws expression \";\" ) |\n"         \
    "    ( \"while\" \"(\" condition \")\" \"{\" statement* \"}\" ) |\n"                                     \
    "    ( \"if\" \"(\" condition \")\" \"{\" statement* \"}\" (\"else\" \"{\" statement* \"}\")? )\n"       \
    "condition ::= expression relationOperator expression\n"                                                 \
    "relationOperator ::= (\"<=\" | \"<\" | \"==\" | \"!=\" | \">=\" | \">\")\n"                             \
    "expression ::= term ((\"+\" | \"-\") term)*\n"                                                          \
    "term ::= factor((\"*\" | \"/\") factor)*\n"                                                             \
    "factor ::= identifier | number | unaryTerm | funcCall | parenExpression\n"                              \
    "unaryTerm ::= \"-\" factor\n"                                                                           \
    "funcCall ::= identifier \"(\" argList? \")\"\n"                                                         \
    "parenExpression ::= \"(\" ws expression ws \")\"\n"                                                     \
    "argList ::= expression (\",\" ws expression)*\n"                                                        \
    "number ::= [0-9]+\n"                                                                                    \
    "ws ::= ([ \\t\\n]+)\n"

static void notation(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "root ::= \"a\"", "a", true },
        { "root ::= \"a\"", "ab", false },
        { "root ::= \"\"", "", true },
        { "root ::=", "", true },
        { "root ::= a\na ::=\nb ::= \"x\"", "", true },
        { "root ::= | \"a\"", "", true },
        { "root ::= | \"a\"", "a", true },
        { "root::=\"a\"\"b\"", "ab", true },
        { "root ::= \"a\" # a comment\n# another\n\"b\" c # and one\nc ::= \"c\"", "abc", true },
        { "root ::= \"a\" |\n\n \"b\"", "b", true },
        { "root ::= \"a\"\n  | \"b\"\n  | \"c\"", "c", true },
        { "root ::= (\n\"a\"\n|\n\"b\" )", "b", true },
        { "root ::= a-b_1\na-b_1 ::= \"x\"", "x", true },
        { "root ::= \"ab\"*", "abab", true }, /* a literal is one symbol */
        { "root ::= \"ab\"*", "abb", false },
        { "root ::= \"a\"+", "", false },
        { "root ::= \"a\"+ \"b\"?", "aab", true },
        { "root ::= \"a\"{3}", "aaa", true },
        { "root ::= \"a\"{3}", "aaaa", false },
        { "root ::= \"a\"{ 2 , }", "aaaaa", true },
        { "root ::= \"a\"{2,}", "a", false },
        { "root ::= \"a\"{2,3}", "aaa", true },
        { "root ::= \"a\"{2,3}", "aaaa", false },
        { "root ::= \"a\"{0} \"b\"", "b", true },
        { "root ::= \"a\"{0} \"b\"", "ab", false },
        { "root ::= (\"a\" | \"b\"){2} \"c\"", "abc", true },
        { "root ::= (\"a\"*)* \"b\"", "aab", true },
        { "root ::= (\"a\"? | \"b\"*)+ \"c\"", "abbac", true },
        { "root ::= ((\"a\"?){0,3}){2}", "aaaaaa", true },
        { "root ::= ((\"a\"?){0,3}){2}", "aaaaaaa", false },
        { "root ::= [a-c]+", "abc", true },
        { "root ::= [a-c-]+", "a-", true },
        { "root ::= [-a]+", "-a", true },
        { "root ::= [^a-c]", "b", false },
        { "root ::= [^a-c]", "x", true },
        { "root ::= [^a-c]", "é", true },
        { "root ::= [^a-c]", "\n", true },
        { "root ::= [^é]", "é", false },
        { "root ::= [^é]", "\xc3\xa8", true },
        { "root ::= [à-ü]", "é", true },
        { "root ::= [\\]\\[]", "]", true },
        { "root ::= [\\^\\-a]", "^", true },
        { "root ::= [\"]", "\"", true },
        { "root ::= .", "日", true },
        { "root ::= .", "\n", true },
        { "root ::= . .", "日", false },
        { "root ::= .", "\xc3", false },
        { "root ::= .", "\xed\xa0\x80", false }, /* a surrogate */
        { "root ::= [\xe6\x97\xa5-\xf0\x9f\x98\x80]+", "日😀", true },
        { "root ::= [\\U0001F600-\\U0001F64F]", "😀", true },
        { "root ::= \"\\x41\\u00e9\\U0001F600\\n\\t\\r\\\\\\\"\\[\"", "A\xc3\xa9\xf0\x9f\x98\x80\n\t\r\\\"[",
          true },
        { "root ::= \"\\xe9\"", "é", true }, /* characters, not bytes */
        { "root ::= \"a\" | \"ab\" | \"abc\"", "ab", true },
    };
    check_rows(rows, sizeof rows / sizeof *rows, NULL);
}

static void recursion(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { ARITHMETIC, "(x +1)*12 =y\n", true },
        { ARITHMETIC, "a=b\nx1 = 0\n", true },
        { ARITHMETIC, "(x +1*12 =y\n", false },
        { JSON_GRAMMAR, "{\"a\": [1, -0.5e+1, {\"\\u00e9\": null}], \"é\\n\":true}", true },
        { JSON_GRAMMAR, "{\"a\": [1, }", false },
        { JSON_GRAMMAR, "{ }", true },
        { C_LIKE, "int foo(int a){a = -b+(1);if(a<=1){return x;}else{foo (a, 1);}}", false },
        { C_LIKE, "int foo(int  a){a = -b+( 1 );if(a<=1){return x;}else{foo (a, 1);}}", true },
        { "root ::= \"a\" root \"b\" | \"\"", "aabb", true },
        { "root ::= \"a\" root \"b\" | \"\"", "aab", false },
        { "root ::= root \"a\" | \"b\"", "baa", true }, /* to the left */
        { "root ::= root \"a\" | \"b\"", "ab", false },
        { "root ::= root root | \"a\" | \"(\" root \")\"", "a(aa)a", true },
        { "root ::= x\nx ::= y \"+\" | \"1\"\ny ::= x | y \"*\"", "1*+**+", true },
        { "root ::= x\nx ::= y \"+\" | \"1\"\ny ::= x | y \"*\"", "1**", false },
        { "root ::= root? \"a\"", "aaa", true },
        { "root ::= e root \"a\" | \"b\"\ne ::= \"\" | \"x\"", "xbaa",
          true }, /* to the left, behind nothing */
        { "root ::= e root \"a\" | \"b\"\ne ::= \"\" | \"x\"", "xxxbaaa", true },
        { "root ::= e root \"a\" | \"b\"\ne ::= \"\" | \"x\"", "xxba", false },
        { "root ::= root | \"a\"", "a", true },
        { "root ::= x x\nx ::= x x | \"\" | \"a\"", "aaa", true },
        { "root ::= \"a\" root | \"b\"", "aaab", true }, /* a loop */
        { "root ::= \"a\" x | \"b\"\nx ::= \"y\" root | \"0\" x", "ay00x", false },
        { "root ::= \"a\" x | \"b\"\nx ::= \"y\" root | \"0\" x", "a00yayb", true },
        { "root ::= \"(\" root \")\" x | \"1\"\nx ::= \"+\" root | \"\"", "((1))+(1)+1", true },
        { "root ::= ( \"(\" root \")\" | [ab] )*", "a((b)())b", true },
        { "root ::= x | \"ab\"\nx ::= \"a\" x", "ab", true }, /* x derives nothing, so it is not begun */
        { "root ::= x | \"ab\"\nx ::= \"a\" x", "aa", false },
        { "root ::= [] \"x\" | \"y\"", "y", true },
        { "root ::= [] \"x\" | \"y\"", "x", false },
        { "root ::= \"a\" (x | \"b\")\nx ::= [a] y\ny ::= x", "ab", true },
    };
    check_rows(rows, sizeof rows / sizeof *rows, NULL);
}

static void with_schemas(void **state)
{
    (void)state;
    static const char schemas[] =
        "{\"args\": "
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"}},"
        "\"required\":[\"a\"],\"additionalProperties\":false}, \"n\": {\"type\":\"number\"}, \"any\": true,"
        "\"s\": {\"type\":\"string\",\"maxLength\":2}, \"u\": {\"type\":\"array\",\"uniqueItems\":true}}";
#define CALLS                                                                                                \
    "root ::= call (\"\\n\" call)*\n"                                                                        \
    "call ::= \"<tool_call>\\n{\\\"name\\\": \\\"foo\\\", \\\"arguments\\\": \" args \"}\\n</tool_call>\"\n"
    static const struct row rows[] = {
        { CALLS, "<tool_call>\n{\"name\": \"foo\", \"arguments\": {\"a\": 1}}\n</tool_call>", true },
        { CALLS, "<tool_call>\n{\"name\": \"foo\", \"arguments\": {\"b\": \"x\"}}\n</tool_call>", false },
        { CALLS,
          "<tool_call>\n{\"name\": \"foo\", \"arguments\": {\"a\": "
          "1}}\n</tool_call>\n<tool_call>\n{\"name\": "
          "\"foo\", \"arguments\": {\"b\":\"}\\n</tool\", \"a\" : -12 }}\n</tool_call>",
          true },
        { "root ::= \"[\" foo (\", \" foo)* \"]\"\nfoo ::= \"foo(a=\" n \", b=\" s \")\"",
          "[foo(a=1.5e1, b=\"é1\"), foo(a=-12, b=\"\")]", true },
        { "root ::= \"[\" foo (\", \" foo)* \"]\"\nfoo ::= \"foo(a=\" n \", b=\" s \")\"",
          "[foo(a=1, b=\"abc\")]", false },
        { "root ::= n n | n \"e\" n", "12", true }, /* two numbers, or one number that is to go on */
        { "root ::= n n | n \"e\" n", "1", false },
        { "root ::= n \"e\" n", "1e1e1", true },
        { "root ::= any any", "[1, {\"a\": null}]\"a\"", true },
        { "root ::= any", "{\"a\": [1, 2]}", true },
        { "root ::= (any \";\")* u", "null;\"a;\";[1, 1];[1, 2, \"a\"]", true },
        { "root ::= (any \";\")* u", "[1, 1]", false },
        { "root ::= (any \";\")* u", "[true, null, 1]", true }, /* neither literal can be begun again */
        { "root ::= s+ | \"\\\"a\\\"xy\"", "\"a\"\"12\"", true },
        { "root ::= s+ | \"\\\"a\\\"xy\"", "\"a\"xy", true },
        { "root ::= \"(\" root \")\" | args", "(({\"a\": 1}))", true },
        { "root ::= args | \"x\" root \"y\"\nargs ::= \"foo\"", "xfooy",
          true }, /* a rule goes before a schema */
    };
    check_rows(rows, sizeof rows / sizeof *rows, schemas);
}

static void expressions(void **state)
{
    (void)state;
    static const struct row rows[] = {
        /* the first is an expression */
        { "a+b?", "aab", true },
        { "a+b?", "xaab", false },
        { "^a$", "a", true },
        { "a|b", "ab", false },
        { "(?:a|ab)(?:c|1)", "ab1", true },
        { "[^a]", "\n", true },
        { ".", "\n", false },
        { ".", "日", true },
        { "(?=.*1)[a-b1]+", "ab1", true },
        { "(?=.*1)[a-b1]+", "ab", false },
        { "\\d{2,3}", "12", true },
        { "\\d{2,3}", "1", false },
        { "\"[^\"]*\"", "\"a b\"", true },
        { "", "", true },
        { "(?!ab)[a-c]{2}", "ab", false },
        { "(?!ab)[a-c]{2}", "ba", true },
        { "\\bfoo\\b", "foo", true },
        { "(a?){20}a{3}", "aaa", true },
    };
    struct vocab v;
    vocab_open(&v, pieces, N_PIECES);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct constraint *c;
        struct err e;
        bool ends;
        if (!constraint_of_regex(&c, rows[i].gbnf, strlen(rows[i].gbnf), v.masks, &e))
            fail_msg("%s: %s", rows[i].gbnf, e.msg);
        lives(c, rows[i].text, strlen(rows[i].text), &ends);
        if (ends != rows[i].ok) fail_msg("%s, %s: %d", rows[i].gbnf, rows[i].text, ends);
        check_masks(c, rows[i].text);
        constraint_free(c);
    }
    vocab_close(&v);
}

static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *gbnf, *says;
        enum err_code code;
    } rows[] = {
        { "", "defines no rule named root", ERR_REQUEST },
        { "a ::= \"x\"", "defines no rule named root", ERR_REQUEST },
        { "root ::= a", "line 1, column 10: no rule is named a", ERR_REQUEST },
        { "root ::= \"a\"\n\nroot ::= \"b\"", "line 3, column 1: rule root is defined twice, first in line 1",
          ERR_REQUEST },
        { "root = \"a\"", "line 1, column 6: expected ::= behind a rule's name, found '='", ERR_REQUEST },
        { "\"a\"", "line 1, column 1: expected a rule: name ::= ..., found '\"'", ERR_REQUEST },
        { "root ::= \"é\" $", "line 1, column 14: expected a symbol, '|' or the next rule, found '$'",
          ERR_REQUEST },
        { "root ::= \"abc\n\"", "line 1, column 10: a literal that is not closed", ERR_REQUEST },
        { "root ::= [abc", "line 1, column 10: a class [...] that is not closed", ERR_REQUEST },
        { "root ::= (\"a\"\n", "line 1, column 10: a parenthesis that is not closed", ERR_REQUEST },
        { "root ::= (\"a\" $)", "line 1, column 15: expected a symbol, '|' or ')', found '$'", ERR_REQUEST },
        { "root ::= \"a\")", "column 13: expected a symbol, '|' or the next rule, found ')'", ERR_REQUEST },
        { "root ::= [z-a]", "a range that runs backwards", ERR_REQUEST },
        { "root ::= \"\\q\"", "line 1, column 11: no escape that is known", ERR_REQUEST },
        { "root ::= \"\\x4\"", "expected 2 hexadecimal digits behind \\x, found '\"'", ERR_REQUEST },
        { "root ::= \"\\ud800\"", "half a surrogate pair", ERR_REQUEST },
        { "root ::= \"\\U00110000\"", "no character", ERR_REQUEST },
        { "root ::= *", "column 10: a repetition of nothing", ERR_REQUEST },
        { "root ::= \"a\" | +", "a repetition of nothing", ERR_REQUEST },
        { "root ::= \"a\"{x}", "expected a number, found 'x'", ERR_REQUEST },
        { "root ::= \"a\"{1", "expected }, found the end", ERR_REQUEST },
        { "root ::= \"a\"{3,2}", "whose most is below its least", ERR_REQUEST },
        { "root ::= <think> \"a\"", "<think>: tokens are not supported", ERR_UNSUPPORTED },
        { "root ::= !<[12]> \"a\"", "!<[12]>: tokens are not supported", ERR_UNSUPPORTED },
        { "root ::= \"\xff\"", "not UTF-8", ERR_REQUEST },
        { "root ::= \"a\" root", "rule root derives no text", ERR_REQUEST },
        { "root ::= x\nx ::= \"(\" x \")\"", "rule root derives no text", ERR_REQUEST },
        { "root ::= []", "rule root derives no text", ERR_REQUEST },
        { "root ::= bad", "the schema of bad: ", ERR_REQUEST },
    };
    struct vocab v;
    vocab_open(&v, pieces, N_PIECES);
    json_t *schemas = json_pack("{s:{s:s}}", "bad", "type", "strin");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct constraint *c;
        struct err e = { 0 };
        if (constraint_of_grammar(&c, rows[i].gbnf, strlen(rows[i].gbnf), schemas, NULL, v.masks, &e))
            fail_msg("taken: %s", rows[i].gbnf);
        if (!strstr(e.msg, rows[i].says) || e.code != rows[i].code)
            fail_msg("%s: %s (%d)", rows[i].gbnf, e.msg, e.code);
    }
    json_decref(schemas);
    struct constraint *c;
    struct err e = { 0 };
    assert_false(constraint_of_regex(&c, "a(", 2, v.masks, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    assert_false(constraint_of_regex(&c, "(a)\\1", 5, v.masks, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_false(constraint_of_regex(&c, "a$b", 3, v.masks, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    vocab_close(&v);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What would take too long, or too much, ends at a limit; what only looks so is taken. */
static void hostile(void **state)
{
    (void)state;
    struct vocab v;
    struct buf b = BUF_INIT(1 << 22);
    vocab_open(&v, pieces, N_PIECES);
    for (int kind = 0; kind < 14; kind++) {
        struct constraint *c = NULL;
        struct err e = { 0 };
        bool taken = false, any = false;
        buf_clear(&b);
        switch (kind) {
        case 0: buf_puts(&b, "root ::= (([a-z]{1000}){1000}){1000}"); break;
        case 1: buf_puts(&b, "root ::= [ab]* \"a\" [ab]{40}"); break; /* 2^40 states */
        case 2: /* doubled at each rule: called, not written out */
            buf_puts(&b, "root ::= r0\n");
            for (int i = 0; i < 60; i++) buf_printf(&b, "r%d ::= r%d r%d\n", i, i + 1, i + 1);
            buf_puts(&b, "r60 ::= \"a\"?\n");
            any = true;
            break;
        case 3:
            buf_puts(&b, "root ::= ");
            for (int i = 0; i < 100000; i++) buf_puts(&b, "(");
            break;
        case 4:
            buf_puts(&b, "root ::= \"a\"");
            for (int i = 0; i < 100000; i++) buf_puts(&b, "?");
            break;
        case 5:
            buf_puts(&b, "root ::= r0\n");
            for (int i = 0; i < 100000; i++) buf_printf(&b, "r%d ::= \"a\"\n", i);
            break;
        case 6:
            buf_puts(&b, "root ::= ");
            for (int i = 0; i < 100000; i++) buf_puts(&b, "[a-z]");
            break;
        case 7: /* one circle, found from its end */
            buf_puts(&b, "root ::= r0\n");
            for (int i = 0; i < 4000; i++)
                buf_printf(&b, "r%d ::= \"(\" r%d \")\" | r%d\n", i, (i + 1) % 4000, i / 2);
            buf_puts(&b, "x ::= \"a\"\n");
            break;
        case 8: buf_puts(&b, "root ::= \"a\"{999999999999999999}"); break;
        case 9: /* every state knows all of them */
            buf_puts(&b, "root ::= (");
            for (int i = 0; i < 900; i++) buf_printf(&b, "%s[a-z]{%d} \"x\"", i ? "|" : "", i);
            buf_puts(&b, ")*");
            break;
        case 10: buf_puts(&b, "root ::= root root | root root root | \"a\" | \"\""), any = true; break;
        case 11: buf_puts(&b, "root ::= ((([a-z]*)*)*)* ((([a-z]*)*)*)*"), taken = true; break;
        case 12: buf_puts(&b, "root ::= x{5000}\nx ::= \"(\" x \")\" | [^\\x00-\\x1f]"), any = true; break;
        default:
            buf_puts(&b, "root ::= ");
            for (int i = 0; i < 20000; i++) buf_puts(&b, "r ");
            buf_puts(&b, "\nr ::= [^a] [^b] [^c]");
            any = true;
        }
        const double start = seconds();
        const bool ok = constraint_of_grammar(&c, b.data, b.len, NULL, NULL, v.masks, &e);
        printf("kind %d: %.1f ms %s\n", kind, (seconds() - start) * 1e3, ok ? "taken" : e.msg);
        if (!any && ok != taken) fail_msg("kind %d: %d %s", kind, ok, ok ? "" : e.msg);
        if (!ok && kind != 7 && e.code != ERR_LIMIT) fail_msg("kind %d: %s", kind, e.msg);
        constraint_free(c);
    }
    static const char *const patterns[] = { "(a|b|ab)*c(a?){500}b{400}x{5,900}.*y.{300}", ".*a.{40}b.*c.{40}",
                                            "(?:(?:(?:a{0,1000}){0,1000}){0,1000})", "(x+x+)+y", "(a*)*b" };
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        struct constraint *c = NULL;
        struct err e = { 0 };
        const double start = seconds();
        const bool ok = constraint_of_regex(&c, patterns[i], strlen(patterns[i]), v.masks, &e);
        printf("%s: %.1f ms %s\n", patterns[i], (seconds() - start) * 1e3, ok ? "taken" : e.msg);
        assert_int_equal(ok, i >= 3);
        if (!ok) assert_int_equal(e.code, ERR_LIMIT);
        constraint_free(c);
    }
    buf_free(&b);
    vocab_close(&v);
}

/* A million tokens: what is kept of the text does not grow with it. */
static void long_texts(void **state)
{
    (void)state;
    static const struct {
        const char *gbnf, *begin, *again;
    } rows[] = {
        { JSON_GRAMMAR, "{\"a\": [", "{\"a\": [1, \"b\"]}, " },
        { "root ::= any", "[", "{\"a\": [1, \"b\"], \"c\": {\"x\": null}}, " },
        { C_LIKE, "int foo(){", "if(a<1){x = ( 1+( a*2 ) );}" },
        { "root ::= s*\ns ::= a\na ::= \"(\" root \")\" b | \"x\" b\nb ::= \"y\" | \"\"", "(x", "(xy)yx" },
        { "root ::= \"(\" root \")\" x | \"1\"\nx ::= \"+\" root | \"\"", "(1)",
          "+(1)" }, /* ends in itself, by another */
        { "root ::= root \"+\" x | x\nx ::= \"(\" root \")\" | \"1\"", "1", "+(1+1)" },
    };
    struct vocab v;
    vocab_open(&v, pieces, N_PIECES);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct constraint *c = grammar(&v, rows[i].gbnf, "{\"any\": true}");
        struct matcher *m;
        struct err e;
        double first = 0, last = 0;
        size_t most = 0;
        assert_true(matcher_new(&m, c, &e));
        assert_int_equal(feed(m, rows[i].begin, strlen(rows[i].begin)), strlen(rows[i].begin));
        for (int part = 0; part < 10; part++) {
            const double start = seconds();
            for (int n = 0; n < 10000; n++)
                if (feed(m, rows[i].again, strlen(rows[i].again)) != strlen(rows[i].again))
                    fail_msg("%s\nends at %d", rows[i].gbnf, part * 10000 + n);
            last = seconds() - start;
            if (part == 0) first = last;
            const size_t held = matcher_bytes(m);
            if (held > most) most = held;
        }
        printf("row %zu: the first 10,000 %.1f ms, the last %.1f ms, %zu bytes held\n", i, first * 1e3,
               last * 1e3, most);
        assert_true(most < 1 << 20);
        check_place(m, "...", 0);
        matcher_free(m);
        constraint_free(c);
    }
    vocab_close(&v);
}

/* Names and values that may not come again are many, and found soon; copies go their own way. */
static void distinct(void **state)
{
    (void)state;
    struct vocab v;
    struct err e;
    struct matcher *m, *copy;
    char text[64];
    vocab_open(&v, pieces, N_PIECES);
    struct constraint *c = grammar(&v, "root ::= u", "{\"u\": {\"type\":\"array\",\"uniqueItems\":true}}");
    assert_true(matcher_new(&m, c, &e));
    constraint_free(c); /* the matcher holds it, too */
    feed(m, "[0", 2);
    for (int i = 1; i < 50000; i++) {
        const int n = snprintf(text, sizeof text, ", %d", i);
        assert_int_equal(feed(m, text, (size_t)n), n);
        if (i % 10000 != 0) continue;
        assert_true(matcher_copy(&copy, m, &e));
        assert_int_equal(feed(copy, ", 77]", 5), 4);
        assert_int_equal(feed(copy, ", \"a\"]", 6), 6);
        assert_true(matcher_can_end(copy) && !matcher_can_end(m));
        matcher_free(copy);
    }
    assert_int_equal(feed(m, ", 49999]", 8), 7);
    assert_int_equal(feed(m, ", 50000]", 8), 8);
    assert_true(matcher_can_end(m));
    matcher_free(m);
    vocab_close(&v);
}

static void forced(void **state)
{
    (void)state;
    static const struct {
        const char *gbnf, *behind, *is;
    } rows[] = {
        { "root ::= \"<tool_call>\\n\" args \"\\n</tool_call>\"", "", "<tool_call>\n" },
        { "root ::= \"<tool_call>\\n\" args \"\\n</tool_call>\"", "<tool_call>\n{\"a\": true",
          "" }, /* white space, too */
        { "root ::= \"<tool_call>\\n\" args \"\\n</tool_call>\"", "<tool_call>\n{\"a\": tr", "ue" },
        { "root ::= \"<tool_call>\\n\" args \"\\n</tool_call>\"", "<tool_call>\n{\"a\": true}",
          "\n</tool_call>" },
        { "root ::= \"abc\" | \"abd\"", "", "ab" },
        { "root ::= \"ab\" \"cd\"? \"ef\"", "a", "b" },
        { "root ::= \"ab\" \"cd\"?", "", "ab" }, /* no further: it may end */
        { "root ::= \"ab\" \"cd\"?", "abc", "d" },
        { "root ::= \"日\" | \"旦\"", "", "\xe6\x97\xa5" }, /* U+65E5 and U+65E6 differ in the last byte */
        { "root ::= \"x\" root \"y\" | \"z\"", "xxz", "yy" },
        { "root ::= \"0123456789012345678901234567890123456789\"", "",
          "01234567890123456789012345678901" }, /* cap */
    };
    struct vocab v;
    vocab_open(&v, pieces, N_PIECES);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct constraint *c =
            grammar(&v, rows[i].gbnf,
                    "{\"args\": {\"type\":\"object\",\"properties\":{\"a\":{\"const\":true}},"
                    "\"required\":[\"a\"],\"additionalProperties\":false}}");
        struct matcher *m;
        struct err e;
        char out[32];
        size_t n;
        assert_true(matcher_new(&m, c, &e));
        assert_int_equal(feed(m, rows[i].behind, strlen(rows[i].behind)), strlen(rows[i].behind));
        assert_true(matcher_forced(m, out, sizeof out, &n, &e));
        const size_t want = i == 8 ? 2 : strlen(rows[i].is);
        if (n != want || memcmp(out, rows[i].is, n)) fail_msg("%s: %.*s", rows[i].gbnf, (int)n, out);
        assert_int_equal(feed(m, out, n), n);
        matcher_free(m);
        constraint_free(c);
    }
    vocab_close(&v);
}

/* One caller's grammar that has a word for many ends: more ways to read a text than a state has room for are an error, not a wrong mask. */
static void too_many_ways(void **state)
{
    (void)state;
    struct vocab v;
    struct err e = { 0 };
    struct matcher *m;
    size_t taken;
    vocab_open(&v, pieces, N_PIECES);
    struct constraint *c = grammar(&v, "root ::= root root | \"a\"", NULL);
    assert_true(matcher_new(&m, c, &e));
    bool ok = true;
    for (int i = 0; i < 100000 && ok; i++) ok = matcher_take_bytes(m, "a", 1, &taken, &e);
    assert_false(ok);
    assert_int_equal(e.code, ERR_LIMIT);
    matcher_free(m);
    constraint_free(c);
    vocab_close(&v);
}

struct worker {
    struct constraint *c;
    uint32_t sum;
};

static void *walk_along(void *arg)
{
    struct worker *w = arg;
    static const char text[] = "{\"a\": [1, {\"b\": null}], \"ab\": true}";
    struct matcher *m;
    struct err e;
    if (!matcher_new(&m, w->c, &e)) return NULL;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        uint32_t bits[(N_PIECES + 31) / 32];
        size_t taken;
        if (!matcher_mask(m, bits, &e)) break;
        for (size_t k = 0; k < sizeof bits / sizeof *bits; k++) w->sum = w->sum * 31 + bits[k];
        if (!matcher_take_bytes(m, text + i, 1, &taken, &e) || taken != 1) break;
    }
    matcher_free(m);
    constraint_free(w->c);
    return NULL;
}

/* Several threads with one constraint: each sees the masks that one alone sees. */
static void shared(void **state)
{
    (void)state;
    static const char *const grammars[] = { JSON_GRAMMAR, "root ::= any" };
    struct vocab v;
    vocab_open(&v, pieces, N_PIECES);
    for (size_t g = 0; g < 2; g++) {
        struct worker alone = { grammar(&v, grammars[g], "{\"any\": true}"), 0 }, w[4];
        struct constraint *c = grammar(&v, grammars[g], "{\"any\": true}");
        pthread_t thread[4];
        walk_along(&alone);
        assert_true(alone.sum != 0);
        for (int i = 0; i < 4; i++) {
            w[i] = (struct worker){ constraint_ref(c), 0 };
            assert_int_equal(pthread_create(&thread[i], NULL, walk_along, &w[i]), 0);
        }
        constraint_free(c);
        for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
        for (int i = 0; i < 4; i++) assert_int_equal(w[i].sum, alone.sum);
    }
    vocab_close(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notation),      cmocka_unit_test(recursion), cmocka_unit_test(with_schemas),
        cmocka_unit_test(expressions),   cmocka_unit_test(refusals),  cmocka_unit_test(hostile),
        cmocka_unit_test(long_texts),    cmocka_unit_test(distinct),  cmocka_unit_test(forced),
        cmocka_unit_test(too_many_ways), cmocka_unit_test(shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
