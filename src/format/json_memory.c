/* json_memory.c - see json_memory.h. */
#include "format/json_memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"

/* Of the thread: is it in json_memory_load(), and did an allocation fail there? */
static _Thread_local bool loading, failed;

/* After a first failure all fail: jansson cannot go on with the text that it has lost a part of. */
static void *take(size_t size)
{
    void *p = loading && failed ? NULL : malloc(size);
    if (!p) failed = true;
    return p;
}

void json_memory_init(void) { json_set_alloc_funcs(take, free); }

json_t *json_memory_load(const char *text, size_t len, size_t flags, json_error_t *why)
{
    json_error_t unread;
    if (!why) why = &unread;
    *why = (json_error_t){ 0 }; /* jansson leaves the code as it was where it says nothing */
    loading = true;
    failed = false;
    json_t *v = json_loadb(text, len, flags, why);
    loading = false;
    if (!failed) return v;
    json_decref(v);
    snprintf(why->text, sizeof why->text, "out of memory");
    why->text[JSON_ERROR_TEXT_LENGTH - 1] =
        (char)json_error_out_of_memory; /* where json_error_code() looks */
    return NULL;
}

json_t *json_memory_copy(const json_t *v)
{
    json_t *copy = json_deep_copy(v);
    if (json_equal(copy, v)) return copy;
    json_decref(copy);
    return NULL;
}

static int keep(const char *text, size_t len, void *arg) { return buf_append(arg, text, len) ? 0 : -1; }

char *json_memory_dumps(const json_t *v, size_t flags)
{
    struct buf b = BUF_INIT(0);
    if (json_dump_callback(v, keep, &b, flags) == 0 && !b.failed) return buf_take(&b);
    buf_free(&b);
    return NULL;
}
