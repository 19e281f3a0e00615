#include "image/lora.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TARGETS = 6, MAX_RANK = 512 };

struct reach { /* branches on one network */
    const struct nn_owner *owner;
    struct nn_lora_branch **by_id; /* [owner->n_linear] lists */
};

struct nn_lora {
    struct reach reach[MAX_TARGETS];
    int n_reach, applied, unmatched;
    bool first; /* something applies to the first network, the denoiser */
};

/* One spelling of one part of one layer. The rows are those of the adapter's B that belong to the part. */
struct spelling {
    char *name;
    int target;
    const struct nn_linear *layer;
    int part;
    int64_t row0; /* of the part inside the original tensor */
    bool swap_halves;
};

struct spellings {
    struct spelling *item;
    size_t n, cap;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct spelling *)a)->name, ((const struct spelling *)b)->name);
}

static bool spell(struct spellings *all, const char *prefix, const char *module, bool flat, struct spelling s)
{
    if (all->n == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 512;
        struct spelling *p = realloc(all->item, cap * sizeof *p);
        if (!p) return false;
        all->item = p;
        all->cap = cap;
    }
    size_t n = strlen(prefix) + strlen(module) + 1;
    s.name = malloc(n);
    if (!s.name) return false;
    snprintf(s.name, n, "%s%s", prefix, module);
    for (char *c = s.name + strlen(prefix); flat && *c; c++) {
        if (*c == '.') *c = '_';
    }
    all->item[all->n++] = s;
    return true;
}

static bool spell_target(struct spellings *all, const struct nn_lora_target *t, int index)
{
    for (int i = 0; i < t->owner->n_linear; i++) {
        const struct nn_linear *l = t->owner->linear[i];
        for (int k = 0; k < l->n_parts; k++) {
            struct spelling s = { .target = index, .layer = l, .part = k };
            struct nn_place place = { 0 };
            bool original = false;
            if (t->locate && t->locate(t->locate_arg, NN("%s.weight", l->name[k]), &place)) {
                size_t len = strlen(place.name);
                original = len > 7 && strcmp(place.name + len - 7, ".weight") == 0;
                if (original) place.name[len - 7] = '\0';
            }
            for (int flat = 0; flat < 2; flat++) {
                const char *const *prefix = flat ? t->flat_prefix : t->dot_prefix;
                for (; prefix && *prefix; prefix++) {
                    if (!spell(all, *prefix, l->name[k], flat, s)) return false;
                    struct spelling o = s;
                    o.row0 = place.row0;
                    o.swap_halves = place.swap_halves;
                    if (original && strcmp(place.name, l->name[k]) != 0 &&
                        !spell(all, *prefix, place.name, flat, o)) {
                        return false;
                    }
                }
            }
        }
    }
    return true;
}

static void spellings_free(struct spellings *all)
{
    for (size_t i = 0; i < all->n; i++) free(all->item[i].name);
    free(all->item);
}

/* ---- the adapter's file ------------------------------------------------------------------------------------ */

/* The two matrices of a module; the later pairs are ends of the earlier ones, so the first that fits counts. */
static const char *const ends[][2] = {
    { ".lora_down.weight", ".lora_up.weight" },
    { ".lora_A.weight", ".lora_B.weight" },
    { ".lora_A.default.weight", ".lora_B.default.weight" },
    { ".lora.down.weight", ".lora.up.weight" },
    { ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight" },
    { "_lora.down.weight", "_lora.up.weight" }, /* attention processors: attn1.processor.to_q_lora */
    { ".down.weight", ".up.weight" },           /* XLabs: double_blocks.0.processor.qkv_lora1 */
};
enum { N_FORMS = sizeof ends / sizeof *ends };
/* What these add is more than B A: applying only the part we know would draw another picture in silence. */
static const char *const refused[] = { "dora_scale", "lora_magnitude_vector", "hada_w", "lokr_w",
                                       "lora_mid",   "lora_B.bias",           "oft_",   "glora" };

static bool ends_with(const char *s, const char *suffix, size_t *stem)
{
    size_t n = strlen(s), m = strlen(suffix);
    if (n < m || strcmp(s + n - m, suffix) != 0) return false;
    *stem = n - m;
    return true;
}

/* The matrix of an adapter: [rows, cols], also as [rows, cols, 1, 1]. */
static bool as_matrix(const struct tensor *t, const char *path, struct err *e)
{
    bool ok = t->n_dims >= 2 && (t->type == DT_F32 || t->type == DT_F16 || t->type == DT_BF16);
    for (int i = 2; ok && i < t->n_dims; i++) ok = t->dim[i] == 1;
    if (ok && t->dim[0] > 0 && t->dim[1] > 0) return true;
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: %s is not a matrix of F32, F16 or BF16; convolution adapters are not supported", path,
                   t->name);
}

static float scalar(const struct tensor *t, float fallback)
{
    if (!t || tensor_elems(t) != 1 || dtype_info(t->type)->block_elems != 1) return fallback;
    float v = fallback;
    dequant_row(t->type, t->data, &v, 1);
    return v;
}

static struct linear *make_linear(struct device *dev, const struct tensor *t, int64_t row0, int64_t rows,
                                  bool swap, struct err *e)
{
    int64_t cols = t->dim[1];
    size_t row_bytes = dtype_row_bytes(t->type, cols);
    struct linear *l = NULL;
    float *copy = mem_aligned((size_t)rows, (size_t)cols * sizeof *copy, false);
    if (!copy) {
        err_set(e, ERR_NOMEM, "no memory for adapter %s", t->name);
        return NULL;
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t from = row0 + (swap ? (r + rows / 2) % rows : r);
        dequant_row(t->type, (const unsigned char *)t->data + (size_t)from * row_bytes, copy + r * cols,
                    cols);
    }
    struct matrix m = { .type = DT_F32, .n_out = rows, .n_in = cols, .data = copy };
    /* A device may keep a view of what it is given, and the file is closed before the adapter goes: so a copy that only
     * linear_new's own repacking may outlive is not enough; ask for the repack by handing over f32. */
    if (!linear_new(dev, &l, &m, 1, LINEAR_CONCAT, NULL, 512, e)) l = NULL;
    if (l && !linear_is_copy(l)) {
        linear_free(l);
        l = NULL;
        err_set(e, ERR_UNSUPPORTED, "adapter %s: the device keeps no copy of its weights", t->name);
    }
    mem_free(copy);
    return l;
}

struct file {
    const char *path;
    struct weights *w;
    json_t *peft; /* what PEFT says of it beside or inside the file; NULL: nothing */
};

/* A value for a module: the notes that diffusers writes have the network's name in front of the key. */
static const json_t *setting(const struct file *f, const char *module, const char *key)
{
    const char *dot = strchr(module, '.');
    int n = dot ? (int)(dot - module) : 0;
    const json_t *v = json_object_get(f->peft, NN("%.*s.%s", n, module, key));
    return v ? v : json_object_get(f->peft, key);
}

/* The module's alpha: its tensor, its own entry among PEFT's patterns, PEFT's for all, or the rank. */
static float alpha_of(const struct file *f, const char *module, int64_t rank)
{
    const json_t *all = setting(f, module, "lora_alpha"), *v;
    float alpha = json_is_number(all) ? (float)json_number_value(all) : (float)rank;
    const char *end;
    size_t len = strlen(module);
    json_object_foreach((json_t *)setting(f, module, "alpha_pattern"), end, v)
    {
        size_t n = strlen(end);
        if (n <= len && strcmp(module + len - n, end) == 0 && (n == len || module[len - n - 1] == '.') &&
            json_is_number(v))
            alpha = (float)json_number_value(v);
    }
    return scalar(weights_find(f->w, NN("%s.alpha", module)), alpha);
}

static bool apply(struct nn_lora *out, struct device *dev, const struct file *f, const struct spelling *s,
                  const char *module, const struct tensor *a, const struct tensor *b, struct err *e)
{
    int64_t rank = a->dim[0], rows = s->layer->rows[s->part];
    if (b->dim[1] != rank || rank > MAX_RANK || a->dim[1] != s->layer->n_in || b->dim[0] < s->row0 + rows ||
        (s->row0 == 0 && s->layer->n_parts == 1 && b->dim[0] != rows)) {
        return err_set(e, ERR_FORMAT,
                       "%s: %s: adapter of [%lld, %lld] x [%lld, %lld] does not fit a layer of [%lld, %lld]",
                       f->path, module, (long long)b->dim[0], (long long)b->dim[1], (long long)rank,
                       (long long)a->dim[1], (long long)rows, (long long)s->layer->n_in);
    }
    if (s->layer->base && s->layer->n_parts == 2 && s->layer->n_out == s->layer->rows[0]) {
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: %s: adapters on gated feed-forward layers of T5 are not supported", f->path,
                       module);
    }
    struct nn_lora_branch *br = calloc(1, sizeof *br);
    if (!br) return err_set(e, ERR_NOMEM, "no memory for adapter %s", f->path);
    br->a = make_linear(dev, a, 0, rank, false, e);
    br->b = br->a ? make_linear(dev, b, s->row0, rows, s->swap_halves, e) : NULL;
    if (!br->b) {
        linear_free(br->a);
        free(br);
        return false;
    }
    float alpha = alpha_of(f, module, rank);
    bool stabilised = json_is_true(setting(f, module, "use_rslora"));
    br->scale = alpha / (stabilised ? __builtin_sqrtf((float)rank) : (float)rank);
    br->rank = (int)rank;
    br->row0 = s->layer->row0[s->part];
    br->rows = rows;
    struct nn_lora_branch **list = &out->reach[s->target].by_id[s->layer->id];
    br->next = *list;
    *list = br;
    return true;
}

/* A module's name as the networks spell it. *qkv_only: of a single block's first layer it has the rows of q, k and v alone. */
static struct nn_name plain_name(const char *module, bool *qkv_only)
{
    static const char peft[] = "base_model.model.";
    static const char *const xlabs[][3] = {
        { "double_blocks", "qkv_lora1", "img_attn.qkv" },
        { "double_blocks", "qkv_lora2", "txt_attn.qkv" },
        { "double_blocks", "proj_lora1", "img_attn.proj" },
        { "double_blocks", "proj_lora2", "txt_attn.proj" },
        { "single_blocks", "qkv_lora", "linear1" },
        { "single_blocks", "proj_lora", "linear2" },
        { "single_blocks", "qkv", "linear1" },
        { "single_blocks", "proj", "linear2" },
    };
    *qkv_only = false;
    if (strncmp(module, peft, sizeof peft - 1) == 0) module += sizeof peft - 1;
    const char *at = strstr(module, ".processor.");
    if (!at) return nn_name("%s", module);
    const char *leaf = at + strlen(".processor.");
    int head = (int)(at - module);
    for (size_t i = 0; i < sizeof xlabs / sizeof *xlabs; i++) {
        if (strcmp(leaf, xlabs[i][1]) != 0 || !strstr(module, xlabs[i][0])) continue;
        *qkv_only = strcmp(xlabs[i][2], "linear1") == 0;
        return nn_name("%.*s.%s", head, module, xlabs[i][2]);
    }
    return nn_name("%.*s.%s%s", head, module, leaf, strcmp(leaf, "to_out") == 0 ? ".0" : "");
}

/* Which pair of suffixes a name ends in on the given side, and where; N_FORMS: none. */
static size_t form_of(const char *name, int side, size_t *stem)
{
    size_t form = 0;
    while (form < N_FORMS && !ends_with(name, ends[form][side], stem)) form++;
    return form;
}

/* Everything that is not a first matrix must belong to one: what is passed over would be missed in the picture. */
static bool belongs(const struct file *f, const struct tensor *t, struct err *e)
{
    size_t stem = 0, form = form_of(t->name, 1, &stem);
    if (form < N_FORMS && weights_find(f->w, NN("%.*s%s", (int)stem, t->name, ends[form][0]))) return true;
    if (ends_with(t->name, ".alpha", &stem)) return true;
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: %s is no part of a plain LoRA adapter, and only those are supported", f->path,
                   t->name);
}

static bool apply_module(struct nn_lora *out, struct device *dev, const struct file *f,
                         const struct spellings *all, const struct tensor *a, size_t form, size_t stem,
                         struct err *e)
{
    struct nn_name module = nn_name("%.*s", (int)stem, a->name);
    const struct tensor *b = weights_find(f->w, NN("%s%s", module.s, ends[form][1]));
    if (!b) return err_set(e, ERR_FORMAT, "%s: %s has no counterpart %s", f->path, a->name, ends[form][1]);
    if (!as_matrix(a, f->path, e) || !as_matrix(b, f->path, e)) return false;

    bool qkv_only, found = false;
    struct nn_name name = plain_name(module.s, &qkv_only);
    size_t lo = 0, hi = all->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(all->item[mid].name, name.s) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < all->n && strcmp(all->item[lo].name, name.s) == 0; lo++) {
        const struct spelling *s = &all->item[lo];
        if (qkv_only && s->row0 >= b->dim[0]) continue;
        if (!apply(out, dev, f, s, module.s, a, b, e)) return false;
        found = true;
        out->first |= s->target == 0;
    }
    out->applied += found;
    out->unmatched += !found;
    return true;
}

static bool apply_file(struct nn_lora *out, struct device *dev, const struct file *f,
                       const struct spellings *all, struct err *e)
{
    for (size_t i = 0; i < weights_count(f->w); i++) {
        const struct tensor *t = weights_at(f->w, i);
        size_t stem = 0, form = form_of(t->name, 0, &stem);
        for (size_t k = 0; k < sizeof refused / sizeof *refused; k++) {
            if (strstr(t->name, refused[k])) {
                return err_set(e, ERR_UNSUPPORTED,
                               "%s: %s: this kind of adapter (%s) is not supported; plain LoRA is", f->path,
                               t->name, refused[k]);
            }
        }
        if (form < N_FORMS ? !apply_module(out, dev, f, all, t, form, stem, e) : !belongs(f, t, e))
            return false;
    }
    /* SDXL and FLUX have a text encoder in common: that alone makes no adapter of one fit the other. */
    if (out->applied > 0 && (out->first || out->unmatched == 0)) return true;
    return err_set(e, ERR_FORMAT, "%s: none of its %d adapter modules belongs to this model", f->path,
                   out->unmatched);
}

/* diffusers' note in the file, or a PEFT folder's adapter_config.json beside it. */
static void read_peft_config(struct file *f)
{
    const char *note = weights_note(f->w, "lora_adapter_metadata");
    if (note) {
        f->peft = json_loads(note, 0, NULL);
        return;
    }
    for (size_t i = 0; i < weights_count(f->w); i++) {
        if (!strstr(weights_at(f->w, i)->name, "lora_A")) continue;
        f->peft = json_load_file(NN("%s/adapter_config.json", weights_dir(f->w)), 0, NULL);
        return;
    }
}

bool nn_lora_load(struct nn_lora **out, struct device *dev, const char *path,
                  const struct nn_lora_target *target, int n_target, struct err *e)
{
    const char *slash = strrchr(path, '/');
    struct file f = { .path = slash ? slash + 1 : path }; /* a client may read it */
    if (n_target > MAX_TARGETS)
        return err_set(e, ERR_LIMIT, "an adapter may address at most %d networks", MAX_TARGETS);
    if (!weights_open(&f.w, path, e)) return false;
    struct nn_lora *l = calloc(1, sizeof *l);
    struct spellings all = { 0 };
    bool ok = l != NULL;
    for (int i = 0; ok && i < n_target; i++) {
        struct reach *r = &l->reach[l->n_reach++];
        r->owner = target[i].owner;
        r->by_id = calloc((size_t)target[i].owner->n_linear + 1, sizeof *r->by_id);
        ok = r->by_id && spell_target(&all, &target[i], i);
    }
    if (!ok) {
        err_set(e, ERR_NOMEM, "no memory for adapter %s", path);
    } else {
        if (all.n) qsort(all.item, all.n, sizeof *all.item, by_name);
        read_peft_config(&f);
        ok = apply_file(l, dev, &f, &all, e);
    }
    spellings_free(&all);
    weights_close(f.w);
    json_decref(f.peft);
    if (!ok) {
        nn_lora_free(l);
        return false;
    }
    *out = l;
    return true;
}

void nn_lora_free(struct nn_lora *l)
{
    if (!l) return;
    for (int i = 0; i < l->n_reach; i++) {
        for (int k = 0; l->reach[i].by_id && k < l->reach[i].owner->n_linear; k++) {
            for (struct nn_lora_branch *b = l->reach[i].by_id[k], *next; b; b = next) {
                next = b->next;
                linear_free(b->a);
                linear_free(b->b);
                free(b);
            }
        }
        free(l->reach[i].by_id);
    }
    free(l);
}

int nn_lora_applied(const struct nn_lora *l) { return l->applied; }

int nn_lora_unmatched(const struct nn_lora *l) { return l->unmatched; }

const struct nn_lora_branch *nn_lora_branches(const struct nn_lora *l, const struct nn_owner *o,
                                              int linear_id)
{
    for (int i = 0; i < l->n_reach; i++) {
        if (l->reach[i].owner == o) return l->reach[i].by_id[linear_id];
    }
    return NULL;
}
