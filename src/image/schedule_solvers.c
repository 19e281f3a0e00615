/* schedule_solvers.c - the steps of the less common solvers. Each follows diffusers' scheduler of its name. */
#include <math.h>
#include <string.h>

#include "image/schedule_internal.h"

/* The clean estimate of this step as direction of the probability flow: (x - x0) / sigma. */
static void derivative(const struct schedule *s, int i, const dev_float *x, const dev_float *output,
                       dev_float *d)
{
    double p, q;
    schedule_clean(s, i, &p, &q);
    SCHEDULE_MIX(s, d, { (1 - p) / s->sigma[i], x }, { -q / s->sigma[i], output });
}

/* Heun's method: an Euler step, then the step again with the mean of the directions at its two ends. Odd evaluations are the
 * second ones. before[0]: the first direction, before[1]: the latent it began from. */
void schedule_heun(struct schedule *s, int i, dev_float *x, const dev_float *output)
{
    dev_float *first = s->before[0], *from = s->before[1];
    double p, q;
    schedule_clean(s, i, &p, &q);
    const bool second = i % 2;
    const double sigma = s->sigma[i], dt = second ? sigma - s->sigma[i - 1] : s->sigma[i + 1] - sigma;
    double on_x = (1 - p) / sigma, on_other = -q / sigma; /* of the direction (x - x0) / sigma */
    const dev_float *other = output;
    if (s->c.clip) {
        SCHEDULE_MIX(s, s->spare, { p, x }, { q, output });
        op_clamp(s->dev, s->spare, s->spare, (float)s->c.clip_range, 1, (int64_t)s->values);
        on_x = 1 / sigma;
        on_other = -1 / sigma;
        other = s->spare;
    }
    if (second) {
        SCHEDULE_MIX(s, x, { 1, from }, { dt / 2, first }, { on_x * dt / 2, x },
                     { on_other * dt / 2, other });
        return;
    }
    device_copy(s->dev, from, x, s->values);
    SCHEDULE_MIX(s, first, { on_x, x }, { on_other, other });
    SCHEDULE_MIX(s, x, { 1 + on_x * dt, x }, { on_other * dt, other });
}

/* a [n, n] z = b in place, n <= 3: Gauss with pivots. */
static void solve(double a[3][3], double b[3], int n)
{
    for (int i = 0; i < n; i++) {
        int best = i;
        for (int r = i + 1; r < n; r++)
            if (fabs(a[r][i]) > fabs(a[best][i])) best = r;
        for (int c = 0; c < n; c++) {
            double t = a[i][c];
            a[i][c] = a[best][c];
            a[best][c] = t;
        }
        double t = b[i];
        b[i] = b[best];
        b[best] = t;
        for (int r = i + 1; r < n; r++) {
            double f = a[r][i] / a[i][i];
            for (int c = i; c < n; c++) a[r][c] -= f * a[i][c];
            b[r] -= f * b[i];
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int c = i + 1; c < n; c++) b[i] -= a[i][c] * b[c];
        b[i] /= a[i][i];
    }
}

/* UniPC ("UniPC: A Unified Predictor-Corrector Framework", B(h) as published), over the data estimate. What predicts step `to` from
 * `from` and what corrects it differ in the weights only. m: the estimates, newest first; fresh: the estimate at `to`, NULL for the
 * predictor. */
static void unipc_update(const struct schedule *s, int from, int to, int order, const dev_float *x,
                         dev_float *const *m, const dev_float *fresh, dev_float *out)
{
    double a0, sd0, a, sd, here = schedule_lambda(s, from), h = schedule_lambda(s, to) - here;
    schedule_mixture(s, s->sigma[from], &a0, &sd0);
    schedule_mixture(s, s->sigma[to], &a, &sd);
    double hh = -h, phi1 = expm1(hh), phi = phi1 / hh - 1, factorial = 1, big = s->c.bh1 ? hh : phi1;
    double r[3] = { 1, 1, 1 }, matrix[3][3], rho[3] = { 0.5, 0.5, 0.5 };
    for (int i = 1; i < order; i++) r[i - 1] = (schedule_lambda(s, from - i) - here) / h;
    r[order - 1] = 1;
    double b[3];
    for (int i = 1; i <= order; i++) {
        for (int k = 0; k < order; k++) matrix[i - 1][k] = pow(r[k], i - 1);
        b[i - 1] = phi * factorial / big;
        factorial *= i + 1;
        phi = phi / hh - 1 / factorial;
    }
    int n =
        fresh
            ? order
            : order -
                  1; /* weights; the predictor of order 2 has 1/2 for its one, the corrector of order 1 too */
    if (n > 1) {
        memcpy(rho, b, sizeof rho);
        solve(matrix, rho, n);
    }
    /* sd / sd0 x - a phi1 m0 - a big (sum over i of rho_i / r_i (m_i - m0), and of rho (fresh - m0)) */
    struct lincomb_term term[6] = { { sd / sd0, x }, { -a * phi1, m[0] } };
    int n_terms = 2;
    for (int i = 1; i < order + (fresh != NULL); i++) {
        const double by = a * big * rho[i - 1] / (i < order ? r[i - 1] : 1);
        term[1].by += by;
        term[n_terms++] = (struct lincomb_term){ -by, i < order ? m[i] : fresh };
    }
    schedule_mix(s, out, term, n_terms);
}

/* before[0 .. order]: estimates, of which the oldest is being replaced; before[order + 1]: the latent before the last step. */
void schedule_unipc(struct schedule *s, int i, dev_float *x, const dev_float *output)
{
    const struct schedule_config *c = &s->c;
    dev_float *last = s->before[c->order + 1], *const *old = s->before, *fresh = s->before[c->order];
    double p, q;
    schedule_clean(s, i, &p, &q);
    SCHEDULE_MIX(s, fresh, { p, x }, { q, output });
    schedule_limit(s, fresh);
    if (s->n_before > 0 && !(i <= 64 && c->uncorrected >> (i - 1) & 1))
        unipc_update(s, i - 1, i, s->order, last, old, fresh, x);
    schedule_turn(s, c->order + 1);
    int order = c->order;
    if (c->lower_order_final && s->n_steps - i < order) order = s->n_steps - i;
    if (order > s->n_before + 1) order = s->n_before + 1;
    if (s->sigma[i + 1] == 0) order = 1;
    device_copy(s->dev, last, x, s->values);
    if (s->sigma[i + 1] > 0) {
        unipc_update(s, i, i + 1, order, last, s->before, NULL, x);
    } else { /* h is infinite, the step ends at the estimate */
        device_copy(s->dev, x, s->before[0], s->values);
    }
    s->order = order;
    if (s->n_before < c->order) s->n_before++;
}

/* The integral of DEIS's Lagrange polynomials in ln rho, up to rho = t ("Fast Sampling of Diffusion Models with Exponential
 * Integrator"). */
static double deis2(double t, double b, double c) { return t * (-log(c) + log(t) - 1) / (log(b) - log(c)); }

static double deis3(double t, double b, double c, double d)
{
    double up =
        t * (log(c) * (log(d) - log(t) + 1) - log(d) * log(t) + log(d) + log(t) * log(t) - 2 * log(t) + 2);
    return up / ((log(b) - log(c)) * (log(b) - log(d)));
}

void schedule_deis(struct schedule *s, int i, dev_float *x, const dev_float *output)
{
    const struct schedule_config *c = &s->c;
    int n = s->n_steps, order = c->order < s->n_before + 1 ? c->order : s->n_before + 1;
    bool few = c->lower_order_final && n < 15;
    if (order > 2 && i == n - 2 && few) order = 2;
    if (i == n - 1 && few) order = 1;
    double p, q, a0, sd0, a, sd;
    schedule_mixture(s, s->sigma[i], &a0, &sd0);
    schedule_mixture(s, s->sigma[i + 1], &a, &sd);
    dev_float *eps = schedule_turn(s, c->order);
    schedule_clean(s, i, &p, &q);
    SCHEDULE_MIX(s, eps, { p, x }, { q, output });
    schedule_limit(s, eps);
    SCHEDULE_MIX(s, eps, { 1 / sd0, x }, { -a0 / sd0, eps });

    double w[3] = { 0 }, t = s->sigma[i + 1], r0 = s->sigma[i];
    if (order == 1) {
        w[0] = -sd * expm1(schedule_lambda(s, i + 1) - schedule_lambda(s, i)) / a;
    } else if (order == 2) {
        double r1 = s->sigma[i - 1];
        w[0] = deis2(t, r0, r1) - deis2(r0, r0, r1);
        w[1] = deis2(t, r1, r0) - deis2(r0, r1, r0);
    } else {
        double r1 = s->sigma[i - 1], r2 = s->sigma[i - 2];
        w[0] = deis3(t, r0, r1, r2) - deis3(r0, r0, r1, r2);
        w[1] = deis3(t, r1, r2, r0) - deis3(r0, r1, r2, r0);
        w[2] = deis3(t, r2, r0, r1) - deis3(r0, r2, r0, r1);
    }
    struct lincomb_term term[4] = { { a / a0, x } };
    for (int j = 0; j < order; j++) term[j + 1] = (struct lincomb_term){ a * w[j], s->before[j] };
    schedule_mix(s, x, term, order + 1);
    if (s->n_before < c->order) s->n_before++;
}

/* Weight of the j-th newest direction: the integral of its Lagrange polynomial over the step, by three points, exact to degree 5. */
static double lms_weight(const struct schedule *s, int i, int order, int j)
{
    static const double at[] = { -0.7745966692414834, 0, 0.7745966692414834 },
                        weight[] = { 5.0 / 9, 8.0 / 9, 5.0 / 9 };
    double lo = s->sigma[i], hi = s->sigma[i + 1], sum = 0;
    for (int g = 0; g < 3; g++) {
        double tau = (lo + hi) / 2 + at[g] * (hi - lo) / 2, product = 1;
        for (int k = 0; k < order; k++)
            if (k != j) product *= (tau - s->sigma[i - k]) / (s->sigma[i - j] - s->sigma[i - k]);
        sum += weight[g] * product;
    }
    return sum * (hi - lo) / 2;
}

void schedule_lms(struct schedule *s, int i, dev_float *x, const dev_float *output)
{
    derivative(s, i, x, output, schedule_turn(s, 4));
    if (s->n_before < 4) s->n_before++;
    int order = i + 1 < 4 ? i + 1 : 4;
    struct lincomb_term term[5] = { { 1, x } };
    int n = 1;
    for (int j = 0; j < order && j < s->n_before; j++)
        term[n++] = (struct lincomb_term){ lms_weight(s, i, order, j), s->before[j] };
    schedule_mix(s, x, term, n);
}

/* output = the clean estimate at table entry t. */
static void estimate(const struct schedule *s, int t, const dev_float *x, dev_float *output)
{
    double abar = s->abar[t], alpha = sqrt(abar), sd = sqrt(1 - abar);
    if (s->c.prediction == PREDICTS_EPSILON)
        SCHEDULE_MIX(s, output, { 1 / alpha, x }, { -sd / alpha, output });
    if (s->c.prediction == PREDICTS_V) SCHEDULE_MIX(s, output, { alpha, x }, { -sd, output });
}

/* "Denoising Diffusion Probabilistic Models", formula 7, with the step's noise. */
void schedule_ddpm(struct schedule *s, int i, dev_float *x, dev_float *output, const dev_float *noise)
{
    int t = (int)s->time[i];
    double abar = s->abar[t], next = i + 1 < s->n_steps ? s->abar[(int)s->time[i + 1]] : 1,
           kept = abar / next, beta = 1 - kept;
    double variance = s->c.large_variance ? beta : fmax((1 - next) / (1 - abar) * beta, 1e-20);
    double on_x0 = sqrt(next) * beta / (1 - abar), on_x = sqrt(kept) * (1 - next) / (1 - abar),
           on_noise = t > 0 ? sqrt(variance) : 0;
    estimate(s, t, x, output);
    schedule_limit(s, output);
    SCHEDULE_MIX(s, x, { on_x0, output }, { on_x, x }, { on_noise, noise });
}

/* Multistep sampling of a consistency model ("Latent Consistency Models"): to the estimate and back to the next level. */
void schedule_lcm(struct schedule *s, int i, dev_float *x, dev_float *output, const dev_float *noise)
{
    int t = (int)s->time[i];
    bool last = i + 1 == s->n_steps;
    double scaled = t * s->c.time_scale, data = 0.25, skip = data / (scaled * scaled + data),
           out = scaled / sqrt(scaled * scaled + data);
    double next = last ? 1 : s->abar[(int)s->time[i + 1]], keep = sqrt(next), add = sqrt(1 - next);
    estimate(s, t, x, output);
    schedule_limit(s, output);
    SCHEDULE_MIX(s, x, { keep * out, output }, { keep * skip, x }, { add, noise });
}

/* Trajectory consistency without fresh noise, as the pipelines call it ("Trajectory Consistency Distillation"). */
void schedule_tcd(struct schedule *s, int i, dev_float *x, const dev_float *output)
{
    int t = (int)s->time[i], to = i + 1 < s->n_steps ? (int)s->time[i + 1] : 0;
    double alpha = sqrt(s->abar[t]), sd = sqrt(1 - s->abar[t]), keep = sqrt(s->abar[to]),
           add = sqrt(1 - s->abar[to]);
    /* x0 and the noise as the output gives them, then x = keep x0 + add noise. */
    switch (s->c.prediction) {
    case PREDICTS_EPSILON:
        SCHEDULE_MIX(s, x, { keep / alpha, x }, { add - keep * sd / alpha, output });
        break;
    case PREDICTS_SAMPLE: SCHEDULE_MIX(s, x, { add / sd, x }, { keep - add * alpha / sd, output }); break;
    case PREDICTS_V:
        SCHEDULE_MIX(s, x, { keep * alpha + add * sd, x }, { add * alpha - keep * sd, output });
        break;
    default: SCHEDULE_MIX(s, x, { keep + add, output });
    }
}

/* "Pseudo Numerical Methods for Diffusion Models on Manifolds", the linear multistep form: before[0..3] outputs, newest first;
 * before[4]: where the first step began, which its second evaluation repeats. */
void schedule_pndm(struct schedule *s, int i, dev_float *x, const dev_float *output)
{
    const struct schedule_config *c = &s->c;
    int stride = c->n_train / s->asked, t = (int)s->time[i], prev = t - stride, last = c->n_train - 1;
    dev_float *began = s->before[4];
    bool again = s->count == 1;
    if (again) {
        prev = t;
        t = t + stride < last ? t + stride : last;
    } else {
        dev_float *newest = schedule_turn(s, 4);
        device_copy(s->dev, newest, output, s->values);
        if (s->n_before < 4) s->n_before++;
    }
    if (s->count == 0) device_copy(s->dev, began, x, s->values);
    if (again) device_copy(s->dev, x, began, s->values);
    static const double weights[5][4] = {
        { 0 },
        { 1 },
        { 1.5, -0.5 },
        { 23.0 / 12, -16.0 / 12, 5.0 / 12 },
        { 55.0 / 24, -59.0 / 24, 37.0 / 24, -9.0 / 24 },
    };
    double abar = s->abar[t], next = prev >= 0 ? s->abar[prev] : c->alpha_to_one ? 1 : s->abar[0];
    double keep = sqrt(next / abar),
           move = (next - abar) / (abar * sqrt(1 - next) + sqrt(abar * (1 - abar) * next));
    const bool v = c->prediction == PREDICTS_V;
    const double on_o = -move * (v ? sqrt(abar) : 1);
    struct lincomb_term term[5] = { { keep - (v ? move * sqrt(1 - abar) : 0), x } };
    int n = 1;
    if (again) {
        term[n++] = (struct lincomb_term){ on_o / 2, output };
        term[n++] = (struct lincomb_term){ on_o / 2, s->before[0] };
    } else {
        for (int j = 0; j < s->n_before; j++)
            term[n++] = (struct lincomb_term){ on_o * weights[s->n_before][j], s->before[j] };
    }
    schedule_mix(s, x, term, n);
    s->count++;
}
