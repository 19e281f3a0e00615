#include "format/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/filemap.h"
#include "format/gguf.h"
#include "format/json_read.h"
#include "format/safetensors.h"
#include "format/shards.h"

/* One file. Exactly one of gguf and st is set once it is parsed. */
struct part {
    struct filemap map;
    struct gguf *gguf;
    struct safetensors *st;
};

struct weights {
    struct shards files;
    struct part *part;       /* [files.n] */
    const struct tensor **t; /* [n], in file order */
    size_t n, bytes;
    struct name_table names; /* into t */
    json_t *config;
    json_t *quantization; /* of the file that quantization_file names */
    const char *quantization_file;
};

static const struct tensor_table *table_of(const struct part *p)
{
    return p->gguf ? gguf_tensors(p->gguf) : safetensors_tensors(p->st);
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static bool open_part(struct weights *w, size_t i, struct err *e)
{
    struct part *p = &w->part[i];
    char *path = shards_path(&w->files, i);
    if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
    struct err why = { 0 };
    bool ok = filemap_open(&p->map, path, &why);
    free(path);
    if (!ok && why.code == ERR_NOT_FOUND) /* the model is there, though not whole */
        return err_set(e, ERR_FORMAT, "%.200s is missing, one of the %zu files of this model: fetch it again",
                       w->files.name[i], w->files.n);
    if (!ok) return err_set(e, why.code, "%s", why.msg);
    static const char lfs[] = "version https://git-lfs";
    if (p->map.size > sizeof lfs && memcmp(p->map.data, lfs, sizeof lfs - 1) == 0) {
        ok = err_set(e, ERR_FORMAT, "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`");
    } else if (w->files.kind == SHARD_GGUF) {
        ok = gguf_parse(&p->gguf, p->map.data, p->map.size, e);
    } else {
        ok = safetensors_parse(&p->st, p->map.data, p->map.size, e);
    }
    return ok || err_wrap(e, "%.200s", w->files.name[i]);
}

/* A split GGUF says in every part which one it is. */
static bool check_split(const struct weights *w, struct err *e)
{
    if (w->files.kind != SHARD_GGUF) return true;
    size_t total = 0;
    for (size_t i = 0; i < w->files.n; i++) {
        const struct gguf *g = w->part[i].gguf;
        int64_t count = gguf_int(g, "split.count", 1), no = gguf_int(g, "split.no", 0);
        if (count == 0 && w->files.n == 1) count = 1; /* written by tools that were asked not to split */
        if (count != (int64_t)w->files.n || no != (int64_t)i) {
            return err_set(e, ERR_FORMAT,
                           "%.200s: by its name expected part %zu of %zu, the file says part %lld of %lld",
                           w->files.name[i], i + 1, w->files.n, (long long)no + 1, (long long)count);
        }
        total += gguf_tensors(g)->n;
    }
    int64_t expected = gguf_int(w->part[0].gguf, "split.tensors.count", (int64_t)total);
    if (w->files.n > 1 && expected != (int64_t)total) {
        return err_set(e, ERR_FORMAT, "%.200s: expected %lld tensors in all parts, found %zu",
                       w->files.name[0], (long long)expected, total);
    }
    return true;
}

/* Every entry of the index must be where it says. Afterwards listed[] holds the entries by tensor name. */
static bool check_index(const struct weights *w, struct name_table *listed, struct err *e)
{
    const struct shards *f = &w->files;
    for (size_t i = 0; i < f->n_entries; i++) {
        const char *name = f->entry[i].tensor;
        size_t shard = f->entry[i].shard;
        size_t other = name_table_add(listed, name, strlen(name), shard);
        if (other != NAME_TABLE_NONE && other != shard) {
            return err_set(e, ERR_FORMAT, "the index lists %s in %.80s and in %.80s", name, f->name[other],
                           f->name[shard]);
        }
        if (!tensor_table_find(table_of(&w->part[shard]), name)) {
            return err_set(e, ERR_FORMAT, "the index lists %s in %.80s, which does not have it", name,
                           f->name[shard]);
        }
    }
    return true;
}

/* One table over all parts. Where a tensor is in several, the index decides; without its word that is an error. */
static bool gather(struct weights *w, const struct name_table *listed, struct err *e)
{
    for (size_t i = 0; i < w->files.n; i++) {
        const struct tensor_table *tab = table_of(&w->part[i]);
        for (size_t j = 0; j < tab->n; j++) {
            const struct tensor *t = &tab->t[j];
            size_t len = strlen(t->name), shard = name_table_find(listed, t->name, len);
            if (shard != NAME_TABLE_NONE && shard != i) continue;
            if (name_table_add(&w->names, t->name, len, w->n) != NAME_TABLE_NONE) {
                return err_set(e, ERR_FORMAT, "tensor %s is in more than one file, among them %.80s", t->name,
                               w->files.name[i]);
            }
            w->t[w->n++] = t;
            w->bytes += t->bytes;
        }
    }
    return true;
}

static bool join_parts(struct weights *w, struct err *e)
{
    size_t total = 0;
    for (size_t i = 0; i < w->files.n; i++) total += table_of(&w->part[i])->n;
    w->t = malloc((total ? total : 1) * sizeof *w->t);
    struct name_table listed = { 0 };
    bool ok = w->t && name_table_init(&w->names, total) && name_table_init(&listed, w->files.n_entries);
    if (!ok) {
        err_set(e, ERR_NOMEM, "no memory for a table of %zu tensors", total);
    } else {
        ok = check_split(w, e) && check_index(w, &listed, e) && gather(w, &listed, e);
    }
    name_table_free(&listed);
    return ok;
}

/* A file beside safetensors; absent is fine (*out stays NULL), broken is not. */
static bool read_beside(json_t **out, const struct weights *w, const char *name, struct err *e)
{
    char *path;
    if (asprintf(&path, "%s%s", w->files.dir, name) < 0) return err_set(e, ERR_NOMEM, "no memory for a path");
    struct err why = { 0 };
    bool ok = json_read_file(out, path, &why);
    free(path);
    return ok || why.code == ERR_NOT_FOUND || err_set(e, why.code, "%s", why.msg);
}

static bool read_config(struct weights *w, struct err *e)
{
    static const char *const files[] = { "hf_quant_config.json", "quantize_config.json",
                                         "quant_config.json" };
    if (!read_beside(&w->config, w, "config.json", e)) return false;
    for (size_t i = 0; !w->quantization && i < sizeof files / sizeof *files; i++) {
        if (!read_beside(&w->quantization, w, files[i], e)) return false;
        w->quantization_file = files[i];
    }
    return true;
}

bool weights_open(struct weights **out, const char *path, struct err *e)
{
    struct weights *w = calloc(1, sizeof *w);
    if (!w) return err_set(e, ERR_NOMEM, "no memory to open %s", path);
    bool ok = shards_find(&w->files, path, e);
    if (ok) {
        w->part = calloc(w->files.n, sizeof *w->part);
        if (!w->part) ok = err_set(e, ERR_NOMEM, "no memory for %zu files", w->files.n);
    }
    for (size_t i = 0; ok && i < w->files.n; i++) ok = open_part(w, i, e);
    ok = ok && join_parts(w, e) && (w->files.kind == SHARD_GGUF || read_config(w, e));
    ok = ok && weights_intact(w, e);
    if (!ok) {
        weights_close(w);
        return false;
    }
    *out = w;
    return true;
}

void weights_close(struct weights *w)
{
    if (!w) return;
    for (size_t i = 0; w->part && i < w->files.n; i++) {
        gguf_free(w->part[i].gguf);
        safetensors_free(w->part[i].st);
        filemap_close(&w->part[i].map);
    }
    free(w->part);
    free(w->t);
    name_table_free(&w->names);
    json_decref(w->config);
    json_decref(w->quantization);
    shards_free(&w->files);
    free(w);
}

bool weights_intact(const struct weights *w, struct err *e)
{
    for (size_t i = 0; i < w->files.n; i++) {
        if (!filemap_changed(&w->part[i].map)) continue;
        return err_set(
            e, ERR_IO,
            "%.200s was changed on disk while the model was in use; replace the files of a model by renaming "
            "new ones over them",
            w->files.name[i]);
    }
    return true;
}

/* ---- looking things up ------------------------------------------------------------------------------------------ */

const struct tensor *weights_find(const struct weights *w, const char *name)
{
    size_t i = name_table_find(&w->names, name, strlen(name));
    return i == NAME_TABLE_NONE ? NULL : w->t[i];
}

size_t weights_count(const struct weights *w) { return w->n; }

const struct tensor *weights_at(const struct weights *w, size_t i) { return w->t[i]; }

size_t weights_bytes(const struct weights *w) { return w->bytes; }

const json_t *weights_config(const struct weights *w) { return w->config; }

const json_t *weights_quantization_file(const struct weights *w, const char **file)
{
    if (file && w->quantization) *file = w->quantization_file;
    return w->quantization;
}

const char *weights_dir(const struct weights *w) { return w->files.dir; }

const char *weights_note(const struct weights *w, const char *key)
{
    for (size_t i = 0; i < w->files.n; i++) {
        const char *value = w->part[i].st ? safetensors_note(w->part[i].st, key) : NULL;
        if (value) return value;
    }
    return NULL;
}

size_t weights_note_count(const struct weights *w)
{
    return w->part[0].st ? safetensors_note_count(w->part[0].st) : 0;
}

void weights_note_at(const struct weights *w, size_t i, const char **key, const char **value)
{
    safetensors_note_at(w->part[0].st, i, key, value);
}

const struct gguf *weights_gguf(const struct weights *w) { return w->part[0].gguf; }

void weights_forget(const struct weights *w, const struct tensor *t)
{
    (void)w;
    filemap_forget(t->data, t->bytes);
}
