/* Matrices of packed numbers in a safetensors file: their shapes, group numbers, zero points and scales may say anything.
 * Input    two bytes, n_in / 8 and n_out (0: any); then the file's header as text, up to a zero byte; then the tensors' data, and zeros
 *          after it. The matrix is called "m.weight", three stacked experts "m". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "lm/packed.h"
#include "lm/quantization.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DATA_BYTES ((off_t)128 << 10)

static char path[64];
static struct pool *pool;
static struct device *dev;

static void remove_file(void) { unlink(path); }

static void refused(const struct err *e)
{
    if (e->code == ERR_NONE || !e->msg[0]) abort(); /* a refusal says why */
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    struct err e = { 0 };
    snprintf(path, sizeof path, "/tmp/hearth-fuzz-%ld.safetensors", (long)getpid());
    atexit(remove_file);
    if (!pool_new(&pool, 1, &e) || !device_cpu_open(&dev, pool, ~0u, &e)) abort();
    return 0;
}

static bool write_file(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    const uint64_t n = end ? (size_t)(end - data) : size;
    const size_t rest = end ? size - (size_t)n - 1 : 0;
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(&n, 8, 1, f) == 1 && fwrite(data, 1, n, f) == n &&
              fwrite(end ? end + 1 : data, 1, rest, f) == rest && fflush(f) == 0;
    if (ok && (off_t)rest < DATA_BYTES) ok = ftruncate(fileno(f), (off_t)(8 + n) + DATA_BYTES) == 0;
    return (!f || fclose(f) == 0) && ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3 || size > 64 << 10) return 0;
    const int64_t n_in = 8 * (int64_t)data[0], n_out = data[1] ? data[1] : -1;
    struct err e = { 0 };
    struct weights *w;
    if (!write_file(data + 2, size - 2)) return 0;
    if (!weights_open(&w, path, &e)) {
        refused(&e);
        return 0;
    }
    struct packed p;
    const bool stacked = weights_find(w, "m_blocks") != NULL;
    if (!quantization_check(w, &e) || !(stacked ? packed_find_experts(w, "m", 3, n_out, n_in, true, &p, &e)
                                                : packed_find(w, "m.weight", n_out, n_in, &p, &e))) {
        refused(&e);
    } else if (p.form != PACKED_NONE) {
        struct matrix m;
        void *copy = NULL;
        device_acquire(dev, POOL_LOAD);
        if (packed_matrix(&p, stacked ? 2 : 0, dev, &m, &copy, &e)) {
            struct linear *l = NULL;
            if (linear_new(dev, &l, &m, 1, LINEAR_CONCAT, NULL, 1, &e))
                linear_free(l);
            else
                refused(&e);
        } else {
            refused(&e);
        }
        device_release(dev);
        free(copy);
    }
    weights_close(w);
    return 0;
}
