/* 3x3 convolutions at stride 1 as Winograd's F(2x2, 3x3) (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"):
 * four outputs out of 16 products instead of 36.
 *
 * Factors  of a square of 4x4 inputs d: B'dB; of a kernel g: GgG', made once when weights are prepared. Products of factors are summed
 *          over the channels, 16 matrix products; then the square's 2x2 outputs are A'mA. With
 *              B' = 1  0 -1  0      G = 1    0    0      A' = 1  1  1  0
 *                   0  1  1  0          1/2  1/2  1/2         0  1 -1 -1
 *                   0 -1  1  0          1/2 -1/2  1/2
 *                   0  1  0 -1          0    0    1
 * Patch    a thread takes a rectangle of squares, makes the factors of all its channels, and then strip by strip of outputs the 16
 *          products and their outputs. Factors and a strip's sums stay in its second cache. */
#include <string.h>

#include "device/cpu/conv_internal.h"
#include "device/cpu/split.h"

#define MAX_SQUARES 256                  /* of a patch */
#define FACTOR_BYTES ((size_t)512 << 10) /* of a patch, but for very many channels */
#define SUMS 6144                        /* squares by outputs of a strip: 16 times that many sums */

/* What a patch is. */
struct patch {
    const struct conv_run *j;
    int rows, cols, squares; /* squares down, across and in all, a multiple of 16 */
    int strip;               /* panels of a strip */
    size_t factor, product;  /* bytes from one factor's tiles to the next; floats from one product's sums */
    int64_t channels;        /* padded to k blocks */
    float *sums;             /* [16, product] */
    unsigned char *factors;  /* [16, factor]: A tiles */
    float *line[4];          /* [2 * cols + 2, channels] mapped input rows, row i in line[i % 4] */
};

void winograd_weights(float g[16], const float w[9])
{
    float t[4][3];
    for (int x = 0; x < 3; x++) {
        t[0][x] = w[x];
        t[1][x] = (w[x] + w[3 + x] + w[6 + x]) / 2;
        t[2][x] = (w[x] - w[3 + x] + w[6 + x]) / 2;
        t[3][x] = w[6 + x];
    }
    for (int y = 0; y < 4; y++) {
        g[4 * y] = t[y][0];
        g[4 * y + 1] = (t[y][0] + t[y][1] + t[y][2]) / 2;
        g[4 * y + 2] = (t[y][0] - t[y][1] + t[y][2]) / 2;
        g[4 * y + 3] = t[y][2];
    }
}

/* A patch of at most `most` squares. */
static struct patch patch_of(const struct conv *c, int most)
{
    struct patch p = { .channels = (int64_t)c->cb * 32 };
    p.squares = 16;
    while (p.squares * 2 <= most &&
           (size_t)p.squares * 2 * 16 * (size_t)c->cb * TILE_ROW_BYTES <= FACTOR_BYTES)
        p.squares *= 2;
    p.cols = p.squares >= 128 ? 16 : 8;
    p.rows = p.squares / p.cols;
    const int strip = SUMS / 16 / p.squares;
    p.strip = (int)strip_size(c->panels, strip > STRIP ? STRIP : strip < 2 ? 2 : strip);
    /* not quite a power of two, so that the 16 spread over the sets of a cache */
    p.factor = (size_t)(p.squares / 16 * c->cb) * TILE_BYTES + TILE_ROW_BYTES;
    p.product = (size_t)(p.squares * p.strip) * 16 + 16;
    return p;
}

static size_t line_floats(const struct patch *p) { return (size_t)(2 * p->cols + 2) * (size_t)p->channels; }

size_t winograd_scratch(const struct conv *c)
{
    size_t most = 0;
    for (int n = 16; n <= MAX_SQUARES; n *= 2) {
        const struct patch p = patch_of(c, n);
        const size_t bytes =
            16 * p.product * sizeof(float) + 16 * p.factor + 4 * line_floats(&p) * sizeof(float);
        if (bytes > most) most = bytes;
    }
    return most;
}

/* Row i of the patch's input, which begins at (iy, ix). */
static void fill_line(const struct patch *p, int i, int iy, int ix)
{
    const struct conv_run *j = p->j;
    const struct row_map map = {
        .mul = j->a->gn_scale, .add = j->a->gn_shift, .inv = 1.0f, .silu = j->a->in_silu
    };
    float *dst = p->line[i % 4];
    pool_checkpoint(j->d->pool);
    for (int x = 0; x < 2 * p->cols + 2; x++, dst += p->channels) {
        const float *src = conv_input_pixel(j, iy + i, ix + x);
        if (src)
            j->d->fl->map_pixel(dst, src, j->c->n_in, &map);
        else
            memset(dst, 0, (size_t)p->channels * sizeof *dst);
    }
}

static void make_factors(const struct patch *p, int rows, int iy, int ix)
{
    const struct float_kern *fk = p->j->d->fl;
    const size_t group = (size_t)p->j->c->cb * TILE_BYTES; /* of 16 squares */
    for (int i = 0, y = 0; y < rows; y++) {
        for (; i < 2 * y + 4; i++) fill_line(p, i, iy, ix);
        for (int x = 0; x < p->cols; x++) {
            const int s = y * p->cols + x;
            const float *row[4];
            for (int k = 0; k < 4; k++) row[k] = p->line[(2 * y + k) % 4] + 2 * x * p->channels;
            fk->winograd_in(p->factors + (size_t)(s / 16) * group + (size_t)(s % 16) * TILE_ROW_BYTES,
                            p->factor, row, p->channels, p->channels);
        }
    }
}

/* The 16 products of panels [panel, panel + n_panels). */
static void multiply(const struct patch *p, int squares, int64_t panel, int n_panels)
{
    const struct conv *c = p->j->c;
    const struct float_kern *fk = p->j->d->fl;
    const size_t b_panel = (size_t)c->kb * TILE_BYTES;
    for (int t = 0; t < 16; t++) {
        float *sums = p->sums + (size_t)t * p->product;
        const unsigned char *b = c->packed + (size_t)panel * b_panel + (size_t)(t * c->cb) * TILE_BYTES;
        const unsigned char *tile[MAX_SQUARES / 16];
        for (int k = 0; k < c->cb; k += fk->kb_chunk) {
            pool_checkpoint(p->j->d->pool);
            for (int i = 0; i < squares; i += 16)
                tile[i / 16] = p->factors + (size_t)t * p->factor + (size_t)(i / 16 * c->cb + k) * TILE_BYTES;
            const struct tiles a = { tile, NULL, TILE_ROW_BYTES };
            fk->product_bf16(sums, n_panels * 16, &a, b + (size_t)k * TILE_BYTES, b_panel, squares, n_panels,
                             c->cb - k < fk->kb_chunk ? c->cb - k : fk->kb_chunk, k > 0);
        }
    }
}

/* The outputs of the same panels, of the patch at (oy, ox). */
static void finish(const struct patch *p, int rows, int64_t panel, int n_panels, int oy, int ox)
{
    const struct conv_run *j = p->j;
    const int64_t o = panel * 16;
    const int n = n_panels * 16, n_out = j->c->n_out - o < n ? (int)(j->c->n_out - o) : n;
    float v[4 * 16 * STRIP];
    for (int s = 0; s < rows * p->cols; s++) {
        const int y0 = oy + s / p->cols * 2, x0 = ox + s % p->cols * 2;
        if (s % 64 == 0) pool_checkpoint(j->d->pool);
        if (y0 >= j->h_out || x0 >= j->w_out) continue;
        j->d->fl->winograd_out(v, p->sums + s * n, p->product, n);
        for (int i = 0; i < 4; i++) {
            const int y = y0 + i / 2, x = x0 + i % 2;
            if (y < j->h_out && x < j->w_out)
                conv_finish_pixel(j, j->a->y + ((int64_t)y * j->w_out + x) * j->ldy + o, v + i * n,
                                  j->bias + o, n_out);
        }
    }
}

static void part(void *arg, int ith, int nth)
{
    (void)nth;
    struct conv_run *j = arg;
    const struct conv *c = j->c;
    const struct conv_args *a = j->a;
    struct patch p = patch_of(c, j->rows * j->cols);
    p.j = j;
    p.sums = scratch_thread(j->d, ith);
    p.line[0] = p.sums + 16 * p.product;
    for (int i = 1; i < 4; i++) p.line[i] = p.line[i - 1] + line_floats(&p);
    p.factors = (unsigned char *)(p.line[3] + line_floats(&p));
    int i;
    while ((i = atomic_fetch_add_explicit(&j->next_band, 1, memory_order_relaxed)) < j->bands) {
        const int oy = i / j->columns * 2 * p.rows, ox = i % j->columns * 2 * p.cols;
        const int left = (j->h_out - oy + 1) / 2, rows = left < p.rows ? left : p.rows;
        make_factors(&p, rows, oy - a->pad_top, ox - a->pad_left);
        for (int64_t panel = 0; panel < c->panels; panel += p.strip) {
            const int n = c->panels - panel < p.strip ? (int)(c->panels - panel) : p.strip;
            multiply(&p, rows * p.cols, panel, n);
            finish(&p, rows, panel, n, oy, ox);
        }
    }
}

void winograd_run(struct conv_run *j)
{
    /* Smaller patches where there would be too few for threads to end together. */
    for (int most = MAX_SQUARES; most >= 16; most /= 2) {
        const struct patch p = patch_of(j->c, most);
        j->rows = p.rows;
        j->cols = p.cols;
        j->columns = (j->w_out + 2 * p.cols - 1) / (2 * p.cols);
        j->bands = j->columns * ((j->h_out + 2 * p.rows - 1) / (2 * p.rows));
        if (j->bands >= 8 * pool_threads(j->d->pool)) break;
    }
    pool_run(j->d->pool, part, j);
}
