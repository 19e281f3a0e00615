/* Any bytes as Llama 4's tower: the head of a projector's GGUF file ("mmproj"), or a config.json, a NUL and the header of a safetensors file.
 * The tensors' data are zeros. What is let through is loaded, and sees a tile where that is small. */
#include <stdlib.h>

#include "base/log.h"
#include "base/pool.h"
#include "lm/llama4_vision.h"
#include "weights_place.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_SIDE = 16, MOST_LAYERS = 4 }; /* of towers that are run */

static struct pool *pool;
static struct device *dev;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    struct err e = { 0 };
    place_make("vision");
    log_set_level(LOG_ERROR - 1);
    if (!pool_new(&pool, 1, &e) || !device_cpu_open(&dev, pool, ~0u, &e)) abort();
    return 0;
}

static void see(struct llama4_vision *v)
{
    const struct llama4_vision_shape *s = llama4_vision_shape(v);
    struct err e = { 0 };
    if (s->side > MOST_SIDE || s->n_layer > MOST_LAYERS) return;
    float *tile = calloc((size_t)s->n_channels * (size_t)s->image * (size_t)s->image, sizeof *tile);
    float *rows = calloc((size_t)s->n_rows * (size_t)s->n_text, sizeof *rows);
    if (tile && rows && !llama4_vision_run(v, tile, rows, &e)) place_refused(&e);
    free(tile);
    free(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = { 0 };
    struct weights *w;
    if (!place_open(&w, data, size)) return 0;
    struct llama4_vision_shape s;
    struct llama4_vision *v;
    if (!llama4_vision_check(&s, w, &e)) {
        place_refused(&e);
    } else {
        device_acquire(dev, POOL_LOAD);
        if (llama4_vision_load(&v, w, dev, &e)) {
            see(v);
            llama4_vision_free(v);
        } else {
            place_refused(&e);
        }
        device_release(dev);
    }
    weights_close(w);
    return 0;
}
