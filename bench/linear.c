/* bench/linear.c - linear layers of language models against the machine's ceilings. Prints one JSON object a line.
 *
 *     linear [threads [type ...]]        types as GGUF names them; default Q4_0 Q8_0 Q4_K Q6_K BF16
 *
 * For each type and number of rows: microseconds a layer of a 1B Llama (qkv, out, gate and up, down) and its head take,
 * the share of the read bandwidth measured beside it (few rows), and of the int8 peak (many rows). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/pool.h"
#include "base/isa.h"
#include "device/backend.h"
#include "machine.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void *random_rows(enum dtype t, int64_t n_out, int64_t n_in)
{
    size_t bytes = dtype_row_bytes(t, n_in) * (size_t)n_out;
    unsigned char *p = mem_aligned(bytes, 1, false);
    if (!p) exit(1);
    /* Any bytes will do for timing, but no NaN or denormals in scales: 0x1c1c.. is a small positive half and bfloat. */
    for (size_t i = 0; i < bytes; i++) p[i] = (unsigned char)(0x1c + (i * 7 + (i >> 7)) % 3);
    return p;
}

struct layer {
    struct linear *w;
    void *data[2];
    int64_t n_in, n_out;
    enum epilogue epi;
};

static struct layer make(struct device *d, enum dtype t, int64_t n_out, int64_t n_in, bool paired)
{
    struct layer l = { .n_in = n_in, .n_out = n_out, .epi = paired ? EPI_SWIGLU : EPI_STORE };
    struct matrix m[2];
    for (int i = 0; i <= paired; i++) {
        l.data[i] = random_rows(t, n_out, n_in);
        m[i] = (struct matrix){ .type = t, .n_out = n_out, .n_in = n_in, .data = l.data[i] };
    }
    struct err e = { 0 };
    if (!linear_new(d, &l.w, m, 1 + paired, paired ? LINEAR_PAIRED : LINEAR_CONCAT, NULL, 1, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        exit(1);
    }
    if (linear_is_copy(l.w))
        for (int i = 0; i < 2; i++) {
            mem_free(l.data[i]);
            l.data[i] = NULL;
        }
    return l;
}

static void release(struct layer *l)
{
    linear_free(l->w);
    mem_free(l->data[0]);
    mem_free(l->data[1]);
}

int main(int argc, char **argv)
{
    static const char *const usual[] = { "Q4_0", "Q8_0", "Q4_K", "Q6_K", "BF16" };
    static const int rows[] = { 1, 2, 4, 8, 16, 512 };
    int n_threads = argc > 1 ? atoi(argv[1]) : 0;
    struct err e = { 0 };
    struct pool *pool;
    struct device *d;
    if (!pool_new(&pool, n_threads, &e)) return 1;
    if (!device_cpu_open(&d, pool, ~0u, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    struct machine_peaks peaks = machine_peaks_measure(pool);
    printf("{\"device\": \"%s\", \"int8_gops\": %.0f, \"bf16_gflops\": %.0f, \"f32_gflops\": %.0f, "
           "\"amx_int8_gops\": %.0f, \"amx_bf16_gflops\": %.0f}\n",
           device_name(d), peaks.int8 / 1e9, peaks.bf16 / 1e9, peaks.f32 / 1e9, peaks.int8_amx / 1e9,
           peaks.bf16_amx / 1e9);

    int n_types = argc > 2 ? argc - 2 : (int)COUNT(usual);
    for (int i = 0; i < n_types; i++) {
        const char *name = argc > 2 ? argv[i + 2] : usual[i];
        enum dtype t = DT_F32;
        for (int k = 0; k < DT_COUNT; k++)
            if (!strcmp(dtype_info((enum dtype)k)->name, name)) t = (enum dtype)k;
        enum { E = 2048, FF = 8192, QKV = 3072, VOCAB = 32768 };
        /* Three layers and a quarter of a head: more than most last-level caches. */
        struct layer l[13];
        int n = 0;
        double pack = machine_seconds(pool);
        for (int il = 0; il < 3; il++) {
            l[n++] = make(d, t, QKV, E, false);
            l[n++] = make(d, t, E, E, false);
            l[n++] = make(d, t, FF, E, true);
            l[n++] = make(d, t, E, FF, false);
        }
        l[n++] = make(d, t, VOCAB, E, false);
        pack = machine_seconds(pool) - pack;
        double bytes = 0, ops = 0;
        for (int k = 0; k < n; k++) {
            bytes += (double)linear_bytes(l[k].w);
            ops += 2.0 * (double)l[k].n_in * (double)l[k].n_out * (l[k].epi == EPI_SWIGLU ? 2 : 1);
        }
        float *x = mem_aligned(512 * FF, sizeof *x, false), *y = mem_aligned(512 * VOCAB, sizeof *y, true);
        for (int k = 0; k < 512 * FF; k++) x[k] = (float)(k * 7 % 31 - 15);
        for (size_t r = 0; r < COUNT(rows); r++) {
            double bandwidth = machine_read_bandwidth(pool, (size_t)256 << 20, 4);
            double best = 1e9;
            for (int rep = 0; rep < (rows[r] > 16 ? 3 : 12); rep++) {
                double t0 = machine_seconds(pool);
                for (int k = 0; k < n; k++)
                    op_linear(d, &(struct linear_args){ .w = l[k].w,
                                                        .x = x,
                                                        .ldx = l[k].n_in,
                                                        .y = y,
                                                        .ldy = l[k].n_out,
                                                        .n = rows[r],
                                                        .epi = l[k].epi });
                t0 = machine_seconds(pool) - t0;
                if (t0 < best) best = t0;
            }
            printf("{\"type\": \"%s\", \"rows\": %d, \"us\": %.0f, \"gb_s\": %.1f, \"of_bandwidth\": %.2f, "
                   "\"gops\": %.0f, \"of_int8_peak\": %.2f, \"load_gb_s\": %.1f}\n",
                   name, rows[r], best * 1e6, bytes / best / 1e9, bytes / best / bandwidth,
                   ops * rows[r] / best / 1e9, ops * rows[r] / best / peaks.int8, bytes / pack / 1e9);
            fflush(stdout);
        }
        for (int k = 0; k < n; k++) release(&l[k]);
        mem_free(x);
        mem_free(y);
    }
    device_close(d);
    pool_free(pool);
    return 0;
}
