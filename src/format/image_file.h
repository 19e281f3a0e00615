/* image_file.h - PNG, JPEG and WebP: bytes from strangers in, 8-bit pixels out, and back.
 *
 * Decoding  the size in the header is held against the limits before memory is reserved; a truncated, damaged or animated
 *           picture is an error, never half a picture. Palettes, grey, 16 bit, CMYK and interlacing become plain RGB or
 *           RGBA; a picture is turned upright as its EXIF or XMP note says. Colour profiles are ignored.
 * Memory    pixels are malloc'ed and the caller's; on failure nothing is left.
 * Threads   any; no state between calls. */
#ifndef HEARTH_FORMAT_IMAGE_FILE_H
#define HEARTH_FORMAT_IMAGE_FILE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum image_format { IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP };

struct image_pixels {
    int width, height, channels; /* 3: RGB, 4: RGBA with straight alpha */
    unsigned char *data;         /* [height, width, channels] */
};

struct image_limits {
    size_t max_bytes;   /* of the file */
    int64_t max_pixels; /* width * height */
    int max_side;
};

#define IMAGE_LIMITS_DEFAULT                                                                                 \
    ((struct image_limits){ .max_bytes = 32u << 20, .max_pixels = INT64_C(64) << 20, .max_side = 16384 })

const char *image_format_mime(enum image_format f); /* "image/png" */

/* channels 3: alpha, where there is any, is laid over white. channels 4: opaque where there is none. */
bool image_file_decode(const void *data, size_t n, int channels, const struct image_limits *limits,
                       struct image_pixels *out, struct err *e);

/* From 4 channels to 3, in place: alpha laid over white. A picture of 3 stays. */
void image_file_flatten(struct image_pixels *p);

/* Names and values of a PNG's text chunks: keys 1 to 79 printable ASCII characters, values UTF-8. */
struct image_text {
    const char *key, *value;
};

/* Appends the file to `out`. quality 1..100. WebP: quality 0 is lossless; no side over 16383. */
bool image_file_png(struct buf *out, const struct image_pixels *p, const struct image_text *text, int n_text,
                    struct err *e);
bool image_file_jpeg(struct buf *out, const struct image_pixels *p, int quality,
                     struct err *e); /* alpha over white */
bool image_file_webp(struct buf *out, const struct image_pixels *p, int quality, struct err *e);

#endif
