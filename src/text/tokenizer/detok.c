/* detok.c - streaming text out of tokens (text/tokenizer/tokenizer.h).
 *
 * Bytes go through two gates. The first lets whole characters through. The second runs one Knuth-Morris-Pratt
 * automaton a stop string over them: its state is how much of that stop string the text now ends in, so the longest
 * state is what must be held back. Both look at each byte once, whatever the tokens' borders are. */
#include <stdlib.h>

#include "base/buf.h"
#include "text/tokenizer/tokenizer_internal.h"

struct stop {
    char *text;
    size_t len;
    uint32_t *fail; /* [len]: longest border of text[0..i] */
};

struct stop_set {
    int n;
    struct stop stop[];
};

struct detok {
    const struct tokenizer *t; /* borrowed */
    const struct stop_set *stops;
    const uint32_t *shown; /* control tokens */
    bool show_control, started, stopped, off;
    const char *hit;       /* the stop string that ended it */
    unsigned char part[4]; /* the beginning of a character */
    size_t n_part;
    struct buf text; /* whole characters not handed out yet */
    size_t n_out;    /* of those, handed out by the last call */
    size_t state[];  /* of each stop string: how much of it the text ends in */
};

enum { MAX_STOPS = 1024, MAX_STOP_BYTES = 1 << 20 };

static bool stop_init(struct stop *s, const char *text, struct err *e)
{
    size_t n = strlen(text);
    if (n > MAX_STOP_BYTES)
        return err_set(e, ERR_REQUEST, "a stop string of %zu bytes; at most %d", n, MAX_STOP_BYTES);
    s->text = malloc(n + 1);
    s->fail = calloc(n, sizeof *s->fail);
    if (!s->text || !s->fail) return err_set(e, ERR_NOMEM, "no memory for a stop string");
    memcpy(s->text, text, n + 1);
    s->len = n;
    for (size_t i = 1, k = 0; i < n; i++) {
        while (k && text[i] != text[k]) k = s->fail[k - 1];
        if (text[i] == text[k]) k++;
        s->fail[i] = (uint32_t)k;
    }
    return true;
}

bool stop_set_new(struct stop_set **out, const char *const *stop, int n_stop, struct err *e)
{
    if (n_stop < 0 || n_stop > MAX_STOPS)
        return err_set(e, ERR_REQUEST, "%d stop strings; at most %d", n_stop, MAX_STOPS);
    struct stop_set *s = calloc(1, sizeof *s + (size_t)n_stop * sizeof *s->stop);
    if (!s) return err_set(e, ERR_NOMEM, "no memory for stop strings");
    for (int i = 0; i < n_stop; i++) {
        if (!stop[i][0]) continue;
        if (!stop_init(&s->stop[s->n++], stop[i], e)) {
            stop_set_free(s);
            return false;
        }
    }
    *out = s;
    return true;
}

void stop_set_free(struct stop_set *s)
{
    for (int i = 0; s && i < s->n; i++) {
        free(s->stop[i].text);
        free(s->stop[i].fail);
    }
    free(s);
}

bool detok_new(struct detok **out, const struct tokenizer *t, const struct stop_set *stops, bool show_control,
               struct err *e)
{
    const size_t n = stops ? (size_t)stops->n : 0;
    struct detok *d = calloc(1, sizeof *d + n * sizeof *d->state);
    if (!d) return err_set(e, ERR_NOMEM, "no memory for a detokenizer");
    d->t = t;
    d->stops = n ? stops : NULL;
    d->show_control = show_control;
    d->text = BUF_INIT(0);
    *out = d;
    return true;
}

void detok_show(struct detok *d, const uint32_t *bits) { d->shown = bits; }
void detok_keep_space(struct detok *d) { d->started = true; }

void detok_stops(struct detok *d, bool on)
{
    if (d->off == !on) return;
    d->off = !on;
    for (int i = 0; d->stops && i < d->stops->n; i++) d->state[i] = 0;
}

void detok_free(struct detok *d)
{
    if (d) buf_free(&d->text);
    free(d);
}

/* The second gate: one byte. The stop string that it completes (the longest of several), or NULL. */
static const struct stop *stops_at(struct detok *d, char c)
{
    const struct stop *hit = NULL;
    for (int i = 0; i < d->stops->n; i++) {
        const struct stop *s = &d->stops->stop[i];
        size_t k = d->state[i];
        while (k && s->text[k] != c) k = s->fail[k - 1];
        if (s->text[k] == c) k++;
        d->state[i] = k;
        if (k == s->len && (!hit || s->len > hit->len)) hit = s;
    }
    return hit;
}

/* Whole characters; true when a stop string is complete, then the text ends before it. */
static bool take(struct detok *d, const char *s, size_t n)
{
    if (!d->stops || d->off) {
        buf_append(&d->text, s, n);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        buf_putc(&d->text, s[i]);
        const struct stop *hit = stops_at(d, s[i]);
        if (!hit) continue;
        d->hit = hit->text;
        d->text.len -=
            hit->len < d->text.len ? hit->len : d->text.len; /* less is there only when memory ran out */
        return d->stopped = true;
    }
    return false;
}

/* The first gate. */
static bool take_bytes(struct detok *d, const char *s, size_t n)
{
    while (n) {
        if (d->n_part == 0) { /* the usual case: no character is open */
            size_t whole = utf8_valid(s, n);
            if (take(d, s, whole)) return true;
            s += whole;
            n -= whole;
            if (n == 0) break;
        }
        d->part[d->n_part++] = (unsigned char)*s++;
        n--;
        int step;
        while (d->n_part && (step = utf8_step(d->part, d->n_part)) != 0) {
            size_t len = (size_t)(step > 0 ? step : -step);
            if (step > 0 ? take(d, (const char *)d->part, len) : take(d, "\xef\xbf\xbd", 3)) return true;
            d->n_part -= len;
            memmove(d->part, d->part + len, d->n_part);
        }
    }
    return false;
}

/* What may be shown: everything but what may yet become a stop string. */
static void hand_out(struct detok *d, size_t held, const char **text, size_t *len)
{
    d->n_out = d->text.len - held;
    *text = d->n_out ? d->text.data : "";
    *len = d->n_out;
}

static size_t longest_state(const struct detok *d)
{
    size_t held = 0;
    for (int i = 0; d->stops && i < d->stops->n; i++)
        if (d->state[i] > held) held = d->state[i];
    return held < d->text.len ? held : d->text.len;
}

/* Forgets what the last call handed out. */
static void drop_shown(struct detok *d)
{
    if (d->n_out) memmove(d->text.data, d->text.data + d->n_out, d->text.len - d->n_out);
    d->text.len -= d->n_out;
    d->n_out = 0;
}

bool detok_push(struct detok *d, int32_t id, const char **text, size_t *len)
{
    drop_shown(d);
    *text = "";
    *len = 0;
    if (d->stopped) return true;
    const bool shown = d->show_control || (d->shown && (d->shown[id / 32] >> (id % 32) & 1));
    if (!shown && tokenizer_is_control(d->t, id)) return false;
    size_t n;
    const char *s = tokenizer_bytes(d->t, id, &n);
    if (!d->started && n && d->t->strip_first && s[0] == ' ' && d->t->vocab.kind[id] == VOCAB_NORMAL) {
        s++; /* the space that encoding puts in front */
        n--;
    }
    d->started = true;
    bool stopped = take_bytes(d, s, n);
    hand_out(d, stopped ? 0 : longest_state(d), text, len);
    return stopped;
}

void detok_finish(struct detok *d, const char **text, size_t *len)
{
    drop_shown(d);
    if (!d->stopped && d->n_part) {
        d->n_part = 0;
        take(d, "\xef\xbf\xbd", 3);
    }
    d->stopped = true;
    hand_out(d, 0, text, len);
}

const char *detok_stop_hit(const struct detok *d) { return d->hit; }

bool detok_failed(const struct detok *d) { return d->text.failed; }
