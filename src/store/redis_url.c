/* redis_url.c - see redis_url.h. */
#include "store/redis_url.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char scheme[] = "redis://";

static bool wrong(struct err *e, const char *what)
{
    return err_set(e, ERR_REQUEST,
                   "%s: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE] is meant, with %%XX for :, @, / and "
                   "%% in a password",
                   what);
}

static int hex(char c) { return isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10; }

/* n bytes of s without their %XX. False: too long, or a % or a 0 that does not belong there. */
static bool decode(char *out, size_t cap, const char *s, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c == '%') {
            if (n - i < 3 || !isxdigit((unsigned char)s[i + 1]) || !isxdigit((unsigned char)s[i + 2]))
                return false;
            c = (char)(hex(s[i + 1]) * 16 + hex(s[i + 2]));
            i += 2;
        }
        if (!c || k + 1 >= cap) return false;
        out[k++] = c;
    }
    out[k] = 0;
    return true;
}

/* n digits from 0 to most. */
static bool number(const char *s, size_t n, int most, int *out)
{
    int v = 0;
    if (!n) return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return false;
        v = v * 10 + (s[i] - '0');
        if (v > most) return false;
    }
    *out = v;
    return true;
}

static bool read_user(struct redis_url *u, const char *s, size_t n, struct err *e)
{
    const char *colon = memchr(s, ':', n);
    const size_t n_user = colon ? (size_t)(colon - s) : n;
    if (!colon) return wrong(e, "a user without a password");
    if (!decode(u->user, sizeof u->user, s, n_user) ||
        !decode(u->password, sizeof u->password, colon + 1, n - n_user - 1))
        return wrong(e, "the user or the password is too long, or has a % that is not followed by two "
                        "hexadecimal digits");
    return *u->password || wrong(e, "an empty password");
}

static bool read_host(struct redis_url *u, const char *s, size_t n, struct err *e)
{
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    const char *close = n && *s == '[' ? memchr(s, ']', n) : NULL;
    const char *host = close ? s + 1 : s, *behind = close ? close + 1 : memchr(s, ':', n);
    if (!behind) behind = s + n;
    const size_t n_host = (size_t)((close ? close : behind) - host), rest = (size_t)(s + n - behind);
    if (!n_host || n_host >= sizeof u->host) return wrong(e, "no host, or too long a one");
    memcpy(u->host, host, n_host);
    u->host[n_host] = 0;
    if (strspn(u->host, close ? "0123456789abcdefABCDEF:." : good) != n_host)
        return wrong(e, "a host of strange characters");
    if (rest && (*behind != ':' || !number(behind + 1, rest - 1, 65535, &u->port) || !u->port))
        return wrong(e, "the port is no number from 1 to 65535");
    return true;
}

bool redis_url_parse(struct redis_url *out, const char *text, struct err *e)
{
    struct redis_url u = { .port = REDIS_URL_PORT };
    if (strncmp(text, scheme, sizeof scheme - 1) != 0) return wrong(e, "it does not begin with redis://");
    const char *s = text + sizeof scheme - 1, *slash = strchr(s, '/');
    const size_t n = slash ? (size_t)(slash - s) : strlen(s);
    const char *at = NULL;
    for (size_t i = 0; i < n; i++)
        if (s[i] == '@') at = s + i;
    if (at && !read_user(&u, s, (size_t)(at - s), e)) return false;
    const char *host = at ? at + 1 : s;
    if (!read_host(&u, host, (size_t)(s + n - host), e)) return false;
    if (slash && slash[1] && !number(slash + 1, strlen(slash + 1), 65535, &u.database))
        return wrong(e, "the database is no number");
    *out = u;
    return true;
}

const char *redis_url_show(const struct redis_url *u, char out[REDIS_URL_SHOWN])
{
    const bool v6 = strchr(u->host, ':') != NULL;
    snprintf(out, REDIS_URL_SHOWN, "redis://%s%s%s:%d/%d", v6 ? "[" : "", u->host, v6 ? "]" : "", u->port,
             u->database);
    return out;
}
