/* projects.h - what the keys of a project may use together: limits and budgets, kept in the store under the project's name.
 *
 * A key names its project when it is made. A project without a row here is a note that usage is summed by, and has no rules. A running server
 * knows of a change within a second or two, as of changed keys.
 *
 * Each act is written to the audit with it; by NULL: the program itself did it.
 * Threads  any. */
#ifndef HEARTH_SERVICE_ACCOUNT_PROJECTS_H
#define HEARTH_SERVICE_ACCOUNT_PROJECTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "service/account/audit.h"
#include "service/account/rules.h"
#include "store/store.h"

struct project_record {
    char *name, *limits, *budgets; /* the rules as they were written, "" for none */
    int64_t made_ms;
    int64_t n_keys; /* that are not revoked */
};

/* Makes it, or gives it new rules in place of all it had; NULL: those stay as they are. ERR_REQUEST: a rule is not understood, or the name is
 * none. */
bool project_set(struct store *s, const char *name, const char *limits, const char *budgets,
                 const struct actor *by, int64_t now_ms, struct err *e);
/* Its rules are gone; its keys stay. ERR_NOT_FOUND. */
bool project_remove(struct store *s, const char *name, const struct actor *by, int64_t now_ms, struct err *e);

struct project_list {
    struct project_record *v;
    int n;
};
/* Those that have rules, by name; name: only that one (ERR_NOT_FOUND without it). project_list_free() frees it. */
bool project_list(struct store *s, const char *name, struct project_list *out, struct err *e);
void project_list_free(struct project_list *l);

#endif
