/* schedule.h - noise schedules and samplers: which noise level each step has, and how a step moves the latent.
 *
 * Formulas  the diffusers schedulers of the same names (FlowMatchEulerDiscrete, EulerDiscrete, EulerAncestralDiscrete,
 *           DPMSolverMultistep 2M, DDIM, EDMDPMSolverMultistep, EDMEuler), whose numbers these equal to rounding.
 * Threads   one owner; a schedule belongs to one picture. */
#ifndef HEARTH_IMAGE_SCHEDULE_H
#define HEARTH_IMAGE_SCHEDULE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum sampler {
    SAMPLER_FLOW_EULER,
    SAMPLER_EULER,
    SAMPLER_EULER_A,
    SAMPLER_DPMPP_2M,
    SAMPLER_DPMPP_2M_KARRAS,
    SAMPLER_DDIM,
    SAMPLER_EDM_DPMPP_2M,
    SAMPLER_EDM_EULER
};

enum spacing { SPACING_LEADING, SPACING_LINSPACE, SPACING_TRAILING };

struct schedule_config {
    enum sampler sampler;        /* the model's own */
    int n_train;                 /* 1000 */
    double beta_start, beta_end; /* scaled_linear */
    enum spacing spacing;
    int steps_offset;
    bool v_prediction, alpha_to_one;
    bool zero_snr;     /* betas rescaled to end without signal */
    bool euler_karras; /* noise levels of SAMPLER_EULER; DPM++ has a sampler of its own */
    double sigma_min, sigma_max, sigma_data, rho; /* EDM */
    /* Flow: static shift, or mu from the number of image tokens */
    bool dynamic_shift;
    double shift, base_shift, max_shift;
    int base_tokens, max_tokens;
};

/* From a pipeline's scheduler_config.json. */
bool schedule_config_from_json(struct schedule_config *c, const json_t *config, struct err *e);
/* What files without a configuration mean. */
struct schedule_config schedule_config_flux(bool schnell);
struct schedule_config schedule_config_sdxl(void);

/* "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "ddim", "flow_euler", "edm_dpmpp_2m", "edm_euler"; -1: no such name */
int sampler_by_name(const char *name);
const char *sampler_name(enum sampler s);

struct schedule;
/* n_steps of the config's process under `sampler`; n_tokens: image tokens, for the dynamic shift. Values: latent elements that a
 * step will move (a multistep sampler remembers that many). */
bool schedule_new(struct schedule **out, const struct schedule_config *c, enum sampler sampler, int n_steps,
                  int n_tokens, size_t values, struct err *e);
void schedule_free(struct schedule *s);

int schedule_steps(const struct schedule *s);
double schedule_start(const struct schedule *s);        /* factor of the initial unit noise */
double schedule_sigma(const struct schedule *s, int i); /* i = 0..n_steps */
double schedule_time(const struct schedule *s,
                     int i); /* what the network is told: sigma, timestep or c_noise */
/* Factor of the latent before it goes into the network at step i. */
double schedule_input_scale(const struct schedule *s, int i);
bool schedule_wants_noise(const struct schedule *s); /* step() takes fresh unit noise */
/* x [values] is moved from step i to i+1 by the network's output. Steps run in order; the first may be any (image to image). */
void schedule_step(struct schedule *s, int i, float *x, const float *output, const float *noise);
/* out = clean brought to the noise level of step i (i = n_steps: clean itself). */
void schedule_add_noise(const struct schedule *s, int i, float *out, const float *clean, const float *noise);
/* First step to run so that only the share `strength` of the steps is run. */
int schedule_begin(const struct schedule *s, double strength);

#endif
