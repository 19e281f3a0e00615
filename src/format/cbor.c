/* cbor.c - see cbor.h. */
#include "format/cbor.h"

#include <string.h>

enum { BREAK = 0xff, INDEFINITE = 31 };

void cbor_put(struct buf *b, enum cbor_type type, uint64_t value)
{
    const int bytes = value < 24 ? 0 : value <= 0xff ? 1 : value <= 0xffff ? 2 : value <= 0xffffffff ? 4 : 8;
    const unsigned extra = bytes == 0   ? (unsigned)value
                           : bytes == 1 ? 24
                           : bytes == 2 ? 25
                           : bytes == 4 ? 26
                                        : 27;
    buf_putc(b, (char)((unsigned)type << 5 | extra));
    for (int i = bytes - 1; i >= 0; i--) buf_putc(b, (char)(value >> (8 * i) & 0xff));
}

void cbor_put_text(struct buf *b, const char *s)
{
    const size_t n = strlen(s);
    cbor_put(b, CBOR_TEXT, n);
    buf_append(b, s, n);
}

void cbor_put_bytes(struct buf *b, const void *data, size_t n)
{
    cbor_put(b, CBOR_BYTES, n);
    buf_append(b, data, n);
}

void cbor_put_null(struct buf *b) { cbor_put(b, CBOR_SIMPLE, 22); }

/* The first byte, and the number behind it; *open: the length is not said, a break ends the items. */
static bool read_head(struct cbor *c, struct cbor_item *out, bool *open)
{
    if (c->at == c->end) return false;
    const unsigned first = *c->at, extra = first & 31;
    const size_t bytes = extra < 24 || extra == INDEFINITE ? 0 : extra <= 27 ? (size_t)1 << (extra - 24) : 9;
    *out = (struct cbor_item){ .type = (enum cbor_type)(first >> 5), .value = extra };
    *open = extra == INDEFINITE;
    if (bytes > 8 || (size_t)(c->end - c->at) < 1 + bytes) return false;
    if (*open && out->type != CBOR_ARRAY && out->type != CBOR_MAP) return false;
    if (bytes) out->value = 0;
    for (size_t i = 1; i <= bytes; i++) out->value = out->value << 8 | c->at[i];
    c->at += 1 + bytes;
    return true;
}

static bool read_item(struct cbor *c, struct cbor_item *out, int depth);

/* The items of an array, a map or a tag are walked over, so that their end is known. */
static bool walk(struct cbor *c, struct cbor_item *out, bool open, int depth)
{
    const uint64_t each = out->type == CBOR_MAP ? 2 : 1;
    const uint64_t n = out->type == CBOR_TAG ? 1 : out->value;
    struct cbor_item item;
    out->inside = (struct cbor){ c->at, c->at };
    if (depth >= CBOR_DEPTH || (!open && n > (uint64_t)(c->end - c->at) / each))
        return false; /* an item has a byte at least */
    for (uint64_t i = 0; open || i < n * each; i++) {
        if (open && c->at < c->end && *c->at == BREAK) {
            if (i % each) return false;
            out->inside.end = c->at++;
            return true;
        }
        if (!read_item(c, &item, depth + 1)) return false;
    }
    out->inside.end = c->at;
    return true;
}

static bool read_item(struct cbor *c, struct cbor_item *out, int depth)
{
    bool open;
    if (!read_head(c, out, &open)) return false;
    switch (out->type) {
    case CBOR_BYTES:
    case CBOR_TEXT:
        if (out->value > (uint64_t)(c->end - c->at)) return false;
        out->data = c->at;
        out->len = (size_t)out->value;
        c->at += out->len;
        return true;
    case CBOR_ARRAY:
    case CBOR_MAP:
    case CBOR_TAG: return walk(c, out, open, depth);
    default: return true;
    }
}

bool cbor_next(struct cbor *c, struct cbor_item *out)
{
    struct cbor at = *c;
    if (!read_item(&at, out, 0)) return false;
    *c = at;
    return true;
}

bool cbor_is_text(const struct cbor_item *it, const char *s)
{
    return it->type == CBOR_TEXT && it->len == strlen(s) && !memcmp(it->data, s, it->len);
}

bool cbor_int(const struct cbor_item *it, int64_t *out)
{
    if (it->value > INT64_MAX || (it->type != CBOR_UINT && it->type != CBOR_NEGATIVE)) return false;
    *out = it->type == CBOR_UINT ? (int64_t)it->value : -1 - (int64_t)it->value;
    return true;
}

bool cbor_get(const struct cbor_item *map, const char *name, struct cbor_item *out)
{
    struct cbor c = map->inside;
    struct cbor_item key, value;
    if (map->type != CBOR_MAP) return false;
    while (cbor_next(&c, &key) && cbor_next(&c, &value)) {
        if (!cbor_is_text(&key, name)) continue;
        *out = value;
        return true;
    }
    return false;
}

bool cbor_get_int(const struct cbor_item *map, int64_t name, struct cbor_item *out)
{
    struct cbor c = map->inside;
    struct cbor_item key, value;
    int64_t n;
    if (map->type != CBOR_MAP) return false;
    while (cbor_next(&c, &key) && cbor_next(&c, &value)) {
        if (!cbor_int(&key, &n) || n != name) continue;
        *out = value;
        return true;
    }
    return false;
}
