/* packed.h - matrices of Hugging Face checkpoints that are kept as whole numbers of 4 or 8 bits (GPTQ: 2 and 3 as well), or as FP4: found, checked, and turned into
 * the blocks that devices read, value for value.
 *
 * Read     NAME.weight_packed, int32, rows along the inputs (compressed-tensors' pack-quantized); NAME.qweight with .qzeros and .scales, and
 *          .g_idx (GPTQ, both formats, numbers of 3 bits across the words' borders), or columns in AWQ's order; NAME.weight of int8 with NAME.weight_scale (int-quantized); FP4 with E4M3
 *          scales of 16 and one number for all (NVFP4, as compressed-tensors and ModelOpt write it), or powers of two for 32 (MXFP4); and stacked experts
 *          NAME_blocks and NAME_scales of gpt-oss (MXFP4, rows of gate and up in turns).
 *          What the tensors are tells one from the other; bits and group size follow from their shapes.
 * Blocks   4 bits: W4_128 where groups are multiples of 128, else Q4_0, or Q5_0 where zero points differ; 8 bits: Q8_0; NVFP4; MXFP4.
 *          One scale a row (f32) multiplies what the blocks' halves cannot hold. Nothing is rounded: what does not fit is refused.
 * Zeros    GPTQ's first format keeps zero points less one. It is subtracted from whole words, so that a zero of 0 borrows from its neighbour:
 *          adding it to whole words gives back what was there. (Of 3 bits: to each, and what carries is lost.) Where `sym` is true they
 *          are the middle, or the file is of the other format than it says: refused, as is an order of inputs where desc_act is false.
 * Order    GPTQ may sort inputs by how much they matter (act-order): the matrix then says which input each of its columns takes. */
#ifndef HEARTH_LM_PACKED_H
#define HEARTH_LM_PACKED_H

#include "device/device.h"
#include "format/weights.h"

enum packed_form {
    PACKED_NONE,
    PACKED_WORDS, /* int32 [out, in * bits / 32]                        compressed-tensors */
    PACKED_GPTQ,  /* int32 [in * bits / 32, out]                                           */
    PACKED_AWQ,   /* int32 [in, out * bits / 32], eight columns in an order of their own   */
    PACKED_BYTES, /* int8 [out, in]                                                        */
    PACKED_FP4    /* u8 [out, in / 2], the first of two in the low half                    */
};

struct packed {
    enum packed_form form;
    int bits;
    bool less_one; /* zero points of GPTQ's first format */
    bool middle,
        unordered; /* what the configuration promises: zero points in the middle, groups as inputs come */
    int64_t n_out, n_in;
    bool by_turns;    /* stacked experts: even rows, then odd ones */
    int64_t n_groups; /* of inputs that share a scale, in a row */
    const struct tensor *data, *scale;
    const struct tensor *zero;  /* NULL: the middle of the range */
    const struct tensor *order; /* the group of each input; NULL: as they come */
    const struct tensor *whole; /* one number for the matrix; NULL: none */
    bool divides;               /* ... by which values are divided */
};

/* What stands for the matrix NAME.weight (`name` with its ".weight") [n_out, n_in], n_out -1: any. form PACKED_NONE and true: nothing of the
 * sort. false: it is there and cannot be used, *e says why. */
bool packed_find(const struct weights *w, const char *name, int64_t n_out, int64_t n_in, struct packed *p,
                 struct err *e);

/* The same for stacked experts NAME [n_expert, n_out, n_in], whose rows of gate and up may take turns. */
bool packed_find_experts(const struct weights *w, const char *name, int64_t n_expert, int64_t n_out,
                         int64_t n_in, bool by_turns, struct packed *p, struct err *e);

/* Makes the blocks, of expert `ie` where they are stacked (else 0): gate's rows, then up's. *m points into *copy, which the caller frees once
 * linear_new() has copied it. By the device's owner. */
bool packed_matrix(const struct packed *p, int ie, struct device *d, struct matrix *m, void **copy,
                   struct err *e);

#endif
