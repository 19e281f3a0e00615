/* registry.h - the models of this process: found by name, loaded when asked for, unloaded when memory is short.
 *
 * A model is loaded at the first registry_acquire() and stays while it is acquired. When loading another would pass the memory limit, those
 * that nobody holds go, longest unused first; with keep_loaded, or after registry_keep(), each goes when it has been idle for so long, and is
 * loaded again by whoever wants it next. The folder of installed models is looked at again when a name is not known, so that a
 * model pulled while the server runs is served.
 * Threads    every function may be called from any thread. Loading blocks its caller, and others who want the same model. */
#ifndef HEARTH_SERVICE_MODELS_REGISTRY_H
#define HEARTH_SERVICE_MODELS_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>

#include "image/image.h"
#include "lm/lm.h"
#include "service/models/aliases.h"
#include "service/models/catalog.h"
#include "service/models/fingerprint.h"

struct registry;
struct model; /* one known model; lives as long as the registry */

struct registry_options {
    const char *models_dir;
    struct lm_options lm;
    /* Bytes; 0: nine tenths of the machine's memory, which image models may pass: their weights can stay in the file. */
    size_t memory_limit;
    const char *
        lister; /* what lists the models, for the error that there is none of a name; NULL: "GET /v1/models" */
    int memory_wait; /* seconds that a model waits for memory that requests to others hold, before ERR_BUSY */
    double
        keep_loaded; /* seconds that a loaded model stays when nobody uses it; 0: until its memory is needed */
};

/* The catalog and the devices are borrowed for the registry's life. Text and image models run at the same time, so that they need
 * two devices over one pool (see pool.h); dev and image_dev may be the same where only one of them runs. */
bool registry_new(struct registry **out, const struct registry_options *o, const struct catalog *c,
                  struct device *dev, struct device *image_dev, struct err *e);
/* Nothing may be acquired any more. */
void registry_free(struct registry *r);

/* Adds a model by path, or by the name of an installed one; *out is set. For the command line. */
bool registry_add(struct registry *r, const char *path_or_name, struct model **out, struct err *e);

/* Names of one's own for models (aliases.h), which come before those of catalog and files: whoever is asked for one finds the model that it
 * means. The folder's file is looked at again at every request, so that what a command changes holds in a running server.
 *
 * From now on `name` means what `model` does. ERR_NOT_FOUND: that is none that is installed. ERR_REQUEST: an installed model is called `name`. */
bool registry_alias(struct registry *r, const char *name, const char *model, struct err *e);
/* ERR_NOT_FOUND: it is no alias. The model stays. */
bool registry_unalias(struct registry *r, const char *name, struct err *e);
/* All of them, which the caller frees with aliases_free(); those whose model is not installed are left out. Each `model` is a model_id(). */
bool registry_aliases(struct registry *r, struct aliases *out, struct err *e);

/* A message without the folders in which models lie, for clients to read: names begin with the model's file or folder. */
void registry_tell(struct registry *r, const char *msg, char *out, size_t cap);

/* The text model that a request calls `name`. ERR_NOT_FOUND: unknown, or known but without weights; the message says how to install. */
bool registry_find(struct registry *r, const char *name, struct model **out, struct err *e);

/* The same for an image model. name NULL: the first installed one. */
bool registry_find_image(struct registry *r, const char *name, struct model **out, struct err *e);

/* Loads if need be and takes a reference. ERR_LIMIT: it is larger than models may be here. ERR_BUSY: no memory until other requests end. ERR_REQUEST: a model of the other kind. */
bool registry_acquire(struct registry *r, struct model *m, struct lm **out, struct err *e);
bool registry_acquire_image(struct registry *r, struct model *m, struct image_model **out, struct err *e);
/* Loads a model of either kind; it may be unloaded again when room is needed. */
bool registry_preload(struct registry *r, struct model *m, struct err *e);
/* Takes a reference to a model of either kind: loading it if need be, or only if it is loaded and its files are the same still. A model
 * whose files were cut or written to is loaded anew as soon as nobody holds it. */
bool registry_take(struct registry *r, struct model *m, struct err *e);
bool registry_hold(struct registry *r, struct model *m);
void registry_release(struct registry *r, struct model *m);
/* From now on, until it is loaded again, m is unloaded when nobody has used it for so many seconds; below 0: only when its memory is needed. */
void registry_keep(struct registry *r, struct model *m, double seconds);

/* fingerprint.h's of the files that m has been loaded from, or will be; read once for each load. false: they cannot be read, and *out is "". */
bool registry_fingerprint(struct registry *r, struct model *m, char out[FINGERPRINT]);

const char *model_id(const struct model *m); /* canonical; what responses carry */
const struct catalog_model *
model_catalog(const struct model *m); /* NULL for one that only this machine knows, or for no model */

struct model_row {
    char problem[300]; /* why it cannot be loaded, fit for clients; "" when nothing speaks against it */
    const char *id, *path;
    const struct catalog_model *catalog; /* or NULL */
    bool image, loaded;
    bool sees;             /* a text model that takes pictures */
    size_t bytes;          /* of weights on disk, or resident when loaded */
    int n_ctx;             /* when loaded, else 0 */
    int64_t until_unix_ms; /* when loaded: when it goes if nobody uses it until then; 0: not known */
    int64_t installed_unix;
};
/* The installed models, after looking at the folder again and at those that are new or have changed (model_folder_check(), and their
 * size against the memory that models may take). *rows is the caller's to free(). */
bool registry_list(struct registry *r, struct model_row **rows, int *n, struct err *e);

/* What waits for m in its queue: choices of texts, or requests for pictures. 0: nothing, or it is not loaded. */
int registry_waiting(struct registry *r, struct model *m);

struct model_counts { /* of a loaded text model; the first ones only grow */
    uint64_t requests, prompt_tokens, cached_tokens, completion_tokens;
    uint64_t steps, step_rows, preemptions, cancelled; /* batches, and the tokens in them */
    uint64_t guesses_right, guesses_wrong;
    double step_seconds;
    int running, waiting, kv_pages_used, kv_pages_total; /* sequences; pages of keys and values */
    size_t resident_bytes;
    int64_t until_unix_ms; /* as in model_row */
};
/* Calls fn for each loaded text model with a consistent snapshot. */
void registry_counts(struct registry *r, void (*fn)(void *arg, const char *id, const struct model_counts *c),
                     void *arg);

#endif
