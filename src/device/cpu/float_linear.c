/* Linear layers with float weights.
 *
 * Weights  F32 are multiplied in f32, BF16 (and quantised parts of a mixed layer) in bf16, F16 with all their bits (see
 *          float_kern.h), or in bf16 where that is faster and the layer is one for many rows. They are packed once into
 *          panels, and the file's pages are not needed any more. F8 stays in the file, one byte a weight (a FLUX
 *          transformer has 12 GB of them), and so do 16-bit matrices that ask for it: each strip of panels is expanded
 *          into the thread's scratch and used for up to a thousand rows.
 * Scales   F8 is exact in bf16, a product of it and its scale is not: scales of a tensor or a row multiply the finished sums,
 *          scales of smaller blocks the sum over a block's columns before it is added to those of the blocks before.
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
    enum float_form form;
    bool view;      /* expanded from the file at every use */
    bool through32; /* packed from f32 rows: parts of several types, or scaled on the way */
    int halves;     /* 2: PAIRED */
    int n_parts;
    struct matrix part[MAX_PARTS];
    int64_t n_in, n_out; /* outputs of a half */
    int64_t kb, panels;  /* k blocks; panels of a half */
    unsigned char *packed;
    int64_t block;        /* k blocks that have scales of their own; 0: scales are of whole rows */
    float *scale;         /* [blocks, halves, panels * 16] or NULL */
    unsigned char *zeros; /* the row that stands for outputs beyond n_out */
    size_t bytes;
};

/* A panel of weights; 16 rows of activations. */
static size_t panel_bytes(const struct float_linear *l) { return (size_t)l->kb * form_tile(l->form); }
static size_t rows_bytes(const struct float_linear *l) { return (size_t)l->kb * TILE_BYTES; }

static bool is_f8(enum dtype t) { return t == DT_F8_E4M3 || t == DT_F8_E5M2; }

static bool is_float(enum dtype t) { return t == DT_F32 || t == DT_F16 || t == DT_BF16 || is_f8(t); }

static bool stays(const struct matrix *m)
{
    return is_f8(m->type) || (m->stay && (m->type == DT_F16 || m->type == DT_BF16));
}

static bool block_scaled(const struct matrix *m) { return m->scale && m->scale_cols < m->n_in; }

/* Blocks that products can end at; the weights of others are multiplied on the way to f32. */
static bool scaled_after(const struct float_linear *l, const struct matrix *m)
{
    return block_scaled(m) && l->block > 0 && m->scale_cols == l->block * form_k(l->form);
}

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

/* Row `row` of m in f32, with the scales that are not applied after the product. */
static void load_row(const struct float_linear *l, const struct matrix *m, int64_t row, float *to)
{
    const unsigned char *p = (const unsigned char *)m->data + (size_t)row * dtype_row_bytes(m->type, l->n_in);
    dequant_row(m->type, p, to, l->n_in);
    if (!block_scaled(m) || scaled_after(l, m)) return;
    const float *scale = m->scale + row / m->scale_rows * ((l->n_in + m->scale_cols - 1) / m->scale_cols);
    for (int64_t i = 0; i < l->n_in; i++) to[i] *= scale[i / m->scale_cols];
}

/* One panel into dst. tmp [16, n_in] is needed for layers that go through f32. */
static void pack_panel(const struct float_kern *fk, const struct float_linear *l, int half, int64_t panel,
                       unsigned char *dst, float *tmp)
{
    const unsigned char *p[16];
    const size_t bytes = dtype_row_bytes(l->part[0].type, l->n_in);
    for (int i = 0; i < 16; i++) {
        int64_t row = 0;
        const struct matrix *m = part_of(l, half, panel * 16 + i, &row);
        p[i] = l->zeros;
        if (m && l->through32) {
            load_row(l, m, row, tmp + i * l->n_in);
            p[i] = (const unsigned char *)(tmp + i * l->n_in);
        } else if (m) {
            p[i] = (const unsigned char *)m->data + (size_t)row * bytes;
        }
    }
    form_pack_panel(fk, l->form, dst, p, l->through32 ? DT_F32 : l->part[0].type, l->n_in);
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
    }
    if (join == LINEAR_PAIRED && part[0].n_out != part[1].n_out)
        return err_set(e, ERR_FORMAT, "gate and up have %lld and %lld outputs", (long long)part[0].n_out,
                       (long long)part[1].n_out);
    return true;
}

/* The scales that follow a product, in the order of the outputs. */
static bool gather_scales(struct float_linear *l, struct err *e)
{
    bool any = false;
    for (int i = 0; i < l->n_parts; i++)
        any |= l->part[i].scale && (!block_scaled(&l->part[i]) || scaled_after(l, &l->part[i]));
    if (!any) return true;
    const int64_t blocks = l->block ? (l->kb + l->block - 1) / l->block : 1;
    const int64_t outs = l->halves * l->panels * 16;
    size_t n;
    if (!mem_mul((size_t)blocks, (size_t)outs, &n))
        return err_set(e, ERR_LIMIT, "a layer's scales exceed the address space");
    l->scale = mem_aligned(n, sizeof *l->scale, true);
    if (!l->scale) return err_set(e, ERR_NOMEM, "no memory for the scales of a layer");
    for (int half = 0; half < l->halves; half++)
        for (int64_t o = 0; o < l->n_out; o++) {
            int64_t row = 0;
            const struct matrix *m = part_of(l, half, o, &row);
            float *to = l->scale + half * l->panels * 16 + o;
            const bool after = scaled_after(l, m), whole = m->scale && !block_scaled(m);
            const float *from = m->scale ? m->scale + row / m->scale_rows * (after ? blocks : 1) : NULL;
            for (int64_t b = 0; b < blocks; b++) to[b * outs] = after ? from[b] : whole ? from[0] : 1.0f;
        }
    l->bytes += n * sizeof *l->scale;
    return true;
}

static bool pack_all(struct cpu_device *d, struct float_linear *l, struct err *e)
{
    size_t n;
    if (!mem_mul((size_t)(l->halves * l->panels), panel_bytes(l), &n))
        return err_set(e, ERR_LIMIT, "a layer's packed weights exceed the address space");
    l->packed = mem_aligned(n, 1, false);
    if (!l->packed) return err_set(e, ERR_NOMEM, "no memory for %zu MiB of packed weights", n >> 20);
    struct pack_job j = { .fk = d->fl, .l = l };
    if (l->through32) {
        j.tmp = mem_aligned((size_t)pool_threads(d->pool) * 16 * (size_t)l->n_in, sizeof *j.tmp, false);
        if (!j.tmp) return err_set(e, ERR_NOMEM, "no memory to pack a layer of mixed types");
    }
    pool_run(d->pool, pack_part, &j);
    mem_free(j.tmp);
    l->bytes += n;
    return true;
}

/* What the parts are multiplied as, and how they get there. haste: bf16 will do for F16. */
static void choose_form(struct float_linear *l, bool haste)
{
    const struct matrix *p = l->part;
    bool f32 = false, f16 = false, mixed = false, view = true;
    int64_t cols = 0; /* of the blocks that have scales of their own */
    bool even = true; /* those of all parts are alike, and products can end at them */
    for (int i = 0; i < l->n_parts; i++) {
        f32 |= p[i].type == DT_F32;
        f16 |= p[i].type == DT_F16;
        mixed |= p[i].type != p[0].type || !is_float(p[i].type);
        view &= stays(&p[i]);
        if (!block_scaled(&p[i])) continue;
        even &= p[i].scale_cols % form_k(FORM_BF16) == 0 && (!cols || cols == p[i].scale_cols);
        cols = p[i].scale_cols;
    }
    l->form = FORM_BF16;
    if (f16 && !haste) l->form = mixed ? FORM_F32 : FORM_F16;
    if (f32 || !even) l->form = FORM_F32;
    if (even) l->block = cols / form_k(l->form);
    l->through32 = mixed || !even;
    l->view = view && !l->through32;
}

bool float_linear_new(struct cpu_device *d, struct float_linear **out, const struct matrix *part, int n_parts,
                      enum linear_join join, int rows_hint, struct err *e)
{
    if (!check_parts(part, n_parts, join, e)) return false;
    struct float_linear *l = calloc(1, sizeof *l);
    if (!l) return err_set(e, ERR_NOMEM, "no memory for a layer");
    l->halves = join == LINEAR_PAIRED ? 2 : 1;
    l->n_parts = n_parts;
    l->n_in = part[0].n_in;
    for (int i = 0; i < n_parts; i++) {
        l->part[i] = part[i];
        if (i == 0 || join == LINEAR_CONCAT) l->n_out += part[i].n_out;
    }
    choose_form(l, rows_hint > 1 && d->fl->bf16_faster);
    l->kb = (l->n_in + form_k(l->form) - 1) / form_k(l->form);
    l->panels = (l->n_out + 15) / 16;
    l->zeros = mem_aligned((size_t)l->n_in, sizeof(float), true);
    const size_t thread_bytes =
        (size_t)ROW_BLOCK * LD_SUMS * sizeof(float) + rows_bytes(l) + (l->view ? STRIP : 0) * panel_bytes(l);
    size_t shared_bytes = (size_t)(CHUNK_ROWS / 16) * rows_bytes(l);
    if (shared_bytes < FLOAT_SCRATCH_SHARED) shared_bytes = FLOAT_SCRATCH_SHARED;
    bool ok = l->zeros != NULL;
    if (!ok) err_set(e, ERR_NOMEM, "no memory for a layer");
    ok = ok && scratch_reserve(d, shared_bytes, thread_bytes, e) && gather_scales(l, e) &&
         (l->view || pack_all(d, l, e));
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
    const struct cpu_device *d;
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
        if (!pool_checkpoint(j->d->pool)) return;
        const float *x = j->a->x + (j->row0 + r) * j->a->ldx;
        struct row_map map = { .mul = j->a->norm, .inv = 1.0f };
        if (j->a->norm) map.inv = fk->rms_inv(x, l->n_in, j->a->eps);
        form_pack_row(fk, l->form, dst + (size_t)(r / 16) * rows_bytes(l) + (size_t)(r % 16) * TILE_ROW_BYTES,
                      TILE_BYTES, x, l->n_in, &map);
    }
}

static void finish_row(const struct run *j, int64_t row, int64_t o, int n, float *v, float *v2)
{
    const struct float_linear *l = j->l;
    const float *bias = j->bias ? j->bias + o : NULL, *bias2 = j->bias && v2 ? j->bias + l->n_out + o : NULL;
    const bool scaled = l->scale && !l->block;
    const float *scale = scaled ? l->scale + o : NULL;
    const float *scale2 = scaled && v2 ? l->scale + l->panels * 16 + o : NULL;
    j->d->fl->finish(j->a->epi, j->a->y + (j->row0 + row) * j->a->ldy + o, v, v2, scale, scale2, bias, bias2,
                     j->a->gate ? j->a->gate + o : NULL, n);
}

/* sums (+)= part * scale: what the block of columns that k block k belongs to has come to. */
static void add_block(const struct run *j, float *sums, const float *part, int m, int64_t p0, int np,
                      int64_t k)
{
    const struct float_linear *l = j->l;
    const float *scale = l->scale + k / l->block * l->halves * l->panels * 16 + p0 * 16;
    for (int r = 0; r < m; r++)
        for (int half = 0; half < l->halves; half++) {
            const int64_t at = (int64_t)r * LD_SUMS + half * np * 16;
            j->d->fl->add_scaled(sums + at, part + at, scale + half * l->panels * 16, np * 16, k >= l->block);
        }
}

/* Rows [r0, r1) of the chunk by panels [p0, p0 + np) of each half. b[half]: where those panels stand. */
static void rows_by_panels(const struct run *j, const unsigned char *packed_rows,
                           const unsigned char *const b[2], int64_t p0, int np, int64_t r0, int64_t r1,
                           float *sums)
{
    const struct float_linear *l = j->l;
    const struct float_kern *fk = j->d->fl;
    const int64_t chunk = r1 - r0 <= TILE_ROWS ? l->kb : fk->kb_chunk;
    /* A block's sums stand beside those of all blocks, in the same memory: half as many rows at a time. */
    const int most = l->block ? ROW_BLOCK / 2 : ROW_BLOCK;
    float *part = l->block ? sums + (size_t)most * LD_SUMS : sums;
    for (int64_t m0 = r0; m0 < r1; m0 += most) {
        const int m = (int)(r1 - m0 < most ? r1 - m0 : most);
        for (int64_t k = 0, kb; k < l->kb; k += kb) {
            if (!pool_checkpoint(j->d->pool)) return;
            const unsigned char *tile[ROW_BLOCK / 16];
            for (int t = 0; t * 16 < m; t++)
                tile[t] = packed_rows + (size_t)(m0 / 16 + t) * rows_bytes(l) + (size_t)k * TILE_BYTES;
            const struct tiles a = { tile, NULL, TILE_ROW_BYTES };
            kb = l->kb - k < chunk ? l->kb - k : chunk;
            const int64_t in_block = l->block ? k % l->block : k;
            if (l->block && kb > l->block - in_block) kb = l->block - in_block;
            for (int half = 0; half < l->halves; half++)
                form_product(fk, l->form, part + half * np * 16, LD_SUMS, &a,
                             b[half] + (size_t)k * form_tile(l->form), panel_bytes(l), m, np, kb,
                             in_block > 0);
            if (l->block && (in_block + kb == l->block || k + kb == l->kb))
                add_block(j, sums, part, m, p0, np, k);
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
    unsigned char *expanded = own_rows + rows_bytes(l), *rows = scratch_shared(j->d);
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
                if (!pool_checkpoint(j->d->pool)) return;
                pack_panel(j->d->fl, l, half, p0 + p, dst + (size_t)p * panel_bytes(l), NULL);
            }
            b[half] = dst;
        }
        rows_by_panels(j, rows, b, p0, np, r0, r0 + j->block < j->n ? r0 + j->block : j->n, sums);
    }
}

void float_linear_alone(struct cpu_device *d, const struct float_linear *l, const float *bias,
                        const struct linear_args *a, int ith)
{
    struct run j = { .d = d, .l = l, .a = a, .bias = bias, .n = a->n, .block = a->n, .blocks = 1 };
    j.strip = strip_size(l->panels, STRIP / l->halves);
    j.strips = (l->panels + j.strip - 1) / j.strip;
    j.each_packs = true; /* a tile of rows, which a thread has room for */
    run_part(&j, ith, 1);
}

void float_linear_run(struct cpu_device *d, const struct float_linear *l, const float *bias,
                      const struct linear_args *a)
{
    const int nth = pool_threads(d->pool);
    int64_t chunk =
        (int64_t)(d->shared_cap / rows_bytes(l)) * 16; /* at least CHUNK_ROWS, see float_linear_new() */
    if (chunk < a->n) {                                /* equal chunks, whole row blocks */
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
