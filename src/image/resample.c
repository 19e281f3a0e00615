#include "image/resample.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { BITS = 22, LOBES = 3 };

/* The source values that one output value is made of. */
struct taps {
    int first, n;
};

struct direction {
    struct taps *taps; /* [out] */
    int32_t *weight;   /* [out, most] */
    int most;
};

static double lanczos(double x)
{
    if (x == 0) return 1;
    if (fabs(x) >= LOBES) return 0;
    double a = x * M_PI, b = a / LOBES;
    return sin(a) / a * (sin(b) / b);
}

static void direction_free(struct direction *d)
{
    free(d->taps);
    free(d->weight);
}

static bool direction_make(struct direction *d, int in, int out, struct err *e)
{
    double scale = (double)in / out, wide = scale > 1 ? scale : 1, support = LOBES * wide;
    size_t cells, bytes;
    d->most = (int)ceil(support) * 2 + 1;
    bool fits = mem_mul((size_t)out, (size_t)d->most, &cells) && mem_mul(cells, sizeof *d->weight, &bytes);
    d->taps = calloc((size_t)out, sizeof *d->taps);
    d->weight = fits ? calloc(cells, sizeof *d->weight) : NULL;
    double *exact = malloc((size_t)d->most * sizeof *exact);
    bool ok = d->taps && d->weight && exact;
    if (!ok) err_set(e, ERR_NOMEM, "no memory to scale a picture from %d to %d", in, out);
    for (int i = 0; ok && i < out; i++) {
        double centre = (i + 0.5) * scale, sum = 0;
        double low = centre - support + 0.5, high = centre + support + 0.5;
        int first = low > 0 ? (int)low : 0, end = high < in ? (int)high : in;
        for (int k = first; k < end; k++) sum += exact[k - first] = lanczos((k - centre + 0.5) / wide);
        for (int k = 0; k < end - first; k++) {
            double w = sum != 0 ? exact[k] / sum : exact[k];
            d->weight[(size_t)i * (size_t)d->most + (size_t)k] =
                (int32_t)(w * (1 << BITS) + (w < 0 ? -0.5 : 0.5));
        }
        d->taps[i] = (struct taps){ first, end - first };
    }
    free(exact);
    return ok;
}

/* dst [n, out, channels] from src, whose lines are `line` bytes apart and whose values along the direction are `step` bytes apart;
 * one line gives `out` values of `channels` bytes, `to` bytes apart. */
static void run(const struct direction *d, unsigned char *dst, int64_t dst_line, int64_t to,
                const unsigned char *src, int64_t src_line, int64_t step, int lines, int out, int channels)
{
    for (int y = 0; y < lines; y++) {
        for (int i = 0; i < out; i++) {
            const int32_t *w = d->weight + (size_t)i * (size_t)d->most;
            const unsigned char *from = src + y * src_line + d->taps[i].first * step;
            for (int c = 0; c < channels; c++) {
                int64_t sum = 1 << (BITS - 1);
                for (int k = 0; k < d->taps[i].n; k++) sum += (int64_t)w[k] * from[k * step + c];
                sum >>= BITS;
                dst[y * dst_line + i * to + c] = (unsigned char)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
            }
        }
    }
}

bool resample_lanczos(unsigned char *dst, int w2, int h2, const unsigned char *src, int w, int h,
                      int channels, struct err *e)
{
    struct direction x = { 0 }, y = { 0 };
    size_t cells, bytes;
    bool fits = mem_mul((size_t)w2, (size_t)h, &cells) && mem_mul(cells, (size_t)channels, &bytes);
    unsigned char *middle = w2 != w && h2 != h && fits ? malloc(bytes) : NULL;
    bool ok = fits && (middle || w2 == w || h2 == h);
    if (!ok) err_set(e, ERR_NOMEM, "no memory to scale a picture from %dx%d to %dx%d", w, h, w2, h2);
    ok = ok && (w2 == w || direction_make(&x, w, w2, e)) && (h2 == h || direction_make(&y, h, h2, e));
    const unsigned char *now = src;
    if (ok && w2 != w) {
        unsigned char *to = middle ? middle : dst;
        run(&x, to, (int64_t)w2 * channels, channels, now, (int64_t)w * channels, channels, h, w2, channels);
        now = to;
    }
    if (ok && h2 != h) { /* a line is a column: its values are a row apart */
        run(&y, dst, channels, (int64_t)w2 * channels, now, channels, (int64_t)w2 * channels, w2, h2,
            channels);
    } else if (ok && now == src) {
        memcpy(dst, src, (size_t)w * (size_t)h * (size_t)channels);
    }
    direction_free(&x);
    direction_free(&y);
    free(middle);
    return ok;
}
