/* safety.h - is a picture unsafe, and what then: the classifier built into the binary, and the policy of catalog/safety.yaml.
 *
 * Threads    safety_check() and safety_score() may be called from any thread; pictures are classified one at a time. */
#ifndef HEARTH_SERVICE_SAFETY_SAFETY_H
#define HEARTH_SERVICE_SAFETY_SAFETY_H

#include <stdbool.h>

#include "image/image.h"

enum safety_action { SAFETY_PASS, SAFETY_BLUR, SAFETY_REJECT };

struct safety;

/* policy_path NULL or "": the built-in policy. */
bool safety_load(struct safety **out, const char *policy_path, struct device *dev, struct err *e);
void safety_free(struct safety *s);

/* *unsafe: the probability of the policy's unsafe classes together; *nsfw: whether it reaches the threshold. */
bool safety_score(struct safety *s, const struct image_rgb *picture, double *unsafe, bool *nsfw,
                  struct err *e);

/* *nsfw: what the classifier says. With apply, the policy's action changes the picture; *filtered tells whether it did. */
bool safety_check(struct safety *s, struct image_rgb *picture, bool apply, bool *nsfw, bool *filtered,
                  struct err *e);

#endif
