#include "image/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

struct schedule {
    struct schedule_config c;
    enum sampler sampler;
    int n_steps;
    double *sigma; /* [n_steps + 1], the last 0; for DDIM of the timestep's table entry */
    double *time;  /* [n_steps] */
    double *abar;  /* [n_train] cumulative alphas of the discrete process */
    float *before; /* [values] the last step's estimate of the clean latent, for the second order */
    bool have_before;
    size_t values;
};

static const char *const names[] = {
    [SAMPLER_FLOW_EULER] = "flow_euler",
    [SAMPLER_EULER] = "euler",
    [SAMPLER_EULER_A] = "euler_a",
    [SAMPLER_DPMPP_2M] = "dpmpp_2m",
    [SAMPLER_DPMPP_2M_KARRAS] = "dpmpp_2m_karras",
    [SAMPLER_DDIM] = "ddim",
    [SAMPLER_EDM_DPMPP_2M] = "edm_dpmpp_2m",
    [SAMPLER_EDM_EULER] = "edm_euler",
};

static bool is_edm(enum sampler s) { return s == SAMPLER_EDM_DPMPP_2M || s == SAMPLER_EDM_EULER; }

int sampler_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) return (int)i;
    }
    return -1;
}

const char *sampler_name(enum sampler s) { return names[s]; }

/* ---- configuration ----------------------------------------------------------------------------------------- */

struct schedule_config schedule_config_sdxl(void)
{
    return (struct schedule_config){ .sampler = SAMPLER_EULER,
                                     .n_train = 1000,
                                     .beta_start = 0.00085,
                                     .beta_end = 0.012,
                                     .spacing = SPACING_LEADING,
                                     .steps_offset = 1,
                                     .sigma_min = 0.002,
                                     .sigma_max = 80,
                                     .sigma_data = 0.5,
                                     .rho = 7,
                                     .shift = 1 };
}

struct schedule_config schedule_config_flux(bool schnell)
{
    return (struct schedule_config){ .sampler = SAMPLER_FLOW_EULER,
                                     .n_train = 1000,
                                     .dynamic_shift = !schnell,
                                     .shift = schnell ? 1 : 3,
                                     .base_shift = 0.5,
                                     .max_shift = 1.15,
                                     .base_tokens = 256,
                                     .max_tokens = 4096 };
}

static double number_or(const json_t *o, const char *key, double fallback)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : fallback;
}

static int integer_or(const json_t *o, const char *key, int fallback)
{
    double v = number_or(o, key, fallback);
    return v >= 0 && v <= 1e9 ? (int)v : fallback;
}

/* What the process itself depends on, and is not computed here: another value would draw something else in silence. */
static bool check_process(const json_t *config, bool vp, struct err *e)
{
    static const struct {
        const char *key, *only;
    } keys[] = { { "timestep_type", "discrete" }, { "beta_schedule", "scaled_linear" } };
    for (size_t i = 0; vp && i < sizeof keys / sizeof *keys; i++) {
        const char *v = json_string_value(json_object_get(config, keys[i].key));
        if (!v && i == 1) v = "linear"; /* the classes' own default */
        if (v && strcmp(v, keys[i].only) != 0)
            return err_set(e, ERR_UNSUPPORTED, "scheduler: %s \"%.40s\" is not supported (only %s)",
                           keys[i].key, v, keys[i].only);
    }
    const json_t *trained = json_object_get(config, "trained_betas");
    if (trained && !json_is_null(trained))
        return err_set(e, ERR_UNSUPPORTED, "scheduler: trained_betas are not supported");
    const char *p = json_string_value(json_object_get(config, "prediction_type"));
    if (p && strcmp(p, "epsilon") != 0 && strcmp(p, "v_prediction") != 0)
        return err_set(e, ERR_UNSUPPORTED, "scheduler: prediction_type \"%.40s\" is not supported", p);
    return true;
}

/* How the process is solved, where this is not done as the file asks: the picture is another one of the same model. */
static void say_what_differs(const json_t *config, const char *class, enum sampler s, bool stands_in)
{
    static const struct {
        const char *key, *as; /* as: "" for false */
    } keys[] = { { "use_exponential_sigmas", "" },
                 { "use_beta_sigmas", "" },
                 { "use_lu_lambdas", "" },
                 { "invert_sigmas", "" },
                 { "stochastic_sampling", "" },
                 { "thresholding", "" },
                 { "interpolation_type", "linear" },
                 { "final_sigmas_type", "zero" },
                 { "algorithm_type", "dpmsolver++" },
                 { "solver_type", "midpoint" },
                 { "time_shift_type", "exponential" },
                 { "sigma_schedule", "karras" } };
    if (stands_in) log_warn("scheduler %s is not known here; %s draws in its place", class, sampler_name(s));
    for (size_t i = 0; !stands_in && i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = json_object_get(config, keys[i].key);
        const char *text = json_string_value(v);
        if (json_is_true(v) || (text && *keys[i].as && strcmp(text, keys[i].as) != 0))
            log_warn("scheduler: %s %s is not followed", keys[i].key, text ? text : "true");
    }
}

bool schedule_config_from_json(struct schedule_config *c, const json_t *config, struct err *e)
{
    static const struct {
        const char *name;
        enum sampler sampler;
        bool stands_in; /* another solver of the same process, for one that is not here */
    } classes[] = {
        { "FlowMatchEulerDiscreteScheduler", SAMPLER_FLOW_EULER, false },
        { "EulerDiscreteScheduler", SAMPLER_EULER, false },
        { "EulerAncestralDiscreteScheduler", SAMPLER_EULER_A, false },
        { "DPMSolverMultistepScheduler", SAMPLER_DPMPP_2M, false },
        { "DDIMScheduler", SAMPLER_DDIM, false },
        { "EDMDPMSolverMultistepScheduler", SAMPLER_EDM_DPMPP_2M, false },
        { "EDMEulerScheduler", SAMPLER_EDM_EULER, false },
        { "PNDMScheduler", SAMPLER_EULER, true },
        { "LMSDiscreteScheduler", SAMPLER_EULER, true },
        { "HeunDiscreteScheduler", SAMPLER_EULER, true },
        { "KDPM2DiscreteScheduler", SAMPLER_EULER, true },
        { "KDPM2AncestralDiscreteScheduler", SAMPLER_EULER_A, true },
        { "DDPMScheduler", SAMPLER_EULER_A, true },
        { "DPMSolverSDEScheduler", SAMPLER_DPMPP_2M, true },
        { "DPMSolverSinglestepScheduler", SAMPLER_DPMPP_2M, true },
        { "DEISMultistepScheduler", SAMPLER_DPMPP_2M, true },
        { "UniPCMultistepScheduler", SAMPLER_DPMPP_2M, true },
    };
    const char *name = json_string_value(json_object_get(config, "_class_name"));
    size_t k = 0, n = sizeof classes / sizeof *classes;
    while (k < n && (!name || strcmp(classes[k].name, name) != 0)) k++;
    if (k == n)
        return err_set(e, ERR_UNSUPPORTED, "scheduler \"%.60s\" is not supported",
                       name ? name : "(no _class_name)");
    bool vp = classes[k].sampler != SAMPLER_FLOW_EULER && !is_edm(classes[k].sampler);
    if (!check_process(config, vp, e)) return false;
    say_what_differs(config, name, classes[k].sampler, classes[k].stands_in);

    *c = classes[k].sampler == SAMPLER_FLOW_EULER ? schedule_config_flux(false) : schedule_config_sdxl();
    c->sampler = classes[k].sampler;
    const char *spacing = json_string_value(json_object_get(config, "timestep_spacing"));
    const char *prediction = json_string_value(json_object_get(config, "prediction_type"));
    c->v_prediction = prediction && strcmp(prediction, "v_prediction") == 0;
    c->n_train = integer_or(config, "num_train_timesteps", 1000);
    c->beta_start = number_or(config, "beta_start", 0.0001);
    c->beta_end = number_or(config, "beta_end", 0.02);
    /* The classes' own defaults where the file is silent. */
    c->spacing = c->sampler == SAMPLER_DDIM ? SPACING_LEADING : SPACING_LINSPACE;
    static const char *const spacings[] = {
        [SPACING_LEADING] = "leading", [SPACING_LINSPACE] = "linspace", [SPACING_TRAILING] = "trailing"
    };
    for (int i = 0; spacing && i < 3; i++) {
        if (strcmp(spacing, spacings[i]) == 0) {
            c->spacing = (enum spacing)i;
            spacing = NULL;
        }
    }
    if (spacing)
        return err_set(e, ERR_UNSUPPORTED, "scheduler: timestep_spacing \"%.40s\" is not supported", spacing);
    c->zero_snr = json_is_true(json_object_get(config, "rescale_betas_zero_snr"));
    c->steps_offset = integer_or(config, "steps_offset", 0);
    /* Only DDIM has this key; the published SDXL configurations of other classes mean false by its absence. */
    const json_t *one = json_object_get(config, "set_alpha_to_one");
    c->alpha_to_one = one ? json_is_true(one) : c->sampler == SAMPLER_DDIM;
    c->sigma_min = number_or(config, "sigma_min", 0.002);
    c->sigma_max = number_or(config, "sigma_max", 80);
    c->sigma_data = number_or(config, "sigma_data", 0.5);
    c->rho = number_or(config, "rho", 7);
    c->dynamic_shift = json_is_true(json_object_get(config, "use_dynamic_shifting"));
    c->shift = number_or(config, "shift", 1);
    c->base_shift = number_or(config, "base_shift", 0.5);
    c->max_shift = number_or(config, "max_shift", 1.15);
    c->base_tokens = integer_or(config, "base_image_seq_len", 256);
    c->max_tokens = integer_or(config, "max_image_seq_len", 4096);
    bool karras = json_is_true(json_object_get(config, "use_karras_sigmas"));
    if (karras && c->sampler == SAMPLER_DPMPP_2M) c->sampler = SAMPLER_DPMPP_2M_KARRAS;
    c->euler_karras = karras && c->sampler == SAMPLER_EULER;
    if (c->n_train < 2 || c->n_train > 100000 || !(c->sigma_min > 0) || !(c->sigma_max > c->sigma_min) ||
        !(c->rho > 0) || c->max_tokens == c->base_tokens || !(c->shift > 0)) {
        return err_set(e, ERR_FORMAT, "scheduler: impossible numbers (training steps %d, sigma %g to %g)",
                       c->n_train, c->sigma_min, c->sigma_max);
    }
    return true;
}

/* ---- tables ------------------------------------------------------------------------------------------------ */

static double table_sigma(const struct schedule *s, int t) { return sqrt((1 - s->abar[t]) / s->abar[t]); }

static double sigma_at(const struct schedule *s, double t)
{
    int lo = (int)t, last = s->c.n_train - 1;
    if (lo >= last) return table_sigma(s, last);
    return table_sigma(s, lo) * (1 - (t - lo)) + table_sigma(s, lo + 1) * (t - lo);
}

static double time_of(const struct schedule *s, double sigma)
{
    int lo = 0, hi = s->c.n_train - 1;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (table_sigma(s, mid) <= sigma)
            lo = mid;
        else
            hi = mid;
    }
    double a = log(table_sigma(s, lo)), b = log(table_sigma(s, hi)), w = (a - log(sigma)) / (a - b);
    w = fmin(fmax(w, 0), 1);
    return (1 - w) * lo + w * hi;
}

static bool is_dpm(enum sampler s) { return s == SAMPLER_DPMPP_2M || s == SAMPLER_DPMPP_2M_KARRAS; }

static void discrete_times(struct schedule *s)
{
    const struct schedule_config *c = &s->c;
    int n = s->n_steps;
    bool dpm = is_dpm(s->sampler);
    for (int i = 0; i < n; i++) {
        int k = n - 1 - i; /* ascending index; DPM++ counts one step more and leaves the lowest out */
        double t;
        if (c->spacing == SPACING_LINSPACE) {
            /* The step is divided first, as numpy's linspace does: at a half the rounding depends on it. */
            double step = (double)(c->n_train - 1) / (dpm ? n : n > 1 ? n - 1 : 1);
            t = dpm ? nearbyint((k + 1) * step) : k * step;
        } else if (c->spacing == SPACING_LEADING) {
            int ratio = c->n_train / (dpm ? n + 1 : n);
            t = (dpm ? k + 1 : k) * (double)ratio + c->steps_offset;
        } else {
            t = nearbyint(c->n_train - i * ((double)c->n_train / n)) - 1;
        }
        s->time[i] = fmin(fmax(t, 0), c->n_train - 1);
    }
}

static void karras(double *sigma, int n, double lo, double hi, double rho)
{
    double a = pow(hi, 1 / rho), b = pow(lo, 1 / rho);
    for (int i = 0; i < n; i++) sigma[i] = pow(a + (n > 1 ? (double)i / (n - 1) : 0) * (b - a), rho);
}

static void flow_sigmas(struct schedule *s, int n_tokens)
{
    const struct schedule_config *c = &s->c;
    double m = (c->max_shift - c->base_shift) / (c->max_tokens - c->base_tokens);
    double mu = c->base_shift + m * (n_tokens - c->base_tokens);
    for (int i = 0; i < s->n_steps; i++) {
        double t = s->n_steps > 1 ? 1 - i * (1 - 1.0 / s->n_steps) / (s->n_steps - 1) : 1;
        s->sigma[i] =
            c->dynamic_shift ? exp(mu) / (exp(mu) + (1 / t - 1)) : c->shift * t / (1 + (c->shift - 1) * t);
        s->time[i] = s->sigma[i];
    }
}

/* The betas are single precision in the references, and what is left at the last steps is small enough to show it. */
static void fill_alphas(struct schedule *s)
{
    const struct schedule_config *c = &s->c;
    int last = c->n_train - 1;
    double product = 1;
    float lo = (float)sqrt(c->beta_start), hi = (float)sqrt(c->beta_end), step = (hi - lo) / (float)last;
    for (int i = 0; i <= last; i++) {
        float root = i < c->n_train / 2 ? lo + step * (float)i : hi - step * (float)(last - i);
        product *= (double)(1.0f - root * root);
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
    s->abar[last] = 0x1p-24; /* not 0, so that its sigma is a number */
}

bool schedule_new(struct schedule **out, const struct schedule_config *c, enum sampler sampler, int n_steps,
                  int n_tokens, size_t values, struct err *e)
{
    if (n_steps < 1 || n_steps > c->n_train) {
        return err_set(e, ERR_REQUEST, "steps must be between 1 and %d, got %d", c->n_train, n_steps);
    }
    bool flow = sampler == SAMPLER_FLOW_EULER, edm = is_edm(sampler);
    struct schedule *s = calloc(1, sizeof *s);
    if (s) {
        *s = (struct schedule){ .c = *c, .sampler = sampler, .n_steps = n_steps, .values = values };
        s->sigma = calloc((size_t)n_steps + 1, sizeof *s->sigma);
        s->time = calloc((size_t)n_steps, sizeof *s->time);
        s->abar = calloc((size_t)c->n_train, sizeof *s->abar);
        if (edm || is_dpm(sampler)) s->before = calloc(values ? values : 1, sizeof *s->before);
    }
    if (!s || !s->sigma || !s->time || !s->abar || ((edm || is_dpm(sampler)) && !s->before)) {
        schedule_free(s);
        return err_set(e, ERR_NOMEM, "no memory for a schedule of %d steps", n_steps);
    }
    fill_alphas(s);
    if (flow) {
        flow_sigmas(s, n_tokens);
    } else if (edm) {
        karras(s->sigma, n_steps, c->sigma_min, c->sigma_max, c->rho);
        for (int i = 0; i < n_steps; i++) s->time[i] = 0.25 * log(s->sigma[i]);
    } else {
        discrete_times(s);
        if (sampler == SAMPLER_DPMPP_2M_KARRAS) {
            karras(s->sigma, n_steps, table_sigma(s, 0), table_sigma(s, c->n_train - 1), 7);
            for (int i = 0; i < n_steps; i++) s->time[i] = nearbyint(time_of(s, s->sigma[i]));
        } else {
            for (int i = 0; i < n_steps; i++) s->sigma[i] = sigma_at(s, s->time[i]);
        }
        if (sampler == SAMPLER_EULER && c->euler_karras) {
            karras(s->sigma, n_steps, s->sigma[n_steps - 1], s->sigma[0], 7);
            for (int i = 0; i < n_steps; i++) s->time[i] = time_of(s, s->sigma[i]);
        }
    }
    s->sigma[n_steps] = 0;
    *out = s;
    return true;
}

void schedule_free(struct schedule *s)
{
    if (!s) return;
    free(s->sigma);
    free(s->time);
    free(s->abar);
    free(s->before);
    free(s);
}

int schedule_steps(const struct schedule *s) { return s->n_steps; }

double schedule_sigma(const struct schedule *s, int i) { return s->sigma[i]; }

double schedule_time(const struct schedule *s, int i) { return s->time[i]; }

static bool in_ve_space(const struct schedule *s)
{
    return s->sampler == SAMPLER_EULER || s->sampler == SAMPLER_EULER_A || is_edm(s->sampler);
}

double schedule_start(const struct schedule *s)
{
    if (!in_ve_space(s)) return 1;
    if (is_edm(s->sampler)) return sqrt(s->c.sigma_max * s->c.sigma_max + 1);
    double top = s->sigma[0];
    return s->c.spacing == SPACING_LEADING ? sqrt(top * top + 1) : top;
}

double schedule_input_scale(const struct schedule *s, int i)
{
    double sigma = s->sigma[i], data = is_edm(s->sampler) ? s->c.sigma_data : 1;
    return in_ve_space(s) ? 1 / sqrt(sigma * sigma + data * data) : 1;
}

bool schedule_wants_noise(const struct schedule *s) { return s->sampler == SAMPLER_EULER_A; }

int schedule_begin(const struct schedule *s, double strength)
{
    double run = fmin(s->n_steps * strength, s->n_steps);
    /* FLUX's pipeline rounds what is skipped down, the others what is run. */
    int skip = s->sampler == SAMPLER_FLOW_EULER ? (int)(s->n_steps - run) : s->n_steps - (int)run;
    return skip < 0 ? 0 : skip;
}

/* ---- steps ------------------------------------------------------------------------------------------------- */

/* x0 and x, as x' = a x + b x0, is what each sampler comes down to; the network's output gives x0 = p x + q output. */
static void clean_estimate(const struct schedule *s, int i, double *p, double *q)
{
    double sigma = s->sigma[i];
    if (is_edm(s->sampler)) {
        double d2 = s->c.sigma_data * s->c.sigma_data, sum = sigma * sigma + d2;
        *p = d2 / sum;
        *q = (s->c.v_prediction ? -1 : 1) * sigma * s->c.sigma_data / sqrt(sum);
    } else if (in_ve_space(s)) {
        *p = s->c.v_prediction ? 1 / (sigma * sigma + 1) : 1;
        *q = s->c.v_prediction ? -sigma / sqrt(sigma * sigma + 1) : -sigma;
    } else {
        double alpha = 1 / sqrt(sigma * sigma + 1), vp = sigma * alpha;
        if (s->sampler == SAMPLER_DDIM) {
            alpha = sqrt(s->abar[(int)s->time[i]]);
            vp = sqrt(1 - alpha * alpha);
        }
        *p = s->c.v_prediction ? alpha : 1 / alpha;
        *q = s->c.v_prediction ? -vp : -vp / alpha;
    }
}

static void euler(struct schedule *s, int i, float *x, const float *output, const float *noise)
{
    double from = s->sigma[i], to = s->sigma[i + 1], p, q, up = 0;
    clean_estimate(s, i, &p, &q);
    if (s->sampler == SAMPLER_EULER_A) {
        up = sqrt(fmax(to * to * (from * from - to * to) / (from * from), 0));
        to = sqrt(fmax(to * to - up * up, 0));
    }
    for (size_t k = 0; k < s->values; k++) {
        double x0 = p * x[k] + q * output[k], d = (x[k] - x0) / from;
        double y = x[k] + d * (to - from);
        if (noise) y += up * noise[k];
        x[k] = (float)y;
    }
}

static void ddim(struct schedule *s, int i, float *x, const float *output)
{
    int t = (int)s->time[i], prev = t - s->c.n_train / s->n_steps;
    double abar = s->abar[t], next = prev >= 0 ? s->abar[prev] : s->c.alpha_to_one ? 1 : s->abar[0];
    double p, q;
    clean_estimate(s, i, &p, &q);
    for (size_t k = 0; k < s->values; k++) {
        double x0 = p * x[k] + q * output[k], eps = (x[k] - sqrt(abar) * x0) / sqrt(1 - abar);
        x[k] = (float)(sqrt(next) * x0 + sqrt(1 - next) * eps);
    }
}

/* DPM-Solver++ 2M, midpoint: the second order uses the step before. lambda = -ln sigma in both spaces; in VP space x carries the
 * factor alpha = 1/sqrt(sigma^2+1). */
static void dpmpp(struct schedule *s, int i, float *x, const float *output)
{
    bool vp = s->sampler != SAMPLER_EDM_DPMPP_2M;
    double from = s->sigma[i], to = s->sigma[i + 1], p, q;
    double a_from = vp ? 1 / sqrt(from * from + 1) : 1, a_to = vp ? 1 / sqrt(to * to + 1) : 1;
    bool last = i == s->n_steps - 1; /* ends at sigma 0: first order, which there is simply x0 */
    bool second = s->have_before && !last;
    double keep = (to * a_to) / (from * a_from), h = log(from) - log(to), r = 1;
    if (second) r = (log(s->sigma[i - 1]) - log(from)) / h;
    double move = to > 0 ? -a_to * expm1(-h) : a_to;
    clean_estimate(s, i, &p, &q);
    for (size_t k = 0; k < s->values; k++) {
        double x0 = p * x[k] + q * output[k], d = x0;
        if (second) d += (x0 - s->before[k]) / (2 * r);
        s->before[k] = (float)x0;
        x[k] = (float)(keep * x[k] + move * d);
    }
    s->have_before = true;
}

void schedule_step(struct schedule *s, int i, float *x, const float *output, const float *noise)
{
    switch (s->sampler) {
    case SAMPLER_FLOW_EULER: {
        double d = s->sigma[i + 1] - s->sigma[i];
        for (size_t k = 0; k < s->values; k++) x[k] = (float)(x[k] + d * output[k]);
        return;
    }
    case SAMPLER_EULER:
    case SAMPLER_EDM_EULER:
    case SAMPLER_EULER_A: euler(s, i, x, output, noise); return;
    case SAMPLER_DDIM: ddim(s, i, x, output); return;
    case SAMPLER_DPMPP_2M:
    case SAMPLER_DPMPP_2M_KARRAS:
    case SAMPLER_EDM_DPMPP_2M: dpmpp(s, i, x, output); return;
    }
}

void schedule_add_noise(const struct schedule *s, int i, float *out, const float *clean, const float *noise)
{
    double sigma = s->sigma[i], keep = 1, add = sigma;
    if (i >= s->n_steps) {
        add = 0;
    } else if (s->sampler == SAMPLER_FLOW_EULER) {
        keep = 1 - sigma;
    } else if (!in_ve_space(s)) {
        double abar = s->sampler == SAMPLER_DDIM ? s->abar[(int)s->time[i]] : 1 / (sigma * sigma + 1);
        keep = sqrt(abar);
        add = sqrt(1 - abar);
    }
    for (size_t k = 0; k < s->values; k++) out[k] = (float)(keep * clean[k] + add * noise[k]);
}
