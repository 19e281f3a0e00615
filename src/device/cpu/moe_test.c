/* moe_test.c - routed experts: each row the same to the bit alone and among others, on any number of threads, whether experts go side
 * by side or one after the other; and what the layers say one by one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "device/cpu/each_isa.h"

enum { N_IN = 256, N_HIDDEN = 512, N_EXPERT = 9, K = 3, N_ROWS = 90 };

static float uniform(uint64_t stream, uint64_t i)
{
    return (float)(2.0 * philox_uniform(11, stream, i) - 1.0);
}

/* Random bytes are a valid matrix once the scales (f16, at the head of each block) are tame. */
static void random_matrix(enum dtype type, unsigned char *data, size_t n_elems, uint64_t stream)
{
    const struct dtype_info *info = dtype_info(type);
    const size_t n = n_elems / (size_t)info->block_elems, size = (size_t)info->block_bytes;
    const uint16_t scale = f32_to_f16(type == DT_Q4_K ? 0.0004f : 0.0006f);
    for (size_t i = 0; i < n * size; i++) data[i] = (unsigned char)(philox_uniform(3, stream, i) * 256);
    for (size_t i = 0; i < n && type != DT_BF16; i++) {
        memcpy(data + i * size, &scale, 2);
        if (type == DT_Q4_K) memcpy(data + i * size + 2, &scale, 2);
    }
    for (size_t i = 0; i < n_elems && type == DT_BF16; i++) {
        const float f = uniform(stream, i) / 16;
        memcpy(data + 2 * i, (const unsigned char *)&f + 2, 2);
    }
}

struct experts {
    struct linear *gate_up[N_EXPERT], *down[N_EXPERT];
};

static void make(struct experts *x, struct device *d, enum dtype type)
{
    static unsigned char gate[N_IN * N_HIDDEN * 2], up[N_IN * N_HIDDEN * 2];
    struct err e = { 0 };
    for (int i = 0; i < N_EXPERT; i++) {
        random_matrix(type, gate, N_IN * N_HIDDEN, (uint64_t)(3 * i));
        random_matrix(type, up, N_IN * N_HIDDEN, (uint64_t)(3 * i + 1));
        const struct matrix m[] = { { .type = type, .n_out = N_HIDDEN, .n_in = N_IN, .data = gate },
                                    { .type = type, .n_out = N_HIDDEN, .n_in = N_IN, .data = up } };
        if (!linear_new(d, &x->gate_up[i], m, 2, LINEAR_PAIRED, NULL, 1, &e)) fail_msg("%s", e.msg);
        random_matrix(type, gate, N_IN * N_HIDDEN, (uint64_t)(3 * i + 2));
        const struct matrix w = { .type = type, .n_out = N_IN, .n_in = N_HIDDEN, .data = gate };
        if (!linear_new(d, &x->down[i], &w, 1, LINEAR_CONCAT, NULL, 1, &e)) fail_msg("%s", e.msg);
    }
}

static void forget(struct experts *x)
{
    for (int i = 0; i < N_EXPERT; i++) {
        linear_free(x->gate_up[i]);
        linear_free(x->down[i]);
    }
}

/* Three of nine experts a row, ascending; nearly all rows choose the last one, so that it has more rows than a lot. */
static void choose(int32_t *expert, float *weight)
{
    for (int r = 0; r < N_ROWS; r++) {
        const int first = r % 5, second = first + 1 + r % 2;
        expert[K * r] = first;
        expert[K * r + 1] = second;
        expert[K * r + 2] = r % 10 == 3 ? 7 : 8;
        for (int i = 0; i < K; i++) weight[K * r + i] = 0.1f + (float)(r * K + i) / 400;
    }
}

static float x[N_ROWS * N_IN], weight[N_ROWS * K];
static int32_t expert[N_ROWS * K];

static void run(struct device *d, const struct experts *w, int r0, int n, bool on_input, float *y)
{
    for (int i = 0; i < n * N_IN; i++) y[i] = uniform(5, (uint64_t)(r0 * N_IN + i));
    op_moe(d, &(struct moe_args){ .gate_up = w->gate_up,
                                  .down = w->down,
                                  .n_expert = N_EXPERT,
                                  .x = x + r0 * N_IN,
                                  .ldx = N_IN,
                                  .y = y,
                                  .ldy = N_IN,
                                  .n = n,
                                  .expert = expert + r0 * K,
                                  .weight = weight + r0 * K,
                                  .k = K,
                                  .epi = EPI_SWIGLU,
                                  .weight_on_input = on_input });
}

/* The row's experts by themselves. */
static void by_hand(struct device *d, const struct experts *w, int r, bool on_input, float *y)
{
    float in[N_IN], hidden[N_HIDDEN], out[N_IN];
    for (int i = 0; i < N_IN; i++) y[i] = uniform(5, (uint64_t)(r * N_IN + i));
    for (int k = 0; k < K; k++) {
        const int id = expert[r * K + k];
        const float by = weight[r * K + k];
        for (int i = 0; i < N_IN; i++) in[i] = x[r * N_IN + i] * (on_input ? by : 1);
        op_linear(d, &(struct linear_args){ .w = w->gate_up[id],
                                            .x = in,
                                            .ldx = N_IN,
                                            .y = hidden,
                                            .ldy = N_HIDDEN,
                                            .n = 1,
                                            .epi = EPI_SWIGLU });
        op_linear(d, &(struct linear_args){
                         .w = w->down[id], .x = hidden, .ldx = N_HIDDEN, .y = out, .ldy = N_IN, .n = 1 });
        for (int i = 0; i < N_IN; i++) y[i] += out[i] * (on_input ? 1 : by);
    }
}

static void check(unsigned mask, enum dtype type, int threads, bool fine, bool on_input)
{
    static float all[N_ROWS * N_IN], some[N_ROWS * N_IN], one[N_IN];
    static const int lots[] = { 1, 2, 5, 16, 17, 40 };
    struct pool *pool;
    struct device *d = each_isa_open(&pool, threads, mask);
    struct experts w;
    make(&w, d, type);
    for (int i = 0; fine && i < N_EXPERT; i++) linear_set_fine(w.gate_up[i]), linear_set_fine(w.down[i]);
    run(d, &w, 0, N_ROWS, on_input, all);
    for (size_t l = 0; l < sizeof lots / sizeof *lots; l++)
        for (int r = 0; r < N_ROWS; r += lots[l]) {
            const int n = N_ROWS - r < lots[l] ? N_ROWS - r : lots[l];
            run(d, &w, r, n, on_input, some);
            assert_memory_equal(some, all + r * N_IN, (size_t)(n * N_IN) * sizeof *some);
        }
    for (int r = 0; r < N_ROWS; r += 7) {
        by_hand(d, &w, r, on_input, one);
        for (int i = 0; i < N_IN; i++)
            if (!(fabsf(one[i] - all[r * N_IN + i]) <= 1e-5f * (1 + fabsf(one[i]))))
                fail_msg("%s: row %d: %g, expected %g", dtype_info(type)->name, r, (double)all[r * N_IN + i],
                         (double)one[i]);
    }
    forget(&w);
    each_isa_close(d, pool);
}

static void test_alone_and_in_company(unsigned mask)
{
    for (int i = 0; i < N_ROWS * N_IN; i++) x[i] = uniform(1, (uint64_t)i);
    choose(expert, weight);
    check(mask, DT_Q4_K, 2, false, false);
    check(mask, DT_Q8_0, 1, false, true);
    check(mask, DT_Q8_0, 3, true, false);
    check(mask, DT_BF16, 2, false, false);
}

static const void *pick(unsigned isa) { return quant_kern_pick(isa); }

int main(void)
{
    static const struct each_isa_test each[] = { { "alone_and_in_company", test_alone_and_in_company } };
    return each_isa("routed experts", each, 1,
                    ISA_NEON | ISA_DOTPROD | ISA_I8MM | ISA_AVX2 | ISA_AVXVNNI | ISA_AVX512 | ISA_AMX, pick,
                    NULL, 0);
}
