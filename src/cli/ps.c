/* ps.c - `hearth ps`: what a running server has in memory, and until when: from its metrics and from GET /api/ps. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/options.h"
#include "format/json_memory.h"

enum { MAX_METRICS = 16 << 20 };

/* {model: {running, waiting, bytes}} of the text format's lines NAME{model="ID"} VALUE. */
static json_t *read_metrics(char *text)
{
    static const struct {
        const char *name, *key;
    } wanted[] = { { "hearth_running", "running" },
                   { "hearth_queue", "waiting" },
                   { "hearth_model_resident_bytes", "bytes" } };
    json_t *all = json_object();
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        const char *id = strstr(line, "{model=\""), *end = id ? strstr(id, "\"} ") : NULL;
        if (!end) continue;
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
            if (strlen(wanted[i].name) != (size_t)(id - line) ||
                strncmp(line, wanted[i].name, (size_t)(id - line)) != 0)
                continue;
            char model[600];
            snprintf(model, sizeof model, "%.*s", (int)(end - id - 8), id + 8);
            json_t *row = json_object_get(all, model);
            if (!row) json_object_set_new(all, model, row = json_object());
            json_object_set_new(row, wanted[i].key, json_integer((json_int_t)strtod(end + 3, NULL)));
        }
    }
    return all;
}

/* Of each model "until": when it goes if nobody uses it, null where it stays; of picture models, which count no sequences, a row. */
static bool read_times(json_t *all, const struct buf *body, struct err *e)
{
    size_t i;
    const json_t *m;
    json_t *root = json_memory_load(body->data ? body->data : "", body->len, 0, NULL);
    const json_t *models = json_object_get(root, "models");
    json_array_foreach(models, i, m)
    {
        const char *id = json_string_value(json_object_get(m, "id"));
        json_t *row = id ? json_object_get(all, id) : NULL;
        if (id && !row) json_object_set_new(all, id, row = json_object());
        if (!json_object_get(row, "bytes")) json_object_set(row, "bytes", json_object_get(m, "size"));
        json_object_set(row, "until",
                        json_is_true(json_object_get(m, "stays")) ? json_null()
                                                                  : json_object_get(m, "expires_at"));
    }
    const bool ok = json_is_array(models) || err_set(e, ERR_FORMAT, "the server's GET /api/ps is no list");
    json_decref(root);
    return ok;
}

static void print_rows(json_t *all)
{
    const char *model;
    json_t *row;
    printf("%-56s  %9s  %7s  %7s  %s\n", "MODEL", "MEMORY", "RUNNING", "WAITING", "UNTIL");
    json_object_foreach(all, model, row)
    {
        const char *until = json_string_value(json_object_get(row, "until"));
        printf("%-56s  %6.2f GB  %7lld  %7lld  %.19s\n", model,
               (double)json_integer_value(json_object_get(row, "bytes")) / 1e9,
               (long long)json_integer_value(json_object_get(row, "running")),
               (long long)json_integer_value(json_object_get(row, "waiting")), until ? until : "it stays");
    }
}

int cmd_ps(int argc, char **argv)
{
    struct options o;
    struct err e = { 0 };
    int rc = options_parse(&o, CMD_PS, argc, argv);
    if (rc < 0 && o.args.n) {
        fprintf(stderr, "hearth ps: expected no arguments, got %d; see hearth help ps\n", o.args.n);
        rc = 2;
    }
    if (rc < 0) {
        struct buf body = BUF_INIT(MAX_METRICS), times = BUF_INIT(MAX_METRICS);
        const char *url = *o.url ? o.url : FETCH_USUAL_URL;
        bool ok = fetch_get(url, o.key, "/metrics", &body, &e) && buf_putc(&body, '\0');
        json_t *all = ok ? read_metrics(body.data) : NULL;
        ok = ok && fetch_get(url, o.key, "/api/ps", &times, &e) && read_times(all, &times, &e);
        if (ok && o.json)
            ok = json_dumpf(all, stdout, JSON_INDENT(1)) == 0 && printf("\n") > 0;
        else if (ok)
            print_rows(all);
        if (!ok) fprintf(stderr, "hearth ps: %s\n", e.msg);
        json_decref(all);
        buf_free(&body);
        buf_free(&times);
        rc = ok ? 0 : 1;
    }
    options_free(&o);
    return rc;
}
