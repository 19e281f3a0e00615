#include "format/shards.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/filemap.h"
#include "format/json_scan.h"
#include "format/name_table.h"

#define MAX_SHARDS 4096

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

static bool add_name(struct shards *s, const char *name, struct err *e)
{
    if (s->n == MAX_SHARDS) return err_set(e, ERR_LIMIT, "more than %d weight files", MAX_SHARDS);
    if ((s->n & (s->n - 1)) == 0) { /* room is a power of two */
        char **p = realloc(s->name, (s->n ? 2 * s->n : 1) * sizeof *p);
        if (!p) return err_set(e, ERR_NOMEM, "no memory for a list of files");
        s->name = p;
    }
    s->name[s->n] = strdup(name);
    if (!s->name[s->n]) return err_set(e, ERR_NOMEM, "no memory for a list of files");
    s->n++;
    return true;
}

/* ---- split models: PREFIX-00001-of-00003.gguf ------------------------------------------------------------------ */

size_t shards_stem(const char *path, int *count)
{
    static const char pattern[] = "-ddddd-of-ddddd";
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path, *dot = strrchr(base, '.');
    size_t n = dot && dot > base ? (size_t)(dot - path) : strlen(path), tail = sizeof pattern - 1;
    *count = 0;
    if (n <= tail) return n;
    const char *at = path + n - tail;
    for (size_t i = 0; i < tail; i++) {
        if (pattern[i] == 'd' ? !isdigit((unsigned char)at[i]) : at[i] != pattern[i]) return n;
    }
    *count = (int)strtol(at + strlen("-ddddd-of-"), NULL, 10);
    return n - tail;
}

/* All parts when `name` is one of several, else the file alone. */
static bool add_parts(struct shards *s, const char *name, const char *ext, struct err *e)
{
    int count, prefix = (int)shards_stem(name, &count);
    if (count < 2) return add_name(s, name, e);
    for (int i = 1; i <= count; i++) {
        char part[512];
        int n = snprintf(part, sizeof part, "%.*s-%05d-of-%05d%s", prefix, name, i, count, ext);
        if (n < 0 || (size_t)n >= sizeof part)
            return err_set(e, ERR_LIMIT, "%.200s: the name is too long", name);
        if (!add_name(s, part, e)) return false;
    }
    return true;
}

/* ---- an index: {"weight_map": {"tensor": "file", ...}} --------------------------------------------------------- */

/* A file beside the index and nowhere else. */
static bool is_plain_name(const char *name, size_t len)
{
    return name_is_printable(name, len) && !strchr(name, '/') && name[0] != '.' &&
           ends_with(name, ".safetensors");
}

static bool add_entry(struct shards *s, const char *tensor, size_t shard, struct err *e)
{
    if ((s->n_entries & (s->n_entries - 1)) == 0) {
        struct shard_entry *p = realloc(s->entry, (s->n_entries ? 2 * s->n_entries : 1) * sizeof *p);
        if (!p) return err_set(e, ERR_NOMEM, "no memory for %zu entries", s->n_entries);
        s->entry = p;
    }
    s->entry[s->n_entries++] = (struct shard_entry){ tensor, shard };
    return true;
}

static bool parse_weight_map(struct shards *s, struct json_scan *js, struct name_table *names, struct err *e)
{
    if (!json_scan_char(js, '{')) return err_set(e, ERR_FORMAT, "weight_map is not an object");
    for (bool first = true;;) {
        char *tensor, *file;
        size_t tensor_len, len;
        bool more;
        if (!json_scan_key(js, &first, &more, &tensor, &tensor_len) ||
            (more && !json_scan_string(js, &file, &len))) {
            return err_set(e, ERR_FORMAT, "weight_map: not valid JSON after %zu entries", s->n_entries);
        }
        if (!more) return true;
        if (!name_is_printable(tensor, tensor_len)) {
            return err_set(e, ERR_FORMAT, "weight_map: entry %zu has no printable name", s->n_entries);
        }
        if (!is_plain_name(file, len)) {
            return err_set(e, ERR_FORMAT,
                           "weight_map: %s: expected the name of a .safetensors file in the same folder",
                           tensor);
        }
        size_t shard = name_table_find(names, file, len);
        if (shard == NAME_TABLE_NONE) {
            shard = s->n;
            if (!add_name(s, file, e)) return false;
            name_table_add(names, s->name[shard], len, shard);
        }
        if (!add_entry(s, tensor, shard, e)) return false;
    }
}

static bool parse_index(struct shards *s, const struct filemap *m, struct err *e)
{
    const char *text = (const char *)m->data;
    if (!utf8_is_valid(text, m->size)) return err_set(e, ERR_FORMAT, "not valid UTF-8");
    s->pool = malloc(m->size + 1);
    struct name_table names;
    if (!s->pool || !name_table_init(&names, MAX_SHARDS))
        return err_set(e, ERR_NOMEM, "no memory to read it");

    struct json_scan js = { .p = text, .end = text + m->size, .pool = s->pool, .python = true };
    bool ok = json_scan_char(&js, '{') || err_set(e, ERR_FORMAT, "not a JSON object");
    bool more = ok, found = false;
    for (bool first = true; ok && more;) {
        char *key;
        size_t len;
        ok = json_scan_key(&js, &first, &more, &key, &len) || err_set(e, ERR_FORMAT, "not valid JSON");
        if (!ok || !more) break;
        if (strcmp(key, "weight_map") != 0) {
            ok = json_scan_skip(&js) || err_set(e, ERR_FORMAT, "%.40s: not valid JSON", key);
        } else if (found) {
            ok = err_set(e, ERR_FORMAT, "weight_map is there twice");
        } else {
            found = true;
            ok = parse_weight_map(s, &js, &names, e);
        }
    }
    name_table_free(&names);
    if (ok && !json_scan_end(&js)) ok = err_set(e, ERR_FORMAT, "expected nothing after the JSON object");
    if (ok && s->n == 0) ok = err_set(e, ERR_FORMAT, "expected a weight_map that names files, found none");
    return ok;
}

static bool read_index(struct shards *s, const char *name, struct err *e)
{
    if (!add_name(s, name, e)) return false;
    char *path = shards_path(s, 0);
    free(s->name[--s->n]);
    if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
    struct filemap m;
    bool ok = filemap_open(&m, path, e);
    free(path);
    if (!ok) return false;
    ok = parse_index(s, &m, e) || err_wrap(e, "%.200s", name);
    filemap_close(&m);
    return ok;
}

/* ---- a folder -------------------------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* What PyTorch writes by itself. */
static bool is_pickle_name(const char *name)
{
    return ends_with(name, ".bin") || ends_with(name, ".pth") || ends_with(name, ".pt") ||
           ends_with(name, ".ckpt");
}

static bool list_dir(struct shards *all, const char *path, struct err *e)
{
    DIR *d = opendir(path);
    if (!d) return err_set(e, ERR_IO, "cannot open %s: %s", path, strerror(errno));
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(d));) {
        const char *name = entry->d_name;
        bool weights = ends_with(name, ".safetensors") || ends_with(name, ".gguf");
        if (name[0] != '.' &&
            (weights || is_pickle_name(name) || ends_with(name, ".safetensors.index.json") ||
             strcmp(name, "model_index.json") == 0)) {
            ok = add_name(all, name, e);
        }
    }
    closedir(d);
    if (all->n) qsort(all->name, all->n, sizeof *all->name, by_name);
    return ok;
}

static const char *first_of(const struct shards *all, const char *tail)
{
    for (size_t i = 0; i < all->n; i++) {
        if (ends_with(all->name[i], tail)) return all->name[i];
    }
    return NULL;
}

static const char *exactly(const struct shards *all, const char *name)
{
    for (size_t i = 0; i < all->n; i++) {
        if (strcmp(all->name[i], name) == 0) return name;
    }
    return NULL;
}

/* The folder's only language model: vision projectors beside it are not one, the parts of a split model are. */
static bool pick_gguf(struct shards *s, const struct shards *all, struct err *e)
{
    const char *found = NULL;
    size_t found_stem = 0;
    for (size_t i = 0; i < all->n; i++) {
        const char *name = all->name[i];
        if (!ends_with(name, ".gguf") || strncmp(name, "mmproj", 6) == 0) continue;
        int count;
        size_t stem = shards_stem(name, &count);
        bool same_set = found && count > 0 && stem == found_stem && strncmp(name, found, stem) == 0;
        if (found && !same_set) {
            return err_set(e, ERR_REQUEST, "holds several models, among them %.80s and %.80s: name the file",
                           found, name);
        }
        if (!found) {
            found = name;
            found_stem = stem;
        }
    }
    if (!found) return err_set(e, ERR_NOT_FOUND, "holds no language model, only a projector");
    s->kind = SHARD_GGUF;
    return add_parts(s, found, ".gguf", e);
}

static bool pick_from(struct shards *s, const struct shards *all, struct err *e)
{
    /* A whole file before an index, which may have stayed behind from other weights: the reference's order. */
    static const char *const known[] = { "model.safetensors", "model.safetensors.index.json",
                                         "diffusion_pytorch_model.safetensors",
                                         "diffusion_pytorch_model.safetensors.index.json" };
    const char *name = NULL;
    for (size_t i = 0; !name && i < sizeof known / sizeof *known; i++) name = exactly(all, known[i]);
    if (!name) name = first_of(all, ".safetensors.index.json");
    if (name && ends_with(name, ".json")) return read_index(s, name, e);
    if (name) return add_name(s, name, e);

    name = first_of(all, ".safetensors");
    int count = 0;
    if (name) (void)shards_stem(name, &count);
    if (count > 0) return add_parts(s, name, ".safetensors", e);
    for (size_t i = 0; i < all->n; i++) {
        if (ends_with(all->name[i], ".safetensors") && !add_name(s, all->name[i], e)) return false;
    }
    if (s->n) return true;
    if (first_of(all, ".gguf")) return pick_gguf(s, all, e);
    for (size_t i = 0; i < all->n; i++) {
        if (!is_pickle_name(all->name[i])) continue;
        return err_set(e, ERR_UNSUPPORTED,
                       "holds its weights as %.100s, a PyTorch pickle, which can run code and is never read; "
                       "fetch or convert them as .safetensors",
                       all->name[i]);
    }
    if (exactly(all, "model_index.json")) {
        return err_set(e, ERR_NOT_FOUND, "holds an image pipeline: its weights are in the folders below it");
    }
    return err_set(e, ERR_NOT_FOUND, "holds no .safetensors or .gguf file");
}

/* ---- the door --------------------------------------------------------------------------------------------------- */

/* A file whose name says nothing is known by its first bytes. */
static bool sniff(const char *path, enum shard_kind *kind, struct err *e)
{
    struct filemap m;
    if (!filemap_open(&m, path, e)) return false;
    bool ok = true;
    if (m.size >= 4 && memcmp(m.data, "GGUF", 4) == 0) {
        *kind = SHARD_GGUF;
    } else if (m.size > 8 && m.data[8] == '{') {
        *kind = SHARD_SAFETENSORS;
    } else {
        bool pickle = m.size >= 2 && (memcmp(m.data, "PK", 2) == 0 || memcmp(m.data, "\x80\x02", 2) == 0);
        ok = err_set(
            e, pickle ? ERR_UNSUPPORTED : ERR_FORMAT, "%.250s: expected a .gguf or .safetensors file%s", path,
            pickle ? ", found a PyTorch pickle, which can run code and is never read: convert it" : "");
    }
    filemap_close(&m);
    return ok;
}

static bool find_file(struct shards *s, const char *path, const char *name, struct err *e)
{
    if (ends_with(name, ".json")) return read_index(s, name, e);
    if (ends_with(name, ".gguf")) {
        s->kind = SHARD_GGUF;
        return add_parts(s, name, ".gguf", e);
    }
    if (ends_with(name, ".safetensors")) return add_parts(s, name, ".safetensors", e);
    return sniff(path, &s->kind, e) && add_name(s, name, e);
}

static bool find_dir(struct shards *s, const char *path, struct err *e)
{
    struct shards all = { 0 };
    bool ok = list_dir(&all, path, e) && (pick_from(s, &all, e) || err_wrap(e, "%.200s", path));
    shards_free(&all);
    return ok;
}

bool shards_find(struct shards *s, const char *path, struct err *e)
{
    *s = (struct shards){ .kind = SHARD_SAFETENSORS };
    struct stat st;
    if (stat(path, &st) != 0) {
        return err_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open %s: %s", path,
                       strerror(errno));
    }
    bool ok;
    if (S_ISDIR(st.st_mode)) {
        ok = asprintf(&s->dir, "%s%s", path, ends_with(path, "/") ? "" : "/") >= 0;
    } else {
        const char *slash = strrchr(path, '/');
        s->dir = strndup(path, slash ? (size_t)(slash - path) + 1 : 0);
        ok = s->dir != NULL;
    }
    if (!ok) {
        s->dir = NULL;
        err_set(e, ERR_NOMEM, "no memory for a path");
    } else {
        ok = S_ISDIR(st.st_mode) ? find_dir(s, path, e) : find_file(s, path, path + strlen(s->dir), e);
    }
    if (!ok) shards_free(s);
    return ok;
}

void shards_free(struct shards *s)
{
    for (size_t i = 0; i < s->n; i++) free(s->name[i]);
    free(s->name);
    free(s->entry);
    free(s->pool);
    free(s->dir);
    *s = (struct shards){ 0 };
}

char *shards_path(const struct shards *s, size_t i)
{
    char *path;
    return asprintf(&path, "%s%s", s->dir, s->name[i]) < 0 ? NULL : path;
}
