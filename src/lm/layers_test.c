/* Experts against plain C: routed ones and those that every row goes through, whatever gates them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "device/backend.h" /* its arrays are the memory of the CPU */

#include "base/rng.h"
#include "lm/layers.h"

enum { EMBD = 32, FF = 16, SHARED = 24, EXPERTS = 5, USED = 2, ROWS = 7 };

static const struct {
    const char *name;
    int dims, dim[3];
} tensors[] = {
    { "router", 2, { EXPERTS, EMBD } },   { "gate_up", 3, { EXPERTS, 2 * FF, EMBD } },
    { "down", 3, { EXPERTS, EMBD, FF } }, { "shared_gate", 2, { SHARED, EMBD } },
    { "shared_up", 2, { SHARED, EMBD } }, { "shared_down", 2, { EMBD, SHARED } },
};
enum { ROUTER, GATE_UP, DOWN, SHARED_GATE, SHARED_UP, SHARED_DOWN, COUNT };

static float number(int tensor, int i)
{
    return (float)(philox_uniform(7, (uint64_t)tensor, (uint64_t)i) - 0.5) * 0.8f;
}

static int elems(int t)
{
    int n = 1;
    for (int i = 0; i < tensors[t].dims; i++) n *= tensors[t].dim[i];
    return n;
}

static void write_file(const char *path)
{
    char header[2000];
    int at = 0;
    size_t len = 0;
    for (int t = 0; t < COUNT; t++) {
        len += (size_t)snprintf(header + len, sizeof header - len,
                                "%s\"%s\":{\"dtype\":\"F32\",\"data_offsets\":[%d,%d],\"shape\":[",
                                t ? "," : "{", tensors[t].name, at, at + 4 * elems(t));
        for (int i = 0; i < tensors[t].dims; i++)
            len +=
                (size_t)snprintf(header + len, sizeof header - len, "%s%d", i ? "," : "", tensors[t].dim[i]);
        len += (size_t)snprintf(header + len, sizeof header - len, "]}");
        at += 4 * elems(t);
    }
    len += (size_t)snprintf(header + len, sizeof header - len, "}");
    while (len % 8) header[len++] = ' ';
    const uint64_t n = len;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(&n, sizeof n, 1, f);
    fwrite(header, len, 1, f);
    for (int t = 0; t < COUNT; t++)
        for (int i = 0; i < elems(t); i++) {
            const float v = number(t, i);
            fwrite(&v, sizeof v, 1, f);
        }
    assert_int_equal(fclose(f), 0);
}

static double act(enum lm_act a, double v)
{
    if (a == ACT_SILU) return v / (1 + exp(-v));
    if (a == ACT_GELU_ERF) return 0.5 * v * (1 + erf(v / sqrt(2)));
    return 0.5 * v * (1 + tanh(sqrt(2 / 3.14159265358979) * (v + 0.044715 * v * v * v)));
}

/* y += weight * down(act(gate(x)) * up(x)); tensors by number, from these rows and columns on. */
static void feed_forward(double *y, const float *x, double weight, enum lm_act a, int n_ff, int gate,
                         int gate_row, int up, int up_row, int down, int down_row)
{
    double h[SHARED];
    for (int f = 0; f < n_ff; f++) {
        double g = 0, u = 0;
        for (int i = 0; i < EMBD; i++) {
            g += (double)number(gate, (gate_row + f) * EMBD + i) * x[i];
            u += (double)number(up, (up_row + f) * EMBD + i) * x[i];
        }
        h[f] = act(a, g) * u;
    }
    for (int o = 0; o < EMBD; o++)
        for (int f = 0; f < n_ff; f++) y[o] += weight * number(down, (down_row + o) * n_ff + f) * h[f];
}

static void plain(double *y, const float *x, enum lm_act a, bool renorm, bool shared)
{
    double p[EXPERTS], sum = 0, kept = 0;
    bool taken[EXPERTS] = { false };
    for (int e = 0; e < EXPERTS; e++) {
        p[e] = 0;
        for (int i = 0; i < EMBD; i++) p[e] += (double)number(ROUTER, e * EMBD + i) * x[i];
        sum += p[e] = exp(p[e]);
    }
    for (int k = 0; k < USED; k++) {
        int best = -1;
        for (int e = 0; e < EXPERTS; e++)
            if (!taken[e] && (best < 0 || p[e] > p[best])) best = e;
        taken[best] = true;
        kept += p[best];
    }
    for (int e = 0; e < EXPERTS; e++)
        if (taken[e])
            feed_forward(y, x, p[e] / (renorm ? kept : sum), a, FF, GATE_UP, e * 2 * FF, GATE_UP,
                         e * 2 * FF + FF, DOWN, e * EMBD);
    if (shared) feed_forward(y, x, 1, a, SHARED, SHARED_GATE, 0, SHARED_UP, 0, SHARED_DOWN, 0);
}

static void check(const struct weights *w, struct device *d, enum lm_act a, bool renorm, bool shared)
{
    struct err e = { 0 };
    struct arena scales;
    struct tensor_slot slot[COUNT] = { { 0 } }, none = { 0 };
    struct lm_shape s = { .n_embd = EMBD, .n_expert = EXPERTS, .n_expert_used = USED, .act = a };
    s.n_ff_expert = FF;
    s.routing.renorm = renorm;
    for (int t = 0; t < COUNT; t++) slot[t].t = weights_find(w, tensors[t].name);
    const struct expert_slots slots = { .router = &slot[ROUTER],
                                        .router_bias = &none,
                                        .gate_up = &slot[GATE_UP],
                                        .gate = &none,
                                        .up = &none,
                                        .down = &slot[DOWN],
                                        .shared_gate = shared ? &slot[SHARED_GATE] : &none,
                                        .shared_up = shared ? &slot[SHARED_UP] : &none,
                                        .shared_down = shared ? &slot[SHARED_DOWN] : &none };
    struct experts x;
    assert_true(arena_init(&scales, 4096, &e));
    struct layer_maker mk = { .dev = d, .w = w, .scales = &scales };
    if (!layers_experts(&mk, &x, &s, &slots, &e)) fail_msg("%s", e.msg);
    float in[ROWS * EMBD], y[ROWS * EMBD], one[EMBD], logits[ROWS * SHARED], weight[ROWS * USED];
    int32_t expert[ROWS * USED];
    for (int i = 0; i < ROWS * EMBD; i++) in[i] = number(20, i) * 3, y[i] = number(21, i);
    const struct routing r = { .logits = logits, .weight = weight, .expert = expert, .hidden = logits };
    layers_run_experts(d, &x, in, y, ROWS, EMBD, &r);
    for (int row = 0; row < ROWS; row++) {
        double want[EMBD];
        for (int i = 0; i < EMBD; i++) want[i] = number(21, row * EMBD + i);
        plain(want, in + row * EMBD, a, renorm, shared);
        for (int i = 0; i < EMBD; i++)
            if (!(fabs(y[row * EMBD + i] - want[i]) < 1e-4))
                fail_msg("act %d, row %d, channel %d: %g, expected %g", (int)a, row, i,
                         (double)y[row * EMBD + i], want[i]);
        /* alone it is the same row */
        for (int i = 0; i < EMBD; i++) one[i] = number(21, row * EMBD + i);
        layers_run_experts(d, &x, in + row * EMBD, one, 1, EMBD, &r);
        assert_memory_equal(one, y + row * EMBD, sizeof one);
    }
    layers_experts_free(&x);
    arena_free(&scales);
}

static void test_experts(void **state)
{
    (void)state;
    char path[] = "/tmp/hearth-layers-XXXXXX.safetensors";
    const int fd = mkstemps(path, 12);
    struct err e = { 0 };
    struct pool *pool;
    struct device *d = NULL;
    struct weights *w;
    assert_true(fd >= 0);
    close(fd);
    write_file(path);
    if (!weights_open(&w, path, &e)) fail_msg("%s", e.msg);
    if (!pool_new(&pool, 2, &e) || !device_cpu_open(&d, pool, ~0u, &e)) fail_msg("%s", e.msg);
    pool_acquire(pool, POOL_LOAD);
    for (int a = ACT_SILU; a <= ACT_GELU_ERF; a++)
        for (int k = 0; k < 4; k++) check(w, d, (enum lm_act)a, k & 1, k & 2);
    pool_release(pool);
    device_close(d);
    pool_free(pool);
    weights_close(w);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_experts) };
    return cmocka_run_group_tests_name("layers", tests, NULL, NULL);
}
