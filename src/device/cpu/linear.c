/* linear.c - layers of one to four matrices: which kernels they go to, and how the pool shares a product. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/cpu/cpu_internal.h"
#include "device/cpu/quant.h"
#include "device/cpu/split.h"

/* Rows whose int8 panels are held at once: the weights are streamed once for so many. As many as the engine takes of a prompt
 * in one step; more would push the panels out of the second-level cache. */
#define ROWS_AT_ONCE 256
/* Up to here each thread rounds all rows for itself: cheaper than a job of its own. */
#define ROWS_TWICE 2

struct linear {
    struct linear_base base;
    enum linear_join join;
    int n_parts;
    struct quant_part part[4]; /* quantised weights ... */
    struct float_linear *fl;   /* ... or float weights ... */
    struct linear *sub[4];     /* ... or, of both kinds, each part on its own (CONCAT) */
    int n_sub;
    float *bias;
    int32_t *from; /* of quantised parts: the matrices' `from`, one for all of them */
    bool fine;
};

struct pack_job {
    const struct linear *l;
    const struct matrix *m;
};

static void pack_thread(void *arg, int ith, int nth)
{
    const struct pack_job *j = arg;
    for (int i = 0; i < j->l->n_parts; i++) {
        struct range r = split_range(j->l->part[i].n_groups, ith, nth);
        quant_pack(&j->l->part[i], &j->m[i], r.lo, r.hi);
    }
}

/* Panels of so few rows, in two places each and the last panel as wide as the others. */
static size_t alone_panels(int64_t n_in)
{
    return (quant_panels_bytes(2 * LINEAR_ALONE + 16, n_in) + 63) & ~(size_t)63;
}

static size_t alone_scratch(int64_t n_in)
{
    return alone_panels(n_in) + quant_unpacked_scratch(n_in) + (size_t)n_in * 4 + 256;
}

static bool copy_row_scales(struct quant_part *p, const struct matrix *m, struct err *e)
{
    p->row_scale = mem_aligned((size_t)p->n_groups * QUANT_GROUP, sizeof *p->row_scale, true);
    if (!p->row_scale) return err_set(e, ERR_NOMEM, "no memory for the scales of a layer");
    for (int64_t o = 0; o < m->n_out; o++) p->row_scale[o] = m->scale[o / m->scale_rows];
    return true;
}

static bool pack_all(struct cpu_device *d, struct linear *l, const struct matrix *m, struct err *e)
{
    for (int i = 0; i < l->n_parts; i++) {
        struct quant_part *p = &l->part[i];
        p->format = quant_format_of(m[i].type);
        p->n_out = m[i].n_out;
        p->n_groups = (m[i].n_out + QUANT_GROUP - 1) / QUANT_GROUP;
        p->group_bytes = quant_group_bytes(p->format, l->base.n_in / QUANT_BLOCK);
        p->data = mem_aligned((size_t)p->n_groups, p->group_bytes, false);
        if (!p->data)
            return err_set(e, ERR_NOMEM, "no memory for a %lld x %lld %s matrix", (long long)m[i].n_out,
                           (long long)l->base.n_in, dtype_info(m[i].type)->name);
    }
    for (int i = 0; i < l->n_parts; i++)
        if (m[i].scale && !copy_row_scales(&l->part[i], &m[i], e)) return false;
    if (m[0].from) {
        l->from = mem_aligned((size_t)l->base.n_in, sizeof *l->from, false);
        if (!l->from) return err_set(e, ERR_NOMEM, "no memory for the order of a layer's inputs");
        memcpy(l->from, m[0].from, (size_t)l->base.n_in * sizeof *l->from);
    }
    struct pack_job j = { l, m };
    pool_run(d->pool, pack_thread, &j);

    size_t panels = quant_panels_bytes(ROWS_AT_ONCE, l->base.n_in);
    size_t own = quant_panels_bytes(ROWS_TWICE, l->base.n_in) + quant_unpacked_scratch(l->base.n_in) +
                 (size_t)l->base.n_in * 4 + 256;
    /* Perhaps an expert's, which go side by side, and so do their other halves. */
    if (l->join == LINEAR_PAIRED) {
        const int64_t wider = l->base.n_in > l->base.n_out ? l->base.n_in : l->base.n_out;
        const size_t beside = alone_scratch(wider);
        if (own < beside) own = beside;
    }
    return scratch_reserve(d, panels, own, e);
}

static bool check_scales(const struct matrix *m, int n_parts, struct err *e)
{
    for (int i = 0; i < n_parts; i++)
        if (quant_format_of(m[i].type) && m[i].scale && (m[i].scale_rows < 1 || m[i].scale_cols < m[i].n_in))
            return err_set(e, ERR_UNSUPPORTED, "%s blocks with scales of less than a row",
                           dtype_info(m[i].type)->name);
    return true;
}

/* Do all parts take a row's values in the same order? */
static bool same_order(const struct matrix *m, int n_parts)
{
    for (int i = 1; i < n_parts; i++) {
        if (!m[i].from != !m[0].from) return false;
        if (m[i].from && memcmp(m[i].from, m[0].from, (size_t)m[0].n_in * sizeof *m[0].from) != 0)
            return false;
    }
    return true;
}

bool cpu_linear_new(struct device *base, struct linear **out, const struct matrix *part, int n_parts,
                    enum linear_join join, const float *bias, int rows_hint, struct err *e)
{
    struct cpu_device *d = cpu_of(base);
    if (!check_scales(part, n_parts, e)) return false;
    struct linear *l = calloc(1, sizeof *l);
    if (!l) return err_set(e, ERR_NOMEM, "no memory for a layer");
    l->base = (struct linear_base){ .device = base, .n_in = part[0].n_in };
    l->join = join;
    l->n_parts = n_parts;
    int n_quant = 0;
    int64_t n_out = 0;
    for (int i = 0; i < n_parts; i++) {
        n_quant += quant_format_of(part[i].type) != NULL;
        n_out += part[i].n_out;
    }
    l->base.n_out = join == LINEAR_PAIRED ? part[0].n_out : n_out;

    const bool ordered = same_order(part, n_parts);
    if (!ordered && join == LINEAR_PAIRED) {
        err_set(e, ERR_UNSUPPORTED, "gate and up that take their inputs in different orders");
        goto fail;
    }
    if (((n_quant > 0 && n_quant < n_parts) || !ordered) && join == LINEAR_CONCAT) {
        const float *b = bias;
        for (int i = 0; i < n_parts; i++) {
            if (!cpu_linear_new(base, &l->sub[i], &part[i], 1, LINEAR_CONCAT, b, rows_hint, e)) goto fail;
            l->n_sub = i + 1;
            if (b) b += part[i].n_out;
        }
        *out = l;
        return true;
    }
    if (bias) {
        l->bias = mem_aligned((size_t)n_out, sizeof *bias, false);
        if (!l->bias) {
            err_set(e, ERR_NOMEM, "no memory for a bias");
            goto fail;
        }
        memcpy(l->bias, bias, (size_t)n_out * sizeof *bias);
    }
    if (join == LINEAR_PAIRED && !moe_reserve(d, l->base.n_in, l->base.n_out, e)) goto fail;
    if (n_quant == n_parts) {
        if (!pack_all(d, l, part, e)) goto fail;
    } else if (!float_linear_new(d, &l->fl, part, n_parts, join, rows_hint, e)) {
        goto fail;
    }
    *out = l;
    return true;
fail:
    cpu_linear_free(l);
    return false;
}

void cpu_linear_free(struct linear *l)
{
    if (!l) return;
    for (int i = 0; i < 4; i++) {
        mem_free(l->part[i].data);
        mem_free(l->part[i].row_scale);
        cpu_linear_free(l->sub[i]);
    }
    float_linear_free(l->fl);
    mem_free(l->bias);
    mem_free(l->from);
    free(l);
}

bool cpu_linear_is_copy(const struct linear *l)
{
    for (int i = 0; i < l->n_sub; i++)
        if (!cpu_linear_is_copy(l->sub[i])) return false;
    return l->fl ? float_linear_is_copy(l->fl) : true;
}

size_t cpu_linear_bytes(const struct linear *l)
{
    size_t sum = l->fl ? float_linear_bytes(l->fl) : 0;
    for (int i = 0; i < l->n_sub; i++) sum += cpu_linear_bytes(l->sub[i]);
    for (int i = 0; i < l->n_parts; i++)
        if (l->part[i].data) sum += (size_t)l->part[i].n_groups * l->part[i].group_bytes;
    return sum;
}

void cpu_linear_set_fine(struct linear *l)
{
    l->fine = true;
    for (int i = 0; i < l->n_sub; i++) cpu_linear_set_fine(l->sub[i]);
}

/* Weights that are taken at a time, in bytes: so few that a thread which lost its core for a while does not keep the others
 * waiting. A thread's stripes follow one another in memory until it is done with its share and helps others. */
#define STRIPE ((size_t)128 << 10)

struct run_job {
    const struct cpu_device *d;
    struct quant_job q;
    bool each_rounds; /* every thread rounds all rows into its own scratch */
    int64_t stripe;   /* groups */
};

static void round_thread(void *arg, int ith, int nth)
{
    struct run_job *r = arg;
    const struct range rows = split_range(r->q.fine ? r->q.panels.n / 2 : r->q.panels.n, ith, nth);
    r->d->quant->round_rows(&r->q, rows.lo, rows.hi, scratch_thread(r->d, ith));
}

static void run_thread(void *arg, int ith, int nth)
{
    struct run_job *r = arg;
    const struct quant_kern *k = r->d->quant;
    struct quant_job q = r->q;
    unsigned char *own = scratch_thread(r->d, ith);
    int64_t n_in = q.panels.n_blocks * QUANT_BLOCK;
    float *row_buf = (float *)own;
    own += ((size_t)n_in * 4 + 63) & ~(size_t)63;
    struct range g;
    int helped = 0;
    if (!share_take(r->d->share, q.n_groups, r->stripe, ith, nth, &helped, &g)) return; /* it came late */
    if (r->each_rounds) {
        q.panels.data = own;
        own += (quant_panels_bytes(ROWS_TWICE, n_in) + 63) & ~(size_t)63;
        k->round_rows(&q, 0, q.fine ? q.panels.n / 2 : q.panels.n, row_buf);
    }
    do {
        k->multiply(&q, g.lo, g.hi, own);
    } while (share_take(r->d->share, q.n_groups, r->stripe, ith, nth, &helped, &g));
}

/* Groups of a stripe: about STRIPE bytes, but no fewer than 4 stripes a thread unless that leaves crumbs. */
static int64_t stripe_of(const struct linear *l, int64_t n_groups, int n_threads)
{
    if (n_threads == 1) return n_groups;
    size_t group_bytes = l->part[0].group_bytes * (l->join == LINEAR_PAIRED ? 2 : 1);
    int64_t stripe = (int64_t)(STRIPE / group_bytes), fair = (n_groups + 4 * n_threads - 1) / (4 * n_threads);
    if (stripe > fair) stripe = fair;
    return stripe < 1 ? 1 : stripe;
}

/* Groups of outputs of a quantised layer: those of all its parts, or pairs of them. */
static int64_t groups_of(const struct linear *l)
{
    int64_t n = 0;
    for (int i = 0; i < (l->join == LINEAR_PAIRED ? 1 : l->n_parts); i++) n += l->part[i].n_groups;
    return n;
}

static void run_quantised(struct cpu_device *d, const struct linear *l, const struct linear_args *a)
{
    struct run_job r = { .d = d };
    r.q = (struct quant_job){ .part = l->part,
                              .n_parts = l->n_parts,
                              .join = l->join,
                              .bias = l->bias,
                              .from = l->from,
                              .a = a,
                              .fine = l->fine };
    r.q.panels.n_blocks = l->base.n_in / QUANT_BLOCK;
    r.q.n_groups = groups_of(l);
    const int n_threads = pool_threads(d->pool);
    r.stripe = stripe_of(l, r.q.n_groups, n_threads);
    /* In place, a thread that is done would overwrite rows that a slower one still has to round. */
    bool in_place = a->y == a->x;
    const int64_t places = l->fine ? 2 : 1, at_once = ROWS_AT_ONCE / places;
    for (int64_t row = 0; row < a->n; row += at_once) {
        r.q.row0 = row;
        r.q.panels.n = places * (a->n - row < at_once ? a->n - row : at_once);
        r.q.panels.width = d->quant->panel_rows(r.q.panels.n);
        if (l->fine) r.q.panels.width += r.q.panels.width % 2; /* a row's two places stay together */
        r.q.panels.data = scratch_shared(d);
        share_reset(d->share, r.q.n_groups, n_threads);
        r.each_rounds = !in_place && r.q.panels.n <= ROWS_TWICE;
        if (!r.each_rounds) pool_run(d->pool, round_thread, &r);
        pool_run(d->pool, run_thread, &r);
    }
}

void cpu_linear(struct device *base, const struct linear_args *a)
{
    struct cpu_device *d = cpu_of(base);
    const struct linear *l = a->w;
    if (l->fl) {
        float_linear_run(d, l->fl, l->bias, a);
        return;
    }
    if (!l->n_sub) {
        run_quantised(d, l, a);
        return;
    }
    struct linear_args part = *a;
    for (int i = 0; i < l->n_sub; i++) {
        part.w = l->sub[i];
        cpu_linear(base, &part);
        part.y += l->sub[i]->base.n_out;
        if (part.gate) part.gate += l->sub[i]->base.n_out;
    }
}

/* ---- products side by side -------------------------------------------------------------------------------------------- */

/* A product of up to LINEAR_ALONE rows that a thread does by itself, with all rows rounded into its own scratch. *unpacked: what is
 * left of that. */
static struct quant_job lone_job(const struct cpu_device *d, const struct linear_args *a, int ith,
                                 unsigned char **unpacked)
{
    const struct linear *l = a->w;
    const int64_t n_in = l->base.n_in, places = l->fine ? 2 : 1;
    struct quant_job q = { .part = l->part,
                           .n_parts = l->n_parts,
                           .join = l->join,
                           .bias = l->bias,
                           .from = l->from,
                           .a = a,
                           .fine = l->fine };
    q.panels.n_blocks = n_in / QUANT_BLOCK;
    q.panels.n = places * a->n;
    q.panels.width = d->quant->panel_rows(q.panels.n);
    if (l->fine) q.panels.width += q.panels.width % 2;
    q.n_groups = groups_of(l);
    unsigned char *own = scratch_thread(d, ith);
    float *row_buf = (float *)own;
    own += ((size_t)n_in * 4 + 63) & ~(size_t)63;
    q.panels.data = own;
    *unpacked = own + alone_panels(n_in);
    d->quant->round_rows(&q, 0, a->n, row_buf);
    return q;
}

static void alone(struct cpu_device *d, const struct linear_args *a, int ith)
{
    unsigned char *unpacked;
    if (a->w->fl) {
        float_linear_alone(d, a->w->fl, a->w->bias, a, ith);
        return;
    }
    const struct quant_job q = lone_job(d, a, ith, &unpacked);
    d->quant->multiply(&q, 0, q.n_groups, unpacked);
}

struct each_job {
    struct cpu_device *d;
    const struct linear_each_args *a;
    atomic_int next;
};

static struct linear_args one_of(const struct linear_each_args *a, int i)
{
    return (struct linear_args){
        .w = a->w[i], .x = a->x + i * a->dx, .ldx = a->ldx, .y = a->y + i * a->dy, .ldy = a->ldy, .n = a->n
    };
}

static void each_thread(void *arg, int ith, int nth)
{
    struct each_job *j = arg;
    const int step = (j->a->n_w + 4 * nth - 1) / (4 * nth); /* neighbours in memory together */
    for (;;) {
        const int i0 = atomic_fetch_add_explicit(&j->next, step, memory_order_relaxed);
        if (i0 >= j->a->n_w) return;
        for (int i = i0; i < i0 + step && i < j->a->n_w; i++) {
            const struct linear_args one = one_of(j->a, i);
            alone(j->d, &one, ith);
        }
    }
}

/* Can a thread do it with the scratch it has? */
static bool fits_alone(const struct cpu_device *d, const struct linear_each_args *a)
{
    if (a->n > LINEAR_ALONE) return false;
    return a->w[0]->fl || alone_scratch(linear_n_in(a->w[0])) <= d->thread_cap;
}

void cpu_linear_each(struct device *base, const struct linear_each_args *a)
{
    struct each_job j = { .d = cpu_of(base), .a = a };
    if (fits_alone(j.d, a)) {
        pool_run(j.d->pool, each_thread, &j);
        return;
    }
    for (int i = 0; i < a->n_w; i++) {
        const struct linear_args one = one_of(a, i);
        cpu_linear(base, &one);
    }
}

/* ---- layers of one shape, each with rows of its own --------------------------------------------------------------------- */

struct beside_job {
    struct cpu_device *d;
    const struct linear_args *a;
    int64_t each, n_groups, stripe; /* groups of a layer, of all, taken at a time */
};

static void beside_thread(void *arg, int ith, int nth)
{
    const struct beside_job *j = arg;
    struct range g;
    int helped = 0;
    int64_t held = -1; /* the layer whose rows are rounded */
    struct quant_job q = { 0 };
    unsigned char *unpacked = NULL;
    while (share_take(j->d->share, j->n_groups, j->stripe, ith, nth, &helped, &g))
        for (int64_t lo = g.lo, hi; lo < g.hi; lo = hi) {
            const int64_t i = lo / j->each, base = i * j->each;
            hi = g.hi < base + j->each ? g.hi : base + j->each;
            if (i != held) q = lone_job(j->d, &j->a[i], ith, &unpacked);
            held = i;
            j->d->quant->multiply(&q, lo - base, hi - base, unpacked);
        }
}

void linear_beside(struct cpu_device *d, const struct linear_args *a, int n)
{
    const struct linear *l = a->w;
    bool fits = n > 1;
    for (int i = 0; fits && i < n; i++)
        fits = !a[i].w->fl && !a[i].w->n_sub && a[i].n <= LINEAR_ALONE && groups_of(a[i].w) == groups_of(l);
    fits = fits && alone_scratch(l->base.n_in) <= d->thread_cap;
    if (!fits) {
        for (int i = 0; i < n; i++) cpu_linear(&d->base, &a[i]);
        return;
    }
    const int n_threads = pool_threads(d->pool);
    struct beside_job j = { .d = d, .a = a, .each = groups_of(l) };
    j.n_groups = n * j.each;
    j.stripe = stripe_of(l, j.n_groups, n_threads);
    share_reset(d->share, j.n_groups, n_threads);
    pool_run(d->pool, beside_thread, &j);
}
