/* registry.c - see registry.h. One lock guards the list and the states; loading and unloading happen outside it. */
#include "service/models/registry.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/paths.h"
#include "service/models/model_folder.h"

enum state { COLD, BUSY, READY }; /* BUSY: being loaded or unloaded */

struct stamp { /* tells whether a file or folder has changed */
    ino_t inode;
    off_t size;
    struct timespec modified;
};

struct model {
    struct model *next;
    char *id;
    struct installed where;
    const struct catalog_model *catalog;
    struct lm *lm; /* of these two, the one that where.image says; NULL while not loaded */
    struct image_model *image;
    enum state state;
    bool sees; /* takes pictures, as the last look at its files told */
    int refs;
    double last_used;
    double keep_s; /* of a loaded one: seconds that it stays when idle; below 0: for ever */
    size_t resident;
    int64_t installed_unix;
    struct stamp checked; /* of the files that `problem` speaks of */
    char problem[300];
    struct stamp printed; /* of the files that `print` speaks of */
    char print[FINGERPRINT];
};

struct registry {
    bool limit_given; /* a memory limit of the operator's, which holds for image models too */
    struct registry_options o;
    char *models_dir;
    const struct catalog *catalog;
    struct device *dev, *image_dev;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct model *models; /* entries are never removed: pointers stay good */
    bool scanned;         /* once at least: what there is to say of files has been said */
    double last_scan;
    struct aliases aliases; /* as the file was when its stamp was taken */
    struct stamp aliases_read;
    pthread_t idle; /* unloads those whose time is over */
    bool idle_runs, stopping;
};

static bool stamp_of(const char *path, struct stamp *s)
{
    struct stat st;
    if (stat(path, &st)) return false;
    *s = (struct stamp){ st.st_ino, st.st_size, st.st_mtim };
    return true;
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
    return a->inode == b->inode && a->size == b->size && a->modified.tv_sec == b->modified.tv_sec &&
           a->modified.tv_nsec == b->modified.tv_nsec;
}

const char *model_id(const struct model *m) { return m->id; }
const struct catalog_model *model_catalog(const struct model *m) { return m ? m->catalog : NULL; }

bool registry_new(struct registry **out, const struct registry_options *o, const struct catalog *c,
                  struct device *dev, struct device *image_dev, struct err *e)
{
    struct registry *r = calloc(1, sizeof *r);
    if (!r || !(r->models_dir = strdup(o->models_dir))) {
        free(r);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    r->o = *o;
    r->catalog = c;
    r->dev = dev;
    r->image_dev = image_dev;
    r->last_scan = -1e9;
    r->limit_given = r->o.memory_limit > 0;
    if (!r->limit_given) r->o.memory_limit = machine_memory() / 10 * 9;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    *out = r;
    return true;
}

static void model_free(struct model *m)
{
    if (m->lm) lm_free(m->lm);
    image_free(m->image);
    free(m->id);
    installed_free(&m->where);
    free(m);
}

void registry_free(struct registry *r)
{
    if (!r) return;
    /* Cancelled image requests let go of their model within a step, on a thread of their own. */
    pthread_mutex_lock(&r->lock);
    for (struct model *m = r->models; m;) {
        if (m->refs)
            pthread_cond_wait(&r->changed, &r->lock);
        else
            m = m->next;
    }
    r->stopping = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (r->idle_runs) pthread_join(r->idle, NULL);
    while (r->models) {
        struct model *m = r->models;
        r->models = m->next;
        model_free(m);
    }
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    aliases_free(&r->aliases);
    free(r->models_dir);
    free(r);
}

/* ---- what is there ------------------------------------------------------------------------------------------------- */

static struct model *by_id(struct registry *r, const char *id)
{
    for (struct model *m = r->models; m; m = m->next)
        if (!strcmp(m->id, id)) return m;
    return NULL;
}

static struct model *by_path(struct registry *r, const char *path)
{
    for (struct model *m = r->models; m; m = m->next)
        if (!strcmp(m->where.path, path)) return m;
    return NULL;
}

/* The catalog's entries may share weights (two prices for one model): each gets a model of its own over the same files. */
static bool add_model(struct registry *r, const struct installed *w, const struct catalog_model *c,
                      struct model **out, struct err *e)
{
    struct model *m = calloc(1, sizeof *m);
    struct stat st;
    if (!m) return err_set(e, ERR_NOMEM, "out of memory");
    if (c)
        m->id = strdup(c->id);
    else if (asprintf(&m->id, "accounts/local/models/%s", w->name) < 0)
        m->id = NULL;
    m->where = (struct installed){ .name = strdup(w->name),
                                   .path = strdup(w->path),
                                   .file = w->file ? strdup(w->file) : NULL,
                                   .image = w->image,
                                   .bytes = w->bytes };
    m->catalog = c;
    m->installed_unix = stat(w->path, &st) ? 0 : (int64_t)st.st_mtime;
    if (!m->id || !m->where.name || !m->where.path || (w->file && !m->where.file)) {
        model_free(m);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    struct model **last = &r->models;
    while (*last) last = &(*last)->next;
    *last = m;
    if (out) *out = m;
    return true;
}

/* Under their own name; where another file has it already, the first one is served. */
static bool add_local(struct registry *r, const struct installed *w, struct model **out, struct err *e)
{
    for (struct model *m = r->models; m; m = m->next) {
        if (m->catalog || strcmp(m->where.name, w->name)) continue;
        if (!r->scanned) log_warn("%s is not served: %s has the same name", w->path, m->where.path);
        *out = m;
        return true;
    }
    return add_model(r, w, NULL, out, e);
}

/* Registers weights under the catalog ids they belong to, or under their own name. Under the lock. */
static bool add_installed(struct registry *r, const struct installed *w, struct model **out, struct err *e)
{
    bool owned = false;
    struct model *first = NULL, *m = NULL;
    for (int i = 0; i < catalog_count(r->catalog); i++) {
        const struct catalog_model *c = catalog_at(r->catalog, i);
        if ((c->kind == MODEL_IMAGE) != w->image) continue;
        if (!catalog_owns_file(c, w->name) && !(w->file && catalog_owns_file(c, w->file))) continue;
        m = by_id(r, c->id);
        if (m && strcmp(m->where.path, w->path)) continue; /* other weights serve this id already */
        if (!m && !add_model(r, w, c, &m, e)) return false;
        owned = true;
        if (!first) first = m;
    }
    if (!owned && !(first = by_path(r, w->path)) && !add_local(r, w, &first, e)) return false;
    if (out) *out = first;
    return true;
}

static bool rescan(struct registry *r, struct err *e)
{
    struct installed_list l;
    double now = clock_seconds();
    if (now - r->last_scan < 1)
        return true; /* a flood of unknown names does not become a flood of directory reads */
    r->last_scan = now;
    struct err why = { 0 };
    if (!model_folder_scan(r->models_dir, &l, &why)) {
        log_error("the model folder cannot be read: %s", why.msg);
        return err_set(e, why.code, "the folder of models cannot be read");
    }
    bool ok = true;
    for (int i = 0; ok && i < l.n; i++) ok = by_path(r, l.v[i].path) || add_installed(r, &l.v[i], NULL, e);
    if (!r->scanned && l.unread[0]) log_warn("passed over, a folder that cannot be read: %s", l.unread);
    r->scanned = true;
    installed_list_free(&l);
    return ok;
}

/* What the folder's file of aliases says now. One that cannot be read leaves what was read before. Under the lock. */
static void refresh_aliases(struct registry *r)
{
    char path[PATH_MAX];
    struct stamp now = { 0 };
    struct aliases a;
    struct err why = { 0 };
    snprintf(path, sizeof path, "%s/" ALIASES_FILE, r->models_dir);
    stamp_of(path, &now);
    if (same_stamp(&now, &r->aliases_read)) return;
    r->aliases_read = now;
    if (!aliases_read(r->models_dir, &a, &why)) {
        log_warn("aliases stay as they were: %s", why.msg);
        return;
    }
    aliases_free(&r->aliases);
    r->aliases = a;
}

/* `name`, or what it means where it is an alias; good while the lock is held. */
static const char *meant(struct registry *r, const char *name)
{
    refresh_aliases(r);
    const char *model = aliases_find(&r->aliases, name);
    return model ? model : name;
}

/* By its own names, which are those of the catalog and of its files. Under the lock. */
static struct model *lookup_own(struct registry *r, const char *name)
{
    const struct catalog_model *c = catalog_find(r->catalog, name);
    struct model *m = c ? by_id(r, c->id) : NULL;
    int len;
    if (m) return m;
    const char *bare = catalog_bare_name(name, &len);
    const char *last = memrchr(bare, '/', (size_t)len); /* owner/NAME as on a hub */
    for (m = r->models; m; m = m->next) {
        const char *names[] = { m->where.name, m->where.file };
        for (int i = 0; i < 2; i++) {
            if (!names[i]) continue;
            if (strlen(names[i]) == (size_t)len && !strncasecmp(names[i], bare, (size_t)len)) return m;
            if (last && !strncasecmp(names[i], last + 1, (size_t)(bare + len - last - 1)) &&
                strlen(names[i]) == (size_t)(bare + len - last - 1))
                return m;
        }
    }
    return NULL;
}

static struct model *lookup(struct registry *r, const char *name) { return lookup_own(r, meant(r, name)); }

static bool check_kind(const struct model *m, bool image, struct err *e)
{
    if (m->where.image == image) return true;
    return err_set(e, ERR_REQUEST,
                   image ? "%s is a text model; it draws no pictures"
                         : "%s is an image model; it does not answer text requests",
                   m->id);
}

static bool find(struct registry *r, const char *asked, bool image, struct model **out, struct err *e)
{
    char means[ALIAS_MAX + 1];
    const char *name = asked;
    pthread_mutex_lock(&r->lock);
    if (meant(r, asked) != asked) {
        snprintf(means, sizeof means, "%s", meant(r, asked));
        name = means;
    }
    struct model *m = lookup_own(r, name);
    if (!m && rescan(r, e)) m = lookup_own(r, name);
    pthread_mutex_unlock(&r->lock);
    if (m && !check_kind(m, image, e)) return false;
    if (m) {
        *out = m;
        return true;
    }
    const struct catalog_model *c = catalog_find(r->catalog, name);
    if (c && c->kind == MODEL_TEXT && !lm_supports(c->arch))
        return err_set(
            e, ERR_NOT_FOUND,
            "Model not found, inaccessible, and/or not deployed: %s is known here, but there is no "
            "engine for %s yet",
            c->id, c->arch);
    if (c && *c->source)
        return err_set(e, ERR_NOT_FOUND,
                       "Model not found, inaccessible, and/or not deployed: %s is known here but its weights "
                       "are not installed; install them with `hearth pull %s`",
                       c->id, c->source);
    if (c)
        return err_set(
            e, ERR_NOT_FOUND,
            "Model not found, inaccessible, and/or not deployed: %s is known here but its weights "
            "are not installed; put them into the model folder, or run `make starter` for a starter model",
            c->id);
    return err_set(e, ERR_NOT_FOUND,
                   "Model not found, inaccessible, and/or not deployed: no model is called \"%.120s\"; %s "
                   "lists those that are installed",
                   name, r->o.lister ? r->o.lister : "GET /v1/models");
}

bool registry_find(struct registry *r, const char *name, struct model **out, struct err *e)
{
    return find(r, name, false, out, e);
}

bool registry_find_image(struct registry *r, const char *name, struct model **out, struct err *e)
{
    if (name) return find(r, name, true, out, e);
    pthread_mutex_lock(&r->lock);
    bool ok = rescan(r, e);
    struct model *m = r->models;
    while (m && (!m->where.image || m->problem[0])) m = m->next;
    pthread_mutex_unlock(&r->lock);
    if (!ok) return false;
    if (!m) return err_set(e, ERR_NOT_FOUND, "no image model is installed; `hearth pull` fetches one");
    *out = m;
    return true;
}

/* ---- names of one's own -------------------------------------------------------------------------------------------- */

/* Is that what a model or its file itself is called, so that the name would hide it? A name that only the catalog's other ways of writing
 * lead to it may mean something else. Under the lock. */
static struct model *called(struct registry *r, const char *name)
{
    int len;
    const char *bare = catalog_bare_name(name, &len);
    for (struct model *m = r->models; m; m = m->next) {
        const char *names[] = { m->where.name, m->where.file, catalog_last_part(m->id) };
        for (int i = 0; i < 3; i++)
            if (names[i] && strlen(names[i]) == (size_t)len && !strncasecmp(names[i], bare, (size_t)len))
                return m;
    }
    return NULL;
}

bool registry_alias(struct registry *r, const char *name, const char *model, struct err *e)
{
    pthread_mutex_lock(&r->lock);
    bool ok = rescan(r, e);
    struct model *m = ok ? lookup(r, model) : NULL, *hidden = ok ? called(r, name) : NULL;
    if (ok && !m)
        ok = err_set(e, ERR_NOT_FOUND, "no installed model is called \"%.120s\"; %s lists those that are",
                     model, r->o.lister ? r->o.lister : "GET /v1/models");
    else if (hidden)
        ok = err_set(e, ERR_REQUEST, "\"%.120s\" is the name of an installed model, %s", name, hidden->id);
    ok = ok && aliases_set(r->models_dir, name, m->id, e);
    pthread_mutex_unlock(&r->lock);
    return ok;
}

bool registry_unalias(struct registry *r, const char *name, struct err *e)
{
    return aliases_remove(r->models_dir, name, e);
}

bool registry_aliases(struct registry *r, struct aliases *out, struct err *e)
{
    pthread_mutex_lock(&r->lock);
    bool ok = rescan(r, e);
    refresh_aliases(r);
    const struct aliases *from = &r->aliases;
    struct aliases a = { .v = ok ? calloc((size_t)from->n + 1, sizeof *a.v) : NULL };
    if (ok && !a.v) ok = err_set(e, ERR_NOMEM, "out of memory");
    for (int i = 0; ok && i < from->n; i++) {
        const struct model *m = lookup_own(r, from->v[i].model);
        if (!m) continue;
        memcpy(a.v[a.n].name, from->v[i].name, sizeof a.v[a.n].name);
        snprintf(a.v[a.n++].model, sizeof a.v[0].model, "%s", m->id);
    }
    pthread_mutex_unlock(&r->lock);
    if (ok)
        *out = a;
    else
        free(a.v);
    return ok;
}

bool registry_add(struct registry *r, const char *path_or_name, struct model **out, struct err *e)
{
    struct installed w;
    struct err not_a_path = { ERR_NONE, "" };
    if (!model_folder_at(path_or_name, &w, &not_a_path)) {
        if (not_a_path.code != ERR_NOT_FOUND || strchr(path_or_name, '.') == path_or_name ||
            path_or_name[0] == '/')
            return err_set(e, not_a_path.code, "%s", not_a_path.msg);
        pthread_mutex_lock(&r->lock);
        struct model *m = lookup(r, path_or_name);
        if (!m && rescan(r, e)) m = lookup(r, path_or_name);
        pthread_mutex_unlock(&r->lock);
        return find(r, path_or_name, m && m->where.image, out, e);
    }
    pthread_mutex_lock(&r->lock);
    bool ok = add_installed(r, &w, out, e);
    if (ok && strcmp((*out)->where.path, w.path))
        ok = err_set(e, ERR_REQUEST, "%s: %s is served under that name already; rename one of them", w.path,
                     (*out)->where.path);
    pthread_mutex_unlock(&r->lock);
    installed_free(&w);
    return ok;
}

/* ---- what is loaded ------------------------------------------------------------------------------------------------ */

/* Under the lock, which it lets go meanwhile. Nobody holds m. */
static void unload(struct registry *r, struct model *m)
{
    struct lm *lm = m->lm;
    struct image_model *image = m->image;
    m->lm = NULL;
    m->image = NULL;
    m->state = BUSY;
    pthread_mutex_unlock(&r->lock);
    lm_free(lm);
    image_free(image);
    pthread_mutex_lock(&r->lock);
    m->state = COLD;
    m->resident = 0;
    pthread_cond_broadcast(&r->changed);
}

static struct timespec time_at(double seconds)
{
    return (struct timespec){ .tv_sec = (time_t)seconds,
                              .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) };
}

/* The thread that unloads what has been idle for its time. */
static void *watch_idle(void *arg)
{
    struct registry *r = arg;
    pthread_mutex_lock(&r->lock);
    while (!r->stopping) {
        const double now = clock_seconds();
        double next = HUGE_VAL;
        struct model *over = NULL;
        for (struct model *m = r->models; m && !over; m = m->next) {
            if (m->state != READY || m->refs || m->keep_s < 0) continue;
            const double due = m->last_used + m->keep_s;
            if (due <= now) over = m;
            if (due < next) next = due;
        }
        if (over) {
            log_info("unloading %s: nobody has used it for %.0f s", over->id, now - over->last_used);
            unload(r, over);
        } else if (next < now + 1e6) {
            const struct timespec until = time_at(next);
            pthread_cond_clockwait(&r->changed, &r->lock, CLOCK_MONOTONIC, &until);
        } else {
            pthread_cond_wait(&r->changed, &r->lock);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Under the lock: m goes after so many idle seconds. Without a thread for it, it stays. */
static void set_keep(struct registry *r, struct model *m, double seconds)
{
    m->keep_s = seconds;
    if (seconds >= 0 && !r->idle_runs) r->idle_runs = pthread_create(&r->idle, NULL, watch_idle, r) == 0;
    if (!r->idle_runs) m->keep_s = -1;
    pthread_cond_broadcast(&r->changed);
}

void registry_keep(struct registry *r, struct model *m, double seconds)
{
    pthread_mutex_lock(&r->lock);
    if (m->state == READY) set_keep(r, m, seconds);
    pthread_mutex_unlock(&r->lock);
}

/* Unix milliseconds; 0: for ever, as far as one knows. */
static int64_t until_of(const struct model *m)
{
    if (m->state != READY || m->keep_s < 0) return 0;
    const double idle = m->refs ? 0 : clock_seconds() - m->last_used;
    return clock_unix_ms() + (int64_t)((m->keep_s - idle) * 1000);
}

static bool is_intact(const struct model *m, struct err *e)
{
    return m->where.image ? image_intact(m->image, e) : lm_intact(m->lm, e);
}

/* Unloads idle models, longest unused first, until `need` bytes fit; where requests hold the memory, waits for them, but not for
 * ever. Under the lock, which it lets go while freeing and waiting. */
static bool make_room(struct registry *r, size_t need, struct err *e)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += r->o.memory_wait;
    for (bool late = false;;) {
        size_t used = 0;
        struct model *oldest = NULL;
        for (struct model *m = r->models; m; m = m->next) {
            used += m->resident;
            if (m->state == READY && !m->refs && (!oldest || m->last_used < oldest->last_used)) oldest = m;
        }
        if (used + need <= r->o.memory_limit) return true;
        if (!used) return true; /* alone it may try: the limit is a policy, the system decides */
        if (!oldest && late)
            return err_set(
                e, ERR_BUSY,
                "no memory for another model until running requests end (limit %zu MB); try again later",
                r->o.memory_limit >> 20);
        if (!oldest) {
            late = pthread_cond_clockwait(&r->changed, &r->lock, CLOCK_MONOTONIC, &until) != 0;
            continue;
        }
        log_info("unloading %s", oldest->id);
        unload(r, oldest);
    }
}

static bool fits(const struct registry *r, const struct model *m, struct err *e)
{
    const size_t need = m->where.bytes, limit = r->o.memory_limit;
    if (need <= limit || (m->where.image && !r->limit_given)) return true;
    return err_set(
        e, ERR_LIMIT,
        "%s needs %zu MB of memory for its weights, more than the %zu MB that models may take here", m->id,
        need >> 20, limit >> 20);
}

void registry_tell(struct registry *r, const char *msg, char *out, size_t cap)
{
    snprintf(out, cap, "%.*s", (int)cap - 1, msg);
    if (!strchr(out, '/')) return;
    pthread_mutex_lock(&r->lock);
    for (const struct model *m = r->models; m; m = m->next) {
        char folder[PATH_MAX];
        const char *end = strrchr(m->where.path, '/');
        if (!end || snprintf(folder, sizeof folder, "%.*s", (int)(end - m->where.path), m->where.path) >=
                        (int)sizeof folder)
            continue;
        paths_hide(out, folder);
    }
    pthread_mutex_unlock(&r->lock);
    paths_hide(out, r->models_dir);
}

/* The message with the model's name where it has its path: what a client may read. */
static void without_path(char *out, size_t cap, const char *msg, const struct installed *w)
{
    struct buf b = BUF_INIT(0);
    const size_t n = strlen(w->path);
    for (const char *at; (at = strstr(msg, w->path)); msg = at + n) {
        buf_append(&b, msg, (size_t)(at - msg));
        buf_puts(&b, w->name);
    }
    buf_puts(&b, msg);
    snprintf(out, cap, "%s", b.data ? b.data : "");
    buf_free(&b);
}

/* Outside the lock: m is BUSY. *resident is set when it succeeds. */
static bool load(struct registry *r, struct model *m, size_t *resident, struct err *e)
{
    double t = clock_seconds();
    const char *kind;
    struct err why = { 0 };
    const bool ok = m->where.image ? image_load(&m->image, m->where.path, NULL, r->image_dev, &why)
                                   : lm_load(&m->lm, m->where.path, &r->o.lm, r->dev, &why);
    if (!ok) {
        char msg[sizeof why.msg], told[sizeof why.msg];
        log_warn("%s: %s", m->id, why.msg);
        without_path(msg, sizeof msg, why.msg, &m->where);
        registry_tell(r, msg, told, sizeof told);
        return err_set(e, why.code, "%s: %s", m->id, told);
    }
    if (m->where.image) {
        *resident = image_info(m->image)->weight_bytes;
        kind = image_info(m->image)->family;
    } else {
        *resident = lm_info(m->lm)->resident_bytes;
        kind = lm_info(m->lm)->arch;
    }
    log_info("loaded %s (%s, %zu MB, %.2f s)", m->id, kind, *resident >> 20, clock_seconds() - t);
    return true;
}

/* A loaded model whose files have changed is unloaded, to be loaded anew: at once when nobody holds it, or, with `wait`, when those
 * have ended who do, as they will with an error. Under the lock. */
static bool put_away_changed(struct registry *r, struct model *m, bool wait, struct err *e)
{
    struct timespec until;
    struct err why;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += r->o.memory_wait;
    for (bool late = false;;) {
        while (m->state == BUSY) pthread_cond_wait(&r->changed, &r->lock);
        if (m->state == COLD || is_intact(m, &why)) return true;
        if (!m->refs) {
            log_warn("%s is loaded anew from %s: %s", m->id, m->where.path, why.msg);
            unload(r, m);
        } else if (!wait) {
            return true; /* they hear of it from the model */
        } else if (late) {
            return err_set(e, why.code, "%s: %s", m->id, why.msg);
        } else {
            late = pthread_cond_clockwait(&r->changed, &r->lock, CLOCK_MONOTONIC, &until) != 0;
        }
    }
}

static bool acquire(struct registry *r, struct model *m, bool wait, struct err *e)
{
    pthread_mutex_lock(&r->lock);
    bool ok = put_away_changed(r, m, wait, e);
    if (!ok) {
        pthread_mutex_unlock(&r->lock);
        return false;
    }
    if (m->state == COLD) {
        m->state = BUSY;
        ok = fits(r, m, e) && make_room(r, m->where.bytes, e);
        if (ok) {
            size_t resident = 0;
            m->resident = m->where.bytes; /* an estimate, so that nobody else takes the room meanwhile */
            pthread_mutex_unlock(&r->lock);
            ok = load(r, m, &resident, e);
            pthread_mutex_lock(&r->lock);
            m->resident = resident;
        }
        m->state = ok ? READY : COLD;
        m->last_used = clock_seconds();
        set_keep(r, m, ok && r->o.keep_loaded > 0 ? r->o.keep_loaded : -1);
        *m->print = 0; /* its files may be others than those of the last load */
        pthread_cond_broadcast(&r->changed);
    }
    if (ok) m->refs++;
    pthread_mutex_unlock(&r->lock);
    return ok;
}

bool registry_acquire(struct registry *r, struct model *m, struct lm **out, struct err *e)
{
    if (!check_kind(m, false, e) || !acquire(r, m, false, e)) return false;
    *out = m->lm;
    return true;
}

bool registry_acquire_image(struct registry *r, struct model *m, struct image_model **out, struct err *e)
{
    if (!check_kind(m, true, e) || !acquire(r, m, false, e)) return false;
    *out = m->image;
    return true;
}

bool registry_take(struct registry *r, struct model *m, struct err *e) { return acquire(r, m, true, e); }

bool registry_hold(struct registry *r, struct model *m)
{
    pthread_mutex_lock(&r->lock);
    bool loaded = m->state == READY && is_intact(m, NULL);
    m->refs += loaded;
    pthread_mutex_unlock(&r->lock);
    return loaded;
}

bool registry_preload(struct registry *r, struct model *m, struct err *e)
{
    if (!acquire(r, m, false, e)) return false;
    registry_release(r, m);
    return true;
}

void registry_release(struct registry *r, struct model *m)
{
    pthread_mutex_lock(&r->lock);
    m->refs--;
    m->last_used = clock_seconds();
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* ---- what could be loaded ------------------------------------------------------------------------------------------ */

bool registry_fingerprint(struct registry *r, struct model *m, char out[FINGERPRINT])
{
    struct stamp now;
    struct err e;
    *out = 0;
    if (!stamp_of(m->where.path, &now)) return false;
    pthread_mutex_lock(&r->lock);
    if (*m->print && same_stamp(&now, &m->printed)) memcpy(out, m->print, FINGERPRINT);
    pthread_mutex_unlock(&r->lock);
    if (*out) return true;
    if (!fingerprint_of(m->where.path, out, &e)) {
        log_warn("%s", e.msg);
        *out = 0;
        return false;
    }
    pthread_mutex_lock(&r->lock);
    m->printed = now;
    memcpy(m->print, out, FINGERPRINT);
    pthread_mutex_unlock(&r->lock);
    return true;
}

/* Looks at the models that are new or changed. Under the lock, which it lets go while reading. */
static void check_models(struct registry *r)
{
    for (struct model *m = r->models; m; m = m->next) {
        struct stamp now;
        if (m->state == READY || !stamp_of(m->where.path, &now) || same_stamp(&now, &m->checked)) continue;
        struct err e = { 0 };
        bool tell = false, sees = false;
        char problem[sizeof m->problem] = "";
        pthread_mutex_unlock(&r->lock);
        if (!model_folder_check(&m->where, &sees, &e) || !fits(r, m, &e)) tell = true;
        if (tell) {
            char msg[sizeof e.msg];
            without_path(msg, sizeof msg, e.msg, &m->where);
            registry_tell(r, msg, problem, sizeof problem);
        }
        pthread_mutex_lock(&r->lock);
        m->checked = now;
        m->sees = sees;
        memcpy(m->problem, problem, sizeof problem);
    }
}

bool registry_list(struct registry *r, struct model_row **rows, int *n, struct err *e)
{
    pthread_mutex_lock(&r->lock);
    bool ok = rescan(r, e);
    if (ok) check_models(r);
    int count = 0;
    for (struct model *m = r->models; m; m = m->next) count++;
    struct model_row *v = ok ? calloc((size_t)count + 1, sizeof *v) : NULL;
    if (ok && !v) ok = err_set(e, ERR_NOMEM, "out of memory");
    count = 0;
    for (struct model *m = r->models; ok && m; m = m->next) {
        if (m->state == COLD && access(m->where.path, F_OK)) continue; /* removed meanwhile */
        v[count] = (struct model_row){ .id = m->id,
                                       .path = m->where.path,
                                       .catalog = m->catalog,
                                       .image = m->where.image,
                                       .loaded = m->state == READY,
                                       .sees = m->state == READY && m->lm ? lm_sees(m->lm) : m->sees,
                                       .bytes = m->state == READY ? m->resident : m->where.bytes,
                                       .n_ctx = m->state == READY && m->lm ? lm_info(m->lm)->n_ctx : 0,
                                       .until_unix_ms = until_of(m),
                                       .installed_unix = m->installed_unix };
        if (m->state != READY) memcpy(v[count].problem, m->problem, sizeof m->problem);
        count++;
    }
    pthread_mutex_unlock(&r->lock);
    if (ok) *rows = v, *n = count;
    return ok;
}

int registry_waiting(struct registry *r, struct model *m)
{
    struct lm_stats s = { .waiting = 0 };
    pthread_mutex_lock(&r->lock);
    if (m->state == READY && m->lm) lm_stats(m->lm, &s);
    if (m->state == READY && m->image) s.waiting = image_waiting(m->image);
    pthread_mutex_unlock(&r->lock);
    return s.waiting;
}

void registry_counts(struct registry *r, void (*fn)(void *arg, const char *id, const struct model_counts *c),
                     void *arg)
{
    pthread_mutex_lock(&r->lock);
    for (struct model *m = r->models; m; m = m->next) {
        if (m->state != READY || !m->lm) continue;
        struct lm_stats s;
        lm_stats(m->lm, &s);
        const struct model_counts c = { .requests = s.requests,
                                        .prompt_tokens = s.prompt_tokens,
                                        .cached_tokens = s.cached_tokens,
                                        .completion_tokens = s.completion_tokens,
                                        .steps = s.steps,
                                        .step_rows = s.step_rows,
                                        .preemptions = s.preemptions,
                                        .cancelled = s.cancelled,
                                        .guesses_right = s.guesses_right,
                                        .guesses_wrong = s.guesses_wrong,
                                        .step_seconds = s.step_seconds,
                                        .running = s.running,
                                        .waiting = s.waiting,
                                        .kv_pages_used = s.kv_pages_used,
                                        .kv_pages_total = s.kv_pages_total,
                                        .resident_bytes = lm_info(m->lm)->resident_bytes,
                                        .until_unix_ms = until_of(m) };
        fn(arg, m->id, &c);
    }
    pthread_mutex_unlock(&r->lock);
}
