/* name_table.h - from a name to its number, in constant time, for names that come from a file.
 *
 * The hash is keyed with random bits, so that a file cannot choose names that all collide.
 * Memory   names are borrowed and must outlive the table.
 * Threads  read-only after the last name_table_add(). */
#ifndef HEARTH_FORMAT_NAME_TABLE_H
#define HEARTH_FORMAT_NAME_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct name_slot;
struct name_entry;

struct name_table {
    struct name_slot *slot;   /* open addressing, at most half full */
    struct name_entry *entry; /* in the order of adding */
    size_t mask, n;
    unsigned char key[16];
};

#define NAME_TABLE_NONE SIZE_MAX

/* Room for n names, fewer than 2^31; false: no memory. */
bool name_table_init(struct name_table *t, size_t n);
void name_table_free(struct name_table *t);

/* NAME_TABLE_NONE: added. Otherwise the number under which the same name is already there; nothing changes. */
size_t name_table_add(struct name_table *t, const char *name, size_t len, size_t number);

/* NAME_TABLE_NONE when absent. */
size_t name_table_find(const struct name_table *t, const char *name, size_t len);

/* 1..255 bytes of valid UTF-8 without control characters: fit for an error message and for JSON. */
bool name_is_printable(const char *name, size_t len);

bool utf8_is_valid(const char *s, size_t len);

#endif
