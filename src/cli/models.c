/* models.c - `hearth models`: what is installed, what the catalog knows besides, or what a server offers. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/machine.h"
#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/options.h"
#include "format/json_memory.h"
#include "format/model_summary.h"
#include "lm/lm.h"
#include "service/models/catalog.h"
#include "service/models/model_folder.h"

#define MAX_ANSWER (16u << 20)

/* ---- one installed model ---------------------------------------------------------------------------------------- */

/* What the files say; of an image pipeline its denoiser's. false: they cannot be opened, and *e says why. */
static bool summary_of(const struct installed *m, struct model_summary *s, struct err *e)
{
    static const char *const parts[] = { "transformer", "unet" };
    struct weights *w = NULL;
    bool ok = weights_open(&w, m->path, e);
    for (size_t i = 0; !ok && m->image && i < sizeof parts / sizeof *parts; i++) {
        char *path;
        if (asprintf(&path, "%s/%s", m->path, parts[i]) < 0)
            return err_set(e, ERR_NOMEM, "no memory for a path");
        struct err why = { 0 };
        ok = weights_open(&w, path, &why);
        if (!ok && why.code != ERR_NOT_FOUND) *e = why;
        free(path);
    }
    if (!ok) return false;
    model_summary_read(s, w);
    weights_close(w);
    return true;
}

/* As the server would say it, which refuses what its memory cannot hold. */
static bool can_run(const struct installed *m, struct err *e)
{
    const size_t most = machine_memory();
    bool sees;
    if (!model_folder_check(m, &sees, e)) return false;
    if (m->image || m->bytes <= most) return true; /* a picture's weights can stay in the file */
    return err_set(e, ERR_LIMIT, "its weights need %.1f GB of memory, this machine has %.1f GB",
                   (double)m->bytes / 1e9, (double)most / 1e9);
}

/* {id, installed, kind, arch, type, bytes, path | source}; `c` or `m` may be NULL, not both. NULL: no memory for it. */
static json_t *row_of(const struct catalog_model *c, const struct installed *m)
{
    char local[512] = "";
    if (m) snprintf(local, sizeof local, "accounts/local/models/%s", m->name);
    bool image = c ? c->kind == MODEL_IMAGE : m && m->image;
    json_t *row = json_pack("{s:s, s:b, s:s}", "id", c ? c->id : local, "installed", m != NULL, "kind",
                            image ? "image" : "text");
    int bad = !row;
    if (c && *c->name) bad |= json_object_set_new(row, "name", json_string(c->name));
    if (c && *c->source) bad |= json_object_set_new(row, "source", json_string(c->source));
    if (!m && c) {
        bad |= json_object_set_new(row, "arch", json_string(c->arch));
        bad |= json_object_set_new(row, "parameters", json_integer(c->params_total));
        if (!image && !lm_supports(c->arch))
            bad |=
                json_object_set_new(row, "problem", json_sprintf("there is no engine for %s yet", c->arch));
    }
    if (m) {
        struct model_summary s;
        struct err e = { 0 };
        bad |= json_object_set_new(row, "path", json_string(m->path));
        bad |= json_object_set_new(row, "bytes", json_integer((json_int_t)m->bytes));
        if (summary_of(m, &s, &e)) {
            bad |= json_object_set_new(row, "arch", json_string(s.arch));
            bad |= json_object_set_new(row, "type", json_string(s.type));
            bad |= json_object_set_new(row, "parameters", json_integer(s.n_params));
        }
        /* What could be checked but not be read a moment before was out of memory or of open files. */
        if (!can_run(m, &e) || e.code == ERR_NOMEM || e.code == ERR_IO)
            bad |= json_object_set_new(row, "problem", json_string(e.msg));
    }
    if (!bad) return row;
    json_decref(row);
    return NULL;
}

/* Installed models first, each under every catalog id that it serves; then what the catalog knows besides. NULL: no memory. */
static json_t *list_local(const struct catalog *cat, const struct installed_list *have)
{
    json_t *rows = json_array();
    int bad = !rows;
    for (int i = 0; !bad && i < have->n; i++) {
        bool known = false;
        for (int k = 0; k < catalog_count(cat); k++) {
            if (!installed_is(&have->v[i], catalog_at(cat, k))) continue;
            bad |= json_array_append_new(rows, row_of(catalog_at(cat, k), &have->v[i]));
            known = true;
        }
        if (!known) bad |= json_array_append_new(rows, row_of(NULL, &have->v[i]));
    }
    for (int k = 0; !bad && k < catalog_count(cat); k++) {
        bool there = false;
        for (int i = 0; i < have->n; i++) there |= installed_is(&have->v[i], catalog_at(cat, k));
        if (!there) bad |= json_array_append_new(rows, row_of(catalog_at(cat, k), NULL));
    }
    if (!bad) return rows;
    json_decref(rows);
    return NULL;
}

/* ---- for people ------------------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));
    return s ? s : "";
}

static void print_local(const json_t *rows, const char *models_dir)
{
    size_t i;
    json_t *row;
    bool any = false, heading = false;
    json_array_foreach(rows, i, row)
    {
        if (!json_is_true(json_object_get(row, "installed"))) continue;
        any = true;
        double mb = (double)json_integer_value(json_object_get(row, "bytes")) / 1e6;
        printf("%-56s  %-5s  %-12s  %-7s  %8.1f %s  %s\n", text_of(row, "id"), text_of(row, "kind"),
               text_of(row, "arch"), text_of(row, "type"), mb >= 1000 ? mb / 1000 : mb,
               mb >= 1000 ? "GB" : "MB", text_of(row, "path"));
        if (*text_of(row, "problem")) printf("    cannot be used: %s\n", text_of(row, "problem"));
    }
    if (!any) printf("no model is installed in %s\n", models_dir);
    json_array_foreach(rows, i, row)
    {
        if (json_is_true(json_object_get(row, "installed"))) continue;
        if (!heading) printf("\nknown, not installed\n");
        heading = true;
        double params = (double)json_integer_value(json_object_get(row, "parameters")) / 1e9;
        printf("%-56s  %-5s  %-12s  %6.1f B", text_of(row, "id"), text_of(row, "kind"), text_of(row, "arch"),
               params);
        if (*text_of(row, "problem"))
            printf("  %s", text_of(row, "problem"));
        else if (*text_of(row, "source"))
            printf("  hearth pull %s", text_of(row, "source"));
        putchar('\n');
    }
}

/* ---- a server's models ------------------------------------------------------------------------------------------ */

/* GET URL/v1/models; the "data" of the answer, owned by the caller. */
static json_t *list_server(const struct options *o, struct err *e)
{
    struct buf body = BUF_INIT(MAX_ANSWER);
    if (!fetch_get(o->url, o->key, "/v1/models", &body, e)) return NULL;
    json_t *root = json_memory_load(body.data ? body.data : "", body.len, 0, NULL),
           *data = json_object_get(root, "data");
    if (json_is_array(data)) {
        json_incref(data);
    } else {
        err_set(e, ERR_FORMAT, "%.200s: the answer is no list of models", o->url);
        data = NULL;
    }
    json_decref(root);
    buf_free(&body);
    return data;
}

static void print_server(const json_t *rows)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) printf("%s\n", text_of(row, "id"));
}

/* ---- the command ------------------------------------------------------------------------------------------------ */

int cmd_models(int argc, char **argv)
{
    struct options o;
    struct err e = { 0 };
    struct catalog *cat = NULL;
    struct installed_list have = { 0 };
    json_t *rows = NULL;
    int rc = options_parse(&o, CMD_MODELS, argc, argv);
    if (rc >= 0) goto done;
    if (o.args.n != 0) {
        fprintf(stderr, "hearth models: expected no arguments, got %d; see hearth models --help\n", o.args.n);
        rc = 2;
        goto done;
    }
    if (*o.url) {
        rows = list_server(&o, &e);
    } else if (catalog_load(&cat, o.catalog, &e) && model_folder_scan(o.registry.models_dir, &have, &e)) {
        rows = list_local(cat, &have);
        if (!rows) err_set(&e, ERR_NOMEM, "out of memory");
    }
    bool ok = rows != NULL;
    if (ok && o.json) {
        json_t *out = json_pack("{s:O}", "models", rows);
        ok = out || err_set(&e, ERR_NOMEM, "out of memory");
        ok = ok && json_dumpf(out, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER) == 0;
        putchar('\n');
        json_decref(out);
    } else if (ok && *o.url) {
        print_server(rows);
    } else if (ok) {
        print_local(rows, o.registry.models_dir);
    }
    if (fflush(stdout) != 0) ok = false;
    if (!ok) fprintf(stderr, "hearth models: %s\n", e.code ? e.msg : "cannot write the output");
    rc = ok ? 0 : 1;
done:
    json_decref(rows);
    installed_list_free(&have);
    catalog_free(cat);
    options_free(&o);
    return rc;
}
