/* projects.c - see projects.h. */
#include "service/account/projects.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 200 };

struct change {
    const char *name, *limits, *budgets;
    const struct actor *by;
    int64_t now_ms;
    bool found;
};

/* Keys carry their project's rules, so these count as changes of keys. */
static bool bump(struct session *c, struct err *e)
{
    return session_run(c, "UPDATE meta SET value = value + 1 WHERE name = 'keys'", STORE_NO_ARGS, NULL, NULL,
                       e);
}

/* ---- what is written down ------------------------------------------------------------------------------------------ */

struct rules_now {
    char *text; /* JSON; NULL: there are none */
};

static bool take_rules(void *arg, const struct store_row *r, struct err *e)
{
    struct rules_now *n = arg;
    json_t *o =
        json_pack("{s:s, s:s, s:s}", "name", r->v[0].text, "limits", r->v[1].text, "budgets", r->v[2].text);
    n->text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return n->text || err_set(e, ERR_NOMEM, "out of memory, or what is in the store is no UTF-8");
}

static bool read_rules(struct session *c, const char *name, struct rules_now *out, struct err *e)
{
    *out = (struct rules_now){ NULL };
    return session_run(c, "SELECT name, limits, budgets FROM projects WHERE name = $1",
                       STORE_ARGS(STORE_V(name)), take_rules, out, e);
}

/* Changes a project by `change` between two looks at it, and writes down both. */
static bool change_project(struct session *c, struct change *j, const char *act,
                           bool (*change)(struct session *c, struct change *j, struct err *e), struct err *e)
{
    static const struct actor program = { "hearth", "" };
    const struct actor *by = j->by ? j->by : &program;
    struct rules_now before = { NULL }, after = { NULL };
    j->found = false;
    bool ok = read_rules(c, j->name, &before, e) && change(c, j, e) && read_rules(c, j->name, &after, e) &&
              bump(c, e);
    if (ok && j->found)
        ok = audit_add(c,
                       &(struct audit_row){ .at_ms = j->now_ms,
                                            .who = by->who,
                                            .from = by->from,
                                            .act = act,
                                            .target = j->name,
                                            .before = before.text ? before.text : "",
                                            .after = after.text ? after.text : "" },
                       e);
    free(before.text);
    free(after.text);
    return ok;
}

/* ---- changes ------------------------------------------------------------------------------------------------------- */

static bool set_rules(struct session *c, struct change *j, struct err *e)
{
    j->found = true;
    return session_run(c,
                       "INSERT INTO projects (name, limits, budgets, made_ms) VALUES ($1, '', '', $2) ON "
                       "CONFLICT (name) DO NOTHING",
                       STORE_ARGS(STORE_V(j->name), STORE_V(j->now_ms)), NULL, NULL, e) &&
           (!j->limits || session_run(c, "UPDATE projects SET limits = $1 WHERE name = $2",
                                      STORE_ARGS(STORE_V(j->limits), STORE_V(j->name)), NULL, NULL, e)) &&
           (!j->budgets || session_run(c, "UPDATE projects SET budgets = $1 WHERE name = $2",
                                       STORE_ARGS(STORE_V(j->budgets), STORE_V(j->name)), NULL, NULL, e));
}

static bool set(void *arg, struct session *c, struct err *e)
{
    return change_project(c, arg, "project.set", set_rules, e);
}

bool project_set(struct store *s, const char *name, const char *limits, const char *budgets,
                 const struct actor *by, int64_t now_ms, struct err *e)
{
    struct limit_rules l;
    struct budget_rules b;
    struct change j = { .name = name, .limits = limits, .budgets = budgets, .by = by, .now_ms = now_ms };
    if (!*name || strlen(name) > NAME_MAX_BYTES)
        return err_set(e, ERR_REQUEST, "a project's name has 1 to %d bytes", NAME_MAX_BYTES);
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return err_set(e, ERR_REQUEST, "the project's name has a control character in it");
    if ((limits && !limit_rules_parse(&l, limits, e)) || (budgets && !budget_rules_parse(&b, budgets, e)))
        return false;
    return store_write(s, set, &j, e);
}

static bool not_found(const char *name, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND,
                   "there is no project \"%.80s\" with rules; `hearth projects list` has them", name);
}

static bool drop_rules(struct session *c, struct change *j, struct err *e)
{
    if (!session_run(c, "DELETE FROM projects WHERE name = $1", STORE_ARGS(STORE_V(j->name)), NULL, NULL, e))
        return false;
    j->found = session_changed(c) == 1;
    return true;
}

static bool drop(void *arg, struct session *c, struct err *e)
{
    return change_project(c, arg, "project.removed", drop_rules, e);
}

bool project_remove(struct store *s, const char *name, const struct actor *by, int64_t now_ms, struct err *e)
{
    struct change j = { .name = name, .by = by, .now_ms = now_ms };
    return store_write(s, drop, &j, e) && (j.found || not_found(name, e));
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static bool take_row(void *arg, const struct store_row *r, struct err *e)
{
    struct project_list *l = arg;
    struct project_record *v = realloc(l->v, ((size_t)l->n + 1) * sizeof *v);
    if (!v) return err_set(e, ERR_NOMEM, "out of memory");
    l->v = v;
    v[l->n] = (struct project_record){ .name = strdup(r->v[0].text),
                                       .limits = strdup(r->v[1].text),
                                       .budgets = strdup(r->v[2].text),
                                       .made_ms = r->v[3].number,
                                       .n_keys = r->v[4].number };
    const struct project_record *p = &v[l->n++];
    return (p->name && p->limits && p->budgets) || err_set(e, ERR_NOMEM, "out of memory");
}

struct reading {
    const char *name;
    struct project_list *out;
};

#define SELECT_PROJECTS                                                                                      \
    "SELECT name, limits, budgets, made_ms, (SELECT count(*) FROM keys k WHERE k.project = projects.name "   \
    "AND k.revoked_ms = 0) FROM projects "

static bool read_them(void *arg, struct session *c, struct err *e)
{
    const struct reading *j = arg;
    project_list_free(j->out);
    return j->name ? session_run(c, SELECT_PROJECTS "WHERE name = $1", STORE_ARGS(STORE_V(j->name)), take_row,
                                 j->out, e)
                   : session_run(c, SELECT_PROJECTS "ORDER BY name", STORE_NO_ARGS, take_row, j->out, e);
}

bool project_list(struct store *s, const char *name, struct project_list *out, struct err *e)
{
    *out = (struct project_list){ .n = 0 };
    const bool ok = store_read(s, read_them, &(struct reading){ name, out }, e) &&
                    (!name || out->n || not_found(name, e));
    if (!ok) project_list_free(out);
    return ok;
}

void project_list_free(struct project_list *l)
{
    for (int i = 0; i < l->n; i++) {
        free(l->v[i].name);
        free(l->v[i].limits);
        free(l->v[i].budgets);
    }
    free(l->v);
    *l = (struct project_list){ .n = 0 };
}
