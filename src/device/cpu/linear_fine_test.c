/* Fine layers (linear_set_fine): more bits of the activations, the same independence of rows. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "device/cpu/each_isa.h"

enum { N_IN = 512, N_OUT = 75, N_ROWS = 37 };

/* Random bytes are a valid matrix once the scales (f16, at the head of each block) are tame. */
static void random_matrix(enum dtype type, unsigned char *data)
{
    const struct dtype_info *info = dtype_info(type);
    const size_t n = (size_t)N_OUT * N_IN / (size_t)info->block_elems;
    const uint16_t scale = f32_to_f16(0.01f);
    for (size_t i = 0; i < n * (size_t)info->block_bytes; i++)
        data[i] = (unsigned char)(philox_uniform(3, type, i) * 256);
    for (size_t i = 0; i < n; i++) {
        memcpy(data + i * (size_t)info->block_bytes, &scale, 2);
        if (type == DT_Q4_1 || type == DT_Q4_K) memcpy(data + i * (size_t)info->block_bytes + 2, &scale, 2);
    }
}

static void run(struct device *d, const struct linear *l, const float *x, float *y, int64_t n)
{
    struct linear_args a = { .w = l, .x = x, .ldx = N_IN, .y = y, .n = n, .epi = EPI_STORE };
    a.ldy = linear_n_out(l);
    op_linear(d, &a);
}

static void test_precision_and_independence(unsigned mask)
{
    static const enum dtype types[] = { DT_Q4_0, DT_Q4_1, DT_Q8_0, DT_Q4_K };
    static unsigned char data[N_OUT * N_IN * 2];
    static float x[N_ROWS * N_IN], y[N_ROWS * N_OUT], one[N_OUT], first[N_ROWS * N_OUT], row[N_IN];
    for (int i = 0; i < N_ROWS * N_IN; i++)
        x[i] = (float)(philox_uniform(1, 2, (uint64_t)i) - 0.5) * (i % 97 ? 1.0f : 20.0f);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        random_matrix(types[t], data);
        for (int plain = 1; plain >= 0; plain--) {
            struct err e = { 0 };
            struct pool *pool;
            struct device *d = each_isa_open(&pool, 2, plain ? 0 : mask);
            struct linear *l = NULL;
            const struct matrix w = { .type = types[t], .n_out = N_OUT, .n_in = N_IN, .data = data };
            if (!linear_new(d, &l, &w, 1, LINEAR_CONCAT, NULL, 1, &e)) fail_msg("%s", e.msg);
            linear_set_fine(l);
            run(d, l, x, y, N_ROWS);
            double diff = 0, norm = 0;
            for (int o = 0; o < N_OUT; o++) {
                dequant_row(types[t], data + (size_t)o * dtype_row_bytes(types[t], N_IN), row, N_IN);
                for (int r = 0; r < N_ROWS; r++) {
                    double want = 0;
                    for (int i = 0; i < N_IN; i++) want += (double)row[i] * x[r * N_IN + i];
                    diff += pow(y[r * N_OUT + o] - want, 2);
                    norm += pow(want, 2);
                }
            }
            /* 8 bits alone give 5e-3 to 1e-2 on these rows */
            if (!(sqrt(diff / norm) < 1e-4))
                fail_msg("%s: relative error %g", dtype_info(types[t])->name, sqrt(diff / norm));
            for (int r = 0; r < N_ROWS; r++) {
                run(d, l, x + r * N_IN, one, 1);
                assert_memory_equal(one, y + r * N_OUT, sizeof one);
            }
            for (int n = 2; n < N_ROWS; n++) { /* every way the rows fall into panels */
                static float some[N_ROWS * N_OUT];
                run(d, l, x, some, n);
                assert_memory_equal(some, y, (size_t)n * sizeof one);
            }
            if (plain) memcpy(first, y, sizeof y);
            assert_memory_equal(first, y, sizeof y); /* every instruction set gives the same bits */
            linear_free(l);
            each_isa_close(d, pool);
        }
    }
}

static const void *pick(unsigned isa) { return quant_kern_pick(isa); }

int main(void)
{
    static const struct each_isa_test each[] = { { "precision_and_independence",
                                                   test_precision_and_independence } };
    return each_isa("fine layers", each, 1,
                    ISA_NEON | ISA_DOTPROD | ISA_I8MM | ISA_AVX2 | ISA_AVXVNNI | ISA_AVX512 | ISA_AMX, pick,
                    NULL, 0);
}
