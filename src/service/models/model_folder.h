/* model_folder.h - what lies in the folder of installed models.
 *
 * NAME.gguf                       a model called NAME; an image model when it says so, or when its tensors do
 * NAME/ with one *.gguf           a model called NAME (of a split file the first part counts); with several, each by its own name
 * NAME/ with config.json and *.safetensors    a Hugging Face folder called NAME
 * NAME/ with model_index.json     an image pipeline called NAME
 * NAME.safetensors, NAME/ with one that holds a denoiser in an original layout    an image checkpoint called NAME
 * OWNER/ with none of these       looked into once more
 * NAME/ with config.json and nothing but PyTorch pickles    a model called NAME that cannot be used
 * Names that start with a dot are passed over. */
#ifndef HEARTH_SERVICE_MODELS_MODEL_FOLDER_H
#define HEARTH_SERVICE_MODELS_MODEL_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "service/models/catalog.h"

struct installed {
    char *name; /* a folder's name, or a file's without .gguf and without -00001-of-0000N */
    char *path; /* for lm_load(): the file or the folder */
    char *file; /* the file's stem when name is the folder's; else NULL */
    bool image;
    size_t bytes; /* of weights on disk */
};

struct installed_list {
    struct installed *v;
    int n;
    char unread[300]; /* a folder in it that may not be read, and why; "": none */
};

/* Sorted by name. A folder that is not there holds nothing; that is no error. */
bool model_folder_scan(const char *dir, struct installed_list *out, struct err *e);
/* One file or folder given by path, under the name it would have in the folder. */
bool model_folder_at(const char *path, struct installed *out, struct err *e);
/* Could it be loaded? Looks at names, configuration and headers, so that milliseconds tell what is truncated, of an architecture without
 * an engine, or encoded in a way that is not read. *sees: a text model that takes pictures. */
bool model_folder_check(const struct installed *m, bool *sees, struct err *e);
/* Are these the weights of that model of the catalog: of its kind, and under one of its files' names? */
bool installed_is(const struct installed *m, const struct catalog_model *c);
void installed_free(struct installed *m);
void installed_list_free(struct installed_list *l);

#endif
