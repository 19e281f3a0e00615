/* source_reader.h - what a client's source or log says of the API that it uses: addresses, endpoints, models, parameters and settings, line by
 * line. For any language: what is looked for is how these are spelled, in Python, JavaScript, a shell, an .env or JSON lines alike.
 *
 * Input    any bytes; nothing outside them is read, and lines may be of any length.
 * Threads  any; no state between calls. */
#ifndef HEARTH_SERVICE_ADVICE_SOURCE_READER_H
#define HEARTH_SERVICE_ADVICE_SOURCE_READER_H

#include <stdbool.h>
#include <stddef.h>

enum source_kind {
    SOURCE_URL,      /* https://api.example.com/v1, with the path behind it */
    SOURCE_ENDPOINT, /* /chat/completions, or chat.completions.create as a client library calls it */
    SOURCE_MODEL,
    SOURCE_PARAMETER,
    SOURCE_SETTING, /* OPENAI_API_KEY */
    N_SOURCE_KINDS
};
const char *source_kind_name(enum source_kind k);

struct source_found {
    enum source_kind kind;
    int line;         /* from 1 */
    const char *text; /* [len], in the bytes that were read */
    size_t len;
};
/* Calls fn for each, line by line, of a line kind by kind; false from fn ends it. */
void source_read(const char *bytes, size_t n, bool (*fn)(void *arg, const struct source_found *f), void *arg);

/* What this server makes of one of them. */
enum source_verdict {
    SOURCE_SERVED,  /* as it is */
    SOURCE_CHANGES, /* with `instead` in its place */
    SOURCE_IGNORED, /* taken, and without effect */
    SOURCE_MISSING, /* not here */
    SOURCE_UNKNOWN  /* nobody knows what it is: an address or a model that is none of the known ones */
};
const char *source_verdict_name(enum source_verdict v);
/* Of all kinds but models. instead[cap]: what stands in its place, or why; "" where there is nothing to say. base: this server's address, as
 * http://127.0.0.1:8080. */
enum source_verdict source_judge(const struct source_found *f, const char *base, char *instead, size_t cap);

#endif
