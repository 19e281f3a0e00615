#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void err_record(struct err *e, enum err_code code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        e->code = code;
        vsnprintf(e->msg, sizeof e->msg, fmt, ap);
        va_end(ap);
    }
}

void err_surround(struct err *e, const char *fmt, ...)
{
    if (e) {
        char inner[sizeof e->msg];
        memcpy(inner, e->msg, sizeof inner);
        va_list ap;
        va_start(ap, fmt);
        int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
        va_end(ap);
        if (n >= 0 && (size_t)n < sizeof e->msg) {
            snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %.*s", (int)(sizeof e->msg - (size_t)n - 3),
                     inner);
        }
    }
}
