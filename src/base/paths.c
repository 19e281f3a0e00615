#include "base/paths.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Whether a path may begin at p: "accounts/hearth/models/x" holds no folder called models. */
static bool begins(const char *msg, const char *p)
{
    return p == msg || !(isalnum((unsigned char)p[-1]) || strchr("/._-", p[-1]));
}

static void hide(char *msg, const char *folder)
{
    size_t n = strlen(folder);
    while (n > 1 && folder[n - 1] == '/') n--;
    if (n < 2 || !memchr(folder, '/', n)) return; /* "/" and "." are in everything */
    const char *last = memrchr(folder, '/', n);
    const size_t n_last = n - (size_t)(last + 1 - folder);
    for (char *p = msg; (p = strchr(p, folder[0]));) {
        if (!begins(msg, p) || strncmp(p, folder, n) != 0) {
            p++;
            continue;
        }
        size_t cut = n;
        if (p[n] == '/') {
            while (p[cut] == '/') cut++;
        } else if (isalnum((unsigned char)p[n]) || (p[n] && strchr("._-", p[n]))) {
            p++; /* a folder beside it whose name goes on */
            continue;
        } else {
            memmove(p, last + 1, n_last);
            p += n_last;
            cut -= n_last;
        }
        memmove(p, p + cut, strlen(p + cut) + 1);
    }
    /* Messages have a length: one may have been cut off inside of the folder's name. */
    const size_t len = strlen(msg);
    for (size_t k = n < len ? n : len; k > 1; k--) {
        char *tail = msg + len - k;
        if (!begins(msg, tail) || strncmp(tail, folder, k) != 0) continue;
        *tail = 0;
        break;
    }
}

void paths_hide(char *msg, const char *folder)
{
    char real[PATH_MAX];
    hide(msg, folder);
    if (realpath(folder, real) && strcmp(real, folder) != 0) hide(msg, real);
}
