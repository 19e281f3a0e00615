/* show.h - a picture in the terminal, as characters (libchafa). */
#ifndef HEARTH_CLI_SHOW_H
#define HEARTH_CLI_SHOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

/* Prints a PNG, JPEG or WebP file as wide as the terminal allows, at most max_rows rows high. With *rows > 0, the rows of the picture
 * printed before, the new one takes its place; *rows is set to those of the new one. */
bool show_picture(FILE *out, const void *file, size_t n, int max_rows, int *rows, struct err *e);

#endif
