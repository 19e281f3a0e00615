/* yaml_read.c - libyaml's events into a tree, and the tree into structs. */
#include "format/yaml_read.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/words.h"

/* ---- errors -------------------------------------------------------------------------------------------------------- */

static bool bad_at(const struct yaml_doc *d, int line, int column, struct err *e, const char *fmt, va_list ap)
{
    char what[200];
    vsnprintf(what, sizeof what, fmt, ap);
    if (!line) return err_set(e, ERR_FORMAT, "%s: %s", d->name, what);
    return err_set(e, ERR_FORMAT, "%s:%d:%d: %s", d->name, line, column, what);
}

bool yaml_bad(const struct yaml_doc *d, const struct yaml_tree *at, struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bad_at(d, at ? at->line : 0, at ? at->column : 0, e, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- events into a tree -------------------------------------------------------------------------------------------- */

struct reader {
    yaml_parser_t p;
    struct yaml_doc *d;
    struct err *e;
    int depth, nodes;
};

static bool no_memory(struct err *e) { return err_set(e, ERR_NOMEM, "out of memory"); }

static bool bad_event(struct reader *r, const yaml_event_t *ev, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool bad_event(struct reader *r, const yaml_event_t *ev, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bad_at(r->d, (int)ev->start_mark.line + 1, (int)ev->start_mark.column + 1, r->e, fmt, ap);
    va_end(ap);
    return false;
}

/* The next event, which is the caller's to delete. */
static bool next(struct reader *r, yaml_event_t *ev)
{
    if (yaml_parser_parse(&r->p, ev)) return true;
    const char *problem = r->p.problem ? r->p.problem : "not YAML";
    if (r->p.error == YAML_MEMORY_ERROR) return no_memory(r->e);
    if (r->p.error == YAML_READER_ERROR) /* of bytes: there is no line yet */
        return err_set(r->e, ERR_FORMAT, "%s: byte %zu: %s", r->d->name, r->p.problem_offset, problem);
    return err_set(r->e, ERR_FORMAT, "%s:%zu:%zu: %s", r->d->name, r->p.problem_mark.line + 1,
                   r->p.problem_mark.column + 1, problem);
}

static bool take_text(struct reader *r, const yaml_event_t *ev, char **out)
{
    const char *s = (const char *)ev->data.scalar.value;
    if (strlen(s) != ev->data.scalar.length) return bad_event(r, ev, "a text holds a zero byte");
    *out = strdup(s);
    return *out || no_memory(r->e);
}

/* What no file here needs, and what it would mean is not what it says at first sight. */
static bool is_plain(struct reader *r, const yaml_event_t *ev)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (ev->type == YAML_ALIAS_EVENT) return bad_event(r, ev, "aliases are not supported here");
    if (ev->type == YAML_SCALAR_EVENT) anchor = ev->data.scalar.anchor, tag = ev->data.scalar.tag;
    if (ev->type == YAML_SEQUENCE_START_EVENT)
        anchor = ev->data.sequence_start.anchor, tag = ev->data.sequence_start.tag;
    if (ev->type == YAML_MAPPING_START_EVENT)
        anchor = ev->data.mapping_start.anchor, tag = ev->data.mapping_start.tag;
    if (anchor) return bad_event(r, ev, "anchors are not supported here");
    if (tag) return bad_event(r, ev, "tags are not supported here");
    return ++r->nodes <= YAML_READ_NODES || bad_event(r, ev, "more than %d values", YAML_READ_NODES);
}

static struct yaml_tree *append(struct yaml_tree *to)
{
    if (!(to->n & (to->n - 1))) { /* room is a power of two */
        struct yaml_tree *v = realloc(to->item, (to->n ? 2 * (size_t)to->n : 1) * sizeof *v);
        if (!v) return NULL;
        to->item = v;
    }
    to->item[to->n] = (struct yaml_tree){ 0 };
    return &to->item[to->n++];
}

static bool read_node(struct reader *r, const yaml_event_t *ev, struct yaml_tree *out);

/* A mapping's next key, taken from its event, and the value behind it. */
static bool read_member(struct reader *r, const yaml_event_t *key, struct yaml_tree *map)
{
    if (key->type != YAML_SCALAR_EVENT) return bad_event(r, key, "expected `name: value`");
    if (!is_plain(r, key)) return false;
    if (map->n == YAML_READ_KEYS) return bad_event(r, key, "a mapping of more than %d names", YAML_READ_KEYS);
    struct yaml_tree *v = append(map);
    yaml_event_t ev;
    if (!v) return no_memory(r->e);
    if (!take_text(r, key, &v->key)) return false;
    for (int i = 0; i < map->n - 1; i++)
        if (!strcmp(map->item[i].key, v->key)) return bad_event(r, key, "\"%s\" stands there twice", v->key);
    if (!next(r, &ev)) return false;
    bool ok = read_node(r, &ev, v);
    yaml_event_delete(&ev);
    v->line = (int)key->start_mark.line + 1; /* where the name stands is where a reader looks */
    v->column = (int)key->start_mark.column + 1;
    return ok;
}

/* What stands between the start of a list or a mapping and its end. */
static bool read_items(struct reader *r, struct yaml_tree *out)
{
    const yaml_event_type_t end =
        out->kind == YAML_KIND_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    for (;;) {
        yaml_event_t ev;
        if (!next(r, &ev)) return false;
        const bool over = ev.type == end;
        bool ok = true;
        if (!over && out->kind == YAML_KIND_MAP) {
            ok = read_member(r, &ev, out);
        } else if (!over) {
            struct yaml_tree *item = append(out);
            ok = item ? read_node(r, &ev, item) : no_memory(r->e);
        }
        yaml_event_delete(&ev);
        if (over || !ok) return ok;
    }
}

static bool read_node(struct reader *r, const yaml_event_t *ev, struct yaml_tree *out)
{
    out->line = (int)ev->start_mark.line + 1;
    out->column = (int)ev->start_mark.column + 1;
    if (!is_plain(r, ev)) return false;
    switch (ev->type) {
    case YAML_SCALAR_EVENT: out->kind = YAML_KIND_TEXT; return take_text(r, ev, &out->text);
    case YAML_SEQUENCE_START_EVENT: out->kind = YAML_KIND_LIST; break;
    case YAML_MAPPING_START_EVENT: out->kind = YAML_KIND_MAP; break;
    default: return bad_event(r, ev, "expected a value");
    }
    if (++r->depth > YAML_READ_DEPTH) return bad_event(r, ev, "nested deeper than %d", YAML_READ_DEPTH);
    bool ok = read_items(r, out);
    r->depth--;
    return ok;
}

static bool read_document(struct reader *r)
{
    int documents = 0;
    for (;;) {
        yaml_event_t ev;
        if (!next(r, &ev)) return false;
        const yaml_event_type_t type = ev.type;
        bool ok = true;
        if (type == YAML_DOCUMENT_START_EVENT)
            ok = documents++ == 0 || bad_event(r, &ev, "a second document");
        else if (type != YAML_STREAM_START_EVENT && type != YAML_STREAM_END_EVENT &&
                 type != YAML_DOCUMENT_END_EVENT)
            ok = read_node(r, &ev, &r->d->root);
        yaml_event_delete(&ev);
        if (!ok || type == YAML_STREAM_END_EVENT) return ok;
    }
}

bool yaml_read_text(struct yaml_doc *d, const char *name, const char *text, size_t len, struct err *e)
{
    struct yaml_doc made = { .name = strdup(name) };
    struct reader r = { .d = &made, .e = e };
    if (!made.name || !yaml_parser_initialize(&r.p)) {
        free(made.name);
        return no_memory(e);
    }
    yaml_parser_set_input_string(&r.p, (const unsigned char *)text, len);
    bool ok = len <= YAML_READ_BYTES
                  ? read_document(&r)
                  : err_set(e, ERR_FORMAT, "%s: larger than %d bytes", name, YAML_READ_BYTES);
    yaml_parser_delete(&r.p);
    if (ok)
        *d = made;
    else
        yaml_doc_free(&made);
    return ok;
}

bool yaml_read_file(struct yaml_doc *d, const char *path, struct err *e)
{
    struct stat st;
    struct buf b = BUF_INIT(YAML_READ_BYTES + 1);
    char part[8192];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    bool ok = true;
    if (!fstat(fileno(f), &st) && S_ISDIR(st.st_mode))
        ok = err_set(e, ERR_IO, "%s: a folder, not a YAML file", path);
    while (ok && b.len <= YAML_READ_BYTES && (n = fread(part, 1, sizeof part, f)) > 0) {
        const size_t room = YAML_READ_BYTES + 1 - b.len;
        ok = buf_append(&b, part, n < room ? n : room) || no_memory(e);
    }
    if (ok && ferror(f)) ok = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    fclose(f);
    ok = ok && yaml_read_text(d, path, b.data ? b.data : "", b.len, e);
    buf_free(&b);
    return ok;
}

static void free_tree(struct yaml_tree *t)
{
    for (int i = 0; i < t->n; i++) free_tree(&t->item[i]);
    free(t->item);
    free(t->key);
    free(t->text);
}

void yaml_doc_free(struct yaml_doc *d)
{
    free_tree(&d->root);
    free(d->name);
    *d = (struct yaml_doc){ 0 };
}

const struct yaml_tree *yaml_member(const struct yaml_tree *map, const char *key)
{
    for (int i = 0; map && map->kind == YAML_KIND_MAP && i < map->n; i++)
        if (!strcmp(map->item[i].key, key)) return &map->item[i];
    return NULL;
}

/* ---- the tree into structs ----------------------------------------------------------------------------------------- */

static bool take_number(const struct yaml_doc *d, const struct yaml_tree *v, const struct yaml_row *row,
                        double *out, struct err *e)
{
    const char *s = v->kind == YAML_KIND_TEXT ? v->text : "";
    const bool any = row->min == 0 && row->max == 0, whole = row->type != YAML_NUMBER;
    const double max = any ? row->type == YAML_INT ? INT_MAX : 9e18 : row->max;
    char *end;
    double x = strtod(s, &end);
    if (end == s || *end || !isfinite(x) || (whole && x != floor(x)))
        return yaml_bad(d, v, e, "%s: expected a %s", v->key, whole ? "whole number" : "number");
    if (x < row->min && any)
        return yaml_bad(d, v, e, "%s: expected a number that is not negative, got %.20s", v->key, s);
    if (x < row->min || x > max)
        return yaml_bad(d, v, e, "%s must be from %g to %g, got %.20s", v->key, row->min, max, s);
    *out = x;
    return true;
}

static bool take_texts(const struct yaml_doc *d, const struct yaml_tree *v, struct str_list *out,
                       struct err *e)
{
    if (v->kind != YAML_KIND_LIST) return yaml_bad(d, v, e, "%s: expected a list", v->key);
    for (int i = 0; i < v->n; i++) {
        const struct yaml_tree *one = &v->item[i];
        if (one->kind != YAML_KIND_TEXT) return yaml_bad(d, one, e, "%s: expected a list of values", v->key);
        if (!str_list_add(out, one->text, strlen(one->text), e)) return false;
    }
    return true;
}

static bool take_value(const struct yaml_doc *d, const struct yaml_tree *v, const struct yaml_row *row,
                       void *out, struct err *e)
{
    char *at = (char *)out + row->offset;
    const char *s = v->kind == YAML_KIND_TEXT ? v->text : NULL;
    double x;
    int word;
    switch (row->type) {
    case YAML_STR:
        if (!s) return yaml_bad(d, v, e, "%s: expected one value", v->key);
        *(char **)at = strdup(s);
        return *(char **)at || no_memory(e);
    case YAML_STRS: return take_texts(d, v, (struct str_list *)at, e);
    case YAML_WHOLE:
        if (!take_number(d, v, row, &x, e)) return false;
        *(int64_t *)at = (int64_t)x;
        return true;
    case YAML_INT:
        if (!take_number(d, v, row, &x, e)) return false;
        *(int *)at = (int)x;
        return true;
    case YAML_NUMBER: return take_number(d, v, row, (double *)at, e);
    case YAML_BOOL:
        if (!s || (strcmp(s, "true") && strcmp(s, "false")))
            return yaml_bad(d, v, e, "%s: expected true or false", v->key);
        *(bool *)at = *s == 't';
        return true;
    case YAML_WORD:
        if (!s || !words_have(row->words, s, &word))
            return yaml_bad(d, v, e, "%s must be one of %s, got \"%.60s\"", v->key, row->words, s ? s : "");
        *(unsigned *)at = (unsigned)word;
        return true;
    case YAML_WITHIN: return yaml_fill(d, v, row->within, out, e);
    case YAML_TREE: *(const struct yaml_tree **)at = v; return true;
    }
    return false;
}

bool yaml_fill(const struct yaml_doc *d, const struct yaml_tree *map, const struct yaml_row *rows, void *out,
               struct err *e)
{
    if (map->kind != YAML_KIND_MAP)
        return yaml_bad(d, map, e, "%s%sexpected `name: value` lines", map->key ? map->key : "",
                        map->key ? ": " : "");
    for (int i = 0; i < map->n; i++) {
        const struct yaml_row *row = rows;
        while (row->key && strcmp(row->key, map->item[i].key)) row++;
        if (!row->key)
            return yaml_bad(d, &map->item[i], e, "there is no such key as \"%.60s\" here", map->item[i].key);
        if (!take_value(d, &map->item[i], row, out, e)) return false;
    }
    for (const struct yaml_row *row = rows; row->key; row++) {
        const bool given = yaml_member(map, row->key) != NULL;
        char **text = (char **)((char *)out + row->offset);
        if (!given && row->needed) return yaml_bad(d, map, e, "\"%s\" is missing", row->key);
        if (row->type == YAML_STR && !given && !*text && !(*text = strdup(""))) return no_memory(e);
        if (row->type == YAML_WITHIN && !given) {
            static const struct yaml_tree nothing = { .kind = YAML_KIND_MAP };
            if (!yaml_fill(d, &nothing, row->within, out, e)) return false;
        }
    }
    return true;
}

void yaml_fill_free(const struct yaml_row *rows, void *out)
{
    for (const struct yaml_row *row = rows; row->key; row++) {
        char *at = (char *)out + row->offset;
        if (row->type == YAML_WITHIN) yaml_fill_free(row->within, out);
        if (row->type == YAML_STRS) str_list_clear((struct str_list *)at);
        if (row->type != YAML_STR) continue;
        free(*(char **)at);
        *(char **)at = NULL;
    }
}
