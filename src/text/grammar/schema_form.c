/* schema_form.c - from a clause, which demands things together, to the form that a machine walks. */
#include <stdlib.h>
#include <string.h>

#include "text/grammar/schema_internal.h"

enum { MAX_WATCHED = 60, FEW_NAMES = 64, MAX_PREFIX = 4096, MAX_COUNT = 1 << 30, MAX_OVERLAPS = 256 };

struct group_pattern {
    int group, name, sub, bit; /* bit: among the watched */
};

struct object_parts {
    int *group, n_group; /* subschemas whose keywords hold */
    struct group_pattern *pattern;
    int n_pattern;
    int watched[MAX_WATCHED], n_watched; /* distinct patterns, by name's number */
    const struct clause *k;
    int64_t min, max;
};

/* ---- objects: what a clause says ----------------------------------------------------------------------------------------- */

static int watch(struct compile *c, struct object_parts *o, int sub, int name, struct err *e)
{
    for (int i = 0; i < o->n_watched; i++)
        if (o->watched[i] == name) return i;
    if (o->n_watched == MAX_WATCHED)
        return schema_refuse(&c->doc, sub, ERR_LIMIT, "patternProperties", e, "more than %d patterns",
                             MAX_WATCHED),
               -1;
    o->watched[o->n_watched] = name;
    return o->n_watched++;
}

static bool object_parts_of(struct compile *c, const struct clause *k, struct object_parts *o, struct err *e)
{
    *o = (struct object_parts){ .k = k, .max = -1 };
    size_t room = 1;
    for (int i = 0; i < k->n; i++)
        if (k->at[i].kind == A_GROUP) {
            o->n_group++;
            room += json_object_size(schema_key(&c->doc, k->at[i].sub, "patternProperties"));
        } else {
            room++;
        }
    o->group = compile_alloc(c, false, (size_t)o->n_group + 1, sizeof *o->group, e);
    o->pattern = compile_alloc(c, false, room, sizeof *o->pattern, e);
    if (!o->group || !o->pattern) return false;
    o->n_group = 0;
    for (int i = 0; i < k->n; i++) {
        const struct atom *a = &k->at[i];
        int64_t n;
        const char *key;
        const json_t *v;
        if (a->kind == A_MIN && a->a > o->min) o->min = a->a;
        if (a->kind == A_MAX && (o->max < 0 || a->a < o->max)) o->max = a->a;
        if (a->kind == A_SOME && a->a >= 0 && watch(c, o, a->sub, a->a, e) < 0) return false;
        if (a->kind == A_SOME && a->a < 0) /* what is additional there depends on its patterns */
            json_object_foreach((json_t *)schema_key(&c->doc, a->sub, "patternProperties"), key, v)
            {
                const int name = compile_name(c, key, e);
                if (name < 0 || watch(c, o, a->sub, name, e) < 0) return false;
            }
        if (a->kind != A_GROUP) continue;
        const int g = o->n_group++;
        o->group[g] = a->sub;
        if (!whole_key(c, a->sub, "minProperties", &n, e)) return false;
        if (n > o->min) o->min = n;
        if (!whole_key(c, a->sub, "maxProperties", &n, e)) return false;
        if (n >= 0 && (o->max < 0 || n < o->max)) o->max = n;
        json_object_foreach((json_t *)schema_key(&c->doc, a->sub, "patternProperties"), key, v)
        {
            const int name = compile_name(c, key, e),
                      s = sub_named(c, a->sub, v, "patternProperties", key, e);
            const int bit = name < 0 || s < 0 ? -1 : watch(c, o, a->sub, name, e);
            if (bit < 0) return false;
            o->pattern[o->n_pattern++] = (struct group_pattern){ g, name, s, bit };
        }
    }
    return true;
}

/* Does one of the groups say something of this member? */
static bool member_is_evaluated(struct compile *c, const struct object_parts *o, const struct groups *g,
                                int name, uint64_t taken)
{
    for (int i = 0; i < g->n; i++) {
        if (schema_key(&c->doc, g->sub[i], "additionalProperties")) return true;
        if (name >= 0 && json_object_get(schema_key(&c->doc, g->sub[i], "properties"), c->name[name]))
            return true;
        for (int p = 0; p < o->n_pattern; p++)
            if (o->group[o->pattern[p].group] == g->sub[i] && (taken >> o->pattern[p].bit & 1)) return true;
    }
    return false;
}

/* The literals that the value of a member has to meet, by its name (or -1: one that no group names) and the watched patterns that take
 * it. lit has room for one a group and pattern and atom. *forbidden: it may not be there. */
static bool literals_of_member(struct compile *c, const struct object_parts *o, int name, uint64_t taken,
                               int *lit, int *n, bool *forbidden, struct err *e)
{
    *n = 0;
    if (!compile_burn(c, 6 * o->n_group + o->n_group * o->n_pattern / 4 + o->k->n, e)) return false;
    for (int g = 0; g < o->n_group; g++) {
        const json_t *v =
            name < 0 ? NULL : json_object_get(schema_key(&c->doc, o->group[g], "properties"), c->name[name]);
        bool found = v != NULL;
        if (v) {
            const int s = sub_named(c, o->group[g], v, "properties", c->name[name], e);
            if (s < 0) return false;
            lit[(*n)++] = LITERAL(s, false);
        }
        for (int p = 0; p < o->n_pattern; p++) {
            if (o->pattern[p].group != g || !(taken >> o->pattern[p].bit & 1)) continue;
            lit[(*n)++] = LITERAL(o->pattern[p].sub, false);
            found = true;
        }
        if (!found && (v = schema_key(&c->doc, o->group[g], "additionalProperties"))) {
            const int s = sub_of(c, o->group[g], v, "additionalProperties", e);
            if (s < 0) return false;
            lit[(*n)++] = LITERAL(s, false);
        }
    }
    for (int i = 0; i < o->k->n; i++) {
        const struct atom *a = &o->k->at[i];
        if (a->kind == A_UNEVALUATED && !member_is_evaluated(c, o, &c->evaluated[a->a], name, taken))
            lit[(*n)++] = a->lit;
        if (name < 0 || a->a != name) continue;
        if (a->kind == A_FORBID) *forbidden = true;
        if (a->kind == A_MEMBER) lit[(*n)++] = a->lit;
    }
    return true;
}

static size_t literal_room(const struct object_parts *o)
{
    return (size_t)(o->n_group * 2 + o->n_pattern + o->k->n + 4);
}

/* The watched patterns that take a name; *forbidden when propertyNames refuses it. */
static bool taken_by(struct compile *c, const struct object_parts *o, int name, uint64_t *taken,
                     bool *forbidden, struct err *e)
{
    *taken = 0;
    if (!compile_burn(c, 2 * o->n_watched + o->n_group, e)) return false;
    for (int i = 0; i < o->n_watched; i++) {
        rx r;
        if (!compile_pattern(c, o->n_group ? o->group[0] : DOC_ROOT, "patternProperties", o->watched[i], &r,
                             e))
            return false;
        if (compile_matches(c, r, c->name[name])) *taken |= UINT64_C(1) << i;
    }
    for (int g = 0; g < o->n_group; g++) {
        const json_t *v = schema_key(&c->doc, o->group[g], "propertyNames");
        if (!v) continue;
        rx r;
        const int s = sub_of(c, o->group[g], v, "propertyNames", e);
        if (s < 0 || !scalar_strings(c, LITERAL(s, false), NULL, &r, e)) return false;
        if (!compile_matches(c, r, c->name[name])) *forbidden = true;
    }
    return true;
}

/* Names from the lists that `required` and the like hold; -1 counts only. */
static bool names_of_list(struct compile *c, int sub, const char *key, const json_t *list, int *name, int *n,
                          struct err *e)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (!s) return schema_refuse(&c->doc, sub, ERR_REQUEST, key, e, "has to be a list of names");
        if (!compile_burn(c, 4, e)) return false;
        name[*n] = compile_name(c, s, e);
        if (name[(*n)++] < 0) return false;
    }
    return true;
}

static bool required_names(struct compile *c, const struct object_parts *o, int **name, int *n, struct err *e)
{
    size_t room = (size_t)o->k->n + 1;
    const json_t *list;
    *n = 0;
    for (int g = 0; g < o->n_group; g++) {
        if (!list_key(c, o->group[g], "required", &list, e)) return false;
        room += json_array_size(list);
    }
    *name = compile_alloc(c, false, room, sizeof **name, e);
    if (!*name) return false;
    for (int i = 0; i < o->k->n; i++)
        if (o->k->at[i].kind == A_REQUIRE) (*name)[(*n)++] = o->k->at[i].a;
    for (int g = 0; g < o->n_group; g++)
        if (!list_key(c, o->group[g], "required", &list, e) ||
            !names_of_list(c, o->group[g], "required", list, *name, n, e))
            return false;
    qsort(*name, (size_t)*n, sizeof **name, compile_by_number);
    int kept = 0;
    for (int i = 0; i < *n; i++)
        if (!i || (*name)[i] != (*name)[kept - 1]) (*name)[kept++] = (*name)[i];
    *n = kept;
    return true;
}

bool object_is_unsat(struct compile *c, const struct clause *k, int depth, bool *unsat, struct err *e)
{
    struct object_parts o;
    int *name, n, *lit, n_lit;
    *unsat = false;
    if (!object_parts_of(c, k, &o, e) || !required_names(c, &o, &name, &n, e)) return false;
    lit = compile_alloc(c, false, literal_room(&o), sizeof *lit, e);
    if (!lit || !compile_burn(c, 20 + 4 * k->n + 2 * n, e)) return false;
    if (o.max >= 0 && (o.min > o.max || n > o.max)) return *unsat = true, true;
    for (int i = 0; i < n && !*unsat; i++) {
        uint64_t taken;
        bool forbidden = false;
        if (!taken_by(c, &o, name[i], &taken, &forbidden, e) ||
            !literals_of_member(c, &o, name[i], taken, lit, &n_lit, &forbidden, e))
            return false;
        if (forbidden) return *unsat = true, true;
        const int v = compile_value(c, lit, n_lit, e);
        if (v < 0 || !value_is_unsat(c, v, depth, unsat, e)) return false;
    }
    return true;
}

/* ---- objects: the form --------------------------------------------------------------------------------------------------- */

static bool all_names(struct compile *c, const struct object_parts *o, int **name, int *n, struct err *e)
{
    static const char *const deps[] = { "dependentRequired", "dependencies" };
    size_t room = (size_t)o->k->n + 1;
    const char *key;
    const json_t *v;
    *n = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; pass && i < o->k->n; i++) {
            const enum atom_kind kind = o->k->at[i].kind;
            if (kind == A_REQUIRE || kind == A_FORBID || kind == A_MEMBER) (*name)[(*n)++] = o->k->at[i].a;
        }
        for (int i = 0; i < o->k->n; i++) { /* names that a demand does not call additional */
            const struct atom *a = &o->k->at[i];
            if (a->kind != A_SOME || a->a >= 0) continue;
            json_object_foreach((json_t *)schema_key(&c->doc, a->sub, "properties"), key, v)
            {
                room += !pass;
                if (!pass) continue;
                (*name)[*n] = compile_name(c, key, e);
                if ((*name)[(*n)++] < 0) return false;
            }
        }
        for (int g = 0; g < o->n_group; g++) {
            const json_t *p = schema_key(&c->doc, o->group[g], "properties"), *list;
            if (p && !json_is_object(p))
                return schema_refuse(&c->doc, o->group[g], ERR_REQUEST, "properties", e,
                                     "has to be an object");
            if (!pass) room += json_object_size(p);
            if (pass) json_object_foreach((json_t *)p, key, v)
                {
                    (*name)[*n] = compile_name(c, key, e);
                    if ((*name)[(*n)++] < 0) return false;
                }
            if (!list_key(c, o->group[g], "required", &list, e)) return false;
            room += json_array_size(list);
            if (pass && !names_of_list(c, o->group[g], "required", list, *name, n, e)) return false;
            for (int d = 0; d < 2; d++)
                json_object_foreach((json_t *)schema_key(&c->doc, o->group[g], deps[d]), key, v)
                {
                    if (!json_is_array(v)) continue;
                    room += 1 + json_array_size(v);
                    if (!pass) continue;
                    (*name)[*n] = compile_name(c, key, e);
                    if ((*name)[(*n)++] < 0 || !names_of_list(c, o->group[g], deps[d], v, *name, n, e))
                        return false;
                }
        }
        if (pass) break;
        *name = compile_alloc(c, false, room + FEW_NAMES, sizeof **name, e);
        if (!*name) return false;
    }
    qsort(*name, (size_t)*n, sizeof **name, compile_by_number);
    int kept = 0;
    for (int i = 0; i < *n; i++)
        if (!i || (*name)[i] != (*name)[kept - 1]) (*name)[kept++] = (*name)[i];
    *n = kept;
    return true;
}

struct track {
    struct atom a;
    int bit;                 /* among the watched; -1: members that group a.sub calls additional: */
    uint64_t not_additional; /* none that these patterns take */
};

/* Can a member of this name, taken by these patterns, count for a demand? */
static bool counts_for(struct compile *c, const struct track *t, int name, uint64_t taken)
{
    if (t->bit >= 0) return taken >> t->bit & 1;
    if (name >= 0 && json_object_get(schema_key(&c->doc, t->a.sub, "properties"), c->name[name]))
        return false;
    return !(taken & t->not_additional);
}

/* The class of members of a name (-1: others), made new; value 0 everywhere: it cannot be there. */
static bool class_of_member(struct compile *c, const struct object_parts *o, const struct track *track,
                            int n_track, int name, uint64_t taken, bool forbidden, struct key_class *out,
                            struct err *e)
{
    int *lit = compile_alloc(c, false, literal_room(o) + SCHEMA_TRACKS, sizeof *lit, e);
    int *copy = compile_alloc(c, false, literal_room(o) + SCHEMA_TRACKS, sizeof *copy, e), n;
    if (!lit || !copy || !literals_of_member(c, o, name, taken, lit, &n, &forbidden, e)) return false;
    *out = (struct key_class){ .named = -1 };
    if (forbidden) return true;
    for (int t = 0; t < n_track; t++)
        if (counts_for(c, &track[t], name, taken)) out->tracks |= 1u << t;
    for (unsigned m = 0; m < 1u << n_track; m++) {
        if (m & ~out->tracks) continue;
        int n_copy = n;
        memcpy(copy, lit, (size_t)n * sizeof *copy);
        for (int t = 0; t < n_track; t++)
            if ((m >> t & 1) && track[t].a.kind == A_SOME) copy[n_copy++] = track[t].a.lit;
        out->value[m] = compile_value(c, copy, n_copy, e);
        if (out->value[m] < 0) return false;
    }
    return true;
}

static int by_spelling(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Every string of a language that has few. text: from `keep`. */
static bool spell(struct compile *c, const struct dfa *d, int32_t s, char *text, size_t len, int *name,
                  int *n, struct err *e)
{
    if (len >= 500) return false;
    if (d->accepts[s]) {
        text[len] = 0;
        name[*n] = compile_name(c, text, e);
        if (name[(*n)++] < 0) return false;
    }
    for (int b = 1; b < 256; b++) {
        const int32_t t = dfa_next(d, s, (unsigned char)b);
        text[len] = (char)b;
        if (t >= 0 && !spell(c, d, t, text, len + 1, name, n, e)) return false;
    }
    return true;
}

static uint64_t *set_new(struct compile *c, int words, struct err *e)
{
    return compile_alloc(c, true, (size_t)words, sizeof(uint64_t), e);
}
static void set_put(uint64_t *s, int i) { s[i / 64] |= UINT64_C(1) << (i % 64); }

static int number_of(char *const *name, int n, const char *s)
{
    char *const *at = bsearch(&s, name, (size_t)n, sizeof *name, by_spelling);
    return at ? (int)(at - name) : -1;
}

static bool demands(struct compile *c, const struct object_parts *o, struct object_form *f, struct err *e)
{
    static const char *const deps[] = { "dependentRequired", "dependencies" };
    int *name, n, n_dep = 0;
    const char *key;
    const json_t *v;
    f->required = set_new(c, f->words, e);
    if (!f->required || !required_names(c, o, &name, &n, e)) return false;
    for (int i = 0; i < n; i++) set_put(f->required, number_of(f->name, f->n_named, c->name[name[i]]));
    for (int pass = 0; pass < 2; pass++) {
        for (int g = 0; g < o->n_group; g++)
            for (int d = 0; d < 2; d++)
                json_object_foreach((json_t *)schema_key(&c->doc, o->group[g], deps[d]), key, v)
                {
                    if (!json_is_array(v) || json_array_size(v) == 0) continue;
                    n_dep += !pass;
                    if (!pass) continue;
                    struct depend *x = &f->depend[f->n_depend++];
                    x->named = number_of(f->name, f->n_named, key);
                    x->required = set_new(c, f->words, e);
                    if (!x->required) return false;
                    for (size_t i = 0; i < json_array_size(v); i++)
                        set_put(x->required,
                                number_of(f->name, f->n_named, json_string_value(json_array_get(v, i))));
                }
        if (!pass) f->depend = compile_alloc(c, true, (size_t)n_dep + 1, sizeof *f->depend, e);
        if (!f->depend) return false;
    }
    return true;
}

/* f->keys with its classes: label holds a class's number. */
static bool keys_of(struct compile *c, const struct object_parts *o, struct object_form *f,
                    const struct track *track, rx base, const rx *watched, int n_watched, int *name, int n,
                    struct err *e)
{
    const struct dfa *other = NULL;
    struct dfa *mine = NULL;
    bool ok = false;
    if (base != RX_NONE) {
        if (!dfa_new(&mine, c->pool, base, watched, n_watched, c->limits.max_states, e))
            return err_wrap(e, "schema: names");
        other = mine->n > 0 ? mine : NULL;
        if (!compile_burn(c, (long)mine->n * mine->n_class / 4 + 300, e)) goto done;
        if (other && dfa_size(mine, FEW_NAMES + 1) <= FEW_NAMES) { /* so few that each is known by name */
            char text[512];
            if (!spell(c, mine, 0, text, 0, name, &n, e)) {
                if (!rx_ok(c->pool, e)) goto done;
            } else {
                other = NULL;
            }
            qsort(name, (size_t)n, sizeof *name, compile_by_number);
            int kept = 0;
            for (int i = 0; i < n; i++)
                if (!i || name[i] != name[kept - 1]) name[kept++] = name[i];
            n = kept;
        }
    }
    f->n_named = n;
    f->words = (n + 63) / 64 + (n == 0);
    f->name = compile_alloc(c, true, (size_t)n + 1, sizeof *f->name, e);
    if (!f->name) goto done;
    for (int i = 0; i < n; i++) f->name[i] = c->name[name[i]];
    qsort(f->name, (size_t)n, sizeof *f->name, by_spelling);
    for (int i = 0; i < n; i++) {
        const size_t len = strlen(f->name[i]);
        char *copy = compile_alloc(c, true, len + 1, 1, e);
        if (!copy) goto done;
        memcpy(copy, f->name[i], len);
        f->name[i] = copy;
    }
    int first_other;
    if (!dfa_of_texts(&f->keys, (const char *const *)f->name, n, other, c->limits.max_states, &first_other,
                      &c->budget, e)) {
        err_wrap(e, "schema: names");
        goto done;
    }
    struct dfa *d = f->keys;
    f->cls = compile_alloc(c, true,
                           (size_t)n + (!other         ? 0
                                        : other->label ? MAX_OVERLAPS
                                                       : 1),
                           sizeof *f->cls, e);
    if (!f->cls) goto done;
    uint64_t mask_of[MAX_OVERLAPS];
    int class_of_mask[MAX_OVERLAPS], n_mask = 0;
    for (int i = 0; i < n; i++) {
        uint64_t taken;
        bool forbidden = false;
        const int id = compile_name(c, f->name[i], e);
        if (id < 0 || !taken_by(c, o, id, &taken, &forbidden, e)) goto done;
        for (int w = o->n_watched; w < n_watched; w++)
            if (compile_matches(c, watched[w], f->name[i])) taken |= UINT64_C(1) << w;
        if (!class_of_member(c, o, track, f->n_track, id, taken, forbidden, &f->cls[i], e)) goto done;
        f->cls[i].named = i;
    }
    f->n_class = n;
    for (int s = 0; s < d->n; s++) {
        if (!d->accepts[s]) continue;
        if (d->label[s] > 0) { /* a name */
            d->label[s]--;
            continue;
        }
        const uint64_t mask = other->label ? other->label[d->other[s]] : 0;
        int m = 0;
        while (m < n_mask && mask_of[m] != mask) m++;
        if (m == n_mask) {
            if (n_mask == MAX_OVERLAPS) {
                err_set(e, ERR_LIMIT, "schema: patternProperties overlap in more than %d ways", MAX_OVERLAPS);
                goto done;
            }
            mask_of[m] = mask;
            class_of_mask[m] = f->n_class++;
            if (!class_of_member(c, o, track, f->n_track, -1, mask, false, &f->cls[class_of_mask[m]], e))
                goto done;
            n_mask++;
        }
        d->label[s] = (uint64_t)class_of_mask[m];
    }
    ok = true;
done:
    dfa_free(mine);
    return ok;
}

/* As closed_objects reads it: properties are listed, and nothing is said of others. */
static bool closed(struct compile *c, const struct object_parts *o)
{
    static const char *const others[] = { "additionalProperties", "patternProperties",
                                          "unevaluatedProperties" };
    bool lists = false;
    for (int g = 0; g < o->n_group; g++) {
        lists |= schema_key(&c->doc, o->group[g], "properties") != NULL;
        for (int i = 0; i < 3; i++)
            if (schema_key(&c->doc, o->group[g], others[i])) return false;
    }
    return c->limits.closed_objects && lists;
}

bool object_form_of(struct compile *c, const struct clause *k, struct object_form **out, struct err *e)
{
    struct object_parts o;
    struct track track[SCHEMA_TRACKS];
    rx watched[MAX_WATCHED + SCHEMA_TRACKS], base = c->any_text;
    int n_watched = 0, *name = NULL, n;
    *out = NULL;
    if (!object_parts_of(c, k, &o, e) || !all_names(c, &o, &name, &n, e)) return false;
    struct object_form *f = compile_alloc(c, true, 1, sizeof *f, e);
    if (!f) return false;
    for (int i = 0; i < o.n_watched; i++) {
        const int sub = o.n_group ? o.group[0] : DOC_ROOT;
        if (!compile_pattern(c, sub, "patternProperties", o.watched[i], &watched[n_watched++], e))
            return false;
    }
    for (int i = 0; i < k->n; i++) {
        const struct atom *a = &k->at[i];
        if (a->kind != A_SOME && a->kind != A_SOME_NAMED) continue;
        if (f->n_track == SCHEMA_TRACKS)
            return schema_refuse(&c->doc, a->sub, ERR_LIMIT, "not", e, "more than %d demands of some member",
                                 SCHEMA_TRACKS);
        struct track *t = &track[f->n_track++];
        const char *key;
        const json_t *v;
        *t = (struct track){ *a, -1, 0 };
        if (a->kind == A_SOME && a->a < 0)
            json_object_foreach((json_t *)schema_key(&c->doc, a->sub, "patternProperties"), key,
                                v) for (int w = 0; w < o.n_watched;
                                        w++) if (!strcmp(c->name[o.watched[w]], key)) t->not_additional |=
                UINT64_C(1) << w;
        for (int w = 0; a->kind == A_SOME && a->a >= 0 && w < o.n_watched; w++)
            if (o.watched[w] == a->a) t->bit = w;
        if (a->kind == A_SOME_NAMED) {
            if (n_watched >= 63 || !scalar_strings(c, a->lit, NULL, &watched[n_watched], e)) return false;
            t->bit = n_watched++;
        }
    }
    bool open = !closed(c, &o); /* can a name that no pattern takes be there at all? */
    for (int g = 0; g < o.n_group; g++) {
        const json_t *v = schema_key(&c->doc, o.group[g], "propertyNames");
        if (json_is_false(schema_key(&c->doc, o.group[g], "additionalProperties"))) open = false;
        if (!v) continue;
        rx r;
        const int s = sub_of(c, o.group[g], v, "propertyNames", e);
        if (s < 0 || !scalar_strings(c, LITERAL(s, false), NULL, &r, e)) return false;
        base = rx_and(c->pool, base, r);
    }
    if (!open) { /* some group has to have a pattern for it */
        rx some = RX_NONE;
        for (int p = 0; p < o.n_pattern; p++) some = rx_or(c->pool, some, watched[o.pattern[p].bit]);
        base = rx_and(c->pool, base, some);
    }
    if (!rx_ok(c->pool, e)) return false;
    if (o.max > MAX_COUNT) o.max = -1;
    if (o.min > MAX_COUNT || (o.max >= 0 && o.min > o.max)) return true;
    f->min = (int)o.min;
    f->max = (int)o.max;
    f->any_name = base == c->any_text && n_watched == 0 && f->max < 0;
    if (!keys_of(c, &o, f, track, base, watched, n_watched, name, n, e) || !demands(c, &o, f, e)) {
        dfa_free(f->keys);
        f->keys = NULL;
        return false;
    }
    *out = f;
    return true;
}

/* ---- arrays -------------------------------------------------------------------------------------------------------------- */

struct array_parts {
    int *group, n_group;
    const struct clause *k;
    int64_t min, max;
    int n_prefix;
    bool unique;
};

static bool array_parts_of(struct compile *c, const struct clause *k, struct array_parts *o, struct err *e)
{
    *o = (struct array_parts){ .k = k, .max = -1 };
    o->group = compile_alloc(c, false, (size_t)k->n + 1, sizeof *o->group, e);
    if (!o->group) return false;
    size_t prefix = 0;
    for (int i = 0; i < k->n; i++) {
        const struct atom *a = &k->at[i];
        const char *key;
        int64_t n;
        if ((a->kind == A_MIN && a->a > o->min) || (a->kind == A_ITEM && a->a + 1 > o->min))
            o->min = a->a + (a->kind == A_ITEM);
        if (a->kind == A_MAX && (o->max < 0 || a->a < o->max)) o->max = a->a;
        if (a->kind == A_ITEM && (size_t)a->a + 1 > prefix) prefix = (size_t)a->a + 1;
        if (a->kind == A_SOME_ITEM && (size_t)a->a > prefix) prefix = (size_t)a->a;
        if (a->kind != A_GROUP) continue;
        o->group[o->n_group++] = a->sub;
        if (!whole_key(c, a->sub, "minItems", &n, e)) return false;
        if (n > o->min) o->min = n;
        if (!whole_key(c, a->sub, "maxItems", &n, e)) return false;
        if (n >= 0 && (o->max < 0 || n < o->max)) o->max = n;
        const json_t *list = first_items(c, a->sub, &key);
        if (list && !json_is_array(list))
            return schema_refuse(&c->doc, a->sub, ERR_REQUEST, key, e, "has to be a list of schemas");
        if (json_array_size(list) > prefix) prefix = json_array_size(list);
        o->unique |= json_is_true(schema_key(&c->doc, a->sub, "uniqueItems"));
    }
    if (prefix > MAX_PREFIX)
        return err_set(e, ERR_LIMIT, "schema: more than %d items are described one by one", MAX_PREFIX);
    o->n_prefix = (int)prefix;
    return true;
}

/* Does one of the groups say something of item i? */
static bool item_is_evaluated(struct compile *c, const struct groups *g, int i)
{
    for (int k = 0; k < g->n; k++) {
        const char *key;
        const json_t *list = first_items(c, g->sub[k], &key), *rest;
        if ((size_t)i < json_array_size(list)) return true;
        rest = schema_key(&c->doc, g->sub[k], list && !strcmp(key, "items") ? "additionalItems" : "items");
        if (rest && !json_is_array(rest)) return true;
    }
    return false;
}

/* The literals that item i has to meet. */
static bool literals_of_item(struct compile *c, const struct array_parts *o, int i, int *lit, int *n,
                             struct err *e)
{
    *n = 0;
    if (!compile_burn(c, 6 * o->n_group + o->k->n, e)) return false;
    for (int g = 0; g < o->n_group; g++) {
        const char *key;
        const json_t *list = first_items(c, o->group[g], &key), *v;
        int s = DOC_TRUE;
        if (list && (size_t)i < json_array_size(list)) {
            s = sub_in(c, o->group[g], json_array_get(list, (size_t)i), key, i, e);
        } else {
            const char *rest = list && !strcmp(key, "items") ? "additionalItems" : "items";
            v = schema_key(&c->doc, o->group[g], rest);
            if (v && !json_is_array(v)) s = sub_of(c, o->group[g], v, rest, e);
        }
        if (s < 0) return false;
        lit[(*n)++] = LITERAL(s, false);
    }
    for (int a = 0; a < o->k->n; a++) {
        if (o->k->at[a].kind == A_ITEM && o->k->at[a].a == i) lit[(*n)++] = o->k->at[a].lit;
        if (o->k->at[a].kind == A_EACH) lit[(*n)++] = o->k->at[a].lit;
        if (o->k->at[a].kind == A_UNEVALUATED && !item_is_evaluated(c, &c->evaluated[o->k->at[a].a], i))
            lit[(*n)++] = o->k->at[a].lit;
    }
    return true;
}

bool array_is_unsat(struct compile *c, const struct clause *k, int depth, bool *unsat, struct err *e)
{
    struct array_parts o;
    int n;
    *unsat = false;
    if (!array_parts_of(c, k, &o, e)) return false;
    int *lit = compile_alloc(c, false, (size_t)k->n * 2 + 2, sizeof *lit, e);
    if (!lit || !compile_burn(c, 20 + 8 * k->n, e)) return false;
    if (o.max >= 0 && o.min > o.max) return *unsat = true, true;
    for (int i = 0; i < o.min && i <= o.n_prefix && !*unsat; i++) {
        if (!literals_of_item(c, &o, i, lit, &n, e)) return false;
        const int v = compile_value(c, lit, n, e);
        if (v < 0 || !value_is_unsat(c, v, depth, unsat, e)) return false;
    }
    return true;
}

struct item_track {
    int from, min, max, lit;
};

static bool tracks_of(struct compile *c, const struct array_parts *o, struct item_track *t, int *n,
                      struct err *e)
{
    *n = 0;
    for (int i = 0; i < o->k->n; i++) {
        const struct atom *a = &o->k->at[i];
        struct item_track one = { 0, 1, -1, a->lit };
        if (a->kind == A_SOME_ITEM) {
            one.from = a->a;
        } else if (a->kind == A_COUNT) {
            one.min = a->a;
        } else if (a->kind == A_COUNT_MAX) {
            one.min = 0;
            one.max = a->a;
        } else if (a->kind == A_GROUP && schema_key(&c->doc, a->sub, "contains")) {
            int64_t least, most;
            const int s = sub_of(c, a->sub, schema_key(&c->doc, a->sub, "contains"), "contains", e);
            if (s < 0 || !whole_key(c, a->sub, "minContains", &least, e) ||
                !whole_key(c, a->sub, "maxContains", &most, e))
                return false;
            if (least == 0 && most < 0) continue;
            one.lit = LITERAL(s, false);
            one.min = least < 0 ? 1 : least > MAX_COUNT ? MAX_COUNT : (int)least;
            one.max = most > MAX_COUNT ? -1 : (int)most;
        } else {
            continue;
        }
        if (*n == SCHEMA_TRACKS)
            return err_set(e, ERR_LIMIT, "schema: more than %d demands of some item of one array",
                           SCHEMA_TRACKS);
        t[(*n)++] = one;
    }
    return true;
}

bool array_form_of(struct compile *c, const struct clause *k, struct array_form **out, struct err *e)
{
    struct array_parts o;
    struct item_track track[SCHEMA_TRACKS];
    *out = NULL;
    if (!array_parts_of(c, k, &o, e)) return false;
    struct array_form *f = compile_alloc(c, true, 1, sizeof *f, e);
    int *lit = compile_alloc(c, false, (size_t)k->n * 2 + 8, sizeof *lit, e);
    int *copy = compile_alloc(c, false, (size_t)k->n * 2 + 8, sizeof *copy, e), n;
    if (!f || !lit || !copy || !tracks_of(c, &o, track, &f->n_track, e)) return false;
    if (o.max > MAX_COUNT) o.max = -1;
    if (o.min > MAX_COUNT || (o.max >= 0 && o.min > o.max)) return true;
    const int masks = 1 << f->n_track;
    f->n_prefix = o.n_prefix;
    f->min = (int)o.min;
    f->max = (int)o.max;
    f->unique = o.unique;
    f->prefix = compile_alloc(c, true, (size_t)masks * (size_t)f->n_prefix + 1, sizeof *f->prefix, e);
    f->rest = compile_alloc(c, true, (size_t)masks, sizeof *f->rest, e);
    if (!f->prefix || !f->rest) return false;
    for (int t = 0; t < f->n_track; t++) f->track_min[t] = track[t].min, f->track_max[t] = track[t].max;
    for (int i = 0; i <= f->n_prefix; i++) {
        if (!literals_of_item(c, &o, i, lit, &n, e)) return false;
        for (int m = 0; m < masks; m++) {
            int n_copy = n, v;
            bool can = true;
            memcpy(copy, lit, (size_t)n * sizeof *copy);
            for (int t = 0; t < f->n_track; t++) {
                if (m >> t & 1) {
                    can &= i >= track[t].from;
                    copy[n_copy++] = track[t].lit;
                } else if (track[t].max >= 0 && i >= track[t].from) {
                    copy[n_copy++] = track[t].lit ^ 1;
                }
            }
            v = can ? compile_value(c, copy, n_copy, e) : VALUE_NONE;
            if (v < 0) return false;
            if (i == f->n_prefix)
                f->rest[m] = v;
            else
                f->prefix[m * f->n_prefix + i] = v;
        }
    }
    *out = f;
    return true;
}
