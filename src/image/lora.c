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

static const char *const down_suffix[] = { ".lora_down.weight", ".lora_A.weight", ".lora.down.weight",
                                           ".lora_A.default.weight" };
static const char *const up_suffix[] = { ".lora_up.weight", ".lora_B.weight", ".lora.up.weight",
                                         ".lora_B.default.weight" };
/* What these add is more than B A: applying only the part we know would draw another picture in silence. */
static const char *const refused[] = { "dora_scale", "lora_magnitude_vector", "hada_w", "lokr_w", "lora_mid",
                                       ".diff",      "lora_B.bias",           "oft_",   "glora" };

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
    float default_alpha; /* 0: the rank */
    bool rank_stabilised;
};

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
    float fallback = f->default_alpha > 0 ? f->default_alpha : (float)rank;
    float alpha = scalar(weights_find(f->w, NN("%s.alpha", module)), fallback);
    br->scale = f->rank_stabilised ? alpha / __builtin_sqrtf((float)rank) : alpha / (float)rank;
    br->rank = (int)rank;
    br->row0 = s->layer->row0[s->part];
    br->rows = rows;
    struct nn_lora_branch **list = &out->reach[s->target].by_id[s->layer->id];
    br->next = *list;
    *list = br;
    return true;
}

/* "base_model.model." is what a bare PEFT export puts in front of everything. */
static const char *strip_peft(const char *module)
{
    static const char peft[] = "base_model.model.";
    return strncmp(module, peft, sizeof peft - 1) == 0 ? module + sizeof peft - 1 : module;
}

static bool apply_file(struct nn_lora *out, struct device *dev, const struct file *f,
                       const struct spellings *all, struct err *e)
{
    for (size_t i = 0; i < weights_count(f->w); i++) {
        const struct tensor *a = weights_at(f->w, i), *b = NULL;
        size_t stem = 0, form = 0, forms = sizeof down_suffix / sizeof *down_suffix;
        for (size_t k = 0; k < sizeof refused / sizeof *refused; k++) {
            if (strstr(a->name, refused[k])) {
                return err_set(e, ERR_UNSUPPORTED,
                               "%s: %s: this kind of adapter (%s) is not supported; plain LoRA is", f->path,
                               a->name, refused[k]);
            }
        }
        while (form < forms && !ends_with(a->name, down_suffix[form], &stem)) form++;
        if (form == forms) continue; /* an up matrix or an alpha: taken with its down matrix */
        struct nn_name module = nn_name("%.*s", (int)stem, a->name);
        b = weights_find(f->w, NN("%s%s", module.s, up_suffix[form]));
        if (!b)
            return err_set(e, ERR_FORMAT, "%s: %s has no counterpart %s", f->path, a->name, up_suffix[form]);
        if (!as_matrix(a, f->path, e) || !as_matrix(b, f->path, e)) return false;

        const char *name = strip_peft(module.s);
        size_t lo = 0, hi = all->n;
        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            if (strcmp(all->item[mid].name, name) < 0)
                lo = mid + 1;
            else
                hi = mid;
        }
        bool found = false;
        for (; lo < all->n && strcmp(all->item[lo].name, name) == 0; lo++, found = true) {
            if (!apply(out, dev, f, &all->item[lo], module.s, a, b, e)) return false;
        }
        out->applied += found;
        out->unmatched += !found;
    }
    if (out->applied > 0) return true;
    return err_set(e, ERR_FORMAT, "%s: none of its %d adapter modules belongs to this model", f->path,
                   out->unmatched);
}

/* A PEFT folder's adapter_config.json beside the file, where there is one. */
static void read_peft_config(struct file *f)
{
    json_t *config = json_load_file(NN("%s/adapter_config.json", weights_dir(f->w)), 0, NULL);
    const json_t *alpha = json_object_get(config, "lora_alpha");
    bool peft = false;
    for (size_t i = 0; i < weights_count(f->w) && !peft; i++) {
        peft = strstr(weights_at(f->w, i)->name, "lora_A") != NULL;
    }
    if (peft && json_is_number(alpha)) f->default_alpha = (float)json_number_value(alpha);
    f->rank_stabilised = peft && json_is_true(json_object_get(config, "use_rslora"));
    json_decref(config);
}

bool nn_lora_load(struct nn_lora **out, struct device *dev, const char *path,
                  const struct nn_lora_target *target, int n_target, struct err *e)
{
    struct file f = { .path = path };
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
