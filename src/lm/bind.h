/* bind.h - which tensors a family expects, under which names, in which shape.
 *
 * A family lists its tensors in tables of struct tensor_spec, one row a tensor with its name in GGUF and in Hugging Face
 * files. bind_resolve() finds them and checks type and shape; whatever does not match is collected in a report, so
 * that a wrong file is described in one go and before memory is reserved.
 * Names    {l} stands for the layer's number, {e} for the expert's.
 *          A language model inside a larger one has its tensors below another name than "model."; several are known.
 * FP8      an F8_E4M3 matrix NAME has its scale in NAME_scale or NAME_scale_inv: one number, one a row, or one a block
 *          (of the size that quantization_config names, 128x128 unless it does). w = data * scale either way. Stacked
 *          experts [experts, out, in] have one number a row or an expert. Without a scale the numbers stand for themselves, unless the
 *          configuration says that the model is quantised.
 * Rules    what quantization_config says of projections and the head is held against the files (quantized_modules.h).
 * Packed   a matrix of a projection or the head may be kept as whole numbers or FP4 under other names (packed.h). */
#ifndef HEARTH_LM_BIND_H
#define HEARTH_LM_BIND_H

#include "base/buf.h"
#include "base/mem.h"
#include "device/device.h"
#include "format/weights.h"
#include "lm/packed.h"
#include "lm/quantized_modules.h"

#define TENSOR_SPEC_DIMS 3

enum {
    TENSOR_NEEDED = 0,
    TENSOR_OPTIONAL = 1,
    TENSOR_IN_OUT = 2, /* a bit beside these: stacked [experts, in, out], against the convention */
    TENSOR_BY_TURNS =
        4, /* a bit beside IN_OUT: columns of gate and up take turns, instead of standing behind each other */
};

struct tensor_spec {
    int slot;                  /* index in the family's array of slots */
    const char *gguf, *hf;     /* NULL: not in files of that kind */
    int dim[TENSOR_SPEC_DIMS]; /* the family's dimension numbers, slowest first, 0 after the last */
    int need;
};

struct tensor_slot {
    const struct tensor *t;     /* NULL: optional and absent */
    const struct tensor *scale; /* NULL: none */
    int64_t scale_rows, scale_cols;
    bool in_out, by_turns; /* TENSOR_IN_OUT, TENSOR_BY_TURNS */
    struct packed
        packed; /* form PACKED_NONE: t is the matrix; else t is a part of what stands for it (layers.c reads it) */
};

struct binding {
    const struct weights *w;
    const char *body, *head; /* what stands for "model." and before "lm_head" in Hugging Face names */
    const int64_t *dim;      /* value of each dimension number; -1: any (written back to from the file) */
    struct quantized_modules *modules; /* what the configuration says of them; NULL: nothing */
    bool modules_read;
    struct buf bad; /* one line a fault */
    int n_bad;
};

void bind_open(struct binding *t, const struct weights *w, const int64_t *dim);
void bind_resolve(struct binding *t, const struct tensor_spec *spec, int n_spec, int il, int ie,
                  struct tensor_slot *slots);
void bind_fault(struct binding *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Frees the report; false and an error that names the first faults when there were any (all go to the log). */
bool bind_close(struct binding *t, struct err *e);

/* A norm in one of the first n_layer layers that no slot [n] refers to is a fault: without it the network would be another one. */
void bind_other_norms(struct binding *t, int n_layer, const struct tensor_slot *slots, size_t n);

/* Names tensors of the file, up to `cap` bytes, that none of the n slots refers to, and counts them. What other programs keep beside a
 * language model (rotary tables, scales of activations, the other parts of a larger model) does not count, nor do layers [lo, hi). */
size_t bind_unused(const struct weights *w, const struct tensor_slot *slots, size_t n, int lo, int hi,
                   char *names, size_t cap);

/* Memory slot_matrix() takes from the arena for this slot. */
size_t slot_cost(const struct tensor_slot *s);
/* The tensor as f32, to be freed; NULL when the slot is empty or there is no memory. */
float *slot_floats(const struct tensor_slot *s);
/* The slot as a matrix; rows of expert `ie` when the tensor is stacked [experts, out, in] (else ie 0). Of one that lies [in, out] the shape
 * is [out, in], but the data as it lies: to be turned (turn.h). Scales go to the arena. */
struct matrix slot_matrix(const struct tensor_slot *s, int ie, struct arena *a);

#endif
