/* aliases.c - see aliases.h. */
#include "service/models/aliases.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "service/models/catalog.h"

enum { MAX_ALIASES = 1000, MAX_FILE = MAX_ALIASES * (2 * ALIAS_MAX + 2) };

void aliases_free(struct aliases *a)
{
    free(a->v);
    *a = (struct aliases){ 0 };
}

/* ---- the file ------------------------------------------------------------------------------------------------------ */

/* White space parts the names in a line, and a # begins a deployment or a comment. */
static bool is_name(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= ' ' || s[i] == 0x7f || s[i] == '#') return false;
    return n > 0 && n <= ALIAS_MAX;
}

static bool add(struct aliases *a, const char *name, size_t n, const char *model, size_t m, struct err *e)
{
    struct alias *v = realloc(a->v, ((size_t)a->n + 1) * sizeof *v);
    if (!v) return err_set(e, ERR_NOMEM, "out of memory");
    a->v = v;
    v += a->n++;
    *v = (struct alias){ 0 };
    memcpy(v->name, name, n);
    memcpy(v->model, model, m);
    return true;
}

static bool parse_line(struct aliases *a, const char *s, const char *end, int line, struct err *e)
{
    const char *part[3];
    size_t len[3];
    int n = 0;
    for (; n < 3; n++) {
        while (s < end && (*s == ' ' || *s == '\t' || *s == '\r')) s++;
        if (s == end || (!n && *s == '#')) break;
        part[n] = s;
        while (s < end && *s != ' ' && *s != '\t' && *s != '\r') s++;
        len[n] = (size_t)(s - part[n]);
    }
    if (!n) return true;
    if (n != 2 || !is_name(part[0], len[0]) || !is_name(part[1], len[1]))
        return err_set(e, ERR_FORMAT, "line %d: expected NAME MODEL, each of at most %d bytes", line,
                       ALIAS_MAX);
    if (a->n == MAX_ALIASES) return err_set(e, ERR_LIMIT, "line %d: more than %d aliases", line, MAX_ALIASES);
    for (int i = 0; i < a->n; i++)
        if (strlen(a->v[i].name) == len[0] && !strncasecmp(a->v[i].name, part[0], len[0]))
            return err_set(e, ERR_FORMAT, "line %d: %s is there twice", line, a->v[i].name);
    return add(a, part[0], len[0], part[1], len[1], e);
}

bool aliases_parse(const char *text, size_t len, struct aliases *out, struct err *e)
{
    struct aliases a = { 0 };
    const char *end = text + len;
    int line = 1;
    for (const char *s = text; s < end; line++) {
        const char *stop = memchr(s, '\n', (size_t)(end - s));
        if (!stop) stop = end;
        if (!parse_line(&a, s, stop, line, e)) {
            aliases_free(&a);
            return false;
        }
        s = stop < end ? stop + 1 : end;
    }
    *out = a;
    return true;
}

bool aliases_read(const char *models_dir, struct aliases *out, struct err *e)
{
    char path[PATH_MAX], *text = NULL;
    struct stat st;
    snprintf(path, sizeof path, "%s/" ALIASES_FILE, models_dir);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        *out = (struct aliases){ 0 };
        return true;
    }
    bool ok = fd >= 0 && !fstat(fd, &st);
    if (!ok)
        err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size > MAX_FILE)
        ok = err_set(e, ERR_FORMAT, "%s: expected a file of at most %d bytes", path, MAX_FILE);
    if (ok && !(text = malloc((size_t)st.st_size + 1))) ok = err_set(e, ERR_NOMEM, "out of memory");
    if (ok) {
        const ssize_t got = read(fd, text, (size_t)st.st_size);
        ok = got >= 0 ? aliases_parse(text, (size_t)got, out, e) || err_wrap(e, "%s", path)
                      : err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    }
    free(text);
    if (fd >= 0) close(fd);
    return ok;
}

static bool write_file(const char *models_dir, const struct aliases *a, struct err *e)
{
    char path[PATH_MAX], temp[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/" ALIASES_FILE, models_dir) >= (int)sizeof path ||
        snprintf(temp, sizeof temp, "%s/." ALIASES_FILE ".new", models_dir) >= (int)sizeof temp)
        return err_set(e, ERR_LIMIT, "%s: the path is too long", models_dir);
    struct buf b = BUF_INIT(0);
    for (int i = 0; i < a->n; i++) buf_printf(&b, "%s %s\n", a->v[i].name, a->v[i].model);
    if (b.failed) return err_set(e, ERR_NOMEM, "out of memory");
    const int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool ok = fd >= 0;
    for (size_t at = 0; ok && at < b.len;) {
        const ssize_t n = write(fd, b.data + at, b.len - at);
        if (n < 0)
            ok = errno == EINTR;
        else
            at += (size_t)n;
    }
    ok = ok && !fsync(fd);
    const int why = errno;
    if (fd >= 0) ok = !close(fd) && ok;
    ok = ok && !rename(temp, path);
    if (!ok) {
        err_set(e, ERR_IO, "%s: %s", path, strerror(why ? why : errno));
        unlink(temp);
    }
    buf_free(&b);
    return ok;
}

/* The folder itself is the lock, so that no other file is needed. -1 and *e on failure. */
static int lock_folder(const char *models_dir, struct err *e)
{
    const int fd = open(models_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        err_set(e, ERR_IO, "%s: %s", models_dir, strerror(errno));
        return -1;
    }
    while (flock(fd, LOCK_EX))
        if (errno != EINTR) {
            err_set(e, ERR_IO, "%s: %s", models_dir, strerror(errno));
            close(fd);
            return -1;
        }
    return fd;
}

/* ---- finding and changing ------------------------------------------------------------------------------------------ */

static struct alias *find(const struct aliases *a, const char *name, size_t n)
{
    for (int i = 0; i < a->n; i++)
        if (strlen(a->v[i].name) == n && !strncasecmp(a->v[i].name, name, n)) return &a->v[i];
    return NULL;
}

/* As it was typed, then as other APIs call a model. */
static struct alias *find_any(const struct aliases *a, const char *name)
{
    int len;
    const char *bare = catalog_bare_name(name, &len);
    struct alias *found = find(a, name, strlen(name));
    return found ? found : find(a, bare, (size_t)len);
}

const char *aliases_find(const struct aliases *a, const char *name)
{
    const struct alias *found = a->n ? find_any(a, name) : NULL;
    return found ? found->model : NULL;
}

bool aliases_set(const char *models_dir, const char *name, const char *model, struct err *e)
{
    struct aliases a = { 0 };
    int len;
    const char *bare = catalog_bare_name(name, &len);
    if (!is_name(bare, (size_t)len) || bare[len])
        return err_set(
            e, ERR_REQUEST,
            "\"%.100s\" cannot be an alias: a name has no white space and no #, and at most %d bytes", name,
            ALIAS_MAX);
    const int lock = lock_folder(models_dir, e);
    if (lock < 0) return false;
    bool ok = aliases_read(models_dir, &a, e);
    if (ok) {
        struct alias *at = find(&a, bare, (size_t)len);
        const char *other = aliases_find(&a, model);
        char means[ALIAS_MAX + 1];
        if (other) model = other;
        if (!is_name(model, strlen(model)))
            ok = err_set(e, ERR_REQUEST, "\"%.100s\" is no name of a model", model);
        else if (strlen(model) == (size_t)len && !strncasecmp(model, bare, (size_t)len))
            ok = err_set(e, ERR_REQUEST, "%s would mean itself", model);
        else if (!at && a.n == MAX_ALIASES)
            ok = err_set(e, ERR_LIMIT, "there are %d aliases already; `hearth rm` takes one away",
                         MAX_ALIASES);
        if (ok) {
            snprintf(means, sizeof means, "%s", model);
            if (at)
                memcpy(at->model, means, sizeof means);
            else
                ok = add(&a, bare, (size_t)len, means, strlen(means), e);
        }
        ok = ok && write_file(models_dir, &a, e);
    }
    aliases_free(&a);
    close(lock);
    return ok;
}

bool aliases_remove(const char *models_dir, const char *name, struct err *e)
{
    struct aliases a = { 0 };
    const int lock = lock_folder(models_dir, e);
    if (lock < 0) return false;
    bool ok = aliases_read(models_dir, &a, e);
    struct alias *at = ok ? find_any(&a, name) : NULL;
    if (ok && !at) ok = err_set(e, ERR_NOT_FOUND, "no alias is called \"%.100s\"", name);
    if (ok) {
        *at = a.v[--a.n];
        ok = write_file(models_dir, &a, e);
    }
    aliases_free(&a);
    close(lock);
    return ok;
}
