/* options_file.h - the configuration file: a flat YAML mapping of option names to a value or a list of values. */
#ifndef HEARTH_CLI_OPTIONS_FILE_H
#define HEARTH_CLI_OPTIONS_FILE_H

#include <stdbool.h>

#include "base/err.h"

/* Calls `set` for each value in the file's order; index counts the values of one key from 0. Stops at its first false. */
bool options_file_read(const char *path,
                       bool (*set)(void *arg, const char *file, const char *key, const char *value, int index,
                                   struct err *e),
                       void *arg, struct err *e);

#endif
