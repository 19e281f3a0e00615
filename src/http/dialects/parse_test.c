/* parse_test.c - fields that say one thing together: the form of the answer and thinking, good and bad, in both dialects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/dialects/wire.h"

/* {"model": ..., "messages" or "prompt": ..., MEMBERS}; single quotes stand for double ones. */
static bool parse(struct wire_request *w, const char *members, bool chat, const struct wire_style *style,
                  struct fault *f)
{
    static const char chat_head[] =
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Say it as JSON.\"}]";
    struct buf b = BUF_INIT(0);
    json_error_t why;
    buf_puts(&b, chat ? chat_head : "{\"model\":\"m\",\"prompt\":\"a\"");
    if (*members) buf_putc(&b, ',');
    for (const char *p = members; *p; p++) buf_putc(&b, *p == '\'' ? '"' : *p);
    buf_putc(&b, '}');
    json_t *body = json_loads(b.data, JSON_REJECT_DUPLICATES, &why);
    if (!body) fail_msg("%s in %s", why.text, b.data);
    *f = (struct fault){ 0 };
    const bool ok = wire_parse(w, body, chat, true, style, f);
    json_decref(body);
    buf_free(&b);
    return ok;
}

static struct wire_request good(const char *members, bool chat, const struct wire_style *style)
{
    struct wire_request w;
    struct fault f;
    if (!parse(&w, members, chat, style, &f)) fail_msg("%s: %s", members, f.err.msg);
    return w;
}

struct refusal {
    const char *members, *words, *param;
};
static void all_refused(const struct refusal *r, size_t n, bool chat, const struct wire_style *style)
{
    for (size_t i = 0; i < n; i++) {
        struct wire_request w;
        struct fault f;
        if (parse(&w, r[i].members, chat, style, &f)) fail_msg("taken: %s", r[i].members);
        if (!strstr(f.err.msg, r[i].words)) fail_msg("%s: %s", r[i].members, f.err.msg);
        if (!f.param || strcmp(f.param, r[i].param) != 0)
            fail_msg("%s: param %s", r[i].members, f.param ? f.param : "NULL");
    }
}
#define REFUSED(table, chat, style) all_refused(table, sizeof(table) / sizeof *(table), chat, style)

/* ---- the form of the answer ---------------------------------------------------------------------------------------- */

#define S "{'type':'object','properties':{'a':{'type':'integer'}}}"
#define S_TEXT "'{\\\"type\\\":\\\"object\\\",\\\"properties\\\":{\\\"a\\\":{\\\"type\\\":\\\"integer\\\"}}}'"

static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        enum form_kind kind;
        const char *text; /* of a grammar or an expression */
    } rows[] = {
        { "", FORM_ANY, NULL },
        { "'response_format':null,'guided_json':null", FORM_ANY, NULL },
        { "'response_format':{'type':'text'}", FORM_ANY, NULL },
        { "'response_format':{'type':'json_object'}", FORM_JSON, NULL },
        { "'response_format':{'type':'json_object','schema':" S "}", FORM_SCHEMA, NULL },
        { "'response_format':{'type':'json_schema','schema':" S "}", FORM_SCHEMA, NULL },
        { "'response_format':{'type':'json_schema','json_schema':{'name':'n','description':'d','schema':" S
          ",'strict':null}}",
          FORM_SCHEMA, NULL },
        { "'response_format':{'type':'json_schema','json_schema':{'name':'n','schema':" S_TEXT "}}",
          FORM_SCHEMA, NULL },
        { "'response_format':{'type':'json_schema','json_schema':" S "}", FORM_SCHEMA, NULL },
        { "'response_format':{'type':'json_schema','json_schema':" S_TEXT "}", FORM_SCHEMA, NULL },
        { "'response_format':{'type':'grammar','grammar':'root ::= \\\"a\\\"'}", FORM_GRAMMAR,
          "root ::= \"a\"" },
        { "'response_format':{'type':'regex','pattern':'a+'}", FORM_REGEX, "a+" },
        { "'guided_json':" S, FORM_SCHEMA, NULL },
        { "'guided_json':" S_TEXT, FORM_SCHEMA, NULL },
        { "'guided_regex':'a|b'", FORM_REGEX, "a|b" },
        { "'guided_grammar':'root ::= [ab]'", FORM_GRAMMAR, "root ::= [ab]" },
        { "'guided_choice':['yes','n\\\"\\\\o\\n']", FORM_GRAMMAR, "root ::= \"yes\" | \"n\\\"\\\\o\\x0a\"" },
        { "'structured_outputs':{'json':" S "}", FORM_SCHEMA, NULL },
        { "'structured_outputs':{'regex':'a'}", FORM_REGEX, "a" },
        { "'structured_outputs':{'choice':['a']}", FORM_GRAMMAR, "root ::= \"a\"" },
        { "'structured_outputs':{'grammar':'root ::= [a]'}", FORM_GRAMMAR, "root ::= [a]" },
        { "'structured_outputs':{'json_object':true,'disable_any_whitespace':false}", FORM_JSON, NULL },
        { "'json_schema':" S, FORM_SCHEMA, NULL },
        { "'grammar':'root ::= [a]'", FORM_GRAMMAR, "root ::= [a]" },
        { "'grammar':''", FORM_ANY, NULL },
        { "'response_format':{'type':'text'},'guided_regex':'a'", FORM_REGEX, "a" },
        { "'guided_json':" S ",'json_schema':" S_TEXT, FORM_SCHEMA, NULL }, /* they agree */
    };
    json_t *schema =
        json_loads("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}}", 0, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int k = 0; k < 4; k++) {
            struct wire_request w = good(rows[i].members, k & 1, k & 2 ? &fireworks_style : &openai_style);
            const struct answer_form *a = &w.gen.answer;
            if (a->kind != rows[i].kind) fail_msg("%s: kind %d", rows[i].members, a->kind);
            if (a->kind == FORM_SCHEMA) assert_true(json_equal(a->schema, schema));
            if (rows[i].text) assert_string_equal(a->text, rows[i].text);
            if (a->kind != FORM_ANY) assert_non_null(a->from);
            assert_false(a->strict);
            wire_free(&w);
        }
    json_decref(schema);
}

/* OpenAI's strict mode is asked for on its own paths; Fireworks closes objects on its own. */
static void test_dialects_of_schemas(void **state)
{
    (void)state;
    static const char strict[] =
        "'response_format':{'type':'json_schema','json_schema':{'name':'n','schema':" S ",'strict':true}}";
    struct wire_request w = good(strict, true, &openai_style);
    assert_true(w.gen.answer.strict && !w.gen.answer.closed);
    wire_free(&w);
    w = good(strict, true, &fireworks_style);
    assert_true(!w.gen.answer.strict && w.gen.answer.closed);
    wire_free(&w);
    w = good("'guided_json':" S, true, &fireworks_style);
    assert_false(w.gen.answer.closed);
    wire_free(&w);
    w = good("'structured_outputs':{'json':" S ",'disable_additional_properties':true}", true, &openai_style);
    assert_true(w.gen.answer.closed);
    wire_free(&w);
    /* Only OpenAI asks for a name and for the word. */
    w = good("'response_format':{'type':'json_schema','json_schema':{'schema':" S "}}", true,
             &fireworks_style);
    wire_free(&w);
    static const char format[] = "'response_format':{'type':'json_object'}";
    struct fault f = { 0 };
    for (int k = 0; k < 2; k++) {
        json_t *body = json_pack("{s:s, s:[{s:s, s:s}], s:{s:s}}", "model", "m", "messages", "role", "user",
                                 "content", "a list", "response_format", "type", "json_object");
        const bool ok = wire_parse(&w, body, true, true, k ? &fireworks_style : &openai_style, &f);
        json_decref(body);
        assert_int_equal(ok, k);
        if (ok) {
            wire_free(&w);
            continue;
        }
        assert_string_equal(f.param, "messages");
        assert_non_null(strstr(f.err.msg, "must contain the word 'json'"));
    }
    w = good(format, false, &openai_style); /* a plain completion has no messages */
    wire_free(&w);
}

static void test_bad_forms(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        { "'response_format':'json'", "must be an object", "response_format" },
        { "'response_format':{'type':'yaml'}", "must be one of text, json_object", "response_format" },
        { "'response_format':{'type':'structural_tag'}", "must be one of text", "response_format" },
        { "'response_format':{'type':'text','zz':1}", "response_format.zz", "response_format" },
        { "'response_format':{'type':'json_object','zz':1}", "response_format.zz", "response_format" },
        { "'response_format':{'type':'json_object','schema':[1]}", "must be a JSON Schema",
          "response_format.schema" },
        { "'response_format':{'type':'json_schema'}", "'response_format.json_schema'",
          "response_format.json_schema" },
        { "'response_format':{'type':'json_schema','json_schema':{}}", "'response_format.json_schema.schema'",
          "response_format.json_schema.schema" },
        { "'response_format':{'type':'json_schema','json_schema':{'name':'n'}}",
          "'response_format.json_schema.schema'", "response_format.json_schema.schema" },
        { "'response_format':{'type':'json_schema','json_schema':{'schema':{}}}",
          "'response_format.json_schema.name'", "response_format.json_schema.name" },
        { "'response_format':{'type':'json_schema','json_schema':{'name':'a b','schema':{}}}",
          "letters, digits, _ and -, got", "response_format.json_schema.name" },
        { "'response_format':{'type':'json_schema','json_schema':{'name':'n','schema':{},'zz':1}}",
          "response_format.json_schema.zz", "response_format" },
        { "'response_format':{'type':'json_schema','json_schema':{'name':'n','schema':{},'strict':'yes'}}",
          "must be true or false", "response_format.json_schema.strict" },
        { "'response_format':{'type':'json_schema','json_schema':'{'}", "read as JSON", "response_format" },
        { "'response_format':{'type':'json_schema','json_schema':'[]'}", "read as JSON", "response_format" },
        { "'response_format':{'type':'grammar'}", "'response_format.grammar'", "response_format.grammar" },
        { "'response_format':{'type':'grammar','grammar':''}", "must be a grammar",
          "response_format.grammar" },
        { "'response_format':{'type':'regex','pattern':5}", "must be a regular expression",
          "response_format.pattern" },
        { "'guided_regex':''", "must be a regular expression", "guided_regex" },
        { "'guided_choice':[]", "must be an array of strings", "guided_choice" },
        { "'guided_choice':['a',1]", "guided_choice[1] must be a string", "guided_choice" },
        { "'guided_choice':'a'", "none of them empty", "guided_choice" },
        { "'grammar':5", "grammar must be a string", "grammar" },
        { "'json_schema':5", "json_schema must be an object or a string", "json_schema" },
        { "'structured_outputs':{}", "must hold one of", "structured_outputs" },
        { "'structured_outputs':{'regex':'a','json':{}}", "must hold one of", "structured_outputs" },
        { "'structured_outputs':{'structural_tag':'x'}", "structural_tag is not supported",
          "structured_outputs" },
        { "'structured_outputs':{'zz':1}", "structured_outputs.zz", "structured_outputs" },
        { "'guided_regex':'a','guided_json':{}", "guided_json and guided_regex disagree", "guided_regex" },
        { "'response_format':{'type':'json_object'},'grammar':'root ::= [a]'",
          "response_format and grammar disagree", "grammar" },
    };
    REFUSED(rows, true, &openai_style);
    REFUSED(rows, false, &openai_style);
}

/* ---- thinking ------------------------------------------------------------------------------------------------------ */

static void test_thinking(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        enum thinking thinking;
        const char *effort;
        int64_t budget;
    } rows[] = {
        { "", THINKING_AS_IT_IS, "", -1 },
        { "'reasoning_effort':null,'thinking':null", THINKING_AS_IT_IS, "", -1 },
        { "'reasoning_effort':'none'", THINKING_OFF, "", -1 },
        { "'reasoning_effort':false", THINKING_OFF, "", -1 },
        { "'reasoning_effort':true", THINKING_ON, "medium", -1 },
        { "'reasoning_effort':'minimal'", THINKING_ON, "minimal", -1 },
        { "'reasoning_effort':'xhigh'", THINKING_ON, "xhigh", -1 },
        { "'reasoning_effort':2000", THINKING_ON, "", 2000 },
        { "'extra_body':{'reasoning_effort':'low'}", THINKING_ON, "low", -1 },
        { "'extra_body':{'reasoning_effort':'low'},'reasoning_effort':'high'", THINKING_ON, "high", -1 },
        { "'thinking':{'type':'enabled'}", THINKING_ON, "", -1 },
        { "'thinking':{'type':'enabled','budget_tokens':1024}", THINKING_ON, "", 1024 },
        { "'thinking':{'type':'disabled'}", THINKING_OFF, "", -1 },
        { "'thinking':false", THINKING_OFF, "", -1 },
        { "'enable_thinking':true", THINKING_ON, "", -1 },
        { "'enable_thinking':true,'reasoning_effort':'low'", THINKING_ON, "low", -1 },
        { "'reasoning':{'effort':'high'}", THINKING_ON, "high", -1 },
        { "'reasoning':{'max_tokens':7}", THINKING_ON, "", 7 },
        { "'reasoning':{'enabled':false}", THINKING_OFF, "", -1 },
        { "'reasoning':{'enabled':true,'max_tokens':9}", THINKING_ON, "", 9 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int k = 0; k < 2; k++) {
            struct wire_request w = good(rows[i].members, true, k ? &fireworks_style : &openai_style);
            if (w.gen.thinking != rows[i].thinking || strcmp(w.gen.effort, rows[i].effort) != 0 ||
                w.gen.think_budget != rows[i].budget)
                fail_msg("%s: %d %s %lld", rows[i].members, w.gen.thinking, w.gen.effort,
                         (long long)w.gen.think_budget);
            assert_int_equal(w.gen.thought_form, THOUGHT_AS_SET);
            wire_free(&w);
        }
}

static void test_thoughts_shown(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        enum thought_form form;
        enum thought_history history;
        const char *name;
    } rows[] = {
        { "'reasoning':{'exclude':true}", THOUGHT_HIDDEN, HISTORY_AS_TEMPLATE, "reasoning" },
        { "'reasoning':{'exclude':false}", THOUGHT_AS_SET, HISTORY_AS_TEMPLATE, "reasoning" },
        { "'include_reasoning':false", THOUGHT_HIDDEN, HISTORY_AS_TEMPLATE, "reasoning" },
        { "'include_reasoning':true", THOUGHT_AS_SET, HISTORY_AS_TEMPLATE, "reasoning" },
        { "'include_reasoning':false,'reasoning':{'exclude':true}", THOUGHT_HIDDEN, HISTORY_AS_TEMPLATE,
          "reasoning" },
        { "'reasoning_history':'disabled'", THOUGHT_AS_SET, HISTORY_NONE, NULL },
        { "'reasoning_history':'interleaved'", THOUGHT_AS_SET, HISTORY_INTERLEAVED, NULL },
        { "'extra_body':{'reasoning_history':'preserved'}", THOUGHT_AS_SET, HISTORY_ALL, NULL },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct wire_request w = good(rows[i].members, true, &openai_style);
        assert_int_equal(w.gen.thought_form, rows[i].form);
        assert_int_equal(w.gen.thought_history, rows[i].history);
        assert_true(rows[i].name ? w.thought_name && !strcmp(w.thought_name, rows[i].name) : !w.thought_name);
        wire_free(&w);
    }
}

static void test_bad_thinking(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        { "'reasoning_effort':'hard'", "must be one of none, minimal", "reasoning_effort" },
        { "'reasoning_effort':0", "must be at least 1, got 0", "reasoning_effort" },
        { "'reasoning_effort':1.5", "must be a whole number", "reasoning_effort" },
        { "'thinking':{'type':'sometimes'}", "must be enabled or disabled", "thinking" },
        { "'thinking':{}", "must be an object with a type", "thinking" },
        { "'thinking':{'type':'enabled','zz':1}", "thinking.zz", "thinking" },
        { "'thinking':{'type':'enabled','budget_tokens':1023}", "must be at least 1024",
          "thinking.budget_tokens" },
        { "'thinking':{'type':'disabled','budget_tokens':2048}", "only for type enabled", "thinking" },
        { "'thinking':{'type':'enabled'},'reasoning_effort':'none'", "disagree", "thinking" },
        { "'thinking':{'type':'enabled','budget_tokens':2048},'reasoning_effort':'low'", "disagree",
          "thinking" },
        { "'enable_thinking':'yes'", "must be true or false", "enable_thinking" },
        { "'reasoning':'high'", "must be an object", "reasoning" },
        { "'reasoning':{'summary':'auto'}", "reasoning.summary is not supported", "reasoning" },
        { "'reasoning':{'max_tokens':0}", "must be at least 1", "reasoning.max_tokens" },
        { "'reasoning':{'max_tokens':5,'effort':'low'}", "disagree", "reasoning" },
        { "'reasoning':{'max_tokens':5},'reasoning_effort':6", "disagree", "reasoning" },
        { "'reasoning':{'enabled':false,'effort':'low'}", "disagree", "reasoning" },
        { "'reasoning':{'exclude':1}", "must be true or false", "reasoning.exclude" },
        { "'reasoning':{'exclude':true},'include_reasoning':true", "disagree", "include_reasoning" },
        { "'include_reasoning':0", "must be true or false", "include_reasoning" },
        { "'reasoning_history':'all'", "one of disabled, interleaved, preserved", "reasoning_history" },
    };
    REFUSED(rows, true, &openai_style);
    static const struct refusal fireworks[] = {
        { "'thinking':{'type':'disabled'},'reasoning_effort':'none'", "cannot be given together",
          "thinking" },
    };
    REFUSED(fireworks, true, &fireworks_style);
    static const struct refusal plain[] = {
        { "'reasoning_effort':'low'", "a plain completion does not think", "reasoning_effort" },
        { "'thinking':{'type':'disabled'}", "Extra inputs are not permitted, field: 'thinking'", "thinking" },
    };
    struct wire_request w;
    struct fault f;
    assert_false(parse(&w, plain[0].members, false, &openai_style, &f));
    assert_non_null(strstr(f.err.msg, plain[0].words));
    assert_false(parse(&w, plain[1].members, false, &openai_style, &f));
    assert_non_null(strstr(f.err.msg, plain[1].words));
}

/* ---- tools --------------------------------------------------------------------------------------------------------- */

#define GET "{'type':'function','function':{'name':'get','parameters':{'type':'object'}}}"
#define PUT "{'type':'function','function':{'name':'put','strict':true}}"

static void test_tools(void **state)
{
    (void)state;
    static const struct {
        const char *members;
        int n;
        enum tool_choice choice;
        int named;
        bool one, legacy;
    } rows[] = {
        { "'tools':null,'functions':null,'tool_choice':null", 0, TOOL_AUTO, 0, false, false },
        { "'tools':[],'tool_choice':'auto'", 0, TOOL_AUTO, 0, false, false },
        { "'tool_choice':'none'", 0, TOOL_NEVER, 0, false, false },
        { "'function_call':'auto'", 0, TOOL_AUTO, 0, true, true },
        { "'tools':[" GET "," PUT "]", 2, TOOL_AUTO, 0, false, false },
        { "'tools':[" GET "],'tool_choice':'none'", 1, TOOL_NEVER, 0, false, false },
        { "'tool_choice':'required','tools':[" GET "]", 1, TOOL_REQUIRED, 0, false, false },
        { "'tool_choice':'any','tools':[" GET "]", 1, TOOL_REQUIRED, 0, false, false },
        { "'tools':[" GET "," PUT "],'tool_choice':{'type':'function','function':{'name':'put'}}", 2,
          TOOL_NAMED, 1, false, false },
        { "'tools':[" GET "," PUT "],'tool_choice':{'type':'function','name':'get'}", 2, TOOL_NAMED, 0, false,
          false },
        { "'tools':[" GET "],'parallel_tool_calls':false", 1, TOOL_AUTO, 0, true, false },
        { "'tools':[" GET "],'parallel_tool_calls':true,'n':2", 1, TOOL_AUTO, 0, false, false },
        { "'functions':[{'name':'get'}]", 1, TOOL_AUTO, 0, true, true },
        { "'functions':[{'name':'get'}],'function_call':'none'", 1, TOOL_NEVER, 0, true, true },
        { "'functions':[{'name':'get'},{'name':'put'}],'function_call':{'name':'put'}", 2, TOOL_NAMED, 1,
          true, true },
        { "'extra_body':{'tools':[" GET "]}", 1, TOOL_AUTO, 0, false, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int k = 0; k < 2; k++) {
            struct wire_request w = good(rows[i].members, true, k ? &fireworks_style : &openai_style);
            const struct tool_set *t = &w.gen.tools;
            if (t->n != rows[i].n || t->choice != rows[i].choice || t->one != rows[i].one ||
                t->legacy != rows[i].legacy || (t->choice == TOOL_NAMED && t->named != rows[i].named))
                fail_msg("%s: n %d choice %d", rows[i].members, t->n, t->choice);
            if (t->n) assert_string_equal(t->tool[0].name, "get");
            if (t->n == 2 && !t->legacy) assert_true(t->tool[1].strict);
            wire_free(&w);
        }
}

static void test_bad_tools(void **state)
{
    (void)state;
    static const struct refusal rows[] = {
        { "'tools':{}", "tools must be an array of objects", "tools" },
        { "'tools':[{'type':'function','function':{'name':'a b'}}]", "tools[0].function.name", "tools" },
        { "'tools':[{'type':'function','function':{'name':'a','zz':1}}]", "unknown field", "tools" },
        { "'tools':[" GET "," GET "]", "is the name of tools[0] already", "tools" },
        { "'functions':[{}]", "functions[0].name: missing", "functions" },
        { "'tool_choice':'required'", "needs tools", "tool_choice" },
        { "'tool_choice':{'type':'function','function':{'name':'f'}}", "no tool \"f\" is offered",
          "tool_choice" },
        { "'tools':[" GET "],'tool_choice':{'type':'function','function':{'name':'f'}}",
          "no tool \"f\" is offered", "tool_choice" },
        { "'tools':[" GET "],'tool_choice':'perhaps'", "is none of auto, none", "tool_choice" },
        { "'function_call':{'name':'f'}", "no tool \"f\" is offered", "function_call" },
        { "'tools':[" GET "],'parallel_tool_calls':'no'", "must be true or false", "parallel_tool_calls" },
        { "'tools':[" GET "],'functions':[{'name':'f'}]", "cannot be given together", "functions" },
        { "'tools':[" GET "],'function_call':'auto'", "cannot be given together", "function_call" },
        { "'functions':[{'name':'f'}],'tool_choice':'auto'", "cannot be given together", "tool_choice" },
    };
    REFUSED(rows, true, &openai_style);
    REFUSED(rows, true, &fireworks_style);
    struct wire_request w;
    struct fault f;
    assert_false(parse(&w, "'tools':[" GET "]", false, &openai_style, &f));
    assert_non_null(strstr(f.err.msg, "Extra inputs are not permitted, field: 'tools'"));
}

/* ---- conversations with calls -------------------------------------------------------------------------------------- */

/* wire_messages() of the text in single quotes. */
static bool read_messages(const char *text, bool paired, json_t **out, struct fault *f)
{
    struct buf b = BUF_INIT(0);
    for (const char *p = text; *p; p++) buf_putc(&b, *p == '\'' ? '"' : *p);
    json_t *in = json_loads(b.data, 0, NULL);
    if (!in) fail_msg("%s", b.data);
    *f = (struct fault){ 0 };
    struct gen_request q;
    gen_request_init(&q);
    const bool ok = wire_messages(in, true, paired, &q, f);
    if (ok) *out = json_incref(q.messages);
    gen_request_free(&q);
    json_decref(in);
    buf_free(&b);
    return ok;
}

#define ASK "{'role':'user','content':'a'}"
#define CALL(id) "{'id':'" id "','type':'function','function':{'name':'get','arguments':'{}'}}"
#define CALLS(list) "{'role':'assistant','content':null,'tool_calls':[" list "]}"
#define RESULT(id) "{'role':'tool','tool_call_id':'" id "','content':'5'}"

static void test_conversations(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { CALLS(CALL("a")) "," RESULT("a"), CALLS(CALL("a")) "," RESULT("a") },
        /* An object as arguments, a delta's index, no arguments, a text beside the call, parts as a result. */
        { "{'role':'assistant','content':'Hm','tool_calls':[{'index':0,'id':'a','type':'function','function':"
          "{"
          "'name':'get','arguments':{'x':[1,'y']}}},{'id':'b','type':'function','function':{'name':'put','"
          "arguments':''}}]},{'role':'tool','tool_call_id':'a','name':'get','content':[{'type':'text','text':"
          "'5'"
          "}]}," RESULT("b"),
          "{'role':'assistant','content':'Hm','tool_calls':[{'id':'a','type':'function','function':{'name':'"
          "get','arguments':'{\\\"x\\\":[1,\\\"y\\\"]}'}},{'id':'b','type':'function','function':{'name':'"
          "put','"
          "arguments':'{}'}}]},{'role':'tool','content':[{'type':'text','text':'5'}],'tool_call_id':'a','"
          "name':"
          "'get'}," RESULT("b") },
        /* The older form, once with a result of what was never called. */
        { "{'role':'assistant','function_call':{'name':'get','arguments':'{}'}},{'role':'function','name':'"
          "get',"
          "'content':'5'},{'role':'function','name':'put','content':null}",
          "{'role':'assistant','content':null,'tool_calls':[" CALL(
              "call_1") "]},{'role':'tool','content':'5','"
                        "tool_call_id':'call_1','name':'get'},{'role':'tool','content':'','tool_call_id':'"
                        "call_3','name':'"
                        "put'}" },
        { "{'role':'assistant','content':'b','tool_calls':[],'function_call':null,'reasoning':'r'}",
          "{'role':'assistant','content':'b','reasoning_content':'r'}" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char in[1200], want[1200];
        json_t *out, *right;
        struct fault f;
        snprintf(in, sizeof in, "[" ASK ",%s]", rows[i][0]);
        snprintf(want, sizeof want, "[" ASK ",%s]", rows[i][1]);
        for (char *p = want; *p; p++)
            if (*p == '\'') *p = '"';
        assert_non_null(right = json_loads(want, 0, NULL));
        for (int paired = 0; paired < 2; paired++) {
            if (!read_messages(in, paired, &out, &f)) fail_msg("%s: %s", in, f.err.msg);
            char *is = json_dumps(out, JSON_COMPACT);
            if (!json_equal(out, right)) fail_msg("%s", is);
            free(is);
            json_decref(out);
        }
        json_decref(right);
    }
}

static void test_bad_conversations(void **state)
{
    (void)state;
    static const struct {
        const char *messages, *words;
        bool only_paired;
    } rows[] = {
        { "{'role':'tool','content':'x'}", "[1].tool_call_id is required", false },
        { "{'role':'tool','tool_call_id':5,'content':'x'}", "[1].tool_call_id is required", false },
        { "{'role':'tool','tool_call_id':'a'}", "[1].content must be", false },
        { "{'role':'function','content':'x'}", "[1].name is required", false },
        { "{'role':'user','content':'a','tool_calls':[" CALL("a") "]}", "only an assistant's", false },
        { "{'role':'assistant','tool_calls':{}}", "[1].tool_calls must be an array", false },
        { "{'role':'assistant','tool_calls':[5]}", "[1].tool_calls[0] must be an object", false },
        { "{'role':'assistant','tool_calls':[{'id':'a','type':'custom'}]}", "[0].type must be", false },
        { "{'role':'assistant','tool_calls':[{'id':5,'function':{'name':'f'}}]}", "[0].id is required",
          false },
        { "{'role':'assistant','tool_calls':[{'id':'a'}]}", "[0].function.name: there must be an object",
          false },
        { "{'role':'assistant','tool_calls':[{'id':'a','function':{}}]}", "function.name is required",
          false },
        { "{'role':'assistant','tool_calls':[{'id':'a','function':{'name':'f','zz':1}}]}", "function.zz",
          false },
        { "{'role':'assistant','tool_calls':[{'id':'a','function':{'name':'f','arguments':5}}]}",
          "function.arguments must be a JSON object in a string", false },
        { "{'role':'assistant','tool_calls':[{'id':'a','function':{'name':'f','arguments':'{'}}]}",
          "function.arguments, read as JSON", false },
        { "{'role':'assistant','tool_calls':[{'id':'a','function':{'name':'f','arguments':'[]'}}]}",
          "function.arguments, read as JSON", false },
        { "{'role':'assistant','function_call':{'arguments':'{}'}}", "function_call.name is required",
          false },
        { "{'role':'assistant','function_call':{'name':'f'},'tool_calls':[" CALL("a") "]}",
          "cannot both be there", false },
        { RESULT("a"), "must be a response to a preceeding message with 'tool_calls'", true },
        { CALLS(CALL("a")) "," RESULT("b"), "'tool_call_id' of 'b' not found in 'tool_calls'", true },
        { CALLS(CALL("a") "," CALL("b")) "," RESULT("a") "," ASK,
          "did not have response messages: b (messages[1])", true },
        { CALLS(CALL("a")), "did not have response messages: a (messages[1])", true },
        { CALLS(CALL("a")) "," RESULT("a") "," ASK "," RESULT("a"), "must be a response", true },
        { "{'role':'assistant','tool_calls':[{'function':{'name':'f'}}]}", "[0].id is required", true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int paired = 0; paired < 2; paired++) {
            char in[700];
            json_t *out;
            struct fault f;
            snprintf(in, sizeof in, "[" ASK ",%s]", rows[i].messages);
            const bool ok = read_messages(in, paired, &out, &f);
            if (ok != (!paired && rows[i].only_paired)) fail_msg("%s: %s", in, f.err.msg);
            if (ok) {
                json_decref(out);
                continue;
            }
            if (!strstr(f.err.msg, rows[i].words)) fail_msg("%s: %s", in, f.err.msg);
            assert_string_equal(f.param, "messages");
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),          cmocka_unit_test(test_dialects_of_schemas),
        cmocka_unit_test(test_bad_forms),      cmocka_unit_test(test_thinking),
        cmocka_unit_test(test_thoughts_shown), cmocka_unit_test(test_bad_thinking),
        cmocka_unit_test(test_tools),          cmocka_unit_test(test_bad_tools),
        cmocka_unit_test(test_conversations),  cmocka_unit_test(test_bad_conversations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
