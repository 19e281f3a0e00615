/* test_config.h - a family's reading of a config.json, for tests. */
#ifndef HEARTH_LM_TEST_CONFIG_H
#define HEARTH_LM_TEST_CONFIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "lm/arch.h"
#include "lm/config_keys.h"
#include "lm/hparams.h"

/* What hparams_read() makes of this config.json; unused: NULL, or the keys that are named as without effect, to be freed. */
static inline bool read_config_of(const struct lm_arch *arch, const json_t *config, struct lm_shape *s,
                                  char **unused, struct err *e)
{
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    const uint64_t n = sizeof header - 1;
    char dir[] = "/tmp/hearth-config-XXXXXX", json[80], file[80];
    struct weights *w;
    assert_non_null(mkdtemp(dir));
    snprintf(json, sizeof json, "%s/config.json", dir);
    snprintf(file, sizeof file, "%s/model.safetensors", dir);
    assert_int_equal(json_dump_file(config, json, 0), 0);
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    fwrite(&n, sizeof n, 1, f);
    fwrite(header, n, 1, f);
    fwrite("\0\0\0", 4, 1, f);
    assert_int_equal(fclose(f), 0);
    if (!weights_open(&w, dir, e)) fail_msg("%s", e->msg);
    const struct hparam_family *member = hparams_member(arch->member, arch->n_members, w);
    assert_non_null(member);
    const bool ok = hparams_read(s, member, w, e);
    if (unused) {
        struct buf b = BUF_INIT(0);
        config_keys_unused(&b, member, hparams_config(w));
        *unused = strdup(b.data ? b.data : "");
        buf_free(&b);
    }
    weights_close(w);
    unlink(json);
    unlink(file);
    rmdir(dir);
    return ok;
}

#endif
