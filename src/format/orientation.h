/* orientation.h - which way up a camera held a picture, as its EXIF note (TIFF 6.0, tag 0x0112) or else its XMP packet says; and turning it
 * upright. What Pillow's ImageOps.exif_transpose() reads and does, for the files behind image_file.h.
 *
 * Values    1 upright, 2 mirrored, 3 upside down, 4 both; 5 to 8 the same with rows and columns exchanged; 0: not said.
 * Threads   pure functions over bytes that nobody is trusted for. */
#ifndef HEARTH_FORMAT_ORIENTATION_H
#define HEARTH_FORMAT_ORIENTATION_H

#include "format/image_file.h"

/* s [n]: a TIFF block, with or without "Exif\0\0" in front. */
unsigned orientation_in_exif(const void *s, size_t n);
/* s [n]: an XMP packet in XML. */
unsigned orientation_in_xmp(const void *s, size_t n);
/* The whole file, chunk by chunk: eXIf, or the text that ImageMagick writes in its place, or XMP. */
unsigned orientation_in_png(const unsigned char *file, size_t n);
unsigned orientation_in_webp(const unsigned char *file, size_t n);

/* 0 and 1 leave the picture alone. On failure it is as it was. */
bool orientation_apply(struct image_pixels *p, unsigned orientation, struct err *e);

#endif
