/* options_table.h - how one option is described; the table itself is options_table.c. */
#ifndef HEARTH_CLI_OPTIONS_TABLE_H
#define HEARTH_CLI_OPTIONS_TABLE_H

#include <stddef.h>

enum option_type {
    OPT_STR,     /* char *           */
    OPT_INT,     /* int64_t          */
    OPT_BYTES,   /* int64_t, with an optional suffix K, M, G, T (powers of 1024) */
    OPT_NUM,     /* double           */
    OPT_SECONDS, /* double           */
    OPT_BOOL,    /* bool; --name, --name=no, --no-name */
    OPT_LIST     /* struct str_list; the flag may be repeated, environment and file may separate by commas */
};

struct option_spec {
    const char *name; /* with hyphens; the file also takes underscores */
    enum option_type type;
    size_t field;        /* offset in struct options */
    const char *initial; /* the default, parsed like any value; NULL: empty or computed (see help) */
    double min, max;     /* of numbers */
    unsigned commands;   /* enum command_bit */
    const char *what;    /* name of the value in --help, NULL for booleans; "a|b" means one of these */
    const char *help;
};

extern const struct option_spec options_table[];
extern const size_t n_options_table;

#endif
