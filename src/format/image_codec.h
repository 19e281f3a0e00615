/* image_codec.h - what the three files behind image_file.h share; nobody else includes it. */
#ifndef HEARTH_FORMAT_IMAGE_CODEC_H
#define HEARTH_FORMAT_IMAGE_CODEC_H

#include "format/image_file.h"

/* Reserves p->data for the size a header claims, if the limits allow it. Width, height and channels are set. */
bool image_reserve(struct image_pixels *p, uint64_t width, uint64_t height, int channels,
                   const struct image_limits *limits, struct err *e);

/* Decoders: 4 channels where the file has alpha and 3 otherwise. On failure p->data may be set; the caller frees. */
bool png_decode(const void *data, size_t n, const struct image_limits *limits, struct image_pixels *p,
                struct err *e);
bool jpeg_decode(const void *data, size_t n, const struct image_limits *limits, struct image_pixels *p,
                 struct err *e);
bool webp_decode(const void *data, size_t n, const struct image_limits *limits, struct image_pixels *p,
                 struct err *e);

#endif
