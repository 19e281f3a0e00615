/* words.c - see words.h. */
#include "base/words.h"

#include <string.h>

bool words_have(const char *words, const char *s, int *index)
{
    const size_t n = strlen(s);
    int i = 0;
    for (const char *w = words; w && n; i++) {
        if (!strncmp(w, s, n) && (w[n] == '|' || !w[n])) {
            if (index) *index = i;
            return true;
        }
        w = strchr(w, '|');
        if (w) w++;
    }
    return false;
}
