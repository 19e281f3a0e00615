/* Convolution of NHWC pictures as a product of tiles, without an im2col matrix.
 *
 * Band     the picture is worked through in bands, rectangles of outputs. The band's input, with its halo and zero padding, is
 *          brought into scratch once: normalised, activated, doubled as asked, rounded to the product's form, as
 *          [channel block][row][column][64 bytes]. Sixteen neighbouring pixels of a channel block are then an A tile as
 *          they stand, and every tap of the kernel is the same tile some bytes further on.
 * Weights  panels over k = (tap, channel block); F32 are multiplied in f32, F16 exactly where asked or for nothing, the rest as bf16.
 * Doubled  pictures that a 3x3 kernel reads have four pixels of each: with the kernel's equal columns and rows added up, each of the
 *          four outputs ("phases") is a 2x2 kernel over the small picture, 16 products instead of 36.
 * Depthwise convolutions are bound by memory and go pixel by pixel in f32. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/cpu/float_kern.h"
#include "device/cpu/split.h"

#define MAX_SIDE 64 /* of a kernel */
#define MAX_DEPTHWISE_SIDE 16
#define MIN_ROWS 8 /* a band holds so many output rows by MIN_COLS columns at least, at stride 2 */
#define MIN_COLS 64
/* An output that no last-level cache keeps until the next operation reads it. */
#define FAR_BYTES ((size_t)64 << 20)
#define OWN_BAND ((size_t)640 << 10) /* input of a band that one thread works on */

struct conv {
    struct conv_base base;
    enum float_form form;
    bool depthwise;
    int phases; /* outputs that an input pixel stands for, each with a kernel of its own: 4 when doubled, or 1 */
    int cb;     /* channel blocks */
    int64_t kb; /* k blocks of all phases: taps (16 of a doubled kernel) times cb */
    int64_t panels;
    unsigned char *packed;
    float *w;    /* depthwise: [taps, n_out] */
    float *bias; /* [panels * 16], zeros where there is none */
    size_t bytes;
};

static int64_t k_values(const struct conv *c) { return form_k(c->form); }

/* ---- preparation --------------------------------------------------------------------------------------------- */

struct load_job {
    const struct float_kern *fk;
    struct conv *c;
    enum dtype type;
    const unsigned char *w;
    float *row; /* [threads, n_in, taps] */
    float *tmp; /* [threads, 16, kb * k values], zeros where there is padding */
};

/* The kernels [2, 2] of the four phases [2, 2] of a doubled picture. */
static void doubled_weights(float g[16], const float w[9])
{
    static const int first[2][2] = { { 0, 1 }, { 0, 2 } }, last[2][2] = { { 0, 2 }, { 1, 2 } }; /* by phase */
    for (int i = 0; i < 16; i++) {
        const int py = i / 8, px = i / 4 % 2, ty = i / 2 % 2, tx = i % 2;
        g[i] = 0;
        for (int y = first[py][ty]; y <= last[py][ty]; y++)
            for (int x = first[px][tx]; x <= last[px][tx]; x++) g[i] += w[3 * y + x];
    }
}

static void load_part(void *arg, int ith, int nth)
{
    const struct load_job *j = arg;
    const struct conv *c = j->c;
    const int64_t file_taps = (int64_t)c->base.kh * c->base.kw, taps = c->kb / c->cb;
    const int64_t per_out = c->base.n_in * file_taps, kv = k_values(c), k = c->kb * kv;
    const size_t row_bytes = dtype_row_bytes(j->type, per_out);
    float *row = j->row + ith * per_out, *tmp = j->tmp + ith * 16 * k;
    const struct range r = split_range(c->panels, ith, nth);
    for (int64_t p = r.lo; p < r.hi; p++) {
        const unsigned char *ptr[16];
        for (int o = 0; o < 16; o++) {
            float *dst = tmp + o * k;
            ptr[o] = (const unsigned char *)dst;
            if (p * 16 + o >= c->base.n_out) {
                memset(dst, 0, (size_t)k * sizeof *dst);
                continue;
            }
            dequant_row(j->type, j->w + (size_t)(p * 16 + o) * row_bytes, row, per_out);
            for (int64_t i = 0; i < c->base.n_in; i++) {
                const float *tap = row + i * file_taps;
                float g[16];
                if (c->phases > 1) {
                    doubled_weights(g, tap);
                    tap = g;
                }
                for (int64_t t = 0; t < taps; t++) dst[t * c->cb * kv + i] = tap[t];
            }
        }
        form_pack_panel(j->fk, c->form, c->packed + (size_t)(p * c->kb) * form_tile(c->form), ptr, DT_F32, k);
    }
}

static bool load_dense(struct cpu_device *d, struct conv *c, enum dtype type, const void *w, struct err *e)
{
    const size_t per_out = (size_t)c->base.n_in * (size_t)(c->base.kh * c->base.kw),
                 nth = (size_t)pool_threads(d->pool);
    size_t n;
    if (!mem_mul((size_t)c->panels, (size_t)c->kb * form_tile(c->form), &n))
        return err_set(e, ERR_LIMIT, "convolution weights exceed the address space");
    c->packed = mem_aligned(n, 1, false);
    c->bytes += n;
    struct load_job j = { .fk = d->fl, .c = c, .type = type, .w = w };
    j.row = mem_aligned(nth * per_out, sizeof *j.row, false);
    j.tmp = mem_aligned(nth * 16 * (size_t)(c->kb * k_values(c)), sizeof *j.tmp, true);
    const bool ok = c->packed && j.row && j.tmp;
    if (ok)
        pool_run(d->pool, load_part, &j);
    else
        err_set(e, ERR_NOMEM, "no memory for %zu bytes of convolution weights", n);
    mem_free(j.row);
    mem_free(j.tmp);
    return ok;
}

static bool load_depthwise(struct conv *c, enum dtype type, const void *w, struct err *e)
{
    const int64_t taps = (int64_t)c->base.kh * c->base.kw;
    const size_t row_bytes = dtype_row_bytes(type, taps);
    float row[MAX_DEPTHWISE_SIDE * MAX_DEPTHWISE_SIDE];
    c->w = mem_aligned((size_t)c->base.n_out * (size_t)taps, sizeof *c->w, false);
    if (!c->w)
        return err_set(e, ERR_NOMEM, "no memory for a depthwise convolution of %d channels", c->base.n_out);
    c->bytes += (size_t)c->base.n_out * (size_t)taps * sizeof *c->w;
    for (int64_t o = 0; o < c->base.n_out; o++) {
        dequant_row(type, (const unsigned char *)w + (size_t)o * row_bytes, row, taps);
        for (int64_t t = 0; t < taps; t++) c->w[t * c->base.n_out + o] = row[t];
    }
    return true;
}

/* Bytes of a band of `rows` by `cols` input pixels, what tiles read beyond their last pixel included. */
static size_t band_bytes(const struct conv *c, int64_t rows, int64_t cols, int stride)
{
    return (size_t)(c->cb * rows * cols + TILE_ROWS * stride) * TILE_ROW_BYTES;
}

/* The table of where k blocks are; and what stands in the shared scratch before the band: the bias of this call, and
 * that table. */
static size_t off_bytes(const struct conv *c) { return ((size_t)c->kb * sizeof(ptrdiff_t) + 63) / 64 * 64; }
static size_t off_at(const struct conv *c) { return (size_t)c->panels * 16 * sizeof(float); }
static size_t head_bytes(const struct conv *c) { return off_at(c) + off_bytes(c); }

/* Sums of a doubled kernel's weights need not be halves. */
static enum float_form conv_form(const struct cpu_device *d, enum dtype type, unsigned use)
{
    const bool exact = type == DT_F16 && ((use & CONV_EXACT) || !d->fl->bf16_faster);
    if (type == DT_F32 || (exact && (use & CONV_DOUBLED))) return FORM_F32;
    return exact ? FORM_F16 : FORM_BF16;
}

bool cpu_conv_new(struct device *base, struct conv **out, enum dtype type, const void *w, int n_out, int n_in,
                  int kh, int kw, int groups, unsigned use, const float *bias, struct err *e)
{
    struct cpu_device *d = cpu_of(base);
    const bool depthwise = groups > 1;
    const int max_side = depthwise ? MAX_DEPTHWISE_SIDE : MAX_SIDE;
    if (n_out < 1 || n_in < 1 || n_out > 1 << 16 || n_in > 1 << 16 || kh < 1 || kw < 1 || kh > max_side ||
        kw > max_side)
        return err_set(e, ERR_FORMAT, "convolution of %d to %d channels with a %dx%d kernel", n_in, n_out, kh,
                       kw);
    if (groups < 1 || (depthwise && (groups != n_in || n_out != n_in)))
        return err_set(e, ERR_UNSUPPORTED,
                       "convolution of %d to %d channels in %d groups: only 1 group, or one group a channel",
                       n_in, n_out, groups);
    if (type != DT_F32 && type != DT_F16 && type != DT_BF16 && type != DT_F8_E4M3 && type != DT_F8_E5M2)
        return err_set(e, ERR_UNSUPPORTED, "convolution weights of type %s", dtype_info(type)->name);
    struct conv *c = calloc(1, sizeof *c);
    if (!c) return err_set(e, ERR_NOMEM, "no memory for a convolution");
    *c = (struct conv){ .form = conv_form(d, type, use),
                        .depthwise = depthwise,
                        .base = { base, n_in, n_out, kh, kw } };
    c->phases = (use & CONV_DOUBLED) && kh == 3 && kw == 3 && !depthwise ? 4 : 1;
    c->cb = (int)((n_in + k_values(c) - 1) / k_values(c));
    c->kb = (c->phases > 1 ? 16 : (int64_t)kh * kw) * c->cb;
    c->panels = (n_out + 15) / 16;
    c->bytes = (size_t)c->panels * 16 * sizeof *c->bias;
    c->bias = mem_aligned((size_t)c->panels * 16, sizeof *c->bias, true);
    bool ok = c->bias != NULL;
    if (!ok)
        err_set(e, ERR_NOMEM, "no memory for a convolution");
    else if (bias)
        memcpy(c->bias, bias, (size_t)n_out * sizeof *bias);
    const size_t least = head_bytes(c) + band_bytes(c, 2 * MIN_ROWS + kh, 2 * MIN_COLS + kw, 2);
    const size_t thread = depthwise ? (size_t)n_out * sizeof(float)
                                    : ROW_BLOCK * LD_SUMS * sizeof(float) + off_bytes(c) + OWN_BAND;
    ok = ok && scratch_reserve(d, least, thread, e) &&
         (depthwise ? load_depthwise(c, type, w, e) : load_dense(d, c, type, w, e));
    if (!ok) {
        cpu_conv_free(c);
        return false;
    }
    *out = c;
    return true;
}

void cpu_conv_free(struct conv *c)
{
    if (!c) return;
    mem_free(c->packed);
    mem_free(c->w);
    mem_free(c->bias);
    free(c);
}

size_t cpu_conv_bytes(const struct conv *c) { return c->bytes; }

/* ---- running ------------------------------------------------------------------------------------------------- */

static int doubled(const struct conv_args *a) { return a->upsample > 1 ? a->upsample : 1; }

static int step(const struct conv_args *a) { return a->stride > 1 ? a->stride : 1; }

/* One call of op_conv2d(). */
struct run {
    const struct cpu_device *d;
    const struct conv *c;
    const struct conv_args *a;
    int h_out, w_out; /* a doubled kernel's: of the picture before it is doubled */
    int stride, ldx, ldy;
    bool far;                       /* the output goes past the caches */
    float *bias;                    /* [panels * 16], this call's included */
    int rows, cols, bands, columns; /* outputs of a band; bands in all, and beside each other */
    atomic_int next_band;
};

/* Output rows [y0, y0 + rows) by columns [x0, x0 + cols), and the input that they need. */
struct band {
    const struct run *j;
    int y0, x0, rows, cols, in_rows, in_cols;
    bool wrapped;      /* tiles run on over the ends of rows; the columns in between are computed in vain */
    int tiles_per_row; /* not wrapped */
    int n_tiles;
    int block, blocks;    /* tiles of a task; blocks of tiles */
    int64_t strip, tasks; /* panels of a task; tasks in all */
    ptrdiff_t *k_off;     /* [kb] */
    unsigned char *input;
    atomic_int next_row;
    atomic_llong next_task;
};

/* The input pixel at row iy, column ix of the (doubled) picture; NULL in the padding. */
static const float *input_pixel(const struct run *j, int iy, int ix)
{
    const int up = j->c->phases > 1 ? 1 : doubled(j->a);
    if (iy < 0 || ix < 0 || iy >= j->a->h * up || ix >= j->a->w_in * up) return NULL;
    return j->a->x + ((int64_t)(iy / up) * j->a->w_in + ix / up) * j->ldx;
}

static void fill_row(const struct band *b, int row)
{
    const struct run *j = b->j;
    const struct conv *c = j->c;
    const ptrdiff_t next_block = (ptrdiff_t)b->in_rows * b->in_cols * TILE_ROW_BYTES;
    const struct row_map map = {
        .mul = j->a->gn_scale, .add = j->a->gn_shift, .inv = 1.0f, .silu = j->a->in_silu
    };
    unsigned char *dst = b->input + (ptrdiff_t)row * b->in_cols * TILE_ROW_BYTES;
    const int iy = b->y0 * j->stride - j->a->pad_top + row, ix = b->x0 * j->stride - j->a->pad_left;
    if (!pool_checkpoint(j->d->pool)) return;
    for (int x = 0; x < b->in_cols; x++, dst += TILE_ROW_BYTES) {
        const float *p = input_pixel(j, iy, ix + x);
        if (p)
            form_pack_row(j->d->fl, c->form, dst, next_block, p, c->base.n_in, &map);
        else
            for (int i = 0; i < c->cb; i++) memset(dst + i * next_block, 0, TILE_ROW_BYTES);
    }
}

/* First byte of tile t's first row, at tap and channel block 0. */
static const unsigned char *tile_base(const struct band *b, int t)
{
    if (b->wrapped) return b->input + (ptrdiff_t)t * TILE_BYTES;
    const int oy = t / b->tiles_per_row, ox = t % b->tiles_per_row * TILE_ROWS, stride = b->j->stride;
    return b->input + ((ptrdiff_t)oy * stride * b->in_cols + ox * stride) * TILE_ROW_BYTES;
}

/* Where row r of tile t goes in a phase; NULL when it is no output pixel. */
static float *output_pixel(const struct band *b, int t, int r, int phase)
{
    int oy, ox;
    if (b->wrapped) {
        oy = (t * TILE_ROWS + r) / b->in_cols;
        ox = (t * TILE_ROWS + r) % b->in_cols;
    } else {
        oy = t / b->tiles_per_row;
        ox = t % b->tiles_per_row * TILE_ROWS + r;
    }
    if (oy >= b->rows || ox >= b->cols) return NULL;
    int64_t y = b->y0 + oy, x = b->x0 + ox, w = b->j->w_out;
    if (b->j->c->phases > 1) {
        y = 2 * y + phase / 2;
        x = 2 * x + phase % 2;
        w *= 2;
    }
    return b->j->a->y + (y * w + x) * b->j->ldy;
}

/* y = epilogue(v + bias) for n outputs of a pixel; v may be changed. */
static void finish_pixel(const struct run *j, float *y, float *v, const float *bias, int n)
{
    if (j->far && bias) {
        j->d->fl->store_far(y, v, bias, n);
        return;
    }
    j->d->fl->finish(j->a->epi, y, v, NULL, NULL, NULL, bias, NULL, NULL, n);
    if (j->a->clamp_max > 0) j->d->fl->clamp(y, n, j->a->clamp_max);
}

static void run_task(const struct band *b, int64_t task, float *sums)
{
    const struct run *j = b->j;
    const struct conv *c = j->c;
    const struct float_kern *fk = j->d->fl;
    const int phase = (int)(task % c->phases);
    const int64_t place = task / c->phases, p0 = place / b->blocks * b->strip;
    const int t0 = (int)(place % b->blocks) * b->block;
    const int nt = b->n_tiles - t0 < b->block ? b->n_tiles - t0 : b->block;
    const int np = (int)(c->panels - p0 < b->strip ? c->panels - p0 : b->strip);
    const size_t tile_bytes = form_tile(c->form), panel = (size_t)c->kb * tile_bytes;
    const unsigned char *tile[ROW_BLOCK / 16];
    for (int t = 0; t < nt; t++) tile[t] = tile_base(b, t0 + t);
    const int64_t begin = c->kb / c->phases * phase, end = begin + c->kb / c->phases;
    for (int64_t k = begin; k < end; k += fk->kb_chunk) {
        if (!pool_checkpoint(j->d->pool)) return;
        const struct tiles a = { tile, b->k_off + k, (ptrdiff_t)TILE_ROW_BYTES * j->stride };
        const int64_t kb = end - k < fk->kb_chunk ? end - k : fk->kb_chunk;
        form_product(fk, c->form, sums, LD_SUMS, &a, c->packed + (size_t)p0 * panel + (size_t)k * tile_bytes,
                     panel, nt * 16, np, kb, k > begin);
    }
    const int64_t o = p0 * 16;
    const int n = c->base.n_out - o < np * 16 ? (int)(c->base.n_out - o) : np * 16;
    for (int r = 0; r < nt * 16; r++) {
        float *y = output_pixel(b, t0 + r / 16, r % 16, phase);
        const int later = r + 8;
        const float *sum = j->a->epi == EPI_ADD && later < nt * 16
                               ? output_pixel(b, t0 + later / 16, later % 16, phase)
                               : NULL;
        for (int i = 0; sum && i < n; i += 16) __builtin_prefetch(sum + o + i, 1);
        if (y) finish_pixel(j, y + o, sums + r * LD_SUMS, j->bias + o, n);
    }
}

/* Lays band i out; n_threads will work on it. */
static void band_init(struct band *b, const struct run *j, int i, int n_threads)
{
    const struct conv *c = j->c;
    b->j = j;
    b->y0 = i / j->columns * j->rows;
    b->x0 = i % j->columns * j->cols;
    b->rows = j->h_out - b->y0 < j->rows ? j->h_out - b->y0 : j->rows;
    b->cols = j->w_out - b->x0 < j->cols ? j->w_out - b->x0 : j->cols;
    b->in_rows = (b->rows - 1) * j->stride + c->base.kh;
    b->in_cols = (b->cols - 1) * j->stride + c->base.kw;
    for (int64_t k = 0; k < c->kb; k++) {
        const int64_t tap = k / c->cb, block = k % c->cb;
        int64_t y = tap / c->base.kw, x = tap % c->base.kw;
        if (c->phases > 1) {
            y = tap / 8 + tap / 2 % 2;
            x = tap / 4 % 2 + tap % 2;
        }
        b->k_off[k] = ((block * b->in_rows + y) * b->in_cols + x) * TILE_ROW_BYTES;
    }
    b->tiles_per_row = (b->cols + 15) / 16;
    const int wrapped = ((b->rows - 1) * b->in_cols + b->cols + 15) / 16;
    b->wrapped = j->stride == 1 && wrapped < b->rows * b->tiles_per_row;
    b->n_tiles = b->wrapped ? wrapped : b->rows * b->tiles_per_row;
    b->block = (int)strip_size(b->n_tiles, ROW_BLOCK / 16);
    b->blocks = (b->n_tiles + b->block - 1) / b->block;
    int64_t max = STRIP; /* enough tasks that threads of unequal speed end together */
    while (n_threads > 1 && max > 2 && (c->panels + max - 1) / max * b->blocks < 4 * n_threads) max -= 2;
    b->strip = strip_size(c->panels, max);
    b->tasks = (c->panels + b->strip - 1) / b->strip * b->blocks * c->phases;
}

/* All threads work on one band: first its input, then its tasks. */
static void fill_part(void *arg, int ith, int nth)
{
    (void)ith, (void)nth;
    struct band *b = arg;
    int row;
    while ((row = atomic_fetch_add_explicit(&b->next_row, 1, memory_order_relaxed)) < b->in_rows)
        fill_row(b, row);
}

static void shared_part(void *arg, int ith, int nth)
{
    (void)nth;
    struct band *b = arg;
    int64_t task;
    while ((task = atomic_fetch_add_explicit(&b->next_task, 1, memory_order_relaxed)) < b->tasks)
        run_task(b, task, scratch_thread(b->j->d, ith));
}

/* Each thread works on bands of its own. */
static void own_part(void *arg, int ith, int nth)
{
    (void)nth;
    struct run *j = arg;
    float *sums = scratch_thread(j->d, ith);
    struct band b = { .k_off = (ptrdiff_t *)(sums + ROW_BLOCK * LD_SUMS) };
    b.input = (unsigned char *)b.k_off + off_bytes(j->c);
    int i;
    while ((i = atomic_fetch_add_explicit(&j->next_band, 1, memory_order_relaxed)) < j->bands) {
        band_init(&b, j, i, 1);
        for (int row = 0; row < b.in_rows; row++) fill_row(&b, row);
        for (int64_t task = 0; task < b.tasks; task++) run_task(&b, task, sums);
    }
}

/* Cuts the picture into bands of at most `cols` columns whose input fits `room` bytes. */
static void cut(struct run *j, size_t room, int cols)
{
    const struct conv *c = j->c;
    int rows = 0;
    for (;; cols = (cols + 1) / 2) {
        const int64_t in_cols = (int64_t)(cols - 1) * j->stride + c->base.kw;
        rows = j->h_out;
        while (rows > 0 &&
               band_bytes(c, (int64_t)(rows - 1) * j->stride + c->base.kh, in_cols, j->stride) > room)
            rows--;
        if (cols == 1 || rows >= (cols > MIN_COLS && j->h_out > MIN_ROWS ? MIN_ROWS : 1)) break;
    }
    if (rows < 1) rows = 1; /* cannot be: conv_new() reserved more than one pixel's input */
    j->cols = cols < j->w_out && cols >= 16 ? cols / 16 * 16 : cols;
    const int bands = (j->h_out + rows - 1) / rows;
    j->rows = (j->h_out + bands - 1) / bands;
    j->columns = (j->w_out + j->cols - 1) / j->cols;
    j->bands = j->columns * ((j->h_out + j->rows - 1) / j->rows);
}

/* Bands that a thread's second cache holds, if that gives every thread several and their halo is small beside them;
 * otherwise bands as large as the shared scratch, at which all threads work together. */
static bool cut_for_each(struct run *j)
{
    const int want = j->c->cb <= 4 ? 64 : 32;
    cut(j, OWN_BAND, j->w_out < want ? j->w_out : want);
    return j->bands >= 3 * pool_threads(j->d->pool) && (j->rows >= MIN_ROWS || j->c->base.kh == 1) &&
           j->cols >= (j->w_out < 32 ? j->w_out : 32);
}

/* ---- depthwise ----------------------------------------------------------------------------------------------- */

static void depthwise_part(void *arg, int ith, int nth)
{
    (void)nth;
    struct run *j = arg;
    const struct conv *c = j->c;
    const struct float_kern *fk = j->d->fl;
    float *v = scratch_thread(j->d, ith);
    int oy;
    while ((oy = atomic_fetch_add_explicit(&j->next_band, 1, memory_order_relaxed)) < j->h_out)
        for (int ox = 0; ox < j->w_out; ox++) {
            const float *x[MAX_DEPTHWISE_SIDE * MAX_DEPTHWISE_SIDE];
            for (int ky = 0; ky < c->base.kh; ky++)
                for (int kx = 0; kx < c->base.kw; kx++)
                    x[ky * c->base.kw + kx] = input_pixel(j, oy * j->stride - j->a->pad_top + ky,
                                                          ox * j->stride - j->a->pad_left + kx);
            fk->depthwise(v, x, c->w, c->base.kh * c->base.kw, c->base.n_out, j->bias);
            finish_pixel(j, j->a->y + ((int64_t)oy * j->w_out + ox) * j->ldy, v, NULL, c->base.n_out);
        }
}

void cpu_conv2d(struct device *base, const struct conv_args *a)
{
    struct cpu_device *d = cpu_of(base);
    const struct conv *c = a->w;
    struct run j = { .d = d, .c = c, .a = a, .stride = step(a) };
    j.ldx = a->ldx ? a->ldx : c->base.n_in;
    j.ldy = a->ldy ? a->ldy : c->base.n_out;
    conv_out_size(a, &j.h_out, &j.w_out);
    if (c->phases > 1) {
        j.h_out = a->h;
        j.w_out = a->w_in;
    }
    if (j.h_out < 1 || j.w_out < 1) return;
    j.far =
        a->epi == EPI_STORE && !(a->clamp_max > 0) &&
        (size_t)j.h_out * (size_t)j.w_out * (size_t)(c->base.n_out * c->phases) * sizeof(float) >= FAR_BYTES;
    unsigned char *head = scratch_shared(d);
    j.bias = (float *)head;
    for (int64_t o = 0; o < c->base.n_out; o++) j.bias[o] = c->bias[o] + (a->bias2 ? a->bias2[o] : 0.0f);
    if (c->depthwise) {
        pool_run(d->pool, depthwise_part, &j);
        return;
    }
    if (cut_for_each(&j)) {
        pool_run(d->pool, own_part, &j);
        return;
    }
    cut(&j, d->shared_cap - head_bytes(c), j.w_out);
    for (int i = 0; i < j.bands; i++) {
        struct band b = { .k_off = (ptrdiff_t *)(head + off_at(c)) };
        b.input = head + head_bytes(c);
        band_init(&b, &j, i, pool_threads(d->pool));
        pool_run(d->pool, fill_part, &b);
        pool_run(d->pool, shared_part, &b);
    }
}
