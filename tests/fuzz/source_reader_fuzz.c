/* source_reader_fuzz.c - any bytes as a client's source: what is found lies in them, in its line, and lines only go on. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/advice/source_reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
    const char *from, *to;
    int line;
    size_t found;
};

static bool take(void *arg, const struct source_found *f)
{
    struct seen *s = arg;
    char instead[64];
    if (f->text < s->from || f->len > (size_t)(s->to - f->text) || !f->len || f->line < s->line) abort();
    if (memchr(f->text, '\n', f->len)) abort();
    s->line = f->line;
    source_judge(f, "http://127.0.0.1:8080", instead, sizeof instead);
    if (!memchr(instead, 0, sizeof instead)) abort();
    return ++s->found < 1000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *bytes = malloc(n ? n : 1); /* its end is the end of memory */
    if (!bytes) return 0;
    if (n) memcpy(bytes, data, n);
    struct seen s = { .from = bytes, .to = bytes + n };
    source_read(bytes, n, take, &s);
    free(bytes);
    return 0;
}
