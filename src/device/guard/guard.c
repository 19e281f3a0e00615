/* guard.c - memory that only operations reach. See guard.h. */
#include "device/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "device/guard/guard.h"

/* Addresses for everything; memory is taken when it is first written. An emulator keeps a record of each page of them. */
#if defined(__x86_64__)
#define ROOM ((size_t)64 << 30)
#else
#define ROOM ((size_t)1 << 30)
#endif
#define PAGE ((size_t)4096)
#define SPOILT                                                                                               \
    ((size_t)64                                                                                              \
     << 10) /* so much of a new piece is NaNs; what is not touched costs nothing at every operation */

/* Before each piece, on pages of its own. */
struct header {
    size_t bytes;
};

struct guard {
    struct device base;
    struct device *inner;
    unsigned char *room; /* pieces one after the other, never used twice */
    size_t used;
    unsigned char *view; /* what device_read() gave */
    size_t view_bytes;
    atomic_int fail_in; /* operations until one fails; 0: none will */
};

static struct guard *of(struct device *d) { return (struct guard *)d; }

static void reach(struct guard *g, int access)
{
    if (g->used && mprotect(g->room, g->used, access) != 0) abort();
}

/* Before an operation: false when it is one that is to fail. */
static bool begin(struct guard *g)
{
    if (g->view) munmap(g->view, g->view_bytes);
    g->view = NULL;
    if (g->fail_in > 0 && atomic_fetch_sub(&g->fail_in, 1) == 1) {
        struct err e;
        err_set(&e, ERR_IO, "an operation failed on %s", g->base.name);
        device_fail(&g->base, &e);
        return false;
    }
    reach(g, PROT_READ | PROT_WRITE);
    return true;
}

static void end(struct guard *g)
{
    reach(g, PROT_NONE);
    struct err e;
    if (g->inner->failed && !device_finish(g->inner, &e)) device_fail(&g->base, &e);
}

#define RUN(op, ...)                                                                                         \
    struct guard *g = of(d);                                                                                 \
    if (!begin(g)) return;                                                                                   \
    g->inner->ops->op(g->inner, __VA_ARGS__);                                                                \
    end(g)

/* ---- the device and its memory --------------------------------------------------------------------------------- */

static void close_guard(struct device *d)
{
    struct guard *g = of(d);
    if (g->view) munmap(g->view, g->view_bytes);
    munmap(g->room, ROOM);
    free(g);
}

static void finish(struct device *d)
{
    struct err e;
    if (!device_finish(of(d)->inner, &e)) device_fail(d, &e);
}

static void acquire(struct device *d, enum pool_lane lane) { device_acquire(of(d)->inner, lane); }
static void release(struct device *d) { device_release(of(d)->inner); }
static void offer(struct device *d, enum pool_lane lane) { device_offer(of(d)->inner, lane); }
static void stop_on(struct device *d, const atomic_bool *flag) { device_stop_on(of(d)->inner, flag); }

static void run_host(struct device *d, void (*fn)(void *arg, int ith, int nth), void *arg)
{
    device_run_host(of(d)->inner, fn, arg);
}

static void *reserve(struct device *d, size_t bytes)
{
    struct guard *g = of(d);
    const size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    if (whole < bytes || whole > ROOM - g->used) return NULL;
    unsigned char *p = g->room + g->used;
    g->used += whole;
    return p;
}

static void *alloc(struct device *d, size_t bytes)
{
    unsigned char *p = bytes < ROOM ? reserve(d, bytes + PAGE) : NULL;
    if (!p) return NULL;
    reach(of(d), PROT_READ | PROT_WRITE);
    *(struct header *)p = (struct header){ bytes };
    memset(p + PAGE, 0xff, bytes < SPOILT ? bytes : SPOILT);
    reach(of(d), PROT_NONE);
    return p + PAGE;
}

/* The addresses are not used again: whoever still writes to a piece that was freed writes to pages of zeros, not to another's. */
static void free_piece(struct device *d, void *p)
{
    unsigned char *whole = (unsigned char *)p - PAGE;
    reach(of(d), PROT_READ);
    const size_t bytes = ((struct header *)whole)->bytes + PAGE;
    reach(of(d), PROT_NONE);
    (void)madvise(whole, (bytes + PAGE - 1) / PAGE * PAGE, MADV_DONTNEED);
}

static void unreserve(struct device *d, void *p, size_t bytes)
{
    (void)d;
    (void)madvise(p, bytes, MADV_DONTNEED);
}
static void lend(struct device *d, void *p, size_t bytes) { (void)d, (void)p, (void)bytes; }

static size_t page_bytes(const struct device *d, enum kv_type t, int n_kv_head, int k_dim, int v_dim)
{
    return kv_page_bytes(((const struct guard *)d)->inner, t, n_kv_head, k_dim, v_dim);
}

static void upload(struct device *d, void *to, const void *from, size_t bytes)
{
    RUN(upload, to, from, bytes);
}

static void download(struct device *d, void *to, const void *from, size_t bytes)
{
    RUN(download, to, from, bytes);
}

static void copy(struct device *d, void *to, const void *from, size_t bytes) { RUN(copy, to, from, bytes); }

static float *read_view(struct device *d, const float *from, size_t n)
{
    struct guard *g = of(d);
    if (g->view) munmap(g->view, g->view_bytes);
    g->view_bytes = n ? n * sizeof *from : 1;
    void *p = mmap(NULL, g->view_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) abort();
    reach(g, PROT_READ | PROT_WRITE);
    memcpy(p, g->inner->ops->read(g->inner, from, n), n * sizeof *from);
    reach(g, PROT_NONE);
    g->view = p;
    return p;
}

/* ---- objects: the inner device's ------------------------------------------------------------------------------- */

static bool make_linear(struct device *d, struct linear **out, const struct matrix *part, int n_parts,
                        enum linear_join join, const float *bias, int rows_hint, struct err *e)
{
    return linear_new(of(d)->inner, out, part, n_parts, join, bias, rows_hint, e);
}

static bool make_conv(struct device *d, struct conv **out, enum dtype type, const void *w, int n_out,
                      int n_in, int kh, int kw, int groups, unsigned use, const float *bias, struct err *e)
{
    return conv_new(of(d)->inner, out, type, w, n_out, n_in, kh, kw, groups, use, bias, e);
}

static bool make_table(struct device *d, struct table **out, const struct matrix *m, struct err *e)
{
    return table_new(of(d)->inner, out, m, e);
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static void run_linear(struct device *d, const struct linear_args *a) { RUN(linear, a); }

static void run_linear_each(struct device *d, const struct linear_each_args *a) { RUN(linear_each, a); }

static void run_moe(struct device *d, const struct moe_args *a) { RUN(moe, a); }

static void run_embed(struct device *d, dev_float *y, int64_t ldy, const struct table *t, const dev_int *ids,
                      int64_t n)
{
    RUN(embed, y, ldy, t, ids, n);
}

static void run_rope(struct device *d, const struct rope_args *a) { RUN(rope, a); }

static void run_attention_paged(struct device *d, const struct attn_args *a)
{
    struct guard *g = of(d);
    if (!begin(g)) return;
    for (int i = 0; i < a->n_seq; i++) {
        const dev_int *w = a->where + 3 * i; /* the CPU does not read it: here it is seen that it is right */
        if (w[0] != a->seq[i].row || w[1] != a->seq[i].n || w[2] != a->seq[i].pos0) abort();
    }
    g->inner->ops->attention_paged(g->inner, a);
    end(g);
}

static void run_rmsnorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx,
                        int64_t n, int64_t n_embd, const dev_float *w, float eps)
{
    RUN(rmsnorm, y, ldy, x, ldx, n, n_embd, w, eps);
}

static void run_layernorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx,
                          int64_t n, int64_t n_embd, const dev_float *w, const dev_float *b, float eps,
                          const dev_float *scale, const dev_float *shift)
{
    RUN(layernorm, y, ldy, x, ldx, n, n_embd, w, b, eps, scale, shift);
}

static void run_attention(struct device *d, const struct attention_args *a) { RUN(attention, a); }

static void run_rope_table(struct device *d, dev_float *x, int64_t ld, int64_t n, int n_head, int head_dim,
                           const dev_float *cos, const dev_float *sin, const dev_float *head_norm, float eps)
{
    RUN(rope_table, x, ld, n, n_head, head_dim, cos, sin, head_norm, eps);
}

static void run_conv2d(struct device *d, const struct conv_args *a) { RUN(conv2d, a); }

static void run_groupnorm_fold(struct device *d, dev_float *scale, dev_float *shift, const dev_float *x,
                               int64_t hw, int c, int groups, const dev_float *w, const dev_float *b,
                               float eps)
{
    RUN(groupnorm_fold, scale, shift, x, hw, c, groups, w, b, eps);
}

static void run_scale_shift(struct device *d, dev_float *y, const dev_float *x, int64_t hw, int c,
                            const dev_float *scale, const dev_float *shift, bool silu)
{
    RUN(scale_shift, y, x, hw, c, scale, shift, silu);
}

static void run_silu(struct device *d, dev_float *y, const dev_float *x, int64_t n) { RUN(silu, y, x, n); }

static void run_add(struct device *d, dev_float *y, const dev_float *a, const dev_float *b, int64_t n)
{
    RUN(add, y, a, b, n);
}

static void run_axpby(struct device *d, dev_float *y, const dev_float *x, float a, float b, int64_t n)
{
    RUN(axpby, y, x, a, b, n);
}

static void run_route(struct device *d, const struct route_args *a) { RUN(route, a); }

static void run_copy_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx,
                          int64_t n, int64_t n_cols)
{
    RUN(copy_rows, y, ldy, x, ldx, n, n_cols);
}

static void run_gather(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx,
                       const dev_int *row, int64_t n, int64_t n_cols)
{
    RUN(gather, y, ldy, x, ldx, row, n, n_cols);
}

static void run_fill(struct device *d, dev_float *y, float value, int64_t n) { RUN(fill, y, value, n); }

static void run_from_planes(struct device *d, const struct planes_args *a) { RUN(from_planes, a); }

static void run_to_planes(struct device *d, const struct planes_args *a) { RUN(to_planes, a); }

static void run_pack(struct device *d, dev_float *tokens, const dev_float *x, int c, int h, int w)
{
    RUN(pack, tokens, x, c, h, w);
}

static void run_unpack(struct device *d, dev_float *x, const dev_float *tokens, int c, int h, int w)
{
    RUN(unpack, x, tokens, c, h, w);
}

static void run_timestep(struct device *d, dev_float *y, double t, int dim, double max_period)
{
    RUN(timestep, y, t, dim, max_period);
}

static void run_rope_grid(struct device *d, dev_float *cos, dev_float *sin, int64_t n, int64_t n_text,
                          int grid_w, const int axes[3])
{
    RUN(rope_grid, cos, sin, n, n_text, grid_w, axes);
}

static void run_relative_bias(struct device *d, dev_float *bias, const dev_float *table,
                              const dev_int *bucket, int n_head, int64_t n)
{
    RUN(relative_bias, bias, table, bucket, n_head, n);
}

static void run_epilogue(struct device *d, const struct epilogue_args *a) { RUN(epilogue, a); }

static void run_geglu(struct device *d, dev_float *y, const dev_float *x, int64_t n, int64_t n_ff)
{
    RUN(geglu, y, x, n, n_ff);
}

static void run_scale(struct device *d, dev_float *y, const dev_float *x, float a, int64_t n)
{
    RUN(scale, y, x, a, n);
}

static void run_scale_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *by, int64_t n,
                           int64_t n_cols)
{
    RUN(scale_rows, y, ldy, by, n, n_cols);
}

static void run_lincomb(struct device *d, dev_float *y, const struct lincomb_term *term, int n_terms,
                        int64_t n)
{
    RUN(lincomb, y, term, n_terms, n);
}

static void run_clamp(struct device *d, dev_float *y, const dev_float *x, float bound, float over, int64_t n)
{
    RUN(clamp, y, x, bound, over, n);
}

static void run_guide(struct device *d, dev_float *y, const dev_float *v, const dev_float *u, float by,
                      int64_t n)
{
    RUN(guide, y, v, u, by, n);
}

static void run_mask(struct device *d, dev_float *y, const dev_float *x, const dev_float *mask, int channels,
                     int64_t plane)
{
    RUN(mask, y, x, mask, channels, plane);
}

static void run_posterior(struct device *d, const struct posterior_args *a) { RUN(posterior, a); }

static void run_tile(struct device *d, const struct tile_args *a) { RUN(tile, a); }

static void run_untile(struct device *d, dev_float *picture, const dev_float *weight, int64_t n, int c)
{
    RUN(untile, picture, weight, n, c);
}

/* Objects know the device that made them: the rows for using and freeing them are the inner table's. */
static const struct device_ops table = {
    .close = close_guard,
    .finish = finish,
    .acquire = acquire,
    .release = release,
    .offer = offer,
    .stop_on = stop_on,
    .run_host = run_host,
    .kv_page_bytes = page_bytes,
    .alloc = alloc,
    .reserve = reserve,
    .unreserve = unreserve,
    .free = free_piece,
    .lend = lend,
    .upload = upload,
    .download = download,
    .read = read_view,
    .copy = copy,
    .linear_new = make_linear,
    .linear_free = linear_free,
    .linear_is_copy = linear_is_copy,
    .linear_set_fine = linear_set_fine,
    .linear_bytes = linear_bytes,
    .conv_new = make_conv,
    .conv_free = conv_free,
    .conv_bytes = conv_bytes,
    .table_new = make_table,
    .table_free = table_free,
    .linear = run_linear,
    .linear_each = run_linear_each,
    .moe = run_moe,
    .embed = run_embed,
    .rope = run_rope,
    .attention_paged = run_attention_paged,
    .rmsnorm = run_rmsnorm,
    .layernorm = run_layernorm,
    .attention = run_attention,
    .rope_table = run_rope_table,
    .conv2d = run_conv2d,
    .groupnorm_fold = run_groupnorm_fold,
    .scale_shift = run_scale_shift,
    .silu = run_silu,
    .add = run_add,
    .axpby = run_axpby,
    .route = run_route,
    .copy_rows = run_copy_rows,
    .gather = run_gather,
    .fill = run_fill,
    .from_planes = run_from_planes,
    .to_planes = run_to_planes,
    .pack = run_pack,
    .unpack = run_unpack,
    .timestep = run_timestep,
    .rope_grid = run_rope_grid,
    .relative_bias = run_relative_bias,
    .epilogue = run_epilogue,
    .geglu = run_geglu,
    .scale = run_scale,
    .scale_rows = run_scale_rows,
    .lincomb = run_lincomb,
    .clamp = run_clamp,
    .guide = run_guide,
    .mask = run_mask,
    .posterior = run_posterior,
    .tile = run_tile,
    .untile = run_untile,
};

bool device_guard_open(struct device **out, struct device *inner, struct err *e)
{
    struct guard *g = calloc(1, sizeof *g);
    void *room = mmap(NULL, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!g || room == MAP_FAILED) {
        free(g);
        return err_set(e, ERR_NOMEM, "no addresses for a guard");
    }
    *g = (struct guard){ .base = { .ops = &table, .pool = inner->pool, .isa = inner->isa },
                         .inner = inner,
                         .room = room };
    snprintf(g->base.name, sizeof g->base.name, "guard over %.60s", inner->name);
    *out = &g->base;
    return true;
}

void device_guard_fail(struct device *guard, int n) { of(guard)->fail_in = n; }
