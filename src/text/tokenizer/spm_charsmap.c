/* spm_charsmap.c - see spm_charsmap.h. Double array: darts-clone's unit is a label in the low byte, an offset in the high
 * 22 bits (shifted by 8 when bit 9 is set), bit 8 for "a value follows"; a value unit has its top bit set. */
#include "text/tokenizer/spm_charsmap.h"

#include <string.h>
#include <unigbrk.h>

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

bool spm_charsmap_init(struct spm_charsmap *m, const uint8_t *data, size_t len, struct err *e)
{
    *m = (struct spm_charsmap){ 0 };
    if (len == 0) return true;
    size_t trie = len >= 4 ? u32_at(data) : 0;
    if (len < 4 || trie % 4 != 0 || trie == 0 || trie > len - 4)
        return err_set(e, ERR_FORMAT, "the SentencePiece character map of %zu bytes is damaged", len);
    *m = (struct spm_charsmap){ data + 4, trie / 4, (const char *)data + 4 + trie, len - 4 - trie };
    return true;
}

static uint32_t offset_of(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

/* The text that a value points at; false when that is none. */
static bool text_at(const struct spm_charsmap *m, size_t value, const char **text, size_t *len)
{
    if (value >= m->texts_len) return false;
    const char *end = memchr(m->texts + value, 0, m->texts_len - value);
    *text = m->texts + value;
    *len = end ? (size_t)(end - *text) : m->texts_len - value;
    return utf8_valid(*text, *len) == *len;
}

/* What a beginning of s[n] in the trie becomes, the shortest or the longest one; its bytes, 0 when there is none. */
static size_t walk(const struct spm_charsmap *m, const char *s, size_t n, bool shortest, const char **text,
                   size_t *len)
{
    size_t found = 0;
    if (m->units == 0) return 0;
    size_t at = offset_of(u32_at(m->trie));
    for (size_t i = 0; i < n && s[i]; i++) {
        at ^= (unsigned char)s[i];
        if (at >= m->units) return found;
        uint32_t unit = u32_at(m->trie + 4 * at);
        if ((unit & (1u << 31 | 0xff)) != (unsigned char)s[i]) return found;
        at ^= offset_of(unit);
        if (!(unit >> 8 & 1)) continue;
        if (at >= m->units || !text_at(m, u32_at(m->trie + 4 * at) & 0x7fffffff, text, len)) return 0;
        found = i + 1;
        if (shortest) return found;
    }
    return found;
}

/* The library takes the shortest. */
static bool find(const struct spm_charsmap *m, const char *s, size_t n, const char **text, size_t *len)
{
    return walk(m, s, n, true, text, len) != 0;
}

size_t spm_charsmap_longest(const struct spm_charsmap *m, const char *s, size_t n, const char **text,
                            size_t *len)
{
    size_t k = walk(m, s, n, false, text, len);
    return utf8_valid(s, k) == k ? k : 0; /* keys are characters; a damaged map's may be less */
}

static bool append(struct masked *out, const char *s, size_t n, struct err *e)
{
    if (!masked_reserve(out, n, false, e)) return false;
    if (n) masked_put(out, s, n, 0);
    return true;
}

/* One grapheme cluster. */
static bool cluster(const struct spm_charsmap *m, const char *s, size_t n, struct masked *out, struct err *e)
{
    const char *text;
    size_t len;
    if (n < 6 && find(m, s, n, &text, &len)) return append(out, text, len, e);
    for (size_t i = 0; i < n;) {
        unsigned k;
        utf8_get((const unsigned char *)s + i, &k);
        bool ok = find(m, s + i, k, &text, &len) ? append(out, text, len, e) : append(out, s + i, k, e);
        if (!ok) return false;
        i += k;
    }
    return true;
}

bool spm_charsmap_apply(const struct spm_charsmap *m, const char *s, size_t n, struct masked *out,
                        struct err *e)
{
    if (!masked_reserve(out, n, false, e)) return false;
    const uint8_t *p = (const uint8_t *)s, *end = p + n;
    while (p < end) {
        const uint8_t *q = u8_grapheme_next(p, end);
        if (!q || q <= p) q = end;
        if (!cluster(m, (const char *)p, (size_t)(q - p), out, e)) return false;
        p = q;
    }
    return true;
}
