/* prompts.c - see prompts.h. */
#include "service/advice/prompts.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "format/yaml_read.h"
#include "service/advice/advice_data.h"

struct styles {
    struct style {
        char *name;
        struct str_list words;
    } * v;
    int n;
    struct settings {
        int version;
        char *usual;
        struct str_list quality, avoid;
        const struct yaml_tree *styles;
    } set;
};

#define END                                                                                                  \
    {                                                                                                        \
        .key = NULL                                                                                          \
    }
#define F(field) offsetof(struct settings, field)
static const struct yaml_row rows[] = {
    { .key = "version", .type = YAML_INT, .offset = F(version), .min = 1, .max = 1 },
    { .key = "styles", .type = YAML_TREE, .offset = F(styles), .needed = true },
    { .key = "default", .type = YAML_STR, .offset = F(usual) },
    { .key = "quality", .type = YAML_STRS, .offset = F(quality) },
    { .key = "avoid", .type = YAML_STRS, .offset = F(avoid) },
    END,
};
#undef F

static const struct style *find(const struct styles *s, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (!strcmp(s->v[i].name, name)) return &s->v[i];
    return NULL;
}

static bool read_style(struct styles *s, const struct yaml_doc *d, const struct yaml_tree *at, struct err *e)
{
    struct style *style = &s->v[s->n++];
    style->name = strdup(at->key);
    if (!style->name) return err_set(e, ERR_NOMEM, "out of memory");
    if (at->kind != YAML_KIND_LIST || !at->n)
        return yaml_bad(d, at, e, "a style is a list of words, [oil painting, brush strokes]");
    for (int i = 0; i < at->n; i++) {
        if (at->item[i].kind != YAML_KIND_TEXT) return yaml_bad(d, &at->item[i], e, "expected words");
        if (!str_list_add(&style->words, at->item[i].text, strlen(at->item[i].text), e)) return false;
    }
    return true;
}

static bool read_styles(struct styles *s, const struct yaml_doc *d, struct err *e)
{
    if (!yaml_fill(d, &d->root, rows, &s->set, e)) return false;
    const struct yaml_tree *all = s->set.styles;
    if (all->kind != YAML_KIND_MAP) return yaml_bad(d, all, e, "expected styles by their names");
    s->v = calloc((size_t)all->n + 1, sizeof *s->v);
    if (!s->v) return err_set(e, ERR_NOMEM, "out of memory");
    for (int i = 0; i < all->n; i++)
        if (!read_style(s, d, &all->item[i], e)) return false;
    if (*s->set.usual && !find(s, s->set.usual))
        return yaml_bad(d, yaml_member(&d->root, "default"), e, "there is no style %s", s->set.usual);
    return true;
}

bool styles_load(struct styles **out, const char *path, struct err *e)
{
    struct yaml_doc d = { 0 };
    struct styles *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, ERR_NOMEM, "out of memory");
    bool ok = path && *path ? yaml_read_file(&d, path, e)
                            : yaml_read_text(&d, "the built-in styles", advice_styles,
                                             (size_t)(advice_styles_end - advice_styles), e);
    ok = ok && read_styles(s, &d, e);
    yaml_doc_free(&d);
    if (ok)
        *out = s;
    else
        styles_free(s);
    return ok;
}

void styles_free(struct styles *s)
{
    if (!s) return;
    for (int i = 0; i < s->n; i++) {
        free(s->v[i].name);
        str_list_clear(&s->v[i].words);
    }
    free(s->v);
    yaml_fill_free(rows, &s->set);
    free(s);
}

int styles_count(const struct styles *s) { return s->n; }
const char *styles_name(const struct styles *s, int i) { return s->v[i].name; }

static void add_words(struct buf *out, const struct str_list *words, bool first)
{
    for (int i = 0; i < words->n; i++) {
        if (!first || i) buf_puts(out, ", ");
        buf_puts(out, words->v[i]);
    }
}

static bool done(const struct buf *out, struct err *e)
{
    return !out->failed || err_set(e, ERR_NOMEM, "out of memory");
}

bool styles_enhance(const struct styles *s, const char *prompt, const char *style, bool quality, bool strict,
                    struct buf *out, struct err *e)
{
    const char *name = style ? style : s->set.usual;
    const bool none = !*name || !strcmp(name, "none");
    const struct style *words = none ? NULL : find(s, name);
    if (!none && !words && strict) {
        struct buf known = BUF_INIT(0);
        for (int i = 0; i < s->n; i++) buf_printf(&known, "%s%s", i ? ", " : "", s->v[i].name);
        err_set(e, ERR_REQUEST, "there is no style \"%.80s\"; there are %s, none", name,
                known.data ? known.data : "");
        buf_free(&known);
        return false;
    }
    buf_puts(out, prompt);
    if (words) add_words(out, &words->words, false);
    if (quality) add_words(out, &s->set.quality, false);
    return done(out, e);
}

bool styles_negative(const struct styles *s, const struct str_list *avoid, struct buf *out, struct err *e)
{
    add_words(out, &s->set.avoid, true);
    if (avoid) add_words(out, avoid, !s->set.avoid.n);
    return done(out, e);
}
