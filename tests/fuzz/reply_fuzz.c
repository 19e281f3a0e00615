/* Any text as the answer of every family, in pieces and whole: the same is said, no mark of the family is, and arguments are objects unless the
 * choice ends as one that was cut. The first byte chooses family, thoughts and how it ends; the second where it is cut. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "lm/lm.h"
#include "service/tools/tool_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct said {
    struct buf all, arguments;
    bool broken; /* an argument is no object */
    int n_calls;
    enum reply_finish finish;
};

static bool is_object(const struct buf *b)
{
    json_error_t why;
    json_t *j = json_loadb(b->data ? b->data : "", b->len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &why);
    const bool ok = json_is_object(j) || (!j && json_error_code(&why) == json_error_numeric_overflow);
    json_decref(j);
    return ok;
}

static void end_call(struct said *s, enum reply_type before)
{
    if (before != REPLY_CALL) return;
    s->broken |= !is_object(&s->arguments);
    buf_clear(&s->arguments);
    buf_putc(&s->all, '\1');
}

static void feed(struct reply *r, const char *text, size_t len)
{
    struct lm_event ev = { .type = LM_EV_TEXT, .text = malloc(len + 1), .len = len };
    if (!ev.text) abort();
    if (len) memcpy(ev.text, text, len);
    ev.text[len] = 0;
    reply_feed(r, &ev);
}

/* marks: of which none may be said; NULL: any may. */
static void read_all(const struct reply_style *style, const char *const *marks, const char *text, size_t len,
                     size_t piece, enum lm_finish finish, struct said *s)
{
    struct reply *r;
    struct reply_event ev;
    enum reply_type before = REPLY_DONE;
    *s = (struct said){ 0 };
    if (!reply_new(&r, style, 1, NULL)) abort();
    for (size_t from = 0, to; from < len; from = to) {
        to = from + piece < len ? from + piece : len;
        while (to < len && ((unsigned char)text[to] & 0xc0) == 0x80) to++;
        feed(r, text + from, to - from);
    }
    struct lm_event end = { .type = LM_EV_CHOICE_END, .finish = finish };
    reply_feed(r, &end);
    while (reply_next(r, &ev)) {
        if (ev.type != before || ev.call.name) {
            end_call(s, before);
            buf_printf(&s->all, "\2%d", ev.type);
        }
        if (ev.call.name) {
            if (!ev.call.name[0] || ev.call.index != s->n_calls || s->broken) abort();
            s->n_calls++;
            buf_puts(&s->all, ev.call.name);
            buf_putc(&s->all, '\3');
        }
        if (ev.type == REPLY_CALL) buf_append(&s->arguments, ev.text, ev.len);
        for (const char *const *m = marks; m && *m; m++)
            if (ev.type == REPLY_TEXT && strstr(ev.text, *m)) abort();
        buf_append(&s->all, ev.text ? ev.text : "", ev.len);
        if (ev.type == REPLY_CHOICE_END) s->finish = ev.finish;
        before = ev.type;
        reply_event_free(&ev);
    }
    reply_free(r);
}

static void free_said(struct said *s)
{
    buf_free(&s->all);
    buf_free(&s->arguments);
}

/* As a detokeniser hands it out: each byte that is no UTF-8 becomes a question mark. */
static char *clean(const uint8_t *data, size_t size)
{
    char *s = malloc(size + 1);
    if (!s) abort();
    for (size_t i = 0; i < size;) {
        size_t n = data[i] < 0x80   ? 1
                   : data[i] < 0xc2 ? 0
                   : data[i] < 0xe0 ? 2
                   : data[i] < 0xf0 ? 3
                   : data[i] < 0xf5 ? 4
                                    : 0;
        json_t *j = n && n <= size - i && data[i] ? json_stringn((const char *)data + i, n) : NULL;
        if (j)
            memcpy(s + i, data + i, n);
        else
            s[i] = '?';
        i += j ? n : 1;
        json_decref(j);
    }
    s[size] = 0;
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { FAMILIES = 6 };
    if (size < 2 || size > 4096) return 0;
    const struct tool_format *f = tool_formats[data[0] % FAMILIES];
    const unsigned how = data[0] / FAMILIES;
    const struct reply_style style = { .reader = f->reader,
                                       .think_open = how & 1 ? "<think>" : NULL,
                                       .think_close = how & 1 ? "</think>" : NULL,
                                       .begins_inside = how & 2,
                                       .form = how & 4   ? THOUGHT_SPLIT
                                               : how & 8 ? THOUGHT_HIDDEN
                                                         : THOUGHT_INLINE,
                                       .id_seed = 1 };
    const enum lm_finish finish = how & 16 ? LM_FINISH_LENGTH : LM_FINISH_STOP;
    char *text = clean(data + 2, size - 2);
    struct said whole, pieces;
    const char *const *marks = how & 1 && style.form == THOUGHT_INLINE ? NULL : f->control;
    read_all(&style, marks, text, size - 2, size, finish, &whole);
    read_all(&style, marks, text, size - 2, 1 + data[1] % 16, finish, &pieces);
    if (whole.all.len != pieces.all.len || memcmp(whole.all.data, pieces.all.data, whole.all.len) != 0)
        abort();
    if (whole.broken && whole.finish != REPLY_LENGTH) abort();
    if ((whole.finish == REPLY_CALLS) != (whole.n_calls && whole.finish != REPLY_LENGTH)) abort();
    free_said(&whole);
    free_said(&pieces);
    free(text);
    return 0;
}
