/* row.c - see row.h. */
#include "service/account/row.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

const struct row_field row_fields[] = {
#define TEXT(name, size) { #name, offsetof(struct ledger_row, name), size },
#define NUMBER(name) { #name, offsetof(struct ledger_row, name), 0 },
    LEDGER_FIELDS(TEXT, NUMBER)
#undef TEXT
#undef NUMBER
};
const int n_row_fields = sizeof row_fields / sizeof *row_fields;

#define TEXT(name, size) +sizeof #name + (size)
#define NUMBER(name) +sizeof #name + 21
_Static_assert(0 LEDGER_FIELDS(TEXT, NUMBER) <= ROW_PACKED, "a row with everything at its longest");
#undef TEXT
#undef NUMBER

struct store_value row_value(const struct ledger_row *r, const struct row_field *f)
{
    const char *p = (const char *)r + f->at;
    int64_t v;
    if (f->size) return store_text(p);
    memcpy(&v, p, sizeof v);
    return store_number(v);
}

void row_take(struct ledger_row *r, const struct row_field *f, const struct store_value *v)
{
    char *to = (char *)r + f->at;
    if (f->size)
        snprintf(to, f->size, "%s", v->text ? v->text : "");
    else
        memcpy(to, &v->number, sizeof(int64_t));
}

void row_text(char *out, size_t cap, const char *src)
{
    size_t n = 0, left = strlen(src);
    while (left) {
        const int k = u8_mblen((const uint8_t *)src, left), took = k > 0 ? k : 1;
        if (n + (size_t)took >= cap) break;
        if (k > 0)
            memcpy(out + n, src, (size_t)took);
        else
            out[n] = '?';
        n += (size_t)took;
        src += took;
        left -= (size_t)took;
    }
    out[n] = 0;
}

size_t row_pack(const struct ledger_row *r, char out[ROW_PACKED])
{
    size_t n = 0;
    for (int i = 0; i < n_row_fields; i++) {
        const struct store_value v = row_value(r, &row_fields[i]);
        if (v.text ? !*v.text : !v.number) continue;
        n += (size_t)snprintf(out + n, ROW_PACKED - n, "%s", row_fields[i].name) + 1;
        if (v.text)
            n += (size_t)snprintf(out + n, ROW_PACKED - n, "%s", v.text) + 1;
        else
            n += (size_t)snprintf(out + n, ROW_PACKED - n, "%" PRId64, v.number) + 1;
    }
    return n;
}

static const struct row_field *named(const char *name)
{
    for (int i = 0; i < n_row_fields; i++)
        if (!strcmp(row_fields[i].name, name)) return &row_fields[i];
    return NULL;
}

static bool unpack_one(struct ledger_row *r, const struct row_field *f, const char *value, size_t len)
{
    struct store_value v = { .text = value };
    char *end;
    if (f->size) return len < f->size && !u8_check((const uint8_t *)value, len) && (row_take(r, f, &v), true);
    v.text = NULL;
    errno = 0;
    v.number = strtoll(value, &end, 10);
    row_take(r, f, &v);
    return len && !*end && !errno;
}

bool row_unpack(struct ledger_row *r, const char *in, size_t len)
{
    const char *const end = in + len;
    *r = (struct ledger_row){ .seq = 0 };
    while (in < end) {
        const char *name_end = memchr(in, 0, (size_t)(end - in));
        const char *value = name_end ? name_end + 1 : end;
        const char *value_end = value < end ? memchr(value, 0, (size_t)(end - value)) : NULL;
        if (!value_end) return false;
        const struct row_field *f = named(in);
        if (f && !unpack_one(r, f, value, (size_t)(value_end - value))) return false;
        in = value_end + 1;
    }
    return strlen(r->uid) == sizeof r->uid - 1;
}
