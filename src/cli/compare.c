/* compare.c - `hearth compare`: one prompt, several models or styles of a running server (POST /v1/comparisons), as a table; texts below it, pictures
 * on a page that needs nothing else. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/fetch.h"
#include "cli/options.h"
#include "format/json_memory.h"

enum { MOST = 512 << 20 };

/* ---- the question -------------------------------------------------------------------------------------------------- */

static bool add(json_t *to, const char *name, json_t *v, struct err *e)
{
    return !json_object_set_new(to, name, v) ||
           err_set(e, ERR_REQUEST, "%.60s is not valid UTF-8, or there is no memory", name);
}

static bool add_to_list(json_t *question, const char *name, const char *value, struct err *e)
{
    json_t *list = json_object_get(question, name);
    if (!list) {
        list = json_array();
        if (!add(question, name, list, e)) return false;
    }
    return !json_array_append_new(list, json_string(value)) ||
           err_set(e, ERR_REQUEST, "a name is not valid UTF-8, or there is no memory");
}

/* NAME=VALUE: a model, a style, or a parameter of all candidates, as JSON where it is some. */
static bool add_word(json_t *question, const char *word, size_t name, struct err *e)
{
    char key[80];
    const char *value = word + name + 1;
    snprintf(key, sizeof key, "%.*s", (int)name, word);
    if (!strcmp(key, "model")) return add_to_list(question, "models", value, e);
    if (!strcmp(key, "style")) return add_to_list(question, "styles", value, e);
    json_t *v = json_memory_load(value, strlen(value), JSON_DECODE_ANY, NULL);
    return add(json_object_get(question, "parameters"), key, v ? v : json_string(value), e);
}

static json_t *question_of(const struct options *o, struct err *e)
{
    json_t *q = json_object();
    const char *prompt = NULL;
    bool ok = (q || err_set(e, ERR_NOMEM, "out of memory")) && add(q, "parameters", json_object(), e);
    for (int i = 0; ok && i < o->args.n; i++) {
        const char *s = o->args.v[i];
        const size_t name = strspn(s, "abcdefghijklmnopqrstuvwxyz_");
        if (name && name < 70 && s[name] == '=')
            ok = add_word(q, s, name, e);
        else if (!prompt)
            prompt = s;
        else
            ok = err_set(e, ERR_REQUEST, "\"%.60s\": one prompt is compared; put it in quotes", s);
    }
    if (ok && !prompt) ok = err_set(e, ERR_REQUEST, "a prompt is missing; see hearth help compare");
    if (ok && !json_object_get(q, "models")) ok = err_set(e, ERR_REQUEST, "model=NAME is missing");
    ok = ok && add(q, "prompt", json_string(prompt), e);
    if (ok) return q;
    json_decref(q);
    return NULL;
}

/* ---- the answer ---------------------------------------------------------------------------------------------------- */

static const char *text(const json_t *row, const char *name)
{
    const char *s = json_string_value(json_object_get(row, name));
    return s ? s : "";
}

static void print_number(const json_t *row, const char *name, int width, const char *form)
{
    const json_t *v = json_object_get(row, name);
    char s[40] = "-";
    if (json_is_number(v)) snprintf(s, sizeof s, form, json_number_value(v));
    printf("  %*s", width, s);
}

static const char *problem(const json_t *candidate)
{
    const json_t *error = json_object_get(candidate, "error");
    return json_is_string(error) ? json_string_value(error) : text(error, "message");
}

static void print_table(const json_t *root, const json_t *all)
{
    size_t i;
    json_t *c;
    printf("%-40s  %8s  %8s  %8s  %12s\n", "NAME", "SECONDS", "TOKENS", "TOKENS/S", "COST");
    json_array_foreach(all, i, c)
    {
        printf("%-40s", text(c, "name"));
        print_number(c, "seconds", 8, "%.2f");
        print_number(json_object_get(c, "usage"), "completion_tokens", 8, "%.0f");
        print_number(c, "tokens_per_second", 8, "%.1f");
        print_number(c, "cost", 12, "$%.9g");
        printf("%s%s\n", *problem(c) ? "  " : "", problem(c));
    }
    if (*text(root, "fastest")) printf("fastest   %s\n", text(root, "fastest"));
    if (*text(root, "cheapest")) printf("cheapest  %s\n", text(root, "cheapest"));
    json_array_foreach(all, i, c)
    {
        if (*text(c, "text")) printf("\n== %s\n%s\n", text(c, "name"), text(c, "text"));
    }
}

static void put_escaped(FILE *f, const char *s)
{
    for (; *s; s++) {
        const char *as = *s == '<'   ? "&lt;"
                         : *s == '>' ? "&gt;"
                         : *s == '&' ? "&amp;"
                         : *s == '"' ? "&quot;"
                                     : NULL;
        if (as)
            fputs(as, f);
        else
            putc(*s, f);
    }
}

/* Base64 and nothing else may stand in the page's addresses. */
static bool is_base64(const char *s)
{
    return *s && !s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")];
}

static void put_candidate(FILE *f, const json_t *c)
{
    size_t i;
    json_t *image;
    fputs("<figure>", f);
    json_array_foreach(json_object_get(c, "images"), i, image)
    {
        /* Its first bytes tell a browser what it is. */
        if (is_base64(text(image, "b64_json")))
            fprintf(f, "<img alt=\"\" src=\"data:image/png;base64,%s\">", text(image, "b64_json"));
    }
    fputs("<figcaption>", f);
    put_escaped(f, text(c, "name"));
    if (json_is_number(json_object_get(c, "seconds")))
        fprintf(f, "<br>%.2f s", json_number_value(json_object_get(c, "seconds")));
    if (json_is_number(json_object_get(c, "cost")))
        fprintf(f, ", $%.9g", json_number_value(json_object_get(c, "cost")));
    fputs("<br>", f);
    put_escaped(f, problem(c));
    fputs("</figcaption></figure>\n", f);
}

/* What is there already is not written over: without a name of its own a page gets the first that is free. */
static FILE *open_page(const char *wanted, char *path, size_t size)
{
    FILE *f = NULL;
    snprintf(path, size, "%s", *wanted ? wanted : "picture.html");
    for (int i = 2; !(f = fopen(path, "wx")) && errno == EEXIST && !*wanted && i < 10000; i++)
        snprintf(path, size, "picture-%d.html", i);
    return f;
}

static bool write_page(const char *wanted, const char *prompt, const json_t *all, struct err *e)
{
    size_t i;
    json_t *c;
    char path[4096];
    FILE *f = open_page(wanted, path, sizeof path);
    if (!f) return err_set(e, ERR_IO, "%.200s: %s", path, strerror(errno));
    fputs("<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" "
          "content=\"default-src 'none'; img-src data:; "
          "style-src 'unsafe-inline'\">\n<title>hearth compare</title>\n<style>body { font: 1rem sans-serif; "
          "margin: 2rem } main { display: flex; "
          "flex-wrap: wrap; gap: 1rem } figure { margin: 0; max-width: 24rem } img { width: 100% "
          "}</style>\n<h1>",
          f);
    put_escaped(f, prompt);
    fputs("</h1>\n<main>\n", f);
    json_array_foreach(all, i, c) put_candidate(f, c);
    fputs("</main>\n", f);
    const bool failed = ferror(f);
    if (fclose(f) || failed) return err_set(e, ERR_IO, "%s could not be written", path);
    printf("%s\n", path);
    return true;
}

static bool show(const struct options *o, const json_t *question, const json_t *root, struct err *e)
{
    const json_t *all = json_object_get(root, "candidates");
    if (o->json) return json_dumpf(root, stdout, JSON_INDENT(1)) == 0 && putchar('\n') == '\n';
    print_table(root, all);
    return strcmp(text(root, "kind"), "image") != 0 ||
           write_page(o->output, text(question, "prompt"), all, e);
}

static int run(const struct options *o)
{
    struct err e = { ERR_NONE, "" };
    struct buf body = BUF_INIT(MOST);
    json_t *question = NULL, *root = NULL;
    if (*o->output && access(o->output, F_OK) == 0) /* known before anything is drawn for it */
        err_set(&e, ERR_REQUEST, "%.200s is there already; --output names another page", o->output);
    else
        question = question_of(o, &e);
    char *json = question ? json_dumps(question, JSON_COMPACT) : NULL;
    bool ok = question && (json || err_set(&e, ERR_NOMEM, "out of memory"));
    ok = ok && fetch_post(*o->url ? o->url : FETCH_USUAL_URL, o->key, "/v1/comparisons", json, &body, &e);
    if (ok) {
        root = json_memory_load(body.data ? body.data : "", body.len, 0, NULL);
        ok = json_is_object(root) || err_set(&e, ERR_FORMAT, "the server's answer is no JSON");
    }
    ok = ok && show(o, question, root, &e);
    if (!ok) fprintf(stderr, "hearth compare: %s\n", e.msg);
    json_decref(root);
    json_decref(question);
    free(json);
    buf_free(&body);
    return ok ? 0 : e.code == ERR_REQUEST ? 2 : 1;
}

int cmd_compare(int argc, char **argv)
{
    struct options o;
    int rc = options_parse(&o, CMD_COMPARE, argc, argv);
    if (rc < 0) rc = run(&o);
    options_free(&o);
    return rc;
}
