/* yaml_read.h - YAML files of settings and data, read whole into a tree, and from the tree into structs by a table.
 *
 * Taken    one document of mappings, lists and texts. What a text means (a number, true) is for whoever asks for it.
 * Refused  a key that a mapping has twice, anchors, aliases and tags, a second document, a zero byte; more than the limits below.
 * Errors   "FILE:LINE:COLUMN: what", counted from 1. Those of the system are ERR_IO, short memory is ERR_NOMEM, all else ERR_FORMAT. */
#ifndef HEARTH_FORMAT_YAML_READ_H
#define HEARTH_FORMAT_YAML_READ_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/str_list.h"

enum {
    YAML_READ_BYTES = 4 << 20,
    YAML_READ_DEPTH = 16,
    YAML_READ_NODES = 200000,
    YAML_READ_KEYS = 4096 /* of one mapping */
};

enum yaml_kind { YAML_KIND_NONE /* an empty file */, YAML_KIND_TEXT, YAML_KIND_LIST, YAML_KIND_MAP };

struct yaml_tree {
    enum yaml_kind kind;
    int line, column;       /* from 1; a mapping's member: of its key */
    char *key;              /* in a mapping; NULL elsewhere */
    char *text;             /* of a text */
    struct yaml_tree *item; /* of lists and mappings, in the file's order */
    int n;
};

struct yaml_doc {
    char *name; /* for errors */
    struct yaml_tree root;
};

bool yaml_read_file(struct yaml_doc *d, const char *path, struct err *e);
/* The same of bytes in memory, which errors call `name`. */
bool yaml_read_text(struct yaml_doc *d, const char *name, const char *text, size_t len, struct err *e);
void yaml_doc_free(struct yaml_doc *d); /* a zeroed one has nothing to free */

/* Sets an error that says where in the file; returns false. at NULL: the file as a whole. */
bool yaml_bad(const struct yaml_doc *d, const struct yaml_tree *at, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The value of `key`; NULL when there is none, or `map` is no mapping. */
const struct yaml_tree *yaml_member(const struct yaml_tree *map, const char *key);

/* ---- by a table ---------------------------------------------------------------------------------------------------- */

enum yaml_type {
    YAML_STR,    /* char *, the struct's own; absent: "" */
    YAML_STRS,   /* struct str_list */
    YAML_WHOLE,  /* int64_t */
    YAML_INT,    /* int */
    YAML_NUMBER, /* double */
    YAML_BOOL,   /* bool: true or false */
    YAML_WORD,   /* an enumeration or unsigned: the place of one of `words` */
    YAML_WITHIN, /* a mapping whose members are rows of `within`, of the same struct */
    YAML_TREE    /* const struct yaml_tree *: as it stands; NULL when absent */
};

struct yaml_row {
    const char *key; /* NULL: the table's end */
    enum yaml_type type;
    size_t offset;
    bool needed;
    double min, max; /* of numbers; both 0: not negative */
    const char *words;
    const struct yaml_row *within;
};

/* Fills a zeroed struct from a mapping. A key that no row has is refused by its name. What is absent leaves the field as it is, but
 * for texts. On failure the struct holds what was read so far: yaml_fill_free() is due either way. */
bool yaml_fill(const struct yaml_doc *d, const struct yaml_tree *map, const struct yaml_row *rows, void *out,
               struct err *e);
void yaml_fill_free(const struct yaml_row *rows, void *out);

#endif
