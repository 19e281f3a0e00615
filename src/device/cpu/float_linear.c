/* Linear layers with float weights.
 *
 * Weights  F32 are multiplied in f32; F16, BF16 (and quantised parts of a mixed layer) become bf16. Both are packed once
 *          into panels, and the file's pages are not needed any more. F8 stays in the file, one byte a weight (a FLUX
 *          transformer has 12 GB of them), and so do 16-bit matrices that ask for it: each strip of panels is expanded
 *          into the thread's scratch and used for up to a thousand rows. e4m3 is exact in bf16; scales of a tensor or a
 *          row multiply the finished sums, scales of smaller blocks the weights before they are rounded to bf16.
 * Blocking a task is a strip of panels by a block of rows; its sums stay in the second cache while k passes by in
 *          chunks whose B tiles fit the first one. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/cpu/float_kern.h"
#include "device/cpu/split.h"

#define MAX_PARTS 4
#define CHUNK_ROWS 1024 /* rows that an expanded strip serves at least, when there are so many */
#define FEW_ROWS 4      /* so few rows are packed by every thread for itself, which saves a job */

struct float_linear {
    bool f32, view; /* view: expanded from the file at every use */
    int halves;     /* 2: PAIRED */
    int n_parts;
    struct matrix part[MAX_PARTS];
    int64_t n_in, n_out; /* outputs of a half */
    int64_t kb, panels;  /* k blocks; panels of a half */
    unsigned char *packed;
    float *scale;         /* [halves, panels * 16] or NULL */
    unsigned char *zeros; /* the row that stands for outputs beyond n_out */
    size_t bytes;
};

static size_t panel_bytes(const struct float_linear *l) { return (size_t)l->kb * TILE_BYTES; }

static bool is_f8(enum dtype t) { return t == DT_F8_E4M3 || t == DT_F8_E5M2; }

static bool is_float(enum dtype t) { return t == DT_F32 || t == DT_F16 || t == DT_BF16 || is_f8(t); }

static bool stays(const struct matrix *m)
{
    return is_f8(m->type) || (m->stay && (m->type == DT_F16 || m->type == DT_BF16));
}

static bool block_scaled(const struct matrix *m) { return m->scale && m->scale_cols < m->n_in; }

/* The matrix and its row that output o of a half is; NULL beyond the last. */
static const struct matrix *part_of(const struct float_linear *l, int half, int64_t o, int64_t *row)
{
    if (o >= l->n_out) return NULL;
    if (l->halves == 2) {
        *row = o;
        return &l->part[half];
    }
    for (int i = 0; i < l->n_parts; i++) {
        if (o < l->part[i].n_out) {
            *row = o;
            return &l->part[i];
        }
        o -= l->part[i].n_out;
    }
    return NULL;
}

/* One panel into dst. tmp [16, n_in] f32 is needed only when the rows are not of one float type. */
static void pack_panel(const struct float_kern *fk, const struct float_linear *l, int half, int64_t panel,
                       unsigned char *dst, float *tmp)
{
    const struct matrix *m[16];
    int64_t row[16] = { 0 };
    const unsigned char *p[16];
    enum dtype type = l->part[half].type;
    bool blocks = false, mixed = false;
    for (int i = 0; i < 16; i++) {
        m[i] = part_of(l, half, panel * 16 + i, &row[i]);
        if (!m[i]) continue;
        if (i == 0) type = m[i]->type;
        mixed |= m[i]->type != type || !is_float(m[i]->type);
        blocks |= block_scaled(m[i]);
    }
    for (int i = 0; i < 16; i++) {
        p[i] = l->zeros;
        if (!m[i]) continue;
        const size_t bytes = dtype_row_bytes(m[i]->type, l->n_in);
        p[i] = (const unsigned char *)m[i]->data + (size_t)row[i] * bytes;
        if (mixed) {
            dequant_row(m[i]->type, p[i], tmp + i * l->n_in, l->n_in);
            p[i] = (const unsigned char *)(tmp + i * l->n_in);
        }
    }
    if (mixed) type = DT_F32;
    const size_t elem = dtype_row_bytes(type, 1);
    const int64_t step = blocks ? l->f32 ? 16 : 32 : l->n_in; /* a block's side is a multiple of a k block */
    for (int64_t k = 0; k < l->n_in; k += step) {
        float scale[16];
        const unsigned char *q[16];
        for (int i = 0; i < 16; i++) {
            q[i] = p[i] == l->zeros ? p[i] : p[i] + (size_t)k * elem;
            scale[i] = 1.0f;
            if (m[i] && block_scaled(m[i])) {
                const int64_t cols = (l->n_in + m[i]->scale_cols - 1) / m[i]->scale_cols;
                scale[i] = m[i]->scale[row[i] / m[i]->scale_rows * cols + k / m[i]->scale_cols];
            }
        }
        const int64_t n = l->n_in - k < step ? l->n_in - k : step;
        (l->f32 ? fk->pack_panel_f32 : fk->pack_panel_bf16)(dst, q, type, n, blocks ? scale : NULL);
        dst += (size_t)(step / (l->f32 ? 16 : 32)) * TILE_BYTES;
    }
}

struct pack_job {
    const struct float_kern *fk;
    const struct float_linear *l;
    float *tmp; /* [threads, 16, n_in] */
};

static void pack_part(void *arg, int ith, int nth)
{
    const struct pack_job *j = arg;
    const struct float_linear *l = j->l;
    const struct range r = split_range(l->halves * l->panels, ith, nth);
    for (int64_t p = r.lo; p < r.hi; p++)
        pack_panel(j->fk, l, (int)(p / l->panels), p % l->panels, l->packed + (size_t)p * panel_bytes(l),
                   j->tmp ? j->tmp + (size_t)ith * 16 * (size_t)l->n_in : NULL);
}

static bool check_parts(const struct matrix *part, int n_parts, enum linear_join join, struct err *e)
{
    if (n_parts < 1 || n_parts > MAX_PARTS || (join == LINEAR_PAIRED && n_parts != 2))
        return err_set(e, ERR_UNSUPPORTED, "a layer of %d matrices", n_parts);
    for (int i = 0; i < n_parts; i++) {
        const struct matrix *m = &part[i];
        if (m->n_in < 1 || m->n_out < 1 || m->n_in > 1 << 24 || m->n_out > 1 << 28 || m->n_in != part[0].n_in)
            return err_set(e, ERR_FORMAT, "a weight matrix of %lld by %lld", (long long)m->n_out,
                           (long long)m->n_in);
        if (dtype_row_bytes(m->type, m->n_in) == 0)
            return err_set(e, ERR_FORMAT, "rows of %lld elements do not fit type %s", (long long)m->n_in,
                           dtype_info(m->type)->name);
        if (m->scale && (m->scale_rows < 1 || m->scale_cols < 1))
            return err_set(e, ERR_FORMAT, "weight scales over blocks of %lld by %lld",
                           (long long)m->scale_rows, (long long)m->scale_cols);
        if (block_scaled(m) && m->scale_cols % 32 != 0)
            return err_set(e, ERR_UNSUPPORTED, "weight scales over %lld columns: only multiples of 32",
                           (long long)m->scale_cols);
    }
    if (join == LINEAR_PAIRED && part[0].n_out != part[1].n_out)
        return err_set(e, ERR_FORMAT, "gate and up have %lld and %lld outputs", (long long)part[0].n_out,
                       (long long)part[1].n_out);
    return true;
}

/* Scales of whole rows, gathered in the order of the outputs. */
static bool gather_scales(struct float_linear *l, struct err *e)
{
    bool any = false;
    for (int i = 0; i < l->n_parts; i++) any |= l->part[i].scale && !block_scaled(&l->part[i]);
    if (!any) return true;
    const int64_t padded = l->panels * 16;
    l->scale = mem_aligned((size_t)(l->halves * padded), sizeof *l->scale, true);
    if (!l->scale) return err_set(e, ERR_NOMEM, "no memory for the scales of a layer");
    for (int half = 0; half < l->halves; half++)
        for (int64_t o = 0; o < l->n_out; o++) {
            int64_t row = 0;
            const struct matrix *m = part_of(l, half, o, &row);
            l->scale[half * padded + o] = m->scale && !block_scaled(m) ? m->scale[row / m->scale_rows] : 1.0f;
        }
    l->bytes += (size_t)(l->halves * padded) * sizeof *l->scale;
    return true;
}

static bool pack_all(struct device *d, struct float_linear *l, bool mixed, struct err *e)
{
    size_t n;
    if (!mem_mul((size_t)(l->halves * l->panels), panel_bytes(l), &n))
        return err_set(e, ERR_LIMIT, "a layer's packed weights exceed the address space");
    l->packed = mem_aligned(n, 1, false);
    if (!l->packed) return err_set(e, ERR_NOMEM, "no memory for %zu MiB of packed weights", n >> 20);
    struct pack_job j = { .fk = d->fl, .l = l };
    if (mixed) {
        j.tmp = mem_aligned((size_t)pool_threads(d->pool) * 16 * (size_t)l->n_in, sizeof *j.tmp, false);
        if (!j.tmp) return err_set(e, ERR_NOMEM, "no memory to pack a layer of mixed types");
    }
    pool_run(d->pool, pack_part, &j);
    mem_free(j.tmp);
    l->bytes += n;
    return true;
}

bool float_linear_new(struct device *d, struct float_linear **out, const struct matrix *part, int n_parts,
                      enum linear_join join, int rows_hint, struct err *e)
{
    (void)rows_hint; /* one layout serves few rows and many */
    if (!check_parts(part, n_parts, join, e)) return false;
    struct float_linear *l = calloc(1, sizeof *l);
    if (!l) return err_set(e, ERR_NOMEM, "no memory for a layer");
    l->halves = join == LINEAR_PAIRED ? 2 : 1;
    l->n_parts = n_parts;
    l->n_in = part[0].n_in;
    l->view = true;
    bool mixed = false;
    for (int i = 0; i < n_parts; i++) {
        l->part[i] = part[i];
        if (i == 0 || join == LINEAR_CONCAT) l->n_out += part[i].n_out;
        l->f32 |= part[i].type == DT_F32;
        mixed |= part[i].type != part[0].type || !is_float(part[i].type);
        l->view &= stays(&part[i]);
    }
    l->view &= !mixed;
    l->kb = (l->n_in + (l->f32 ? 15 : 31)) / (l->f32 ? 16 : 32);
    l->panels = (l->n_out + 15) / 16;
    l->zeros = mem_aligned((size_t)l->n_in, sizeof(float), true);
    const size_t thread_bytes =
        (size_t)ROW_BLOCK * LD_SUMS * sizeof(float) + (size_t)(1 + (l->view ? STRIP : 0)) * panel_bytes(l);
    size_t shared_bytes = (size_t)(CHUNK_ROWS / 16) * panel_bytes(l);
    if (shared_bytes < FLOAT_SCRATCH_SHARED) shared_bytes = FLOAT_SCRATCH_SHARED;
    bool ok = l->zeros != NULL;
    if (!ok) err_set(e, ERR_NOMEM, "no memory for a layer");
    ok = ok && scratch_reserve(d, shared_bytes, thread_bytes, e) && gather_scales(l, e) &&
         (l->view || pack_all(d, l, mixed, e));
    if (!ok) {
        float_linear_free(l);
        return false;
    }
    *out = l;
    return true;
}

void float_linear_free(struct float_linear *l)
{
    if (!l) return;
    mem_free(l->packed);
    mem_free(l->scale);
    mem_free(l->zeros);
    free(l);
}

bool float_linear_is_copy(const struct float_linear *l) { return !l->view; }

size_t float_linear_bytes(const struct float_linear *l)
{
    size_t file = 0;
    for (int i = 0; l->view && i < l->n_parts; i++)
        file += (size_t)l->part[i].n_out * dtype_row_bytes(l->part[i].type, l->n_in);
    return l->bytes + file;
}

/* ---- running ------------------------------------------------------------------------------------------------- */

struct run {
    const struct device *d;
    const struct float_linear *l;
    const struct linear_args *a;
    const float *bias;
    int64_t row0, n;       /* the rows of this chunk */
    int64_t strip, strips; /* panels of a half in a task */
    int64_t block, blocks; /* rows of a task; blocks of rows */
    bool each_packs;       /* every thread packs all rows into its own scratch */
    atomic_llong next_task;
};

static void pack_rows(const struct run *j, unsigned char *dst, int64_t lo, int64_t hi)
{
    const struct float_linear *l = j->l;
    const struct float_kern *fk = j->d->fl;
    for (int64_t r = lo; r < hi; r++) {
        pool_checkpoint(j->d->pool);
        const float *x = j->a->x + (j->row0 + r) * j->a->ldx;
        struct row_map map = { .mul = j->a->norm, .inv = 1.0f };
        if (j->a->norm) map.inv = fk->rms_inv(x, l->n_in, j->a->eps);
        (l->f32 ? fk->pack_row_f32 : fk->pack_row_bf16)(dst + (size_t)(r / 16) * panel_bytes(l) +
                                                            (size_t)(r % 16) * TILE_ROW_BYTES,
                                                        TILE_BYTES, x, l->n_in, &map);
    }
}

static void finish_row(const struct run *j, int64_t row, int64_t o, int n, float *v, float *v2)
{
    const struct float_linear *l = j->l;
    const float *bias = j->bias ? j->bias + o : NULL, *bias2 = j->bias && v2 ? j->bias + l->n_out + o : NULL;
    const float *scale = l->scale ? l->scale + o : NULL;
    const float *scale2 = l->scale && v2 ? l->scale + l->panels * 16 + o : NULL;
    j->d->fl->finish(j->a->epi, j->a->y + (j->row0 + row) * j->a->ldy + o, v, v2, scale, scale2, bias, bias2,
                     j->a->gate ? j->a->gate + o : NULL, n);
}

/* Rows [r0, r1) of the chunk by panels [p0, p0 + np) of each half. b[half]: where those panels stand. */
static void rows_by_panels(const struct run *j, const unsigned char *packed_rows,
                           const unsigned char *const b[2], int64_t p0, int np, int64_t r0, int64_t r1,
                           float *sums)
{
    const struct float_linear *l = j->l;
    const struct float_kern *fk = j->d->fl;
    const int64_t chunk = r1 - r0 <= TILE_ROWS ? l->kb : fk->kb_chunk;
    for (int64_t m0 = r0; m0 < r1; m0 += ROW_BLOCK) {
        const int m = (int)(r1 - m0 < ROW_BLOCK ? r1 - m0 : ROW_BLOCK);
        for (int64_t k = 0; k < l->kb; k += chunk) {
            pool_checkpoint(j->d->pool);
            const unsigned char *tile[ROW_BLOCK / 16];
            for (int t = 0; t * 16 < m; t++)
                tile[t] = packed_rows + (size_t)(m0 / 16 + t) * panel_bytes(l) + (size_t)k * TILE_BYTES;
            const struct tiles a = { tile, NULL, TILE_ROW_BYTES };
            const int64_t kb = l->kb - k < chunk ? l->kb - k : chunk;
            for (int half = 0; half < l->halves; half++)
                (l->f32 ? fk->product_f32 : fk->product_bf16)(sums + half * np * 16, LD_SUMS, &a,
                                                              b[half] + (size_t)k * TILE_BYTES,
                                                              panel_bytes(l), m, np, kb, k > 0);
        }
        const int64_t o = p0 * 16, left = l->n_out - o;
        const int n = left < np * 16 ? (int)left : np * 16;
        for (int r = 0; r < m; r++)
            finish_row(j, m0 + r, o, n, sums + (int64_t)r * LD_SUMS,
                       l->halves == 2 ? sums + (int64_t)r * LD_SUMS + np * 16 : NULL);
    }
}

static void pack_rows_part(void *arg, int ith, int nth)
{
    struct run *j = arg;
    const struct range r = split_range(j->n, ith, nth);
    pack_rows(j, scratch_shared(j->d), r.lo, r.hi);
}

static void run_part(void *arg, int ith, int nth)
{
    (void)nth;
    struct run *j = arg;
    const struct float_linear *l = j->l;
    float *sums = scratch_thread(j->d, ith);
    unsigned char *own_rows = (unsigned char *)(sums + (size_t)ROW_BLOCK * LD_SUMS);
    unsigned char *expanded = own_rows + panel_bytes(l), *rows = scratch_shared(j->d);
    bool packed = !j->each_packs;
    for (;;) {
        const int64_t task = atomic_fetch_add_explicit(&j->next_task, 1, memory_order_relaxed);
        if (task >= j->strips * j->blocks) return;
        if (!packed) {
            rows = own_rows;
            pack_rows(j, rows, 0, j->n);
            packed = true;
        }
        const int64_t p0 = task / j->blocks * j->strip, r0 = task % j->blocks * j->block;
        const int np = (int)(l->panels - p0 < j->strip ? l->panels - p0 : j->strip);
        const unsigned char *b[2] = { 0 };
        for (int half = 0; half < l->halves; half++) {
            if (!l->view) {
                b[half] = l->packed + (size_t)(half * l->panels + p0) * panel_bytes(l);
                continue;
            }
            unsigned char *dst = expanded + (size_t)(half * np) * panel_bytes(l);
            for (int p = 0; p < np; p++) {
                pool_checkpoint(j->d->pool);
                pack_panel(j->d->fl, l, half, p0 + p, dst + (size_t)p * panel_bytes(l), NULL);
            }
            b[half] = dst;
        }
        rows_by_panels(j, rows, b, p0, np, r0, r0 + j->block < j->n ? r0 + j->block : j->n, sums);
    }
}

void float_linear_run(struct device *d, const struct float_linear *l, const float *bias,
                      const struct linear_args *a)
{
    const int nth = pool_threads(d->pool);
    int64_t chunk =
        (int64_t)(d->shared_cap / panel_bytes(l)) * 16; /* at least CHUNK_ROWS, see float_linear_new() */
    if (chunk < a->n) {                                 /* equal chunks, whole row blocks */
        const int64_t n_chunks = (a->n + chunk - 1) / chunk;
        chunk = ((a->n + n_chunks - 1) / n_chunks + 15) / 16 * 16;
    }
    for (int64_t row = 0; row < a->n; row += chunk) {
        struct run j = {
            .d = d, .l = l, .a = a, .bias = bias, .row0 = row, .n = a->n - row < chunk ? a->n - row : chunk
        };
        j.block = l->view || j.n < ROW_BLOCK ? j.n : ROW_BLOCK;
        j.blocks = (j.n + j.block - 1) / j.block;
        /* Enough tasks that threads of unequal speed end together. */
        int64_t max = STRIP / l->halves;
        while (max > 2 && (l->panels + max - 1) / max * j.blocks < 4 * nth) max -= 2;
        j.strip = strip_size(l->panels, max);
        j.strips = (l->panels + j.strip - 1) / j.strip;
        /* In place, a thread that is done would overwrite rows that a later one still has to pack. */
        j.each_packs = j.n <= FEW_ROWS && a->y != a->x;
        if (!j.each_packs) pool_run(d->pool, pack_rows_part, &j);
        pool_run(d->pool, run_part, &j);
    }
}
