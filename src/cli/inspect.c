/* inspect.c - `hearth inspect`: what is in a model's files, and the memory that it will take. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "device/device.h"
#include "format/gguf.h"
#include "format/json_memory.h"
#include "format/json_read.h"
#include "format/model_summary.h"
#include "format/name_table.h"
#include "service/models/model_folder.h"

#define LONG_ARRAY 64 /* elements; above, JSON gets type and count only */
#define LONG_TEXT 100 /* bytes of a string on one line for people */

/* ---- text from a file, made fit to print ---------------------------------------------------------------------- */

/* Appends at most `max` bytes of a string that may hold anything: control characters as \xNN, so that a file cannot
 * steer a terminal, and each byte that is no UTF-8 likewise. */
static void append_text(struct buf *b, const char *s, size_t len, size_t max)
{
    size_t shown = len;
    if (len > max) {
        shown = max;
        while (shown > 0 && ((unsigned char)s[shown] & 0xc0) == 0x80) shown--; /* not inside a character */
    }
    bool clean = utf8_is_valid(s, shown);
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '\n') {
            buf_puts(b, "\\n");
        } else if (c == '\t') {
            buf_puts(b, "\\t");
        } else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !clean)) {
            buf_printf(b, "\\x%02x", c);
        } else {
            buf_putc(b, (char)c);
        }
    }
    if (shown < len) buf_printf(b, "... (%zu bytes)", len);
}

/* JSON text is UTF-8; other bytes become \xNN as above, the rest stays as it is. */
static json_t *json_text(const char *s, size_t len)
{
    if (utf8_is_valid(s, len)) return json_stringn(s, len);
    struct buf b = BUF_INIT(0);
    append_text(&b, s, len, len);
    json_t *v = b.failed ? NULL : json_stringn(b.data, b.len);
    buf_free(&b);
    return v;
}

/* "96.6 MB": powers of ten, as disks and downloads are sold. */
static const char *size_text(char *dst, size_t cap, double bytes)
{
    static const char *const units[] = { "bytes", "kB", "MB", "GB", "TB" };
    size_t u = 0;
    while (bytes >= 999.5 && u < 4) {
        bytes /= 1000;
        u++;
    }
    snprintf(dst, cap, u == 0 || bytes >= 99.95 ? "%.0f %s" : "%.1f %s", bytes, units[u]);
    return dst;
}
#define SIZE(bytes) size_text((char[32]){ 0 }, 32, (double)(bytes))

static const char *type_name(const struct gguf_value *v)
{
    static const char *const names[] = {
        [GGUF_U8] = "u8",         [GGUF_I8] = "i8",   [GGUF_U16] = "u16", [GGUF_I16] = "i16",
        [GGUF_U32] = "u32",       [GGUF_I32] = "i32", [GGUF_F32] = "f32", [GGUF_BOOL] = "bool",
        [GGUF_STRING] = "string", [GGUF_U64] = "u64", [GGUF_I64] = "i64", [GGUF_F64] = "f64",
        [GGUF_ARRAY] = "array"
    };
    return names[v->type];
}

/* ---- what is known of one model -------------------------------------------------------------------------------- */

struct report {
    const char *path;
    const struct weights *w;
    struct model_summary sum;
    int64_t n_ctx, kv_bytes;
    bool q8_0;
};

static void read_report(struct report *r, const char *path, const struct weights *w, const struct options *o)
{
    *r = (struct report){ .path = path, .w = w, .q8_0 = o->registry.lm.kv_type == KV_Q8_0 };
    model_summary_read(&r->sum, w);
    r->n_ctx = o->registry.lm.n_ctx;
    if (r->n_ctx == 0) {
        int64_t own = r->sum.n_ctx_train;
        r->n_ctx = own > 0 && own < LM_DEFAULT_CTX ? own : LM_DEFAULT_CTX;
    }
    r->kv_bytes = model_summary_kv_bytes(&r->sum, r->n_ctx, KV_PAGE, r->q8_0);
}

/* ---- JSON: NULL where there was no memory for some of it -------------------------------------------------------- */

static json_t *whole(json_t *v, int bad)
{
    if (!bad) return v;
    json_decref(v);
    return NULL;
}

static json_t *json_element(const struct gguf_value *v, uint64_t i)
{
    switch (v->type) {
    case GGUF_STRING: return json_text(v->s[i].data, v->s[i].len);
    case GGUF_BOOL: return json_boolean(gguf_value_int(v, i, 0));
    case GGUF_F32:
    case GGUF_F64: {
        json_t *real =
            json_real(gguf_value_float(v, i, 0)); /* NULL for what JSON cannot say: NaN and infinities */
        return real ? real : json_null();
    }
    default: return json_integer(gguf_value_int(v, i, INT64_MAX));
    }
}

static json_t *json_value(const struct gguf_value *v)
{
    if (!v->is_array) return json_element(v, 0);
    if (v->n > LONG_ARRAY) return json_pack("{s:s, s:I}", "type", type_name(v), "count", (json_int_t)v->n);
    json_t *list = json_array();
    int bad = !list;
    for (uint64_t i = 0; i < v->n; i++) bad |= json_array_append_new(list, json_element(v, i));
    return whole(list, bad);
}

static json_t *json_metadata(const struct weights *w)
{
    const struct gguf *g = weights_gguf(w);
    json_t *all = json_object();
    int bad = !all;
    for (size_t i = 0; i < weights_note_count(w); i++) {
        const char *key, *value;
        weights_note_at(w, i, &key, &value);
        bad |= json_object_set_new(all, key, json_string(value));
    }
    if (!g && weights_config(w)) bad |= json_object_set(all, "config.json", (json_t *)weights_config(w));
    for (size_t i = 0; g && i < gguf_count(g); i++) {
        const struct gguf_value *v = gguf_at(g, i);
        char key[256];
        snprintf(key, sizeof key, "%.*s", (int)v->key.len, v->key.data);
        bad |= json_object_set_new(all, key, json_value(v));
    }
    return whole(all, bad);
}

static json_t *json_tensors(const struct weights *w)
{
    json_t *list = json_array();
    int bad = !list;
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct tensor *t = weights_at(w, i);
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dims; d++) bad |= json_array_append_new(shape, json_integer(t->dim[d]));
        bad |= json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "type",
                                                     dtype_info(t->type)->name, "shape", shape, "bytes",
                                                     (json_int_t)t->bytes));
    }
    return whole(list, bad);
}

static json_t *json_sizes(const struct model_summary *s)
{
    const struct {
        const char *name;
        int64_t value;
    } all[] = {
        { "n_layer", s->n_layer },   { "n_embd", s->n_embd },
        { "n_head", s->n_head },     { "n_kv_head", s->n_kv_head },
        { "head_dim", s->head_dim }, { "n_ff", s->n_ff },
        { "n_vocab", s->n_vocab },   { "n_ctx", s->n_ctx_train },
        { "n_expert", s->n_expert }, { "n_expert_used", s->n_expert_used },
    };
    json_t *sizes = json_object();
    int bad = !sizes;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].value) bad |= json_object_set_new(sizes, all[i].name, json_integer(all[i].value));
    }
    return whole(sizes, bad);
}

static json_t *json_report(const struct report *r)
{
    const struct model_summary *s = &r->sum;
    json_t *types = json_object();
    int bad = !types;
    for (int t = 0; t < DT_COUNT; t++) {
        if (!s->type_count[t]) continue;
        bad |= json_object_set_new(types, dtype_info((enum dtype)t)->name,
                                   json_pack("{s:I, s:I}", "tensors", (json_int_t)s->type_count[t], "bytes",
                                             (json_int_t)s->type_bytes[t]));
    }
    types = whole(types, bad);
    json_t *memory = json_pack("{s:I, s:I, s:s, s:I, s:I}", "ctx", (json_int_t)r->n_ctx, "weights",
                               (json_int_t)s->weight_bytes, "kv_type", r->q8_0 ? "q8_0" : "f16", "kv",
                               (json_int_t)r->kv_bytes, "total", (json_int_t)s->weight_bytes + r->kv_bytes);
    return json_pack("{s:o, s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o}", "path",
                     json_text(r->path, strlen(r->path)), "format", s->format, "arch", s->arch, "name",
                     s->name, "parameters", (json_int_t)s->n_params, "bytes", (json_int_t)s->weight_bytes,
                     "tensor_count", (json_int_t)weights_count(r->w), "types", types, "sizes", json_sizes(s),
                     "memory", memory, "metadata", json_metadata(r->w), "tensors", json_tensors(r->w));
}

/* ---- for people ------------------------------------------------------------------------------------------------ */

static const char *count_text(char *dst, size_t cap, double n)
{
    static const char *const units[] = { "", " thousand", " million", " billion", " trillion" };
    size_t u = 0;
    while (n >= 999.5 && u < 4) {
        n /= 1000;
        u++;
    }
    snprintf(dst, cap, u == 0 ? "%.0f%s" : "%.4g%s", n, units[u]);
    return dst;
}

static void print_summary(struct buf *b, const struct report *r)
{
    const struct model_summary *s = &r->sum;
    append_text(b, r->path, strlen(r->path), 4096);
    buf_printf(b, "\n  model       %s%s%s, %s\n", s->name[0] ? s->name : "", s->name[0] ? ", " : "",
               s->arch[0] ? s->arch : "unknown family", s->format);
    buf_printf(b, "  parameters  %s\n", count_text((char[32]){ 0 }, 32, (double)s->n_params));
    buf_printf(b, "  tensors     %zu, %s:", weights_count(r->w), SIZE(s->weight_bytes));
    const char *comma = "";
    for (int t = 0; t < DT_COUNT; t++) {
        if (!s->type_count[t]) continue;
        buf_printf(b, "%s %zu %s (%s)", comma, s->type_count[t], dtype_info((enum dtype)t)->name,
                   SIZE(s->type_bytes[t]));
        comma = ",";
    }
    buf_puts(b, "\n");
    if (!s->n_layer) return;
    buf_printf(b, "  layers      %lld, embedding %lld, feed-forward %lld\n", (long long)s->n_layer,
               (long long)s->n_embd, (long long)s->n_ff);
    if (s->kv_lora_rank) {
        buf_printf(b, "  attention   %lld heads, latent keys and values of %lld + %lld\n",
                   (long long)s->n_head, (long long)s->kv_lora_rank, (long long)s->rope_dim);
    } else {
        buf_printf(b, "  attention   %lld heads, %lld of keys and values, %lld wide\n", (long long)s->n_head,
                   (long long)s->n_kv_head, (long long)s->head_dim);
    }
    if (s->n_expert) {
        buf_printf(b, "  experts     %lld, %lld used for a token\n", (long long)s->n_expert,
                   (long long)s->n_expert_used);
    }
    buf_printf(b, "  vocabulary  %lld\n  context     %lld tokens\n", (long long)s->n_vocab,
               (long long)s->n_ctx_train);
    if (r->kv_bytes) {
        buf_printf(b, "  memory      %s weights + %s keys and values (%s) at %lld tokens = %s\n",
                   SIZE(s->weight_bytes), SIZE(r->kv_bytes), r->q8_0 ? "q8_0" : "f16", (long long)r->n_ctx,
                   SIZE((double)s->weight_bytes + (double)r->kv_bytes));
    }
}

static void print_value(struct buf *b, const struct gguf_value *v)
{
    uint64_t shown = v->n < 8 ? v->n : 8;
    if (v->is_array) buf_printf(b, "%s[%llu] ", type_name(v), (unsigned long long)v->n);
    for (uint64_t i = 0; i < shown; i++) {
        if (i) buf_puts(b, ", ");
        switch (v->type) {
        case GGUF_STRING:
            buf_putc(b, '"');
            append_text(b, v->s[i].data, v->s[i].len, v->is_array ? 24 : LONG_TEXT);
            buf_putc(b, '"');
            break;
        case GGUF_F32:
        case GGUF_F64: buf_printf(b, "%.7g", gguf_value_float(v, i, 0)); break;
        case GGUF_BOOL: buf_puts(b, gguf_value_int(v, i, 0) ? "true" : "false"); break;
        default: buf_printf(b, "%lld", (long long)gguf_value_int(v, i, INT64_MAX));
        }
    }
    if (shown < v->n) buf_puts(b, ", ...");
    buf_putc(b, '\n');
}

static void print_metadata(struct buf *b, const struct weights *w)
{
    const struct gguf *g = weights_gguf(w);
    for (size_t i = 0; g && i < gguf_count(g); i++) {
        const struct gguf_value *v = gguf_at(g, i);
        buf_printf(b, "%s  %.*s = ", i ? "" : "\nmetadata\n", (int)v->key.len, v->key.data);
        print_value(b, v);
    }
    for (size_t i = 0; i < weights_note_count(w); i++) {
        const char *key, *value;
        weights_note_at(w, i, &key, &value);
        buf_printf(b, "%s  ", i ? "" : "\nmetadata\n");
        append_text(b, key, strlen(key), LONG_TEXT);
        buf_puts(b, " = \"");
        append_text(b, value, strlen(value), LONG_TEXT);
        buf_puts(b, "\"\n");
    }
    if (g || !weights_config(w)) return;
    buf_puts(b, "\nconfig.json\n");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)weights_config(w), key, value)
    {
        char *text = json_memory_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        buf_puts(b, "  ");
        append_text(b, key, strlen(key), LONG_TEXT);
        buf_puts(b, " = ");
        if (text)
            append_text(b, text, strlen(text), LONG_TEXT);
        else
            b->failed = true;
        buf_putc(b, '\n');
        free(text);
    }
}

static void print_tensors(struct buf *b, const struct weights *w)
{
    size_t width = 0;
    for (size_t i = 0; i < weights_count(w); i++) {
        size_t n = strlen(weights_at(w, i)->name);
        if (n > width) width = n;
    }
    if (width > 72) width = 72;
    buf_puts(b, "\ntensors\n");
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct tensor *t = weights_at(w, i);
        buf_printf(b, "  %-*s  %-7s  %10s  [", (int)width, t->name, dtype_info(t->type)->name,
                   SIZE(t->bytes));
        for (int d = 0; d < t->n_dims; d++) buf_printf(b, "%s%lld", d ? ", " : "", (long long)t->dim[d]);
        buf_puts(b, "]\n");
    }
}

/* ---- one path, or the parts of an image pipeline ---------------------------------------------------------------- */

/* Adds the report of `path` to the text or to the list. */
static bool inspect_one(const char *path, const struct options *o, bool brief, struct buf *text, json_t *list,
                        struct err *e)
{
    struct weights *w;
    if (!weights_open(&w, path, e)) return false;
    struct report r;
    read_report(&r, path, w, o);
    bool ok = true;
    if (o->json) {
        ok = !json_array_append_new(list, json_report(&r));
    } else {
        print_summary(text, &r);
        if (!brief) {
            print_metadata(text, w);
            print_tensors(text, w);
        }
    }
    weights_close(w);
    ok = ok && !text->failed;
    return ok || err_set(e, ERR_NOMEM, "%s: out of memory", path);
}

/* The folder's model_index.json; NULL when there is none or it is none. False: the system did not let us read it. */
static bool pipeline_of(const char *path, json_t **index, struct err *e)
{
    char *name;
    struct err why = { 0 };
    *index = NULL;
    if (asprintf(&name, "%s/model_index.json", path) < 0) return err_set(e, ERR_NOMEM, "out of memory");
    if (access(name, F_OK) == 0) (void)json_read_file(index, name, &why);
    free(name);
    bool read = why.code != ERR_NOMEM && why.code != ERR_IO;
    return read || err_set(e, why.code, "%s", why.msg);
}

/* Each part that has weights of its own; schedulers and tokenizers have none. */
static bool inspect_pipeline(const char *path, const json_t *index, const struct options *o, struct buf *text,
                             json_t *list, struct err *e)
{
    const char *part;
    json_t *value;
    bool any = false;
    json_object_foreach((json_t *)index, part, value)
    {
        if (!json_is_array(value) || part[0] == '.' || strchr(part, '/')) continue;
        char *dir;
        if (asprintf(&dir, "%s/%s", path, part) < 0) return err_set(e, ERR_NOMEM, "no memory for a path");
        struct err why = { 0 };
        bool ok = access(dir, F_OK) != 0 || inspect_one(dir, o, true, text, list, &why);
        if (!ok && why.code == ERR_NOT_FOUND) {
            ok = true;
        } else if (ok) {
            any = true;
        }
        free(dir);
        if (!ok) return err_set(e, why.code, "%s", why.msg);
    }
    return any || err_set(e, ERR_NOT_FOUND, "%s: model_index.json names no folder that holds weights", path);
}

/* The path of an installed model of this name; NULL when there is none. Owned by the caller. */
static char *installed_as(const char *name, const char *models_dir)
{
    struct installed_list l = { 0 };
    char *path = NULL;
    if (!model_folder_scan(models_dir, &l, NULL)) return NULL;
    for (int i = 0; i < l.n && !path; i++) {
        if (strcmp(l.v[i].name, name) == 0) path = strdup(l.v[i].path);
    }
    installed_list_free(&l);
    return path;
}

int cmd_inspect(int argc, char **argv)
{
    struct options o;
    int rc = options_parse(&o, CMD_INSPECT, argc, argv);
    if (rc >= 0) goto done;
    if (o.args.n != 1) {
        fprintf(stderr, "hearth inspect: expected one model, got %d; see hearth inspect --help\n", o.args.n);
        rc = 2;
        goto done;
    }
    char *installed =
        access(o.args.v[0], F_OK) == 0 ? NULL : installed_as(o.args.v[0], o.registry.models_dir);
    const char *path = installed ? installed : o.args.v[0];
    struct err e = { 0 };
    struct buf text = BUF_INIT(0);
    json_t *list = json_array(), *pipeline;
    bool ok =
        pipeline_of(path, &pipeline, &e) && (pipeline ? inspect_pipeline(path, pipeline, &o, &text, list, &e)
                                                      : inspect_one(path, &o, false, &text, list, &e));
    if (ok && o.json) {
        json_t *out = pipeline ? json_pack("{s:O, s:O}", "pipeline", pipeline, "parts", list)
                               : json_incref(json_array_get(list, 0));
        ok = out && json_dumpf(out, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER) == 0;
        if (ok) putchar('\n');
        json_decref(out);
    } else if (ok) {
        ok = fwrite(text.data, 1, text.len, stdout) == text.len;
    }
    if (fflush(stdout) != 0) ok = false;
    if (!ok) fprintf(stderr, "hearth inspect: %s\n", e.code ? e.msg : "cannot write the output");
    rc = ok ? 0 : 1;
    json_decref(list);
    json_decref(pipeline);
    buf_free(&text);
    free(installed);
done:
    options_free(&o);
    return rc;
}
