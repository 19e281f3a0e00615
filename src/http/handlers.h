/* handlers.h - what the routes call. Each ends as exchange.h asks. */
#ifndef HEARTH_HTTP_HANDLERS_H
#define HEARTH_HTTP_HANDLERS_H

struct exchange;

void health_get(struct exchange *x); /* health.c */
void ready_get(struct exchange *x);
void metrics_get(struct exchange *x);
void models_list(struct exchange *x); /* models.c */
void models_get(struct exchange *x);
void account_models_get(struct exchange *x);
void tokenize_post(struct exchange *x); /* tokens.c */
void detokenize_post(struct exchange *x);
void chat_post(struct exchange *x); /* text.c */
void completions_post(struct exchange *x);
void images_generations(struct exchange *x); /* pictures.c */
void images_edits(struct exchange *x);
void images_variations(struct exchange *x);
void workflows_post(struct exchange *x);
void image_generation_post(struct exchange *x);
void firemoon_post(struct exchange *x);
void firemoon_get(struct exchange *x);
void files_get(struct exchange *x); /* picture_files.c */

#endif
