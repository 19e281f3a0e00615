/* formats_test.c - what each family's reader makes of answers, whole, in pieces and cut off; what holds a decoder to calls; how templates are
 * recognised. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "lm/lm.h"
#include "service/tools/tool_format.h"

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static void feed_text(struct reply *r, const char *text, size_t len)
{
    struct lm_event ev = { .type = LM_EV_TEXT, .text = malloc(len + 1), .len = len };
    assert_non_null(ev.text);
    memcpy(ev.text, text, len);
    ev.text[len] = 0;
    reply_feed(r, &ev);
}

/* What was said, the pieces of one kind joined: text as it is, ~thought~, and calls as <name|arguments>; at the end how it ended. */
struct said {
    struct buf all;
    struct buf text;
    struct buf arguments[16];
    char *name[16], *id[16];
    int n_calls;
    enum reply_finish finish;
};

static void take(struct reply *r, struct said *s, enum reply_type *before)
{
    struct reply_event ev;
    while (reply_next(r, &ev)) {
        const bool more = ev.type == *before && !ev.call.name;
        if (!more && *before == REPLY_CALL) buf_puts(&s->all, ">");
        if (!more && *before == REPLY_THOUGHT) buf_puts(&s->all, "~");
        if (!more && ev.type == REPLY_THOUGHT) buf_puts(&s->all, "~");
        if (ev.type == REPLY_CALL && ev.call.name) {
            assert_int_equal(ev.call.index, s->n_calls);
            assert_true(s->n_calls < 16);
            s->name[s->n_calls] = strdup(ev.call.name);
            s->id[s->n_calls++] = strdup(ev.call.id);
            buf_printf(&s->all, "<%s|", ev.call.name);
        }
        if (ev.type == REPLY_CALL) {
            assert_int_equal(ev.call.index, s->n_calls - 1);
            buf_append(&s->arguments[s->n_calls - 1], ev.text, ev.len);
        }
        if (ev.type == REPLY_TEXT) buf_append(&s->text, ev.text, ev.len);
        buf_append(&s->all, ev.text ? ev.text : "", ev.len);
        if (ev.type == REPLY_CHOICE_END) s->finish = ev.finish;
        *before = ev.type;
        reply_event_free(&ev);
    }
}

static void free_said(struct said *s)
{
    for (int i = 0; i < s->n_calls; i++) {
        free(s->name[i]);
        free(s->id[i]);
        buf_free(&s->arguments[i]);
    }
    buf_free(&s->all);
    buf_free(&s->text);
}

/* The text in the pieces that end at each of the n cuts. */
static void read_answer(const struct reply_style *style, const char *text, const size_t *cut, int n,
                        enum lm_finish finish, struct said *s)
{
    struct reply *r;
    size_t from = 0;
    enum reply_type before = REPLY_DONE;
    *s = (struct said){ 0 };
    assert_true(reply_new(&r, style, 1, NULL));
    for (int i = 0; i < n; from = cut[i++]) {
        feed_text(r, text + from, cut[i] - from);
        take(r, s, &before); /* as it comes, so that what is said too early shows */
    }
    struct lm_event end = { .type = LM_EV_CHOICE_END, .finish = finish };
    reply_feed(r, &end);
    take(r, s, &before);
    buf_puts(&s->all, "");
    reply_free(r);
}

static bool is_border(const char *text, size_t i) { return ((unsigned char)text[i] & 0xc0) != 0x80; }

static bool is_object(const struct buf *b)
{
    json_t *j = json_loadb(b->data ? b->data : "", b->len, JSON_ALLOW_NUL, NULL);
    const bool ok = json_is_object(j);
    json_decref(j);
    return ok;
}

#define V3 "<｜tool▁calls▁begin｜>"
#define V3_CALL "<｜tool▁call▁begin｜>function<｜tool▁sep｜>"
#define V3_END "<｜tool▁call▁end｜>"
#define V3_ENDS "<｜tool▁calls▁end｜>"

static const struct answer {
    const char *family, *text, *said;
    bool broken; /* what is said of it is no prefix of what is said of more of it */
} answers[] = {
    /* Hermes */
    { "hermes", "Just text, 1 < 2 and <b>bold</b>.\n", "Just text, 1 < 2 and <b>bold</b>.\n", false },
    { "hermes", "", "", false },
    { "hermes", "  \n", "  \n", false },
    { "hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>", "<f|{\"a\": 1}>",
      false },
    { "hermes", "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>",
      "Let me see.<f|{}>", false },
    { "hermes",
      "One.\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, {\"b\": "
      "null}]}}\n</tool_call>\nTwo.\n<tool_call>"
      "{\"name\":\"g-1\",\"arguments\":{\"s\":\"x\"}}</tool_call>\n\nThree. ",
      "One.<f|{\"a\": [1, {\"b\": null}]}>\nTwo.<g-1|{\"s\":\"x\"}>\n\nThree.", false },
    { "hermes",
      "<tool_call>{\"arguments\": {\"q\": \"}]</tool_call>{\\\"\\\\\"}, \"name\": \"f\"}</tool_call>",
      "<f|{\"q\": \"}]</tool_call>{\\\"\\\\\"}>", false },
    { "hermes",
      "<tool_call>{\"name\": \"grüß\\u00e9\", \"arguments\": {\"ü\": \"日本 \\ud83d\\ude00 😀\"}}</tool_call>",
      "<grüßé|{\"ü\": \"日本 \\ud83d\\ude00 😀\"}>", false },
    { "hermes", "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": \\\"b\\\"}\"}</tool_call>",
      "<f|{\"a\": \"b\"}>", false },
    { "hermes", "<tool_call>{\"name\": \"f\"}</tool_call>", "<f|{}>", false },
    { "hermes", "<tool_call>{\"id\": 7, \"name\": \"f\", \"arguments\": null, \"why\": [1]}</tool_call>",
      "<f|{}>", false },
    { "hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"why\": \"x\"}</tool_call>",
      "<f|{\"a\": 1}>", false },
    { "hermes",
      "<tool_call>[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {\"n\": "
      "-1.5e3}}]</tool_call>",
      "<f|{}><g|{\"n\": -1.5e3}>", false },
    { "hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"s\": \"a\nb\tc\"}}</tool_call>",
      "<f|{\"s\": \"a\\nb\\tc\"}>", false },
    { "hermes",
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": "
      "1}\n</tool_call>\n<tool_call>{\"name\":\"g\"}</tool_call>",
      "<f|{\"a\": 1}><g|{}>", false },
    { "hermes", "Use the <tool_call> tag.", "Use the tag.", true },
    { "hermes", "<tool_call>{\"name\": 7, \"arguments\": {}}</tool_call> bye",
      "{\"name\": 7, \"arguments\": {}} bye", true },
    { "hermes", "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>",
      "{\"name\": \"\", \"arguments\": {}}", true },
    { "hermes", "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
      "{\"name\": \"f\", \"arguments\": [1]}", true },
    { "hermes", "<tool_call>{\"name\": \"f\", \"arguments\": \"x\"}</tool_call>",
      "{\"name\": \"f\", \"arguments\": \"x\"}", true },
    { "hermes", "<tool_call>{\"nam <tool_call>{\"name\": \"f\"}</tool_call>", "{\"nam<f|{}>", true },
    { "hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": [1, oops]}}\n</tool_call> bye",
      "<f|{\"a\": [1]}>, oops]}} bye", true },
    { "hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"x\\q\"}}", "<f|{\"a\": \"x\"}>\\q\"}}",
      true },
    { "hermes", "<tool_call></tool_call>", "", false },
    { "hermes", "</tool_call>", "", false },
    { "hermes", "<tool_call>{\"name\": \"f\"", "{\"name\": \"f\"", true },
    { "hermes", "ends in a mark's beginning <tool", "ends in a mark's beginning <tool", true },
    { "hermes", "{\"name\": \"f\", \"arguments\": {}}", "{\"name\": \"f\", \"arguments\": {}}", false },
    /* Llama 3 */
    { "llama3", "{\"name\": \"f\", \"parameters\": {\"a\": \"b\"}}", "<f|{\"a\": \"b\"}>", false },
    { "llama3", " \n{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}\n", "<f|{}>", false },
    { "llama3", "{\"type\": \"function\", \"function\": \"f\", \"parameters\": {}}", "<f|{}>", false },
    { "llama3",
      "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"arguments\": {\"x\": "
      "1}}\n{\"name\":\"h\",\"parameters\":{}}",
      "<f|{}><g|{\"x\": 1}><h|{}>", false },
    { "llama3", "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}", "<f|{\"a\": 1}>", false },
    { "llama3", "<|python_tag|>brave_search.call(query=\"what, (is) \\\"it\\\"?\")",
      "<brave_search|{\"query\": \"what, (is) \\\"it\\\"?\"}>", false },
    { "llama3", "<|python_tag|>import os\nprint(1)", "import os\nprint(1)", true },
    { "llama3", "<function=f>{\"a\": 1}</function>\n<function=g> {} </function>", "<f|{\"a\": 1}><g|{}>",
      false },
    { "llama3", "I call <function=f>{\"a\": \"</function>\"}</function> now.",
      "I call<f|{\"a\": \"</function>\"}> now.", false },
    { "llama3", "[f(a=1), g()]", "<f|{\"a\": 1}><g|{}>", false },
    { "llama3", "Sure: {\"name\": \"f\", \"parameters\": {}}", "Sure: {\"name\": \"f\", \"parameters\": {}}",
      false },
    { "llama3", "{\"answer\": 42}", "{\"answer\": 42}", true },
    { "llama3", "{\"name\": \"Bob\", \"age\": 3}", "{\"name\": \"Bob\", \"age\": 3}", true },
    { "llama3", "{\"name\": \"Bob\"}", "{\"name\": \"Bob\"}", true },
    { "llama3", "{\"name\": \"f\", \"parameters\": {}} and more", "<f|{}>and more", false },
    { "llama3", "[1, 2, 3]", "[1, 2, 3]", true },
    { "llama3", "[see](http://x)", "[see](http://x)", true },
    { "llama3", "{", "{", true },
    { "llama3", "<function=f>no</function>", "f>no", true },
    /* Llama 4 */
    { "llama4",
      "<|python_start|>[get_weather(city=\"Rome\", days=[1, 2.50], opt={'k': None, \"t\": True}), "
      "a.b(x=-3)]<|python_end|>",
      "<get_weather|{\"city\": \"Rome\", \"days\": [1, 2.50], \"opt\": {\"k\": null, \"t\": "
      "true}}><a.b|{\"x\": -3}>",
      false },
    { "llama4", "[f(s='it\\'s (\\u00e9) \\n', t=\"\"\"\"),]", "[f(s='it\\'s (\\u00e9) \\n', t=\"\"\"\"),]",
      true },
    { "llama4", "[f(s='it\\'s (\\u00e9) \\n')]", "<f|{\"s\": \"it's (é) \\n\"}>", false },
    { "llama4", "<|python_start|>Let me look.<|python_end|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
      "Let me look.<f|{\"a\": 1}>", false },
    { "llama4", "{\"name\": \"f\", \"parameters\": {}}\n{\"name\": \"g\", \"parameters\": {}}",
      "<f|{}><g|{}>", false },
    { "llama4", "<function=f>{\"a\": []}</function>", "<f|{\"a\": []}>", false },
    { "llama4", "[f(1)]", "[f(1)]", true },
    { "llama4", "[f(a=1), g(b)]", "<f|{\"a\": 1}>g(b)]", true },
    { "llama4", "[f(a=1, a=2)]", "[f(a=1, a=2)]", true },
    { "llama4", "Plain [f(a=1)].", "Plain [f(a=1)].", false },
    /* DeepSeek */
    { "deepseek", V3 V3_CALL "f\n```json\n{\"a\": 1}\n```" V3_END V3_ENDS, "<f|{\"a\": 1}>", false },
    { "deepseek",
      "I look.\n" V3 V3_CALL "f\n```json\n{\"a\": \"```\"}\n```" V3_END "\n" V3_CALL
      "g\n```json\n{}\n```" V3_END V3_ENDS,
      "I look.<f|{\"a\": \"```\"}><g|{}>", false },
    { "deepseek", V3 V3_CALL "f\n{\"a\": 1}" V3_END, "<f|{\"a\": 1}>", false },
    { "deepseek", V3 V3_CALL "f```json{\"a\": 1}```" V3_END, "<f|{\"a\": 1}>", false },
    { "deepseek", V3 V3_CALL "f\n```\n{\"a\": 1}\n```", "<f|{\"a\": 1}>", false },
    { "deepseek", V3 "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": 1}" V3_END V3_ENDS, "<f|{\"a\": 1}>",
      false },
    { "deepseek", V3 V3_CALL "f\n```json\nnone\n```" V3_END V3_ENDS " x", "functionf\n```json\nnone\n``` x",
      true },
    { "deepseek", V3 V3_ENDS, "", false },
    { "deepseek", "a <｜b｜> ｜ ▁", "a <｜b｜> ｜ ▁", false },
    /* Mistral */
    { "mistral", "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"abcdefghi\"}]",
      "<f|{\"a\": 1}>", false },
    { "mistral",
      "[TOOL_CALLS][{\"name\":\"f\",\"arguments\":{}},{\"name\":\"g\",\"arguments\":{\"b\":[]}}]\n",
      "<f|{}><g|{\"b\":[]}>", false },
    { "mistral", "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g[CALL_ID]123456789[ARGS]{}",
      "<f|{\"a\": 1}><g|{}>", false },
    { "mistral", "[TOOL_CALLS]f{\"a\": 1}", "<f|{\"a\": 1}>", false },
    { "mistral", "Yes. [TOOL_CALLS] {\"name\": \"f\", \"arguments\": {}}", "Yes.<f|{}>", false },
    { "mistral", "[TOOL_CALLS] []", "[]", true },
    { "mistral", "[1] is a source, [TOOL no mark", "[1] is a source, [TOOL no mark", false },
    /* Plain JSON */
    { "json", "{\"name\": \"f\", \"arguments\": {\"a\": {\"b\": {}}}}", "<f|{\"a\": {\"b\": {}}}>", false },
    { "json", "[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {}}]", "<f|{}><g|{}>",
      false },
    { "json", "[{\"name\": \"f\", \"arguments\": {}}, {\"name\": 1}]", "<f|{}>{\"name\": 1}]", true },
    { "json", "[{\"x\": 1}]", "[{\"x\": 1}]", true },
    { "json", "[f(a=1)]", "[f(a=1)]", false },
    { "json", "Hello {\"name\": \"f\", \"arguments\": {}}", "Hello {\"name\": \"f\", \"arguments\": {}}",
      false },
};
enum { N_ANSWERS = sizeof answers / sizeof *answers };

static const char think_open[] = "<think>", think_close[] = "</think>";

static struct reply_style style_of(const char *family, enum thought_form form)
{
    const struct tool_format *f = tool_format_named(family);
    assert_non_null(f);
    return (struct reply_style){ .reader = f->reader,
                                 .think_open = form == THOUGHT_AS_SET ? NULL : think_open,
                                 .think_close = form == THOUGHT_AS_SET ? NULL : think_close,
                                 .form = form,
                                 .id_seed = 7 };
}

/* The text whole, byte by byte and in every three pieces: always the same. */
static void check_every_cut(const struct reply_style *style, const char *text, const char *want)
{
    const size_t n = strlen(text);
    size_t *cut = calloc(n + 1, sizeof *cut);
    struct said s;
    int m = 0;
    assert_non_null(cut);
    for (size_t i = 1; i <= n; i++)
        if (is_border(text, i)) cut[m++] = i;
    read_answer(style, text, cut, m, LM_FINISH_STOP, &s);
    if (strcmp(s.all.data, want) != 0)
        fail_msg("in letters: %s\n  want: %s\n  got:  %s", text, want, s.all.data);
    free_said(&s);
    free(cut);
    for (size_t i = 0; i <= n; i++) {
        for (size_t k = i; k <= n; k++) {
            if (!is_border(text, i) || !is_border(text, k)) continue;
            const size_t three[] = { i, k, n };
            read_answer(style, text, three, 3, LM_FINISH_STOP, &s);
            if (strcmp(s.all.data, want) != 0)
                fail_msg("cut at %zu and %zu: %s\n  want: %s\n  got:  %s", i, k, text, want, s.all.data);
            for (int c = 0; c < s.n_calls; c++) {
                assert_true(s.name[c][0] && is_object(&s.arguments[c]));
                for (int d = 0; d < c; d++) assert_string_not_equal(s.id[c], s.id[d]);
            }
            assert_int_equal(s.finish, s.n_calls ? REPLY_CALLS : REPLY_STOP);
            free_said(&s);
        }
    }
}

static void test_answers(void **state)
{
    (void)state;
    for (int i = 0; i < N_ANSWERS; i++) {
        const struct reply_style style = style_of(answers[i].family, THOUGHT_AS_SET);
        check_every_cut(&style, answers[i].text, answers[i].said);
    }
}

/* With a thought in front, in which a call of each family stands: it is none. */
static void test_thoughts(void **state)
{
    (void)state;
    static const char fake[] = "Hm, <tool_call>{\"name\": \"x\", \"arguments\": {}}</tool_call>\n{\"name\": "
                               "\"y\", \"parameters\": {}}"
                               "[TOOL_CALLS] [{}] < </thin";
    for (int i = 0; i < N_ANSWERS; i += 3) {
        struct buf text = BUF_INIT(0), want = BUF_INIT(0);
        struct reply_style style = style_of(answers[i].family, THOUGHT_SPLIT);
        const char *said = answers[i].said + strspn(answers[i].said, " \n");
        buf_printf(&text, "\n<think>\n%s \n</think>\n\n%s", fake, answers[i].text);
        buf_printf(&want, "~%s~%s", fake, said);
        check_every_cut(&style, text.data, want.data);
        buf_clear(&want);
        style.form = THOUGHT_HIDDEN;
        buf_puts(&want, said);
        check_every_cut(&style, text.data, want.data);
        buf_free(&text);
        buf_free(&want);
    }
    /* Where the text is kept whole, white space in front of what is no call is the answer's. */
    const struct reply_style style = style_of("hermes", THOUGHT_INLINE);
    check_every_cut(&style, " <think>\na <tool_call>\n</think>\n\nHi <tool_call>{\"name\":\"f\"}</tool_call>",
                    " <think>\na <tool_call>\n</think>\n\nHi<f|{}>");
    check_every_cut(&style, "<think></think><tool_call>{\"name\":\"f\"}</tool_call>",
                    "<think></think><f|{}>");
}

/* Whether anything of a mark stands in the text; at its end the first byte alone is no sign of one. */
static void check_no_marks(const struct tool_format *f, const struct said *s, const char *text, size_t at)
{
    for (const char *const *mark = f->control; mark && *mark; mark++) {
        const size_t n = strlen(*mark);
        assert_null(s->text.data ? strstr(s->text.data, *mark) : NULL);
        for (size_t k = 1; k < n && k <= s->text.len; k++)
            if (!memcmp(s->text.data + s->text.len - k, *mark, k))
                fail_msg("%.*s: said the beginning of %s: %s", (int)at, text, *mark, s->text.data);
    }
}

/* Cut off anywhere by max_tokens: never a mark, and what was said is the beginning of what is said of the whole. */
static void test_truncated(void **state)
{
    (void)state;
    for (int i = 0; i < N_ANSWERS; i++) {
        const struct answer *a = &answers[i];
        const struct reply_style style = style_of(a->family, THOUGHT_AS_SET);
        const size_t n = strlen(a->text);
        struct said whole;
        read_answer(&style, a->text, &n, 1, LM_FINISH_STOP, &whole);
        for (size_t at = 0; at < n; at++) {
            struct said s;
            if (!is_border(a->text, at)) continue;
            read_answer(&style, a->text, &at, 1, LM_FINISH_LENGTH, &s);
            assert_int_equal(s.finish, REPLY_LENGTH);
            check_no_marks(tool_format_named(a->family), &s, a->text, at);
            for (int c = 0; c < s.n_calls && !a->broken; c++) {
                assert_true(c < whole.n_calls);
                assert_string_equal(s.name[c], whole.name[c]);
                assert_true(s.arguments[c].len <= whole.arguments[c].len);
                assert_memory_equal(s.arguments[c].data, whole.arguments[c].data, s.arguments[c].len);
            }
            size_t len = s.text.len;
            while (len && strchr(" \n", s.text.data[len - 1])) len--;
            assert_true(len <= whole.text.len);
            if (!a->broken && len) assert_memory_equal(s.text.data, whole.text.data, len);
            free_said(&s);
            /* Ended there by the model: no call is broken unless the finish says so. */
            read_answer(&style, a->text, &at, 1, LM_FINISH_STOP, &s);
            for (int c = 0; c < s.n_calls; c++)
                assert_true(is_object(&s.arguments[c]) || (c == s.n_calls - 1 && s.finish == REPLY_LENGTH));
            if (s.finish == REPLY_STOP) assert_int_equal(s.n_calls, 0);
            free_said(&s);
        }
        free_said(&whole);
    }
}

/* Arguments go out while they come, the name in front of them. */
static void test_streams(void **state)
{
    (void)state;
    static const char head[] = "<tool_call>{\"name\": \"f\", \"arguments\": {\"text\": \"", text[] = "abc";
    const struct reply_style style = style_of("hermes", THOUGHT_AS_SET);
    struct reply *r;
    struct reply_event ev;
    assert_true(reply_new(&r, &style, 1, NULL));
    feed_text(r, head, sizeof head - 1);
    assert_true(reply_next(r, &ev));
    assert_string_equal(ev.call.name, "f");
    assert_int_equal(strlen(ev.call.id), strlen("call_") + 24);
    assert_int_equal(ev.len, 0);
    reply_event_free(&ev);
    assert_true(reply_next(r, &ev));
    assert_string_equal(ev.text, "{\"text\": \"");
    reply_event_free(&ev);
    assert_false(reply_next(r, &ev));
    for (int i = 0; i < 3; i++) {
        feed_text(r, text + i, 1);
        assert_true(reply_next(r, &ev));
        assert_int_equal(ev.type, REPLY_CALL);
        assert_null(ev.call.name);
        assert_true(ev.len == 1 && ev.text[0] == text[i]);
        reply_event_free(&ev);
    }
    reply_free(r);
    const struct reply_style mistral = style_of("mistral", THOUGHT_AS_SET);
    const size_t n = strlen("[TOOL_CALLS]f[ARGS]{}");
    struct said s;
    read_answer(&mistral, "[TOOL_CALLS]f[ARGS]{}", &n, 1, LM_FINISH_STOP, &s);
    assert_int_equal(strlen(s.id[0]), 9);
    assert_int_equal(strspn(s.id[0], "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"), 9);
    free_said(&s);
}

/* ---- grammars ------------------------------------------------------------------------------------------------------ */

static void two_tools(struct tool_set *t)
{
    json_t *j = json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{"
                           "\"properties\":{\"a\":{\"type\":"
                           "\"integer\"}},\"additionalProperties\":false}}},"
                           "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]",
                           0, NULL);
    *t = (struct tool_set){ 0 };
    assert_true(tool_set_read(t, j, "tools", false, true, NULL));
    json_decref(j);
}

static char *grammar_of(const char *family, const struct tool_set *t, json_t *schemas, const char **forced)
{
    struct buf b = BUF_INIT(0);
    assert_true(tool_format_named(family)->grammar(t, &b, schemas, forced));
    return buf_take(&b);
}

static void test_grammars(void **state)
{
    (void)state;
    struct tool_set t;
    const char *forced;
    two_tools(&t);
    json_t *schemas = json_object();
    char *g = grammar_of("hermes", &t, schemas, &forced);
    assert_string_equal(g, "root ::= call-0 ( \"\\n\" call-0 )*\n"
                           "call-0 ::= \"<tool_call>\\n{\\\"name\\\": \\\"\" ( \"f\" \"\\\", "
                           "\\\"arguments\\\": \" arguments-0 | "
                           "\"g\" \"\\\", \\\"arguments\\\": \" arguments-1 ) \"}\\n</tool_call>\"\n");
    assert_null(forced);
    free(g);
    assert_string_equal(json_string_value(json_object_get(json_object_get(schemas, "arguments-0"), "type")),
                        "object");
    assert_true(
        json_is_false(json_object_get(json_object_get(schemas, "arguments-0"), "additionalProperties")));
    assert_true(
        json_is_false(json_object_get(json_object_get(schemas, "arguments-1"), "additionalProperties")));
    json_object_clear(schemas);
    t.choice = TOOL_NAMED;
    t.named = 1;
    g = grammar_of("mistral", &t, schemas, &forced);
    assert_string_equal(
        g, "root ::= \" \"? \"[\" call-0 \"]\"\n"
           "call-0 ::= \"{\\\"name\\\": \\\"\" ( \"g\" \"\\\", \\\"arguments\\\": \" arguments-1 ) \"}\"\n");
    assert_string_equal(forced, "[TOOL_CALLS]");
    assert_int_equal(json_object_size(schemas), 1);
    free(g);
    json_decref(schemas);
    tool_set_free(&t);
}

/* What a grammar spells its own reader reads: earlier calls are written from the same row. */
static void test_written_is_read(void **state)
{
    (void)state;
    json_t *calls = json_loads("[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\": \"ü\", \"b\": [1]}}},"
                               "{\"function\":{\"name\":\"g\",\"arguments\":{}}}]",
                               0, NULL);
    for (const struct tool_format *const *f = tool_formats; *f; f++) {
        struct buf b = BUF_INIT(0);
        const struct reply_style style = style_of((*f)->name, THOUGHT_AS_SET);
        assert_true((*f)->rewrite(calls, &b));
        check_every_cut(&style, b.data, "<f|{\"a\": \"ü\", \"b\": [1]}><g|{}>");
        buf_free(&b);
    }
    json_decref(calls);
}

static void test_instructions(void **state)
{
    (void)state;
    struct tool_set t;
    two_tools(&t);
    t.tool[0].allowed = false;
    for (const struct tool_format *const *f = tool_formats; *f; f++) {
        struct buf b = BUF_INIT(0);
        assert_true((*f)->instructions(&t, &b));
        assert_non_null(strstr(b.data, "{\"type\": \"function\", \"function\": {\"name\": \"g\"}}\n"));
        assert_null(strstr(b.data, "\"name\": \"f\""));
        buf_free(&b);
    }
    tool_set_free(&t);
}

/* ---- templates ----------------------------------------------------------------------------------------------------- */

static struct chat_template *template_of(const char *path, const char *key)
{
    json_t *j = json_load_file(path, 0, NULL);
    struct chat_template *t;
    const json_t *from = j;
    struct err e;
    if (!j) fail_msg("%s cannot be read", path);
    const json_t *source = json_object_get(from, key);
    assert_true(json_is_string(source));
    if (!chat_template_compile(&t, json_string_value(source), json_string_length(source), &e))
        fail_msg("%s: %s", path, e.msg);
    json_decref(j);
    return t;
}

static void test_recognised(void **state)
{
    (void)state;
    static const char *const files[][2] = {
        { "deepseek_r1", "deepseek" },  { "deepseek_r1_0528", "deepseek" },
        { "llama3_1_tools", "llama3" }, { "llama3_1_builtin", "llama3" },
        { "llama4", "llama4" },         { "mixtral_8x22b", "mistral" },
        { "mixtral_8x7b", "json" },     { "smollm2", "json" },
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[128];
        snprintf(path, sizeof path, "tests/golden/template/family_%s.json", files[i][0]);
        struct chat_template *t = template_of(path, "template");
        assert_string_equal(tool_format_of(t)->name, files[i][1]);
        chat_template_free(t);
    }
    assert_string_equal(tool_format_of(NULL)->name, "json");
    assert_null(tool_format_named("none"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),      cmocka_unit_test(test_thoughts),
        cmocka_unit_test(test_truncated),    cmocka_unit_test(test_streams),
        cmocka_unit_test(test_grammars),     cmocka_unit_test(test_written_is_read),
        cmocka_unit_test(test_instructions), cmocka_unit_test(test_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
