/* tensor.h - element types, and a tensor as a view into a mapped model file.
 *
 * Layout    row-major, slowest dimension first (a GGUF file lists them the other way round; its reader turns them).
 * Lifetime  `data` and `name` point into the mapping of the struct weights it came from.
 * Alignment a safetensors file promises none: read scalars through memcpy or unaligned loads. */
#ifndef HEARTH_FORMAT_TENSOR_H
#define HEARTH_FORMAT_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
    DT_F32,
    DT_F16,
    DT_BF16,
    DT_F8_E4M3,
    DT_F8_E5M2,
    DT_Q4_0,
    DT_Q4_1,
    DT_Q5_0,
    DT_Q5_1,
    DT_Q8_0,
    DT_Q2_K,
    DT_Q3_K,
    DT_Q4_K,
    DT_Q5_K,
    DT_Q6_K,
    DT_IQ4_NL,
    DT_IQ4_XS,
    DT_IQ2_XXS,
    DT_IQ2_XS,
    DT_IQ2_S,
    DT_IQ3_XXS,
    DT_IQ3_S,
    DT_IQ1_S,
    DT_IQ1_M,
    DT_TQ1_0,
    DT_TQ2_0,
    DT_MXFP4,
    DT_NVFP4,
    DT_W4_128, /* in no file */
    DT_I64,
    DT_I32,
    DT_I16,
    DT_I8,
    DT_U8,
    DT_BOOL,
    DT_F64,
    DT_COUNT
};

struct dtype_info {
    const char *name; /* "Q4_0", as GGUF and safetensors spell it */
    int block_elems;  /* elements a block */
    int block_bytes;  /* bytes a block */
};

const struct dtype_info *dtype_info(enum dtype t);

/* Several elements in one block: GGUF's quantised types. */
static inline bool dtype_is_blocks(enum dtype t) { return dtype_info(t)->block_elems > 1; }

/* Bytes of a row of n elements; 0 when n is not a whole number of blocks or the product overflows. */
size_t dtype_row_bytes(enum dtype t, int64_t n);

/* dst[n] = the n elements at src, as f32. n is a whole number of blocks. Plain C: the definition of each format. */
void dequant_row(enum dtype t, const void *src, float *dst, int64_t n);

/* IEEE half, bfloat16 (round to nearest even) and e4m3fn <-> f32. */
float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f);
static inline float bf16_to_f32(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } v = { .u = (uint32_t)h << 16 };
    return v.f;
}
static inline uint16_t f32_to_bf16(float f)
{
    union {
        float f;
        uint32_t u;
    } v = { .f = f };
    if ((v.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(v.u >> 16 | 0x40); /* keep NaN a NaN */
    return (uint16_t)((v.u + 0x7fffu + (v.u >> 16 & 1)) >> 16);
}
float f8_e4m3_to_f32(uint8_t v);
float f8_e5m2_to_f32(uint8_t v);

#define TENSOR_MAX_DIMS 5

struct tensor {
    const char *name;
    enum dtype type;
    int n_dims;
    int64_t dim[TENSOR_MAX_DIMS]; /* slowest first; unused are 1 */
    const void *data;
    size_t bytes;
};

int64_t tensor_elems(const struct tensor *t);

#endif
