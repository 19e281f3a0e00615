/* Any bytes as a language model: a GGUF file's head, or a config.json, a NUL and the header of a safetensors file. The tensors' data are zeros.
 * Every family that recognises it checks it; what is let through is loaded and computes two tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/pool.h"
#include "lm/arch.h"
#include "lm/hparams.h"
#include "lm/kvcache.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DATA_BYTES ((off_t)512 << 10)
#define MOST_HEADER ((size_t)64 << 10)

static char dir[64], config[96], tensors[96], gguf[96];
static struct pool *pool;
static struct device *dev;

static void remove_files(void)
{
    unlink(config);
    unlink(tensors);
    unlink(gguf);
    rmdir(dir);
}

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
    snprintf(dir, sizeof dir, "/tmp/hearth-fuzz-lm-%ld", (long)getpid());
    snprintf(config, sizeof config, "%s/config.json", dir);
    snprintf(tensors, sizeof tensors, "%s/model.safetensors", dir);
    snprintf(gguf, sizeof gguf, "%s.gguf", dir);
    if (mkdir(dir, 0700) != 0) abort();
    atexit(remove_files);
    log_set_level(LOG_ERROR - 1);
    must(pool_new(&pool, 1, &e) && device_cpu_open(&dev, pool, ~0u, &e), &e);
    return 0;
}

/* `head` in front (NULL: nothing), the bytes, and so many zeros. */
static bool write_file(const char *path, const uint64_t *head, const uint8_t *data, size_t size, off_t zeros)
{
    FILE *f = fopen(path, "wb");
    const size_t before = head ? sizeof *head : 0;
    bool ok = f && (!head || fwrite(head, sizeof *head, 1, f) == 1) &&
              (size == 0 || fwrite(data, 1, size, f) == size) && fflush(f) == 0 &&
              ftruncate(fileno(f), (off_t)(before + size) + zeros) == 0;
    return (!f || fclose(f) == 0) && ok;
}

static void refused(const struct err *e)
{
    if (e->code == ERR_NONE || !e->msg[0]) abort(); /* a refusal says why */
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
        refused(&e);
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
        if (!arch->engine->step(net, &b, kvcache_layers(cache), &e)) refused(&e);
        kvcache_free(cache);
    } else {
        refused(&e);
    }
    arch->engine->free(net);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = { 0 };
    struct weights *w;
    if (size > MOST_HEADER) return 0;
    const bool is_gguf = size > 4 && memcmp(data, "GGUF", 4) == 0;
    if (is_gguf) {
        if (!write_file(gguf, NULL, data, size, DATA_BYTES)) return 0;
    } else {
        const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
        const size_t n = nul ? (size_t)(nul - data) : size;
        const uint64_t header = nul ? size - n - 1 : 0;
        if (!write_file(config, NULL, data, n, 0) ||
            !write_file(tensors, &header, nul ? nul + 1 : data, (size_t)header, DATA_BYTES))
            return 0;
    }
    if (!weights_open(&w, is_gguf ? gguf : dir, &e)) {
        refused(&e);
        return 0;
    }
    for (int i = 0; i < lm_n_families; i++) {
        const struct lm_arch *arch = lm_families[i];
        struct lm_shape s;
        if (!hparams_member(arch->member, arch->n_members, w)) continue;
        if (arch->engine->check(arch, &s, w, &e))
            compute(arch, w);
        else
            refused(&e);
    }
    weights_close(w);
    return 0;
}
