/* attach.h - pictures that a message of the command line brings along. */
#ifndef HEARTH_CLI_ATTACH_H
#define HEARTH_CLI_ATTACH_H

#include <jansson.h>

#include "base/err.h"
#include "cli/options.h"

/* A message's content as requests have it: the text alone where there are no files, else parts, the text and each file as a data URL. New, or
 * NULL. */
json_t *attach_content(const char *text, size_t len, const struct str_list *files, struct err *e);

#endif
