#include "image/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/lora_peft.h"

enum { MAX_TARGETS = 6, MAX_RANK = 512, NAMED = 3 };

struct reach { /* branches on one network */
    const struct nn_owner *owner;
    struct nn_lora_branch **by_id; /* [owner->n_linear] lists */
};

struct nn_lora {
    struct reach reach[MAX_TARGETS];
    int n_reach, applied;
};

/* One spelling of one part of one layer. The rows are those of the adapter's B that belong to the part. */
struct spelling {
    char *name;
    int target;
    const struct nn_linear *layer;
    int part;
    int64_t row0;  /* of the part inside the tensor that is spelled so */
    int64_t total; /* rows of that tensor: what B must have */
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

/* All spellings are there: sorts them, and adds up the rows of the tensors that are fused from several parts. */
static void spellings_sort(struct spellings *all)
{
    if (all->n) qsort(all->item, all->n, sizeof *all->item, by_name);
    for (size_t i = 0, end; i < all->n; i = end) {
        for (end = i; end < all->n && strcmp(all->item[end].name, all->item[i].name) == 0;) end++;
        for (size_t k = i; k < end; k++) {
            struct spelling *s = &all->item[k];
            for (size_t j = i; j < end; j++) {
                const struct spelling *o = &all->item[j];
                int64_t to = o->row0 + o->layer->rows[o->part];
                if (o->target == s->target && to > s->total) s->total = to;
            }
        }
    }
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

static bool scalar(const struct tensor *t, float *out)
{
    if (tensor_elems(t) != 1 || dtype_info(t->type)->block_elems != 1) return false;
    dequant_row(t->type, t->data, out, 1);
    return true;
}

static struct linear *make_linear(struct device *dev, const struct tensor *t, int64_t row0, int64_t rows,
                                  bool swap, struct err *e)
{
    int64_t cols = t->dim[1];
    size_t row_bytes = dtype_row_bytes(t->type, cols);
    struct linear *l = NULL;
    size_t n;
    float *copy = mem_mul((size_t)rows, (size_t)cols, &n) ? mem_aligned(n, sizeof *copy, false) : NULL;
    if (!copy) {
        err_set(e, ERR_NOMEM, "no memory for adapter %s", t->name);
        return NULL;
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t from = row0 + (swap ? (r + rows / 2) % rows : r);
        dequant_row(t->type, (const unsigned char *)t->data + (size_t)from * row_bytes, copy + r * cols,
                    cols);
    }
    size_t at = 0;
    while (at < n && isfinite(copy[at])) at++;
    if (at < n) {
        mem_free(copy);
        err_set(e, ERR_FORMAT, "%s holds a value that is not a finite number", t->name);
        return NULL;
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
    struct lora_peft *peft;        /* what PEFT says of it beside or inside the file; NULL: nothing */
    int unmatched;                 /* modules that no network has */
    struct nn_name foreign[NAMED]; /* the first of them */
};

/* total: rows that B must have, of which the spelling's part takes its own. */
static bool apply(struct nn_lora *out, struct device *dev, const struct file *f, const struct spelling *s,
                  int64_t total, const char *module, const struct tensor *a, const struct tensor *b,
                  struct err *e)
{
    int64_t rank = a->dim[0], rows = s->layer->rows[s->part];
    struct nn_lora_branch **list = &out->reach[s->target].by_id[s->layer->id];
    if (b->dim[1] != rank || a->dim[1] != s->layer->n_in || b->dim[0] != total) {
        return err_set(e, ERR_FORMAT,
                       "%s: %s: adapter of [%lld, %lld] x [%lld, %lld] does not fit a layer of [%lld, %lld]",
                       f->path, module, (long long)b->dim[0], (long long)b->dim[1], (long long)rank,
                       (long long)a->dim[1], (long long)total, (long long)s->layer->n_in);
    }
    if (rank > MAX_RANK)
        return err_set(e, ERR_LIMIT, "%s: %s: its rank is %lld, the most is %d", f->path, module,
                       (long long)rank, (int)MAX_RANK);
    for (const struct nn_lora_branch *o = *list; o; o = o->next) {
        if (o->row0 != s->layer->row0[s->part]) continue;
        return err_set(e, ERR_FORMAT, "%s: %s: another of its modules is for the same layer, %s", f->path,
                       module, s->layer->name[s->part]);
    }
    if (s->layer->base && s->layer->n_parts == 2 && s->layer->n_out == s->layer->rows[0]) {
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: %s: adapters on gated feed-forward layers of T5 are not supported", f->path,
                       module);
    }
    const struct tensor *own = weights_find(f->w, NN("%s.alpha", module));
    float alpha = 0, scale;
    if (own && !scalar(own, &alpha))
        return err_set(e, ERR_FORMAT, "%s: %s is not one number", f->path, own->name);
    if (!lora_peft_scale(f->peft, module, rank, own ? &alpha : NULL, &scale, e)) return false;
    struct nn_lora_branch *br = calloc(1, sizeof *br);
    if (!br) return err_set(e, ERR_NOMEM, "no memory for adapter %s", f->path);
    br->a = make_linear(dev, a, 0, rank, false, e);
    br->b = br->a ? make_linear(dev, b, s->row0, rows, s->swap_halves, e) : NULL;
    if (!br->b) {
        linear_free(br->a);
        free(br);
        return err_wrap(e, "%s", f->path);
    }
    br->scale = scale;
    br->rank = (int)rank;
    br->row0 = s->layer->row0[s->part];
    br->rows = rows;
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

static bool apply_module(struct nn_lora *out, struct device *dev, struct file *f, const struct spellings *all,
                         const struct tensor *a, size_t form, size_t stem, struct err *e)
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
    size_t end = lo;
    int64_t last = 0; /* where the fused tensor's last part begins */
    for (; end < all->n && strcmp(all->item[end].name, name.s) == 0; end++) {
        if (all->item[end].row0 > last) last = all->item[end].row0;
    }
    for (; lo < end; lo++) {
        const struct spelling *s = &all->item[lo];
        if (qkv_only && s->row0 == last) continue;
        if (!apply(out, dev, f, s, qkv_only ? last : s->total, module.s, a, b, e)) return false;
        found = true;
    }
    out->applied += found;
    if (!found && f->unmatched++ < NAMED) f->foreign[f->unmatched - 1] = module;
    return true;
}

static bool apply_file(struct nn_lora *out, struct device *dev, struct file *f, const struct spellings *all,
                       struct err *e)
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
    /* SDXL and FLUX have a text encoder in common, and so have their adapters: what fits alone says little. */
    if (out->applied > 0 && f->unmatched == 0) return true;
    char names[NAMED * sizeof f->foreign->s] = "";
    for (int i = 0, at = 0; i < NAMED && i < f->unmatched; i++)
        at += snprintf(names + at, sizeof names - (size_t)at, "%s%.70s", i ? ", " : "", f->foreign[i].s);
    if (out->applied == 0)
        return err_set(e, ERR_FORMAT, "%s: none of its %d adapter modules belongs to this model%s%s", f->path,
                       f->unmatched, *names ? ": " : "", names);
    return err_set(e, ERR_FORMAT, "%s: %d of its %d adapter modules belong to no layer of this model: %s%s",
                   f->path, f->unmatched, f->unmatched + out->applied, names,
                   f->unmatched > NAMED ? ", ..." : "");
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
        spellings_sort(&all);
        ok = lora_peft_read(&f.peft, f.w, f.path, e) && apply_file(l, dev, &f, &all, e);
    }
    spellings_free(&all);
    weights_close(f.w);
    lora_peft_free(f.peft);
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

const struct nn_lora_branch *nn_lora_branches(const struct nn_lora *l, const struct nn_owner *o,
                                              int linear_id)
{
    for (int i = 0; i < l->n_reach; i++) {
        if (l->reach[i].owner == o) return l->reach[i].by_id[linear_id];
    }
    return NULL;
}
