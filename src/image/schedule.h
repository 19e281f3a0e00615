/* schedule.h - noise schedules and samplers: which noise level each step has, and how a step moves the latent.
 *
 * Formulas  the diffusers schedulers of the same names (FlowMatchEulerDiscrete, EulerDiscrete, EulerAncestralDiscrete,
 *           DPMSolverMultistep, DDIM, EDMDPMSolverMultistep, EDMEuler, HeunDiscrete, UniPCMultistep, DEISMultistep, LMSDiscrete,
 *           DDPM, LCM, TCD, PNDM), whose numbers these equal to rounding.
 * Memory    latents, outputs and noise are the device's; a step is linear combinations of them (op_lincomb).
 * Threads   one owner, who holds the device; a schedule belongs to one picture. */
#ifndef HEARTH_IMAGE_SCHEDULE_H
#define HEARTH_IMAGE_SCHEDULE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "device/device.h"

enum sampler {
    SAMPLER_FLOW_EULER,
    SAMPLER_EULER,
    SAMPLER_EULER_A,
    SAMPLER_DPMPP_2M,
    SAMPLER_DPMPP_2M_KARRAS,
    SAMPLER_DDIM,
    SAMPLER_EDM_DPMPP_2M,
    SAMPLER_EDM_EULER,
    SAMPLER_HEUN,
    SAMPLER_UNIPC,
    SAMPLER_DEIS,
    SAMPLER_LMS,
    SAMPLER_DDPM,
    SAMPLER_LCM,
    SAMPLER_TCD,
    SAMPLER_PNDM
};

enum spacing { SPACING_LEADING, SPACING_LINSPACE, SPACING_TRAILING };
enum betas { BETAS_LINEAR, BETAS_SCALED_LINEAR, BETAS_COSINE };
enum prediction { PREDICTS_EPSILON, PREDICTS_V, PREDICTS_SAMPLE, PREDICTS_FLOW };
/* How the noise levels between the highest and the lowest are laid out. */
enum levels { LEVELS_PLAIN, LEVELS_KARRAS, LEVELS_EXPONENTIAL, LEVELS_BETA, LEVELS_LU, LEVELS_FLOW };
enum algorithm { DPM_SOLVER_PP, DPM_SOLVER, SDE_DPM_SOLVER_PP, SDE_DPM_SOLVER };

/* The process a model was trained in, then how its own sampler solves it. A request's other sampler solves the same process with
 * the settings that its name stands for. */
struct schedule_config {
    enum sampler sampler; /* the model's own */
    int n_train;          /* 1000 */
    enum betas betas;
    double beta_start, beta_end;
    enum prediction prediction;
    enum spacing spacing;
    int steps_offset;
    bool alpha_to_one;
    bool zero_snr;               /* betas rescaled to end without signal */
    double sigma_min, sigma_max; /* EDM: of the process; others: ends of the levels, 0: the table's */
    double sigma_data, rho;      /* EDM */

    enum levels levels;
    bool log_linear;    /* Euler: levels between the table's ends, evenly in their logarithm */
    bool continuous;    /* Euler: the network is told ln(sigma) / 4 */
    bool end_sigma_min; /* the last step ends at the lowest level, not at 0 */
    bool clip;
    double clip_range;
    bool threshold;
    double threshold_ratio, threshold_max;
    /* DPM-Solver */
    enum algorithm algorithm;
    int order;
    bool heun, lower_order_final, euler_at_final;
    double lambda_min;              /* -INFINITY: none */
    bool bh1;                       /* UniPC */
    unsigned long long uncorrected; /* UniPC: bit i: the corrector is left out after step i */
    int trained_steps;              /* LCM, TCD: the most steps, which the others are chosen from */
    double time_scale;              /* LCM */
    bool large_variance;            /* DDPM */
    /* Flow: static shift, or mu from the number of image tokens */
    bool dynamic_shift, linear_shift, inverted, stochastic, from_table;
    double shift, base_shift, max_shift, shift_terminal;
    int base_tokens, max_tokens;
};

/* From a pipeline's scheduler_config.json; class: what model_index.json names, which is what the reference goes by (NULL: the
 * file's own _class_name). */
bool schedule_config_from_json(struct schedule_config *c, const json_t *config, const char *class,
                               struct err *e);
/* Whether some scheduler class of the reference has this key, as far as is known here. */
bool schedule_config_knows(const char *key);
/* What files without a configuration mean. */
struct schedule_config schedule_config_flux(bool schnell);
struct schedule_config schedule_config_sdxl(void);
/* The process of c, solved as `sampler` stands for where that is not c's own. */
struct schedule_config schedule_config_under(const struct schedule_config *c, enum sampler sampler);

/* The most steps that a picture may have. */
int schedule_most_steps(const struct schedule_config *c);
/* "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "ddim", "flow_euler", "edm_dpmpp_2m", ...; -1: no such name */
int sampler_by_name(const char *name);
const char *sampler_name(enum sampler s);

struct schedule;
/* n_steps of the config's process under `sampler`; n_tokens: image tokens, for the dynamic shift. Values: latent elements that a
 * step will move (a multistep sampler remembers that many). */
bool schedule_new(struct schedule **out, struct device *d, const struct schedule_config *c,
                  enum sampler sampler, int n_steps, int n_tokens, size_t values, struct err *e);
void schedule_free(struct schedule *s);

/* Steps to run: evaluations of the network. */
int schedule_steps(const struct schedule *s);
double schedule_start(const struct schedule *s);        /* factor of the initial unit noise */
double schedule_sigma(const struct schedule *s, int i); /* i = 0..schedule_steps() */
double schedule_time(const struct schedule *s,
                     int i); /* what the network is told: sigma, timestep or c_noise */
/* Factor of the latent before it goes into the network at step i. */
double schedule_input_scale(const struct schedule *s, int i);
bool schedule_wants_noise(const struct schedule *s); /* step() takes fresh unit noise */
/* x [values] is moved from step i to i+1 by the network's output, which is overwritten. Steps run in order; the first may be any
 * (image to image). */
void schedule_step(struct schedule *s, int i, dev_float *x, dev_float *output, const dev_float *noise);
/* out = clean brought to the noise level of step i (i = schedule_steps(): clean itself). */
void schedule_add_noise(const struct schedule *s, int i, dev_float *out, const dev_float *clean,
                        const dev_float *noise);
/* First step to run so that only the share `strength` of the steps is run. */
int schedule_begin(const struct schedule *s, double strength);

#endif
