/* thoughts.c - see thoughts.h. */
#include "service/thoughts.h"

#include <string.h>

#include "base/buf.h"

static const struct thought_marks families[] = {
    { "<think>", "</think>" },
    { "[THINK]", "[/THINK]" },
};

struct thought_marks thoughts_marks(const struct chat_template *t)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (chat_template_spells(t, families[i].open) || chat_template_spells(t, families[i].close))
            return families[i];
    return (struct thought_marks){ NULL, NULL };
}

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* ---- one message --------------------------------------------------------------------------------------------------- */

struct piece {
    const char *s;
    size_t len;
};

static struct piece trimmed(const char *s, size_t len)
{
    while (len && is_space(*s)) s++, len--;
    while (len && is_space(s[len - 1])) len--;
    return (struct piece){ s, len };
}

/* What an assistant's message thought and what it answered; the thought may be of no length. A text that only closes a thought began inside. */
static void split(const json_t *message, const struct thought_marks *m, struct piece *thought,
                  struct piece *answer)
{
    const json_t *content = json_object_get(message, "content"),
                 *apart = json_object_get(message, "reasoning_content");
    const char *s = json_is_string(content) ? json_string_value(content) : "";
    const struct piece whole = { s, json_is_string(content) ? json_string_length(content) : 0 };
    const char *open = strstr(s, m->open), *close = strstr(s, m->close);
    *answer = whole;
    *thought = json_is_string(apart) ? trimmed(json_string_value(apart), json_string_length(apart))
                                     : (struct piece){ "", 0 };
    if (!close || (open && open < close && trimmed(s, (size_t)(open - s)).len))
        return; /* marks in an answer */
    const char *begin = open && open < close ? open + strlen(m->open) : s;
    if (!thought->len) *thought = trimmed(begin, (size_t)(close - begin));
    answer->s = close + strlen(m->close);
    answer->len = whole.len - (size_t)(answer->s - s);
    while (answer->len && *answer->s == '\n') answer->s++, answer->len--;
}

static bool is_role(const json_t *message, const char *role)
{
    const char *s = json_string_value(json_object_get(message, "role"));
    return s && !strcmp(s, role);
}

/* The first message whose thoughts are kept. */
static size_t kept_from(const json_t *messages, enum thought_history history)
{
    size_t n = json_array_size(messages);
    if (history == HISTORY_ALL) return 0;
    if (history == HISTORY_NONE) return n;
    while (n && !is_role(json_array_get(messages, n - 1), "user")) n--;
    return n;
}

static json_t *without(const json_t *message, const struct piece *answer)
{
    const json_t *content = json_object_get(message, "content");
    json_t *out = json_copy((json_t *)message);
    if (!out) return NULL;
    json_object_del(out, "reasoning_content");
    if (!json_is_string(content) ||
        !json_object_set_new(out, "content", json_stringn(answer->s, answer->len)))
        return out;
    json_decref(out);
    return NULL;
}

static json_t *in_text(const json_t *message, const struct piece *thought, const struct piece *answer,
                       const struct thought_marks *m, bool alone)
{
    json_t *out = json_copy((json_t *)message), *content = json_object_get(out, "content");
    struct buf b = BUF_INIT(0);
    buf_printf(&b, "%s\n", m->open);
    buf_append(&b, thought->s, thought->len);
    buf_printf(&b, "\n%s\n\n", m->close);
    buf_append(&b, answer->s, answer->len);
    if (out) json_object_del(out, "reasoning_content");
    bool ok = out && !b.failed;
    if (ok && json_is_array(content)) { /* parts: one more in front */
        content = json_copy(content);
        ok = content &&
             !json_array_insert_new(content, 0, json_pack("{s:s, s:s}", "type", "text", "text", b.data));
        ok = !(json_object_set_new(out, "content", content) || !ok);
    } else if (ok) {
        ok = !json_object_set_new(out, "content", json_stringn(b.data, b.len));
    }
    if (ok && alone) ok = !json_object_set_new(out, "reasoning_content", json_string(""));
    buf_free(&b);
    if (ok) return out;
    json_decref(out);
    return NULL;
}

/* ---- all of them --------------------------------------------------------------------------------------------------- */

json_t *thoughts_of_history(const json_t *messages, enum thought_history history,
                            const struct thought_marks *m, enum thought_way way)
{
    const struct thought_marks *marks = m->open ? m : &families[0];
    if (history == HISTORY_AS_TEMPLATE) return json_incref((json_t *)messages);
    const size_t from = kept_from(messages, history);
    json_t *out = json_array();
    bool ok = out != NULL;
    for (size_t i = 0; ok && i < json_array_size(messages); i++) {
        json_t *message = json_array_get(messages, i), *shown;
        struct piece thought = { "", 0 }, answer;
        if (is_role(message, "assistant")) split(message, marks, &thought, &answer);
        if (!is_role(message, "assistant") || (i >= from && (!thought.len || way == THOUGHTS_AS_THEY_CAME)))
            shown = json_incref(message);
        else if (i < from)
            shown = without(message, &answer);
        else
            shown = in_text(message, &thought, &answer, marks, way == THOUGHTS_IN_TEXT_ALONE);
        ok = shown && !json_array_append_new(out, shown);
    }
    if (ok) return out;
    json_decref(out);
    return NULL;
}

bool thoughts_held(const json_t *messages, enum thought_history history, const struct thought_marks *m,
                   const char *prompt)
{
    const struct thought_marks *marks = m->open ? m : &families[0];
    const char *end = prompt + strlen(prompt);
    if (history == HISTORY_AS_TEMPLATE) return true;
    for (size_t i = kept_from(messages, history); i < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        struct piece thought, answer;
        if (!is_role(message, "assistant")) continue;
        split(message, marks, &thought, &answer);
        const char *at =
            thought.len ? memmem(prompt, (size_t)(end - prompt), thought.s, thought.len) : prompt;
        if (!at) return false;
        prompt = at + thought.len; /* they stand in their order */
    }
    return true;
}
