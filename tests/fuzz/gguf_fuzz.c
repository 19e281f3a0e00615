/* Any bytes as a GGUF file: parse, then touch everything that the parser vouched for. */
#include <stdlib.h>
#include <string.h>

#include "format/gguf.h"
#include "format/tensor_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *g;
    struct err e = { 0 };
    if (!gguf_parse(&g, data, size, &e)) {
        if (e.code == ERR_NONE || !e.msg[0]) abort(); /* a refusal says why */
        return 0;
    }
    unsigned sum = 0;
    for (size_t i = 0; i < gguf_count(g); i++) {
        const struct gguf_value *v = gguf_at(g, i);
        char key[256];
        memcpy(key, v->key.data, v->key.len);
        key[v->key.len] = '\0';
        if (gguf_find(g, key) != v) abort();
        sum += (unsigned)gguf_int(g, key, 1) + gguf_bool(g, key, true) + (gguf_float(g, key, 0) > 0);
        sum += (unsigned)gguf_string(g, key).len;
        for (uint64_t j = 0; j < v->n; j++) {
            if (v->s) {
                for (size_t k = 0; k < v->s[j].len; k++) sum += (unsigned char)v->s[j].data[k];
            } else {
                sum += (unsigned)gguf_value_int(v, j, 0) + (gguf_value_float(v, j, 0) > 0);
            }
        }
    }
    const struct tensor_table *tab = gguf_tensors(g);
    for (size_t i = 0; i < tab->n; i++) {
        const struct tensor *t = &tab->t[i];
        if (tensor_table_find(tab, t->name) != t) abort();
        int64_t row = t->n_dims ? t->dim[t->n_dims - 1] : 1;
        if (t->bytes / dtype_row_bytes(t->type, row) * (size_t)row != (size_t)tensor_elems(t)) abort();
        float block[256];
        if (t->bytes) dequant_row(t->type, t->data, block, dtype_info(t->type)->block_elems);
        for (size_t k = 0; k < t->bytes; k++) sum += ((const uint8_t *)t->data)[k];
    }
    sink = sum;
    gguf_free(g);
    return 0;
}
