/* cpu.c - opening the CPU device: what the machine can do, and which kernels that means. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "device/cpu/cpu_internal.h"
#include "device/cpu/float_kern.h"
#include "device/cpu/paged_attention.h"
#include "device/cpu/quant.h"
#include "device/cpu/split.h"

const struct quant_kern *quant_kern_pick(unsigned isa)
{
#if defined(__x86_64__)
    if (isa & ISA_AMX) return &quant_kern_amx;
    if (isa & ISA_AVX512) return &quant_kern_avx512;
    if (isa & ISA_AVXVNNI) return &quant_kern_avxvnni;
    if (isa & ISA_AVX2) return &quant_kern_avx2;
#endif
    (void)isa;
    return &quant_kern_plain;
}

const struct attn_kern *attn_kern_pick(unsigned isa)
{
#if defined(__x86_64__)
    if (isa & ISA_AVX512) return &attn_kern_avx512;
    if (isa & ISA_AVX2) return &attn_kern_avx2;
#endif
    (void)isa;
    return &attn_kern_plain;
}

bool device_cpu_open(struct device **out, struct pool *pool, unsigned isa_mask, struct err *e)
{
    struct device *d = calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_NOMEM, "no memory for the device");
    d->pool = pool;
    if (!isa_choose(&d->isa, e)) {
        free(d);
        return false;
    }
    d->isa &= isa_mask;
    /* Every set builds on those below it: without one, those above it are out too. */
    if (!(d->isa & ISA_AVX2)) d->isa = 0;
    if (!(d->isa & ISA_AVX512)) d->isa &= ~(unsigned)(ISA_AVX512BF16 | ISA_AMX);
    if (!(d->isa & ISA_AVX512BF16)) d->isa &= ~(unsigned)ISA_AMX;
    d->quant = quant_kern_pick(d->isa);
    d->attn = attn_kern_pick(d->isa);
    d->fl = float_kern_pick(d->isa);
    char sets[48];
    isa_describe(d->isa, sets, sizeof sets);
    snprintf(d->name, sizeof d->name, "cpu %s, %d thread%s", sets, pool_threads(pool),
             pool_threads(pool) == 1 ? "" : "s");
    d->share = mem_aligned((size_t)pool_threads(pool), sizeof *d->share, true);
    if (!d->share) err_set(e, ERR_NOMEM, "no memory for the device");
    if (!d->share || !scratch_reserve(d, FLOAT_SCRATCH_SHARED, FLOAT_SCRATCH_THREAD, e)) {
        device_close(d);
        return false;
    }
    *out = d;
    return true;
}

void device_close(struct device *d)
{
    if (!d) return;
    mem_free(d->shared);
    mem_free(d->thread);
    mem_free(d->gathered);
    mem_free(d->share);
    free(d);
}

struct pool *device_pool(struct device *d) { return d->pool; }
const char *device_name(const struct device *d) { return d->name; }
unsigned device_isa(const struct device *d) { return d->isa; }

bool scratch_reserve(struct device *d, size_t shared_bytes, size_t thread_bytes, struct err *e)
{
    if (shared_bytes > d->shared_cap) {
        unsigned char *p = mem_aligned(shared_bytes, 1, false);
        if (!p) return err_set(e, ERR_NOMEM, "no memory for %zu bytes of scratch", shared_bytes);
        mem_free(d->shared);
        d->shared = p;
        d->shared_cap = shared_bytes;
    }
    if (thread_bytes > d->thread_cap) {
        /* Whole pages and one line apart, so that the same offsets of two threads do not meet in one cache set. */
        size_t each = ((thread_bytes + 4095) & ~(size_t)4095) + 64;
        unsigned char *p = mem_aligned((size_t)pool_threads(d->pool), each, false);
        if (!p) return err_set(e, ERR_NOMEM, "no memory for %zu bytes of scratch a thread", thread_bytes);
        mem_free(d->thread);
        d->thread = p;
        d->thread_cap = each;
    }
    return true;
}
