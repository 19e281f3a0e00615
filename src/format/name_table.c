#include "format/name_table.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

/* Eight bytes a slot: a hundred thousand names stay in the second-level cache, and a name itself is read only where the
 * tag says that it is the one. Slots of 32 bytes made 41% of the time to open a model of 92,000 tensors. */
struct name_slot {
    uint32_t tag;   /* the hash's upper half */
    uint32_t entry; /* number + 1; 0: empty */
};

struct name_entry {
    const char *name;
    size_t len, number;
};

_Static_assert(sizeof(((struct name_table *)0)->key) == crypto_shorthash_KEYBYTES, "SipHash key");

bool name_table_init(struct name_table *t, size_t n)
{
    *t = (struct name_table){ 0 };
    if (n >= (size_t)1 << 31) return false;
    size_t cap = 16;
    while (cap / 2 < n) cap *= 2;
    t->slot = calloc(cap, sizeof *t->slot);
    t->entry = t->slot ? malloc((n ? n : 1) * sizeof *t->entry) : NULL;
    if (!t->entry) {
        name_table_free(t);
        return false;
    }
    t->mask = cap - 1;
    rng_os(t->key, sizeof t->key);
    return true;
}

void name_table_free(struct name_table *t)
{
    free(t->slot);
    free(t->entry);
    *t = (struct name_table){ 0 };
}

static uint64_t hash_of(const struct name_table *t, const char *name, size_t len)
{
    uint64_t h;
    unsigned char out[crypto_shorthash_BYTES];
    crypto_shorthash(out, (const unsigned char *)name, len, t->key);
    memcpy(&h, out, sizeof h);
    return h;
}

/* The slot that holds the name, or the empty one where it belongs. */
static struct name_slot *slot_of(const struct name_table *t, const char *name, size_t len, uint64_t hash)
{
    for (size_t i = hash & t->mask;; i = (i + 1) & t->mask) {
        struct name_slot *s = &t->slot[i];
        if (!s->entry) return s;
        const struct name_entry *e = &t->entry[s->entry - 1];
        if (s->tag == hash >> 32 && e->len == len && memcmp(e->name, name, len) == 0) return s;
    }
}

size_t name_table_add(struct name_table *t, const char *name, size_t len, size_t number)
{
    uint64_t hash = hash_of(t, name, len);
    struct name_slot *s = slot_of(t, name, len, hash);
    if (s->entry) return t->entry[s->entry - 1].number;
    t->entry[t->n++] = (struct name_entry){ name, len, number };
    *s = (struct name_slot){ (uint32_t)(hash >> 32), (uint32_t)t->n };
    return NAME_TABLE_NONE;
}

size_t name_table_find(const struct name_table *t, const char *name, size_t len)
{
    if (!t->slot) return NAME_TABLE_NONE;
    const struct name_slot *s = slot_of(t, name, len, hash_of(t, name, len));
    return s->entry ? t->entry[s->entry - 1].number : NAME_TABLE_NONE;
}

/* Well-formed byte sequences as in table 3-7 of the Unicode standard. */
bool utf8_is_valid(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text, *end = s + len;
    while (s < end) {
        uint64_t eight; /* almost all of it is ASCII */
        while (end - s >= 8 && (memcpy(&eight, s, 8), (eight & UINT64_C(0x8080808080808080)) == 0)) s += 8;
        if (s == end) break;
        if (*s < 0x80) {
            s++;
            continue;
        }
        size_t more;
        unsigned char low = 0x80, high = 0xbf;
        if (*s >= 0xc2 && *s <= 0xdf) {
            more = 1;
        } else if (*s >= 0xe0 && *s <= 0xef) {
            more = 2;
            if (*s == 0xe0) low = 0xa0;
            if (*s == 0xed) high = 0x9f; /* no surrogates */
        } else if (*s >= 0xf0 && *s <= 0xf4) {
            more = 3;
            if (*s == 0xf0) low = 0x90;
            if (*s == 0xf4) high = 0x8f;
        } else {
            return false;
        }
        if ((size_t)(end - s) <= more || s[1] < low || s[1] > high) return false;
        for (size_t i = 2; i <= more; i++) {
            if (s[i] < 0x80 || s[i] > 0xbf) return false;
        }
        s += more + 1;
    }
    return true;
}

bool name_is_printable(const char *name, size_t len)
{
    if (len == 0 || len > 255) return false;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) return false;
    }
    return utf8_is_valid(name, len);
}
