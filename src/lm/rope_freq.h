/* rope_freq.h - the angular frequencies of rotary position embedding, under each scaling rule.
 *
 * f_i = theta^(-2i/n_rot), i < n_rot/2, then:
 *   linear  f / factor
 *   llama3  by wavelength: long ones are divided by factor, short ones kept, a linear blend between (Llama 3.1)
 *   yarn    by index: a ramp between kept and divided; cos and sin are multiplied by mscale (Peng et al. 2023)
 * or a list of divisors stored in the file (GGUF rope_freqs.weight), which replaces the llama3 rule. */
#ifndef HEARTH_LM_ROPE_FREQ_H
#define HEARTH_LM_ROPE_FREQ_H

#include <stdbool.h>

enum rope_scaling { ROPE_SCALING_NONE, ROPE_SCALING_LINEAR, ROPE_SCALING_LLAMA3, ROPE_SCALING_YARN };

struct rope_spec {
    int n_rot; /* channels that rotate, even */
    double theta;
    enum rope_scaling scaling;
    double factor;
    double n_ctx_orig;           /* llama3, yarn: context the model was trained with before scaling */
    double low, high;            /* llama3: low_freq_factor, high_freq_factor */
    double beta_fast, beta_slow; /* yarn */
    bool yarn_exact;             /* yarn: correction range not rounded to whole indices ("truncate": false) */
    double mscale;               /* multiplies cos and sin; 1 unless yarn */
};

/* freq [n_rot/2]. divisor [n_rot/2] or NULL. */
void rope_freq(float *freq, const struct rope_spec *r, const float *divisor);

/* The magnitude yarn gives when the files do not: 0.1 ln(factor) + 1. */
double rope_yarn_mscale(double factor);

#endif
