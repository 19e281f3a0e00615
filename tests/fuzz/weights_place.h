/* weights_place.h - a fuzz input as the weights of a model: the head of a GGUF file, or a config.json, a NUL and the header of a safetensors file. The
 * tensors' data are zeros. For one target a program. */
#ifndef HEARTH_FUZZ_WEIGHTS_PLACE_H
#define HEARTH_FUZZ_WEIGHTS_PLACE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/weights.h"

#define PLACE_DATA ((off_t)512 << 10)
#define PLACE_MOST_HEADER ((size_t)64 << 10)

static char place_dir[64], place_config[96], place_tensors[96], place_gguf[96];

static void place_remove(void)
{
    unlink(place_config);
    unlink(place_tensors);
    unlink(place_gguf);
    rmdir(place_dir);
}

/* Removed when the program ends. */
static void place_make(const char *name)
{
    snprintf(place_dir, sizeof place_dir, "/tmp/hearth-fuzz-%s-%ld", name, (long)getpid());
    snprintf(place_config, sizeof place_config, "%s/config.json", place_dir);
    snprintf(place_tensors, sizeof place_tensors, "%s/model.safetensors", place_dir);
    snprintf(place_gguf, sizeof place_gguf, "%s.gguf", place_dir);
    if (mkdir(place_dir, 0700) != 0) abort();
    atexit(place_remove);
}

/* `head` in front (NULL: nothing), the bytes, and so many zeros. */
static bool place_write(const char *path, const uint64_t *head, const uint8_t *data, size_t size, off_t zeros)
{
    FILE *f = fopen(path, "wb");
    const size_t before = head ? sizeof *head : 0;
    bool ok = f && (!head || fwrite(head, sizeof *head, 1, f) == 1) &&
              (size == 0 || fwrite(data, 1, size, f) == size) && fflush(f) == 0 &&
              ftruncate(fileno(f), (off_t)(before + size) + zeros) == 0;
    return (!f || fclose(f) == 0) && ok;
}

static void place_refused(const struct err *e)
{
    if (e->code == ERR_NONE || !e->msg[0]) abort(); /* a refusal says why */
}

/* False: they are none, which was said. */
static bool place_open(struct weights **w, const uint8_t *data, size_t size)
{
    struct err e = { 0 };
    if (size > PLACE_MOST_HEADER) return false;
    const bool is_gguf = size > 4 && memcmp(data, "GGUF", 4) == 0;
    if (is_gguf) {
        if (!place_write(place_gguf, NULL, data, size, PLACE_DATA)) return false;
    } else {
        const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
        const size_t n = nul ? (size_t)(nul - data) : size;
        const uint64_t header = nul ? size - n - 1 : 0;
        if (!place_write(place_config, NULL, data, n, 0) ||
            !place_write(place_tensors, &header, nul ? nul + 1 : data, (size_t)header, PLACE_DATA))
            return false;
    }
    if (weights_open(w, is_gguf ? place_gguf : place_dir, &e)) return true;
    place_refused(&e);
    return false;
}

#endif
