/* Any bytes as a configuration file: what is taken is an object, and what jansson takes as it stands is taken. */
#include <stdlib.h>
#include <string.h>

#include "format/json_read.h"
#include "format/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    json_t *v = NULL, *plain = json_loadb(text, size, JSON_ALLOW_NUL, NULL);
    struct err e = { 0 };
    const bool taken = json_read_text(&v, text, size, &e);
    if (taken != (v != NULL) || (v && !json_is_object(v))) abort();
    if (!taken && (e.code == ERR_NONE || e.code == ERR_NOMEM || !e.msg[0])) abort();
    if (json_is_object(plain) && !json_equal(plain, v)) abort();
    json_decref(plain);
    json_decref(v);
    (void)json_scan_valid(text, size);
    return 0;
}
