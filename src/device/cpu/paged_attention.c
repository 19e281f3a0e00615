/* paged_attention.c - writing new tokens into the pages and attending over them: layout and sharing of the work. */
#include "device/cpu/paged_attention.h"

#include <math.h>
#include <stdatomic.h>

#include "device/cpu/cpu_internal.h"
#include "device/cpu/split.h"

#define FEW_ROWS 4 /* so few new rows are written by one thread: cheaper than a job of its own */

static struct paged_layout paged_layout_of(enum kv_type t, int k_dim, int v_dim, bool v_in_k)
{
    struct paged_layout l = { .k_dim = k_dim, .v_dim = v_dim, .v_in_k = v_in_k };
    const size_t kept = v_in_k ? 0 : KV_PAGE;
    size_t elem = t == KV_F16 ? 2 : 1;
    l.v_pad = (v_dim + 31) / 32 * 32;
    l.k_blocks = (k_dim + 31) / 32;
    l.v_blocks = l.v_pad / 32;
    l.k_scales = (size_t)k_dim * KV_PAGE * elem;
    l.v = l.k_scales + (t == KV_Q8_0 ? (size_t)l.k_blocks * KV_PAGE * 2 : 0);
    l.v_scales = l.v + kept * (size_t)l.v_pad * elem;
    l.head_bytes = l.v_scales + (t == KV_Q8_0 ? kept * (size_t)l.v_blocks * 2 : 0);
    l.head_bytes = (l.head_bytes + 63) & ~(size_t)63;
    return l;
}

size_t cpu_kv_page_bytes(const struct device *d, enum kv_type t, int n_kv_head, int k_dim, int v_dim)
{
    (void)d;
    return (size_t)n_kv_head * paged_layout_of(t, k_dim, v_dim, v_dim == 0).head_bytes;
}

struct attend_job {
    const struct cpu_device *d;
    const struct attn_args *a;
    struct paged_layout layout;
    int rep;      /* query heads of a kv head */
    int per_tile; /* of these, in one tile */
    int rows;     /* rows of a tile */
    atomic_int next_task;
};

static void put_rows(void *arg, int ith, int nth)
{
    const struct attend_job *j = arg;
    const struct attn_args *a = j->a;
    const struct kv_layer *kv = a->kv;
    int64_t total = 0, done = 0;
    for (int i = 0; i < a->n_seq; i++) total += a->seq[i].n;
    struct range mine = split_range(total * kv->n_kv_head, ith, nth);
    for (int i = 0; i < a->n_seq && done < mine.hi; i++) {
        const struct attn_seq *s = &a->seq[i];
        for (int64_t r = 0; r < s->n; r++)
            for (int h = 0; h < kv->n_kv_head; h++, done++) {
                if (done < mine.lo || done >= mine.hi) continue;
                int64_t pos = s->pos0 + r, row = s->row + r;
                const int32_t page = a->page[(int64_t)i * a->max_pages + pos / KV_PAGE];
                unsigned char *piece = paged_piece(kv, &j->layout, page, h);
                j->d->attn->put(kv->type, &j->layout, piece, (int)(pos % KV_PAGE),
                                a->k + row * a->ldk + h * kv->k_dim,
                                kv->v_in_k ? NULL : a->v + row * a->ldv + h * kv->v_dim);
            }
    }
}

static int tiles_of(const struct attend_job *j, const struct attn_seq *s)
{
    return (int)((s->n + j->rows - 1) / j->rows);
}

/* Tasks of a sequence: kv head by kv head, so that one's pages stay in a cache, rows in tiles, query heads in lots of per_tile. */
static int tasks_of(const struct attend_job *j, const struct attn_seq *s)
{
    int lots = (j->rep + j->per_tile - 1) / j->per_tile;
    return tiles_of(j, s) * lots * j->a->kv->n_kv_head;
}

static void attend_task(const struct attend_job *j, const struct attn_seq *s, int task, float *scratch)
{
    const struct attn_args *a = j->a;
    int lots = (j->rep + j->per_tile - 1) / j->per_tile;
    const int tiles = tiles_of(j, s);
    int lot = task % lots, h = task / lots / tiles;
    int64_t tile = task / lots % tiles;
    struct paged_tile t = { .kv = a->kv,
                            .layout = &j->layout,
                            .page = a->page + (s - a->seq) * a->max_pages,
                            .kv_head = h,
                            .scale = a->scale };
    t.acc = scratch;
    int head0 = h * j->rep + lot * j->per_tile;
    int heads = j->rep - lot * j->per_tile < j->per_tile ? j->rep - lot * j->per_tile : j->per_tile;
    for (int64_t r = tile * j->rows; r < s->n && r < (tile + 1) * j->rows; r++) {
        int32_t pos = s->pos0 + (int32_t)r, first = 0;
        if (a->chunk > 0) first = pos / a->chunk * a->chunk;
        if (a->window > 0 && pos - a->window + 1 > first) first = pos - a->window + 1;
        for (int i = 0; i < heads; i++, t.n++) {
            t.q[t.n] = a->q + (s->row + r) * a->ldq + (int64_t)(head0 + i) * a->kv->k_dim;
            t.out[t.n] = a->out + (s->row + r) * a->ldo + (int64_t)(head0 + i) * a->kv->v_dim;
            t.sink[t.n] = a->sink ? a->sink[head0 + i] : -INFINITY;
            t.first[t.n] = first;
            t.last[t.n] = pos;
        }
    }
    j->d->attn->attend(&t);
}

static void attend_thread(void *arg, int ith, int nth)
{
    struct attend_job *j = arg;
    (void)nth;
    int base = 0, i = 0, n = j->a->n_seq ? tasks_of(j, &j->a->seq[0]) : 0;
    for (;;) {
        int task = atomic_fetch_add_explicit(&j->next_task, 1, memory_order_relaxed);
        while (i < j->a->n_seq && task >= base + n) {
            base += n;
            if (++i < j->a->n_seq) n = tasks_of(j, &j->a->seq[i]);
        }
        if (i >= j->a->n_seq) return;
        attend_task(j, &j->a->seq[i], task - base, scratch_thread(j->d, ith));
    }
}

void cpu_attention_paged(struct device *base, const struct attn_args *a)
{
    struct cpu_device *d = cpu_of(base);
    struct attend_job j = { .d = d, .a = a };
    j.layout = paged_layout_of(a->kv->type, a->kv->k_dim, a->kv->v_dim, a->kv->v_in_k);
    j.rep = a->n_head / a->kv->n_kv_head;
    int64_t rows = 0;
    for (int i = 0; i < a->n_seq; i++) rows += a->seq[i].n;
    /* Keys and values are read once for all query heads that share them, unless that leaves threads idle;
     * queries that are lanes (paged_many.h) fill registers. */
    j.per_tile = j.rep < PAGED_QUERIES ? j.rep : PAGED_QUERIES;
    while (j.per_tile > 1 &&
           rows * a->kv->n_kv_head * ((j.rep + j.per_tile - 1) / j.per_tile) < 2 * pool_threads(d->pool))
        j.per_tile = j.per_tile > 16 && a->kv->v_in_k ? (j.per_tile - 1) / 16 * 16 : (j.per_tile + 1) / 2;
    j.rows = PAGED_QUERIES / j.per_tile;
    const int lots = (j.rep + j.per_tile - 1) / j.per_tile;
    while (j.rows > 1 && (rows + j.rows - 1) / j.rows * lots * a->kv->n_kv_head < 8 * pool_threads(d->pool))
        j.rows = (j.rows + 1) / 2;
    if (rows <= FEW_ROWS)
        put_rows(&j, 0, 1);
    else
        pool_run(d->pool, put_rows, &j);
    pool_run(d->pool, attend_thread, &j);
}
