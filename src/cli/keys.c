/* keys.c - see keys.h. */
#include "cli/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "http/auth.h"

bool keys_add(struct keys *k, const char *key, size_t len, const char *where, struct err *e)
{
    if (len < KEYS_MIN)
        return err_set(e, ERR_REQUEST, "%s: a key of %zu character%s could be guessed; %d are the least",
                       where, len, len == 1 ? "" : "s", KEYS_MIN);
    if (len > KEYS_MAX)
        return err_set(e, ERR_REQUEST, "%s: a key may have at most %d characters", where, KEYS_MAX);
    for (size_t i = 0; i < len; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return err_set(
                e, ERR_REQUEST,
                "%s: a key is made of letters, digits and signs of ASCII without spaces; other characters "
                "cannot be sent in a header",
                where);
    for (int i = 0; i < k->n; i++) {
        if (strlen(k->v[i]) != len || memcmp(k->v[i], key, len)) continue;
        log_warn("%s: this key was given before", where);
        return true;
    }
    char **v = realloc(k->v, ((size_t)k->n + 1) * sizeof *v);
    if (v) k->v = v;
    if (!v || !(v[k->n] = strndup(key, len))) return err_set(e, ERR_NOMEM, "out of memory");
    k->n++;
    return true;
}

static bool add_line(struct keys *k, const char *line, size_t len, const char *where, struct err *e)
{
    static const char blank[] = " \t\r\n";
    if (memchr(line, 0, len)) return err_set(e, ERR_REQUEST, "%s: not a line of text", where);
    const size_t from = strspn(line, blank), n = strcspn(line + from, blank);
    if (!n || line[from] == '#') return true;
    const char *rest = line + from + n + strspn(line + from + n, blank);
    if (*rest && *rest != '#')
        return err_set(e, ERR_REQUEST, "%s: one key a line, without spaces; a comment begins with #", where);
    return keys_add(k, line + from, n, where, e);
}

static void warn_if_open(int fd, const char *path)
{
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !(st.st_mode & 077)) return;
    log_warn("key-file %s can be read or written by others (mode %03o); `chmod 600 %s` keeps it to you", path,
             (unsigned)st.st_mode & 0777, path);
}

bool keys_read_file(struct keys *k, const char *path, bool may_be_missing, struct err *e)
{
    char *line = NULL, where[300];
    size_t size = 0;
    ssize_t n;
    bool ok = true;
    FILE *f = fopen(path, "re");
    if (!f && errno == ENOENT && may_be_missing) return true;
    if (!f) return err_set(e, ERR_IO, "key-file %s: %s", path, strerror(errno));
    warn_if_open(fileno(f), path);
    for (int i = 1; ok && (n = getline(&line, &size, f)) > 0; i++) {
        size_t bom = i == 1 && n >= 3 && !memcmp(line, "\xef\xbb\xbf", 3) ? 3 : 0;
        snprintf(where, sizeof where, "key-file %.200s:%d", path, i);
        ok = add_line(k, line + bom, (size_t)n - bom, where, e);
    }
    if (ok && ferror(f)) ok = err_set(e, ERR_IO, "key-file %s: %s", path, strerror(errno));
    free(line);
    fclose(f);
    return ok;
}

bool keys_collect(struct keys *k, const struct str_list *given, const char *file, bool may_be_none,
                  struct err *e)
{
    for (int i = 0; i < given->n; i++)
        if (!keys_add(k, given->v[i], strlen(given->v[i]), "keys", e)) return false;
    if (*file && !keys_read_file(k, file, may_be_none, e)) return false;
    if (*file && !k->n && !may_be_none)
        return err_set(e, ERR_REQUEST, "key-file %s holds no key; --new-key puts one in", file);
    return true;
}

/* A line of its own, also where the last one has no end. */
static bool append(const char *path, const char *key, struct err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return err_set(e, ERR_IO, "key-file %s: %s", path, strerror(errno));
    char line[KEYS_NEW + 2], last = '\n';
    const off_t size = lseek(fd, 0, SEEK_END);
    bool ok = size <= 0 || pread(fd, &last, 1, size - 1) == 1;
    const int n = snprintf(line, sizeof line, "%s%s\n", last == '\n' ? "" : "\n", key);
    ok = ok && write(fd, line, (size_t)n) == n;
    const int why = errno;
    ok = !close(fd) && ok;
    return ok || err_set(e, ERR_IO, "key-file %s: %s", path, strerror(why));
}

bool keys_make(struct keys *k, const char *path, struct err *e)
{
    auth_new_key(k->new_key);
    return (!*path || append(path, k->new_key, e)) &&
           keys_add(k, k->new_key, strlen(k->new_key), "--new-key", e);
}

void keys_free(struct keys *k)
{
    for (int i = 0; i < k->n; i++) free(k->v[i]);
    free(k->v);
    *k = (struct keys){ 0 };
}
