/* Any bytes as a language model: a GGUF file's head, or a config.json, a NUL and the header of a safetensors file. The tensors' data are zeros.
 * Every family that recognises it checks it; what is let through is loaded and computes two tokens. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/pool.h"
#include "lm/arch.h"
#include "lm/hparams.h"
#include "lm/kvcache.h"
#include "weights_place.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pool *pool;
static struct device *dev;

static void must(bool ok, const struct err *e)
{
    if (ok) return;
    fprintf(stderr, "lm_weights: %s\n", e->msg);
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    struct err e = { 0 };
    place_make("lm");
    log_set_level(LOG_ERROR - 1);
    must(pool_new(&pool, 1, &e) && device_cpu_open(&dev, pool, ~0u, &e), &e);
    return 0;
}

static void compute(const struct lm_arch *arch, const struct weights *w)
{
    enum { N = 2 };
    struct err e = { 0 };
    struct lm_net *net;
    struct lm_shape s;
    struct kv_plan plan;
    struct kvcache *cache;
    if (!arch->engine->load(arch, &net, &s, w, dev, N, N, &e)) {
        place_refused(&e);
        return;
    }
    kv_plan(&plan, &s);
    const int32_t ids[N] = { 0, 1 }, pos[N] = { 0, 1 };
    int32_t page[KV_GROUPS];
    struct lm_seq seq[KV_GROUPS];
    if (kvcache_new(&cache, dev, KV_F16, &plan, &s, plan.n_group, &e)) {
        for (int k = 0; k < plan.n_group; k++) {
            page[k] = kvcache_alloc(cache);
            seq[k] = (struct lm_seq){ .row = 0, .n = N, .pos0 = 0, .page = &page[k] };
        }
        const struct lm_batch b = { .n_rows = N,
                                    .ids = ids,
                                    .pos = pos,
                                    .seq = seq,
                                    .n_seq = 1,
                                    .group = plan.group_of,
                                    .lane = POOL_PREFILL };
        if (!arch->engine->step(net, &b, kvcache_layers(cache), &e)) place_refused(&e);
        kvcache_free(cache);
    } else {
        place_refused(&e);
    }
    arch->engine->free(net);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = { 0 };
    struct weights *w;
    if (!place_open(&w, data, size)) return 0;
    for (int i = 0; i < lm_n_families; i++) {
        const struct lm_arch *arch = lm_families[i];
        struct lm_shape s;
        if (!hparams_member(arch->member, arch->n_members, w)) continue;
        if (arch->engine->check(arch, &s, w, &e))
            compute(arch, w);
        else
            place_refused(&e);
    }
    weights_close(w);
    return 0;
}
