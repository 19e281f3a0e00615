/* Dense attention of encoders and image networks, block by block: a task is a block of queries of one head; it walks the
 * keys in ascending order, KEYS at a time, with one softmax update a block, and no matrix of scores is ever whole.
 *
 * Order    a query's result depends on the keys alone: where blocks of keys end is fixed, and what is computed beside
 *          it does not matter.
 * Scratch  shared: the keys and values of as many heads as fit, as panels, packed once. The thread's own: queries as A
 *          tiles, scores, probabilities as A tiles, the running results; and a block of keys and values where those of
 *          one head exceed the shared scratch. */
#include <math.h>
#include <stdatomic.h>

#include "device/cpu/float_kern.h"

#define MAX_HEAD_DIM 1024
#define KEYS 128    /* a block of keys: with its values 64 KiB at 128 channels */
#define QUERIES 512 /* most queries of a task: so many share the packing of a block of keys */
#define SUB 32      /* queries whose scores stand in the first cache at a time */
#define LD_SCORES (KEYS + 16)

struct job {
    const struct cpu_device *d;
    const struct attention_args *a;
    int kb, kv;         /* k blocks of a head; values of a k block */
    int panels, ld_out; /* panels of a head's values; floats of a row of running results */
    int64_t block, blocks;
    int64_t key_blocks;
    int head0, heads; /* key/value heads of this round; heads 0: packed by each task for itself */
    atomic_llong next_pack, next_task;
};

/* Where a thread's scratch holds what. */
struct room {
    unsigned char *q, *keys, *p;
    float *scores, *out, *max, *sum, *shrink;
};

_Static_assert((size_t)QUERIES *MAX_HEAD_DIM * 4 + 2 * (size_t)KEYS * MAX_HEAD_DIM * 4 +
                       (size_t)QUERIES * (MAX_HEAD_DIM + 16) * 4 + (size_t)SUB * KEYS * 4 +
                       (size_t)SUB * LD_SCORES * 4 + (size_t)QUERIES * 12 <=
                   FLOAT_SCRATCH_THREAD,
               "a task of the widest heads fits the scratch");

/* A block of keys, then its values. */
static size_t block_bytes(const struct job *j)
{
    return ((size_t)(KEYS / 16) * (size_t)j->kb + (size_t)j->panels * (size_t)(KEYS / j->kv)) * TILE_BYTES;
}

static struct room lay_out(const struct job *j, int ith)
{
    struct room r;
    unsigned char *at = scratch_thread(j->d, ith);
    r.q = at;
    at += (size_t)(QUERIES / 16) * (size_t)j->kb * TILE_BYTES;
    r.keys = at;
    at += block_bytes(j);
    r.p = at;
    at += (size_t)(SUB / 16) * (size_t)(KEYS / j->kv) * TILE_BYTES;
    r.scores = (float *)at;
    r.out = r.scores + SUB * LD_SCORES;
    r.max = r.out + (size_t)QUERIES * (size_t)j->ld_out;
    r.sum = r.max + QUERIES;
    r.shrink = r.sum + QUERIES;
    return r;
}

static void pack_keys(const struct job *j, unsigned char *dst, int kv_head, int64_t block)
{
    static const float zeros[MAX_HEAD_DIM];
    const struct attention_args *a = j->a;
    const struct float_kern *fk = j->d->fl;
    const int64_t k0 = block * KEYS;
    const int n = (int)(a->n_kv - k0 < KEYS ? a->n_kv - k0 : KEYS);
    const float *k = a->k + k0 * a->ldk + (int64_t)kv_head * a->head_dim;
    const float *v = a->v + k0 * a->ldv + (int64_t)kv_head * a->head_dim;
    for (int p = 0; p * 16 < n; p++) {
        const unsigned char *row[16];
        for (int i = 0; i < 16; i++)
            row[i] = (const unsigned char *)(p * 16 + i < n ? k + (p * 16 + i) * a->ldk : zeros);
        (a->precise ? fk->pack_panel_f32 : fk->pack_panel_bf16)(dst + (size_t)(p * j->kb) * TILE_BYTES, row,
                                                                DT_F32, a->head_dim);
    }
    (a->precise ? fk->pack_b_f32 : fk->pack_b_bf16)(dst + (size_t)(KEYS / 16 * j->kb) * TILE_BYTES,
                                                    (size_t)(KEYS / j->kv) * TILE_BYTES, v, a->ldv, n,
                                                    a->head_dim);
}

/* Queries [s0, s0 + n) of the task, whose first is q0, meet the block of keys at k0. */
static void meet(const struct job *j, const struct room *r, const unsigned char *packed, int head, int64_t q0,
                 int s0, int n, int64_t k0)
{
    const struct attention_args *a = j->a;
    const struct float_kern *fk = j->d->fl;
    const int n_keys = (int)(a->n_kv - k0 < KEYS ? a->n_kv - k0 : KEYS);
    const int n_padded = (n_keys + j->kv - 1) / j->kv * j->kv;
    const ptrdiff_t group = (ptrdiff_t)(KEYS / j->kv) * TILE_BYTES;
    const unsigned char *tile[SUB / 16];
    const struct tiles t = { tile, NULL, TILE_ROW_BYTES };
    for (int i = 0; i < SUB / 16; i++) tile[i] = r->q + (size_t)((s0 / 16 + i) * j->kb) * TILE_BYTES;
    (a->precise ? fk->product_f32 : fk->product_bf16)(
        r->scores, LD_SCORES, &t, packed, (size_t)j->kb * TILE_BYTES, n, (n_keys + 15) / 16, j->kb, false);
    const struct softmax_rows rows = {
        .score = r->scores,
        .ld = LD_SCORES,
        .n = n,
        .n_keys = n_keys,
        .n_padded = n_padded,
        .scale = a->scale,
        .bias = a->bias ? a->bias + ((int64_t)head * a->n_q + q0 + s0) * a->n_kv + k0 : NULL,
        .ld_bias = a->n_kv,
        .causal_limit = a->causal ? q0 + s0 - k0 : INT64_MAX / 2,
        .max = r->max + s0,
        .sum = r->sum + s0,
        .shrink = r->shrink
    };
    (a->precise ? fk->softmax_f32 : fk->softmax_bf16)(&rows, r->p, group);
    float *out = r->out + (ptrdiff_t)s0 * j->ld_out;
    for (int i = 0; k0 > 0 && i < n; i++)
        if (r->shrink[i] != 1.0f)
            fk->scale_row(out + (ptrdiff_t)i * j->ld_out, out + (ptrdiff_t)i * j->ld_out, j->panels * 16,
                          r->shrink[i]);
    for (int i = 0; i < SUB / 16; i++) tile[i] = r->p + i * group;
    (a->precise ? fk->product_f32 : fk->product_bf16)(out, j->ld_out, &t,
                                                      packed + (size_t)(KEYS / 16 * j->kb) * TILE_BYTES,
                                                      (size_t)group, n, j->panels, n_padded / j->kv, k0 > 0);
}

static void run_task(const struct job *j, const struct room *r, int head, int64_t q0, int n)
{
    const struct attention_args *a = j->a;
    const struct float_kern *fk = j->d->fl;
    for (int i = 0; i < n; i++) {
        const float *q = a->q + (q0 + i) * a->ldq + (int64_t)head * a->head_dim;
        (a->precise ? fk->pack_row_f32 : fk->pack_row_bf16)(r->q + (size_t)(i / 16 * j->kb) * TILE_BYTES +
                                                                (size_t)(i % 16) * TILE_ROW_BYTES,
                                                            TILE_BYTES, q, a->head_dim, NULL);
        r->max[i] = -INFINITY;
        r->sum[i] = 0.0f;
    }
    const int64_t end = a->causal && q0 + n < a->n_kv ? q0 + n : a->n_kv;
    for (int64_t k0 = 0; k0 < end; k0 += KEYS) {
        const int kv_head = head / (a->n_head / a->n_kv_head);
        const unsigned char *packed = r->keys;
        if (j->heads)
            packed = (unsigned char *)scratch_shared(j->d) +
                     (size_t)((kv_head - j->head0) * j->key_blocks + k0 / KEYS) * block_bytes(j);
        else
            pack_keys(j, r->keys, kv_head, k0 / KEYS);
        for (int s0 = 0; s0 < n; s0 += SUB) {
            if (!pool_checkpoint(j->d->pool)) return;
            const int ns = n - s0 < SUB ? n - s0 : SUB;
            if (!a->causal || k0 < q0 + s0 + ns) meet(j, r, packed, head, q0, s0, ns, k0);
        }
    }
    for (int i = 0; i < n; i++)
        fk->scale_row(a->out + (q0 + i) * a->ldo + (int64_t)head * a->head_dim,
                      r->out + (ptrdiff_t)i * j->ld_out, a->head_dim,
                      r->sum[i] > 0.0f ? 1.0f / r->sum[i] : 0.0f);
}

static void pack_part(void *arg, int ith, int nth)
{
    (void)ith, (void)nth;
    struct job *j = arg;
    int64_t task;
    while ((task = atomic_fetch_add_explicit(&j->next_pack, 1, memory_order_relaxed)) <
               j->heads * j->key_blocks &&
           pool_checkpoint(j->d->pool))
        pack_keys(j, (unsigned char *)scratch_shared(j->d) + (size_t)task * block_bytes(j),
                  j->head0 + (int)(task / j->key_blocks), task % j->key_blocks);
}

static void run_part(void *arg, int ith, int nth)
{
    (void)nth;
    struct job *j = arg;
    const struct room r = lay_out(j, ith);
    const int group = j->a->n_head / j->a->n_kv_head, head0 = j->head0 * group;
    const int n_heads = j->heads ? j->heads * group : j->a->n_head;
    int64_t task;
    while ((task = atomic_fetch_add_explicit(&j->next_task, 1, memory_order_relaxed)) < n_heads * j->blocks) {
        /* The last blocks first: under a causal mask they are the longest. */
        const int64_t q0 = (j->blocks - 1 - task % j->blocks) * j->block, left = j->a->n_q - q0;
        run_task(j, &r, head0 + (int)(task / j->blocks), q0, (int)(left < j->block ? left : j->block));
    }
}

/* Many texts: a task is one head of one of them, which packs its keys for itself. */
static void run_texts(void *arg, int ith, int nth)
{
    (void)nth;
    struct job *j = arg;
    const struct attention_args *all = j->a;
    int64_t task;
    while ((task = atomic_fetch_add_explicit(&j->next_task, 1, memory_order_relaxed)) <
           (int64_t)all->n_seq * all->n_head) {
        const struct attn_seq *q = &all->seq[task / all->n_head];
        struct attention_args a = *all;
        a.q += q->row * a.ldq;
        a.k += q->row * a.ldk;
        a.v += q->row * a.ldv;
        a.out += q->row * a.ldo;
        a.n_q = a.n_kv = q->n;
        struct job own = { .d = j->d, .a = &a, .kv = j->kv, .kb = j->kb, .panels = j->panels };
        own.ld_out = j->ld_out;
        const struct room r = lay_out(&own, ith);
        for (int64_t q0 = 0; q0 < q->n; q0 += QUERIES)
            run_task(&own, &r, (int)(task % all->n_head), q0,
                     (int)(q->n - q0 < QUERIES ? q->n - q0 : QUERIES));
    }
}

void cpu_attention(struct device *base, const struct attention_args *a)
{
    struct cpu_device *d = cpu_of(base);
    struct job j = { .d = d, .a = a, .kv = a->precise ? 16 : 32 };
    if (a->n_kv_head < 1) return;
    j.kb = (a->head_dim + j.kv - 1) / j.kv;
    j.panels = (a->head_dim + 15) / 16;
    j.ld_out = j.panels * 16 + 16;
    if (a->seq) {
        pool_run(d->pool, run_texts, &j);
        return;
    }
    j.key_blocks = a->n_kv > 0 ? (a->n_kv + KEYS - 1) / KEYS : 1;
    const int64_t fit = (int64_t)(d->shared_cap / ((size_t)j.key_blocks * block_bytes(&j)));
    const int round = (int)(fit < a->n_kv_head ? fit : a->n_kv_head);
    const int64_t heads = round ? (int64_t)round * a->n_head / a->n_kv_head : a->n_head;
    j.block = QUERIES;
    while (j.block > SUB && heads * ((a->n_q + j.block - 1) / j.block) < 4 * pool_threads(d->pool))
        j.block /= 2;
    j.blocks = (a->n_q + j.block - 1) / j.block;
    if (round == 0) {
        pool_run(d->pool, run_part, &j);
        return;
    }
    for (j.head0 = 0; j.head0 < a->n_kv_head; j.head0 += round) {
        j.heads = a->n_kv_head - j.head0 < round ? a->n_kv_head - j.head0 : round;
        atomic_store(&j.next_pack, 0);
        atomic_store(&j.next_task, 0);
        pool_run(d->pool, pack_part, &j);
        pool_run(d->pool, run_part, &j);
    }
}
