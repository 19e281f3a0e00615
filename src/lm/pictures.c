#include "lm/pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/json_read.h"

/* ---- the rules ------------------------------------------------------------------------------------------------------- */

struct picture_rules picture_rules_default(int tile)
{
    return (struct picture_rules){ .tile = tile,
                                   .max_tiles = 16,
                                   .rescale = (float)(1 / 255.0),
                                   .mean = { 0.5F, 0.5F, 0.5F },
                                   .std = { 0.5F, 0.5F, 0.5F } };
}

static bool bad(const char *key, const char *expected, struct err *e)
{
    return err_set(e, ERR_UNSUPPORTED, "the image processor's %s is not supported: expected %s", key,
                   expected);
}

static bool is_on(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return !v || json_is_null(v) || json_is_true(v);
}

static bool three(const json_t *o, const char *key, float out[3], struct err *e)
{
    const json_t *v = json_object_get(o, key);
    if (!v || json_is_null(v)) return true;
    for (size_t i = 0; i < 3; i++) {
        const double x = json_read_number(json_array_get(v, i), NAN);
        if (json_array_size(v) != 3 || !(fabs(x) < 1000) || (key[6] == 's' && !(x > 1e-6)))
            return bad(key, "three numbers", e);
        out[i] = (float)x;
    }
    return true;
}

static bool size_is(const json_t *o, int tile)
{
    const json_t *v = json_object_get(o, "size");
    if (!v || json_is_null(v)) return true;
    const double h = json_read_number(json_object_get(v, "height"), json_read_number(v, NAN)),
                 w = json_read_number(json_object_get(v, "width"), json_read_number(v, NAN));
    return h == tile && w == tile;
}

bool picture_rules_read(struct picture_rules *r, const json_t *o, struct err *e)
{
    enum { BILINEAR = 2 };
    struct picture_rules t = *r;
    const double tiles = json_read_number(json_object_get(o, "max_patches"), r->max_tiles),
                 scale = json_read_number(json_object_get(o, "rescale_factor"), 1 / 255.0);
    if (!size_is(o, r->tile))
        return err_set(e, ERR_FORMAT, "the image processor cuts tiles of another size than the tower's %d",
                       r->tile);
    if (!(tiles >= 1 && tiles <= PICTURE_MAX_TILES && tiles == floor(tiles)))
        return err_set(e, ERR_FORMAT, "the image processor's max_patches is no whole number from 1 to %d",
                       PICTURE_MAX_TILES);
    if (!(scale > 0 && scale <= 1)) return bad("rescale_factor", "a number above 0, at most 1", e);
    if (json_read_number(json_object_get(o, "resample"), BILINEAR) != BILINEAR)
        return bad("resample", "2 (bilinear)", e);
    if (!is_on(o, "do_resize") || !is_on(o, "do_rescale") || !is_on(o, "do_normalize"))
        return bad("do_resize, do_rescale or do_normalize", "true", e);
    t.max_tiles = (int)tiles;
    t.rescale = (float)scale;
    t.fill_grid = json_is_true(json_object_get(o, "resize_to_max_canvas"));
    if (!three(o, "image_mean", t.mean, e) || !three(o, "image_std", t.std, e)) return false;
    *r = t;
    return true;
}

/* ---- the grid -------------------------------------------------------------------------------------------------------- */

/* Grids in the reference's order: those of one form together, forms as they first come up when tiles are counted down. */
struct grid {
    int rows, cols;
};

static int grids_of(int max_tiles, struct grid *out)
{
    int n = 0;
    for (int k = max_tiles; k > 0; k--)
        for (int rows = 1; rows <= k; rows++) {
            if (k % rows) continue;
            const struct grid g = { rows, k / rows };
            int at = n; /* behind the last of its form */
            for (int i = 0; i < n; i++)
                if (out[i].rows * g.cols == out[i].cols * g.rows) at = i + 1;
            memmove(out + at + 1, out + at, (size_t)(n - at) * sizeof *out);
            out[at] = g;
            n++;
        }
    return n;
}

/* The reference's scales are f32. */
static struct grid best_grid(const struct picture_rules *r, int width, int height)
{
    enum { MOST = PICTURE_MAX_TILES * 16 };
    struct grid g[MOST];
    float scale[MOST], chosen = 0;
    const int n = grids_of(r->max_tiles, g);
    bool grows = false;
    for (int i = 0; i < n; i++) {
        const float down = (float)(g[i].rows * r->tile) / (float)height,
                    across = (float)(g[i].cols * r->tile) / (float)width;
        scale[i] = down > across ? across : down;
        grows |= scale[i] >= 1;
    }
    bool any = false;
    for (int i = 0; i < n; i++) {
        if (grows && scale[i] < 1) continue;
        const bool better = grows && !r->fill_grid ? scale[i] < chosen : scale[i] > chosen;
        if (!any || better) chosen = scale[i];
        any = true;
    }
    int best = -1;
    for (int i = 0; i < n; i++)
        if (scale[i] == chosen && (best < 0 || g[i].rows * g[i].cols < g[best].rows * g[best].cols)) best = i;
    return g[best];
}

/* A side of the box that the picture is scaled into: never more than a tile's, unless the picture is larger itself. The reference has it as a
 * whole number where the picture decides and as a tensor where the grid does, and divides the one as double and the other as f32. */
struct side {
    int n;
    bool single;
};

static struct side box_side(const struct picture_rules *r, int given, int grid)
{
    const int wanted = given > r->tile ? given : r->tile;
    if (r->fill_grid || grid < wanted) return (struct side){ grid, true };
    return (struct side){ wanted, false };
}

static double over(struct side s, int given)
{
    return s.single ? (double)((float)s.n / (float)given) : (double)s.n / given;
}

static int scaled(int given, double scale, bool single, int most)
{
    const double x = single ? (double)floorf((float)given * (float)scale) : floor(given * scale);
    return x < 1 ? 1 : x > most ? most : (int)x;
}

struct picture_cut picture_cut(const struct picture_rules *r, int width, int height, bool whole)
{
    if (whole) return (struct picture_cut){ 0 };
    const struct grid g = best_grid(r, width, height);
    struct picture_cut c = { .rows = g.rows, .cols = g.cols };
    const struct side h = box_side(r, height, g.rows * r->tile), w = box_side(r, width, g.cols * r->tile);
    const double down = over(h, height), across = over(w, width);
    const bool less = h.single || w.single ? (float)across < (float)down : across < down;
    c.width = less ? w.n : scaled(width, down, h.single, w.n);
    c.height = less ? scaled(height, across, w.single, h.n) : h.n;
    return c;
}

int picture_cut_tiles(const struct picture_cut *c)
{
    const int n = c->rows * c->cols;
    return n > 1 ? n + 1 : 1;
}

/* ---- scaling --------------------------------------------------------------------------------------------------------- */

/* What each place of a scaled line is made of: n bytes from `from` on, each times its weight of `bits` bits behind the point. */
struct weights_of_line {
    int *from, *n;
    int16_t *w; /* [places, most] */
    int most, bits;
};

static void line_free(struct weights_of_line *l)
{
    free(l->from);
    free(l->n);
    free(l->w);
}

/* A triangle over the pixels that a place covers, as wide as the picture shrinks. Weights keep as many bits as the largest one leaves in 16. */
static bool line_weights(struct weights_of_line *l, int in, int out, struct err *e)
{
    const double scale = (double)in / out, wide = scale >= 1 ? scale : 1, inverse = 1 / wide;
    *l = (struct weights_of_line){ .most = 2 * (int)ceilf((float)wide) + 1 };
    size_t n;
    double *w = NULL;
    bool ok = mem_mul((size_t)out, (size_t)l->most, &n) && n < SIZE_MAX / sizeof *w;
    if (ok) {
        w = calloc(n, sizeof *w);
        l->w = calloc(n, sizeof *l->w);
        l->from = calloc((size_t)out, sizeof *l->from);
        l->n = calloc((size_t)out, sizeof *l->n);
        ok = w && l->w && l->from && l->n;
    }
    double largest = 0;
    for (int i = 0; ok && i < out; i++) {
        const double centre = scale * (i + 0.5);
        const double left = centre - wide + 0.5, right = centre + wide + 0.5;
        const int from = left > 0 ? (int)left : 0, to = right < in ? (int)right : in;
        double *at = w + (size_t)i * (size_t)l->most, sum = 0;
        l->from[i] = from;
        l->n[i] = to - from < l->most ? to - from : l->most;
        for (int j = 0; j < l->n[i]; j++) {
            const double x = fabs((j + from - centre + 0.5) * inverse);
            at[j] = x < 1 ? 1 - x : 0;
            sum += at[j];
        }
        for (int j = 0; j < l->n[i]; j++) {
            if (sum != 0) at[j] /= sum;
            if (at[j] > largest) largest = at[j];
        }
    }
    while (l->bits < 22 && (int)(0.5 + largest * (double)(1 << (l->bits + 1))) < 1 << 15) l->bits++;
    for (size_t i = 0; ok && i < n; i++) l->w[i] = (int16_t)(w[i] * (double)(1 << l->bits) + 0.5);
    free(w);
    if (ok) return true;
    line_free(l);
    return err_set(e, ERR_NOMEM, "no memory to scale a picture");
}

static unsigned char clipped(int sum, int bits)
{
    const int v = sum >> bits;
    return (unsigned char)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* [height, width, 3] to [out_height, out_width, 3]: lines first, then columns, bytes in between. */
static unsigned char *resize(const struct image_pixels *px, int out_width, int out_height, struct err *e)
{
    struct weights_of_line across, down;
    const size_t in_line = (size_t)px->width * 3, out_line = (size_t)out_width * 3;
    if (!line_weights(&across, px->width, out_width, e)) return NULL;
    if (!line_weights(&down, px->height, out_height, e)) {
        line_free(&across);
        return NULL;
    }
    unsigned char *middle = malloc((size_t)px->height * out_line),
                  *out = malloc((size_t)out_height * out_line);
    const bool ok = middle && out;
    for (int y = 0; ok && y < px->height; y++)
        for (int x = 0; x < out_width; x++) {
            const int16_t *w = across.w + (size_t)x * (size_t)across.most;
            const unsigned char *in = px->data + (size_t)y * in_line + (size_t)across.from[x] * 3;
            int sum[3] = { 1 << (across.bits - 1), 1 << (across.bits - 1), 1 << (across.bits - 1) };
            for (int j = 0; j < across.n[x]; j++, in += 3)
                for (int c = 0; c < 3; c++) sum[c] += w[j] * in[c];
            for (int c = 0; c < 3; c++)
                middle[(size_t)y * out_line + (size_t)(3 * x + c)] = clipped(sum[c], across.bits);
        }
    for (int y = 0; ok && y < out_height; y++) {
        const int16_t *w = down.w + (size_t)y * (size_t)down.most;
        for (size_t x = 0; x < out_line; x++) {
            const unsigned char *in = middle + (size_t)down.from[y] * out_line + x;
            int sum = 1 << (down.bits - 1);
            for (int j = 0; j < down.n[y]; j++, in += out_line) sum += w[j] * *in;
            out[(size_t)y * out_line + x] = clipped(sum, down.bits);
        }
    }
    line_free(&across);
    line_free(&down);
    free(middle);
    if (ok) return out;
    free(out);
    err_set(e, ERR_NOMEM, "no memory to scale a picture");
    return NULL;
}

/* ---- tiles ----------------------------------------------------------------------------------------------------------- */

/* The part of a scaled picture [height, width, 3] that begins at y, x, as far as it goes; the rest stays. */
static void take_tile(unsigned char *tile, int side, const unsigned char *px, int width, int height, int y,
                      int x)
{
    for (int c = 0; c < 3; c++)
        for (int row = 0; row < side && y + row < height; row++)
            for (int col = 0; col < side && x + col < width; col++)
                tile[((size_t)c * (size_t)side + (size_t)row) * (size_t)side + (size_t)col] =
                    px[((size_t)(y + row) * (size_t)width + (size_t)(x + col)) * 3 + (size_t)c];
}

bool picture_tiles(unsigned char **out, const struct picture_rules *r, const struct picture_cut *c,
                   const struct image_pixels *px, struct err *e)
{
    const int n = picture_cut_tiles(c), grid = c->rows * c->cols;
    const size_t bytes = 3 * (size_t)r->tile * (size_t)r->tile;
    unsigned char *tiles = calloc((size_t)n, bytes), *scaled_px = NULL;
    bool ok = tiles || err_set(e, ERR_NOMEM, "no memory for a picture of %d tiles", n);
    if (ok && grid) {
        scaled_px = resize(px, c->width, c->height, e);
        ok = scaled_px != NULL;
        for (int i = 0; ok && i < grid; i++)
            take_tile(tiles + (size_t)i * bytes, r->tile, scaled_px, c->width, c->height,
                      i / c->cols * r->tile, i % c->cols * r->tile);
        free(scaled_px);
    }
    if (ok && grid != 1) {
        scaled_px = resize(px, r->tile, r->tile, e);
        ok = scaled_px != NULL;
        if (ok) take_tile(tiles + (size_t)(n - 1) * bytes, r->tile, scaled_px, r->tile, r->tile, 0, 0);
        free(scaled_px);
    }
    if (ok)
        *out = tiles;
    else
        free(tiles);
    return ok;
}

/* To the nearest, ties to even. */
static float bf16(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000;
    memcpy(&x, &u, sizeof x);
    return x;
}

void picture_normalise(float *out, const unsigned char *tile, const struct picture_rules *r)
{
    const size_t n = (size_t)r->tile * (size_t)r->tile;
    for (size_t c = 0; c < 3; c++) {
        float value[256];
        for (int i = 0; i < 256; i++)
            value[i] = bf16(bf16(bf16((float)i * r->rescale) - bf16(r->mean[c])) / bf16(r->std[c]));
        for (size_t i = 0; i < n; i++) out[c * n + i] = value[tile[c * n + i]];
    }
}
