/* Any bytes as Llama 4's tower: the head of a projector's GGUF file ("mmproj"), or a config.json, a NUL and the header of a safetensors file.
 * The tensors' data are zeros. What is let through is loaded, and sees a tile where that is small. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/pool.h"
#include "lm/llama4_vision.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DATA_BYTES ((off_t)512 << 10)
#define MOST_HEADER ((size_t)64 << 10)
enum { MOST_SIDE = 16, MOST_LAYERS = 4 }; /* of towers that are run */

static char dir[64], config[96], tensors[96], gguf[96];
static struct pool *pool;
static struct device *dev;

static void remove_files(void)
{
    unlink(config);
    unlink(tensors);
    unlink(gguf);
    rmdir(dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    struct err e = { 0 };
    snprintf(dir, sizeof dir, "/tmp/hearth-fuzz-vision-%ld", (long)getpid());
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(tensors, sizeof tensors, "%s/model.safetensors", dir);
    snprintf(gguf, sizeof gguf, "%s.gguf", dir);
    if (mkdir(dir, 0700) != 0) abort();
    atexit(remove_files);
    log_set_level(LOG_ERROR - 1);
    if (!pool_new(&pool, 1, &e) || !device_cpu_open(&dev, pool, ~0u, &e)) abort();
    return 0;
}

/* `head` in front (NULL: nothing), the bytes, and so many zeros. */
static bool write_file(const char *path, const uint64_t *head, const uint8_t *data, size_t size, off_t zeros)
{
    FILE *f = fopen(path, "wb");
    const size_t before = head ? sizeof *head : 0;
    bool ok = f && (!head || fwrite(head, sizeof *head, 1, f) == 1) &&
              (size == 0 || fwrite(data, 1, size, f) == size) && fflush(f) == 0 &&
              ftruncate(fileno(f), (off_t)(before + size) + zeros) == 0;
    return (!f || fclose(f) == 0) && ok;
}

static void refused(const struct err *e)
{
    if (e->code == ERR_NONE || !e->msg[0]) abort(); /* a refusal says why */
}

static void see(struct llama4_vision *v)
{
    const struct llama4_vision_shape *s = llama4_vision_shape(v);
    struct err e = { 0 };
    if (s->side > MOST_SIDE || s->n_layer > MOST_LAYERS) return;
    float *tile = calloc((size_t)s->n_channels * (size_t)s->image * (size_t)s->image, sizeof *tile);
    float *rows = calloc((size_t)s->n_rows * (size_t)s->n_text, sizeof *rows);
    if (tile && rows && !llama4_vision_run(v, tile, rows, &e)) refused(&e);
    free(tile);
    free(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = { 0 };
    struct weights *w;
    if (size > MOST_HEADER) return 0;
    const bool is_gguf = size > 4 && memcmp(data, "GGUF", 4) == 0;
    if (is_gguf) {
        if (!write_file(gguf, NULL, data, size, DATA_BYTES)) return 0;
    } else {
        const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
        const size_t n = nul ? (size_t)(nul - data) : size;
        const uint64_t header = nul ? size - n - 1 : 0;
        if (!write_file(config, NULL, data, n, 0) ||
            !write_file(tensors, &header, nul ? nul + 1 : data, (size_t)header, DATA_BYTES))
            return 0;
    }
    if (!weights_open(&w, is_gguf ? gguf : dir, &e)) {
        refused(&e);
        return 0;
    }
    struct llama4_vision_shape s;
    struct llama4_vision *v;
    if (!llama4_vision_check(&s, w, &e)) {
        refused(&e);
    } else {
        device_acquire(dev, POOL_LOAD);
        if (llama4_vision_load(&v, w, dev, &e)) {
            see(v);
            llama4_vision_free(v);
        } else {
            refused(&e);
        }
        device_release(dev);
    }
    weights_close(w);
    return 0;
}
