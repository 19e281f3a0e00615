/* rope_freq.h - the angular frequencies of rotary position embedding, under each scaling rule.
 *
 * f_i = theta^(-2i/n_rot), i < n_rot/2, then:
 *   linear  f / factor
 *   llama3  by wavelength: long ones are divided by factor, short ones kept, a linear blend between (Llama 3.1)
 *   yarn    by index: a ramp between kept and divided; cos and sin are multiplied by mscale (Peng et al. 2023)
 *   long    by lists in the file: one of divisors for contexts of up to n_ctx_orig tokens, one for longer ones (Phi 3: "longrope", "su")
 *   dynamic theta * ((factor * n / n_ctx_orig) - (factor - 1))^(d / (d - 2)) for a context of n > n_ctx_orig tokens
 * The last two depend on the context that is served, not on how far a text has come: what the cache holds of a text stays true when it
 * grows, and the same text has the same bits beside any other.
 * Or a list of divisors stored in the file (GGUF rope_freqs.weight), which replaces the llama3 rule. */
#ifndef HEARTH_LM_ROPE_FREQ_H
#define HEARTH_LM_ROPE_FREQ_H

#include <stdbool.h>

enum rope_scaling {
    ROPE_SCALING_NONE,
    ROPE_SCALING_LINEAR,
    ROPE_SCALING_LLAMA3,
    ROPE_SCALING_YARN,
    ROPE_SCALING_LONG,
    ROPE_SCALING_DYNAMIC
};

enum { ROPE_FACTORS = 256 }; /* at most in a list: of heads of 512 channels */

struct rope_spec {
    int n_rot; /* channels that rotate, even */
    double theta;
    enum rope_scaling scaling;
    double factor;
    double n_ctx_orig;           /* context the model was trained with before scaling */
    double low, high;            /* llama3: low_freq_factor, high_freq_factor */
    double beta_fast, beta_slow; /* yarn */
    bool yarn_exact;             /* yarn: correction range not rounded to whole indices ("truncate": false) */
    double mscale;               /* multiplies cos and sin; 1 unless yarn or long */
    int n_factor;                /* long: entries of each list, n_rot / 2 */
    float near[ROPE_FACTORS], far[ROPE_FACTORS];
};

/* freq [n_rot/2], for a served context of n_ctx tokens. divisor [n_rot/2] or NULL. */
void rope_freq(float *freq, const struct rope_spec *r, const float *divisor, int n_ctx);

/* The magnitude yarn gives when the files do not: 0.1 ln(factor) + 1. */
double rope_yarn_mscale(double factor);
/* The same of long: sqrt(1 + ln(factor) / ln(n_ctx_orig)). */
double rope_long_mscale(double factor, double n_ctx_orig);

#endif
