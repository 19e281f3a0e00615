/* ollama_models.c - what Ollama's clients ask of models: /api/tags, /api/ps, /api/show, /api/version. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "format/model_summary.h"
#include "http/dialects/ollama.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_out.h"
#include "http/ollama.h"
#include "service/models/registry.h"

/* The oldest of Ollama's versions that has all that is answered here: clients ask for it before they use a field. */
#define AS_VERSION "0.12.6"

/* Some 292 years: what Ollama calls for ever. */
#define FOR_EVER_MS (INT64_C(292) * 365 * 86400 * 1000)

/* What its clients call a model: the last part of its id where no other has the same, else all of it. */
static void put_name(struct buf *b, const struct model_row *rows, int n, const char *id)
{
    const char *last = catalog_last_part(id);
    int same = 0;
    char name[400];
    for (int i = 0; i < n; i++) same += !strcmp(catalog_last_part(rows[i].id), last);
    snprintf(name, sizeof name, "%s:latest", same == 1 ? last : id);
    json_out_cstr(b, name);
}

/* "134.5M", "7.2B" */
static void put_params(struct buf *b, int64_t n)
{
    if (n >= 1000000000)
        buf_printf(b, "\"%.1fB\"", (double)n / 1e9);
    else if (n >= 1000000)
        buf_printf(b, "\"%.2fM\"", (double)n / 1e6);
    else
        buf_printf(b, "\"%.1fK\"", (double)n / 1e3);
}

static bool read_summary(const struct model_row *row, struct model_summary *s)
{
    struct weights *w;
    struct err none = { 0 };
    if (row->image || !weights_open(&w, row->path, &none)) return false;
    model_summary_read(s, w);
    weights_close(w);
    return true;
}

static void put_details(struct buf *b, const struct model_row *row, const struct model_summary *s)
{
    const char *family = s ? s->arch : row->catalog ? row->catalog->family : "";
    buf_printf(b, ",\"details\":{\"parent_model\":\"\",\"format\":\"%s\",\"family\":",
               s && !strcmp(s->format, "GGUF") ? "gguf" : "safetensors");
    json_out_cstr(b, family);
    buf_puts(b, ",\"families\":[");
    json_out_cstr(b, family);
    buf_puts(b, "],\"parameter_size\":");
    put_params(b, s ? s->n_params : row->catalog ? row->catalog->params_total : 0);
    buf_puts(b, ",\"quantization_level\":");
    json_out_cstr(b, s ? s->type : "");
    buf_putc(b, '}');
}

static void put_row(struct exchange *x, struct buf *b, const struct model_row *rows, int n,
                    const struct model_row *row)
{
    struct model_summary s;
    struct model *m;
    struct err none = { 0 };
    char digest[FINGERPRINT] = "";
    buf_puts(b, "{\"name\":");
    put_name(b, rows, n, row->id);
    buf_puts(b, ",\"model\":");
    put_name(b, rows, n, row->id);
    buf_puts(b, ",\"id\":");
    json_out_cstr(b, row->id);
    if (registry_find(exchange_server(x)->registry, row->id, &m, &none) ||
        registry_find_image(exchange_server(x)->registry, row->id, &m, &none))
        registry_fingerprint(exchange_server(x)->registry, m, digest);
    buf_printf(b, ",\"size\":%zu,\"digest\":\"%s\"", row->bytes, digest);
    put_details(b, row, read_summary(row, &s) ? &s : NULL);
}

static bool list(struct exchange *x, struct model_row **rows, int *n)
{
    struct fault f = { 0 };
    if (registry_list(exchange_server(x)->registry, rows, n, &f.err)) return true;
    exchange_fault_from(x, &f);
    return false;
}

static void reply(struct exchange *x, struct buf *b)
{
    exchange_reply(x, 200, "application/json; charset=utf-8", b);
}

/* Text models that can be used: what a chat may be had with. */
void ollama_tags_get(struct exchange *x)
{
    struct buf b = BUF_INIT(0);
    struct model_row *rows;
    int n;
    bool any = false;
    if (!list(x, &rows, &n)) return;
    buf_puts(&b, "{\"models\":[");
    for (int i = 0; i < n; i++) {
        if (rows[i].image || rows[i].problem[0]) continue;
        if (any) buf_putc(&b, ',');
        any = true;
        put_row(x, &b, rows, n, &rows[i]);
        buf_puts(&b, ",\"modified_at\":");
        ollama_print_time(&b, rows[i].installed_unix * 1000);
        buf_putc(&b, '}');
    }
    buf_puts(&b, "]}");
    free(rows);
    reply(x, &b);
}

/* One that stays has, as Ollama has it, a time when nobody reads this any more. */
static void put_until(struct buf *b, int64_t until_unix_ms)
{
    ollama_print_time(b, until_unix_ms ? until_unix_ms : clock_unix_ms() + FOR_EVER_MS);
}

void ollama_ps_get(struct exchange *x)
{
    struct buf b = BUF_INIT(0);
    struct model_row *rows;
    int n;
    bool any = false;
    if (!list(x, &rows, &n)) return;
    buf_puts(&b, "{\"models\":[");
    for (int i = 0; i < n; i++) {
        if (!rows[i].loaded) continue;
        if (any) buf_putc(&b, ',');
        any = true;
        put_row(x, &b, rows, n, &rows[i]);
        buf_puts(&b, ",\"expires_at\":");
        put_until(&b, rows[i].until_unix_ms);
        buf_printf(&b, ",\"stays\":%s,\"size_vram\":0,\"context_length\":%d}",
                   rows[i].until_unix_ms ? "false" : "true", rows[i].n_ctx);
    }
    buf_puts(&b, "]}");
    free(rows);
    reply(x, &b);
}

void ollama_version_get(struct exchange *x)
{
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "{\"version\":\"" AS_VERSION "\"}");
    reply(x, &b);
}

/* ---- one model ----------------------------------------------------------------------------------------------------- */

static void put_info(struct buf *b, const struct model_summary *s)
{
    const struct {
        const char *name;
        int64_t value;
    } rows[] = {
        { "context_length", s->n_ctx_train },    { "embedding_length", s->n_embd },
        { "block_count", s->n_layer },           { "feed_forward_length", s->n_ff },
        { "attention.head_count", s->n_head },   { "attention.head_count_kv", s->n_kv_head },
        { "attention.key_length", s->head_dim }, { "vocab_size", s->n_vocab },
        { "expert_count", s->n_expert },         { "expert_used_count", s->n_expert_used },
    };
    char name[120];
    buf_puts(b, ",\"model_info\":{\"general.architecture\":");
    json_out_cstr(b, s->arch);
    buf_printf(b, ",\"general.parameter_count\":%lld", (long long)s->n_params);
    if (s->name[0]) {
        buf_puts(b, ",\"general.basename\":");
        json_out_cstr(b, s->name);
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!rows[i].value) continue;
        snprintf(name, sizeof name, "%s.%s", s->arch, rows[i].name);
        buf_putc(b, ',');
        json_out_cstr(b, name);
        buf_printf(b, ":%lld", (long long)rows[i].value);
    }
    buf_putc(b, '}');
}

/* What clients offer for a model. Every text model is shown tools, in a system message if need be. */
static void put_capabilities(struct buf *b, const struct model_row *row)
{
    const struct catalog_model *c = row->catalog;
    buf_puts(b, ",\"capabilities\":[");
    if (row->image) {
        buf_puts(b, "\"image\"]");
        return;
    }
    buf_puts(b, "\"completion\"");
    if (!c || c->tools) buf_puts(b, ",\"tools\"");
    if (row->sees) buf_puts(b, ",\"vision\"");
    if (c && c->reasoning != THOUGHTS_NONE) buf_puts(b, ",\"thinking\"");
    buf_putc(b, ']');
}

/* The name that the body asks for, in the field's newer or older name, without ":latest". New; NULL: answered. *body is the caller's. */
static char *ollama_asked(struct exchange *x, json_t **body)
{
    struct fault f = { 0 };
    size_t len;
    const char *bytes = exchange_body(x, &len);
    *body = NULL;
    if (!json_in_parse(bytes, len, &exchange_server(x)->json, body, &f)) {
        exchange_fault_from(x, &f);
        return NULL;
    }
    const char *name = json_string_value(json_object_get(*body, "model"));
    if (!name || !*name) name = json_string_value(json_object_get(*body, "name"));
    char *bare = name && *name ? ollama_bare_name(name) : NULL;
    if (bare) return bare;
    json_decref(*body);
    *body = NULL;
    if (name && *name)
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
    else
        exchange_fault(x, FAULT_INVALID, "model", "model is required");
    return NULL;
}

void ollama_show_post(struct exchange *x)
{
    struct fault f = { .param = "model" };
    struct model *m;
    struct model_row *rows;
    struct model_summary s;
    json_t *body;
    int n, at = 0;
    char *name = ollama_asked(x, &body);
    if (!name) return;
    const bool found =
        ollama_find(x, name, &m, &f.err) ||
        (f.err.code == ERR_REQUEST && registry_find_image(exchange_server(x)->registry, name, &m, &f.err));
    free(name);
    json_decref(body);
    if (!found) {
        exchange_fault_from(x, &f);
        return;
    }
    if (!list(x, &rows, &n)) return;
    while (at < n && strcmp(rows[at].id, model_id(m)) != 0) at++;
    if (at == n) {
        free(rows);
        exchange_fault(x, FAULT_MODEL, "model", "%s is not installed any more", model_id(m));
        return;
    }
    const bool known = read_summary(&rows[at], &s);
    struct buf b = BUF_INIT(0);
    char from[400];
    snprintf(from, sizeof from, "FROM %s\n", catalog_last_part(rows[at].id));
    buf_puts(&b, "{\"modelfile\":");
    json_out_cstr(&b, from);
    buf_puts(&b, ",\"parameters\":\"\",\"template\":\"\",\"license\":\"\"");
    put_details(&b, &rows[at], known ? &s : NULL);
    if (known) put_info(&b, &s);
    if (!known) buf_puts(&b, ",\"model_info\":{}");
    put_capabilities(&b, &rows[at]);
    buf_puts(&b, ",\"modified_at\":");
    ollama_print_time(&b, rows[at].installed_unix * 1000);
    buf_putc(&b, '}');
    free(rows);
    reply(x, &b);
}

/* ---- what is not offered ------------------------------------------------------------------------------------------- */

void ollama_refuse(struct exchange *x)
{
    exchange_fault(
        x, FAULT_UNSUPPORTED, NULL,
        "%s is not supported by this server: models are files of its folder, which `hearth pull` and "
        "`hearth rm` change",
        exchange_path(x));
}
