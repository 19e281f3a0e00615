/* Any bytes as an uploaded picture, under limits like a server's but smaller, so that each run stays short. */
#include <stdlib.h>

#include "format/image_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct image_limits limits = { .max_bytes = 1 << 16,
                                                .max_pixels = 1 << 16,
                                                .max_side = 2048 };
    for (int channels = 3; channels <= 4; channels++) {
        struct image_pixels p;
        struct err e = { 0 };
        if (!image_file_decode(data, size, channels, &limits, &p, &e)) {
            if (e.code == ERR_NONE || !e.msg[0]) abort(); /* a refusal says why */
            continue;
        }
        if (p.channels != channels || (int64_t)p.width * p.height > limits.max_pixels) abort();
        unsigned sum = 0;
        for (size_t i = 0; i < (size_t)p.width * (size_t)p.height * (size_t)channels; i++) sum += p.data[i];
        sink = sum;
        free(p.data);
    }
    return 0;
}
