/* config_keys.h - no key of a configuration is passed over in silence.
 *
 * Each kind of file (a scheduler's, a UNet's, a VAE's, ...) has a table of the keys that are known. A key is read by its loader,
 * or has no effect on a picture, or is right for one value only (`only`): any other value names the key and refuses the file. A
 * key that no table knows is named in the log, so that one that a newer file brings shows. Keys that begin with an underscore are
 * notes of the program that wrote the file. */
#ifndef HEARTH_IMAGE_CONFIG_KEYS_H
#define HEARTH_IMAGE_CONFIG_KEYS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct config_key {
    const char *name;
    /* NULL: read, or without effect. Otherwise a JSON array of the values that are drawn as the reference draws them; null, which
     * stands for the reference's default, is not among them unless it is listed. */
    const char *only;
};

bool config_key_known(const struct config_key *keys, size_t n, const char *name);
/* what: "UNet", for messages. */
bool config_keys_check(const json_t *config, const struct config_key *keys, size_t n, const char *what,
                       struct err *e);
/* The same for a text encoder's: what transformers writes into every model's configuration is without effect. */
bool config_keys_check_text(const json_t *config, const struct config_key *keys, size_t n, const char *what,
                            struct err *e);

#endif
