/* schedule_table.c - timesteps and noise levels, rounded where and as numpy rounds them in the references. */
#include <math.h>

#include "image/schedule_internal.h"

/* In single precision, as the references' tables are: a time that is cut to a whole number depends on the last bit. */
static double table_sigma(const struct schedule *s, int t)
{
    float abar = (float)s->abar[t];
    return (double)sqrtf((1.0f - abar) / abar);
}

static double table_log(const struct schedule *s, int t) { return (double)logf((float)table_sigma(s, t)); }

static double sigma_at(const struct schedule *s, double t)
{
    int lo = (int)t, last = s->c.n_train - 1;
    if (lo >= last) return table_sigma(s, last);
    return table_sigma(s, lo) * (1 - (t - lo)) + table_sigma(s, lo + 1) * (t - lo);
}

/* Where in the table a level lies, between entries by its logarithm. */
static double time_of(const struct schedule *s, double sigma)
{
    int lo = 0, hi = s->c.n_train - 1;
    double level = log(fmax(sigma, 1e-10));
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (table_log(s, mid) <= level)
            lo = mid;
        else
            hi = mid;
    }
    double a = table_log(s, lo), w = (a - level) / (a - table_log(s, hi));
    w = fmin(fmax(w, 0), 1);
    return (1 - w) * lo + w * hi;
}

/* ---- the process ------------------------------------------------------------------------------------------- */

/* Entry i of torch.linspace in single precision, which counts from the nearer end. */
static float spread(float lo, float hi, int i, int n)
{
    float step = (hi - lo) / (float)(n - 1);
    return i < n / 2 ? lo + step * (float)i : hi - step * (float)(n - 1 - i);
}

static double cosine(double t)
{
    double v = cos((t + 0.008) / 1.008 * M_PI / 2);
    return v * v;
}

static float beta_of(const struct schedule_config *c, int i)
{
    if (c->betas == BETAS_COSINE) {
        double n = c->n_train;
        return (float)fmin(1 - cosine((i + 1) / n) / cosine(i / n), 0.999);
    }
    if (c->betas == BETAS_LINEAR) return spread((float)c->beta_start, (float)c->beta_end, i, c->n_train);
    float root = spread((float)sqrt(c->beta_start), (float)sqrt(c->beta_end), i, c->n_train);
    return root * root;
}

/* The betas are single precision in the references, and what is left at the last steps is small enough to show it. */
static void fill_alphas(struct schedule *s)
{
    const struct schedule_config *c = &s->c;
    int last = c->n_train - 1;
    double product = 1;
    for (int i = 0; i <= last; i++) {
        product *= (double)(1.0f - beta_of(c, i));
        s->abar[i] = (double)(float)product;
    }
    if (!c->zero_snr) return;
    /* Moved and stretched so that the last step has no signal left: "Common Diffusion Noise Schedules and Sample Steps are Flawed". */
    float top = sqrtf((float)s->abar[0]), end = sqrtf((float)s->abar[last]), before = 1;
    product = 1;
    for (int i = 0; i <= last; i++) {
        float root = (sqrtf((float)s->abar[i]) - end) * (top / (top - end)), bar = root * root;
        product *= (double)(1.0f - (1.0f - bar / before));
        before = bar;
        s->abar[i] = (double)(float)product;
    }
    if (c->sampler != SAMPLER_DDIM && c->sampler != SAMPLER_DDPM && c->sampler != SAMPLER_LCM &&
        c->sampler != SAMPLER_TCD)
        s->abar[last] = 0x1p-24; /* not 0, so that its sigma is a number */
}

/* ---- timesteps --------------------------------------------------------------------------------------------- */

/* Those that count one step more and leave the lowest out, and lay levels out between the ends of the table. */
static bool is_dpm(enum sampler s)
{
    return s == SAMPLER_DPMPP_2M || s == SAMPLER_DPMPP_2M_KARRAS || s == SAMPLER_UNIPC || s == SAMPLER_DEIS;
}

/* Timesteps below this one are used: all, but for DPM-Solver's bound on lambda = ln(alpha / sigma). */
static int last_time(const struct schedule *s)
{
    int n = s->c.n_train;
    if (!isfinite(s->c.lambda_min)) return n;
    int below = 0;
    for (int i = 0; i < n; i++) below += log(s->abar[i] / (1 - s->abar[i])) / 2 < s->c.lambda_min;
    return n - below > 1 ? n - below : 1;
}

/* Chosen out of the few steps that a distilled model was trained for. */
static int distilled_times(struct schedule *s)
{
    const struct schedule_config *c = &s->c;
    int most = c->trained_steps, ratio = c->n_train / most;
    double step = (double)most / s->asked;
    for (int i = 0; i < s->asked; i++) s->time[i] = (most - (int)floor(i * step)) * ratio - 1;
    return s->asked;
}

/* PNDM's linear multistep form begins with the second step twice: a trial of the first one and its correction. */
static int repeat_second(struct schedule *s, int n)
{
    if (n < 2) return n;
    for (int i = n; i > 1; i--) s->time[i] = s->time[i - 1];
    return n + 1;
}

static int discrete_times(struct schedule *s)
{
    const struct schedule_config *c = &s->c;
    int n = s->asked, last = last_time(s);
    if (c->sampler == SAMPLER_LCM || c->sampler == SAMPLER_TCD) return distilled_times(s);
    bool dpm = is_dpm(c->sampler), whole = dpm || c->sampler == SAMPLER_DDIM || c->sampler == SAMPLER_DDPM ||
                                           c->sampler == SAMPLER_PNDM;
    if (c->spacing == SPACING_TRAILING) {
        /* numpy's arange takes the difference of its first two values for its step. Where its last value comes out as a
         * hair above 0 it has one step more than was asked for; that one is left out here. */
        double ratio = (double)c->n_train / n, step = (last - ratio) - last;
        int k = 0;
        while (k < n && last + k * step > 0.5) {
            s->time[k] = fmax(nearbyint(last + k * step) - 1, 0);
            k++;
        }
        return k > 0 ? (c->sampler == SAMPLER_PNDM ? repeat_second(s, k) : k) : 1;
    }
    for (int i = 0; i < n; i++) {
        int k = n - 1 - i; /* ascending index; DPM++ counts one step more and leaves the lowest out */
        double t;
        if (c->spacing == SPACING_LINSPACE) {
            /* The step is divided first, as numpy's linspace does: at a half the rounding depends on it. */
            double step = (double)(last - 1) / (dpm ? n : n > 1 ? n - 1 : 1);
            t = (dpm ? k + 1 : k) * step;
            if (whole) t = nearbyint(t);
        } else {
            int ratio = last / (dpm ? n + 1 : n);
            t = (dpm ? k + 1 : k) * (double)ratio + c->steps_offset;
        }
        s->time[i] = fmin(fmax(t, 0), c->n_train - 1);
    }
    return c->sampler == SAMPLER_PNDM ? repeat_second(s, n) : n;
}

/* ---- levels ------------------------------------------------------------------------------------------------ */

/* The regularised incomplete beta function for a = b = 0.6: its continued fraction, by Lentz's method, below the middle and its
 * mirror image above (Numerical Recipes, 6.4). */
static double beta_cdf(double x)
{
    const double a = 0.6, tiny = 1e-300;
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    if (x > 0.5) return 1 - beta_cdf(1 - x);
    double front = exp(lgamma(2 * a) - 2 * lgamma(a) + a * log(x) + a * log1p(-x)) / a;
    double f = 1, c = 1, d = 1 - 2 * a * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    f = d;
    for (int m = 1; m < 300; m++) {
        for (int half = 0; half < 2; half++) {
            double k = half ? -(a + m) * (2 * a + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                            : m * (a - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
            d = 1 + k * d;
            c = 1 + k / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            if (fabs(c) < tiny) c = tiny;
            f *= d * c;
        }
        if (fabs(d * c - 1) < 1e-15) break;
    }
    return front * f;
}

static double beta_quantile(double p)
{
    double lo = 0, hi = 1;
    for (int i = 0; i < 200 && hi - lo > 1e-17; i++) {
        double mid = (lo + hi) / 2;
        if (beta_cdf(mid) < p)
            lo = mid;
        else
            hi = mid;
    }
    return (lo + hi) / 2;
}

/* n levels from hi down to lo. The file's own ends come first, but where the class passes over them. */
static void lay_out(struct schedule *s, int n, double lo, double hi)
{
    const struct schedule_config *c = &s->c;
    bool fixed = c->levels == LEVELS_LU || (c->levels == LEVELS_KARRAS && c->sampler == SAMPLER_LMS);
    if (c->sigma_min > 0 && !fixed) lo = c->sigma_min;
    if (c->sigma_max > 0 && !fixed) hi = c->sigma_max;
    for (int i = 0; i < n; i++) {
        double at = n > 1 ? (double)i / (n - 1) : 0, *out = &s->sigma[i];
        switch (c->levels) {
        case LEVELS_KARRAS: {
            double a = pow(hi, 1 / c->rho), b = pow(lo, 1 / c->rho);
            *out = pow(a + at * (b - a), c->rho);
            break;
        }
        case LEVELS_EXPONENTIAL:
        case LEVELS_LU: *out = exp(log(hi) + at * (log(lo) - log(hi))); break;
        case LEVELS_BETA: *out = lo + beta_quantile(1 - at) * (hi - lo); break;
        case LEVELS_PLAIN:
        case LEVELS_FLOW: break;
        }
    }
}

static void flow_levels(struct schedule *s, int n_tokens)
{
    const struct schedule_config *c = &s->c;
    int n = s->n_steps = s->asked;
    double m = (c->max_shift - c->base_shift) / (c->max_tokens - c->base_tokens);
    double mu = c->base_shift + m * (n_tokens - c->base_tokens);
    double factor = c->linear_shift ? mu : exp(mu), low = 1.0 / n, least = 1.0 / c->n_train;
    if (c->from_table) low = c->dynamic_shift ? least : c->shift * least / (1 + (c->shift - 1) * least);
    for (int i = 0; i < n; i++) {
        double t = n > 1 ? 1 - i * (1 - low) / (n - 1) : 1;
        s->sigma[i] =
            c->dynamic_shift ? factor / (factor + (1 / t - 1)) : c->shift * t / (1 + (c->shift - 1) * t);
    }
    /* Stretched so that the last one is shift_terminal; a single step, at 1, has nothing to stretch. */
    double rest = 1 - s->sigma[n - 1];
    for (int i = 0; c->shift_terminal > 0 && rest > 0 && i < n; i++)
        s->sigma[i] = 1 - (1 - s->sigma[i]) * (1 - c->shift_terminal) / rest;
    if (c->levels != LEVELS_PLAIN) lay_out(s, n, s->sigma[n - 1], s->sigma[0]);
    for (int i = 0; i < n; i++) {
        if (c->inverted) s->sigma[i] = 1 - s->sigma[i];
        /* The pipeline divides by 1000, whatever the training steps were. */
        s->time[i] = s->sigma[i] * c->n_train / 1000;
    }
    s->sigma[n] = c->inverted ? 1 : 0;
}

static void edm_levels(struct schedule *s)
{
    const struct schedule_config *c = &s->c;
    int n = s->n_steps = s->asked;
    lay_out(s, n, c->sigma_min, c->sigma_max);
    if (n == 1 && c->levels == LEVELS_EXPONENTIAL)
        s->sigma[0] = c->sigma_min; /* a range of one is its low end */
    for (int i = 0; i < n; i++) s->time[i] = 0.25 * log(s->sigma[i]);
    s->sigma[n] = c->end_sigma_min ? c->sigma_min : 0;
}

/* Every level after the first stands for two evaluations: where a step arrives, and where the next begins. */
static void twice(struct schedule *s)
{
    int n = s->n_steps;
    s->sigma[2 * n - 1] = s->sigma[n];
    for (int i = n - 1; i > 0; i--) {
        s->sigma[2 * i] = s->sigma[2 * i - 1] = s->sigma[i];
        s->time[2 * i] = s->time[2 * i - 1] = s->time[i];
    }
    s->n_steps = 2 * n - 1;
}

static void discrete_levels(struct schedule *s)
{
    const struct schedule_config *c = &s->c;
    int n = s->n_steps = discrete_times(s);
    bool dpm = is_dpm(c->sampler);
    double lowest = table_sigma(s, 0), highest = table_sigma(s, c->n_train - 1);
    for (int i = 0; i < n; i++) s->sigma[i] = sigma_at(s, s->time[i]);
    s->sigma[n] = c->end_sigma_min ? lowest : 0;
    if (c->log_linear) { /* one level more than steps: the last step ends at the table's lowest */
        double lo = log(lowest), hi = log(highest);
        for (int i = 0; i <= n; i++) s->sigma[i] = exp(hi + (lo - hi) * i / n);
    }
    if (c->levels == LEVELS_FLOW) {
        n = s->n_steps = s->asked;
        for (int i = 0; i < n; i++) {
            double t = 1 - (1 + (n - i) * (1.0 / c->n_train - 1) / n); /* descending */
            s->sigma[i] = c->shift * t / (1 + (c->shift - 1) * t);
            s->time[i] = floor(s->sigma[i] * c->n_train);
        }
        s->sigma[n] = c->end_sigma_min ? lowest : 0;
    } else if (c->levels != LEVELS_PLAIN) {
        double lo = dpm ? lowest : s->sigma[c->log_linear ? n : n - 1], hi = dpm ? highest : s->sigma[0];
        if (dpm) n = s->n_steps = s->asked;
        lay_out(s, n, lo, hi);
        bool rounded = c->levels == LEVELS_KARRAS || c->levels == LEVELS_LU;
        for (int i = 0; i < n; i++) {
            double t = time_of(s, s->sigma[i]);
            if (dpm)
                t = rounded && c->betas != BETAS_COSINE ? nearbyint(t)
                                                        : floor(t); /* whole numbers to the network */
            s->time[i] = t;
        }
        /* UniPC and DEIS end at the last level that was laid out, DPM-Solver and Euler at the table's. */
        bool own = c->sampler == SAMPLER_UNIPC || c->sampler == SAMPLER_DEIS;
        s->sigma[n] = !c->end_sigma_min ? 0 : own ? s->sigma[n - 1] : lowest;
    }
    if (c->sampler == SAMPLER_HEUN) twice(s);
    for (int i = 0; c->continuous && i < n; i++) s->time[i] = 0.25 * log(s->sigma[i]);
}

void schedule_fill(struct schedule *s, int n_tokens)
{
    enum sampler k = s->c.sampler;
    fill_alphas(s);
    if (k == SAMPLER_FLOW_EULER)
        flow_levels(s, n_tokens);
    else if (k == SAMPLER_EDM_DPMPP_2M || k == SAMPLER_EDM_EULER)
        edm_levels(s);
    else
        discrete_levels(s);
}
