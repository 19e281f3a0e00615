/* lora_folder.h - the adapters that image requests may name.
 *
 * NAME.safetensors    an adapter called NAME, or NAME.safetensors
 * NAME/               one called NAME: adapter_model.safetensors (PEFT), pytorch_lora_weights.safetensors (diffusers), or its only
 *                     *.safetensors
 * A name reaches nothing outside the folder: it has no slash and does not start with a dot. */
#ifndef HEARTH_SERVICE_MODELS_LORA_FOLDER_H
#define HEARTH_SERVICE_MODELS_LORA_FOLDER_H

#include <stdbool.h>

#include "base/err.h"

/* *path is the caller's to free. ERR_REQUEST: there is none of this name, or no such folder. */
bool lora_folder_find(const char *dir, const char *name, char **path, struct err *e);

#endif
