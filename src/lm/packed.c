#include "lm/packed.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/quant.h"
#include "lm/quantization.h"

#define ADVICE "use a GGUF, BF16, F16 or FP8 version of this model"
#define BLOCK 32 /* inputs that are taken at a time */
#define ROWS 16  /* and outputs: neighbours in a line of GPTQ's and AWQ's words */

/* ---- what lies in the file ------------------------------------------------------------------------------------------ */

static const struct tensor *sibling(const struct weights *w, const char *name, const char *tail)
{
    char at[300];
    const size_t n = strlen(name) - strlen(".weight");
    snprintf(at, sizeof at, "%.*s%s", (int)n, name, tail);
    return weights_find(w, at);
}

static bool is_shape(const struct tensor *t, int64_t rows, int64_t cols)
{
    return t->n_dims == 2 && t->dim[0] == rows && t->dim[1] == cols;
}

static bool misfit(const struct tensor *t, const char *why, struct err *e)
{
    return err_set(e, ERR_FORMAT, "%.160s: %s", t->name, why);
}

/* Bits of a number where `words` of 32 hold n; 0: none that are read. */
static int bits_of(int64_t words, int64_t n)
{
    return n > 0 && words == n / 8 && n % 8 == 0 ? 4 : n > 0 && words == n / 4 && n % 4 == 0 ? 8 : 0;
}

/* The same, of GPTQ's columns. */
static int bits_of_gptq(int64_t words, int64_t n)
{
    static const int more[] = { 2, 3 };
    for (int i = 0; i < 2; i++)
        if (n > 0 && n % 32 == 0 && words == n / 32 * more[i]) return more[i];
    return bits_of(words, n);
}

/* Groups of a row: whole blocks of inputs each. */
static bool take_groups(struct packed *p, int64_t n_groups, struct err *e)
{
    p->n_groups = n_groups;
    if (n_groups < 1 || p->n_in % n_groups)
        return misfit(p->scale, "its scales do not divide the inputs into groups of one size", e);
    if (p->n_in / n_groups % BLOCK)
        return err_set(e, ERR_UNSUPPORTED,
                       "%.160s: groups of %lld inputs are not supported (multiples of 32 are)",
                       p->scale->name, (long long)(p->n_in / n_groups));
    return true;
}

static bool check_numbers(const struct packed *p, struct err *e)
{
    if (p->scale->type > DT_BF16)
        return err_set(e, ERR_UNSUPPORTED, "%.160s: scales of type %s are not supported", p->scale->name,
                       dtype_info(p->scale->type)->name);
    if (p->zero && p->zero->type != DT_I32 && p->zero->type != DT_I8)
        return misfit(p->zero, "zero points that are no whole numbers", e);
    if (p->order && (p->order->type != DT_I32 || tensor_elems(p->order) != p->n_in))
        return misfit(p->order, "not one group number for each input", e);
    return true;
}

static bool find_words(const struct weights *w, const char *name, struct packed *p, struct err *e)
{
    p->form = PACKED_WORDS;
    p->zero = sibling(w, name, ".weight_zero_point");
    p->order = sibling(w, name, ".weight_g_idx");
    if (p->n_out < 0) p->n_out = p->data->dim[0];
    p->bits = p->data->n_dims == 2 ? bits_of(p->data->dim[1], p->n_in) : 0;
    if (!p->bits || !is_shape(p->data, p->n_out, p->n_in * p->bits / 32))
        return err_set(
            e, ERR_UNSUPPORTED,
            "%.160s: not a [%lld,%lld] matrix of 4 or 8 bits; other widths are not supported; " ADVICE,
            p->data->name, (long long)p->n_out, (long long)p->n_in);
    if (!p->scale || p->scale->dim[0] != p->n_out)
        return misfit(p->data, "its scales are missing or do not fit", e);
    if (!take_groups(p, p->scale->n_dims == 2 ? p->scale->dim[1] : 1, e)) return false;
    if (tensor_elems(p->scale) != p->n_out * p->n_groups)
        return misfit(p->scale, "not a number for each group", e);
    if (p->zero && (p->zero->type != DT_I32 || p->n_out % (32 / p->bits) ||
                    !is_shape(p->zero, p->n_out * p->bits / 32, p->n_groups)))
        return misfit(p->zero, "zero points that do not fit the scales", e);
    return true;
}

/* What GPTQ's configuration says of all of its matrices. */
static void take_promises(const json_t *q, struct packed *p)
{
    const char *format = json_string_value(json_object_get(q, "checkpoint_format"));
    p->less_one = !format || strcmp(format, "gptq_v2") != 0;
    if (json_object_size(json_object_get(q, "dynamic"))) return; /* modules differ */
    p->middle = json_is_true(json_object_get(q, "sym"));
    p->unordered = json_is_false(json_object_get(q, "desc_act"));
}

static bool find_columns(const struct weights *w, const char *name, struct packed *p, struct err *e)
{
    p->scale = sibling(w, name, ".scales");
    p->zero = sibling(w, name, ".qzeros");
    p->order = sibling(w, name, ".g_idx");
    const int64_t *dim = p->data->dim;
    if (!p->scale || !p->zero || p->data->n_dims != 2 || p->scale->n_dims != 2)
        return misfit(p->data, "its .scales or .qzeros are missing", e);
    if (p->n_out < 0) p->n_out = p->scale->dim[1];
    if (dim[0] == p->n_in) {
        p->form = PACKED_AWQ;
        p->bits = bits_of(dim[1], p->n_out);
        if (p->bits == 8) p->bits = 0; /* its order is for eight in a word */
    } else {
        p->form = PACKED_GPTQ;
        p->bits = dim[1] == p->n_out ? bits_of_gptq(dim[0], p->n_in) : 0;
        take_promises(quantization_of(w), p);
    }
    if (!p->bits || p->n_out * p->bits % 32)
        return err_set(
            e, ERR_UNSUPPORTED,
            "%.160s: [%lld,%lld] is not a [%lld,%lld] matrix of GPTQ's 2, 3, 4 or 8 bits or AWQ's 4; " ADVICE,
            p->data->name, (long long)dim[0], (long long)dim[1], (long long)p->n_out, (long long)p->n_in);
    if (!take_groups(p, p->scale->dim[0], e)) return false;
    if (p->scale->dim[1] != p->n_out) return misfit(p->scale, "not one column for each output", e);
    if (p->zero->type != DT_I32 || !is_shape(p->zero, p->n_groups, p->n_out * p->bits / 32))
        return misfit(p->zero, "zero points that do not fit the scales", e);
    return true;
}

static bool find_fp4(const struct weights *w, const char *name, struct packed *p, struct err *e)
{
    p->form = PACKED_FP4;
    p->bits = 4;
    if (p->n_out < 0) p->n_out = p->data->dim[0];
    if (!is_shape(p->data, p->n_out, p->n_in / 2) || p->n_in % 2)
        return err_set(e, ERR_FORMAT, "%.160s: not a [%lld,%lld] matrix of FP4", p->data->name,
                       (long long)p->n_out, (long long)p->n_in);
    p->whole = sibling(w, name, ".weight_scale_2");
    if (!p->whole) {
        p->whole = sibling(w, name, ".weight_global_scale");
        p->divides = p->whole != NULL;
    }
    const bool nv = p->scale && p->scale->type == DT_F8_E4M3, mx = p->scale && p->scale->type == DT_U8;
    if (nv && p->n_in % QK_NVFP4 == 0 && is_shape(p->scale, p->n_out, p->n_in / 16) && p->whole) {
        float f;
        if (p->whole->type != DT_F32 || tensor_elems(p->whole) != 1)
            return misfit(p->whole, "not one F32 number", e);
        memcpy(&f, p->whole->data, sizeof f);
        if (!(isfinite(f) && f > 0)) return misfit(p->whole, "not a positive number: the file is damaged", e);
        p->n_groups = p->n_in / 16;
        return true;
    }
    if (mx && p->n_in % BLOCK == 0 && is_shape(p->scale, p->n_out, p->n_in / BLOCK) && !p->whole) {
        p->n_groups = p->n_in / BLOCK;
        return true;
    }
    return misfit(p->data, "FP4 whose scales are neither NVFP4's nor MXFP4's", e);
}

/* Whole numbers without a pack, a scale for the matrix, each row or each group. */
static bool find_bytes(struct packed *p, const struct tensor *zero, struct err *e)
{
    p->form = PACKED_BYTES;
    p->bits = 8;
    if (p->n_out < 0) p->n_out = p->data->dim[0];
    if (!is_shape(p->data, p->n_out, p->n_in))
        return err_set(e, ERR_FORMAT, "%.160s: expected [%lld,%lld]", p->data->name, (long long)p->n_out,
                       (long long)p->n_in);
    if (!p->scale) return misfit(p->data, "whole numbers without a weight_scale", e);
    for (int64_t i = 0; zero && i < tensor_elems(zero); i++) {
        float z;
        if (zero->type != DT_I8) return misfit(zero, "zero points that are not int8", e);
        dequant_row(DT_I8, (const char *)zero->data + i, &z, 1);
        if (z != 0)
            return err_set(e, ERR_UNSUPPORTED, "%.160s: int8 with zero points is not supported", zero->name);
    }
    const int64_t elems = tensor_elems(p->scale);
    if (elems == 1) return take_groups(p, 1, e);
    if (p->scale->dim[0] != p->n_out || elems % p->n_out)
        return misfit(p->scale, "not a number for each row", e);
    return take_groups(p, elems / p->n_out, e);
}

bool packed_find(const struct weights *w, const char *name, int64_t n_out, int64_t n_in, struct packed *p,
                 struct err *e)
{
    *p = (struct packed){ .n_out = n_out, .n_in = n_in };
    const size_t n = strlen(name), m = strlen(".weight");
    if (n <= m || strcmp(name + n - m, ".weight") != 0 || n > 256 || n_in < 1) return true;
    p->scale = sibling(w, name, ".weight_scale");
    const struct tensor *plain = weights_find(w, name);
    bool ok = true;
    if ((p->data = sibling(w, name, ".weight_packed")) != NULL) {
        if (p->data->type == DT_I32)
            ok = find_words(w, name, p, e);
        else if (p->data->type == DT_U8)
            ok = find_fp4(w, name, p, e);
        else
            return misfit(p->data, "packed numbers that are neither int32 nor uint8", e);
    } else if ((p->data = sibling(w, name, ".qweight")) != NULL && p->data->type == DT_I32) {
        ok = find_columns(w, name, p, e);
    } else if (plain && plain->type == DT_U8) {
        p->data = plain;
        ok = find_fp4(w, name, p, e);
    } else if (plain && plain->type == DT_I8) {
        p->data = plain;
        ok = find_bytes(p, sibling(w, name, ".weight_zero_point"), e);
    }
    if (!ok) return false;
    return p->form == PACKED_NONE || p->form == PACKED_FP4 || check_numbers(p, e);
}

bool packed_find_experts(const struct weights *w, const char *name, int64_t n_expert, int64_t n_out,
                         int64_t n_in, bool by_turns, struct packed *p, struct err *e)
{
    char at[300];
    *p = (struct packed){ .n_out = n_out, .n_in = n_in, .bits = 4, .by_turns = by_turns };
    snprintf(at, sizeof at, "%.200s_blocks", name);
    p->data = weights_find(w, at);
    if (!p->data) return true;
    snprintf(at, sizeof at, "%.200s_scales", name);
    p->scale = weights_find(w, at);
    if (!p->scale) return misfit(p->data, "its scales are missing", e);
    p->form = PACKED_FP4;
    if (n_in % BLOCK || (by_turns && n_out % 2))
        return err_set(e, ERR_UNSUPPORTED, "%.160s: experts of [%lld,%lld] in MXFP4 are not supported",
                       p->data->name, (long long)n_out, (long long)n_in);
    p->n_groups = n_in / BLOCK;
    const int64_t want[4] = { n_expert, n_out, p->n_groups, BLOCK / 2 };
    bool fits =
        p->data->type == DT_U8 && p->scale->type == DT_U8 && p->data->n_dims == 4 && p->scale->n_dims == 3;
    for (int i = 0; fits && i < 4; i++)
        fits = p->data->dim[i] == want[i] && (i == 3 || p->scale->dim[i] == want[i]);
    if (fits) return true;
    return err_set(e, ERR_FORMAT,
                   "%.160s: expected MXFP4 of [%lld,%lld,%lld,%d], and a scale for each of the last",
                   p->data->name, (long long)n_expert, (long long)n_out, (long long)p->n_groups, BLOCK / 2);
}

/* ---- conversion ----------------------------------------------------------------------------------------------------- */

struct job {
    const struct packed *p;
    enum dtype type;
    unsigned char *blocks;
    size_t row_bytes;
    float *row_scale;
    const int32_t *from; /* [n_in] or NULL */
    int64_t expert;      /* of stacked ones */
    atomic_int fault;    /* the first of enum fault */
};

enum fault { FAULT_NONE, FAULT_WIDE, FAULT_SCALE, FAULT_FINE, FAULT_SIGN };

static void fail(struct job *j, enum fault f)
{
    int none = FAULT_NONE;
    atomic_compare_exchange_strong(&j->fault, &none, (int)f);
}

static uint32_t word_at(const struct tensor *t, int64_t i)
{
    uint32_t v;
    memcpy(&v, (const unsigned char *)t->data + 4 * (size_t)i, sizeof v);
    return v;
}

/* Where in AWQ's word the column stands that is k-th of eight. */
static int awq_place(int64_t k) { return (int)(k & 1 ? 4 + k / 2 : k / 2); }

/* The i-th number of 3 bits in words that are `apart` from each other, the first one at `first`. */
static unsigned three_bits(const struct tensor *t, int64_t first, int64_t apart, int64_t i)
{
    const int64_t at = first + 3 * i / 32 * apart;
    const int shift = (int)(3 * i % 32);
    const unsigned low = word_at(t, at) >> shift;
    return (shift > 29 ? low | word_at(t, at + apart) << (32 - shift) : low) & 7;
}

/* The number of row o and input i as it is stored: 0 .. 2^bits - 1. */
static inline unsigned number(const struct packed *p, int64_t o, int64_t i)
{
    if (p->bits == 3) return three_bits(p->data, o, p->n_out, i);
    const int per = 32 / p->bits;
    const unsigned mask = (1u << p->bits) - 1;
    switch (p->form) {
    case PACKED_WORDS: return word_at(p->data, o * (p->n_in / per) + i / per) >> p->bits * (i % per) & mask;
    case PACKED_GPTQ: return word_at(p->data, i / per * p->n_out + o) >> p->bits * (i % per) & mask;
    case PACKED_AWQ: return word_at(p->data, i * (p->n_out / 8) + o / 8) >> 4 * awq_place(o % 8) & 15;
    default: return ((const uint8_t *)p->data->data)[o * p->n_in + i] ^ 0x80u; /* int8: from -128 */
    }
}

static int zero_of(const struct packed *p, int64_t o, int64_t g)
{
    const int per = 32 / p->bits;
    const unsigned mask = (1u << p->bits) - 1;
    if (!p->zero) return 1 << (p->bits - 1);
    if (p->form == PACKED_WORDS)
        return (int)(word_at(p->zero, o / per * p->n_groups + g) >> p->bits * (o % per) & mask);
    if (p->bits == 3)
        return (int)(three_bits(p->zero, g * (p->n_out * 3 / 32), 1, o) + (p->less_one ? 1 : 0)) & 7;
    uint32_t v = word_at(p->zero, g * (p->n_out / per) + o / per);
    if (p->form == PACKED_AWQ) return (int)(v >> 4 * awq_place(o % 8) & 15);
    if (p->less_one) v += UINT32_MAX / mask; /* a one in each place */
    return (int)(v >> p->bits * (o % per) & mask);
}

static float scale_of(const struct packed *p, int64_t o, int64_t g)
{
    const bool columns = p->form == PACKED_GPTQ || p->form == PACKED_AWQ;
    const int64_t at = tensor_elems(p->scale) == 1 ? 0 : columns ? g * p->n_out + o : o * p->n_groups + g;
    float f;
    dequant_row(p->scale->type,
                (const unsigned char *)p->scale->data + (size_t)at * dtype_row_bytes(p->scale->type, 1), &f,
                1);
    return f;
}

/* The halves of a row's groups, and what multiplies the row: 1; where one group is the row its scale; or a power of two that brings scales
 * which a half is too short for into its range. */
static void row_scales(struct job *j, int64_t o, uint16_t *half)
{
    const struct packed *p = j->p;
    float most = 0;
    bool exact = p->n_groups > 1;
    for (int64_t g = 0; g < p->n_groups; g++) {
        const float s = scale_of(p, o, g), a = fabsf(s);
        if (!isfinite(s)) {
            fail(j, FAULT_SCALE);
            return;
        }
        if (a > most) most = a;
        half[g] = f32_to_f16(s);
        exact &= f16_to_f32(half[g]) == s;
    }
    j->row_scale[o] = 1;
    if (exact) return;
    if (p->n_groups == 1) {
        half[0] = f32_to_f16(1);
        j->row_scale[o] = scale_of(p, o, 0);
        return;
    }
    int exponent;
    frexpf(most, &exponent);
    for (int64_t g = 0; g < p->n_groups; g++) {
        const float s = ldexpf(scale_of(p, o, g), -exponent);
        half[g] = f32_to_f16(s);
        if (f16_to_f32(half[g]) != s) fail(j, FAULT_FINE);
    }
    j->row_scale[o] = ldexpf(1, exponent);
}

/* 32 inputs from column k of row o on, of group g, into the row's blocks. */
static void put_block(struct job *j, int64_t o, int64_t k, int64_t g, uint16_t half)
{
    const struct packed *p = j->p;
    const int zero = zero_of(p, o, g);
    unsigned char *row = j->blocks + (size_t)o * j->row_bytes;
    uint8_t q[BLOCK];
    for (int i = 0; i < BLOCK; i++) q[i] = (uint8_t)number(p, o, j->from ? j->from[k + i] : k + i);
    if (j->type == DT_W4_128) {
        struct w4_128 *b = (struct w4_128 *)row + k / QK_W4;
        uint8_t *qs = b->qs + k % QK_W4 / 2;
        b->d = half;
        b->zero = (uint8_t)zero;
        b->unused = 0;
        for (int i = 0; i < 16; i++) qs[i] = (uint8_t)(q[i] | q[i + 16] << 4);
    } else if (j->type == DT_Q4_0) {
        struct q4_0 *b = (struct q4_0 *)row + k / BLOCK;
        b->d = half;
        for (int i = 0; i < BLOCK; i++) q[i] = (uint8_t)(q[i] - zero + 8); /* 0 .. 15: see type_of() */
        for (int i = 0; i < 16; i++) b->qs[i] = (uint8_t)(q[i] | q[i + 16] << 4);
    } else if (j->type == DT_Q5_0) {
        struct q5_0 *b = (struct q5_0 *)row + k / BLOCK;
        b->d = half;
        memset(b->qh, 0, sizeof b->qh);
        for (int i = 0; i < BLOCK; i++) {
            const int v = q[i] - zero + 16; /* 0 .. 31 */
            b->qh[i / 8] |= (uint8_t)((v >> 4 & 1) << i % 8);
            q[i] = (uint8_t)(v & 15);
        }
        for (int i = 0; i < 16; i++) b->qs[i] = (uint8_t)(q[i] | q[i + 16] << 4);
    } else {
        struct q8_0 *b = (struct q8_0 *)row + k / BLOCK;
        b->d = half;
        for (int i = 0; i < BLOCK; i++) {
            const int v = q[i] - zero;
            if (v < -128 || v > 127) fail(j, FAULT_WIDE);
            b->qs[i] = (int8_t)v;
        }
    }
}

static void convert_part(void *arg, int ith, int nth)
{
    struct job *j = arg;
    const struct packed *p = j->p;
    const int64_t tiles = (p->n_out + ROWS - 1) / ROWS, group = p->n_in / p->n_groups;
    uint16_t *half = malloc((size_t)p->n_groups * ROWS * sizeof *half);
    if (!half) {
        fail(j, FAULT_SCALE);
        return;
    }
    for (int64_t t = tiles * ith / nth; t < tiles * (ith + 1) / nth; t++) {
        const int64_t o0 = t * ROWS, o1 = o0 + ROWS < p->n_out ? o0 + ROWS : p->n_out;
        for (int64_t o = o0; o < o1; o++) row_scales(j, o, half + (o - o0) * p->n_groups);
        if (atomic_load(&j->fault)) break;
        for (int64_t k = 0; k < p->n_in; k += BLOCK)
            for (int64_t o = o0; o < o1; o++)
                put_block(j, o, k, k / group, half[(o - o0) * p->n_groups + k / group]);
    }
    free(half);
}

static void convert_fp4_part(void *arg, int ith, int nth)
{
    struct job *j = arg;
    const struct packed *p = j->p;
    float whole = 1;
    if (p->whole) memcpy(&whole, p->whole->data, sizeof whole);
    for (int64_t o = p->n_out * ith / nth; o < p->n_out * (ith + 1) / nth; o++) {
        const int64_t at = j->expert * p->n_out + o, to = p->by_turns ? o % 2 * (p->n_out / 2) + o / 2 : o;
        const uint8_t *from = (const uint8_t *)p->data->data + (size_t)(at * (p->n_in / 2));
        const uint8_t *scale = (const uint8_t *)p->scale->data + (size_t)(at * p->n_groups);
        unsigned char *row = j->blocks + (size_t)to * j->row_bytes;
        const int size = (int)(p->n_in / p->n_groups); /* 16 or 32 */
        j->row_scale[o] = p->divides ? 1 / whole : whole;
        for (int64_t g = 0; g < p->n_groups; g++, from += size / 2) {
            uint8_t *qs;
            if (j->type == DT_MXFP4) {
                struct mxfp4 *b = (struct mxfp4 *)row + g;
                b->e = scale[g];
                qs = b->qs;
                if (scale[g] == 255) fail(j, FAULT_SCALE);
            } else {
                struct nvfp4 *b = (struct nvfp4 *)row + g / 4;
                b->d[g % 4] = scale[g];
                qs = b->qs + 8 * (g % 4);
                if (scale[g] >= 0x7f) fail(j, scale[g] == 0x7f ? FAULT_SCALE : FAULT_SIGN);
            }
            for (int i = 0; i < size / 2; i++) { /* element i low, i + size / 2 high */
                const int a = from[i / 2] >> 4 * (i & 1) & 15;
                const int h = i + size / 2, b = from[h / 2] >> 4 * (h & 1) & 15;
                qs[i] = (uint8_t)(a | b << 4);
            }
        }
    }
}

static bool all_zeros_are(const struct packed *p, int value)
{
    for (int64_t o = 0; o < p->n_out; o++)
        for (int64_t g = 0; g < p->n_groups; g++)
            if (zero_of(p, o, g) != value) return false;
    return true;
}

static enum dtype type_of(const struct packed *p)
{
    if (p->form == PACKED_FP4) return p->whole ? DT_NVFP4 : DT_MXFP4;
    if (p->bits == 8) return DT_Q8_0;
    if (p->n_in / p->n_groups % QK_W4 == 0) return DT_W4_128;
    return p->bits < 4 || all_zeros_are(p, 8) ? DT_Q4_0 : DT_Q5_0;
}

/* from[k]: the input that stands k-th when they are sorted by group. *sorted: they are as they come. */
static bool read_order(const struct packed *p, int32_t *from, bool *sorted, struct err *e)
{
    const int64_t group = p->n_in / p->n_groups;
    int64_t *at = calloc((size_t)p->n_groups, sizeof *at);
    if (!at) return err_set(e, ERR_NOMEM, "no memory for the order of inputs");
    bool ok = true;
    *sorted = true;
    for (int64_t i = 0; ok && i < p->n_in; i++) {
        const int64_t g = (int32_t)word_at(p->order, i);
        ok = g >= 0 && g < p->n_groups && at[g] < group;
        if (!ok) break;
        *sorted &= g == i / group;
        from[g * group + at[g]++] = (int32_t)i;
    }
    free(at);
    if (ok && !*sorted && p->unordered)
        return misfit(p->order, "an order of inputs, although desc_act is false", e);
    return ok || misfit(p->order, "group numbers that are out of range, or groups of different sizes", e);
}

static bool keeps_promises(const struct packed *p, struct err *e)
{
    if (!p->middle || !p->zero || all_zeros_are(p, 1 << (p->bits - 1))) return true;
    return misfit(
        p->zero,
        "zero points that are not the middle, although `sym` is true: is checkpoint_format the file's?", e);
}

static bool tell(const struct packed *p, int fault, struct err *e)
{
    switch (fault) {
    case FAULT_NONE: return true;
    case FAULT_WIDE:
        return err_set(e, ERR_UNSUPPORTED,
                       "%.160s: numbers of 8 bits with such zero points are not supported; " ADVICE,
                       p->data->name);
    case FAULT_FINE:
        return err_set(e, ERR_UNSUPPORTED,
                       "%.160s: scales of more bits than a half has are not supported; " ADVICE,
                       p->scale->name);
    case FAULT_SIGN: return misfit(p->scale, "negative scales: the file is damaged", e);
    default: return misfit(p->scale, "scales that are infinite or NaN: the file is damaged", e);
    }
}

bool packed_matrix(const struct packed *p, int ie, struct device *d, struct matrix *m, void **copy,
                   struct err *e)
{
    struct job j = { .p = p, .type = type_of(p), .expert = ie };
    size_t n, bytes;
    const size_t order = p->order ? (size_t)p->n_in * sizeof(int32_t) : 0,
                 rows = (size_t)p->n_out * sizeof(float);
    j.row_bytes = dtype_row_bytes(j.type, p->n_in);
    if (!mem_mul((size_t)p->n_out, j.row_bytes, &n))
        return err_set(e, ERR_LIMIT, "%.160s is too large", p->data->name);
    bytes = order + rows + n;
    unsigned char *at = malloc(bytes);
    if (!at) return err_set(e, ERR_NOMEM, "no memory to read %.160s", p->data->name);
    int32_t *from = (int32_t *)at;
    bool sorted = true;
    j.row_scale = (float *)(at + order);
    j.blocks = at + order + rows;
    if (!keeps_promises(p, e) || (p->order && !read_order(p, from, &sorted, e))) {
        free(at);
        return false;
    }
    j.from = sorted ? NULL : from;
    device_run_host(d, p->form == PACKED_FP4 ? convert_fp4_part : convert_part, &j);
    if (!tell(p, atomic_load(&j.fault), e)) {
        free(at);
        return false;
    }
    *m = (struct matrix){
        .type = j.type, .n_out = p->n_out, .n_in = p->n_in, .data = j.blocks, .from = j.from
    };
    bool any = false;
    for (int64_t o = 0; o < p->n_out && !any; o++) any = j.row_scale[o] != 1;
    if (any) {
        m->scale = j.row_scale;
        m->scale_rows = 1;
        m->scale_cols = p->n_in;
    }
    *copy = at;
    return true;
}
