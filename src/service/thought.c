/* thought.c - see thought.h. */
#include "service/thought.h"

#include <string.h>

#include "service/mark.h"

static size_t leading_space(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && mark_is_space(s[i])) i++;
    return i;
}

static size_t without_trailing_space(const char *s, size_t n)
{
    while (n && mark_is_space(s[n - 1])) n--;
    return n;
}

static bool is_inline(const struct reply_style *style)
{
    return style->form != THOUGHT_SPLIT && style->form != THOUGHT_HIDDEN;
}

/* The first n bytes of what is held are settled. */
static void pass(struct thought *t, size_t n)
{
    t->passed += n;
    buf_drop(&t->held, n);
}

/* Of a thought: as it stands inline, without white space at its ends elsewhere. n bytes of what is held are settled by it. */
static bool say(struct thought *t, const struct reply_style *style, size_t n, struct reply_out *out)
{
    const char *s = t->held.data;
    size_t from = 0, to = n;
    if (is_inline(style)) {
        if (n && !reply_say(out, s, n)) return false;
    } else {
        if (!t->said) from = leading_space(s, n);
        to = from + without_trailing_space(s + from, n - from);
        if (to > from && !reply_think(out, s + from, to - from, t->passed + to)) return false;
        t->said |= to > from;
    }
    pass(t, n);
    return true;
}

/* What is held belongs to the answer, but for the white space behind a thought that is told apart from it. */
static bool begin_answer(struct thought *t, const struct reply_style *style, void *state,
                         struct reply_out *out)
{
    if (t->had && !is_inline(style)) {
        pass(t, leading_space(t->held.data, t->held.len));
        if (!reply_think(out, "", 0, t->passed)) return false;
    }
    t->at = THOUGHT_OVER;
    const bool ok = style->reader->feed(state, t->held.data ? t->held.data : "", t->held.len, out);
    buf_free(&t->held);
    return ok;
}

/* One step on; *more false: what is held does not say yet what it is. */
static bool step(struct thought *t, const struct reply_style *style, void *state, bool *more,
                 struct reply_out *out)
{
    const char *s = t->held.data;
    const size_t n = t->held.len;
    *more = false;
    if (!n) return true;
    if (t->at == THOUGHT_AHEAD) {
        const size_t space = leading_space(s, n), open = strlen(style->think_open);
        if (space == n || (n - space < open && !memcmp(s + space, style->think_open, n - space))) return true;
        *more = true;
        if (n - space < open || memcmp(s + space, style->think_open, open) != 0)
            return begin_answer(t, style, state, out);
        if (is_inline(style) && !reply_say(out, s, space + open)) return false;
        pass(t, space + open);
        t->at = THOUGHT_INSIDE;
        t->had = true;
        return true;
    }
    /* Inside. White space at the end of what has come may turn out to be the end of the thought. */
    const size_t close = strlen(style->think_close), at = mark_find(s, n, style->think_close);
    if (at == n) {
        size_t keep = mark_begun(s, n, style->think_close);
        if (!is_inline(style)) keep = n - without_trailing_space(s, n - keep);
        return say(t, style, n - keep, out);
    }
    *more = true;
    if (!say(t, style, at, out)) return false;
    if (is_inline(style) && !reply_say(out, style->think_close, close)) return false;
    pass(t, close);
    t->at = THOUGHT_AHEAD;
    return true;
}

static bool begin(struct thought *t, const struct reply_style *style, struct reply_out *out)
{
    t->at = !style->think_open ? THOUGHT_OVER : style->begins_inside ? THOUGHT_INSIDE : THOUGHT_AHEAD;
    if (t->at != THOUGHT_INSIDE) return true;
    t->had = true;
    return !is_inline(style) ||
           (reply_say(out, style->think_open, strlen(style->think_open)) && reply_say(out, "\n", 1));
}

bool thought_feed(struct thought *t, const struct reply_style *style, void *state, const char *text,
                  size_t len, struct reply_out *out)
{
    if (t->at == THOUGHT_NEW && len && !begin(t, style, out)) return false;
    if (t->at == THOUGHT_OVER || (t->at == THOUGHT_NEW && !style->think_open))
        return style->reader->feed(state, text, len, out);
    if (!buf_append(&t->held, text, len)) return false;
    bool more = true;
    while (more && t->at != THOUGHT_OVER)
        if (!step(t, style, state, &more, out)) return false;
    return true;
}

bool thought_flush(struct thought *t, const struct reply_style *style, void *state, bool cut,
                   struct reply_out *out)
{
    const bool waits = t->at == THOUGHT_AHEAD, begun = leading_space(t->held.data, t->held.len) < t->held.len;
    if (t->at == THOUGHT_INSIDE) {
        if (cut && !is_inline(style))
            t->held.len -= mark_begun(t->held.data, t->held.len, style->think_close);
        if (!say(t, style, t->held.len, out)) return false;
        return is_inline(style) || reply_think(out, "", 0, SIZE_MAX);
    }
    if (waits && cut && begun) t->held.len = 0; /* the beginning of the opening mark */
    if (waits && !begin_answer(t, style, state, out)) return false;
    return !style->reader->flush || style->reader->flush(state, cut, out);
}

void thought_free(struct thought *t) { buf_free(&t->held); }
