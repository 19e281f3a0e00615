#include "image/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "image/schedule_internal.h"

static const char *const names[] = {
    [SAMPLER_FLOW_EULER] = "flow_euler",
    [SAMPLER_EULER] = "euler",
    [SAMPLER_EULER_A] = "euler_a",
    [SAMPLER_DPMPP_2M] = "dpmpp_2m",
    [SAMPLER_DPMPP_2M_KARRAS] = "dpmpp_2m_karras",
    [SAMPLER_DDIM] = "ddim",
    [SAMPLER_EDM_DPMPP_2M] = "edm_dpmpp_2m",
    [SAMPLER_EDM_EULER] = "edm_euler",
    [SAMPLER_HEUN] = "heun",
    [SAMPLER_UNIPC] = "unipc",
    [SAMPLER_DEIS] = "deis",
    [SAMPLER_LMS] = "lms",
    [SAMPLER_DDPM] = "ddpm",
    [SAMPLER_LCM] = "lcm",
    [SAMPLER_TCD] = "tcd",
    [SAMPLER_PNDM] = "pndm",
};

int sampler_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) return (int)i;
    }
    return -1;
}

const char *sampler_name(enum sampler s) { return names[s]; }

static bool is_edm(enum sampler s) { return s == SAMPLER_EDM_DPMPP_2M || s == SAMPLER_EDM_EULER; }

static bool is_dpm(enum sampler s)
{
    return s == SAMPLER_DPMPP_2M || s == SAMPLER_DPMPP_2M_KARRAS || s == SAMPLER_EDM_DPMPP_2M;
}

int schedule_most_steps(const struct schedule_config *c)
{
    bool distilled = c->sampler == SAMPLER_LCM || c->sampler == SAMPLER_TCD;
    return distilled && c->trained_steps < c->n_train ? c->trained_steps : c->n_train;
}

/* Latents that a sampler remembers. */
static int history(const struct schedule_config *c)
{
    switch (c->sampler) {
    case SAMPLER_DPMPP_2M:
    case SAMPLER_DPMPP_2M_KARRAS:
    case SAMPLER_EDM_DPMPP_2M:
    case SAMPLER_DEIS: return c->order;
    case SAMPLER_UNIPC:
        return c->order + 2; /* estimates, the newest among them; the latent before the last step */
    case SAMPLER_HEUN: return 2;
    case SAMPLER_LMS: return 4;
    case SAMPLER_PNDM: return 5;
    default: return 0;
    }
}

bool schedule_new(struct schedule **out, struct device *d, const struct schedule_config *c,
                  enum sampler sampler, int n_steps, int n_tokens, size_t values, struct err *e)
{
    const struct schedule_config own = schedule_config_under(c, sampler);
    int most = schedule_most_steps(&own);
    if (n_steps < 1 || n_steps > most)
        return err_set(e, ERR_REQUEST, "steps must be between 1 and %d, got %d", most, n_steps);
    struct schedule *s = calloc(1, sizeof *s);
    bool ok = s != NULL;
    if (ok) {
        *s = (struct schedule){ .dev = d, .c = own, .asked = n_steps, .n_steps = n_steps, .values = values };
        size_t n = values ? values : 1;
        s->sigma = calloc(2 * (size_t)n_steps + 3, sizeof *s->sigma);
        s->time = calloc(2 * (size_t)n_steps + 2, sizeof *s->time);
        s->abar = calloc((size_t)c->n_train, sizeof *s->abar);
        ok = s->sigma && s->time && s->abar;
        for (int i = 0; ok && i < history(&s->c); i++) {
            s->before[i] = device_floats(d, n, e);
            ok = s->before[i] != NULL;
            if (ok) op_fill(d, s->before[i], 0, (int64_t)n);
        }
        if (ok) ok = (s->spare = device_floats(d, n, e)) != NULL;
        if (ok && s->c.threshold) ok = (s->sorted = calloc(n, sizeof *s->sorted)) != NULL;
    }
    if (!ok) {
        schedule_free(s);
        return err_set(e, ERR_NOMEM, "no memory for a schedule of %d steps", n_steps);
    }
    schedule_fill(s, n_tokens);
    *out = s;
    return true;
}

void schedule_free(struct schedule *s)
{
    if (!s) return;
    free(s->sigma);
    free(s->time);
    free(s->abar);
    for (int i = 0; i < SCHEDULE_HISTORY; i++) device_free(s->dev, s->before[i]);
    device_free(s->dev, s->spare);
    free(s->sorted);
    free(s);
}

int schedule_steps(const struct schedule *s) { return s->n_steps; }

double schedule_sigma(const struct schedule *s, int i) { return s->sigma[i]; }

double schedule_time(const struct schedule *s, int i) { return s->time[i]; }

static bool in_ve_space(const struct schedule *s)
{
    enum sampler k = s->c.sampler;
    return k == SAMPLER_EULER || k == SAMPLER_EULER_A || k == SAMPLER_HEUN || k == SAMPLER_LMS || is_edm(k);
}

double schedule_start(const struct schedule *s)
{
    if (!in_ve_space(s)) return 1;
    if (is_edm(s->c.sampler)) return sqrt(s->c.sigma_max * s->c.sigma_max + 1);
    double top = s->sigma[0];
    return s->c.spacing == SPACING_LEADING ? sqrt(top * top + 1) : top;
}

double schedule_input_scale(const struct schedule *s, int i)
{
    double sigma = s->sigma[i], data = is_edm(s->c.sampler) ? s->c.sigma_data : 1;
    return in_ve_space(s) ? 1 / sqrt(sigma * sigma + data * data) : 1;
}

/* Steps by the table's entries, at whole timesteps, rather than by levels. */
static bool by_table(enum sampler s)
{
    return s == SAMPLER_DDIM || s == SAMPLER_DDPM || s == SAMPLER_LCM || s == SAMPLER_TCD ||
           s == SAMPLER_PNDM;
}

bool schedule_wants_noise(const struct schedule *s)
{
    enum sampler k = s->c.sampler;
    if (k == SAMPLER_FLOW_EULER) return s->c.stochastic;
    return k == SAMPLER_EULER_A || k == SAMPLER_DDPM || k == SAMPLER_LCM ||
           (is_dpm(k) && (s->c.algorithm == SDE_DPM_SOLVER_PP || s->c.algorithm == SDE_DPM_SOLVER));
}

int schedule_begin(const struct schedule *s, double strength)
{
    double run = fmin(s->asked * strength, s->asked);
    /* FLUX's pipeline rounds what is skipped down, the others what is run. */
    int skip = s->c.sampler == SAMPLER_FLOW_EULER ? (int)(s->asked - run) : s->asked - (int)run;
    if (s->c.sampler == SAMPLER_HEUN) skip *= 2;
    return skip < 0 ? 0 : skip < s->n_steps ? skip : s->n_steps;
}

/* ---- steps ------------------------------------------------------------------------------------------------- */

void schedule_mixture(const struct schedule *s, double sigma, double *alpha, double *sd)
{
    if (is_edm(s->c.sampler)) {
        *alpha = 1;
        *sd = sigma;
    } else if (s->c.levels == LEVELS_FLOW || s->c.sampler == SAMPLER_FLOW_EULER) {
        *alpha = 1 - sigma;
        *sd = sigma;
    } else {
        *alpha = 1 / sqrt(sigma * sigma + 1);
        *sd = sigma * *alpha;
    }
}

void schedule_clean(const struct schedule *s, int i, double *p, double *q)
{
    double sigma = s->sigma[i], alpha, sd;
    bool v = s->c.prediction == PREDICTS_V;
    if (s->c.prediction == PREDICTS_SAMPLE) {
        *p = 0;
        *q = 1;
    } else if (is_edm(s->c.sampler)) {
        double d2 = s->c.sigma_data * s->c.sigma_data, sum = sigma * sigma + d2;
        *p = d2 / sum;
        *q = (v ? -1 : 1) * sigma * s->c.sigma_data / sqrt(sum);
    } else if (s->c.prediction == PREDICTS_FLOW) {
        *p = 1;
        *q = -sigma;
    } else if (in_ve_space(s)) {
        *p = v ? 1 / (sigma * sigma + 1) : 1;
        *q = v ? -sigma / sqrt(sigma * sigma + 1) : -sigma;
    } else {
        schedule_mixture(s, sigma, &alpha, &sd);
        *p = v ? alpha : 1 / alpha;
        *q = v ? -sd : -sd / alpha;
    }
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Clipping or dynamic thresholding ("Photorealistic Text-to-Image Diffusion Models", 2.3) of the clean latents x0 [values]. */
void schedule_limit(struct schedule *s, dev_float *x0)
{
    const struct schedule_config *c = &s->c;
    float bound = (float)c->clip_range, over = 1;
    if (c->threshold && s->values) {
        const float *v = device_read(s->dev, x0, s->values);
        for (size_t k = 0; k < s->values; k++) s->sorted[k] = fabsf(v[k]);
        qsort(s->sorted, s->values, sizeof *s->sorted, by_size);
        double at = c->threshold_ratio * (double)(s->values - 1);
        size_t lo = (size_t)at, hi = lo + 1 < s->values ? lo + 1 : lo;
        double q = s->sorted[lo] + (at - (double)lo) * (s->sorted[hi] - s->sorted[lo]);
        over = bound = (float)fmin(fmax(q, 1), c->threshold_max);
    } else if (!c->clip) {
        return;
    }
    op_clamp(s->dev, x0, x0, bound, over, (int64_t)s->values);
}

/* d = (x - x0) / from is the direction, x0 = p x + q output. */
static void euler(struct schedule *s, int i, dev_float *x, const dev_float *output, const dev_float *noise)
{
    double from = s->sigma[i], to = s->sigma[i + 1], p, q, up = 0;
    schedule_clean(s, i, &p, &q);
    if (s->c.sampler == SAMPLER_EULER_A) {
        up = sqrt(fmax(to * to * (from * from - to * to) / (from * from), 0));
        to = sqrt(fmax(to * to - up * up, 0));
    }
    const double move = (to - from) / from;
    const struct lincomb_term term[] = { { 1 + (1 - p) * move, x }, { -q * move, output }, { up, noise } };
    schedule_mix(s, x, term, noise ? 3 : 2);
}

static void flow_euler(struct schedule *s, int i, dev_float *x, const dev_float *output,
                       const dev_float *noise)
{
    double from = s->sigma[i], to = s->sigma[i + 1];
    if (noise)
        SCHEDULE_MIX(s, x, { 1 - to, x }, { -(1 - to) * from, output }, { to, noise });
    else
        SCHEDULE_MIX(s, x, { 1, x }, { to - from, output });
}

/* The step's direction is the noise of the estimate as it came, before it is limited. */
static void ddim(struct schedule *s, int i, dev_float *x, dev_float *output)
{
    int t = (int)s->time[i], prev = t - s->c.n_train / s->asked;
    double abar = s->abar[t], next = prev >= 0 ? s->abar[prev] : s->c.alpha_to_one ? 1 : s->abar[0];
    double alpha = sqrt(abar), sd = sqrt(1 - abar), keep = sqrt(next), move = sqrt(1 - next);
    const dev_float *eps = s->spare, *x0 = output;
    switch (s->c.prediction) {
    case PREDICTS_SAMPLE: SCHEDULE_MIX(s, s->spare, { 1 / sd, x }, { -alpha / sd, output }); break;
    case PREDICTS_V:
        SCHEDULE_MIX(s, s->spare, { alpha, output }, { sd, x });
        SCHEDULE_MIX(s, output, { alpha, x }, { -sd, output });
        break;
    default:
        SCHEDULE_MIX(s, s->spare, { 1, output });
        if (s->c.prediction == PREDICTS_EPSILON)
            SCHEDULE_MIX(s, output, { 1 / alpha, x }, { -sd / alpha, output });
    }
    schedule_limit(s, output);
    SCHEDULE_MIX(s, x, { keep, x0 }, { move, eps });
}

/* What one step adds of the newest estimate m0, of its first difference D1 and of its second D2, to `keep` x, and of fresh noise. */
struct dpm_step {
    double keep, m0, d1, d2, noise;
};

/* DPM-Solver and DPM-Solver++ ("DPM-Solver: A Fast ODE Solver", "DPM-Solver++: Fast Solver for Guided Sampling"), the
 * deterministic ones and their SDE forms, over h of lambda = ln(alpha / sd). Ending at sd 0, h is infinite and the data
 * solvers' step is the estimate itself. */
static struct dpm_step dpm_coefficients(const struct schedule *s, int i, int order, double h)
{
    double a0, sd0, a, sd;
    schedule_mixture(s, s->sigma[i], &a0, &sd0);
    schedule_mixture(s, s->sigma[i + 1], &a, &sd);
    if (!isfinite(h)) return (struct dpm_step){ .m0 = a };
    struct dpm_step r = { 0 };
    double e = expm1(-h), g = expm1(h), e2 = expm1(-2 * h);
    bool second = order == 2, heun = s->c.heun || order == 3;
    switch (s->c.algorithm) {
    case DPM_SOLVER_PP:
        r = (struct dpm_step){ .keep = sd / sd0, .m0 = -a * e };
        r.d1 = heun ? a * (e / h + 1) : -a * e / 2;
        r.d2 = -a * ((e + h) / (h * h) - 0.5);
        break;
    case DPM_SOLVER:
        r = (struct dpm_step){ .keep = a / a0, .m0 = -sd * g };
        r.d1 = heun ? -sd * (g / h - 1) : -sd * g / 2;
        r.d2 = -sd * ((g - h) / (h * h) - 0.5);
        break;
    case SDE_DPM_SOLVER_PP:
        r = (struct dpm_step){ .keep = sd / sd0 * exp(-h), .m0 = -a * e2, .noise = sd * sqrt(-e2) };
        r.d1 = heun ? a * (e2 / (2 * h) + 1) : -a * e2 / 2;
        r.d2 = a * ((-e2 - 2 * h) / (4 * h * h) - 0.5);
        break;
    case SDE_DPM_SOLVER:
        r = (struct dpm_step){ .keep = a / a0, .m0 = -2 * sd * g, .noise = sd * sqrt(expm1(2 * h)) };
        r.d1 = heun ? -2 * sd * (g / h - 1) : -sd * g;
        break;
    }
    if (order < 2 || h == 0) r.d1 = 0;
    if (second || order < 3 || h == 0) r.d2 = 0;
    return r;
}

double schedule_lambda(const struct schedule *s, int i)
{
    double a, sd;
    schedule_mixture(s, s->sigma[i], &a, &sd);
    return log(a) - log(sd);
}

dev_float *schedule_turn(struct schedule *s, int n)
{
    dev_float *oldest = s->before[n - 1];
    for (int k = n - 1; k > 0; k--) s->before[k] = s->before[k - 1];
    return s->before[0] = oldest;
}

/* The newest estimate becomes before[0]. */
static void remember(struct schedule *s, int i, const dev_float *x, const dev_float *output)
{
    dev_float *oldest = schedule_turn(s, s->c.order);
    double p, q, a, sd;
    schedule_clean(s, i, &p, &q);
    SCHEDULE_MIX(s, oldest, { p, x }, { q, output });
    schedule_limit(s, oldest);
    if (s->c.algorithm == DPM_SOLVER || s->c.algorithm == SDE_DPM_SOLVER) {
        schedule_mixture(s, s->sigma[i], &a, &sd);
        SCHEDULE_MIX(s, oldest, { 1 / sd, x }, { -a / sd, oldest });
    }
}

static void dpm(struct schedule *s, int i, dev_float *x, const dev_float *output, const dev_float *noise)
{
    const struct schedule_config *c = &s->c;
    int n = s->n_steps, order = c->order < s->n_before + 1 ? c->order : s->n_before + 1;
    bool few = c->lower_order_final && n < 15;
    if (order > 2 && i == n - 2 && few) order = 2;
    if (i == n - 1 && (c->euler_at_final || few || !c->end_sigma_min)) order = 1;
    remember(s, i, x, output);
    double here = schedule_lambda(s, i), h = schedule_lambda(s, i + 1) - here;
    double h0 = order > 1 ? here - schedule_lambda(s, i - 1) : 1,
           h1 = order > 2 ? schedule_lambda(s, i - 1) - schedule_lambda(s, i - 2) : 1;
    struct dpm_step r = dpm_coefficients(s, i, order, h);
    struct lincomb_term term[5] = { { r.keep, x }, { r.m0, s->before[0] } };
    int n_terms = 2;
    if (order > 1) {
        /* d = h / h0 (m0 - m1); of order 3 curve = d - h / h1 (m1 - m2), and d grows by h0 / (h0 + h1) of it. */
        const double curve = order > 2 ? (r.d1 * h0 + r.d2 * h) / (h0 + h1) : 0, d = h / h0 * (r.d1 + curve),
                     d12 = -h / h1 * curve;
        term[1].by += d;
        term[n_terms++] = (struct lincomb_term){ d12 - d, s->before[1] };
        if (order > 2) term[n_terms++] = (struct lincomb_term){ -d12, s->before[2] };
    }
    if (noise) term[n_terms++] = (struct lincomb_term){ r.noise, noise };
    schedule_mix(s, x, term, n_terms);
    if (s->n_before < c->order) s->n_before++;
}

void schedule_step(struct schedule *s, int i, dev_float *x, dev_float *output, const dev_float *noise)
{
    switch (s->c.sampler) {
    case SAMPLER_FLOW_EULER: flow_euler(s, i, x, output, noise); return;
    case SAMPLER_EULER:
    case SAMPLER_EDM_EULER:
    case SAMPLER_EULER_A: euler(s, i, x, output, noise); return;
    case SAMPLER_DDIM: ddim(s, i, x, output); return;
    case SAMPLER_DPMPP_2M:
    case SAMPLER_DPMPP_2M_KARRAS:
    case SAMPLER_EDM_DPMPP_2M: dpm(s, i, x, output, noise); return;
    case SAMPLER_HEUN: schedule_heun(s, i, x, output); return;
    case SAMPLER_UNIPC: schedule_unipc(s, i, x, output); return;
    case SAMPLER_DEIS: schedule_deis(s, i, x, output); return;
    case SAMPLER_LMS: schedule_lms(s, i, x, output); return;
    case SAMPLER_DDPM: schedule_ddpm(s, i, x, output, noise); return;
    case SAMPLER_LCM: schedule_lcm(s, i, x, output, noise); return;
    case SAMPLER_TCD: schedule_tcd(s, i, x, output); return;
    case SAMPLER_PNDM: schedule_pndm(s, i, x, output); return;
    }
}

void schedule_add_noise(const struct schedule *s, int i, dev_float *out, const dev_float *clean,
                        const dev_float *noise)
{
    double keep = 1, add = s->sigma[i];
    if (i >= s->n_steps) {
        add = 0;
    } else if (by_table(s->c.sampler)) {
        double abar = s->abar[(int)s->time[i]];
        keep = sqrt(abar);
        add = sqrt(1 - abar);
    } else if (!in_ve_space(s)) {
        schedule_mixture(s, s->sigma[i], &keep, &add);
    }
    SCHEDULE_MIX(s, out, { keep, clean }, { add, noise });
}
