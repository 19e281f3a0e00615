/* quantized_modules.h - which modules of a Hugging Face model the configuration says are quantised, and how, held against what lies in the
 * files. A folder whose halves do not belong together would be read as numbers that nobody wrote.
 *
 * Followed   compressed-tensors' ignore, targets and config_groups; modules_to_not_convert, exclude and exclude_modules of FP8, AWQ, ModelOpt
 *            and Quark, with their asterisks; GPTQ's dynamic and modules_in_block_to_quantize. A name that may mean another module as well
 *            says nothing of either. What the model begins with ("model.", "language_model." ...) does not matter.
 * Checked    of each projection whether it is quantised, its bits, their kind and the inputs of a group. */
#ifndef HEARTH_LM_QUANTIZED_MODULES_H
#define HEARTH_LM_QUANTIZED_MODULES_H

#include "base/err.h"
#include "format/weights.h"

struct quantized_modules;

/* What lies in the files. */
struct module_numbers {
    bool quantised;
    int bits;      /* of a number */
    bool floating; /* FP8 or FP4 */
    int64_t group; /* inputs that share a scale; 0: not told by the file */
    int64_t n_in;
};

/* *out NULL and true: the configuration says nothing of modules. false: its rules cannot be read. */
bool quantized_modules_open(struct quantized_modules **out, const struct weights *w, struct err *e);
void quantized_modules_close(struct quantized_modules *q);

/* `module`: the name in the file, without ".weight". false: the configuration says something else, *e what. */
bool quantized_modules_check(const struct quantized_modules *q, const char *module,
                             const struct module_numbers *has, struct err *e);

#endif
