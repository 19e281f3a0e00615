/* schedule_config.c - a scheduler's configuration: which keys each class of the reference has, and what they are when absent. */
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "format/json_memory.h"
#include "format/json_read.h"
#include "image/config_keys.h"
#include "image/schedule.h"

struct schedule_config schedule_config_sdxl(void)
{
    return (struct schedule_config){ .sampler = SAMPLER_EULER,
                                     .n_train = 1000,
                                     .betas = BETAS_SCALED_LINEAR,
                                     .beta_start = 0.00085,
                                     .beta_end = 0.012,
                                     .spacing = SPACING_LEADING,
                                     .steps_offset = 1,
                                     .sigma_data = 0.5,
                                     .rho = 7,
                                     .clip_range = 1,
                                     .threshold_ratio = 0.995,
                                     .threshold_max = 1,
                                     .order = 2,
                                     .lower_order_final = true,
                                     .lambda_min = -INFINITY,
                                     .shift = 1 };
}

struct schedule_config schedule_config_flux(bool schnell)
{
    struct schedule_config c = schedule_config_sdxl();
    c.sampler = SAMPLER_FLOW_EULER;
    c.dynamic_shift = !schnell;
    c.shift = schnell ? 1 : 3;
    c.base_shift = 0.5;
    c.max_shift = 1.15;
    c.base_tokens = 256;
    c.max_tokens = 4096;
    return c;
}

struct schedule_config schedule_config_under(const struct schedule_config *c, enum sampler sampler)
{
    struct schedule_config d = *c, plain = schedule_config_sdxl();
    if (sampler == c->sampler) return d;
    bool edm = sampler == SAMPLER_EDM_DPMPP_2M || sampler == SAMPLER_EDM_EULER;
    d.sampler = sampler;
    if (!edm) { /* the two EDM samplers share their process and its levels */
        d.levels = sampler == SAMPLER_DPMPP_2M_KARRAS ? LEVELS_KARRAS : LEVELS_PLAIN;
        d.sigma_min = d.sigma_max = 0;
    }
    d.log_linear = d.continuous = d.end_sigma_min = d.clip = d.threshold = false;
    d.algorithm = plain.algorithm;
    d.order = plain.order;
    d.heun = d.euler_at_final = false;
    d.lower_order_final = true;
    d.lambda_min = plain.lambda_min;
    d.uncorrected = 0;
    d.bh1 = false;
    return d;
}

/* ---- keys -------------------------------------------------------------------------------------------------- */

/* All that the classes below and their relatives have. A class passes over the keys of the others, and so does the reference:
 * files carry them along when a scheduler was made from another's configuration. */
static const struct config_key known[] = {
    { "num_train_timesteps", NULL },
    { "beta_start", NULL },
    { "beta_end", NULL },
    { "beta_schedule", NULL },
    { "trained_betas", "[null]" },
    { "prediction_type", NULL },
    { "timestep_spacing", NULL },
    { "timestep_type", NULL },
    { "steps_offset", NULL },
    { "rescale_betas_zero_snr", NULL },
    { "clip_sample", NULL },
    { "clip_sample_range", NULL },
    { "set_alpha_to_one", NULL },
    { "thresholding", NULL },
    { "dynamic_thresholding_ratio", NULL },
    { "sample_max_value", NULL },
    { "interpolation_type", NULL },
    { "use_karras_sigmas", NULL },
    { "use_exponential_sigmas", NULL },
    { "use_beta_sigmas", NULL },
    { "use_lu_lambdas", NULL },
    { "use_flow_sigmas", NULL },
    { "flow_shift", NULL },
    { "sigma_min", NULL },
    { "sigma_max", NULL },
    { "sigma_data", NULL },
    { "sigma_schedule", NULL },
    { "rho", NULL },
    { "final_sigmas_type", NULL },
    { "solver_order", NULL },
    { "solver_type", NULL },
    { "algorithm_type", NULL },
    { "lower_order_final", NULL },
    { "euler_at_final", NULL },
    { "lambda_min_clipped", NULL },
    { "variance_type", NULL },
    { "shift", NULL },
    { "base_shift", NULL },
    { "max_shift", NULL },
    { "base_image_seq_len", NULL },
    { "max_image_seq_len", NULL },
    { "use_dynamic_shifting", NULL },
    { "time_shift_type", NULL },
    { "shift_terminal", NULL },
    { "invert_sigmas", NULL },
    { "stochastic_sampling", NULL },
    { "skip_prk_steps", NULL },           /* PNDM */
    { "predict_x0", NULL },               /* UniPC */
    { "disable_corrector", NULL },        /* UniPC */
    { "solver_p", NULL },                 /* UniPC */
    { "noise_sampler_seed", NULL },       /* DPMSolverSDE */
    { "original_inference_steps", NULL }, /* LCM, used in training */
    { "timestep_scaling", NULL },         /* LCM */
    { "clip_sample_threshold", NULL },
    { "skip_time_steps", NULL },
};

bool schedule_config_knows(const char *key)
{
    return config_key_known(known, sizeof known / sizeof *known, key);
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

/* A configuration being read; the first value of a wrong kind is kept for the message. */
struct reader {
    const json_t *o;
    const char *bad;
};

static double number(struct reader *r, const char *key, double fallback)
{
    const json_t *v = json_object_get(r->o, key);
    double x = json_read_number(v, NAN);
    if (!isnan(x)) return x;
    if (v && !json_is_null(v)) r->bad = key;
    return fallback;
}

static int integer(struct reader *r, const char *key, int fallback)
{
    double v = number(r, key, fallback);
    if (v >= 0 && v <= 1e9) return (int)v;
    r->bad = key;
    return fallback;
}

/* As Python sees it: null and 0 are false. */
static bool truth(struct reader *r, const char *key, bool fallback)
{
    const json_t *v = json_object_get(r->o, key);
    if (!v) return fallback;
    if (json_is_number(v)) return json_number_value(v) != 0;
    if (!json_is_boolean(v) && !json_is_null(v)) r->bad = key;
    return json_is_true(v);
}

struct word {
    const char *name;
    int value;
};

/* One of a few words; *out keeps its value when the key is absent. */
static bool word(struct reader *r, const char *key, const struct word *words, size_t n, int *out,
                 struct err *e)
{
    const json_t *v = json_object_get(r->o, key);
    const char *text = json_string_value(v);
    if (!v || json_is_null(v)) return true;
    for (size_t i = 0; text && i < n; i++) {
        if (strcmp(text, words[i].name) == 0) {
            *out = words[i].value;
            return true;
        }
    }
    return err_set(e, ERR_UNSUPPORTED, "scheduler: %s \"%.40s\" is not supported", key,
                   text ? text : "(not a string)");
}
#define WORD(r, key, words, out, e) word(r, key, words, sizeof(words) / sizeof *(words), out, e)

static bool refuse(struct err *e, const char *class, const char *what)
{
    return err_set(e, ERR_UNSUPPORTED, "scheduler: %s with %s is not supported", class, what);
}

/* What a class has that reads the discrete process, and what it takes where the file is silent. */
struct class
{
    const char *name;
    enum sampler sampler;
    bool stands_in; /* another solver of the same process, for one that is not here */
    enum spacing spacing;
    double beta_start, beta_end;
    enum betas betas;
    bool zero_snr; /* knows rescale_betas_zero_snr */
    bool alpha_to_one;
    unsigned predictions; /* bit: enum prediction */
};

#define LINEAR 0.0001, 0.02, BETAS_LINEAR
#define NARROW 0.00085, 0.012, BETAS_LINEAR
enum {
    EPS_V = 1 << PREDICTS_EPSILON | 1 << PREDICTS_V,
    EPS_V_X = EPS_V | 1 << PREDICTS_SAMPLE,
    ALL = EPS_V_X | 1 << PREDICTS_FLOW
};

static const struct class classes[] = {
    { "FlowMatchEulerDiscreteScheduler", SAMPLER_FLOW_EULER, false, SPACING_LINSPACE, LINEAR, false, false,
      0 },
    { "EDMDPMSolverMultistepScheduler", SAMPLER_EDM_DPMPP_2M, false, SPACING_LINSPACE, LINEAR, false, false,
      0 },
    { "EDMEulerScheduler", SAMPLER_EDM_EULER, false, SPACING_LINSPACE, LINEAR, false, false, 0 },
    { "EulerDiscreteScheduler", SAMPLER_EULER, false, SPACING_LINSPACE, LINEAR, true, false, EPS_V_X },
    { "EulerAncestralDiscreteScheduler", SAMPLER_EULER_A, false, SPACING_LINSPACE, LINEAR, true, false,
      EPS_V },
    { "DPMSolverMultistepScheduler", SAMPLER_DPMPP_2M, false, SPACING_LINSPACE, LINEAR, true, false, ALL },
    { "DDIMScheduler", SAMPLER_DDIM, false, SPACING_LEADING, LINEAR, true, true, EPS_V_X },
    { "HeunDiscreteScheduler", SAMPLER_HEUN, false, SPACING_LINSPACE, NARROW, false, false, EPS_V_X },
    { "UniPCMultistepScheduler", SAMPLER_UNIPC, false, SPACING_LINSPACE, LINEAR, true, false, EPS_V_X },
    { "DEISMultistepScheduler", SAMPLER_DEIS, false, SPACING_LINSPACE, LINEAR, false, false, EPS_V_X },
    { "LMSDiscreteScheduler", SAMPLER_LMS, false, SPACING_LINSPACE, LINEAR, false, false, EPS_V_X },
    { "DDPMScheduler", SAMPLER_DDPM, false, SPACING_LEADING, LINEAR, true, true, EPS_V_X },
    { "LCMScheduler", SAMPLER_LCM, false, SPACING_LEADING, 0.00085, 0.012, BETAS_SCALED_LINEAR, true, true,
      EPS_V_X },
    { "TCDScheduler", SAMPLER_TCD, false, SPACING_LEADING, 0.00085, 0.012, BETAS_SCALED_LINEAR, true, true,
      EPS_V_X },
    { "PNDMScheduler", SAMPLER_PNDM, false, SPACING_LEADING, LINEAR, false, false, EPS_V },
    { "KDPM2DiscreteScheduler", SAMPLER_EULER, true, SPACING_LINSPACE, NARROW, false, false, EPS_V },
    { "KDPM2AncestralDiscreteScheduler", SAMPLER_EULER_A, true, SPACING_LINSPACE, NARROW, false, false,
      EPS_V },
    { "DPMSolverSDEScheduler", SAMPLER_DPMPP_2M, true, SPACING_LINSPACE, NARROW, false, false, EPS_V },
    { "DPMSolverSinglestepScheduler", SAMPLER_DPMPP_2M, true, SPACING_LINSPACE, LINEAR, false, false,
      EPS_V_X },
};

/* The discrete processes: what the table of noise levels and the steps through it depend on. */
static bool read_process(struct reader *r, struct schedule_config *c, const struct class *k, struct err *e)
{
    static const struct word spacings[] = { { "leading", SPACING_LEADING },
                                            { "linspace", SPACING_LINSPACE },
                                            { "trailing", SPACING_TRAILING } };
    static const struct word betas[] = { { "linear", BETAS_LINEAR },
                                         { "scaled_linear", BETAS_SCALED_LINEAR },
                                         { "squaredcos_cap_v2", BETAS_COSINE } };
    static const struct word predictions[] = { { "epsilon", PREDICTS_EPSILON },
                                               { "v_prediction", PREDICTS_V },
                                               { "sample", PREDICTS_SAMPLE },
                                               { "original_sample", PREDICTS_SAMPLE },
                                               { "flow_prediction", PREDICTS_FLOW } };
    int spacing = (int)k->spacing, beta = (int)k->betas, prediction = PREDICTS_EPSILON;
    if (!WORD(r, "timestep_spacing", spacings, &spacing, e) || !WORD(r, "beta_schedule", betas, &beta, e) ||
        !WORD(r, "prediction_type", predictions, &prediction, e))
        return false;
    c->spacing = (enum spacing)spacing;
    c->betas = (enum betas)beta;
    c->prediction = (enum prediction)prediction;
    if (!(k->predictions >> prediction & 1))
        return err_set(e, ERR_UNSUPPORTED, "scheduler: %s with prediction_type \"%s\" is not supported",
                       k->name, json_string_value(json_object_get(r->o, "prediction_type")));
    c->beta_start = number(r, "beta_start", k->beta_start);
    c->beta_end = number(r, "beta_end", k->beta_end);
    c->zero_snr = k->zero_snr && truth(r, "rescale_betas_zero_snr", false);
    c->steps_offset = integer(r, "steps_offset", 0);
    /* The published SDXL configurations of classes without this key mean false by its absence. */
    c->alpha_to_one = truth(r, "set_alpha_to_one", k->alpha_to_one);
    return true;
}

/* Which of the ways to lay out the levels is asked for. The class itself takes one at most. */
static bool read_levels(struct reader *r, struct schedule_config *c, const char *class, struct err *e)
{
    bool karras = truth(r, "use_karras_sigmas", false), expo = truth(r, "use_exponential_sigmas", false),
         beta = truth(r, "use_beta_sigmas", false);
    if (karras + expo + beta > 1)
        return err_set(e, ERR_FORMAT,
                       "scheduler: only one of use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas "
                       "can be true");
    c->levels = karras ? LEVELS_KARRAS : expo ? LEVELS_EXPONENTIAL : beta ? LEVELS_BETA : LEVELS_PLAIN;
    if (c->sampler == SAMPLER_DPMPP_2M && !karras && truth(r, "use_lu_lambdas", false)) c->levels = LEVELS_LU;
    bool flow = truth(r, "use_flow_sigmas", false);
    if (flow && (c->sampler == SAMPLER_UNIPC || c->sampler == SAMPLER_DEIS))
        return refuse(e, class, "use_flow_sigmas");
    if (flow && c->sampler == SAMPLER_DPMPP_2M) {
        if (c->levels != LEVELS_PLAIN) return refuse(e, class, "use_flow_sigmas beside another layout");
        c->levels = LEVELS_FLOW;
    }
    return true;
}

static bool read_end(struct reader *r, struct schedule_config *c, struct err *e)
{
    static const struct word ends[] = { { "zero", 0 }, { "sigma_min", 1 } };
    int end = 0;
    if (!WORD(r, "final_sigmas_type", ends, &end, e)) return false;
    c->end_sigma_min = end;
    return true;
}

static bool read_order(struct reader *r, struct schedule_config *c, const char *class, struct err *e)
{
    c->order = integer(r, "solver_order", 2);
    c->lower_order_final = truth(r, "lower_order_final", true);
    return (c->order >= 1 && c->order <= 3) || refuse(e, class, "a solver_order other than 1, 2 or 3");
}

static bool read_dpm(struct reader *r, struct schedule_config *c, const char *class, struct err *e)
{
    static const struct word algorithms[] = { { "dpmsolver++", DPM_SOLVER_PP },
                                              { "deis", DPM_SOLVER_PP },
                                              { "dpmsolver", DPM_SOLVER },
                                              { "sde-dpmsolver++", SDE_DPM_SOLVER_PP },
                                              { "sde-dpmsolver", SDE_DPM_SOLVER } };
    static const struct word solvers[] = {
        { "midpoint", 0 }, { "heun", 1 }, { "logrho", 0 }, { "bh1", 0 }, { "bh2", 0 }
    };
    int algorithm = DPM_SOLVER_PP, heun = 0;
    if (!WORD(r, "algorithm_type", algorithms, &algorithm, e) || !WORD(r, "solver_type", solvers, &heun, e) ||
        !read_end(r, c, e))
        return false;
    bool edm = c->sampler == SAMPLER_EDM_DPMPP_2M;
    c->algorithm = (enum algorithm)algorithm;
    c->heun = heun;
    if (!read_order(r, c, class, e)) return false;
    c->euler_at_final = truth(r, "euler_at_final", false);
    bool of_noise = c->algorithm == DPM_SOLVER || c->algorithm == SDE_DPM_SOLVER;
    if (of_noise && (edm || !c->end_sigma_min))
        return refuse(e, class, "algorithm_type dpmsolver that ends at zero");
    if (of_noise && c->prediction == PREDICTS_FLOW)
        return refuse(e, class, "algorithm_type dpmsolver and prediction_type flow_prediction");
    if (c->order == 3 && (c->algorithm == SDE_DPM_SOLVER || (edm && c->algorithm == SDE_DPM_SOLVER_PP)))
        return refuse(e, class, "this algorithm_type and solver_order 3");
    if (edm) return true;
    /* Written as -Infinity where there is none. */
    const json_t *lambda = json_object_get(r->o, "lambda_min_clipped");
    if (json_is_number(lambda) && json_number_value(lambda) > -1e30)
        c->lambda_min = json_number_value(lambda);
    const char *variance = json_string_value(json_object_get(r->o, "variance_type"));
    if (variance && strncmp(variance, "learned", 7) == 0) return refuse(e, class, "a learned variance_type");
    c->shift = number(r, "flow_shift", 1);
    return true;
}

static void read_clipping(struct reader *r, struct schedule_config *c)
{
    enum sampler k = c->sampler;
    bool by_default = k == SAMPLER_DDIM || k == SAMPLER_DDPM;
    if (by_default || k == SAMPLER_LCM || k == SAMPLER_HEUN) {
        c->clip = truth(r, "clip_sample", by_default);
        c->clip_range = number(r, "clip_sample_range", 1);
    }
    if (k == SAMPLER_DDIM || k == SAMPLER_DDPM || k == SAMPLER_LCM || k == SAMPLER_DPMPP_2M ||
        k == SAMPLER_EDM_DPMPP_2M || k == SAMPLER_UNIPC || k == SAMPLER_DEIS) {
        c->threshold = truth(r, "thresholding", false);
        c->threshold_ratio = number(r, "dynamic_thresholding_ratio", 0.995);
        c->threshold_max = number(r, "sample_max_value", 1);
    }
}

static bool read_unipc(struct reader *r, struct schedule_config *c, const char *class, struct err *e)
{
    static const struct word solvers[] = {
        { "bh1", 1 }, { "bh2", 0 }, { "midpoint", 0 }, { "heun", 0 }, { "logrho", 0 }
    };
    int bh1 = 0;
    if (!WORD(r, "solver_type", solvers, &bh1, e) || !read_order(r, c, class, e) || !read_end(r, c, e))
        return false;
    c->bh1 = bh1;
    const json_t *off = json_object_get(r->o, "disable_corrector"), *p = json_object_get(r->o, "solver_p"),
                 *one;
    size_t i;
    if (!truth(r, "predict_x0", true)) return refuse(e, class, "predict_x0 false");
    if (p && !json_is_null(p)) return refuse(e, class, "solver_p");
    if (truth(r, "use_dynamic_shifting", false)) return refuse(e, class, "use_dynamic_shifting");
    if (number(r, "shift_terminal", 0) != 0) return refuse(e, class, "shift_terminal");
    json_array_foreach(off, i, one)
    {
        json_int_t at = json_is_integer(one) ? json_integer_value(one) : -1;
        if (at < 0 || at > 63) return refuse(e, class, "such a disable_corrector");
        c->uncorrected |= 1ull << at;
    }
    return true;
}

static bool read_deis(struct reader *r, struct schedule_config *c, const char *class, struct err *e)
{
    static const struct word algorithms[] = { { "deis", 0 }, { "dpmsolver", 0 }, { "dpmsolver++", 0 } };
    static const struct word solvers[] = {
        { "logrho", 0 }, { "midpoint", 0 }, { "heun", 0 }, { "bh1", 0 }, { "bh2", 0 }
    };
    int same = 0;
    c->end_sigma_min = true;
    return WORD(r, "algorithm_type", algorithms, &same, e) && WORD(r, "solver_type", solvers, &same, e) &&
           read_order(r, c, class, e);
}

static bool read_ddpm(struct reader *r, struct schedule_config *c, struct err *e)
{
    static const struct word kinds[] = { { "fixed_small", 0 },
                                         { "fixed_small_log", 0 },
                                         { "fixed_large", 1 } };
    int large = 0;
    if (!WORD(r, "variance_type", kinds, &large, e)) return false;
    c->large_variance = large;
    return true;
}

static bool read_distilled(struct reader *r, struct schedule_config *c, struct err *e)
{
    c->trained_steps = integer(r, "original_inference_steps", 50);
    c->time_scale = number(r, "timestep_scaling", 10);
    if (c->trained_steps >= 1 && c->trained_steps <= c->n_train && isfinite(c->time_scale)) return true;
    return err_set(e, ERR_FORMAT, "scheduler: original_inference_steps is not a number from 1 to %d",
                   c->n_train);
}

static bool read_euler(struct reader *r, struct schedule_config *c, struct err *e)
{
    static const struct word layouts[] = { { "linear", 0 }, { "log_linear", 1 } };
    static const struct word kinds[] = { { "discrete", 0 }, { "continuous", 1 } };
    int log_linear = 0, continuous = 0;
    if (!WORD(r, "interpolation_type", layouts, &log_linear, e) ||
        !WORD(r, "timestep_type", kinds, &continuous, e) || !read_end(r, c, e))
        return false;
    c->log_linear = log_linear;
    c->continuous = continuous && c->prediction == PREDICTS_V;
    return true;
}

static bool read_edm(struct reader *r, struct schedule_config *c, struct err *e)
{
    static const struct word layouts[] = { { "karras", LEVELS_KARRAS },
                                           { "exponential", LEVELS_EXPONENTIAL } };
    static const struct word predictions[] = { { "epsilon", PREDICTS_EPSILON },
                                               { "v_prediction", PREDICTS_V } };
    int levels = LEVELS_KARRAS, prediction = PREDICTS_EPSILON;
    if (!WORD(r, "sigma_schedule", layouts, &levels, e) || !read_end(r, c, e) ||
        !WORD(r, "prediction_type", predictions, &prediction, e))
        return false;
    c->levels = (enum levels)levels;
    c->prediction = (enum prediction)prediction;
    c->sigma_min = number(r, "sigma_min", 0.002);
    c->sigma_max = number(r, "sigma_max", 80);
    c->sigma_data = number(r, "sigma_data", 0.5);
    c->rho = number(r, "rho", 7);
    return true;
}

static bool read_flow(struct reader *r, struct schedule_config *c, const char *class, struct err *e)
{
    static const struct word shifts[] = { { "exponential", 0 }, { "linear", 1 } };
    int linear = 0;
    if (!WORD(r, "time_shift_type", shifts, &linear, e) || !read_levels(r, c, class, e)) return false;
    c->linear_shift = linear;
    c->dynamic_shift = truth(r, "use_dynamic_shifting", false);
    c->inverted = truth(r, "invert_sigmas", false);
    c->stochastic = truth(r, "stochastic_sampling", false);
    c->from_table = truth(r, "use_flow_sigmas", false);
    c->shift = number(r, "shift", 1);
    c->base_shift = number(r, "base_shift", 0.5);
    c->max_shift = number(r, "max_shift", 1.15);
    c->shift_terminal = number(r, "shift_terminal", 0);
    c->base_tokens = integer(r, "base_image_seq_len", 256);
    c->max_tokens = integer(r, "max_image_seq_len", 4096);
    if (c->shift_terminal < 0 || c->shift_terminal >= 1)
        return err_set(e, ERR_FORMAT, "scheduler: shift_terminal %g is not between 0 and 1",
                       c->shift_terminal);
    return true;
}

static bool read_class(struct reader *r, struct schedule_config *c, const struct class *k, struct err *e)
{
    bool discrete = k->predictions != 0;
    if (discrete && !read_process(r, c, k, e)) return false;
    switch (c->sampler) {
    case SAMPLER_FLOW_EULER: return read_flow(r, c, k->name, e);
    case SAMPLER_EDM_EULER: return read_edm(r, c, e);
    case SAMPLER_EDM_DPMPP_2M: return read_edm(r, c, e) && read_dpm(r, c, k->name, e);
    case SAMPLER_EULER: return read_levels(r, c, k->name, e) && read_euler(r, c, e);
    case SAMPLER_DPMPP_2M:
    case SAMPLER_DPMPP_2M_KARRAS: return read_levels(r, c, k->name, e) && read_dpm(r, c, k->name, e);
    case SAMPLER_HEUN:
    case SAMPLER_LMS: return read_levels(r, c, k->name, e);
    case SAMPLER_UNIPC: return read_levels(r, c, k->name, e) && read_unipc(r, c, k->name, e);
    case SAMPLER_DEIS: return read_levels(r, c, k->name, e) && read_deis(r, c, k->name, e);
    case SAMPLER_DDPM: return read_ddpm(r, c, e);
    case SAMPLER_LCM:
    case SAMPLER_TCD: return read_distilled(r, c, e);
    case SAMPLER_PNDM:
        return truth(r, "skip_prk_steps", false) || refuse(e, k->name, "skip_prk_steps false (its default)");
    case SAMPLER_EULER_A:
    case SAMPLER_DDIM: return true;
    }
    return true;
}

static bool read_config(struct reader *r, struct schedule_config *c, const struct class *k, struct err *e)
{
    c->n_train = integer(r, "num_train_timesteps", 1000);
    if (!read_class(r, c, k, e)) return false;
    read_clipping(r, c);
    if (c->levels != LEVELS_PLAIN) { /* of any class that lays them out, if the file has them */
        c->sigma_min = number(r, "sigma_min", c->sigma_min);
        c->sigma_max = number(r, "sigma_max", c->sigma_max);
    }
    if (r->bad) return err_set(e, ERR_FORMAT, "scheduler: %s has a value of a wrong kind", r->bad);
    bool edm = c->sampler == SAMPLER_EDM_DPMPP_2M || c->sampler == SAMPLER_EDM_EULER;
    if (c->n_train < 2 || c->n_train > 100000 || c->sigma_min < 0 || c->sigma_max < 0 ||
        (edm && !(c->sigma_min > 0 && c->sigma_max > c->sigma_min)) || !(c->rho > 0) ||
        !(c->sigma_data > 0) || (c->sampler == SAMPLER_FLOW_EULER && c->max_tokens == c->base_tokens) ||
        !(c->shift > 0) || !(c->threshold_ratio >= 0 && c->threshold_ratio <= 1) || !(c->clip_range > 0) ||
        !(c->beta_start >= 0) || !(c->beta_end < 1) ||
        !isfinite(c->sigma_min + c->sigma_max + c->sigma_data) ||
        !isfinite(c->rho + c->shift + c->base_shift + c->max_shift)) {
        return err_set(e, ERR_FORMAT, "scheduler: impossible numbers (training steps %d, sigma %g to %g)",
                       c->n_train, c->sigma_min, c->sigma_max);
    }
    if (c->sampler == SAMPLER_DPMPP_2M && c->levels == LEVELS_KARRAS) c->sampler = SAMPLER_DPMPP_2M_KARRAS;
    return true;
}

bool schedule_config_from_json(struct schedule_config *c, const json_t *config, const char *class,
                               struct err *e)
{
    const char *own = json_string_value(json_object_get(config, "_class_name"));
    const char *name = class ? class : own;
    size_t k = 0, n = sizeof classes / sizeof *classes;
    while (k < n && (!name || strcmp(classes[k].name, name) != 0)) k++;
    if (k == n)
        return err_set(e, ERR_UNSUPPORTED, "scheduler \"%.60s\" is not supported",
                       name ? name : "(no _class_name)");
    if (own && strcmp(own, name) != 0)
        log_info("scheduler: %s as model_index.json says, from a configuration of %.60s", name, own);
    if (classes[k].stands_in)
        log_warn("scheduler %s is not known here; %s draws in its place", name,
                 sampler_name(classes[k].sampler));

    /* Values that were another class's defaults when the file was written are no values. */
    json_t *o = json_memory_copy(config);
    if (!o) return err_set(e, ERR_NOMEM, "no memory for a configuration");
    const json_t *defaults = json_object_get(config, "_use_default_values"), *one;
    size_t i;
    json_array_foreach(defaults, i, one)
    {
        if (json_is_string(one)) json_object_del(o, json_string_value(one));
    }
    *c = classes[k].sampler == SAMPLER_FLOW_EULER ? schedule_config_flux(false) : schedule_config_sdxl();
    c->sampler = classes[k].sampler;
    struct reader r = { .o = o };
    bool ok = config_keys_check(o, known, sizeof known / sizeof *known, "scheduler", e) &&
              read_config(&r, c, &classes[k], e);
    json_decref(o);
    return ok;
}
