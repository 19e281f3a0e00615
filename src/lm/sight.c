#include "lm/sight.h"

#include <dirent.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "format/gguf.h"
#include "format/json_read.h"
#include "lm/arch.h"

enum {
    HASH = 32,
    KNOWN = 1024, /* pictures whose numbers are remembered; one that comes again later is a new one */
    SLOTS = 8,    /* tiles whose rows are kept */
};

enum { T_START, T_END, T_NEXT, T_LINE, T_WHOLE, T_PATCH, T_COUNT };
static const char *const token_texts[T_COUNT] = {
    "<|image_start|>",      "<|image_end|>", "<|tile_x_separator|>",
    "<|tile_y_separator|>", "<|image|>",     "<|patch|>"
};

struct lm_picture {
    atomic_int refs;
    int32_t number;
    struct picture_cut cut;
    struct picture_rules rules;
    int n_rows; /* of a tile */
    int32_t token[T_COUNT];
    unsigned char *tiles;
};

struct known {
    unsigned char hash[HASH];
    int32_t number; /* 0: an empty entry */
    uint64_t used;
};

struct slot {
    int32_t number; /* 0: empty */
    int tile;
    uint64_t used;
    float *rows; /* [n_rows, n_embd] */
};

struct sight {
    struct llama4_vision *tower;
    struct weights *own; /* of a projector's file; NULL: the tower is among the model's weights */
    struct picture_rules rules;
    int32_t token[T_COUNT];
    float *tile; /* normalised */
    struct slot slot[SLOTS];
    uint64_t looks;

    pthread_mutex_t mu; /* guards what follows */
    struct known known[KNOWN];
    uint64_t asked;
    int32_t last; /* number given out */
};

/* ---- files ----------------------------------------------------------------------------------------------------------- */

static size_t count_named(const struct weights *w, const char *prefix)
{
    size_t n = 0;
    for (size_t i = 0; i < weights_count(w); i++)
        n += strncmp(weights_at(w, i)->name, prefix, strlen(prefix)) == 0;
    return n;
}

/* Opens the projector's file in the model's folder that is of a family we know; others there belong to other models. *own NULL: there is none. */
static bool find_beside(struct weights **own, const char *dir, struct err *e)
{
    char found[256] = "";
    DIR *d = opendir(*dir ? dir : ".");
    bool ok = true;
    *own = NULL;
    if (!d) return true;
    for (struct dirent *entry; ok && (entry = readdir(d));) {
        const char *name = entry->d_name;
        const size_t len = strlen(name);
        struct weights *w;
        char *path;
        if (strncasecmp(name, "mmproj", 6) != 0 || len < 5 || strcmp(name + len - 5, ".gguf") != 0) continue;
        if (asprintf(&path, "%s%s", dir, name) < 0) {
            ok = err_set(e, ERR_NOMEM, "no memory for a path");
            break;
        }
        ok = weights_open(&w, path, e) || err_wrap(e, "the projector for pictures");
        free(path);
        if (!ok) break;
        if (!llama4_vision_is(w)) {
            weights_close(w);
            continue;
        }
        if (*own)
            ok = err_set(
                e, ERR_REQUEST,
                "several projectors for pictures lie beside the model, among them %.80s and %.80s: say with "
                "--mmproj which one",
                strcmp(found, name) < 0 ? found : name, strcmp(found, name) < 0 ? name : found);
        weights_close(*own);
        *own = w;
        snprintf(found, sizeof found, "%s", name);
    }
    closedir(d);
    if (ok) return true;
    weights_close(*own);
    *own = NULL;
    return false;
}

/* The weights that the tower is among: *own the caller's, or NULL where it is *w; *there false: there is none. */
static bool open_tower(struct weights **own, bool *there, const struct weights *w, const char *mmproj,
                       struct err *e)
{
    *own = NULL;
    *there = false;
    if (!weights_gguf(w)) {
        const size_t tower = count_named(w, "vision_model."),
                     projector = count_named(w, "multi_modal_projector.");
        if (mmproj)
            return err_set(e, ERR_REQUEST,
                           "--mmproj is for models in GGUF; this one has its tower in its own files");
        if (!tower && !projector) return true; /* an export of the text model */
        *there = true;
        if (tower && projector) return true;
        return err_set(e, ERR_FORMAT, "the model has %s without %s: fetch it again, whole",
                       tower ? "a tower that sees pictures (vision_model.*)"
                             : "a projector (multi_modal_projector.*)",
                       tower ? "the projector behind it (multi_modal_projector.linear_1.weight)"
                             : "the tower before it (vision_model.*)");
    }
    const bool ok = mmproj ? weights_open(own, mmproj, e) || err_wrap(e, "--mmproj")
                           : find_beside(own, weights_dir(w), e);
    *there = ok && *own;
    return ok;
}

static bool check_whole(const struct weights *own, struct err *e)
{
    if (!own) return true;
    const size_t tower = count_named(own, "v."), projector = count_named(own, "mm.");
    if (tower && projector) return true;
    return err_set(e, ERR_FORMAT, "the projector's file has %s: fetch it again",
                   tower ? "a tower (v.*), but no projector (mm.*)" : "no tower (v.*)");
}

static bool fits(const struct llama4_vision_shape *s, int n_embd, struct err *e)
{
    if (s->n_channels != 3)
        return err_set(e, ERR_UNSUPPORTED, "the tower looks at %d channels of colour, pictures have 3",
                       s->n_channels);
    return s->n_text == n_embd ||
           err_set(e, ERR_FORMAT,
                   "the projector is of another model: its rows have %d numbers, the model's embeddings %d",
                   s->n_text, n_embd);
}

bool sight_check(const struct weights *w, const char *mmproj, int n_embd, bool *there, struct err *e)
{
    struct weights *own;
    struct llama4_vision_shape s;
    if (!open_tower(&own, there, w, mmproj, e)) return false;
    const bool ok =
        !*there || (check_whole(own, e) && llama4_vision_check(&s, own ? own : w, e) && fits(&s, n_embd, e));
    weights_close(own);
    return ok;
}

/* What the processor's file says, where the folder has one: preprocessor_config.json or, of transformers 5, a part of processor_config.json. */
static bool read_rules(struct picture_rules *r, const struct weights *w, bool *found, struct err *e)
{
    static const char *const names[] = { "preprocessor_config.json", "processor_config.json" };
    bool ok = true;
    *found = false;
    for (int i = 0; ok && !*found && i < 2; i++) {
        struct err why = { 0 };
        json_t *whole = NULL;
        char *path;
        if (asprintf(&path, "%s%s", weights_dir(w), names[i]) < 0)
            return err_set(e, ERR_NOMEM, "no memory for a path");
        ok = json_read_file(&whole, path, &why) || why.code == ERR_NOT_FOUND ||
             err_set(e, why.code, "%s", why.msg);
        const json_t *o = i ? json_object_get(whole, "image_processor") : whole;
        *found = ok && json_is_object(o);
        if (*found) ok = picture_rules_read(r, o, e) || err_wrap(e, "%s", names[i]);
        json_decref(whole);
        free(path);
    }
    return ok;
}

static bool rules_of_gguf(struct picture_rules *r, const struct gguf *g, struct err *e)
{
    const struct gguf_value *mean = gguf_find(g, "clip.vision.image_mean"),
                            *std = gguf_find(g, "clip.vision.image_std");
    for (uint64_t i = 0; i < 3; i++) {
        if (mean && mean->n == 3) r->mean[i] = (float)gguf_value_float(mean, i, 0.5);
        if (std && std->n == 3) r->std[i] = (float)gguf_value_float(std, i, 0.5);
        if (!(r->std[i] > 1e-6F) || !(r->mean[i] > -1000 && r->mean[i] < 1000))
            return err_set(
                e, ERR_FORMAT,
                "the projector's file: clip.vision.image_mean or image_std are no measures of colour");
    }
    return true;
}

bool sight_load(struct sight **out, const struct weights *w, const char *mmproj, const struct tokenizer *tok,
                int n_embd, struct device *d, struct err *e)
{
    struct weights *own;
    struct llama4_vision_shape shape;
    bool there, found;
    *out = NULL;
    if (!open_tower(&own, &there, w, mmproj, e)) return false;
    if (!there) return true;
    const struct weights *from = own ? own : w;
    struct sight *s = calloc(1, sizeof *s);
    if (!s) {
        weights_close(own);
        return err_set(e, ERR_NOMEM, "no memory for a tower");
    }
    pthread_mutex_init(&s->mu, NULL);
    s->own = own;
    bool ok = check_whole(own, e) && llama4_vision_read(&shape, from, e) && fits(&shape, n_embd, e);
    for (int i = 0; ok && i < T_COUNT; i++) {
        s->token[i] = tokenizer_find(tok, token_texts[i]);
        ok = s->token[i] >= 0 ||
             err_set(e, ERR_FORMAT, "the model sees pictures, but its tokenizer has no token %s",
                     token_texts[i]);
    }
    if (ok) {
        s->rules = picture_rules_default(shape.image);
        ok = read_rules(&s->rules, w, &found, e) &&
             (found || !own || rules_of_gguf(&s->rules, weights_gguf(own), e));
    }
    ok = ok && llama4_vision_load(&s->tower, from, d, e);
    if (ok) {
        s->tile = calloc(3 * (size_t)shape.image * (size_t)shape.image, sizeof *s->tile);
        ok = s->tile != NULL;
        for (int i = 0; ok && i < SLOTS; i++) {
            s->slot[i].rows = calloc((size_t)shape.n_rows * (size_t)shape.n_text, sizeof *s->slot[i].rows);
            ok = s->slot[i].rows != NULL;
        }
        if (!ok) err_set(e, ERR_NOMEM, "no memory for the rows of pictures");
    }
    if (ok)
        *out = s;
    else
        sight_free(s);
    return ok;
}

void sight_free(struct sight *s)
{
    if (!s) return;
    llama4_vision_free(s->tower);
    weights_close(s->own);
    for (int i = 0; i < SLOTS; i++) free(s->slot[i].rows);
    free(s->tile);
    pthread_mutex_destroy(&s->mu);
    free(s);
}

size_t sight_bytes(const struct sight *s)
{
    const struct llama4_vision_shape *v = llama4_vision_shape(s->tower);
    return llama4_vision_bytes(s->tower) + sizeof *s +
           sizeof(float) * (3 * (size_t)v->image * (size_t)v->image +
                            (size_t)SLOTS * (size_t)v->n_rows * (size_t)v->n_text);
}

size_t sight_weight_bytes(const struct sight *s) { return s->own ? weights_bytes(s->own) : 0; }

bool sight_intact(const struct sight *s, struct err *e) { return !s->own || weights_intact(s->own, e); }

int32_t sight_mark(const struct sight *s) { return s->token[T_WHOLE]; }

/* ---- pictures -------------------------------------------------------------------------------------------------------- */

/* The number of a picture of these tiles; a new one where it is not known. */
static bool number_of(struct sight *s, const unsigned char hash[HASH], int32_t *out, struct err *e)
{
    bool ok = true;
    pthread_mutex_lock(&s->mu);
    struct known *oldest = &s->known[0], *k = NULL;
    for (int i = 0; i < KNOWN && !k; i++) {
        if (s->known[i].number && memcmp(s->known[i].hash, hash, HASH) == 0) k = &s->known[i];
        if (s->known[i].used < oldest->used) oldest = &s->known[i];
    }
    if (!k && s->last == INT32_MAX - 2) { /* never given twice, so that no two pictures ever share a name */
        ok = err_set(e, ERR_LIMIT,
                     "the model has seen %d pictures, which is all that it can tell apart; load it anew",
                     s->last);
    } else if (!k) {
        k = oldest;
        memcpy(k->hash, hash, HASH);
        k->number = ++s->last;
    }
    if (ok) {
        k->used = ++s->asked;
        *out = k->number;
    }
    pthread_mutex_unlock(&s->mu);
    return ok;
}

bool sight_picture(struct lm_picture **out, struct sight *s, const struct image_pixels *px, bool whole,
                   struct err *e)
{
    const struct llama4_vision_shape *v = llama4_vision_shape(s->tower);
    struct lm_picture *p = calloc(1, sizeof *p);
    if (!p) return err_set(e, ERR_NOMEM, "no memory for a picture");
    atomic_init(&p->refs, 1);
    p->cut = picture_cut(&s->rules, px->width, px->height, whole);
    p->rules = s->rules;
    p->n_rows = v->n_rows;
    memcpy(p->token, s->token, sizeof p->token);
    if (!picture_tiles(&p->tiles, &s->rules, &p->cut, px, e)) {
        free(p);
        return false;
    }
    crypto_generichash_state h;
    unsigned char hash[HASH];
    const int grid[2] = { p->cut.rows, p->cut.cols };
    crypto_generichash_init(&h, NULL, 0, HASH);
    crypto_generichash_update(&h, (const unsigned char *)grid, sizeof grid);
    crypto_generichash_update(&h, p->tiles,
                              (size_t)picture_cut_tiles(&p->cut) * 3 * (size_t)v->image * (size_t)v->image);
    crypto_generichash_final(&h, hash, HASH);
    if (!number_of(s, hash, &p->number, e)) {
        lm_picture_unref(p);
        return false;
    }
    *out = p;
    return true;
}

void sight_ref(struct lm_picture *p) { atomic_fetch_add(&p->refs, 1); }

void lm_picture_unref(struct lm_picture *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1) return;
    free(p->tiles);
    free(p);
}

int32_t sight_name(const struct lm_picture *p) { return LM_ROW_GIVEN - p->number; }

/* Tokens of the grid; none where it is one tile. */
static size_t grid_tokens(const struct lm_picture *p)
{
    const size_t n = (size_t)(p->cut.rows * p->cut.cols);
    return n > 1 ? n * ((size_t)p->n_rows + 1) : 0; /* a separator behind each tile */
}

size_t lm_picture_n_tokens(const struct lm_picture *p) { return grid_tokens(p) + (size_t)p->n_rows + 3; }

bool sight_place(const struct lm_picture *p, size_t i, int *tile, int *row)
{
    const size_t grid = grid_tokens(p), each = (size_t)p->n_rows + 1;
    if (i == 0) return false;
    if (--i < grid) {
        *tile = (int)(i / each);
        *row = (int)(i % each);
        return *row < p->n_rows;
    }
    i -= grid;
    if (i == 0 || i > (size_t)p->n_rows) return false;
    *tile = picture_cut_tiles(&p->cut) - 1;
    *row = (int)i - 1;
    return true;
}

void lm_picture_tokens(const struct lm_picture *p, int32_t *ids)
{
    const size_t n = lm_picture_n_tokens(p), grid = grid_tokens(p);
    int tile, row;
    for (size_t i = 0; i < n; i++) {
        if (sight_place(p, i, &tile, &row))
            ids[i] = p->token[T_PATCH];
        else if (i == 0)
            ids[i] = p->token[T_START];
        else if (i <= grid)
            ids[i] = p->token[(tile + 1) % p->cut.cols ? T_NEXT : T_LINE];
        else
            ids[i] = p->token[i == grid + 1 ? T_WHOLE : T_END];
    }
}

/* ---- rows ------------------------------------------------------------------------------------------------------------ */

/* The slot with the tile's rows; -1: none. */
static int slot_of(const struct sight *s, const struct lm_picture *p, int tile)
{
    for (int i = 0; i < SLOTS; i++)
        if (s->slot[i].number == p->number && s->slot[i].tile == tile) return i;
    return -1;
}

bool sight_has(const struct sight *s, const struct lm_picture *p, int tile)
{
    return slot_of(s, p, tile) >= 0;
}

const float *sight_rows(struct sight *s, const struct lm_picture *p, int tile, struct err *e)
{
    const size_t bytes = 3 * (size_t)s->rules.tile * (size_t)s->rules.tile;
    const int found = slot_of(s, p, tile);
    struct slot *at = &s->slot[found < 0 ? 0 : found];
    if (found < 0) {
        for (int i = 1; i < SLOTS; i++)
            if (s->slot[i].used < at->used) at = &s->slot[i];
        at->number = 0;
        picture_normalise(s->tile, p->tiles + (size_t)tile * bytes, &p->rules);
        if (!llama4_vision_run(s->tower, s->tile, at->rows, e)) return NULL;
        at->number = p->number;
        at->tile = tile;
    }
    at->used = ++s->looks;
    return at->rows;
}
