/* advice.h - which model for a task or a picture, with which parameters, by the rules of catalog/advice.yaml and what is installed.
 *
 * Two modes. ADVICE_SEED follows the literal rules that users of hosted services know, also where they have a hole (a budget between two
 * thresholds, a model that costs more than may be spent). ADVICE_BEST begins with the same rows, has some more, and never recommends
 * what costs more than may be spent without saying so. docs/advice.md has the differences.
 * Ownership  answers point into the rules and the catalog.
 * Threads    read-only after advice_load(). */
#ifndef HEARTH_SERVICE_ADVICE_ADVICE_H
#define HEARTH_SERVICE_ADVICE_ADVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "service/models/catalog.h"

enum advice_mode { ADVICE_BEST, ADVICE_SEED };

struct advice;

/* path NULL or "": the built-in rules, without those whose model the catalog does not have; every model that a file names must be there.
 * The catalog is borrowed. */
bool advice_load(struct advice **out, const char *path, const struct catalog *c, struct err *e);
void advice_free(struct advice *a);

/* What is recommended. Numbers below 0 and NULL: nothing is said of it. */
struct advised {
    const struct catalog_model *model;
    const char *says; /* the name that the literal rules give the model; its id otherwise */
    const char *why;  /* "" when the rule says nothing */
    const char *size;
    double temperature, top_p, guidance;
    int top_k, max_tokens, steps;
    int64_t nano; /* of a picture, nano-dollars */
    bool over;    /* it costs more than may be spent, and nothing costs less */
};

/* NULL: not said. */
struct text_question {
    const char *task, *complexity, *budget;
    enum advice_mode mode;
};
bool advise_text(const struct advice *a, const struct text_question *q, struct advised *out, struct err *e);

/* One of the first three is asked by: a quality with what may be spent, what it is for, or a way. Dollars below 0: not said. */
struct image_question {
    const char *quality; /* highest, good, or what else */
    const char
        *use_case; /* what it is for; also portrait, landscape, artistic: the parameters follow those */
    const char *priority; /* speed or quality: changes what is given */
    double dollars;       /* a picture may cost */
    /* What is given: a model's name, and parameters; NULL and below 0: not. */
    const char *model, *size;
    int steps;
    double guidance;
    enum advice_mode mode;
};
bool advise_image(const struct advice *a, const struct image_question *q, struct advised *out, struct err *e);

struct image_plan {
    struct advised each;
    int64_t n;
    int64_t nano;           /* all of them */
    double images_a_dollar; /* infinite where they cost nothing */
    bool over;              /* more than may be spent in all */
    int64_t affordable;     /* pictures that the budget pays for; -1: as many as wanted */
};
/* n pictures of a quality (NULL: good) for `dollars` in all. */
bool advise_batch(const struct advice *a, const char *quality, int64_t n, double dollars,
                  enum advice_mode mode, struct image_plan *out, struct err *e);

/* Whether a negative prompt means anything to it. */
bool advice_takes_negative(const struct catalog_model *m);

/* Nano-dollars of one picture of m after `steps`; 0 where the catalog has no price. */
int64_t advice_picture_cost(const struct catalog_model *m, int steps);

#endif
