/* mark.h - looking for the marks of a family in text that comes in pieces. Pure functions over bytes. */
#ifndef HEARTH_SERVICE_MARK_H
#define HEARTH_SERVICE_MARK_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline bool mark_is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* Where the mark stands first in s[n]; n: nowhere. */
static inline size_t mark_find(const char *s, size_t n, const char *mark)
{
    const char *at = n ? memmem(s, n, mark, strlen(mark)) : NULL;
    return at ? (size_t)(at - s) : n;
}

/* How many bytes at the end of s[n] may become the mark, which does not stand there whole. */
static inline size_t mark_begun(const char *s, size_t n, const char *mark)
{
    const size_t len = strlen(mark);
    for (size_t k = n < len ? n : len - 1; k; k--)
        if (!memcmp(s + n - k, mark, k)) return k;
    return 0;
}

#endif
