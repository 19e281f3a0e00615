/* safety_data.h - the classifier's weights and the built-in policy, part of the binary. */
#ifndef HEARTH_SERVICE_SAFETY_SAFETY_DATA_H
#define HEARTH_SERVICE_SAFETY_SAFETY_DATA_H

extern const char safety_weights[], safety_weights_end[]; /* models/nsfw/mobilenet_v2_nsfw.safetensors */
extern const char safety_policy[], safety_policy_end[];   /* catalog/safety.yaml */

#endif
