/* models.h - what the lists of models have in common, whichever API prints them. */
#ifndef HEARTH_HTTP_MODELS_H
#define HEARTH_HTTP_MODELS_H

struct buf;
struct exchange;
struct model;
struct model_row;

/* Answers with the one of the installed models that m is, as print has it, or with what is wrong. */
void models_answer_one(struct exchange *x, const struct model *m,
                       void (*print)(struct buf *b, const struct model_row *row));

#endif
