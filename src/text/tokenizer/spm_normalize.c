/* spm_normalize.c - see spm_normalize.h. */
#include "text/tokenizer/spm_normalize.h"

#include <stdlib.h>
#include <string.h>

#define LOW_LINE "\u2581"

bool spm_normalizer_map(struct spm_normalizer *n, const uint8_t *data, size_t len, struct err *e)
{
    if (len == 0) return true;
    n->map_bytes = malloc(len);
    if (!n->map_bytes) return err_set(e, ERR_NOMEM, "no memory for a character map of %zu bytes", len);
    memcpy(n->map_bytes, data, len);
    return spm_charsmap_init(&n->map, n->map_bytes, len, e);
}

void spm_normalizer_free(struct spm_normalizer *n)
{
    free(n->map_bytes);
    added_free(&n->as_is);
    *n = (struct spm_normalizer){ 0 };
}

/* What the beginning of s[len] becomes; how many bytes of it that takes. */
static size_t next(const struct spm_normalizer *n, const char *s, size_t len, const char **text,
                   size_t *text_len)
{
    size_t taken = added_prefix(&n->as_is, s, len);
    if (taken || (taken = spm_charsmap_longest(&n->map, s, len, text, text_len)) == 0) {
        unsigned one = 0;
        if (!taken) utf8_get((const unsigned char *)s, &one);
        *text = s;
        *text_len = taken = taken ? taken : one;
    }
    return taken;
}

static unsigned char any(const unsigned char *mask, size_t n)
{
    unsigned char m = 0;
    for (size_t i = 0; mask && i < n; i++) m |= mask[i];
    return m;
}

/* Bytes that stay as they are where there is neither map nor symbol: up to a U+2581, or to a space that has to be looked at. */
static size_t unmarked(const struct spm_normalizer *n, const char *s, size_t len)
{
    const char *stop = memmem(s, n->remove_extra && len > 64 ? 64 : len, LOW_LINE, 3);
    size_t k = stop ? (size_t)(stop - s) : n->remove_extra && len > 64 ? 62 : len;
    if (!n->remove_extra) return k;
    stop = memchr(s, ' ', k);
    k = stop ? (size_t)(stop - s) : k;
    while (k < len && k && ((unsigned char)s[k] & 0xc0) == 0x80) k--; /* whole characters */
    return k;
}

bool spm_normalize(const struct spm_normalizer *n, const char *s, const unsigned char *mask, size_t len,
                   bool dummy, struct masked *out, struct err *e)
{
    const char *text;
    size_t text_len, i = 0, taken;
    dummy &= n->dummy;
    while (n->remove_extra && i < len) {
        taken = next(n, s + i, len - i, &text, &text_len);
        if (text_len != 1 || *text != ' ') break;
        i += taken;
    }
    if (i == len) return true;
    if (!masked_reserve(out, len + 2, mask != NULL, e)) return false;
    if (dummy && !n->behind) masked_put(out, " ", 1, 0);
    bool after_space = n->remove_extra;
    const bool plain = n->map.units == 0 && n->as_is.n == 0;
    for (; i < len; i += taken) {
        if (plain && (taken = unmarked(n, s + i, len - i)) != 0) { /* most text, most models */
            if (!masked_reserve(out, taken, mask != NULL, e)) return false;
            memcpy(out->text + out->len, s + i, taken);
            if (mask) memcpy(out->mask + out->len, mask + i, taken);
            out->len += taken;
            after_space = false;
            continue;
        }
        taken = next(n, s + i, len - i, &text, &text_len);
        const unsigned char said = any(mask ? mask + i : NULL, taken);
        for (; after_space && text_len && *text == ' '; text_len--) text++;
        if (text_len) after_space = n->remove_extra && text[text_len - 1] == ' ';
        if (!masked_reserve(out, text_len + 1, mask != NULL, e)) return false;
        for (size_t k = 0; k < text_len;) {
            bool low = text_len - k >= 3 && memcmp(text + k, LOW_LINE, 3) == 0;
            masked_put(out, low ? " " : text + k, 1, said);
            k += low ? 3 : 1;
        }
        if (!n->remove_extra) after_space = false;
    }
    while (n->remove_extra && out->len && out->text[out->len - 1] == ' ') out->len--;
    if (dummy && n->behind) masked_put(out, " ", 1, 0);
    return true;
}
