/* migrate.c - `hearth migrate`: what a client's source or logs use of an API, what is served here, and what would change. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/fetch.h"
#include "cli/options.h"
#include "format/json_memory.h"
#include "service/advice/source_reader.h"
#include "service/models/catalog.h"

enum { MOST_FILE = 64 << 20, MOST_LIST = 16 << 20 };

struct migration {
    const struct options *o;
    struct catalog *catalog;
    json_t *served; /* /v1/models of --url; NULL: only the catalog is asked */
    const char *base, *file;
    struct source_found last; /* so that one thing is told once a line */
    int n, n_missing;
    bool failed;
};

/* ---- models -------------------------------------------------------------------------------------------------------- */

static bool is_served(const struct migration *m, const char *name, const struct catalog_model *c)
{
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(m->served, "data"), i, row)
    {
        const char *id = json_string_value(json_object_get(row, "id"));
        if (id && (!strcmp(id, name) || (c && !strcmp(id, c->id)))) return true;
    }
    return false;
}

static enum source_verdict judge_model(const struct migration *m, const char *name, char *instead, size_t cap)
{
    static const char *const pictures[] = { "dall-e-", "gpt-image-", "chatgpt-image-" };
    const struct catalog_model *c = catalog_find(m->catalog, name);
    for (size_t i = 0; i < sizeof pictures / sizeof *pictures; i++)
        if (!strncmp(name, pictures[i], strlen(pictures[i]))) {
            snprintf(instead, cap, "the first picture model that is installed answers by this name");
            return SOURCE_SERVED;
        }
    if (m->served && is_served(m, name, c)) {
        snprintf(instead, cap, "%s", c && strcmp(c->id, name) != 0 ? c->id : "");
        return SOURCE_SERVED;
    }
    if (c) {
        snprintf(instead, cap,
                 m->served ? "not at this server: hearth pull %s" : "in the catalog: hearth pull %s",
                 catalog_last_part(c->id));
        return m->served ? SOURCE_MISSING : SOURCE_SERVED;
    }
    if (!strncmp(name, "whisper-", 8) || !strncmp(name, "tts-", 4)) {
        snprintf(instead, cap, "this server has no speech");
        return SOURCE_MISSING;
    }
    snprintf(instead, cap, "hearth alias %s MODEL gives an installed model this name", name);
    return SOURCE_CHANGES;
}

/* ---- printing ------------------------------------------------------------------------------------------------------ */

static bool print_json(const struct migration *m, const struct source_found *f, const char *text,
                       enum source_verdict v, const char *instead)
{
    json_t *o = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s}", "file", m->file, "line", f->line, "kind",
                          source_kind_name(f->kind), "text", text, "verdict", source_verdict_name(v),
                          "instead", instead);
    const bool ok = o && !json_dumpf(o, stdout, JSON_COMPACT) && putchar('\n') == '\n';
    json_decref(o);
    return ok;
}

static bool take(void *arg, const struct source_found *f)
{
    struct migration *m = arg;
    char text[300], instead[600] = "";
    if (f->line == m->last.line && f->kind == m->last.kind && f->len == m->last.len &&
        !memcmp(f->text, m->last.text, f->len))
        return true;
    m->last = *f;
    snprintf(text, sizeof text, "%.*s", (int)(f->len < sizeof text ? f->len : sizeof text - 1), f->text);
    const enum source_verdict v = f->kind == SOURCE_MODEL ? judge_model(m, text, instead, sizeof instead)
                                                          : source_judge(f, m->base, instead, sizeof instead);
    if (v == SOURCE_UNKNOWN) return true; /* an address of something else */
    m->n++;
    m->n_missing += v == SOURCE_MISSING;
    if (m->o->json) {
        m->failed |= !print_json(m, f, text, v, instead);
    } else {
        m->failed |= printf("%s:%d: %s %s: %s%s%s\n", m->file, f->line, source_kind_name(f->kind), text,
                            source_verdict_name(v), *instead ? ": " : "", instead) < 0;
    }
    return !m->failed;
}

/* ---- files --------------------------------------------------------------------------------------------------------- */

static bool read_whole(const char *path, struct buf *b, struct err *e)
{
    char block[65536];
    const bool in = !strcmp(path, "-");
    FILE *f = in ? stdin : fopen(path, "rb");
    bool ok = f || err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    for (size_t n; ok && (n = fread(block, 1, sizeof block, f)) > 0;)
        ok = buf_append(b, block, n) ||
             err_set(e, ERR_LIMIT, "%s is larger than %d MB", path, MOST_FILE >> 20);
    if (ok && ferror(f)) ok = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (f && !in) fclose(f);
    return ok;
}

static bool read_served(struct migration *m, struct err *e)
{
    struct buf b = BUF_INIT(MOST_LIST);
    if (!*m->o->url) return true;
    if (!fetch_get(m->o->url, m->o->key, "/v1/models", &b, e)) return false;
    m->served = json_memory_load(b.data ? b.data : "", b.len, 0, NULL);
    buf_free(&b);
    return json_is_array(json_object_get(m->served, "data")) ||
           err_set(e, ERR_FORMAT, "%s: the list of its models is no JSON", m->o->url);
}

static bool migrate(struct migration *m, struct err *e)
{
    bool ok = m->o->args.n || err_set(e, ERR_REQUEST, "say which files to look at; - is standard input");
    ok = ok && catalog_load(&m->catalog, m->o->catalog, e) && read_served(m, e);
    for (int i = 0; ok && i < m->o->args.n; i++) {
        struct buf b = BUF_INIT(MOST_FILE);
        m->file = m->o->args.v[i];
        m->last = (struct source_found){ 0 };
        ok = read_whole(m->file, &b, e);
        if (ok) source_read(b.data ? b.data : "", b.len, take, m);
        m->last = (struct source_found){ 0 };
        buf_free(&b);
        if (m->failed) ok = err_set(e, ERR_IO, "standard output cannot be written");
    }
    if (ok && !m->n && !m->o->json) printf("nothing of an API that this server knows was found\n");
    return ok;
}

int cmd_migrate(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    char base[300];
    int rc = options_parse(&o, CMD_MIGRATE, argc, argv);
    if (rc < 0) {
        size_t n = (size_t)snprintf(base, sizeof base, "%.280s", *o.url ? o.url : FETCH_USUAL_URL);
        while (n && base[n - 1] == '/') base[--n] = 0;
        if (n > 3 && !strcmp(base + n - 3, "/v1")) base[n - 3] = 0;
        struct migration m = { .o = &o, .base = base };
        rc = migrate(&m, &e) ? (m.n_missing ? 3 : 0) : e.code == ERR_REQUEST ? 2 : 1;
        if (e.code != ERR_NONE) fprintf(stderr, "hearth migrate: %s\n", e.msg);
        json_decref(m.served);
        catalog_free(m.catalog);
    }
    options_free(&o);
    return rc;
}
