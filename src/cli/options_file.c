/* options_file.c - the configuration file. */
#include "cli/options_file.h"

#include <string.h>

#include "format/yaml_read.h"

/* Underscores count as hyphens. */
static bool same_name(const char *a, const char *b)
{
    while (*a && (*a == *b || (strchr("-_", *a) && *b && strchr("-_", *b)))) a++, b++;
    return !*a && !*b;
}

static bool walk(const struct yaml_doc *d, options_file_set *set, void *arg, struct err *e)
{
    const struct yaml_tree *root = &d->root;
    if (root->kind == YAML_KIND_NONE || (root->kind == YAML_KIND_TEXT && !*root->text)) return true;
    if (root->kind != YAML_KIND_MAP) return yaml_bad(d, root, e, "expected `name: value` lines");
    for (int i = 0; i < root->n; i++) {
        const struct yaml_tree *v = &root->item[i];
        for (int k = 0; k < i; k++)
            if (same_name(root->item[k].key, v->key))
                return yaml_bad(d, v, e, "\"%s\" stands there twice", v->key);
        if (v->kind == YAML_KIND_MAP)
            return yaml_bad(d, v, e, "\"%s\" takes a value or a list, not a mapping", v->key);
        const struct yaml_tree *one = v->kind == YAML_KIND_LIST ? v->item : v;
        const int n = v->kind == YAML_KIND_LIST ? v->n : 1;
        for (int k = 0; k < n; k++) {
            struct err why = { ERR_NONE, "" };
            if (one[k].kind != YAML_KIND_TEXT)
                return yaml_bad(d, v, e, "\"%s\": a list of values is expected", v->key);
            if (!set(arg, v->key, one[k].text, k, &why)) return yaml_bad(d, &one[k], e, "%s", why.msg);
        }
    }
    return true;
}

bool options_file_read(const char *path, options_file_set *set, void *arg, struct err *e)
{
    struct yaml_doc d = { 0 };
    bool ok = yaml_read_file(&d, path, e) && walk(&d, set, arg, e);
    yaml_doc_free(&d);
    return ok;
}
