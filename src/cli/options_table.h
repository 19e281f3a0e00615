/* options_table.h - how one option is described; the table itself is options_table.c. */
#ifndef HEARTH_CLI_OPTIONS_TABLE_H
#define HEARTH_CLI_OPTIONS_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* What a value is. */
enum option_type {
    OPT_STR, /* any text */
    OPT_SECRET, /* one that others must not see (or several of them, as OPT_LIST): a command line is made to hide it */
    OPT_WORD,    /* one of the words in `value`, "a|b" */
    OPT_INT,     /* a whole number */
    OPT_BYTES,   /* with an optional suffix K, M, G, T (powers of 1024) */
    OPT_MEMORY,  /* the same, and no more than the machine's memory */
    OPT_NUM,     /* a number */
    OPT_SECONDS, /* a number */
    OPT_BOOL,    /* --name, --name=no, --no-name */
    OPT_LIST     /* texts; the flag may be repeated, environment and file may separate by commas */
};

/* How the field keeps it. A word is kept as its text, or in an enumeration or a bool as its place among the words. */
enum option_store {
    STORE_STR,
    STORE_LIST, /* struct str_list */
    STORE_BOOL,
    STORE_INT, /* int; enumerations are unsigned */
    STORE_UNSIGNED,
    STORE_LONG, /* int64_t */
    STORE_SIZE, /* size_t */
    STORE_DOUBLE
};

struct option_spec {
    const char *name; /* with hyphens; the file also takes underscores */
    enum option_type type;
    size_t field; /* offset in struct options */
    enum option_store store;
    const char *initial; /* the default, parsed like any value; NULL: empty or computed (see help) */
    double min, max;     /* of numbers */
    int64_t commands;    /* enum command_bit */
    const char *value;   /* name of the value in --help, NULL for booleans; "a|b" means one of these */
    const char *help;
};

extern const struct option_spec options_table[];
extern const size_t n_options_table;

#endif
