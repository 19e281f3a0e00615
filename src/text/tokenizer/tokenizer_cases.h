/* tokenizer_cases.h - reading tests/golden/tokenizer (cases.txt says how its lines are written), for test programs only. */
#ifndef HEARTH_TEXT_TOKENIZER_TOKENIZER_CASES_H
#define HEARTH_TEXT_TOKENIZER_TOKENIZER_CASES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer/tokenizer.h"
#include "text/unicode.h"

/* A line as bytes, in place; the new length. */
static inline size_t case_unescape(char *s, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n;) {
        if (s[i] != '\\') {
            s[out++] = s[i++];
            continue;
        }
        char c = s[i + 1], digits[9] = "";
        size_t width = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
        memcpy(digits, s + i + 2, width);
        unsigned long v = strtoul(digits, NULL, 16);
        i += 2 + width;
        if (c == 'x')
            s[out++] = (char)v;
        else if (width)
            out += utf8_put((uint32_t)v, s + out);
        else
            s[out++] = c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c == '0' ? '\0' : c;
    }
    return out;
}

/* The next case of an open file into *line (getline's buffer); its length in bytes, or -1 at the end. */
static inline ssize_t case_next(FILE *f, char **line, size_t *cap)
{
    for (ssize_t len; (len = getline(line, cap, f)) > 0;) {
        if ((*line)[len - 1] == '\n') (*line)[--len] = 0;
        if (len && strncmp(*line, "# ", 2) != 0) return (ssize_t)case_unescape(*line, (size_t)len);
    }
    return -1;
}

/* Numbers up to '|' or the end of the line; where it stopped. */
static inline const char *case_ids(const char *p, struct token_list *l)
{
    l->n = 0;
    while (*p && *p != '\n' && *p != '|') {
        if (l->n == l->cap) {
            l->cap = l->cap * 2 + 64;
            l->id = realloc(l->id, l->cap * sizeof *l->id);
        }
        char *end;
        l->id[l->n] = (int32_t)strtol(p, &end, 10);
        if (end == p) break;
        l->n++;
        for (p = end; *p == ' '; p++) {
        }
    }
    return p;
}

#endif
