/* options_file.h - the configuration file: a flat YAML mapping of option names to a value or a list of values. */
#ifndef HEARTH_CLI_OPTIONS_FILE_H
#define HEARTH_CLI_OPTIONS_FILE_H

#include <stdbool.h>

#include "base/err.h"

/* Takes one value; index counts those of one key from 0. */
typedef bool options_file_set(void *arg, const char *key, const char *value, int index, struct err *e);

/* Calls `set` for each value in the file's order, until its first false, whose message gets the place in the file put in front. */
bool options_file_read(const char *path, options_file_set *set, void *arg, struct err *e);

#endif
