/* prices.h - what a request costs: the catalog's prices, and those of a file of one's own, each from its day on.
 *
 * File   prices:
 *          - { model: deepseek-v3, since: 2026-01-01, input: 0.90, cached_input: 0.45, output: 0.90 }
 *          - { model: my-flux, per_step: 0.0005, per_picture: 0.002, batch: 0.5 }
 *        in dollars: input, cached_input and output per million tokens, the others each. `batch` is the part of it that a line of a batch pays. `model` is an id of the catalog in any of its forms,
 *        or the id of a model that only this machine has; without `since` it has always held. A file's price stands before the catalog's.
 * Threads  read-only after prices_open(). */
#ifndef HEARTH_SERVICE_ACCOUNT_PRICES_H
#define HEARTH_SERVICE_ACCOUNT_PRICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "service/usage.h"

struct catalog;
struct prices;

struct price {
    int64_t since_ms;                    /* Unix */
    int64_t input, cached_input, output; /* nano-dollars per million tokens */
    int64_t step, picture;               /* nano-dollars each */
    int64_t batch; /* what part of all that a line of a batch pays, in millionths; 0: all */
};
/* What a line of a batch pays. */
struct price price_in_batch(const struct price *p);

/* path "": the catalog's alone. The catalog is needed only until this returns. */
bool prices_open(struct prices **out, const struct catalog *c, const char *path, struct err *e);
bool prices_parse(struct prices **out, const struct catalog *c, const char *name, const char *text,
                  size_t len, struct err *e);
void prices_close(struct prices *p);
/* The price that holds for a model at that time; all zero where there is none. */
struct price prices_of(const struct prices *p, const char *model, int64_t at_ms);

/* In nano-dollars, rounded once at the end (half up); no more than MONEY_MAX. */
int64_t price_cost(const struct price *p, const struct usage *u);

#endif
