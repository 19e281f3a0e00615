#include "image/noise.h"

#include <math.h>

void noise_seed(struct noise *g, uint64_t seed)
{
    g->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < 624; i++) {
        g->state[i] = 1812433253u * (g->state[i - 1] ^ (g->state[i - 1] >> 30)) + i;
    }
    g->at = 624;
    g->have_spare = false;
}

static uint32_t next32(struct noise *g)
{
    if (g->at == 624) {
        for (int i = 0; i < 624; i++) {
            uint32_t y = (g->state[i] & 0x80000000u) | (g->state[(i + 1) % 624] & 0x7fffffffu);
            g->state[i] = g->state[(i + 397) % 624] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
        }
        g->at = 0;
    }
    uint32_t y = g->state[g->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

static float uniform24(struct noise *g) { return (float)(next32(g) & 0xffffff) * 0x1p-24f; }

static double uniform53(struct noise *g)
{
    uint64_t hi = next32(g), lo = next32(g);
    return (double)(((hi << 32) | lo) & ((UINT64_C(1) << 53) - 1)) * 0x1p-53;
}

/* Box-Muller in place over sixteen uniforms: the first eight are radii, the others angles. */
static void block16(float *v)
{
    for (int j = 0; j < 8; j++) {
        float u1 = 1 - v[j], u2 = v[j + 8];
        float radius = sqrtf(-2 * logf(u1)), theta = 2.0f * (float)M_PI * u2;
        v[j] = radius * cosf(theta);
        v[j + 8] = radius * sinf(theta);
    }
}

void noise_fill(struct noise *g, float *out, size_t n)
{
    if (n >= 16) {
        for (size_t i = 0; i < n; i++) out[i] = uniform24(g);
        for (size_t i = 0; i + 16 <= n; i += 16) block16(out + i);
        if (n % 16 != 0) {
            for (size_t i = n - 16; i < n; i++) out[i] = uniform24(g);
            block16(out + n - 16);
        }
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (g->have_spare) {
            g->have_spare = false;
            out[i] = (float)g->spare;
            continue;
        }
        double u1 = uniform53(g), u2 = uniform53(g);
        double radius = sqrt(-2 * log1p(-u2)), theta = 2 * M_PI * u1;
        g->spare = radius * sin(theta);
        g->have_spare = true;
        out[i] = (float)(radius * cos(theta));
    }
}
