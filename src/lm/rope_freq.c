#include "lm/rope_freq.h"

#include <math.h>

static const double two_pi = 6.283185307179586476925;

double rope_yarn_mscale(double factor) { return factor > 1 ? 0.1 * log(factor) + 1 : 1; }

double rope_long_mscale(double factor, double n_ctx_orig)
{
    return factor > 1 ? sqrt(1 + log(factor) / log(n_ctx_orig)) : 1;
}

static double llama3(double f, const struct rope_spec *r)
{
    double wavelength = two_pi / f;
    if (wavelength < r->n_ctx_orig / r->high) return f;
    if (wavelength > r->n_ctx_orig / r->low) return f / r->factor;
    double s = (r->n_ctx_orig / wavelength - r->low) / (r->high - r->low);
    return (1 - s) * f / r->factor + s * f;
}

/* The index whose frequency turns `rotations` times over the original context. */
static double yarn_index(const struct rope_spec *r, double rotations)
{
    return r->n_rot * log(r->n_ctx_orig / (rotations * two_pi)) / (2 * log(r->theta));
}

/* The base that a context of n_ctx tokens takes. */
static double base(const struct rope_spec *r, int n_ctx)
{
    if (r->scaling != ROPE_SCALING_DYNAMIC || n_ctx <= r->n_ctx_orig || r->n_rot <= 2) return r->theta;
    const double n_rot = r->n_rot;
    return r->theta * pow(r->factor * n_ctx / r->n_ctx_orig - (r->factor - 1), n_rot / (n_rot - 2));
}

void rope_freq(float *freq, const struct rope_spec *r, const float *divisor, int n_ctx)
{
    const double theta = base(r, n_ctx);
    double lo = 0, hi = 0;
    if (r->scaling == ROPE_SCALING_LONG) divisor = n_ctx > r->n_ctx_orig ? r->far : r->near;
    if (r->scaling == ROPE_SCALING_YARN) {
        lo = yarn_index(r, r->beta_fast);
        hi = yarn_index(r, r->beta_slow);
        if (!r->yarn_exact) lo = floor(lo), hi = ceil(hi);
        lo = fmax(lo, 0);
        hi = fmin(hi, r->n_rot - 1);
        if (lo == hi) hi += 0.001;
    }
    for (int i = 0; i < r->n_rot / 2; i++) {
        double f = pow(theta, -2.0 * i / r->n_rot);
        if (divisor) {
            f /= divisor[i];
        } else if (r->scaling == ROPE_SCALING_LINEAR) {
            f /= r->factor;
        } else if (r->scaling == ROPE_SCALING_LLAMA3) {
            f = llama3(f, r);
        } else if (r->scaling == ROPE_SCALING_YARN) {
            double ramp = fmin(fmax((i - lo) / (hi - lo), 0), 1);
            f = f / r->factor * ramp + f * (1 - ramp);
        }
        freq[i] = (float)f;
    }
}
