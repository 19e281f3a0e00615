/* policy.h - what a prompt may say: the lists of words and the named policies of catalog/safety.yaml, or of an operator's file like it.
 *
 * A policy refuses what is on some lists, has others reviewed, and lets the rest pass; "off", which needs no line in the file, looks at nothing.
 * Lists may be of one of the categories of OpenAI's moderations.
 * Ownership  policies and lists live as long as their rules.
 * Threads    read-only after word_rules_load(). */
#ifndef HEARTH_SERVICE_SAFETY_POLICY_H
#define HEARTH_SERVICE_SAFETY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str_list.h"
#include "service/safety/phrases.h"

/* The categories, in the order in which OpenAI prints them. */
enum { N_CATEGORIES = 13, CATEGORY_NONE = -1 };
extern const char *const safety_categories[N_CATEGORIES];

struct word_policy {
    char *name;
    uint64_t refuse, review; /* bits of lists */
    bool hold;               /* what is to be reviewed waits for a person; else it passes with a mark */
    bool answers;            /* what models answer is looked at too */
};

/* A chat model that judges texts beside the lists. */
struct word_judge {
    char *model, *prompt; /* prompt "": the built-in instruction */
    unsigned labels;      /* bits of categories that it may answer */
    double threshold;     /* from which sureness on a text is flagged */
    bool prompts;         /* of chats and pictures too, not only those of moderations */
    bool refuse;          /* where it fails the request fails; else the lists decide alone */
};

struct word_rules;
/* path NULL or "": the built-in file. A file without words has the policy "off" alone. */
bool word_rules_load(struct word_rules **out, const char *path, struct err *e);
/* The same of bytes in memory, which errors call `name`. */
bool word_rules_read(struct word_rules **out, const char *name, const char *text, size_t len, struct err *e);
void word_rules_free(struct word_rules *r);

/* "": the file's default. NULL with *e ERR_NOT_FOUND, which says which there are. */
const struct word_policy *word_rules_find(const struct word_rules *r, const char *name, struct err *e);
/* The one that the file gives a project; NULL: none. */
const struct word_policy *word_rules_project(const struct word_rules *r, const char *project);
/* False, naming the policy: one holds what is to be reviewed, and there is no store to keep it in. */
bool word_rules_may_hold(const struct word_rules *r, bool has_store, struct err *e);
const struct word_judge *word_rules_judge(const struct word_rules *r); /* NULL: there is none */
const struct phrases *word_rules_phrases(const struct word_rules *r);
int word_rules_category(const struct word_rules *r, unsigned list); /* or CATEGORY_NONE */

/* ---- a text held against a policy ---------------------------------------------------------------------------------- */

enum word_verdict { WORD_PROCEED, WORD_REVIEW, WORD_REFUSE };
const char *word_action(enum word_verdict v); /* "proceed", "review", "reject" */

/* What is found over one or several texts; zeroed before the first, freed by word_found_free(). */
struct word_found {
    enum word_verdict verdict;
    uint64_t lists;           /* of all that was found, also of lists that the policy does not name */
    char reason[160];         /* REFUSE: why, for the client */
    struct str_list warnings; /* phrases to be reviewed, each once, a few at most */
};
bool word_check(const struct word_rules *r, const struct word_policy *p, const char *text, size_t len,
                struct word_found *out, struct err *e);
void word_found_free(struct word_found *f);

/* The literal check of the guides: their keywords as parts of the prompt in lower case. out.warnings: all of them. */
bool word_check_seed(const struct word_rules *r, const char *prompt, size_t len, struct word_found *out,
                     struct err *e);

#endif
