/* Any bytes as a safetensors file: parse, then touch everything that the parser vouched for. */
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *s;
    struct err e = { 0 };
    if (!safetensors_parse(&s, data, size, &e)) {
        if (e.code == ERR_NONE || !e.msg[0]) abort(); /* a refusal says why */
        return 0;
    }
    unsigned sum = 0;
    for (size_t i = 0; i < safetensors_note_count(s); i++) {
        const char *key, *value;
        safetensors_note_at(s, i, &key, &value);
        sum += (unsigned)strlen(key) + (unsigned)strlen(value);
        if (!safetensors_note(s, key)) abort();
    }
    const struct tensor_table *tab = safetensors_tensors(s);
    for (size_t i = 0; i < tab->n; i++) {
        const struct tensor *t = &tab->t[i];
        if (tensor_table_find(tab, t->name) != t) abort();
        if (t->bytes != (size_t)tensor_elems(t) * (size_t)dtype_info(t->type)->block_bytes) abort();
        float v;
        if (t->bytes) dequant_row(t->type, t->data, &v, 1);
        for (size_t k = 0; k < t->bytes; k++) sum += ((const uint8_t *)t->data)[k];
    }
    sink = sum;
    safetensors_free(s);
    return 0;
}
