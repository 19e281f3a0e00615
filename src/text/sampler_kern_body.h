/* sampler_kern_body.h - the bodies of struct sampler_kern in vector extensions; each sampler_kern_*.c compiles them with
 * its own instruction set. It defines beforehand what vector extensions say badly:
 *   SAMPLER_WIDTH         the register width in floats: 4, 8 or 16. A group is always 16 floats, so the order of sums
 *                         does not depend on it.
 *   LANE_BITS(m)          one bit a lane of a comparison's result, lane 0 lowest
 *   EMIT(out, base, m)    writes base + lane for each set lane, ascending, to out[]; returns how many. It may write rubbish
 *                         up to out[SAMPLER_WIDTH - 1]. */
#ifndef HEARTH_TEXT_SAMPLER_KERN_BODY_H
#define HEARTH_TEXT_SAMPLER_KERN_BODY_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "text/sampler_kern.h"

#define GROUP 16
#define BLOCK 1024
#define PARTS (GROUP / SAMPLER_WIDTH)

typedef float vf __attribute__((vector_size(SAMPLER_WIDTH * 4)));
typedef int32_t vi __attribute__((vector_size(SAMPLER_WIDTH * 4)));

/* -ffp-contract: the compilers may fuse a*b+c only where we let them, and we do not. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

static inline vf load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store(float *p, vf v) { memcpy(p, &v, sizeof v); }
static inline vf splat(float x) { return x - (vf){ 0 }; }
static inline vf keep(vf x, vi mask) { return (vf)((vi)x & mask); }
static inline vf pick(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }

static inline double lane_sum(const vf a[PARTS])
{
    double r = 0;
    for (int p = 0; p < PARTS; p++)
        for (int i = 0; i < SAMPLER_WIDTH; i++) r += (double)a[p][i];
    return r;
}

/* exp(x) for x <= 0, relative error below 2e-7; 0 below -87 and for NaN. Cody-Waite reduction by ln 2, then the
 * Taylor polynomial of degree 6 on [-ln2/2, ln2/2] (its remainder there is 1.2e-7). */
static inline vf exp_neg(vf x)
{
    const vi live = x > splat(-87.0f);
    x = keep(x, live);
    const vf magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
    vf t = x * splat(1.44269504f) + magic;
    vi n = (vi)t - (vi)magic;
    vf nf = t - magic;
    vf r = x - nf * splat(0.693359375f);
    r = r + nf * splat(2.12194440e-4f);
    vf y = splat(1.0f / 720);
    y = y * r + splat(1.0f / 120);
    y = y * r + splat(1.0f / 24);
    y = y * r + splat(1.0f / 6);
    y = y * r + splat(0.5f);
    y = y * r + splat(1.0f);
    y = y * r + splat(1.0f);
    return keep((vf)((vi)y + (n << 23)), live);
}

/* EMIT for those without an instruction for it. */
static inline __attribute__((unused)) size_t emit_bits(int32_t *out, int32_t base, unsigned bits)
{
    size_t m = 0;
    for (; bits; bits &= bits - 1) out[m++] = base + __builtin_ctz(bits);
    return m;
}

static float kern_max(const float *x, size_t n)
{
    vf m[4][PARTS]; /* four chains hide the latency of max */
    for (int c = 0; c < 4; c++)
        for (int p = 0; p < PARTS; p++) m[c][p] = splat(-INFINITY);
    size_t i = 0;
    for (; i + 4 * GROUP <= n; i += 4 * GROUP) {
        for (int c = 0; c < 4; c++) {
            for (int p = 0; p < PARTS; p++) {
                vf v = load(x + i + c * GROUP + p * SAMPLER_WIDTH);
                m[c][p] = pick(v > m[c][p], v, m[c][p]);
            }
        }
    }
    float best = -INFINITY;
    for (int c = 0; c < 4; c++)
        for (int p = 0; p < PARTS; p++)
            for (int l = 0; l < SAMPLER_WIDTH; l++)
                if (m[c][p][l] > best) best = m[c][p][l];
    for (; i < n; i++)
        if (x[i] > best) best = x[i];
    return best;
}

static size_t kern_first_ge(const float *x, size_t from, size_t n, float t)
{
    const vf tv = splat(t);
    size_t i = from;
    for (; i + GROUP <= n; i += GROUP) {
        vi hit = { 0 };
        for (int p = 0; p < PARTS; p++) hit |= load(x + i + p * SAMPLER_WIDTH) >= tv;
        if (LANE_BITS(hit)) break;
    }
    while (i < n && !(x[i] >= t)) i++;
    return i;
}

static double kern_exp_sum(const float *x, size_t n, float max, float scale, float *w)
{
    const vf mv = splat(max), sv = splat(scale);
    double total = 0;
    size_t i = 0;
    while (i < n) {
        const size_t end = n - i > BLOCK ? i + BLOCK : n;
        vf acc[PARTS] = { 0 };
        for (; i + GROUP <= end; i += GROUP) {
            for (int p = 0; p < PARTS; p++) {
                vf v = exp_neg((load(x + i + p * SAMPLER_WIDTH) - mv) * sv);
                acc[p] += v;
                if (w) store(w + i + p * SAMPLER_WIDTH, v);
            }
        }
        if (i < end) {
            float part[GROUP];
            for (size_t k = 0; k < GROUP; k++) part[k] = i + k < end ? x[i + k] : -INFINITY;
            for (int p = 0; p < PARTS; p++) {
                vf v = exp_neg((load(part + p * SAMPLER_WIDTH) - mv) * sv);
                acc[p] += v;
                store(part + p * SAMPLER_WIDTH, v);
            }
            if (w) memcpy(w + i, part, (end - i) * sizeof *w);
            i = end;
        }
        total += lane_sum(acc);
    }
    return total;
}

static void kern_cut(const float *key, const float *w, size_t n, const float t[SAMPLER_CUTS],
                     double mass[SAMPLER_CUTS], size_t count[SAMPLER_CUTS])
{
    vf tv[SAMPLER_CUTS];
    for (int c = 0; c < SAMPLER_CUTS; c++) {
        tv[c] = splat(t[c]);
        mass[c] = 0;
        count[c] = 0;
    }
    size_t i = 0;
    while (i < n) {
        const size_t end = n - i > BLOCK ? i + BLOCK : n;
        vf acc[SAMPLER_CUTS][PARTS] = { 0 };
        vi cnt[SAMPLER_CUTS] = { 0 };
        for (; i < end; i += GROUP) {
            float kpart[GROUP], wpart[GROUP];
            const float *kp = key + i, *wp = w ? w + i : kp;
            if (end - i < GROUP) {
                for (size_t k = 0; k < GROUP; k++) {
                    kpart[k] = i + k < end ? kp[k] : NAN;
                    wpart[k] = i + k < end ? wp[k] : 0;
                }
                kp = kpart;
                wp = wpart;
            }
            for (int p = 0; p < PARTS; p++) {
                vf kv = load(kp + p * SAMPLER_WIDTH), wv = load(wp + p * SAMPLER_WIDTH);
                for (int c = 0; c < SAMPLER_CUTS; c++) {
                    vi in = kv >= tv[c];
                    acc[c][p] += keep(wv, in);
                    cnt[c] -= in;
                }
            }
        }
        for (int c = 0; c < SAMPLER_CUTS; c++) {
            for (int l = 0; l < SAMPLER_WIDTH; l++) count[c] += (size_t)cnt[c][l];
            if (w) mass[c] += lane_sum(acc[c]);
        }
        i = end;
    }
    for (int c = 0; c < SAMPLER_CUTS && !w; c++) mass[c] = (double)count[c];
}

static size_t kern_gather(const float *x, size_t n, float lo, float hi, int32_t *idx)
{
    const vf lov = splat(lo), hiv = splat(hi);
    size_t out = 0, i = 0;
    for (; i + GROUP <= n; i += GROUP) {
        vi hit[PARTS], any_hit = { 0 };
        for (int p = 0; p < PARTS; p++) {
            vf v = load(x + i + p * SAMPLER_WIDTH);
            hit[p] = (v >= lov) & (v < hiv);
            any_hit |= hit[p];
        }
        if (!LANE_BITS(any_hit)) continue;
        /* out <= i + p * SAMPLER_WIDTH, so even the rubbish stays inside idx[n] */
        for (int p = 0; p < PARTS; p++) out += EMIT(idx + out, (int32_t)i + p * SAMPLER_WIDTH, hit[p]);
    }
    for (; i < n; i++)
        if (x[i] >= lo && x[i] < hi) idx[out++] = (int32_t)i;
    return out;
}

static void kern_zero_below(const float *key, float *w, size_t n, float t)
{
    const vf tv = splat(t);
    size_t i = 0;
    for (; i + SAMPLER_WIDTH <= n; i += SAMPLER_WIDTH) store(w + i, keep(load(w + i), load(key + i) >= tv));
    for (; i < n; i++)
        if (!(key[i] >= t)) w[i] = 0;
}

static double block_sum(const float *w, size_t n)
{
    vf acc[PARTS] = { 0 };
    size_t i = 0;
    for (; i + GROUP <= n; i += GROUP)
        for (int p = 0; p < PARTS; p++) acc[p] += load(w + i + p * SAMPLER_WIDTH);
    double r = lane_sum(acc);
    for (; i < n; i++) r += (double)w[i];
    return r;
}

static double kern_sum(const float *w, size_t n)
{
    double r = 0;
    for (size_t i = 0; i < n; i += BLOCK) r += block_sum(w + i, n - i < BLOCK ? n - i : BLOCK);
    return r;
}

static size_t kern_draw(const float *w, size_t n, double target)
{
    double before = 0, start = 0; /* sums of the blocks before the current one, and before `block` */
    size_t block = 0;             /* where target falls, or else the last block with any weight */
    for (size_t i = 0; i < n; i += BLOCK) {
        const double s = block_sum(w + i, n - i < BLOCK ? n - i : BLOCK);
        if (s > 0) {
            block = i;
            start = before;
        }
        before += s;
        if (before > target) break;
    }
    const size_t end = n - block < BLOCK ? n : block + BLOCK;
    size_t best = block;
    for (size_t i = block; i < end; i++) {
        if (!(w[i] > 0)) continue;
        best = i;
        start += (double)w[i];
        if (start > target) break;
    }
    return best;
}

#define SAMPLER_KERN_TABLE                                                                                   \
    {                                                                                                        \
        .max = kern_max, .first_ge = kern_first_ge, .exp_sum = kern_exp_sum, .cut = kern_cut,                \
        .gather = kern_gather, .zero_below = kern_zero_below, .sum = kern_sum, .draw = kern_draw,            \
    }

#endif
