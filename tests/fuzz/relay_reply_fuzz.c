/* relay_reply_fuzz.c - answers of another server as reply events: whatever it says, events are such as printers may be given. The first byte
 * says which answer it is; of texts each line is one event of a stream. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/relay_pictures.h"
#include "http/dialects/relay_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* What choices are put together from; a call must be the latest or one before it. */
static void print(struct relay_text *t)
{
    struct wire_choice said[2] = { 0 };
    struct reply_event ev;
    while (relay_text_next(t, &ev)) {
        if (ev.index < 0 || ev.index >= 2) abort();
        if (ev.type == REPLY_CALL && ev.call.index > said[ev.index].n_calls) abort();
        if (!wire_choice_take(&said[ev.index], &ev)) abort();
        reply_event_free(&ev);
    }
    for (int i = 0; i < 2; i++) wire_choice_free(&said[i]);
}

static void read_text(const char *s, size_t n)
{
    struct gen_request gen = { 0 };
    struct relay_text t;
    struct err e = { ERR_NONE, "" };
    const struct usage u = { .prompt_tokens = 1 };
    bool ok = relay_text_init(&t, &gen, 2, n & 1, &e);
    for (const char *end = s + n, *stop; ok && s < end; s = stop + 1) {
        stop = memchr(s, '\n', (size_t)(end - s));
        if (!stop) stop = end;
        ok = relay_text_read(&t, s, (size_t)(stop - s), &u, &e);
    }
    if (ok) ok = relay_text_end(&t, &u, &e);
    if (!ok && e.code == ERR_NONE) abort();
    print(&t);
    relay_text_free(&t);
}

static void read_pictures(const char *s, size_t n)
{
    struct picture_wire w;
    struct reply_picture out[2] = { 0 };
    struct err e = { ERR_NONE, "" };
    picture_wire_init(&w, &openai_pictures, false);
    if (!relay_picture_read(&w, s, n, out, 2, &e) && e.code == ERR_NONE) abort();
    for (int i = 0; i < 2; i++) free(out[i].bytes);
    picture_wire_free(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n) return 0;
    if (data[0] & 1)
        read_text((const char *)data + 1, n - 1);
    else
        read_pictures((const char *)data + 1, n - 1);
    return 0;
}
