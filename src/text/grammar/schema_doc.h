/* schema_doc.h - a JSON Schema document: its subschemas by number, what its references mean, what its keywords are.
 *
 * Subschemas get a number when they are first named; they are reached by walking the schema and by following references. Each knows where
 * it stands (a JSON pointer, for messages) and against which identifier its own references are resolved.
 * Threads  one owner at a time. */
#ifndef HEARTH_TEXT_GRAMMAR_SCHEMA_DOC_H
#define HEARTH_TEXT_GRAMMAR_SCHEMA_DOC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "text/grammar/budget.h"

enum draft {
    DRAFT_4 = 4,
    DRAFT_6 = 6,
    DRAFT_7 = 7,
    DRAFT_2019 = 2019,
    DRAFT_2020 = 2020,
    DRAFT_UNSAID = 9999
};

struct sub {
    const json_t *json; /* an object, true or false */
    int parent;         /* the subschema that it was named from, and ... */
    char *tail;         /* ... the way from there: "properties/a". NULL: the same place */
    int base;           /* index of the resource whose identifier is in force */
    uint64_t keys;      /* schema_key_bit() of each of its keywords: most questions for one end here */
    bool checked;
};

struct doc_resource {
    char *uri; /* absolute where the document says so; "" for the root that has none */
    int root;  /* its subschema */
};

struct schema_doc {
    const json_t *root;
    enum draft draft;
    struct sub *sub;
    int n_sub, cap_sub;
    int *bucket; /* of subschemas by their address; -1: none */
    int n_bucket;
    struct doc_resource *resource;
    int n_resource;
    struct doc_anchor {
        char *name;
        int resource, sub;
        bool dynamic;
    } * anchor;
    int n_anchor;
    int n_recursive; /* schemas with a $recursiveAnchor */
    char **ignored;  /* "#/a/b/keyword": keywords that mean nothing here, the first few of them */
    int n_ignored;
    json_t *made; /* an array: schemas that stand for constants */
    int max_sub;
    struct budget *budget;
};

enum { DOC_MAX_IGNORED = 64 };
enum { DOC_TRUE, DOC_FALSE, DOC_ROOT }; /* numbers of the two trivial schemas and of the document itself */

/* Borrows root and the budget, which must outlive it. */
bool schema_doc_open(struct schema_doc *d, const json_t *root, int max_sub, struct budget *b, struct err *e);
void schema_doc_close(struct schema_doc *d);

/* The number of a subschema that stands at `key` (and `index` below it, or -1; and `name` below it, or NULL) of `parent`. */
int schema_doc_sub(struct schema_doc *d, int parent, const json_t *json, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* The number of a schema that was made here (owned from now on), standing where `parent` stands. */
int schema_doc_add(struct schema_doc *d, int parent, json_t *made, struct err *e);
/* What a reference that stands in a subschema means; -1 on error. */
int schema_doc_ref(struct schema_doc *d, int sub, const char *ref, struct err *e);
/* What the subschema's $ref, $dynamicRef and $recursiveRef mean, one after the other: *at is 0 at first. -1 on error. The dynamic ones are
 * followed where every way there leads to one place: where no other schema has that anchor. */
enum { DOC_NO_REF = -2 };
int schema_doc_next_ref(struct schema_doc *d, int sub, int *at, struct err *e);

/* One of 64 bits, by the keyword's length and two of its letters; the compiler works it out. */
static inline uint64_t schema_key_bit(const char *key)
{
    const size_t n = strlen(key);
    const unsigned char *k = (const unsigned char *)key;
    return n ? UINT64_C(1) << ((n * 5 + k[0] * 3u + k[n - 1] * 7u + k[n / 2] * 11u) & 63) : 1;
}
const json_t *schema_key_find(const struct schema_doc *d, int sub, const char *key);
/* The keyword's value, or NULL when it is absent. With $ref and a draft up to 7 every sibling is absent. */
static inline const json_t *schema_key(const struct schema_doc *d, int sub, const char *key)
{
    return d->sub[sub].keys & schema_key_bit(key) ? schema_key_find(d, sub, key) : NULL;
}
/* Looks at a subschema's keywords, once: mistaken names are refused, those that mean nothing here are noted (d->ignored). */
bool schema_doc_check(struct schema_doc *d, int sub, struct err *e);
/* "keyword K at PATH: ..." */
bool schema_refuse(const struct schema_doc *d, int sub, enum err_code code, const char *key, struct err *e,
                   const char *fmt, ...) __attribute__((format(printf, 6, 7)));

#endif
