#include "service/hub/hub_select.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "format/json_memory.h"
#include "format/json_read.h"
#include "format/name_table.h"
#include "format/shards.h"

#define MAX_FILES 100000
#define MAX_PATH_BYTES 1000

/* ---- the listing ------------------------------------------------------------------------------------------------ */

bool hub_path_is_safe(const char *path)
{
    if (strlen(path) > MAX_PATH_BYTES || strchr(path, '\\')) return false;
    for (const char *p = path;;) {
        size_t n = strcspn(p, "/");
        if (p[0] == '.' || !name_is_printable(p, n)) return false;
        if (!p[n]) return true;
        p += n + 1;
    }
}

bool hub_list_add(struct hub_list *l, const char *path, int64_t size, const char *sha256, struct err *e)
{
    if (l->n == MAX_FILES) return err_set(e, ERR_LIMIT, "the repository lists more than %d files", MAX_FILES);
    if ((l->n & (l->n - 1)) == 0) { /* room is a power of two */
        struct hub_file *v = realloc(l->v, (l->n ? 2 * l->n : 1) * sizeof *v);
        if (!v) return err_set(e, ERR_NOMEM, "no memory for a list of files");
        l->v = v;
    }
    struct hub_file *f = &l->v[l->n];
    *f = (struct hub_file){ .path = strdup(path), .size = size };
    if (!f->path) return err_set(e, ERR_NOMEM, "no memory for a list of files");
    if (strlen(sha256) == 64) memcpy(f->sha256, sha256, 65);
    l->n++;
    return true;
}

static bool parse_entry(struct hub_list *l, json_t *entry, struct err *e)
{
    const char *type = "", *path = "", *sha256 = "";
    json_int_t size = -1;
    json_t *lfs = NULL;
    if (json_unpack(entry, "{s:s, s:s}", "type", &type, "path", &path) != 0) {
        return err_set(e, ERR_FORMAT, "an entry without type and path");
    }
    if (strcmp(type, "file") != 0) return true;
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    if (base[0] == '.') return true; /* .gitattributes and its kin are never wanted */
    if (!hub_path_is_safe(path)) {
        return err_set(e, ERR_FORMAT, "the listing holds a path that is not safe; nothing was fetched");
    }
    json_unpack(entry, "{s?I, s?o}", "size", &size, "lfs", &lfs);
    if (json_is_object(lfs)) json_unpack(lfs, "{s?s, s?I}", "oid", &sha256, "size", &size);
    if (size < 0) return err_set(e, ERR_FORMAT, "%.200s has no size", path);
    return hub_list_add(l, path, size, strspn(sha256, "0123456789abcdefABCDEF") == 64 ? sha256 : "", e);
}

bool hub_list_parse(struct hub_list *l, const char *json, size_t len, struct err *e)
{
    json_error_t je;
    json_t *root = json_memory_load(json, len, 0, &je);
    if (!root && json_read_no_memory(&je, json, len, e)) return false;
    if (!root) return err_set(e, ERR_FORMAT, "the listing is not valid JSON: %s", je.text);
    bool ok = json_is_array(root) || err_set(e, ERR_FORMAT, "the listing is not a JSON array");
    for (size_t i = 0; ok && i < json_array_size(root); i++) ok = parse_entry(l, json_array_get(root, i), e);
    json_decref(root);
    return ok;
}

void hub_list_free(struct hub_list *l)
{
    for (size_t i = 0; i < l->n; i++) free(l->v[i].path);
    free(l->v);
    *l = (struct hub_list){ 0 };
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

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

static int depth_of(const char *path)
{
    int n = 0;
    for (; *path; path++) n += *path == '/';
    return n;
}

/* Parts of one split file, or the same file. */
static bool same_model(const char *a, const char *b)
{
    int parts_a, parts_b;
    size_t n = shards_stem(a, &parts_a);
    return n == shards_stem(b, &parts_b) && parts_a == parts_b && memcmp(a, b, n) == 0;
}

/* Settings and tokenizers: small files that the engines read. */
static bool is_setting(const char *path)
{
    static const char *const tails[] = {
        ".json", ".jinja", ".model", ".tiktoken", "merges.txt", "vocab.txt"
    };
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        if (ends_with(path, tails[i])) return true;
    }
    return strncasecmp(base_of(path), "LICENSE", 7) == 0;
}

static bool is_gguf_model(const char *path)
{
    const char *base = base_of(path);
    return ends_with(base, ".gguf") && strncasecmp(base, "mmproj", 6) != 0 &&
           strncasecmp(base, "imatrix", 7) != 0;
}

static bool has(const struct hub_list *l, const char *path)
{
    for (size_t i = 0; i < l->n; i++) {
        if (strcmp(l->v[i].path, path) == 0) return true;
    }
    return false;
}

/* ---- choosing --------------------------------------------------------------------------------------------------- */

/* "unet/diffusion_pytorch_model.fp16.safetensors" beside the same file without ".fp16". The index of a variant spells
 * it in the same place. */
static bool is_spare_variant(const struct hub_list *l, const char *path)
{
    const char *variant = strstr(base_of(path), ".fp16");
    char plain[MAX_PATH_BYTES + 8];
    if (!variant) variant = strstr(base_of(path), ".non_ema");
    if (!variant) return false;
    const char *rest = variant + 1 + strcspn(variant + 1, ".-");
    snprintf(plain, sizeof plain, "%.*s%s", (int)(variant - path), path, rest);
    if (has(l, plain)) return true;
    /* Sharded: the plain weights may be split otherwise, so any plain safetensors in the folder makes this spare. */
    size_t folder = (size_t)(base_of(path) - path);
    for (size_t i = 0; i < l->n; i++) {
        const char *p = l->v[i].path;
        if (strncmp(p, path, folder) == 0 && !strchr(p + folder, '/') && ends_with(p, ".safetensors") &&
            !strstr(p + folder, ".fp16") && !strstr(p + folder, ".non_ema")) {
            return true;
        }
    }
    return false;
}

/* "unet/...": a folder that the engine reads. Repositories hold others too: older autoencoders, checkers, ONNX twins. */
static bool is_component(const char *path)
{
    static const char *const folders[] = { "transformer/", "unet/",        "vae/",       "text_encoder/",
                                           "tokenizer/",   "tokenizer_2/", "scheduler/", "text_encoder_2/" };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        if (strncmp(path, folders[i], strlen(folders[i])) == 0) return true;
    }
    return false;
}

static void select_pipeline(struct hub_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct hub_file *f = &l->v[i];
        int depth = depth_of(f->path);
        bool weights = ends_with(f->path, ".safetensors");
        f->wanted = depth == 0
                        ? strcmp(f->path, "model_index.json") == 0 || strncasecmp(f->path, "LICENSE", 7) == 0
                        : depth == 1 && is_component(f->path) && (weights || is_setting(f->path)) &&
                              !is_spare_variant(l, f->path);
    }
}

static void select_safetensors(struct hub_list *l)
{
    bool usual =
        false; /* model.safetensors or its shards; then others beside them are the same weights again */
    for (size_t i = 0; i < l->n; i++) {
        usual |= strncmp(l->v[i].path, "model", 5) == 0 && ends_with(l->v[i].path, ".safetensors");
    }
    for (size_t i = 0; i < l->n; i++) {
        struct hub_file *f = &l->v[i];
        bool weights = ends_with(f->path, ".safetensors") && (!usual || strncmp(f->path, "model", 5) == 0) &&
                       !is_spare_variant(l, f->path);
        f->wanted = depth_of(f->path) == 0 && (weights || is_setting(f->path));
    }
}

/* Case-insensitive, with something other than a letter or digit on either side. */
static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = text; *p; p++) {
        if (strncasecmp(p, word, n) != 0) continue;
        bool left = p == text || !isalnum((unsigned char)p[-1]);
        bool right = !isalnum((unsigned char)p[n]) && p[n] != '_';
        if (left && right) return true;
    }
    return false;
}

static void take_model(struct hub_list *l, const char *path)
{
    for (size_t i = 0; i < l->n; i++) {
        l->v[i].wanted = is_gguf_model(l->v[i].path) && same_model(l->v[i].path, path);
    }
}

/* The first model of this quantisation; NULL when there is none. */
static const char *quantised_as(const struct hub_list *l, const char *quant)
{
    for (size_t i = 0; i < l->n; i++) {
        if (is_gguf_model(l->v[i].path) && has_word(l->v[i].path, quant)) return l->v[i].path;
    }
    return NULL;
}

static bool select_gguf(struct hub_list *l)
{
    /* From what most machines run well to what is left. */
    static const char *const order[] = { "Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0",
                                         "IQ4_XS", "IQ4_NL", "Q4_1", "Q3_K_M", "BF16",   "F16",  "FP16" };
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const char *path = quantised_as(l, order[i]);
        if (path) {
            take_model(l, path);
            return true;
        }
    }
    for (size_t i = 0; i < l->n; i++) {
        if (is_gguf_model(l->v[i].path)) {
            take_model(l, l->v[i].path);
            return true;
        }
    }
    return false;
}

/* Parts of one split file together, in order. */
static int by_model(const void *a, const void *b)
{
    const char *x = ((const struct hub_file *)a)->path, *y = ((const struct hub_file *)b)->path;
    int parts_x, parts_y;
    const size_t n = shards_stem(x, &parts_x), m = shards_stem(y, &parts_y);
    const int c = memcmp(x, y, n < m ? n : m);
    if (c || n != m) return c ? c : n < m ? -1 : 1;
    return parts_x != parts_y ? (parts_x < parts_y ? -1 : 1) : strcmp(x, y);
}

/* Of the split files that are wanted, is every part in the listing? What lacks one would be fetched and never load. */
static bool has_all_parts(const struct hub_list *l, struct err *e)
{
    struct hub_file *v = malloc((l->n + 1) * sizeof *v);
    if (!v) return err_set(e, ERR_NOMEM, "no memory for a list of files");
    memcpy(v, l->v, l->n * sizeof *v);
    qsort(v, l->n, sizeof *v, by_model);
    bool ok = true;
    for (size_t i = 0, end; ok && i < l->n; i = end) {
        int parts, there = 0;
        shards_stem(v[i].path, &parts);
        for (end = i; end < l->n && (end == i || same_model(v[end].path, v[i].path)); end++) {
            there += v[end].wanted && (end == i || strcmp(v[end].path, v[end - 1].path) != 0);
        }
        if (there && there < parts)
            ok = err_set(e, ERR_NOT_FOUND,
                         "%.200s: the repository holds %d of its %d parts; nothing was fetched", v[i].path,
                         there, parts);
    }
    free(v);
    return ok;
}

static bool select_named(struct hub_list *l, const char *which, struct err *e)
{
    if (has(l, which)) {
        if (is_gguf_model(which)) {
            take_model(l, which);
            return has_all_parts(l, e);
        }
        for (size_t i = 0; i < l->n; i++) l->v[i].wanted = strcmp(l->v[i].path, which) == 0;
        return true;
    }
    const char *path = quantised_as(l, which);
    if (!path)
        return err_set(e, ERR_NOT_FOUND, "the repository holds no file or quantisation \"%.200s\"", which);
    take_model(l, path);
    return has_all_parts(l, e);
}

bool hub_select(struct hub_list *l, const char *which, struct err *e)
{
    if (which) return select_named(l, which, e);
    bool top = false, pipeline = has(l, "model_index.json");
    for (size_t i = 0; i < l->n; i++) {
        top |= depth_of(l->v[i].path) == 0 && ends_with(l->v[i].path, ".safetensors");
    }
    if (pipeline) {
        select_pipeline(l);
    } else if (top) {
        select_safetensors(l);
    } else if (!select_gguf(l)) {
        return err_set(e, ERR_NOT_FOUND,
                       "the repository holds no .safetensors at its top and no .gguf (PyTorch pickles are "
                       "not read); name "
                       "a file with hf:OWNER/REPO/FILE");
    }
    for (size_t i = 0; i < l->n; i++) {
        if (l->v[i].wanted && (ends_with(l->v[i].path, ".safetensors") || ends_with(l->v[i].path, ".gguf")))
            return has_all_parts(l, e);
    }
    return err_set(e, ERR_NOT_FOUND, "the repository holds no weights as safetensors or GGUF");
}
