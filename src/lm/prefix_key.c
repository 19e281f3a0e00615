#include "lm/prefix_key.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/version.h"
#include "format/gguf.h"
#include "format/weights.h"

enum { SAMPLE = 4096 }; /* bytes from the beginning, the middle and the end of a tensor */

static void add(crypto_generichash_state *st, const void *p, size_t n)
{
    const uint64_t len = n; /* so that what follows each other cannot be cut another way */
    crypto_generichash_update(st, (const unsigned char *)&len, sizeof len);
    if (n) crypto_generichash_update(st, p, n);
}

static void add_text(crypto_generichash_state *st, const char *s) { add(st, s ? s : "", s ? strlen(s) : 0); }

static void add_json(crypto_generichash_state *st, const json_t *j)
{
    char *text = j ? json_dumps(j, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    add_text(st, text);
    free(text);
}

/* The time too: a file that was changed in place between two samples is another one. */
static void add_file(crypto_generichash_state *st, const char *path)
{
    struct stat s;
    char text[80] = "";
    if (stat(path, &s) == 0)
        snprintf(text, sizeof text, "%jd %jd %ld", (intmax_t)s.st_size, (intmax_t)s.st_mtim.tv_sec,
                 s.st_mtim.tv_nsec);
    add_text(st, text);
}

static void add_gguf(crypto_generichash_state *st, const struct gguf *g)
{
    for (size_t i = 0; i < gguf_count(g); i++) {
        const struct gguf_value *v = gguf_at(g, i);
        if (v->is_array || v->type == GGUF_STRING)
            continue; /* names, templates and vocabularies; lists of divisors are tensors */
        static const unsigned char size[] = {
            [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
            [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8
        };
        add(st, v->key.data, v->key.len);
        add(st, v->data, size[v->type]);
    }
    const struct gguf_str scaling = gguf_string(g, "general.architecture");
    add(st, scaling.data, scaling.len);
}

void prefix_key(unsigned char key[PREFIX_HASH], const struct weights *w, const char *path, enum kv_type type,
                size_t page_bytes, int n_ctx, unsigned isa)
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, NULL, 0, PREFIX_HASH);
    char text[120];
    snprintf(text, sizeof text, "%d %zu %d %u %d", (int)type, page_bytes, n_ctx, isa, KV_PAGE);
    add_text(&st, text);
    add_text(&st, hearth_version);
    add_json(&st, weights_config(w));
    add_json(&st, weights_quantization_file(w, NULL));
    if (weights_gguf(w)) add_gguf(&st, weights_gguf(w));
    add_file(&st, path);
    for (size_t i = 0; i < weights_count(w); i++) {
        const struct tensor *t = weights_at(w, i);
        const size_t n = t->bytes < SAMPLE ? t->bytes : SAMPLE;
        add_text(&st, t->name);
        add(&st, &t->type, sizeof t->type);
        add(&st, t->dim, sizeof t->dim);
        add(&st, t->data, n);
        add(&st, (const char *)t->data + (t->bytes - n) / 2, n);
        add(&st, (const char *)t->data + (t->bytes - n), n);
    }
    crypto_generichash_final(&st, key, PREFIX_HASH);
}
