/* nn.h - what image networks are made of: named layers found in a file of any layout, with LoRA side branches.
 *
 * Names     a network asks for its tensors by their diffusers (or transformers) names, the canonical ones. Files in the
 *           original layouts (BFL FLUX, LDM checkpoints) answer through `locate`, which turns a canonical name into a
 *           place: a tensor of the file and a range of its rows.
 * Ownership everything a network loads hangs on its struct nn_owner and goes with nn_owner_free().
 * LoRA      a request brings its own set (nn_ctx.lora). The base weights are never touched: y = W x + s B (A x).
 * Errors    missing or misshapen tensors are collected while a network loads and reported together by nn_check().
 * Threads   loading and running belong to whoever holds the device; a loaded network is read-only. */
#ifndef HEARTH_IMAGE_NN_H
#define HEARTH_IMAGE_NN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "device/device.h"
#include "format/weights.h"

/* ---- finding tensors --------------------------------------------------------------------------------------- */

struct nn_place {
    char name[192];       /* in the file, without the source's prefix */
    int64_t row0, n_rows; /* rows of it; n_rows 0: all */
    bool transposed;      /* stored [in, out] (OpenCLIP's text_projection) */
    bool swap_halves;     /* the two halves of the rows stand the other way round (FLUX's last modulation) */
};

/* Canonical name (with .weight or .bias) to place in the file; false: no such tensor in this layout. */
typedef bool (*nn_locate_fn)(const void *arg, const char *name, struct nn_place *out);

struct nn_source {
    struct device *dev;
    const struct weights *w;
    const char *prefix;  /* before every name in the file: "", "first_stage_model." */
    nn_locate_fn locate; /* NULL: the file uses the canonical names */
    const void *locate_arg;
    const char *what; /* "FLUX transformer": for messages */
    bool stay;        /* 16-bit matrices are read from the file at every use: for what a request uses once */
    struct buf problems; /* one line per tensor that is missing or does not match */
    int n_problems;
    bool exact; /* F16 counts with all its bits, where bf16 products would be faster */
    bool
        f32; /* set while loading: some matrix is F32 (or F16 and exact), so products must stay exact to 1e-4 */
};
void nn_source_free(struct nn_source *s);

bool nn_has(struct nn_source *s, const char *name);
/* Dimension i of a tensor (dimension 0: rows of its place); 0 when absent. */
int64_t nn_dim(struct nn_source *s, const char *name, int i);
/* true when nothing was missing; otherwise one error that lists the first problems. */
bool nn_check(struct nn_source *s, struct err *e);

/* An integer of a config.json; fallback when it is absent or null, -1 (which no size may be) when it is something else. */
int nn_config_int(const json_t *config, const char *key, int fallback);

/* ---- layers ------------------------------------------------------------------------------------------------ */

#define NN_PARTS 4

struct nn_linear {
    struct linear *base;
    int64_t n_in, n_out;
    int id, n_parts;
    char *name[NN_PARTS]; /* canonical module names, without .weight: what a LoRA addresses */
    int64_t row0[NN_PARTS], rows[NN_PARTS];
    const struct weights *file;
    const struct tensor *view[NN_PARTS]; /* of the file, read at every use; NULL: a copy */
};

struct nn_owner {
    struct device *dev; /* of what is in its memory */
    void **item;
    unsigned char *kind;
    size_t n, cap;
    struct nn_linear **linear; /* by id */
    int n_linear, cap_linear;
};
void nn_owner_free(struct nn_owner *o);
/* The pages of weights that are read from the file may go; they come back when they are read again. */
void nn_owner_rest(const struct nn_owner *o);

/* The loaders answer NULL after noting the problem in the source. A layer's parts are canonical module names; part i has
 * rows[i] outputs, all have n_in inputs. bias: NN_BIAS the file must have one, NN_NO_BIAS it is not looked for, NN_MAYBE_BIAS
 * used when there. */
enum nn_bias { NN_NO_BIAS, NN_BIAS, NN_MAYBE_BIAS };
struct nn_linear *nn_linear_load(struct nn_owner *o, struct nn_source *s, int n_parts,
                                 const char *const *part, const int64_t *rows, int64_t n_in,
                                 enum linear_join join, enum nn_bias bias);
struct nn_linear *nn_linear1(struct nn_owner *o, struct nn_source *s, const char *module, int64_t n_out,
                             int64_t n_in, enum nn_bias bias);
/* An f32 copy in the device's memory, of any dtype. */
dev_float *nn_vector(struct nn_owner *o, struct nn_source *s, const char *name, int64_t n);
/* Likewise a matrix [rows, cols], for small tables (position embeddings, T5's bias). */
dev_float *nn_table(struct nn_owner *o, struct nn_source *s, const char *name, int64_t rows, int64_t cols);
/* n numbers of the network's own, in the device's memory. */
dev_float *nn_numbers(struct nn_owner *o, struct nn_source *s, const float *v, int64_t n);
/* A table whose rows are looked up (op_embed), [rows, cols], in the file's type and with its scales; data may stay in the file. */
struct table *nn_embedding(struct nn_owner *o, struct nn_source *s, const char *name, int64_t rows,
                           int64_t cols);
struct conv *nn_conv(struct nn_owner *o, struct nn_source *s, const char *module, int n_out, int n_in, int k,
                     enum conv_use use, enum nn_bias bias);

/* Builds a canonical name: NN("down_blocks.%d.resnets.%d", i, j) is valid until the end of the full expression. */
struct nn_name {
    char s[192];
};
struct nn_name nn_name(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
#define NN(...) (nn_name(__VA_ARGS__).s)

/* ---- running ----------------------------------------------------------------------------------------------- */

struct nn_lora;
struct nn_lora_use {
    const struct nn_lora *lora;
    float weight;
};

struct nn_ctx {
    struct device *dev;
    struct device_arena
        *scratch; /* nn_mark() and nn_reset(); sized beforehand by the network's own *_scratch() */
    const struct nn_lora_use *lora;
    int n_lora;
    bool precise; /* f32 products in attention too: set when the network's weights are F32 */
};

/* a.w is taken from l; everything else as for op_linear. PAIRED layers take no LoRA. o: the owner of l. */
void nn_linear_run(struct nn_ctx *c, const struct nn_owner *o, const struct nn_linear *l,
                   struct linear_args a);
/* From the scratch arena, which was sized for it: never NULL in a right program. Host values ids [n] go up at once. */
dev_float *nn_alloc(struct nn_ctx *c, int64_t n);
dev_int *nn_ids(struct nn_ctx *c, const int32_t *ids, int64_t n);
/* What is taken after the mark is given back by the reset. */
static inline size_t nn_mark(const struct nn_ctx *c) { return c->scratch->at.used; }
static inline void nn_reset(struct nn_ctx *c, size_t mark) { c->scratch->at.used = mark; }

#endif
