/* float_ops.c - speed of the float operations on the shapes of real networks, as a share of what the processor's
 * bf16 products reach from registers alone.
 *
 *   float_ops [--threads N] [--isa MASK] [--reps N] [--only TEXT]     MASK: bits of enum isa, all by default
 *
 * One JSON line a case: the best of all repetitions; an operation is a multiplication or an addition. With --threads 1
 * it is processor time that counts, which is what a busy machine can be asked (see machine.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/isa.h"
#include "device/backend.h"
#include "machine.h"

struct bench {
    struct device *d;
    struct pool *pool;
    double ceiling; /* operations a second */
    int reps;
    const char *only;
};

/* Best seconds of one run. */
static double measure(const struct bench *b, void (*run)(const struct bench *b, void *arg), void *arg)
{
    double best = 1e30;
    run(b, arg);
    for (int i = 0; i < b->reps; i++) {
        double t = machine_seconds(b->pool);
        run(b, arg);
        t = machine_seconds(b->pool) - t;
        if (t < best) best = t;
    }
    return best;
}

static void report(const struct bench *b, const char *op, const char *name, double ops, double s)
{
    printf("{\"op\":\"%s\",\"case\":\"%s\",\"ms\":%.3f,\"gops\":%.1f,\"share_of_bf16\":%.3f}\n", op, name,
           s * 1e3, ops / s * 1e-9, ops / s / b->ceiling);
    fflush(stdout);
}

static void *memory(size_t n, size_t size)
{
    void *p = mem_aligned(n, size, true);
    if (!p) {
        fprintf(stderr, "float_ops: no memory for %zu times %zu bytes\n", n, size);
        exit(1);
    }
    return p;
}

static float *floats(size_t n)
{
    float *f = memory(n, sizeof *f);
    uint32_t s = 1;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        f[i] = (float)(int32_t)s * 0x1p-31f;
    }
    return f;
}

/* Random weights of a type: small values, no NaN. */
static void *weights(enum dtype type, size_t n)
{
    const size_t size = dtype_row_bytes(type, 1);
    unsigned char *p = memory(n, size);
    uint32_t s = 1;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        const float f = (float)(int32_t)s * 0x1p-36f;
        const uint16_t bf = f32_to_bf16(f), half = f32_to_f16(f);
        if (type == DT_F32)
            memcpy(p + i * 4, &f, 4);
        else if (type == DT_BF16)
            memcpy(p + i * 2, &bf, 2);
        else if (type == DT_F16)
            memcpy(p + i * 2, &half, 2);
        else
            p[i] = (unsigned char)(s >> 24 & 0xbf);
    }
    return p;
}

static void check(bool ok, const struct err *e)
{
    if (ok) return;
    fprintf(stderr, "float_ops: %s\n", e->msg);
    exit(1);
}

static void run_linear(const struct bench *b, void *arg) { op_linear(b->d, arg); }

static void bench_linear(const struct bench *b, const char *name, enum dtype type, int64_t n, int64_t n_in,
                         int64_t n_out)
{
    if (b->only && !strstr(name, b->only)) return;
    void *w = weights(type, (size_t)(n_in * n_out));
    const struct matrix m = { .type = type, .n_out = n_out, .n_in = n_in, .data = w };
    struct linear *l;
    struct err e;
    check(linear_new(b->d, &l, &m, 1, LINEAR_CONCAT, NULL, (int)n, &e), &e);
    float *x = floats((size_t)(n * n_in)), *y = memory((size_t)(n * n_out), sizeof *y);
    struct linear_args a = { .w = l, .x = x, .ldx = n_in, .y = y, .ldy = n_out, .n = n };
    report(b, "linear", name, 2.0 * (double)n * (double)n_in * (double)n_out, measure(b, run_linear, &a));
    linear_free(l);
    mem_free(w);
    mem_free(x);
    mem_free(y);
}

static void run_conv(const struct bench *b, void *arg) { op_conv2d(b->d, arg); }

static void bench_conv(const struct bench *b, const char *name, enum dtype type, int side, int n_in,
                       int n_out, int k, int stride, int upsample, enum conv_use use)
{
    if (b->only && !strstr(name, b->only)) return;
    void *w = weights(type, (size_t)n_in * (size_t)n_out * (size_t)(k * k));
    struct conv *c;
    struct err e;
    check(conv_new(b->d, &c, type, w, n_out, n_in, k, k, 1, use, NULL, &e), &e);
    float *x = floats((size_t)side * (size_t)side * (size_t)n_in), *ones = floats((size_t)n_in);
    const int pad = stride == 2 ? 0 : k / 2, pad_end = k / 2;
    struct conv_args a = { .w = c,
                           .x = x,
                           .h = side,
                           .w_in = side,
                           .stride = stride,
                           .pad_top = pad,
                           .pad_left = pad,
                           .pad_bottom = pad_end,
                           .pad_right = pad_end,
                           .upsample = upsample,
                           .gn_scale = k == 3 && upsample == 1 ? ones : NULL,
                           .gn_shift = ones,
                           .in_silu = k == 3 && upsample == 1 };
    int h, v;
    conv_out_size(&a, &h, &v);
    a.y = memory((size_t)h * (size_t)v * (size_t)n_out, sizeof *a.y);
    report(b, "conv", name, 2.0 * h * v * n_out * (double)n_in * k * k, measure(b, run_conv, &a));
    conv_free(c);
    mem_free(w);
    mem_free(x);
    mem_free(ones);
    mem_free(a.y);
}

static void run_attention(const struct bench *b, void *arg) { op_attention(b->d, arg); }

static void bench_attention(const struct bench *b, const char *name, int64_t n_q, int64_t n_kv, int n_head,
                            int head_dim, bool precise)
{
    if (b->only && !strstr(name, b->only)) return;
    const int64_t ld = (int64_t)n_head * head_dim;
    float *q = floats((size_t)(n_q * ld)), *k = floats((size_t)(n_kv * ld)), *v = floats((size_t)(n_kv * ld));
    float *out = memory((size_t)(n_q * ld), sizeof *out);
    struct attention_args a = { .q = q,
                                .ldq = ld,
                                .k = k,
                                .ldk = ld,
                                .v = v,
                                .ldv = ld,
                                .out = out,
                                .ldo = ld,
                                .n_q = n_q,
                                .n_kv = n_kv,
                                .n_head = n_head,
                                .n_kv_head = n_head,
                                .head_dim = head_dim,
                                .scale = 0.1f,
                                .precise = precise };
    report(b, "attention", name, 4.0 * (double)n_q * (double)n_kv * (double)ld,
           measure(b, run_attention, &a));
    mem_free(q);
    mem_free(k);
    mem_free(v);
    mem_free(out);
}

int main(int argc, char **argv)
{
    struct bench b = { .reps = 5 };
    unsigned mask = ~0u;
    int n_threads = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--threads"))
            n_threads = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--isa"))
            mask = (unsigned)strtoul(argv[i + 1], NULL, 0);
        else if (!strcmp(argv[i], "--reps"))
            b.reps = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--only"))
            b.only = argv[i + 1];
    }
    struct err e;
    check(pool_new(&b.pool, n_threads, &e), &e);
    check(device_cpu_open(&b.d, b.pool, mask, &e), &e);
    const struct machine_peaks peaks = machine_peaks_measure(b.pool);
    const unsigned isa = device_isa(b.d);
    b.ceiling = isa & ISA_AMX ? peaks.bf16_amx : isa & ISA_AVX512BF16 ? peaks.bf16 : peaks.f32;
    printf("{\"device\":\"%s\",\"bf16_ceiling_gops\":%.1f}\n", device_name(b.d), b.ceiling * 1e-9);

    bench_linear(&b, "flux mlp up, bf16, 1024 rows", DT_BF16, 1024, 3072, 12288);
    bench_linear(&b, "flux mlp up, fp8, 1024 rows", DT_F8_E4M3, 1024, 3072, 12288);
    bench_linear(&b, "flux mlp down, fp8, 1024 rows", DT_F8_E4M3, 1024, 12288, 3072);
    bench_linear(&b, "flux single in, fp8, 1536 rows", DT_F8_E4M3, 1536, 3072, 21504);
    bench_linear(&b, "flux attention out, bf16, 4608 rows", DT_BF16, 4608, 3072, 3072);
    bench_linear(&b, "unet attention out, f16, 4096 rows", DT_F16, 4096, 640, 640);
    bench_linear(&b, "unet feed-forward, f16, 1024 rows", DT_F16, 1024, 1280, 10240);
    bench_linear(&b, "unet cross keys, f16, 77 rows", DT_F16, 77, 2048, 1280);
    bench_linear(&b, "clip feed-forward, f32, 77 rows", DT_F32, 77, 768, 3072);
    bench_conv(&b, "unet 3x3 320, 128x128", DT_F16, 128, 320, 320, 3, 1, 1, CONV_ANY);
    bench_conv(&b, "unet 3x3 1280, 32x32", DT_F16, 32, 1280, 1280, 3, 1, 1, CONV_ANY);
    bench_conv(&b, "unet down 320, 128x128", DT_F16, 128, 320, 320, 3, 2, 1, CONV_ANY);
    bench_conv(&b, "vae 3x3 512, 128x128", DT_BF16, 128, 512, 512, 3, 1, 1, CONV_ANY);
    bench_conv(&b, "vae up 256, 256x256", DT_BF16, 256, 256, 256, 3, 1, 2, CONV_DOUBLED);
    bench_conv(&b, "vae 3x3 256, 512x512", DT_BF16, 512, 256, 256, 3, 1, 1, CONV_ANY);
    bench_conv(&b, "vae 3x3 128, 512x512", DT_BF16, 512, 128, 128, 3, 1, 1, CONV_ANY);
    bench_conv(&b, "vae 1x1 256, 512x512", DT_BF16, 512, 256, 128, 1, 1, 1, CONV_ANY);
    bench_conv(&b, "vae out 128, 512x512", DT_BF16, 512, 128, 3, 3, 1, 1, CONV_ANY);
    bench_conv(&b, "vae 3x3 256 f32, 64x64", DT_F32, 64, 256, 256, 3, 1, 1, CONV_ANY);
    bench_attention(&b, "flux 1536 tokens, 24 x 128", 1536, 1536, 24, 128, false);
    bench_attention(&b, "unet 4096 tokens, 10 x 64", 4096, 4096, 10, 64, false);
    bench_attention(&b, "unet cross 4096 x 77, 10 x 64", 4096, 77, 10, 64, false);
    bench_attention(&b, "vae 4096 tokens, 1 x 512", 4096, 4096, 1, 512, false);
    bench_attention(&b, "clip 77 tokens f32, 12 x 64", 77, 77, 12, 64, true);
    device_close(b.d);
    pool_free(b.pool);
    return 0;
}
