/* trace_context.c - see trace_context.h. */
#include "base/trace_context.h"

#include <stdio.h>
#include <string.h>

#include "base/rng.h"

/* Lower case alone: the standard has no other. */
static int digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static bool read_hex(const char **p, unsigned char *out, int n)
{
    for (int i = 0; i < n; i++) {
        const int high = digit((*p)[0]), low = high < 0 ? -1 : digit((*p)[1]);
        if (low < 0) return false;
        out[i] = (unsigned char)(high << 4 | low);
        *p += 2;
    }
    return true;
}

static bool any(const unsigned char *id, int n)
{
    for (int i = 0; i < n; i++)
        if (id[i]) return true;
    return false;
}

bool trace_context_parse(struct trace_context *out, const char *header)
{
    struct trace_context c = { .known = true };
    unsigned char version, flags;
    if (!header) return false;
    const char *p = header;
    if (!read_hex(&p, &version, 1) || version == 0xff || *p++ != '-') return false;
    if (!read_hex(&p, c.trace, TRACE_ID) || !any(c.trace, TRACE_ID) || *p++ != '-') return false;
    if (!read_hex(&p, c.parent, SPAN_ID) || !any(c.parent, SPAN_ID) || *p++ != '-') return false;
    if (!read_hex(&p, &flags, 1)) return false;
    /* Later versions may say more behind a hyphen. */
    if (*p && (version == 0 || *p != '-')) return false;
    c.sampled = flags & 1;
    *out = c;
    return true;
}

void trace_context_begin(struct trace_context *c)
{
    if (!c->known) {
        c->known = c->sampled = true;
        memset(c->parent, 0, sizeof c->parent);
        do rng_os(c->trace, sizeof c->trace);
        while (!any(c->trace, TRACE_ID));
    }
    do rng_os(c->span, sizeof c->span);
    while (!any(c->span, SPAN_ID));
}

void trace_context_hex(const unsigned char *id, int n, char *out)
{
    for (int i = 0; i < n; i++) snprintf(out + 2 * i, 3, "%02x", id[i]);
}

void trace_context_print(const struct trace_context *c, char out[TRACEPARENT])
{
    char trace[2 * TRACE_ID + 1], span[2 * SPAN_ID + 1];
    trace_context_hex(c->trace, TRACE_ID, trace);
    trace_context_hex(c->span, SPAN_ID, span);
    snprintf(out, TRACEPARENT, "00-%s-%s-%02x", trace, span, c->sampled);
}
