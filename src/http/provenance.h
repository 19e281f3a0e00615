/* provenance.h - what would make an answer again, noted with its request's ending: the hash of its canonical body, and its model's files. Its seed
 * is told by whoever draws it. Where nobody keeps books nothing is computed. */
#ifndef HEARTH_HTTP_PROVENANCE_H
#define HEARTH_HTTP_PROVENANCE_H

#include <jansson.h>
#include <stddef.h>

struct exchange;
struct model;

/* Before x's handler: with --record its body is copied, and those headers that its answer depends on. */
void provenance_begin(struct exchange *x);
/* SHA-256 of the JSON with its keys in order and without white space: however a client spells it, the same request has the same hash. */
void provenance_json(struct exchange *x, const json_t *body);
/* Of a form: its bytes as they came. */
void provenance_bytes(struct exchange *x, const char *body, size_t len);
/* On x's lane, once the model is loaded: its files are read a little, the first time. */
void provenance_model(struct exchange *x, struct model *m);

#endif
