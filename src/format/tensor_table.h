/* tensor_table.h - the tensors of one file: what the GGUF and the safetensors reader hand over.
 *
 * A reader adds tensors whose bytes lie inside the file, then seals the table. Sealed: names are unique, no two
 * tensors share a byte, and tensor_table_find() works.
 * Memory   names and data are borrowed from the reader; the array is the table's. */
#ifndef HEARTH_FORMAT_TENSOR_TABLE_H
#define HEARTH_FORMAT_TENSOR_TABLE_H

#include "base/err.h"
#include "format/name_table.h"
#include "format/tensor.h"

struct tensor_table {
    struct tensor *t;
    size_t n, cap;
    size_t bytes; /* sum over the tensors */
    struct name_table names;
};

bool tensor_table_add(struct tensor_table *tab, const struct tensor *t, struct err *e);
bool tensor_table_seal(struct tensor_table *tab, struct err *e);
const struct tensor *tensor_table_find(const struct tensor_table *tab, const char *name);
void tensor_table_free(struct tensor_table *tab);

/* Bytes of dim[0..n_dims) elements of type t, the last dimension being the row; false with the reason in *e when a
 * row is not a whole number of blocks or a product overflows. *elems is the product of the dimensions. */
bool tensor_size(enum dtype t, const int64_t *dim, int n_dims, size_t *bytes, int64_t *elems, struct err *e);

#endif
