#include "service/hub/hub.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/json_memory.h"
#include "format/shards.h"
#include "lm/lm.h"
#include "service/models/catalog.h"
#include "service/hub/hub_select.h"

#define MAX_LISTING_BYTES (64u << 20)
#define MAX_CONFIG_BYTES (4u << 20)
#define MAX_PAGES 200
#define MAX_URL 2048

/* hf:OWNER/REPO@REVISION/PATH taken apart. */
struct hub_name {
    char owner[128], repo[128], revision[128];
    char which[1024]; /* path or quantisation; "" for the whole */
};

struct job {
    const struct hub_options *o;
    const struct hub_watch *w;
    struct download_access access;
    char *dir;
    struct str_list made; /* files that this pull has put there */
};

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcasecmp(s + n - m, tail) == 0;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

/* The next piece up to one of `stop`, of the characters that hubs allow in names. */
static bool take_name(const char **p, const char *stop, char *out, size_t cap)
{
    size_t n = strcspn(*p, stop);
    if (n == 0 || n >= cap || **p == '.') return false;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)(*p)[i]) && !strchr("-_.", (*p)[i])) return false;
    }
    memcpy(out, *p, n);
    out[n] = '\0';
    *p += n;
    return true;
}

static bool parse_name(const char *text, struct hub_name *name, struct err *e)
{
    *name = (struct hub_name){ .revision = "main" };
    const char *p = text;
    bool ok = take_name(&p, "/", name->owner, sizeof name->owner) && *p++ == '/' &&
              take_name(&p, "/@:", name->repo, sizeof name->repo);
    if (ok && *p == '@') {
        p++;
        ok = take_name(&p, "/:", name->revision, sizeof name->revision);
    }
    if (ok && *p) {
        p++;
        ok = *p && strlen(p) < sizeof name->which && hub_path_is_safe(p);
        if (ok) strcpy(name->which, p);
    }
    return ok || err_set(e, ERR_REQUEST,
                         "hf:%.200s: expected hf:OWNER/REPO[@REVISION][/FILE or :QUANTISATION]", text);
}

/* An address below the hub: OWNER/REPO/resolve/REVISION/PATH (or blob, raw). False when it is another. */
static bool parse_hub_url(const char *hub, const char *url, struct hub_name *name)
{
    size_t n = strlen(hub);
    while (n > 0 && hub[n - 1] == '/') n--;
    if (strncasecmp(url, hub, n) != 0 || url[n] != '/') return false;
    const char *p = url + n + 1;
    char kind[16];
    *name = (struct hub_name){ .revision = "" };
    bool ok = take_name(&p, "/", name->owner, sizeof name->owner) && *p++ == '/' &&
              take_name(&p, "/?#", name->repo, sizeof name->repo);
    if (!ok) return false;
    if (!*p || (*p == '/' && !p[1])) {
        strcpy(name->revision, "main");
        return true;
    }
    if (*p++ != '/') return false;
    ok = take_name(&p, "/", kind, sizeof kind) && *p++ == '/' &&
         take_name(&p, "/", name->revision, sizeof name->revision) && *p++ == '/';
    if (!ok || (strcmp(kind, "resolve") != 0 && strcmp(kind, "blob") != 0 && strcmp(kind, "raw") != 0))
        return false;
    size_t len = strcspn(p, "?#");
    if (len == 0 || len >= sizeof name->which || memchr(p, '%', len)) return false;
    memcpy(name->which, p, len);
    name->which[len] = '\0';
    return hub_path_is_safe(name->which);
}

/* Everything but letters, digits and "-._~/" as %XX (RFC 3986). */
static void append_escaped(struct buf *b, const char *path)
{
    for (; *path; path++) {
        if (isalnum((unsigned char)*path) || strchr("-._~/", *path)) {
            buf_putc(b, *path);
        } else {
            buf_printf(b, "%%%02X", (unsigned char)*path);
        }
    }
}

static void append_hub(struct buf *b, const char *hub)
{
    size_t n = strlen(hub);
    while (n > 0 && hub[n - 1] == '/') n--;
    buf_append(b, hub, n);
}

/* ---- what a pull has made ----------------------------------------------------------------------------------------- */

static bool note_made(struct job *j, const char *dir, const char *name, struct err *e)
{
    char **v = realloc(j->made.v, ((size_t)j->made.n + 1) * sizeof *v);
    if (v) j->made.v = v;
    if (!v || asprintf(&v[j->made.n], "%s/%s", dir, name) < 0)
        return err_set(e, ERR_NOMEM, "no memory for a path");
    j->made.n++;
    return true;
}

/* Removes the empty parts of downloads below `dir` that nobody is filling; true when one with bytes is there, which the next pull
 * would go on with. */
static bool find_parts(const char *dir, int depth)
{
    bool found = false;
    DIR *d = opendir(dir);
    for (const struct dirent *f; d && (f = readdir(d));) {
        char path[PATH_MAX];
        struct stat st;
        if (!strcmp(f->d_name, ".") || !strcmp(f->d_name, "..") ||
            snprintf(path, sizeof path, "%s/%s", dir, f->d_name) >= (int)sizeof path || lstat(path, &st))
            continue;
        if (S_ISDIR(st.st_mode)) {
            if (depth > 0) found |= find_parts(path, depth - 1);
        } else if (f->d_name[0] == '.' && ends_with(f->d_name, ".part")) {
            int fd = st.st_size ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
            bool idle = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
            if (idle) {
                char etag[PATH_MAX];
                if (snprintf(etag, sizeof etag, "%s.etag", path) < (int)sizeof etag) unlink(etag);
                unlink(path);
            }
            if (fd >= 0) close(fd);
            found |= !idle;
        }
    }
    if (d) closedir(d);
    return found;
}

/* The folders that hold `path`, from the inside out, as far as they are empty and below the model folder. */
static void remove_empty_folders(const char *path, const char *models_dir)
{
    char dir[PATH_MAX];
    size_t root = strlen(models_dir);
    snprintf(dir, sizeof dir, "%s", path);
    while (strlen(dir) > root + 1 && !strncmp(dir, models_dir, root) && dir[root] == '/') {
        if (rmdir(dir) && errno != ENOENT) return;
        char *slash = strrchr(dir, '/');
        if (!slash) return;
        *slash = '\0';
    }
}

/* A failed pull leaves nothing, but for what the next one can go on with. */
static void clean_up(const struct job *j)
{
    if (!j->dir || find_parts(j->dir, 2)) return;
    for (int i = 0; i < j->made.n; i++) {
        unlink(j->made.v[i]);
        *strrchr(j->made.v[i], '/') = '\0';
        remove_empty_folders(j->made.v[i], j->o->models_dir);
    }
    remove_empty_folders(j->dir, j->o->models_dir);
}

/* ---- a repository ------------------------------------------------------------------------------------------------ */

static bool list_repo(const struct job *j, const struct hub_name *name, struct hub_list *l, struct err *e)
{
    struct buf url = BUF_INIT(MAX_URL), page = BUF_INIT(MAX_LISTING_BYTES);
    append_hub(&url, j->o->hub);
    buf_printf(&url, "/api/models/%s/%s/tree/%s?recursive=true", name->owner, name->repo, name->revision);
    bool ok = !url.failed || err_set(e, ERR_REQUEST, "the hub's address is too long");
    char next[MAX_URL] = "";
    for (int i = 0; ok; i++) {
        ok = download_text(&j->access, url.data, &page, next, sizeof next, &j->w->download, e) &&
             hub_list_parse(l, page.data ? page.data : "", page.len, e);
        if (!ok || !next[0]) break;
        if (i == MAX_PAGES) ok = err_set(e, ERR_LIMIT, "the hub's listing has more than %d pages", MAX_PAGES);
        buf_clear(&url);
        buf_puts(&url, next);
    }
    buf_free(&url);
    buf_free(&page);
    return ok;
}

/* Where a file goes: GGUF files straight into the folder, whatever folder of the repository they were in. */
static const char *local_name(const char *path) { return ends_with(path, ".gguf") ? base_of(path) : path; }

static void append_resolve(struct buf *url, const struct job *j, const struct hub_name *name,
                           const char *path)
{
    append_hub(url, j->o->hub);
    buf_printf(url, "/%s/%s/resolve/%s/", name->owner, name->repo, name->revision);
    append_escaped(url, path);
}

static bool fetch_file(struct job *j, const struct hub_name *name, const struct hub_file *f, struct err *e)
{
    struct buf url = BUF_INIT(MAX_URL * 2);
    append_resolve(&url, j, name, f->path);
    const char *local = local_name(f->path), *base = base_of(local);
    char *dir = NULL;
    bool ok = !url.failed && asprintf(&dir, "%s/%.*s", j->dir, (int)(base - local), local) >= 0;
    if (!ok) {
        err_set(e, ERR_NOMEM, "no memory for a path");
    } else {
        size_t n = strlen(dir);
        if (dir[n - 1] == '/') dir[n - 1] = '\0';
        const char *sum = j->o->sha256 && *j->o->sha256 ? j->o->sha256 : f->sha256[0] ? f->sha256 : NULL;
        bool there = false;
        ok = download_file(&j->access, url.data, dir, base, sum, f->size, &j->w->download, &there, e) &&
             (there || note_made(j, dir, base, e));
        free(dir);
    }
    buf_free(&url);
    return ok;
}

static int by_size(const void *a, const void *b)
{
    const struct hub_file *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return strcmp(x->path, y->path);
}

/* Bytes that are still to come of a file: nothing when it is there, the rest when a part is. */
static int64_t missing_bytes(const struct job *j, const struct hub_file *f)
{
    char path[PATH_MAX];
    struct stat st;
    const char *local = local_name(f->path), *base = base_of(local);
    const int folder = (int)(base - local);
    if (snprintf(path, sizeof path, "%s/%s", j->dir, local) < (int)sizeof path && !stat(path, &st) &&
        st.st_size == f->size)
        return 0;
    const bool part =
        snprintf(path, sizeof path, "%s/%.*s.%s.part", j->dir, folder, local, base) < (int)sizeof path &&
        !stat(path, &st) && st.st_size <= f->size;
    return part ? f->size - st.st_size : f->size;
}

/* Small files first: what is gated or full fails before the hours of the large ones. */
static bool fetch_wanted(struct job *j, const struct hub_name *name, struct hub_list *l, struct err *e)
{
    qsort(l->v, l->n, sizeof *l->v, by_size);
    int n = 0, i = 0;
    int64_t bytes = 0, missing = 0;
    for (size_t k = 0; k < l->n; k++) {
        if (!l->v[k].wanted) continue;
        n++;
        if (__builtin_add_overflow(bytes, l->v[k].size, &bytes)) bytes = INT64_MAX;
        if (__builtin_add_overflow(missing, missing_bytes(j, &l->v[k]), &missing)) missing = INT64_MAX;
    }
    if (n > 1 && j->o->sha256 && *j->o->sha256) {
        return err_set(e, ERR_REQUEST, "--sha256 is for a single file, this pull has %d", n);
    }
    if (j->w->plan) j->w->plan(j->w->arg, n, bytes, j->dir);
    if (!download_fits(j->dir, missing, e)) return false;
    for (size_t k = 0; k < l->n; k++) {
        if (!l->v[k].wanted) continue;
        if (j->w->file) j->w->file(j->w->arg, local_name(l->v[k].path), ++i, n);
        if (!fetch_file(j, name, &l->v[k], e)) return false;
    }
    return true;
}

/* The one weight file, the first part of a split one, or the folder. */
static bool installed_path(const struct job *j, const struct hub_list *l, char **path, struct err *e)
{
    const char *first = NULL;
    size_t wanted = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!l->v[i].wanted) continue;
        wanted++;
        const char *name = local_name(l->v[i].path);
        if (ends_with(name, ".gguf") && (!first || strcmp(name, first) < 0)) first = name;
        if (wanted == 1 && !first) first = name;
    }
    if (wanted > 1 && first && !ends_with(first, ".gguf")) first = NULL;
    int n = first ? asprintf(path, "%s/%s", j->dir, first) : asprintf(path, "%s", j->dir);
    return n >= 0 || err_set(e, ERR_NOMEM, "no memory for a path");
}

/* Of a folder of a language model: does its configuration name one that this build has an engine for? Asked before anything is kept. */
static bool check_engine(const struct job *j, const struct hub_name *name, const struct hub_list *l,
                         struct err *e)
{
    bool config = false, weights = false;
    for (size_t i = 0; i < l->n; i++) {
        if (!l->v[i].wanted) continue;
        config |= !strcmp(l->v[i].path, "config.json");
        weights |= ends_with(l->v[i].path, ".safetensors") && !strchr(l->v[i].path, '/');
    }
    char here[PATH_MAX];
    snprintf(here, sizeof here, "%s/config.json", j->dir);
    if (!config || !weights || access(here, F_OK) == 0)
        return true; /* there from an earlier pull: it was asked then */
    struct buf url = BUF_INIT(MAX_URL * 2), text = BUF_INIT(MAX_CONFIG_BYTES);
    append_resolve(&url, j, name, "config.json");
    bool ok = !url.failed && download_text(&j->access, url.data, &text, NULL, 0, &j->w->download, e);
    json_t *root = ok && text.data ? json_memory_load(text.data, text.len, 0, NULL) : NULL;
    const char *type = json_string_value(json_object_get(root, "model_type")),
               *inner =
                   json_string_value(json_object_get(json_object_get(root, "text_config"), "model_type"));
    if (ok && type && !lm_supports(type) && !(inner && lm_supports(inner)))
        ok = err_set(e, ERR_UNSUPPORTED,
                     "hf:%s/%s: this build has no engine for models of type '%.60s'; nothing was fetched",
                     name->owner, name->repo, type);
    json_decref(root);
    buf_free(&url);
    buf_free(&text);
    return ok;
}

static bool pull_repo(struct job *j, const struct hub_name *name, char **path, struct err *e)
{
    if (asprintf(&j->dir, "%s/%s/%s", j->o->models_dir, name->owner, name->repo) < 0) {
        j->dir = NULL;
        return err_set(e, ERR_NOMEM, "no memory for a path");
    }
    struct hub_list l = { 0 };
    bool ok = list_repo(j, name, &l, e);
    if (ok && !hub_select(&l, name->which[0] ? name->which : NULL, e)) {
        ok = err_wrap(e, "hf:%s/%s", name->owner, name->repo);
    }
    ok = ok && check_engine(j, name, &l, e) && fetch_wanted(j, name, &l, e) && installed_path(j, &l, path, e);
    hub_list_free(&l);
    return ok;
}

/* ---- a URL, a local path ------------------------------------------------------------------------------------------ */

/* The folder for a file that has no owner and no repository: its name without extension and part number. */
static bool folder_for(struct job *j, const char *file, struct err *e)
{
    int count;
    size_t n = shards_stem(file, &count);
    if (asprintf(&j->dir, "%s/%.*s", j->o->models_dir, (int)n, file) >= 0) return true;
    j->dir = NULL;
    return err_set(e, ERR_NOMEM, "no memory for a path");
}

static bool pull_url(struct job *j, const char *url, char **path, struct err *e)
{
    if (!download_url_allowed(url, e)) return false;
    char name[256];
    const char *start = strchr(strstr(url, "://") + 3, '/');
    size_t end = start ? strcspn(start, "?#") : 0, from = end;
    while (from > 0 && start[from - 1] != '/') from--;
    if (end - from == 0 || end - from >= sizeof name) {
        return err_set(e, ERR_REQUEST, "%.200s: expected the address of a file", url);
    }
    memcpy(name, start + from, end - from);
    name[end - from] = '\0';
    if (!hub_path_is_safe(name) || strchr(name, '%')) {
        return err_set(e, ERR_REQUEST, "%.200s: its last part does not serve as a file's name", url);
    }
    if (!ends_with(name, ".gguf") && !ends_with(name, ".safetensors")) {
        return err_set(e, ERR_REQUEST, "%.200s: expected a .gguf or .safetensors file", url);
    }
    const char *sum = j->o->sha256 && *j->o->sha256 ? j->o->sha256 : NULL;
    if (!folder_for(j, name, e)) return false;
    if (j->w->plan) j->w->plan(j->w->arg, 1, -1, j->dir);
    if (j->w->file) j->w->file(j->w->arg, name, 1, 1);
    bool there = false;
    if (!download_file(&j->access, url, j->dir, name, sum, -1, &j->w->download, &there, e)) return false;
    if (!there && !note_made(j, j->dir, name, e)) return false;
    return asprintf(path, "%s/%s", j->dir, name) >= 0 || err_set(e, ERR_NOMEM, "no memory for a path");
}

/* A local folder is listed as a repository would be, so that the same files are picked. */
static bool list_local(const char *root, const char *below, int depth, struct hub_list *l, struct err *e)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", root, below) >= (int)sizeof path) return true;
    DIR *d = opendir(path);
    if (!d) return err_set(e, ERR_IO, "cannot open %.200s: %s", path, strerror(errno));
    bool ok = true;
    for (struct dirent *f; ok && (f = readdir(d));) {
        char name[1024], full[PATH_MAX];
        struct stat st;
        if (f->d_name[0] == '.' ||
            snprintf(name, sizeof name, "%s%s", below, f->d_name) >= (int)sizeof name - 1 ||
            !hub_path_is_safe(name) || snprintf(full, sizeof full, "%s/%s", root, name) >= (int)sizeof full ||
            stat(full, &st) != 0) {
            continue;
        }
        if (S_ISDIR(st.st_mode) && depth > 0) {
            strcat(name, "/");
            ok = list_local(root, name, depth - 1, l, e);
        } else if (S_ISREG(st.st_mode)) {
            ok = hub_list_add(l, name, st.st_size, "", e);
        }
    }
    closedir(d);
    return ok;
}

static bool copy_one(struct job *j, const char *root, const char *name, struct err *e)
{
    char source[PATH_MAX];
    if (snprintf(source, sizeof source, "%s/%s", root, name) >= (int)sizeof source) {
        return err_set(e, ERR_REQUEST, "%.200s: the path is too long", name);
    }
    const char *local = local_name(name), *base = base_of(local);
    char *dir = NULL;
    const bool below = base > local;
    if (asprintf(&dir, "%s%s%.*s", j->dir, below ? "/" : "", below ? (int)(base - local - 1) : 0, local) <
        0) {
        return err_set(e, ERR_NOMEM, "no memory for a path");
    }
    const char *sum = j->o->sha256 && *j->o->sha256 ? j->o->sha256 : NULL;
    bool there = false;
    bool ok = download_copy(source, dir, base, sum, &j->w->download, &there, e) &&
              (there || note_made(j, dir, base, e));
    free(dir);
    return ok;
}

static bool pull_local(struct job *j, const char *what, char **path, struct err *e)
{
    struct stat st;
    char real[PATH_MAX];
    if (!realpath(what, real) || stat(real, &st) != 0) {
        return err_set(e, ERR_NOT_FOUND, "%.200s: %s; a model of the hub is called hf:OWNER/REPO", what,
                       strerror(errno));
    }
    bool folder = S_ISDIR(st.st_mode);
    char *slash = strrchr(real, '/');
    if (!slash || !slash[1]) return err_set(e, ERR_REQUEST, "%.200s: not a model", what);
    struct hub_list l = { 0 };
    bool ok;
    if (folder) {
        if (asprintf(&j->dir, "%s/%s", j->o->models_dir, slash + 1) < 0) j->dir = NULL;
        ok = (j->dir || err_set(e, ERR_NOMEM, "no memory for a path")) && list_local(real, "", 1, &l, e) &&
             hub_select(&l, NULL, e);
    } else if (!ends_with(slash, ".gguf") && !ends_with(slash, ".safetensors")) {
        ok = err_set(e, ERR_REQUEST, "expected a .gguf or .safetensors file");
    } else {
        *slash = '\0';
        ok = folder_for(j, slash + 1, e) && list_local(real, "", 0, &l, e) && hub_select(&l, slash + 1, e);
    }
    if (!ok) err_wrap(e, "%.200s", what);
    int n = 0, i = 0;
    int64_t bytes = 0;
    for (size_t k = 0; ok && k < l.n; k++) {
        n += l.v[k].wanted;
        bytes += l.v[k].wanted ? l.v[k].size : 0;
    }
    if (ok && j->w->plan) j->w->plan(j->w->arg, n, bytes, j->dir);
    for (size_t k = 0; ok && k < l.n; k++) {
        if (!l.v[k].wanted) continue;
        if (j->w->file) j->w->file(j->w->arg, local_name(l.v[k].path), ++i, n);
        ok = copy_one(j, real, l.v[k].path, e);
    }
    ok = ok && installed_path(j, &l, path, e);
    hub_list_free(&l);
    return ok;
}

bool hub_pull(const struct hub_options *o, const char *what, const struct hub_watch *w, char **path,
              struct err *e)
{
    struct job j = { .o = o, .w = w, .access = { .origin = o->hub, .token = o->token, .tries = o->tries } };
    if (o->sha256 && *o->sha256 && !download_is_sha256(o->sha256)) {
        return err_set(e, ERR_REQUEST, "--sha256: expected 64 hexadecimal digits");
    }
    struct hub_name name;
    bool ok;
    if (strncmp(what, "hf:", 3) == 0) {
        ok = download_url_allowed(o->hub, e) && parse_name(what + 3, &name, e) &&
             pull_repo(&j, &name, path, e);
    } else if (strstr(what, "://")) {
        ok = parse_hub_url(o->hub, what, &name) ? pull_repo(&j, &name, path, e) : pull_url(&j, what, path, e);
    } else {
        ok = pull_local(&j, what, path, e);
    }
    if (!ok) clean_up(&j);
    for (int i = 0; i < j.made.n; i++) free(j.made.v[i]);
    free(j.made.v);
    free(j.dir);
    return ok;
}
