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
#elif defined(__aarch64__)
    if (isa & ISA_I8MM) return &quant_kern_i8mm;
    if (isa & ISA_DOTPROD) return &quant_kern_dotprod;
    if (isa & ISA_NEON) return &quant_kern_neon;
#endif
    (void)isa;
    return &quant_kern_plain;
}

const struct attn_kern *attn_kern_pick(unsigned isa)
{
#if defined(__x86_64__)
    if (isa & ISA_AVX512) return &attn_kern_avx512;
    if (isa & ISA_AVX2) return &attn_kern_avx2;
#elif defined(__aarch64__)
    if (isa & ISA_NEON) return &attn_kern_neon;
#endif
    (void)isa;
    return &attn_kern_plain;
}

static void close_device(struct device *base)
{
    struct cpu_device *d = cpu_of(base);
    mem_free(d->shared);
    mem_free(d->thread);
    mem_free(d->gathered);
    mem_free(d->share);
    free(d);
}

static void finish(struct device *d) { (void)d; } /* every operation is done when it returns */

/* clang-format off */
static const struct device_ops table = {
    .close = close_device, .finish = finish,
    .acquire = host_acquire, .release = host_release, .offer = host_offer, .stop_on = host_stop_on,
    .run_host = host_run,
    .alloc = cpu_alloc, .reserve = cpu_reserve, .unreserve = cpu_unreserve, .free = cpu_free, .lend = cpu_lend,
    .upload = cpu_copy, .download = cpu_copy, .read = cpu_read, .copy = cpu_copy,
    .linear_new = cpu_linear_new, .linear_free = cpu_linear_free, .linear_is_copy = cpu_linear_is_copy,
    .linear_set_fine = cpu_linear_set_fine, .linear_bytes = cpu_linear_bytes,
    .conv_new = cpu_conv_new, .conv_free = cpu_conv_free, .conv_bytes = cpu_conv_bytes,
    .table_new = cpu_table_new, .table_free = cpu_table_free,
    .kv_page_bytes = cpu_kv_page_bytes,
    .linear = cpu_linear, .linear_each = cpu_linear_each,
    .moe = cpu_moe, .embed = cpu_embed, .rope = cpu_rope, .attention_paged = cpu_attention_paged,
    .rmsnorm = cpu_rmsnorm, .layernorm = cpu_layernorm, .attention = cpu_attention, .rope_table = cpu_rope_table,
    .conv2d = cpu_conv2d, .groupnorm_fold = cpu_groupnorm_fold, .scale_shift = cpu_scale_shift,
    .silu = cpu_silu, .add = cpu_add, .axpby = cpu_axpby,
    .route = cpu_route, .copy_rows = cpu_copy_rows, .gather = cpu_gather, .fill = cpu_fill,
    .from_planes = cpu_from_planes, .to_planes = cpu_to_planes, .pack = cpu_pack, .unpack = cpu_unpack,
    .timestep = cpu_timestep, .rope_grid = cpu_rope_grid, .relative_bias = cpu_relative_bias,
    .epilogue = cpu_epilogue, .geglu = cpu_geglu, .scale = cpu_scale, .scale_rows = cpu_scale_rows,
    .lincomb = cpu_lincomb, .clamp = cpu_clamp, .guide = cpu_guide, .mask = cpu_mask,
    .posterior = cpu_posterior, .tile = cpu_tile, .untile = cpu_untile,
};
/* clang-format on */

bool device_cpu_open(struct device **out, struct pool *pool, unsigned isa_mask, struct err *e)
{
    struct cpu_device *d = calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_NOMEM, "no memory for the device");
    d->base.ops = &table;
    d->pool = d->base.pool = pool;
    if (!isa_choose(&d->isa, e)) {
        free(d);
        return false;
    }
    d->isa = isa_closed(d->isa & isa_mask);
    d->base.isa = d->isa;
    d->quant = quant_kern_pick(d->isa);
    d->attn = attn_kern_pick(d->isa);
    d->fl = float_kern_pick(d->isa);
    char sets[48];
    isa_describe(d->isa, sets, sizeof sets);
    snprintf(d->base.name, sizeof d->base.name, "cpu %s, %d thread%s", sets, pool_threads(pool),
             pool_threads(pool) == 1 ? "" : "s");
    d->share = mem_aligned((size_t)pool_threads(pool), sizeof *d->share, true);
    if (!d->share) err_set(e, ERR_NOMEM, "no memory for the device");
    if (!d->share || !scratch_reserve(d, FLOAT_SCRATCH_SHARED, FLOAT_SCRATCH_THREAD, e)) {
        device_close(&d->base);
        return false;
    }
    *out = &d->base;
    return true;
}

bool scratch_reserve(struct cpu_device *d, size_t shared_bytes, size_t thread_bytes, struct err *e)
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
