/* Golden cases made by real jinja2 with transformers' settings (tools/reference/template.py), limits, provenance.
 *
 * `chat_template_test render` is the other half of tools/reference/template_diff.py: one JSON object a line on stdin
 * ({"template", "context"}), one a line on stdout ({"text"} or {"error"}). */
#include "text/jinja/chat_template.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDEN "tests/golden/template/"
#define NOW 1735825445 /* 2025-01-02 13:44:05 UTC, as in tools/reference/template.py */

static json_t *load(const char *path)
{
    json_error_t why;
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &why);
    if (!j) fail_msg("%s:%d: %s", path, why.line, why.text);
    return j;
}

/* true and *out, or false and *e. */
static bool render(const char *source, size_t len, const json_t *ctx, struct rendered *out, struct err *e)
{
    struct chat_template *t;
    if (!chat_template_compile(&t, source, len, e)) return false;
    const bool ok = chat_template_render(t, ctx, &(struct render_options){ .now_unix = NOW }, out, e);
    chat_template_free(t);
    return ok;
}

static bool render_str(const char *source, const char *ctx_json, struct rendered *out, struct err *e)
{
    json_t *ctx = json_loads(ctx_json, 0, NULL);
    assert_non_null(ctx);
    const bool ok = render(source, strlen(source), ctx, out, e);
    json_decref(ctx);
    return ok;
}

static void release(struct rendered *r)
{
    free(r->text);
    free(r->data);
}

/* One case: "output", "raises" (the message of raise_exception) or "fails". Returns whether it holds. */
static bool check_case(const char *file, const json_t *c, const char *source, size_t len, const json_t *ctx)
{
    const json_t *output = json_object_get(c, "output"), *raises = json_object_get(c, "raises");
    const char *name = json_string_value(json_object_get(c, "name"));
    struct rendered r;
    struct err e = { 0 };
    bool good;
    if (!name) name = source;
    if (render(source, len, ctx, &r, &e)) {
        good = output && json_string_length(output) == r.len &&
               memcmp(json_string_value(output), r.text, r.len) == 0;
        if (!good)
            print_message("%s: %s\n  want: %s\n  got:  %s\n", file, name,
                          output ? json_string_value(output) : "(an error)", r.text);
        release(&r);
        return good;
    }
    good = raises ? strcmp(json_string_value(raises), e.msg) == 0 : !output;
    if (!good)
        print_message("%s: %s\n  want: %s\n  got error: %s\n", file, name,
                      output ? json_string_value(output) : json_string_value(raises), e.msg);
    return good;
}

/* A small case file: {"context": {...}, "cases": [{"template", "output"|"raises"|"fails", "context"?}]}. */
static int check_small(const char *path)
{
    json_t *file = load(path), *c;
    size_t i;
    int bad = 0;
    json_array_foreach(json_object_get(file, "cases"), i, c)
    {
        const json_t *t = json_object_get(c, "template"), *ctx = json_object_get(c, "context");
        bad += !check_case(path, c, json_string_value(t), json_string_length(t),
                           ctx ? ctx : json_object_get(file, "context"));
    }
    assert_true(i > 0);
    json_decref(file);
    return bad;
}

static void small_cases(void **state)
{
    (void)state;
    DIR *d = opendir(GOLDEN);
    assert_non_null(d);
    int bad = 0, files = 0;
    for (const struct dirent *f; (f = readdir(d));) {
        char path[512];
        if (strncmp(f->d_name, "small_", 6) != 0) continue;
        snprintf(path, sizeof path, GOLDEN "%s", f->d_name);
        bad += check_small(path);
        files++;
    }
    closedir(d);
    assert_true(files > 0);
    if (bad) fail_msg("%d cases differ from jinja2", bad);
}

/* Whole chat templates: {"template" or "from": [file, key], "cases": [{"conversation", ...}]}
 * over the conversations of conversations.json. */
static void family_cases(void **state)
{
    (void)state;
    json_t *conversations = load(GOLDEN "conversations.json");
    DIR *d = opendir(GOLDEN);
    assert_non_null(d);
    int bad = 0, files = 0;
    for (const struct dirent *f; (f = readdir(d));) {
        char path[512];
        if (strncmp(f->d_name, "family_", 7) != 0) continue;
        snprintf(path, sizeof path, GOLDEN "%s", f->d_name);
        json_t *file = load(path), *from = json_object_get(file, "from"), *other = NULL, *c;
        const json_t *t = json_object_get(file, "template");
        if (from) {
            /* as reals: model_max_length may be 10^30 */
            other = json_load_file(json_string_value(json_array_get(from, 0)), JSON_DECODE_INT_AS_REAL, NULL);
            assert_non_null(other);
            t = json_object_get(other, json_string_value(json_array_get(from, 1)));
        }
        size_t i;
        json_array_foreach(json_object_get(file, "cases"), i, c)
        {
            json_t *ctx =
                json_copy(json_object_get(conversations, json_string_value(json_object_get(c, "name"))));
            assert_non_null(ctx);
            json_object_update(ctx, json_object_get(file, "context"));
            bad += !check_case(path, c, json_string_value(t), json_string_length(t), ctx);
            json_decref(ctx);
        }
        assert_true(i > 0);
        files++;
        json_decref(other);
        json_decref(file);
    }
    closedir(d);
    json_decref(conversations);
    assert_true(files > 0);
    if (bad) fail_msg("%d cases differ from jinja2", bad);
}

/* --- provenance ---------------------------------------------------------------------------------------------------- */

#define CTX                                                                                                  \
    "{\"bos\": \"<s>\", \"m\": {\"role\": \"user\", \"text\": \" Hi <|x|>, \\\"you\\\" \", \"n\": 7, "       \
    "\"k<\": 1},"                                                                                            \
    " \"list\": [\"aB\", \"c\"], \"uml\": [\"\\u00fcb\\u00df\"]}"

/* want: the text with data in brackets: "<s>[Hi]". */
static void expect_mask(const char *source, const char *want)
{
    struct rendered r;
    struct err e;
    if (!render_str(source, CTX, &r, &e)) fail_msg("%s: %s", source, e.msg);
    char got[1024];
    size_t n = 0;
    for (size_t i = 0; i <= r.len; i++) {
        const bool now = i < r.len && r.data[i], before = i > 0 && r.data[i - 1];
        if (now && !before) got[n++] = '[';
        if (!now && before) got[n++] = ']';
        if (i < r.len) got[n++] = r.text[i];
    }
    got[n] = '\0';
    if (strcmp(got, want) != 0) fail_msg("%s\n  want: %s\n  got:  %s", source, want, got);
    release(&r);
}

static void provenance_survives_everything(void **state)
{
    (void)state;
    expect_mask("{{ bos }}<|u|>{{ m.role }}", "<s><|u|>[user]");
    expect_mask("{{ bos ~ m.role ~ '!' }}", "<s>[user]!");
    expect_mask("{{ bos + m.role + 1|string }}", "<s>[user]1");
    expect_mask("{{ m.n }}", "7");
    expect_mask("{{ m.text | trim }}", "[Hi <|x|>, \"you\"]");
    expect_mask("{{ m.text.strip()[3:8] }}|{{ m.text[::-1][1:4] }}", "[<|x|>]|[\"uo]");
    expect_mask("{{ ('<' + m.role + '>')[2:7] }}", "[ser]>");
    expect_mask("{{ ('<' + m.role + '>')[::-1] }}", ">[resu]<");
    expect_mask("{{ '<u>'.replace('u', m.role) }}", "<[user]>");
    expect_mask("{{ m.role.replace('s', '<s>') }}", "[u]<s>[er]");
    expect_mask("{{ ', '.join(list) }} {{ list | join('<s>') }}", "[aB], [c] [aB]<s>[c]");
    expect_mask("{{ ('x' + list[0]) | upper }} {{ list[0] | lower }} {{ uml[0] | upper }}",
                "X[AB] [ab] [\xC3\x9C"
                "BSS]");
    expect_mask("{{ m.role | capitalize }} {{ m.role.title() }} {{ m.role | title }}",
                "[User] [User] [User]");
    expect_mask("{{ list | tojson }}", "[\"[aB]\", \"[c]\"]");
    expect_mask("{{ {'t': m.text} | tojson }}", "{\"t\": \"[ Hi <|x|>, \\\"you\\\" ]\"}");
    expect_mask("{{ m | tojson(indent=1) }}", "{\n \"[role]\": \"[user]\",\n \"[text]\": \"[ Hi <|x|>, "
                                              "\\\"you\\\" ]\",\n \"[n]\": 7,\n \"[k<]\": 1\n}");
    expect_mask("{{ [m.role, 'x'] }}", "['[user]', 'x']");
    expect_mask("{{ '%s: %5s' % (m.role, list[1]) }} {{ '{}={}'.format('a', m.role) }}",
                "[user]:     [c] a=[user]");
    expect_mask("{{ '%s' | format(m.role) }} {{ 'a{0[0]}'.format(list) }}", "[user] a[aB]");
    expect_mask("{% set x %}<{{ m.role }}>{% endset %}{{ x }}{{ x | length }}", "<[user]>6");
    expect_mask("{% macro f(a) %}<{{ a }}>{% endmacro %}{{ f(m.role) }}", "<[user]>");
    expect_mask("{% set ns = namespace(t='') %}{% for i in list %}{% set ns.t = ns.t + '|' + i %}{% endfor "
                "%}{{ ns.t }}",
                "|[aB]|[c]");
    expect_mask("{% for c in m.role %}{{ c }}-{% endfor %}", "[u]-[s]-[e]-[r]-");
    expect_mask("{{ m.role.split('s')[1] }} {{ m.text.split()[0] }} {{ 'a b'.split()[0] }}", "[er] [Hi] a");
    expect_mask("{{ m.role | indent(2, first=true) }} {{ m.role * 2 }} {{ m.role.rjust(6, '.') }}",
                "  [user] [useruser] ..[user]");
    expect_mask("{{ m.text | escape }}", "[ Hi &lt;|x|&gt;, &#34;you&#34; ]");
    expect_mask("{{ {'user': '<|u|>'}[m.role] }} {{ m.nothing | default(bos) }}", "<|u|> <s>");
    expect_mask("{% for k, v in m.items() %}{{ k }},{% endfor %}", "[role],[text],[n],[k<],");
    expect_mask("{{ m.role | string | safe | first }} {{ list | map('upper') | list }}",
                "[u] ['[AB]', '[C]']");
}

/* --- limits ----------------------------------------------------------------------------------------------------------- */

static void expect_limit(const char *source, enum err_code code, const char *part)
{
    struct rendered r;
    struct err e = { 0 };
    if (render_str(source, "{}", &r, &e)) {
        release(&r);
        fail_msg("no error from %.60s", source);
    }
    if (e.code != code || !strstr(e.msg, part)) fail_msg("%.60s: code %d, %s", source, (int)e.code, e.msg);
}

static void hostile_templates_end_with_an_error(void **state)
{
    (void)state;
    expect_limit("\n{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
                 ERR_LIMIT, "line 2");
    expect_limit("{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(99) %}\n{% set ns.x = ns.x + ns.x "
                 "%}{% endfor %}",
                 ERR_LIMIT, "memory");
    expect_limit("{% set x = 'a' * 1000000 %}{% for i in range(99) %}{{ x }}{% endfor %}", ERR_LIMIT,
                 "output");
    expect_limit("{{ 'a' * 1000000000000 }}", ERR_LIMIT, "line 1");
    expect_limit("{{ [1, 2] * 1000000000000 }}", ERR_LIMIT, "line 1");
    expect_limit("{{ '%1000000000d' % 1 }}", ERR_LIMIT, "line 1");
    expect_limit("{{ '{:>1000000000}'.format('a') }}", ERR_LIMIT, "line 1");
    expect_limit("{% macro f() %}\n{{ f() }}{% endmacro %}{{ f() }}", ERR_LIMIT, "deeper");
    expect_limit("{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor "
                 "%}{{ ns.x }}",
                 ERR_LIMIT, "deeper");
    expect_limit("{{ range(100001) }}", ERR_LIMIT, "MAX_RANGE");
    expect_limit("{{ 9223372036854775807 + 1 }}", ERR_LIMIT, "large");
    expect_limit("{{ 9223372036854775807 | round(-1) }}", ERR_LIMIT, "large");
    expect_limit("{{ range(0, 9223372036854775807, 4611686018427387904)[::4] }}", ERR_LIMIT, "large");
    expect_limit("{{ range(0, 10, 2)[::4611686018427387904] }}", ERR_LIMIT, "large");
    expect_limit("{{ 'a'.center(9223372036854775807) }}", ERR_LIMIT, "steps");
    expect_limit("{{ 'a' | center(9223372036854775807) }}", ERR_LIMIT, "memory");
    expect_limit("{{ 'a'.zfill(9223372036854775807) }}", ERR_LIMIT, "memory");
    expect_limit("{{ 'a\nb' | indent(9223372036854775807) }}", ERR_LIMIT, "memory");
    expect_limit("{{ 'a' * 9223372036854775807 }}", ERR_LIMIT, "line 1");
    expect_limit("{{ [1] | slice(9223372036854775807) | list }}", ERR_LIMIT, "line 1");
    expect_limit("{{ [1] | batch(9223372036854775807, 0) | list }}", ERR_LIMIT, "line 1");
    /* A key that is a tuple of tuples: deep for the stack, or with more leaves than anyone can count. */
    expect_limit("{% set ns = namespace(x=1) %}{% for i in range(99999) %}{% set ns.x = (ns.x,) %}{% endfor "
                 "%}{{ {ns.x: 1} }}",
                 ERR_LIMIT, "deeper");
    expect_limit(
        "{% set ns = namespace(x=1) %}{% for i in range(99) %}{% set ns.x = (ns.x, ns.x) %}{% endfor "
        "%}{{ {ns.x: 1} }}",
        ERR_LIMIT, "steps");

    enum { DEEP = 10000 };
    static const char *const pairs[][2] = { { "(", ")" },  { "[", "]" },  { "-", "" },   { "not ", "" },
                                            { "a[", "]" }, { "f(", ")" }, { "a.b+", "" } };
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++) {
        char *src = calloc(1, DEEP * 8 + 64), *p = src;
        p = stpcpy(p, "\n{{ ");
        for (int i = 0; i < DEEP; i++) p = stpcpy(p, pairs[k][0]);
        p = stpcpy(p, "1");
        for (int i = 0; i < DEEP; i++) p = stpcpy(p, pairs[k][1]);
        strcpy(p, " }}");
        expect_limit(src, ERR_FORMAT, "line 2");
        free(src);
    }
    char *src = calloc(1, DEEP * 40), *p = src;
    for (int i = 0; i < DEEP; i++) p = stpcpy(p, "{% if 1 %}\n");
    expect_limit(src, ERR_FORMAT, "nested too deep");
    p = src;
    p = stpcpy(p, "{{ 1");
    for (int i = 0; i < DEEP; i++) p = stpcpy(p, " | abs");
    strcpy(p, " }}");
    expect_limit(src, ERR_FORMAT, "nested too deep");
    free(src);
}

#define OVER_MESSAGES(body) "{% for m in messages %}" body "{% endfor %}"

/* The first group is what vLLM's detection finds for the same loops; the second what it misses and a joined string would be lost in. */
static void the_form_of_content_is_read_from_the_template(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        enum chat_content want;
    } cases[] = {
        { OVER_MESSAGES("{{ m.content }}"), CONTENT_STRING },
        { OVER_MESSAGES("{{ m['content'] | trim }}"), CONTENT_STRING },
        { OVER_MESSAGES("{% for c in m['content'] %}{{ c.text }}{% endfor %}"), CONTENT_PARTS },
        { OVER_MESSAGES("{% for c in m.content %}{{ c }}{% endfor %}"), CONTENT_PARTS },
        { OVER_MESSAGES(
              "{% for c in m.content | selectattr('type', 'equalto', 'text') %}{{ c.text }}{% endfor "
              "%}"),
          CONTENT_PARTS },
        { OVER_MESSAGES("{% for c in m.content[1:] %}{{ c.text }}{% endfor %}"), CONTENT_PARTS },
        { "{% set loop_messages = messages[1:] %}{% for m in loop_messages %}{% for c in m['content'] %}{{ "
          "c['text'] }}{% endfor %}{% endfor %}",
          CONTENT_PARTS },
        { OVER_MESSAGES(
              "{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{{ c.text "
              "}}{% endfor %}{% endif %}"),
          CONTENT_EITHER },
        { OVER_MESSAGES("{% set content = m.content %}{% for c in content %}{{ c }}{% endfor %}"),
          CONTENT_PARTS },
        { OVER_MESSAGES("{% for t in m.tool_calls %}{{ t.function.name }}{% endfor %}{{ m.content }}"),
          CONTENT_STRING },
        { OVER_MESSAGES("{% for line in m.content.split('\n') %}{{ line }}{% endfor %}"), CONTENT_STRING },
        { "{% for t in tools %}{% for k in t.parameters %}{{ k.type }}{% endfor %}{% endfor %}",
          CONTENT_STRING },

        { "{% macro show(parts) %}{% for x in parts %}{% if x.type == 'text' %}{{ x.text }}{% endif %}{% "
          "endfor %}{% endmacro %}" OVER_MESSAGES("{{ show(m.content) }}"),
          CONTENT_PARTS },
        { "{% macro show(x) %}{% for c in x %}{{ c }}{% endfor %}{% endmacro %}" OVER_MESSAGES(
              "{{ show(m.content) }}"),
          CONTENT_STRING },
        { "{% macro turn(message) %}{% for c in message.content %}{{ c.text }}{% endfor %}{% endmacro "
          "%}" OVER_MESSAGES("{{ turn(message=m) }}"),
          CONTENT_PARTS },
        { "{% macro turn(message) %}{% for c in message.content %}{{ c.text }}{% endfor %}{% endmacro "
          "%}" OVER_MESSAGES("{{ turn(m) }}"),
          CONTENT_PARTS },
        { OVER_MESSAGES("{% set ns = namespace(c=1) %}{% set ns.c = m.content or [] %}{% for x in ns.c %}{{ "
                        "x['text'] }}{% endfor %}"),
          CONTENT_PARTS },
        { OVER_MESSAGES("{{ m.content[0].text }}"), CONTENT_PARTS },
        { OVER_MESSAGES("{{ m['content'][0]['text'] }}"), CONTENT_PARTS },
        { OVER_MESSAGES("{{ (m.content | first).text }}"), CONTENT_PARTS },
        { OVER_MESSAGES("{{ m.content | map(attribute='text') | join }}"), CONTENT_PARTS },
        { OVER_MESSAGES("{{ m.content | map('upper') | join }}"), CONTENT_STRING },
        { "{% set last = messages[-1] %}{% for x in last.get('content') %}{{ x.text }}{% endfor %}",
          CONTENT_PARTS },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_template *t;
        struct err e;
        if (!chat_template_compile(&t, cases[i].source, strlen(cases[i].source), &e)) fail_msg("%s", e.msg);
        if (chat_template_content(t) != cases[i].want)
            fail_msg("%s: %d", cases[i].source, (int)chat_template_content(t));
        chat_template_free(t);
    }
}

/* What one expression costs for strings of n bytes: steps, and memory at the rate of the steps. */
static uint64_t cost_of(const char *expr, size_t n, bool wide)
{
    char source[400];
    struct rendered r;
    struct err e = { 0 };
    char *s = calloc(1, n + 8), *t = calloc(1, n + 8);
    assert_true(s && t);
    for (size_t i = 0; i + 1 < n; i += 2) memcpy(s + i, wide ? "\xC3\xA9" : "ab", 2);
    memcpy(t, s, n);
    json_t *ctx = json_pack("{s:s, s:s, s:[s], s:{s:i}}", "s", s, "t", t, "list", s, "d", t, 1);
    free(s);
    free(t);
    assert_non_null(ctx);
    snprintf(source, sizeof source, "{%% set x = %s %%}", expr);
    if (!render(source, strlen(source), ctx, &r, &e)) fail_msg("%s: %s", expr, e.msg);
    json_decref(ctx);
    const uint64_t cost = r.n_steps + r.n_bytes / 16;
    release(&r);
    return cost;
}

/* Whatever goes through a long string pays for it, so that no template can make a server work for hours: s and t are equal strings, list
 * holds one and d has it as its key. */
static void every_operation_is_charged_by_length(void **state)
{
    (void)state;
    static const char *const exprs[] = {
        "s == t",
        "s != t",
        "s < t",
        "s >= t",
        "s in [t]",
        "[t].index(s)",
        "[t].count(s)",
        "(1, s) == (1, t)",
        "s is eq(t)",
        "s is in([t])",
        "{'a': s} == {'a': t}",
        "{s: 1}",
        "{(s, 1): 1}",
        "d[s]",
        "d.get(s)",
        "s in d",
        "dict(d)",
        "d.copy()",
        "[s, t] | unique | list",
        "[s, t] | sort",
        "[s, t] | sort(case_sensitive=true)",
        "[s, t] | min",
        "[s, t] | max",
        "{s: 1, t ~ 'a': 2} | dictsort",
        "[{'k': s}, {'k': t}] | groupby('k')",
        "{s: 1, 'a': 2} | tojson(sort_keys=true)",
        "s.upper()",
        "s.lower()",
        "s.title()",
        "s.capitalize()",
        "s.swapcase()",
        "s.casefold()",
        "s | upper",
        "s | lower",
        "s | title",
        "s | capitalize",
        "s.islower()",
        "s.isalpha()",
        "s is lower",
        "s.replace('q', 'r')",
        "s.replace(s, 'r')",
        "s | replace('q', 'r')",
        "s.split('q')",
        "s.split(t)",
        "s.split()",
        "s.rsplit('q')",
        "s.rsplit(t)",
        "s.splitlines()",
        "s.partition('q')",
        "s.rpartition('q')",
        "s.strip(t)",
        "(' ' ~ s ~ '  ').strip()",
        "'q'.strip(s)",
        "s.find('q')",
        "s.rfind('q')",
        "s.rfind(t)",
        "s.count('q')",
        "s.count(t)",
        "'q' in s",
        "s in t",
        "s.startswith(t)",
        "s.endswith(t)",
        "s.startswith(('q', t))",
        "s.removeprefix(t)",
        "s.removesuffix(t)",
        "s.join(['a', 'b', 'c'])",
        "[s, t] | join",
        "[s] | join(t)",
        "s ~ t",
        "s + t",
        "s * 2",
        "'%s' % s",
        "s % ()",
        "'{}'.format(s)",
        "s.format()",
        "s.center(10)",
        "s.ljust(s | length + 5)",
        "s.zfill(s | length + 5)",
        "s | center(s | length + 5)",
        "s | indent",
        "s | truncate(20)",
        "s | wordcount",
        "s | escape",
        "s | safe | escape | length",
        "s | striptags",
        "s | urlencode",
        "s | reverse",
        "s[::-1]",
        "s[1:] | length",
        "s[1:]",
        "s[-1]",
        "s | length",
        "s | list",
        "s | last",
        "s | int",
        "s | float",
        "s | tojson",
        "[s] | string",
        "s | map('upper') | list",
        "s | batch(9) | list",
        "list | map('lower') | list",
        "list | select('in', [t]) | list",
        "[{'a': 1}] | map(attribute=s) | list",
        "namespace(a=s == t)",
    };
    enum { SHORT = 2000, LONG = 200000 };
    int bad = 0;
    for (size_t i = 0; i < sizeof exprs / sizeof *exprs; i++) {
        /* A comparison reads 64 bytes a step, the rest 16. Where the ASCII form needs no look at the text the other does. */
        uint64_t most = 0;
        for (int wide = 0; wide < 2; wide++) {
            const uint64_t d = cost_of(exprs[i], LONG, wide) - cost_of(exprs[i], SHORT, wide);
            if (d > most) most = d;
        }
        if (most >= (LONG - SHORT) / 64) continue;
        print_message("%s: %llu more for %d bytes more\n", exprs[i], (unsigned long long)most, LONG - SHORT);
        bad++;
    }
    if (bad) fail_msg("%d operations are too cheap", bad);
}

static void a_flag_ends_a_rendering(void **state)
{
    (void)state;
    const char *src = "{% for i in range(9) %}{{ i }}{% endfor %}";
    atomic_bool cancel = false;
    const struct render_options o = { .now_unix = NOW, .cancel = &cancel };
    struct chat_template *t;
    struct rendered r;
    struct err e = { 0 };
    json_t *ctx = json_object();
    assert_true(chat_template_compile(&t, src, strlen(src), &e));
    assert_true(chat_template_render(t, ctx, &o, &r, &e));
    assert_string_equal(r.text, "012345678");
    release(&r);
    atomic_store(&cancel, true);
    assert_false(chat_template_render(t, ctx, &o, &r, &e));
    assert_int_equal(e.code, ERR_CANCELLED);
    chat_template_free(t);
    json_decref(ctx);
}

static void errors_say_where_and_what(void **state)
{
    (void)state;
    expect_limit("a\n\n{{ x.y }}", ERR_REQUEST, "line 3: 'x' is undefined");
    expect_limit("a\n{% if %}", ERR_FORMAT, "line 2: expected an expression, got '%}'");
    expect_limit("{% if x %}\n\n", ERR_FORMAT, "opened in line 1 needs");
    expect_limit("{{ 1 | nothing }}", ERR_FORMAT, "No filter named 'nothing'");
    expect_limit("{% include 'x' %}", ERR_FORMAT, "'include' is not supported");
    expect_limit("{{ [].append(1) }}", ERR_REQUEST, "unsafe");
    expect_limit("{{ ''.__class__ }}{{ ''.__class__.__mro__ }}", ERR_REQUEST, "unsafe");
    struct rendered r;
    struct err e;
    assert_false(render_str("{{ raise_exception('Only ' ~ 2 ~ ' roles') }}", "{}", &r, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    assert_string_equal(e.msg, "Only 2 roles");
    assert_false(render_str("{{ 1 }}", "[]", &r, &e));
}

/* A compiled template is shared by the server's threads; the thread checker watches this one. */
static void *render_often(void *arg)
{
    const struct chat_template *t = arg;
    json_t *ctx = json_loads(CTX, 0, NULL);
    for (int i = 0; ctx && i < 50; i++) {
        struct rendered r;
        struct err e;
        if (!chat_template_render(t, ctx, &(struct render_options){ .now_unix = NOW }, &r, &e) ||
            strcmp(r.text, "3 \xC3\x9C"
                           "BSS k=u5,k=u5, {\"a\": 1}") != 0) {
            json_decref(ctx);
            return arg;
        }
        release(&r);
    }
    json_decref(ctx);
    return NULL;
}

static void threads_share_a_template(void **state)
{
    (void)state;
    const char *src = "{% macro f(k, v) %}{{ k }}={{ v }},{% endmacro %}{{ '\xC3\xBC\xE6\x97\xA5x' | length "
                      "}} {{ uml[0] | upper }}"
                      " {% for i in [1, 2] %}{{ f('k', 'u' ~ 5) }}{% endfor %} {{ {'a': 1} | tojson }}";
    struct chat_template *t;
    struct err e;
    if (!chat_template_compile(&t, src, strlen(src), &e)) fail_msg("%s", e.msg);
    pthread_t th[4];
    void *wrong = NULL, *r;
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&th[i], NULL, render_often, t), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(th[i], &r);
        if (r) wrong = r;
    }
    assert_null(wrong);
    chat_template_free(t);
}

/* One rendering of each line of stdin. */
static int render_lines(void)
{
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;) {
        json_t *in = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
        const json_t *t = json_object_get(in, "template");
        struct rendered r;
        struct err e = { 0 };
        json_t *out = json_object();
        if (!t) break;
        if (render(json_string_value(t), json_string_length(t), json_object_get(in, "context"), &r, &e)) {
            json_object_set_new(out, "text", json_stringn_nocheck(r.text, r.len));
            release(&r);
        } else {
            json_object_set_new(out, "error", json_string_nocheck(e.msg));
        }
        json_dumpf(out, stdout, 0);
        puts("");
        fflush(stdout);
        json_decref(out);
        json_decref(in);
    }
    free(line);
    return 0;
}

int main(int argc, char **argv)
{
    setenv("TZ", "UTC", 1);
    if (argc > 1 && strcmp(argv[1], "render") == 0) return render_lines();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_cases),
        cmocka_unit_test(family_cases),
        cmocka_unit_test(provenance_survives_everything),
        cmocka_unit_test(hostile_templates_end_with_an_error),
        cmocka_unit_test(the_form_of_content_is_read_from_the_template),
        cmocka_unit_test(every_operation_is_charged_by_length),
        cmocka_unit_test(a_flag_ends_a_rendering),
        cmocka_unit_test(errors_say_where_and_what),
        cmocka_unit_test(threads_share_a_template),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
