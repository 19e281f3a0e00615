/* quantization.h - how a Hugging Face model's weights are encoded: what its configuration says, and what lies in the files.
 *
 * Read       plain floating-point numbers, FP8 (F8_E4M3) with scales (bind.h), and whole numbers of 4 or 8 bits and FP4 (packed.h), whichever
 *            library made them: fp8, fbgemm_fp8, compressed-tensors, GPTQ, AWQ, ModelOpt's FP8 and NVFP4, gpt-oss' MXFP4, Quark's FP8. The tensors
 *            themselves tell one from the other.
 * Refused    every other method, by its name: bitsandbytes, HQQ, AQLM and the like; layouts of GPTQ and AWQ for one kernel alone. They are known by
 *            quantization_config, or by the names of their tensors where there is none.
 * Where      quantization_config or compression_config of config.json; where they are absent a file of the tool's own: hf_quant_config.json,
 *            quantize_config.json, quant_config.json. Where both are there and name different algorithms the model is refused.
 * No block, null, {}, nulls alone, "none" and a quant_method of "none" all mean that nothing is quantised. */
#ifndef HEARTH_LM_QUANTIZATION_H
#define HEARTH_LM_QUANTIZATION_H

#include "base/err.h"
#include "format/weights.h"

/* ERR_UNSUPPORTED, in one line that names the encoding. GGUF: always true. */
bool quantization_check(const struct weights *w, struct err *e);

/* The block that says how the weights are quantised, of the text part before that of the whole; NULL: they are not. */
const json_t *quantization_of(const struct weights *w);

/* The library's name for its method, as config.json spells it ("modelopt" ...); "" where nothing is quantised or no name is known. */
const char *quantization_method(const struct weights *w);

/* Rows and columns that share one FP8 scale where there is one for each block; 128 x 128 where nothing is said. */
void quantization_block(const struct weights *w, int64_t *rows, int64_t *cols);

#endif
