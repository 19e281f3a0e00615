/* weights.h - the tensors of a model, whatever they are stored in: a .gguf file (or its first shard), a
 * .safetensors file, a model.safetensors.index.json, or a folder that holds one of these (for a folder with several
 * weight files and no index, all *.safetensors in it).
 *
 * Everything is mapped read-only, nothing is copied. Every count, offset, string and product is checked against the
 * file's size before it is used; a lying file gets one clear error.
 * Threads   read-only after opening; any thread may look things up.
 * Lifetime  tensors and metadata strings live until weights_close(). */
#ifndef HEARTH_FORMAT_WEIGHTS_H
#define HEARTH_FORMAT_WEIGHTS_H

#include <jansson.h>

#include "base/err.h"
#include "format/tensor.h"

struct weights;

bool weights_open(struct weights **out, const char *path, struct err *e);
void weights_close(struct weights *w);
/* False when one of the files was cut or written to since it was opened; *e (ERR_IO) names it, without its folder. Asked for after what
 * was read is used and before the result is believed: a system call a file. Any thread. */
bool weights_intact(const struct weights *w, struct err *e);

const struct tensor *weights_find(const struct weights *w, const char *name); /* NULL when absent; O(1) */
size_t weights_count(const struct weights *w);
const struct tensor *weights_at(const struct weights *w, size_t i); /* in file order */
size_t weights_bytes(const struct weights *w);                      /* sum over the tensors */

/* The folder's config.json (NULL for GGUF or when there is none); borrowed. */
const json_t *weights_config(const struct weights *w);
/* What a tool keeps of its quantisation in a file of its own beside config.json: hf_quant_config.json (ModelOpt), else quantize_config.json
 * (AutoGPTQ), else quant_config.json (AutoAWQ). NULL for GGUF or when there is none; borrowed. *file (may be NULL): its name. */
const json_t *weights_quantization_file(const struct weights *w, const char **file);
/* "" or the folder the files lie in, to find tokenizer.json and friends beside them. */
const char *weights_dir(const struct weights *w);
/* safetensors: the header's __metadata__ strings; NULL when absent. */
const char *weights_note(const struct weights *w, const char *key);
/* ... and those of the first file by number. */
size_t weights_note_count(const struct weights *w);
void weights_note_at(const struct weights *w, size_t i, const char **key, const char **value);

/* GGUF metadata. NULL from weights_gguf() when the model is not GGUF. */
struct gguf;
const struct gguf *weights_gguf(const struct weights *w);

/* Tell the kernel that a tensor's pages are no longer needed (a device repacked it); they come back from the file
 * when read again. */
void weights_forget(const struct weights *w, const struct tensor *t);

#endif
