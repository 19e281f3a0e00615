/* catalog.h - the models hearth knows by name, from catalog/models.yaml: ids, aliases, prices, context, defaults.
 *
 * The built-in catalog is part of the binary; a file of the same form may replace it.
 * Threads    read-only after catalog_load(). Strings live until catalog_free(). */
#ifndef HEARTH_SERVICE_MODELS_CATALOG_H
#define HEARTH_SERVICE_MODELS_CATALOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str_list.h"

enum model_kind { MODEL_TEXT, MODEL_IMAGE };
enum thoughts { /* how they are shown on Fireworks' paths; on OpenAI's always apart */
                THOUGHTS_NONE,
                THOUGHTS_INLINE, /* in the text, as <think>...</think> */
                THOUGHTS_SPLIT   /* apart from it */
};
enum catalog_calls { /* whether the model calls tools, and how it writes calls where its template does not tell */
                     CALLS_NO,
                     CALLS_YES,
                     CALLS_FORMATS /* this and what is above it: by catalog_calls_format() */
};
enum price_unit { PRICE_NONE, PRICE_PER_1M_TOKENS, PRICE_PER_STEP };

struct catalog_model {
    char *id;                   /* canonical, "accounts/fireworks/models/NAME" */
    char *name, *family, *arch; /* for people; "" when the file does not say */
    char *owner;
    char *source;                   /* what `hearth pull` takes, "hf:owner/repo", or "" */
    struct str_list aliases, files; /* files: shell patterns of names in the model folder */
    struct str_list sizes;          /* images: "1024x1024", ... */
    char *native; /* images: what is drawn, whatever of sizes is asked for; "": that size itself */
    enum model_kind kind;
    int64_t created; /* Unix seconds */
    int64_t params_total, params_active;
    int64_t context; /* tokens; 0: not a text model */
    enum catalog_calls calls;
    bool tools, image_input; /* tools: calls is more than no */
    enum thoughts reasoning;
    struct think_budgets { /* tokens of a thought by effort; 0: as for other models */
        int64_t minimal, low, medium, high;
    } budgets;
    enum price_unit price_unit;
    double price_input, price_output, price_step; /* US dollars */
    double price_batch; /* the part of it that a line of a batch pays, above 0 and up to 1; 0: all */
    int steps;          /* images: defaults */
    double guidance;
    char *size;
};

struct catalog;

/* path NULL or "": the built-in one. */
bool catalog_load(struct catalog **out, const char *path, struct err *e);
void catalog_free(struct catalog *c);
int catalog_count(const struct catalog *c);
const struct catalog_model *catalog_at(const struct catalog *c, int i);

/* The model a request means by `name`: the id, an alias, the last part of an id with any or no account in front
 * (accounts/A/models/NAME, fireworks/NAME, NAME), with a deployment behind it (NAME#..., accounts/A/deployedModels/NAME-DEP),
 * or the name of its source repository. NULL when there is none. */
const struct catalog_model *catalog_find(const struct catalog *c, const char *name);

/* NAME in any of the forms above: what follows the account prefix (also a doubled one), up to '#'. Points into `name`; *len is set. */
const char *catalog_bare_name(const char *name, int *len);

/* True when weights called `file` (a folder, or a file without its extension) are those of m. */
bool catalog_owns_file(const struct catalog_model *m, const char *file);

/* The name of the format that the model writes calls in (service/tools/tool_format.h); NULL: as its template tells. */
const char *catalog_calls_format(const struct catalog_model *c);

/* Tokens after which a thought of this effort is closed, where the request gives no number; -1: none. c NULL: of a model that is not known. */
int64_t catalog_think_budget(const struct catalog_model *c, const char *effort);

/* "1024x768" -> 1024, 768. */
bool catalog_parse_size(const char *s, int64_t *w, int64_t *h);

/* The last part of a path-like id. */
const char *catalog_last_part(const char *id);

#endif
