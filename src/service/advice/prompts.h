/* prompts.h - words that are put behind a prompt for pictures, and what a picture should not be: catalog/styles.yaml.
 *
 * Threads    read-only after styles_load(). */
#ifndef HEARTH_SERVICE_ADVICE_PROMPTS_H
#define HEARTH_SERVICE_ADVICE_PROMPTS_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str_list.h"

struct styles;

/* path NULL or "": the built-in ones. */
bool styles_load(struct styles **out, const char *path, struct err *e);
void styles_free(struct styles *s);

int styles_count(const struct styles *s);
const char *styles_name(const struct styles *s, int i);

/* prompt, the words of a style (NULL: the default one; "" or "none": none), and the words for quality. With `strict` an unknown style is
 * refused by its name; else it has no words. Appends to *out. */
bool styles_enhance(const struct styles *s, const char *prompt, const char *style, bool quality, bool strict,
                    struct buf *out, struct err *e);

/* What pictures should not be, with the caller's own words behind it. */
bool styles_negative(const struct styles *s, const struct str_list *avoid, struct buf *out, struct err *e);

#endif
