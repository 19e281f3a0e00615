/* anthropic_models.h - the list of models, and one of them, as Anthropic's clients read them: those that can be sent messages. */
#ifndef HEARTH_HTTP_ANTHROPIC_MODELS_H
#define HEARTH_HTTP_ANTHROPIC_MODELS_H

struct exchange;

/* Handlers of GET /v1/models and GET /v1/models/ID. */
void anthropic_models_list(struct exchange *x);
void anthropic_models_get(struct exchange *x);

#endif
