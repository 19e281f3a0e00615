/* guide.c - see guide.h. */
#include "cli/guide.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "cli/options.h"
#include "format/json_memory.h"

enum { MOST_FILE = 16 << 20 };

static json_t *read_json(const char *path, struct err *e)
{
    struct buf b = BUF_INIT(MOST_FILE);
    char block[65536];
    json_error_t why;
    json_t *v = NULL;
    const bool in = !strcmp(path, "-");
    FILE *f = in ? stdin : fopen(path, "rb");
    bool ok = f || err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    for (size_t n; ok && (n = fread(block, 1, sizeof block, f)) > 0;)
        ok = buf_append(&b, block, n) ||
             err_set(e, ERR_LIMIT, "%s is larger than %d MB", path, MOST_FILE >> 20);
    if (ok && ferror(f)) ok = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (f && !in) fclose(f);
    if (ok) {
        v = json_memory_load(b.data ? b.data : "", b.len, JSON_DECODE_ANY, &why);
        if (!v) err_set(e, ERR_REQUEST, "%s:%d: %s", path, why.line, why.text);
    }
    buf_free(&b);
    return v;
}

/* Takes over v. */
static bool put(json_t *question, const char *name, json_t *v, struct err *e)
{
    return !json_object_set_new(question, name, v) ||
           err_set(e, ERR_REQUEST, "%s is not valid UTF-8, or there is no memory", name);
}

static bool add_word(json_t *question, const char *word, size_t name, struct err *e)
{
    char key[80];
    const char *text = word + name + 1;
    json_t *v = json_memory_load(text, strlen(text), JSON_DECODE_ANY, NULL);
    snprintf(key, sizeof key, "%.*s", (int)name, word);
    return put(question, key, v ? v : json_string(text), e);
}

static bool add_file(json_t *question, const char *path, const char *member, struct err *e)
{
    json_t *v = read_json(path, e);
    if (!v) return false;
    json_t *inside = json_is_object(v) ? json_object_get(v, member) : NULL;
    const bool ok = put(question, member, json_incref(inside ? inside : v), e);
    json_decref(v);
    return ok;
}

static bool ask(const struct options *o, enum guide_function g, const char *member, json_t **answer,
                struct err *e)
{
    struct catalog *c = NULL;
    const char *param;
    json_t *question = json_object();
    bool ok = question || err_set(e, ERR_NOMEM, "out of memory");
    for (int i = 0; ok && i < o->args.n; i++) {
        const char *s = o->args.v[i];
        const size_t name = strspn(s, "abcdefghijklmnopqrstuvwxyz_");
        if (name && name < 70 && s[name] == '=')
            ok = add_word(question, s, name, e);
        else if (member && !json_object_get(question, member))
            ok = add_file(question, s, member, e);
        else
            ok = err_set(e, ERR_REQUEST, "\"%.60s\": expected NAME=VALUE", s);
    }
    ok = ok && catalog_load(&c, o->catalog, e) && guide_answer(g, c, question, answer, &param, e);
    catalog_free(c);
    json_decref(question);
    return ok;
}

int guide_command(enum command_bit command, enum guide_function g, const char *member, int argc, char **argv)
{
    struct options o;
    struct err e = { 0 };
    json_t *answer = NULL;
    int rc = options_parse(&o, command, argc, argv);
    if (rc < 0) {
        rc = ask(&o, g, member, &answer, &e) ? 0 : e.code == ERR_REQUEST ? 2 : 1;
        if (!rc && (json_dumpf(answer, stdout, JSON_INDENT(1)) || putchar('\n') != '\n')) {
            err_set(&e, ERR_IO, "standard output cannot be written");
            rc = 1;
        }
        if (rc) fprintf(stderr, "hearth %s: %s\n", argv[0], e.msg);
        if (!rc && json_is_false(json_object_get(answer, "valid"))) rc = 3;
    }
    json_decref(answer);
    options_free(&o);
    return rc;
}
