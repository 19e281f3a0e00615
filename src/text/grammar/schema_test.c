/* schema_test.c - schemas against the reference's verdicts, masks against bytes, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/buf.h"
#include "text/grammar/ecma.h"
#include "text/grammar/test_vocab.h"

/* A small vocabulary that crosses every border: pieces of JSON, of words, of characters, of escapes. */
static const char *const pieces[] = {
    "{",        "}",        "[",
    "]",        ":",        ",",
    "\"",       " ",        "\n",
    "  ",       "0",        "1",
    "2",        "10",       "-",
    ".",        ".5",       "e",
    "e+",       "true",     "fal",
    "se",       "null",     "nul",
    "l",        "a",        "b",
    "ab",       "c",        "x1",
    "foo",      "kind",     "\"a",
    "\"a\"",    "\":",      "\": ",
    "\", \"",   "\"}",      "\"}]",
    "{\"",      "{\"a\": ", "[[",
    "]]",       "}}",       "\\",
    "\\n",      "\\u",      "00e9",
    "\\u00",    "d83d",     "\\ud83d\\ude00",
    "\xc3",     "\xa9",     "é",
    "\xe6\x97", "\xa5",     "日",
    "\"b\": 1", ", \"b",    "1, ",
    "1]",       "12",       "3",
    "7",        "-1",       "\"abc\"",
};
enum { N_PIECES = sizeof pieces / sizeof *pieces };

static json_t *parse(const char *text)
{
    json_error_t why;
    json_t *j = json_loads(text, JSON_DECODE_ANY, &why);
    if (!j) fail_msg("%s: %s", text, why.text);
    return j;
}

static struct constraint *constraint(struct vocab *v, const json_t *schema)
{
    struct schema *s;
    struct constraint *c;
    struct err e;
    if (!schema_compile(&s, schema, NULL, &e)) return NULL;
    assert_true(constraint_of_schema(&c, s, v->masks, &e));
    return c;
}

static bool accepts(struct constraint *c, const char *text)
{
    struct matcher *m;
    struct err e;
    assert_true(matcher_new(&m, c, &e));
    const bool ok = feed(m, text, strlen(text)) == strlen(text) && matcher_can_end(m);
    matcher_free(m);
    return ok;
}

/* At each place of a text: a token is in the mask exactly when its bytes can follow. */
static void check_masks(struct constraint *c, const char *text)
{
    struct err e;
    const size_t len = strlen(text);
    for (size_t at = 0; at <= len; at++) {
        struct matcher *m;
        uint32_t bits[(N_PIECES + 31) / 32];
        assert_true(matcher_new(&m, c, &e));
        const bool reached = feed(m, text, at) == at;
        if (reached && !matcher_mask(m, bits, &e)) fail_msg("%s", e.msg);
        for (int i = 0; i < N_PIECES && reached; i++) {
            struct matcher *k;
            assert_true(matcher_new(&k, c, &e));
            feed(k, text, at);
            const bool can = feed(k, pieces[i], strlen(pieces[i])) == strlen(pieces[i]);
            const bool said = bits[i / 32] >> (i % 32) & 1;
            if (can != said)
                fail_msg("behind %.*s the mask says %d of %s, its bytes %d", (int)at, text, said, pieces[i],
                         can);
            matcher_free(k);
        }
        matcher_free(m);
        if (!reached) break;
    }
}

/* Each schema of the reference's, with its verdict on each instance; masks along every eleventh. */
static void reference(void **state)
{
    (void)state;
    struct vocab v;
    FILE *f = fopen("tests/golden/schema/cases.jsonl", "r");
    char *line = NULL;
    size_t cap = 0;
    int n_schema = 0, n_text = 0, nothing = 0;
    vocab_open(&v, pieces, N_PIECES);
    assert_non_null(f);
    while (getline(&line, &cap, f) > 0) {
        json_t *o = parse(line), *t;
        size_t i;
        struct constraint *c = constraint(&v, json_object_get(o, "schema"));
        nothing += !c;
        json_array_foreach(json_object_get(o, "tests"), i, t)
        {
            const char *text = json_string_value(json_object_get(t, "text"));
            const bool valid = json_is_true(json_object_get(t, "valid")), is = c && accepts(c, text);
            if (is != valid) {
                char *schema = json_dumps(json_object_get(o, "schema"), JSON_ENCODE_ANY);
                fail_msg("%s: %s of %s", valid ? "refused" : "accepted", text, schema);
            }
            if (c && (n_schema + (int)i) % 11 == 0) check_masks(c, text);
            n_text++;
        }
        n_schema++;
        constraint_free(c);
        json_decref(o);
    }
    assert_true(n_schema > 130 && n_text > 5000);
    assert_int_equal(nothing, 15); /* schemas that nothing meets are refused */
    free(line);
    fclose(f);
    vocab_close(&v);
}

/* What a text may look like beyond what a printer writes. */
static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *text;
        bool ok;
    } rows[] = {
        { "{\"type\":\"object\"}", "{ \"a\" : 1 }", true },
        { "{\"type\":\"object\"}", "{\n    \"a\": [\n        1\n    ]\n}", true },
        { "{\"type\":\"object\"}", "{\"a\": 1, \"a\": 2}", false }, /* a name once */
        { "{\"type\":\"object\"}", "{\"a\": 1, \"\\u0061\": 2}", false },
        { "{\"type\":\"object\"}", "{\"a\": 1,}", false },
        { "{\"type\":\"object\"}", "{\n\n\n\"a\": 1}", false }, /* no more than one line break */
        { "{\"type\":\"object\"}", "{          \"a\": 1}", false },
        { "{\"type\":\"array\"}", "[1 2]", false },
        { "{\"type\":\"array\"}", "[] ", false },
        { "{\"type\":\"string\"}", "\"\\ud83d\\ude00\"", true },
        { "{\"type\":\"string\"}", "\"\\ud83d\"", false },
        { "{\"type\":\"string\"}", "\"\\udc00\"", false },
        { "{\"type\":\"string\"}", "\"\xc3(\"", false },
        { "{\"type\":\"string\"}", "\"a\tb\"", false },
        { "{\"enum\":[\"é\"]}", "\"\\u00e9\"", true },
        { "{\"enum\":[\"é\"]}", "\"\\u00E9\"", true },
        { "{\"enum\":[\"é\"]}", "\"\\u00e8\"", false },
        { "{\"type\":\"string\",\"maxLength\":1}", "\"\\ud83d\\ude00\"", true },
        { "{\"type\":\"string\",\"maxLength\":1}", "\"\\ud83d\\ude00x\"", false },
        { "{\"type\":\"integer\"}", "007", false },
        /* bounds beyond 64 bits, as a request's JSON brings them: reals */
        { "{\"type\":\"integer\",\"maximum\":18446744073709551615.0}", "18446744073709551615", true },
        { "{\"type\":\"integer\",\"maximum\":18446744073709551615.0}", "18446744073709551616", false },
        { "{\"type\":\"integer\",\"maximum\":9223372036854775808.0}", "9223372036854775808", true },
        { "{\"type\":\"integer\",\"maximum\":9223372036854775808.0}", "9223372036854775809", false },
        { "{\"type\":\"integer\",\"minimum\":-9223372036854775808}", "-9223372036854775808", true },
        { "{\"type\":\"integer\",\"minimum\":-9223372036854775808}", "-9223372036854775809", false },
        { "{\"type\":\"integer\",\"minimum\":-1e30}", "-1000000000000000000000000000000", true },
        { "{\"const\":18446744073709551615.0}", "18446744073709551615", true },
        { "{\"const\":18446744073709551615.0}", "18446744073709551614", false },
        { "{\"enum\":[2]}", "2.0", true }, /* equal numbers */
        { "{\"enum\":[2]}", "2.5", false },
        { "{\"type\":\"number\"}", "1.", false },
        { "{\"type\":\"number\"}", "-0.5E-10", true },
        { "{\"uniqueItems\":true,\"type\":\"array\"}", "[1, 1.0]", false },
        { "{\"uniqueItems\":true,\"type\":\"array\"}", "[{\"a\": 1, \"b\": 2}, {\"b\": 2, \"a\": 1}]",
          false },
        { "{\"uniqueItems\":true,\"type\":\"array\"}", "[\"a\", \"\\u0061\"]", false },
        { "{\"uniqueItems\":true,\"type\":\"array\"}", "[[1, 2], [2, 1], [12]]", true },
        { "{\"uniqueItems\":true,\"items\":{\"enum\":[\"a\",\"b\"]},\"type\":\"array\"}", "[\"b\", \"a\"",
          false },
    };
    struct vocab v;
    vocab_open(&v, pieces, N_PIECES);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *schema = parse(rows[i].schema);
        struct constraint *c = constraint(&v, schema);
        assert_non_null(c);
        if (accepts(c, rows[i].text) != rows[i].ok) fail_msg("%s: %s", rows[i].schema, rows[i].text);
        check_masks(c, rows[i].text);
        constraint_free(c);
        json_decref(schema);
    }
    vocab_close(&v);
}

/* What cannot be enforced is refused by keyword and path, and soon. */
static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *says;
        enum err_code code;
    } rows[] = {
        { "{\"properties\":{\"a\":{\"type\":\"strin\"}}}", "#/properties/a/type: strin is no type",
          ERR_REQUEST },
        { "{\"minLength\":-1}", "#/minLength: has to be a whole number", ERR_REQUEST },
        { "{\"additonalProperties\":false}",
          "#/additonalProperties: unknown keyword; did you mean additionalProperties?", ERR_REQUEST },
        { "{\"items\":{\"min_length\":3}}", "#/items/min_length: unknown keyword; did you mean minLength?",
          ERR_REQUEST },
        { "{\"anyOf\":[{\"MaxLength\":3}]}", "did you mean maxLength?", ERR_REQUEST },
        { "{\"require\":[\"a\"]}", "did you mean required?", ERR_REQUEST },
        { "{\"proprties\":{}}", "did you mean properties?", ERR_REQUEST },
        { "{\"oneof\":[]}", "did you mean oneOf?", ERR_REQUEST },
        { "{\"itmes\":{}}", "did you mean items?", ERR_REQUEST },
        { "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"patern\":\"x\"}}}",
          "#/$defs/a/patern: unknown keyword; did you mean pattern?", ERR_REQUEST },
        { "{\"required\":\"a\"}", "#/required: has to be a list", ERR_REQUEST },
        { "{\"properties\":{\"a\":3}}", "#/properties/a: a schema is an object", ERR_REQUEST },
        { "{\"$ref\":\"#/nowhere\"}", "#/$ref: #/nowhere leads nowhere", ERR_REQUEST },
        { "{\"$ref\":\"http://x.y/z\"}", "http://x.y/z is outside this schema", ERR_UNSUPPORTED },
        { "{\"$ref\":\"#\"}", "refers to itself", ERR_REQUEST },
        { "{\"allOf\":[{\"$ref\":\"#\"}]}", "refers to itself", ERR_REQUEST },
        { "{\"not\":{\"unevaluatedProperties\":false}}", "#/not/unevaluatedProperties: under not",
          ERR_UNSUPPORTED },
        { "{\"contains\":{},\"unevaluatedItems\":false}", "#/unevaluatedItems: beside contains",
          ERR_UNSUPPORTED },
        { "{\"$dynamicRef\":\"#n\",\"$defs\":{\"a\":{\"$id\":\"a\",\"$dynamicAnchor\":\"n\"},\"b\":{\"$"
          "dynamicAnchor\":\"n\"}}}",
          "#/$dynamicRef: where several schemas have the anchor", ERR_UNSUPPORTED },
        { "{\"pattern\":\"(a)\\\\1\"}", "a back reference at byte 4", ERR_UNSUPPORTED },
        { "{\"pattern\":\"(?<=a)b\"}", "lookbehind", ERR_UNSUPPORTED },
        { "{\"pattern\":\"[z-a]\"}", "#/pattern: the regular expression has a range that runs backwards",
          ERR_REQUEST },
        { "{\"type\":\"integer\",\"minimum\":5,\"maximum\":3}", "nothing can meet it", ERR_REQUEST },
        { "{\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{\"$ref\":\"#\"}}}",
          "nothing can meet it", ERR_REQUEST },
        { "{\"multipleOf\":0}", "#/multipleOf: has to be above 0", ERR_REQUEST },
        { "{\"not\":{\"uniqueItems\":true},\"type\":\"array\"}", "uniqueItems: cannot be negated",
          ERR_UNSUPPORTED },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *schema = parse(rows[i].schema);
        struct schema *s;
        struct err e = { 0 };
        if (schema_compile(&s, schema, NULL, &e)) fail_msg("taken: %s", rows[i].schema);
        if (!strstr(e.msg, rows[i].says) || e.code != rows[i].code)
            fail_msg("%s: %s (%d)", rows[i].schema, e.msg, e.code);
        json_decref(schema);
    }
}

/* What decides nothing is named to whoever asked; annotations are not. */
static void ignored(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *first; /* NULL: nothing is ignored */
        int n;
    } rows[] = {
        { "{\"title\":\"t\",\"description\":\"d\",\"default\":1,\"x-y\":1,\"ui:order\":[],\"_note\":0,\"$"
          "comment\":\"\"}",
          NULL, 0 },
        { "{\"properties\":{\"a\":{\"visible\":true,\"note\":\"n\"}},\"form\":1}", "#/form", 3 },
        { "{\"$schema\":\"http://json-schema.org/draft-04/"
          "schema#\",\"if\":{\"type\":\"string\"},\"else\":false}",
          "#/if", 1 },
        { "{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"definitions\":{\"a\":{}},"
          "\"properties\":{\"b\":{\"$ref\":\"#/definitions/a\",\"minimum\":1}}}",
          "#/properties/b/minimum", 1 },
        { "{\"properties\":{\"minlength\":{},\"items\":{}}}", NULL,
          0 }, /* names of members are no keywords */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *schema = parse(rows[i].schema);
        struct schema *s;
        struct err e;
        if (!schema_compile(&s, schema, NULL, &e)) fail_msg("%s: %s", rows[i].schema, e.msg);
        if (s->n_ignored != rows[i].n || (rows[i].n && strcmp(s->ignored[0], rows[i].first)))
            fail_msg("%s: %d, %s", rows[i].schema, s->n_ignored, s->n_ignored ? s->ignored[0] : "");
        schema_free(s);
        json_decref(schema);
    }
}

/* Hostile schemas, made of a piece n times: side by side with commas between (but in a
 * pattern), or each around the next. %1$d in a piece is its number. */
static const struct {
    const char *name, *open, *piece;
    int n;
    const char *close;
    bool nested;
    enum err_code code; /* ERR_NONE: it may as well compile, if it does so soon */
} hostile_rows[] = {
    { "oneOf, none excludes another", "{\"oneOf\":[",
      "{\"properties\":{\"a%1$d\":{\"minimum\":%1$d},\"b\":{}}}", 60, "]}", false, ERR_LIMIT },
    { "oneOf inside oneOf", "{\"x\":{\"type\":\"string\"}}",
      "{\"oneOf\":[{\"required\":[\"r%1$d\"]},{\"properties\":{\"p\":", 150, "}}]}", true, ERR_NONE },
    { "allOf of anyOf", "{\"allOf\":[",
      "{\"anyOf\":[{\"required\":[\"a%1$d\"]},{\"required\":[\"b%1$d\"]},{\"required\":[\"c%1$d\"]}]}", 20,
      "]}", false, ERR_LIMIT },
    { "conditions", "{\"allOf\":[",
      "{\"if\":{\"properties\":{\"k%1$d\":{\"const\":1}},\"required\":[\"k%1$d\"]},\"then\":{\"required\":["
      "\"t%1$d\"]}}",
      40, "]}", false, ERR_LIMIT },
    { "dependentSchemas", "{\"dependentSchemas\":{", "\"k%1$d\":{\"required\":[\"t%1$d\"]}", 40, "}}", false,
      ERR_LIMIT },
    { "references that fork", "{\"$ref\":\"#/$defs/d0\",\"$defs\":{",
      "\"d%1$d\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%2$d\"},{\"required\":[\"z%1$d\"],\"$ref\":\"#/$defs/"
      "d%2$d\"}]}",
      30, ",\"d30\":{}}}", false, ERR_LIMIT },
    { "a chain of references", "{\"$ref\":\"#/$defs/d0\",\"$defs\":{",
      "\"d%1$d\":{\"$ref\":\"#/$defs/d%2$d\"}", 5000, ",\"d5000\":{}}}", false, ERR_REQUEST },
    { "not inside not", "{\"required\":[\"a\"]}", "{\"not\":{\"anyOf\":[{\"required\":[\"n%1$d\"]},", 150,
      "]}}", true, ERR_NONE },
    { "a million constants", "{\"enum\":[", "%1$d", 1000000, "]}", false, ERR_LIMIT },
    { "a hundred thousand texts", "{\"enum\":[", "\"%1$d of them\"", 100000, "]}", false, ERR_LIMIT },
    { "constants that are objects", "{\"enum\":[", "{\"a\":%1$d,\"b\":[%1$d]}", 20000, "]}", false,
      ERR_LIMIT },
    { "a large constant", "{\"const\":{", "\"k%1$d\":{\"a\":%1$d,\"b\":[%1$d,{}]}", 20000, "}}", false,
      ERR_LIMIT },
    { "reals", "{\"type\":\"number\",\"not\":{\"enum\":[", "%1$d.%1$de-%1$d", 300, "]}}", false, ERR_NONE },
    { "bounds", "{\"type\":\"number\",\"anyOf\":[", "{\"minimum\":%1$d.1234567,\"maximum\":%1$d.7654321}",
      3000, "]}", false, ERR_LIMIT },
    { "multiples", "{\"type\":\"integer\",\"allOf\":[", "{\"multipleOf\":9%1$d1}", 9, "]}", false,
      ERR_LIMIT },
    { "many multiples", "{ \"properties\":{", "\"p%1$d\":{\"multipleOf\":9%1$d,\"maximum\":12345}", 300, "}}",
      false, ERR_LIMIT },
    { "members", "{ \"properties\":{", "\"p%1$d\":{\"minimum\":%1$d}", 100000, "}}", false, ERR_LIMIT },
    { "required", "{\"required\":[", "\"r%1$d\"", 200000, "]}", false, ERR_LIMIT },
    { "dependencies in a row", "{\"dependentRequired\":{", "\"k%1$d\":[\"k%2$d\"]", 3000, "}}", false,
      ERR_NONE },
    { "patterns of names that overlap", "{ \"patternProperties\":{", "\"a.{%1$d}b\":{\"minimum\":%1$d}", 20,
      "}}", false, ERR_LIMIT },
    { "items", "{ \"prefixItems\":[", "{\"minimum\":%1$d}", 5000, "]}", false, ERR_LIMIT },
    { "contains", "{\"allOf\":[", "{\"contains\":{\"const\":%1$d}}", 10, "]}", false, ERR_LIMIT },
    { "alternatives of a pattern", "{\"pattern\":\"", "x%1$d.*y%1$d|", 500, "z\"}", false, ERR_LIMIT },
    { "lookaheads", "{\"pattern\":\"^", "(?=.*a%1$d.{9})", 16, ".*$\"}", false, ERR_LIMIT },
    { "groups", "{\"pattern\":\"", "(", 100000, "\"}", false, ERR_LIMIT },
    { "a pattern of many branches", "{\"pattern\":\"", "a|", 100000, "z\"}", false, ERR_LIMIT },
    { "repeated repetition", "{\"pattern\":\"^((((a{1,99}){1,99}){1,99}){1,99}){1,99}", "b{1,99}", 3, "$\"}",
      false, ERR_LIMIT },
    { "a state for each length",
      "{\"type\":\"string\",\"minLength\":3,\"maxLength\":100000,\"pattern\":\"^(ab)*", "", 1, "$\"}", false,
      ERR_LIMIT },
    { "what a deterministic automaton is bad at", "{\"pattern\":\".*a.{40}b.*c.{40}", "", 1, "\"}", false,
      ERR_LIMIT },
    { "a length that is negated", "{\"not\":{\"type\":\"string\",\"maxLength\":1000000}", "", 1, "}", false,
      ERR_LIMIT },
    { "no end of items", "{\"type\":\"array\",\"minItems\":1000000000,\"items\":{\"enum\":[", "%1$d", 400,
      "]}}", false, ERR_NONE },
    { "deep", "{}", "{\"items\":", 390, "}", true, ERR_NONE },
    { "deeper", "{}", "{\"items\":", 1900, "}", true, ERR_LIMIT },
};

static json_t *hostile_schema(size_t row)
{
    struct buf b = BUF_INIT(1 << 28);
    json_error_t why;
    if (!hostile_rows[row].nested) buf_puts(&b, hostile_rows[row].open);
    for (int i = 0; i < hostile_rows[row].n; i++) {
        char piece[400];
        /* NOLINTNEXTLINE(clang-diagnostic-format-nonliteral) */
        snprintf(piece, sizeof piece, hostile_rows[row].piece, i, i + 1);
        if (i && !hostile_rows[row].nested && hostile_rows[row].open[2] != 'p') buf_putc(&b, ',');
        buf_puts(&b, piece);
    }
    if (hostile_rows[row].nested) buf_puts(&b, hostile_rows[row].open);
    for (int i = 0; i < (hostile_rows[row].nested ? hostile_rows[row].n : 1); i++)
        buf_puts(&b, hostile_rows[row].close);
    json_t *j = json_loads(b.data, 0, &why);
    if (!j) fail_msg("%s: %s", hostile_rows[row].name, why.text);
    buf_free(&b);
    return j;
}

/* They end at a limit; how long that took is printed, for the eye (100 ms is what is promised of a release build). */
static void hostile(void **state)
{
    (void)state;
    double most = 0;
    for (size_t i = 0; i < sizeof hostile_rows / sizeof *hostile_rows; i++) {
        json_t *schema = hostile_schema(i);
        struct schema *s;
        struct err e = { 0 };
        const clock_t start = clock();
        const bool ok = schema_compile(&s, schema, NULL, &e);
        const double ms = (double)(clock() - start) * 1e3 / CLOCKS_PER_SEC;
        if (ms > most) most = ms;
        printf("%7.1f ms  %s: %.70s\n", ms, hostile_rows[i].name, ok ? "compiles" : e.msg);
        if (ok) schema_free(s);
        if (!ok && e.code != ERR_LIMIT && e.code != hostile_rows[i].code)
            fail_msg("%s: %s (%d)", hostile_rows[i].name, e.msg, e.code);
        if (ok && hostile_rows[i].code != ERR_NONE) fail_msg("taken: %s", hostile_rows[i].name);
        json_decref(schema);
    }
    printf("%7.1f ms at most\n", most);
}

/* Objects that list properties may admit no others, if the caller says so. */
static void closed_objects(void **state)
{
    (void)state;
    static const struct {
        const char *schema, *text;
        bool open, closed; /* is it valid when objects are open, and when they are closed? */
    } rows[] = {
        { "{\"properties\":{\"a\":{}}}", "{\"a\": 1}", true, true },
        { "{\"properties\":{\"a\":{}}}", "{\"b\": 1}", true, false },
        { "{\"properties\":{\"a\":{}}}", "{}", true, true },
        { "{\"type\":\"object\"}", "{\"b\": 1}", true, true },
        { "{\"properties\":{\"a\":{}},\"additionalProperties\":true}", "{\"b\": 1}", true, true },
        { "{\"properties\":{\"a\":{}},\"patternProperties\":{\"^x\":{}}}", "{\"b\": 1}", true, true },
        { "{\"properties\":{\"a\":{}},\"required\":[\"b\"]}", "{\"b\": 1}", true, true },
        { "{\"allOf\":[{\"properties\":{\"a\":{}}},{\"properties\":{\"b\":{}}}]}", "{\"a\": 1, \"b\": 2}",
          true, true },
        { "{\"allOf\":[{\"properties\":{\"a\":{}}},{\"properties\":{\"b\":{}}}]}", "{\"c\": 1}", true,
          false },
        { "{\"anyOf\":[{\"properties\":{\"a\":{}}},{\"required\":[\"z\"]}]}", "{\"c\": 1}", true, false },
    };
    struct vocab v;
    vocab_open(&v, pieces, N_PIECES);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int shut = 0; shut < 2; shut++) {
            const struct schema_limits l = { .closed_objects = shut };
            json_t *schema = parse(rows[i].schema);
            struct schema *s;
            struct constraint *c;
            struct err e;
            if (!schema_compile(&s, schema, &l, &e)) fail_msg("%s: %s", rows[i].schema, e.msg);
            assert_true(constraint_of_schema(&c, s, v.masks, &e));
            if (accepts(c, rows[i].text) != (shut ? rows[i].closed : rows[i].open))
                fail_msg("%s of %s, %s", rows[i].text, rows[i].schema, shut ? "closed" : "open");
            constraint_free(c);
            json_decref(schema);
        }
    vocab_close(&v);
}

/* Whoever waits no longer ends it; and what it may cost is the caller's to say. */
static void cancelled(void **state)
{
    (void)state;
    atomic_bool flag = true;
    const struct schema_limits ended = { .cancel = &flag }, few = { .steps = 10000 },
                               small = { .bytes = 100000 };
    json_t *schema = parse("{\"properties\":{\"a\":{\"type\":\"string\",\"format\":\"email\"}}}");
    struct schema *s;
    struct err e = { 0 };
    assert_false(schema_compile(&s, schema, &ended, &e));
    assert_int_equal(e.code, ERR_CANCELLED);
    assert_false(schema_compile(&s, schema, &few, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.msg, "too much work"));
    assert_false(schema_compile(&s, schema, &small, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.msg, "too much memory"));
    flag = false;
    assert_true(schema_compile(&s, schema, &ended, &e));
    schema_free(s);
    json_decref(schema);
}

static void regular_expressions(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool is;
    } rows[] = {
        { "b", "abc", true },
        { "^b", "abc", false },
        { "c$", "abc", true },
        { "^a.c$", "a\nc", false },
        { "^a{2,3}$", "aaaa", false },
        { "^a{2,3}?$", "aa", true },
        { "^(?:a|b)+$", "abba", true },
        { "^[^a-c]$", "d", true },
        { "^[\\d_-]+$", "1_-", true },
        { "^\\w+$", "é", false },
        { "^\\s$", "\xc2\xa0", true },
        { "^\\S+$", "日本", true },
        { "^(?!a)", "b", true },
        { "^(?!a)", "abc", false },
        { "^(?=.*b)(?=.*c)a", "acb", true },
        { "^(?=.*b)(?=.*c)a", "ac", false },
        { "^((?!ab).)*$", "xxa", true },
        { "^((?!ab).)*$", "xab", false },
        { "\\bfoo\\b", "a foo.", true },
        { "\\bfoo\\b", "afoo", false },
        { "^\\u00e9\\x41$", "éA", true },
        { "^\\p{Lu}+$", "ÀB", true },
        { "^\\p{Lu}+$", "Àb", false },
        { "a|^b$|c", "b", true },
        { "^.$", "😀", true },
        { "^[\\u{1f600}-\\u{1f64f}]$", "😀", true },
        { "^a{0}$", "", true },
        { "^(?<n>a)b$", "ab", true },
        { "^\\/\\-\\$$", "/-$", true },
        { "{", "{", true },
        { "^a{,2}$", "a{,2}", true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rx_pool *p = rx_pool_new(100000, 0);
        struct dfa *d;
        struct err e;
        rx r;
        assert_non_null(p);
        if (!ecma_search(p, rows[i].pattern, strlen(rows[i].pattern), &r, &e))
            fail_msg("%s: %s", rows[i].pattern, e.msg);
        if (!dfa_new(&d, p, r, NULL, 0, 10000, &e)) fail_msg("%s: %s", rows[i].pattern, e.msg);
        if (dfa_accepts(d, rows[i].text, strlen(rows[i].text)) != rows[i].is)
            fail_msg("%s in %s", rows[i].pattern, rows[i].text);
        dfa_free(d);
        rx_pool_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(reference), cmocka_unit_test(texts),
                                        cmocka_unit_test(refusals),  cmocka_unit_test(ignored),
                                        cmocka_unit_test(hostile),   cmocka_unit_test(closed_objects),
                                        cmocka_unit_test(cancelled), cmocka_unit_test(regular_expressions) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
