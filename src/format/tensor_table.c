#include "format/tensor_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

bool tensor_table_add(struct tensor_table *tab, const struct tensor *t, struct err *e)
{
    if (tab->n == tab->cap) {
        size_t cap = tab->cap ? 2 * tab->cap : 256, bytes;
        struct tensor *p = mem_mul(cap, sizeof *p, &bytes) ? realloc(tab->t, bytes) : NULL;
        if (!p) return err_set(e, ERR_NOMEM, "no memory for a table of %zu tensors", cap);
        tab->t = p;
        tab->cap = cap;
    }
    tab->t[tab->n++] = *t;
    tab->bytes += t->bytes; /* no overflow: disjoint parts of one file, or seal() refuses */
    return true;
}

static int by_address(const void *a, const void *b)
{
    const struct tensor *x = *(const struct tensor *const *)a, *y = *(const struct tensor *const *)b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    if (p != q) return p < q ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes; /* empty ones first: they overlap nothing */
}

static bool disjoint(const struct tensor *a, const struct tensor *b)
{
    return (uintptr_t)a->data + a->bytes <= (uintptr_t)b->data;
}

static bool check_overlap(const struct tensor_table *tab, struct err *e)
{
    size_t i = 1;
    while (i < tab->n && disjoint(&tab->t[i - 1], &tab->t[i])) i++;
    if (i >= tab->n) return true; /* every file that we have met is in ascending order */

    size_t bytes;
    const struct tensor **sorted = mem_mul(tab->n, sizeof *sorted, &bytes) ? malloc(bytes) : NULL;
    if (!sorted) return err_set(e, ERR_NOMEM, "no memory to sort %zu tensors", tab->n);
    for (i = 0; i < tab->n; i++) sorted[i] = &tab->t[i];
    qsort(sorted, tab->n, sizeof *sorted, by_address);
    bool ok = true;
    for (i = 1; ok && i < tab->n; i++) {
        if (!disjoint(sorted[i - 1], sorted[i])) {
            ok = err_set(e, ERR_FORMAT, "tensors %s and %s overlap in the file", sorted[i - 1]->name,
                         sorted[i]->name);
        }
    }
    free(sorted);
    return ok;
}

bool tensor_table_seal(struct tensor_table *tab, struct err *e)
{
    if (!check_overlap(tab, e)) return false;
    if (!name_table_init(&tab->names, tab->n))
        return err_set(e, ERR_NOMEM, "no memory to index %zu tensors", tab->n);
    for (size_t i = 0; i < tab->n; i++) {
        const char *name = tab->t[i].name;
        if (name_table_add(&tab->names, name, strlen(name), i) != NAME_TABLE_NONE) {
            return err_set(e, ERR_FORMAT, "tensor %s is there twice", name);
        }
    }
    return true;
}

const struct tensor *tensor_table_find(const struct tensor_table *tab, const char *name)
{
    size_t i = name_table_find(&tab->names, name, strlen(name));
    return i == NAME_TABLE_NONE ? NULL : &tab->t[i];
}

void tensor_table_free(struct tensor_table *tab)
{
    free(tab->t);
    name_table_free(&tab->names);
    *tab = (struct tensor_table){ 0 };
}

bool tensor_size(enum dtype t, const int64_t *dim, int n_dims, size_t *bytes, int64_t *elems, struct err *e)
{
    int64_t n = 1;
    for (int i = 0; i < n_dims; i++) {
        if (dim[i] < 0 || __builtin_mul_overflow(n, dim[i], &n)) {
            return err_set(e, ERR_FORMAT, "the product of its dimensions does not fit 63 bits");
        }
    }
    const struct dtype_info *info = dtype_info(t);
    int64_t row = n_dims ? dim[n_dims - 1] : 1;
    if (row % info->block_elems) {
        return err_set(e, ERR_FORMAT, "%s needs rows of a multiple of %d elements, the file has %lld",
                       info->name, info->block_elems, (long long)row);
    }
    size_t b = dtype_row_bytes(t, n);
    if (n > 0 && b == 0) return err_set(e, ERR_FORMAT, "its size in bytes does not fit 64 bits");
    *bytes = b;
    *elems = n;
    return true;
}
