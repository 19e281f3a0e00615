/* hub.h - `hearth pull`: model files from a hub with Hugging Face's layout, from a URL, from a local path.
 *
 *   hf:OWNER/REPO[@REVISION]            what makes up the model (hub_select.h)
 *   hf:OWNER/REPO[@REVISION]/PATH       one file of it, with its parts when it is split
 *   hf:OWNER/REPO[@REVISION]:Q8_0       one quantisation of a GGUF repository
 *   https://HOST/.../FILE               one file; an address of the hub itself is read as hf:
 *   PATH                                a local file or folder, copied
 *
 * Files go to MODELS/OWNER/REPO, or MODELS/NAME for what has no owner. Each is installed whole or not at all
 * (download.h); a set that was interrupted is completed by pulling again, one that failed otherwise leaves nothing. A folder whose
 * configuration names a language model without an engine here is refused before anything is kept.
 * Threads  any; a call blocks until it is done. */
#ifndef HEARTH_SERVICE_HUB_HUB_H
#define HEARTH_SERVICE_HUB_HUB_H

#include "service/hub/download.h"

struct hub_watch {
    struct download_watch download; /* of the file at hand */
    /* Before each file: number i of n. */
    void (*file)(void *arg, const char *name, int i, int n);
    void (*plan)(void *arg, int n_files, int64_t bytes, const char *dir);
    void *arg;
};

struct hub_options {
    const char *hub;   /* "https://huggingface.co" */
    const char *token; /* "" or NULL: none */
    const char *models_dir;
    const char *sha256; /* what a single file must hash to; "" or NULL: whatever the hub says */
    int tries;          /* attempts in a row without a byte; 0: download.h's */
};

/* *path: the installed model, as lm_load() and the catalog want it: the (first) GGUF file, the safetensors file of a
 * single-file pull, or the folder. Owned by the caller. */
bool hub_pull(const struct hub_options *o, const char *what, const struct hub_watch *w, char **path,
              struct err *e);

#endif
