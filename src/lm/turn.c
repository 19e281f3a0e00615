#include "lm/turn.h"

#include <stdlib.h>
#include <string.h>

struct job {
    const unsigned char *from; /* [n_in, n_out] */
    unsigned char *to;         /* [n_out, n_in] */
    int64_t n_in, n_out;
    size_t size; /* of an element */
    bool apart;  /* even rows of the output first */
};

/* Elements o0..o1 of the output by i0..i1 of the input; a size that the compiler knows makes copies of moves. */
static inline void turn_tile(const struct job *j, int64_t o0, int64_t o1, int64_t i0, int64_t i1, size_t size)
{
    for (int64_t o = o0; o < o1; o++) {
        const int64_t row = j->apart ? o % 2 * (j->n_out / 2) + o / 2 : o;
        for (int64_t i = i0; i < i1; i++)
            memcpy(j->to + (size_t)(row * j->n_in + i) * size, j->from + (size_t)(i * j->n_out + o) * size,
                   size);
    }
}

/* By tiles, so that the lines of both sides that are in use stay in the first cache. */
static void turn_part(void *arg, int ith, int nth)
{
    enum { TILE = 64 };
    const struct job *j = arg;
    const int64_t tiles = (j->n_out + TILE - 1) / TILE;
    for (int64_t t = tiles * ith / nth; t < tiles * (ith + 1) / nth; t++) {
        const int64_t o0 = t * TILE, o1 = o0 + TILE < j->n_out ? o0 + TILE : j->n_out;
        for (int64_t i0 = 0; i0 < j->n_in; i0 += TILE) {
            const int64_t i1 = i0 + TILE < j->n_in ? i0 + TILE : j->n_in;
            if (j->size == 1)
                turn_tile(j, o0, o1, i0, i1, 1);
            else if (j->size == 2)
                turn_tile(j, o0, o1, i0, i1, 2);
            else
                turn_tile(j, o0, o1, i0, i1, j->size);
        }
    }
}

static bool turn(struct device *d, struct matrix *m, bool apart, void **copy, struct err *e)
{
    struct job j = { .from = m->data, .n_in = m->n_in, .n_out = m->n_out, .apart = apart };
    size_t elems, bytes;
    j.size = dtype_row_bytes(m->type, 1);
    if (!j.size)
        return err_set(e, ERR_UNSUPPORTED, "%s matrices that lie [in, out] are not supported",
                       dtype_info(m->type)->name);
    if (mem_mul((size_t)j.n_in, (size_t)j.n_out, &elems) && mem_mul(elems, j.size, &bytes))
        j.to = malloc(bytes);
    if (!j.to)
        return err_set(e, ERR_NOMEM, "no memory to turn a [%lld, %lld] matrix", (long long)j.n_in,
                       (long long)j.n_out);
    device_run_host(d, turn_part, &j);
    m->data = *copy = j.to;
    return true;
}

bool turn_matrix(struct device *d, struct matrix *m, void **copy, struct err *e)
{
    return turn(d, m, false, copy, e);
}

bool turn_apart(struct device *d, struct matrix *m, void **copy, struct err *e)
{
    return turn(d, m, true, copy, e);
}
