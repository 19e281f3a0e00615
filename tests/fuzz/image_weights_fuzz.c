/* Any text as the header of a safetensors file with image tensor names: every network tries to read its sizes from it and to load it,
 * and a small FLUX transformer takes it as an adapter. The tensors' data are zeros. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "device/device.h"
#include "format/weights.h"
#include "image/clip.h"
#include "image/flux.h"
#include "image/lora.h"
#include "image/t5.h"
#include "image/unet.h"
#include "image/vae.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DATA_BYTES ((off_t)256 << 10)
#define MOST_HEADER ((size_t)64 << 10)

static char path[64];
static struct pool *pool;
static struct device *dev;
static struct flux_config small_config;
static struct flux *small;

static void remove_file(void) { unlink(path); }

static bool write_file(const uint8_t *header, size_t size)
{
    FILE *f = fopen(path, "wb");
    const uint64_t n = size;
    bool ok = f && fwrite(&n, 8, 1, f) == 1 && fwrite(header, 1, size, f) == size && fflush(f) == 0 &&
              ftruncate(fileno(f), (off_t)(8 + size) + DATA_BYTES) == 0;
    return (!f || fclose(f) == 0) && ok;
}

static void must(bool ok, const struct err *e)
{
    if (ok) return;
    fprintf(stderr, "image_weights: %s\n", e->msg);
    abort();
}

static void refused(const struct err *e)
{
    if (e->code == ERR_NONE || !e->msg[0]) abort(); /* a refusal says why */
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    struct err e = { 0 };
    struct weights *w;
    snprintf(path, sizeof path, "/tmp/hearth-fuzz-%ld.safetensors", (long)getpid());
    atexit(remove_file);
    must(pool_new(&pool, 1, &e) && device_cpu_open(&dev, pool, ~0u, &e), &e);
    must(weights_open(&w, "tests/golden/image/flux_dev/bfl.safetensors", &e), &e);
    struct nn_source s = { .dev = dev, .w = w, .prefix = "", .what = "FLUX transformer" };
    must(flux_config_from_shapes(&small_config, &s, true, &e), &e);
    s.locate = flux_locate_bfl;
    s.locate_arg = &small_config;
    must(flux_load(&small, &small_config, &s, &e), &e);
    nn_source_free(&s);
    return 0;
}

#define TRY(name, config_call, free_call)                                                                    \
    do {                                                                                                     \
        struct name##_config c = { 0 };                                                                      \
        struct name *m = NULL;                                                                               \
        struct err e = { 0 };                                                                                \
        struct nn_source s = { .dev = dev, .w = w, .prefix = "", .what = #name };                            \
        bool ok = config_call;                                                                               \
        s.locate_arg = &c;                                                                                   \
        if (ok && name##_load(&m, &c, &s, &e))                                                               \
            free_call(m);                                                                                    \
        else                                                                                                 \
            refused(&e);                                                                                     \
        nn_source_free(&s);                                                                                  \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct weights *w;
    struct err why = { 0 };
    if (size > MOST_HEADER || !write_file(data, size)) return 0;
    if (!weights_open(&w, path, &why)) {
        refused(&why);
        return 0;
    }
    pool_acquire(pool, POOL_IMAGE_LOAD);
    TRY(flux, flux_config_from_shapes(&c, &s, true, &e) && (s.locate = flux_locate_bfl), flux_free);
    TRY(flux, flux_config_from_shapes(&c, &s, false, &e), flux_free);
    TRY(unet, unet_config_from_shapes(&c, &s, &e) && (s.locate = unet_locate_ldm), unet_free);
    TRY(vae, vae_config_from_shapes(&c, &s, &e) && (s.locate = vae_locate_ldm), vae_free);
    TRY(clip, clip_config_from_shapes(&c, &s, &e), clip_free);
    TRY(t5, t5_config_from_shapes(&c, &s, &e), t5_free);

    static const char *const dot[] = { "transformer.", "", NULL }, *const flat[] = { "lora_unet_", NULL };
    const struct nn_lora_target target = { flux_owner(small), dot, flat, flux_locate_bfl, &small_config };
    struct nn_lora *l;
    if (nn_lora_load(&l, dev, path, &target, 1, &why))
        nn_lora_free(l);
    else
        refused(&why);
    pool_release(pool);
    weights_close(w);
    return 0;
}
