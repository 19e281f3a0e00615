/* model_folder.c - finds models among files. */
#include "service/models/model_folder.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "format/shards.h"
#include "image/image.h"
#include "lm/lm.h"

static bool has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n > m && !strcasecmp(s + n - m, suffix);
}

/* Whether `name` in `dir` may be a model's file. FIFOs, devices, folders and links that lead to none never are. */
static bool is_file(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && !stat(path, &st) &&
           S_ISREG(st.st_mode);
}

static bool exists(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && !stat(path, &st);
}

/* Length of a GGUF file's name without its extension and, for split files, without "-00001-of-00003". part: 1-based, 0 when whole. */
static size_t stem(const char *file, int *part)
{
    size_t n = strlen(file) - strlen(".gguf");
    int a = 0, b = 0, used = 0;
    *part = 0;
    if (n > 15 && sscanf(file + n - 15, "-%5d-of-%5d%n", &a, &b, &used) == 2 && used == 15) {
        *part = a;
        n -= 15;
    }
    return n;
}

static char *join(const char *dir, const char *name)
{
    char *s = NULL;
    return asprintf(&s, "%s/%s", dir, name) < 0 ? NULL : s;
}

void installed_free(struct installed *m)
{
    free(m->name);
    free(m->path);
    free(m->file);
    *m = (struct installed){ 0 };
}

void installed_list_free(struct installed_list *l)
{
    for (int i = 0; i < l->n; i++) installed_free(&l->v[i]);
    free(l->v);
    *l = (struct installed_list){ 0 };
}

/* Takes over *m. */
static bool add(struct installed_list *l, struct installed *m, struct err *e)
{
    struct installed *v = m->name && m->path ? realloc(l->v, ((size_t)l->n + 1) * sizeof *v) : NULL;
    if (!v) {
        installed_free(m);
        return err_set(e, ERR_NOMEM, "out of memory");
    }
    l->v = v;
    l->v[l->n++] = *m;
    return true;
}

static size_t file_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) || st.st_size < 0 ? 0 : (size_t)st.st_size;
}

/* Bytes of the files in `dir` that end in `suffix` and start with `prefix` of length n. */
static size_t folder_bytes(const char *dir, const char *prefix, size_t n, const char *suffix)
{
    size_t sum = 0;
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));) {
        char path[PATH_MAX];
        if (!has_suffix(f->d_name, suffix) || strncmp(f->d_name, prefix, n)) continue;
        if (snprintf(path, sizeof path, "%s/%s", dir, f->d_name) < (int)sizeof path &&
            !mem_add(sum, file_bytes(path), &sum))
            break;
    }
    if (d) closedir(d);
    return sum;
}

/* Of the networks that a pipeline loads; where a network is there in several precisions, of the one that would be taken. */
static size_t pipeline_bytes(const char *dir)
{
    static const char *const part[] = { "transformer", "unet", "text_encoder", "text_encoder_2", "vae" };
    static const char *const kind[] = { ".bf16.safetensors", ".fp16.safetensors", ".safetensors" };
    size_t sum = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        char path[PATH_MAX];
        size_t n = 0;
        if (snprintf(path, sizeof path, "%s/%s", dir, part[i]) >= (int)sizeof path) break;
        for (size_t k = 0; !n && k < sizeof kind / sizeof *kind; k++) n = folder_bytes(path, "", 0, kind[k]);
        if (!mem_add(sum, n, &sum)) break;
    }
    return sum;
}

static struct installed installed_gguf(const char *dir, const char *file)
{
    int part;
    size_t n = stem(file, &part);
    struct installed m = { .name = strndup(file, n), .path = join(dir, file) };
    m.image = m.path && image_is_checkpoint(m.path);
    if (m.path) m.bytes = part ? folder_bytes(dir, file, n, ".gguf") : file_bytes(m.path);
    return m;
}

static struct installed checkpoint_at(const char *dir, const char *file)
{
    struct installed m = { .name = strndup(file, strlen(file) - strlen(".safetensors")),
                           .path = join(dir, file),
                           .image = true };
    if (m.path) m.bytes = file_bytes(m.path);
    return m;
}

/* An image checkpoint in one file. Adapters end in .safetensors too, so its tensors decide. */
static bool is_checkpoint(const char *dir, const char *name)
{
    char path[PATH_MAX];
    return name[0] != '.' && has_suffix(name, ".safetensors") &&
           snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path && image_is_checkpoint(path);
}

static bool is_model_file(const char *name)
{
    int part;
    return name[0] != '.' && has_suffix(name, ".gguf") && strncasecmp(name, "mmproj", 6) &&
           (stem(name, &part), part <= 1);
}

/* Of the files that a Hugging Face folder's model consists of: other weights may lie beside them. All, where that cannot be told. */
static size_t model_bytes(const char *dir)
{
    struct shards s;
    size_t sum = 0;
    if (!shards_find(&s, dir, NULL)) return folder_bytes(dir, "", 0, ".safetensors");
    for (size_t i = 0; s.kind == SHARD_SAFETENSORS && i < s.n; i++) {
        char *path = shards_path(&s, i);
        if (!path || !mem_add(sum, file_bytes(path), &sum)) i = s.n;
        free(path);
    }
    shards_free(&s);
    return sum;
}

/* Bytes of weights that only PyTorch reads. */
static size_t pickle_bytes(const char *dir)
{
    static const char *const kind[] = { ".bin", ".pth", ".pt" };
    size_t n = 0;
    for (size_t k = 0; !n && k < sizeof kind / sizeof *kind; k++) n = folder_bytes(dir, "", 0, kind[k]);
    return n;
}

static bool scan(const char *dir, int depth, struct installed_list *out, struct err *e);

/* A folder `name` inside `dir`: one model, several, or (depth allowing) folders of models. */
static bool scan_folder(const char *dir, const char *name, int depth, struct installed_list *out,
                        struct err *e)
{
    char *path = join(dir, name);
    if (!path) return err_set(e, ERR_NOMEM, "out of memory");
    bool ok = true, image = exists(path, "model_index.json");
    size_t bytes = image ? pipeline_bytes(path) : exists(path, "config.json") ? model_bytes(path) : 0;
    if (image || bytes) {
        struct installed m = { .name = strdup(name), .path = path, .image = image, .bytes = bytes };
        return add(out, &m, e);
    }
    int before = out->n;
    DIR *d = opendir(path);
    if (!d) { /* one that may not be read hides no others */
        snprintf(out->unread, sizeof out->unread, "%.250s: %.40s", path, strerror(errno));
        free(path);
        return true;
    }
    for (struct dirent *f; ok && (f = readdir(d));) {
        if (!is_model_file(f->d_name) || !is_file(path, f->d_name)) continue;
        struct installed m = installed_gguf(path, f->d_name);
        ok = add(out, &m, e);
    }
    closedir(d);
    if (ok && out->n == before + 1) {
        struct installed *only = &out->v[before];
        only->file = only->name;
        only->name = strdup(name);
        ok = only->name || err_set(e, ERR_NOMEM, "out of memory");
    } else if (ok && out->n == before && image_is_checkpoint(path)) {
        struct installed m = { .name = strdup(name),
                               .path = path,
                               .image = true,
                               .bytes = folder_bytes(path, "", 0, ".safetensors") };
        return add(out, &m, e);
    } else if (ok && out->n == before && exists(path, "config.json") && (bytes = pickle_bytes(path))) {
        struct installed m = { .name = strdup(name), .path = path, .bytes = bytes }; /* to be told about */
        return add(out, &m, e);
    } else if (ok && out->n == before && depth > 0) {
        ok = scan(path, depth - 1, out, e);
    }
    free(path);
    return ok;
}

static bool scan(const char *dir, int depth, struct installed_list *out, struct err *e)
{
    DIR *d = opendir(dir);
    if (!d) return errno == ENOENT || errno == ENOTDIR || err_set(e, ERR_IO, "%s: %s", dir, strerror(errno));
    bool ok = true;
    for (struct dirent *f; ok && (f = readdir(d));) {
        char path[PATH_MAX];
        struct stat st;
        if (f->d_name[0] == '.' || snprintf(path, sizeof path, "%s/%s", dir, f->d_name) >= (int)sizeof path ||
            stat(path, &st))
            continue;
        if (S_ISDIR(st.st_mode)) {
            ok = scan_folder(dir, f->d_name, depth, out, e);
        } else if (S_ISREG(st.st_mode) && is_model_file(f->d_name)) {
            struct installed m = installed_gguf(dir, f->d_name);
            ok = add(out, &m, e);
        } else if (S_ISREG(st.st_mode) && is_checkpoint(dir, f->d_name)) {
            struct installed m = checkpoint_at(dir, f->d_name);
            ok = add(out, &m, e);
        }
    }
    closedir(d);
    return ok;
}

static int by_name(const void *a, const void *b)
{
    const struct installed *x = a, *y = b;
    int c = strcmp(x->name, y->name);
    return c ? c : strcmp(x->path, y->path);
}

bool model_folder_scan(const char *dir, struct installed_list *out, struct err *e)
{
    struct installed_list l = { 0 };
    if (!scan(dir, 1, &l, e)) {
        installed_list_free(&l);
        return false;
    }
    if (l.n > 1) qsort(l.v, (size_t)l.n, sizeof *l.v, by_name);
    *out = l;
    return true;
}

bool model_folder_check(const struct installed *m, bool *sees, struct err *e)
{
    *sees = false;
    return m->image ? image_check(m->path, e) : lm_check(m->path, sees, e);
}

bool installed_is(const struct installed *m, const struct catalog_model *c)
{
    return (c->kind == MODEL_IMAGE) == m->image &&
           (catalog_owns_file(c, m->name) || (m->file && catalog_owns_file(c, m->file)));
}

bool model_folder_at(const char *path, struct installed *out, struct err *e)
{
    struct stat st;
    char real[PATH_MAX];
    if (!realpath(path, real) || stat(real, &st))
        return err_set(e, ERR_NOT_FOUND, "%s: %s", path, strerror(errno));
    char *name = strrchr(real, '/');
    if (!name || !name[1]) return err_set(e, ERR_FORMAT, "%s is not a model file or folder", path);
    *name++ = 0;
    struct installed_list l = { 0 };
    bool ok = true;
    if (S_ISDIR(st.st_mode)) {
        ok = scan_folder(real, name, 0, &l, e);
    } else {
        /* A file given by hand is taken at its word: the reader says whether it is one. */
        const bool checkpoint = is_checkpoint(real, name);
        struct installed m = checkpoint ? checkpoint_at(real, name) : installed_gguf(real, name);
        if (!checkpoint && !has_suffix(name, ".gguf")) {
            free(m.name);
            m.name = strdup(name);
        }
        ok = add(&l, &m, e);
    }
    if (ok && l.n != 1)
        ok = err_set(e, ERR_FORMAT,
                     l.n ? "%s holds several models; name one of its files"
                         : "%s holds no model: neither *.gguf, config.json with *.safetensors, nor an image "
                           "checkpoint",
                     path);
    if (ok) {
        *out = l.v[0];
        l.n = 0;
    }
    installed_list_free(&l);
    return ok;
}
