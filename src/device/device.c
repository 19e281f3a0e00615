/* device.c - the functions of device.h: each goes to its row of the backend's table. */
#include "device/backend.h"

/* ---- the device ------------------------------------------------------------------------------------------------ */

void device_close(struct device *d)
{
    if (d) d->ops->close(d);
}

const char *device_name(const struct device *d) { return d->name; }
unsigned device_isa(const struct device *d) { return d->isa; }

void device_acquire(struct device *d, enum pool_lane lane) { d->ops->acquire(d, lane); }
void device_release(struct device *d) { d->ops->release(d); }
void device_offer(struct device *d, enum pool_lane lane) { d->ops->offer(d, lane); }
void device_stop_on(struct device *d, const atomic_bool *flag) { d->ops->stop_on(d, flag); }

void device_fail(struct device *d, const struct err *e)
{
    if (!d->failed) d->error = *e;
    d->failed = true;
}

bool device_finish(struct device *d, struct err *e)
{
    d->ops->finish(d);
    if (!d->failed) return true;
    if (e) *e = d->error;
    d->failed = false;
    return false;
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

static void *allocate(struct device *d, size_t n, size_t size, struct err *e)
{
    size_t bytes;
    void *p = mem_mul(n, size, &bytes) ? d->ops->alloc(d, bytes ? bytes : size) : NULL;
    if (!p) err_set(e, ERR_NOMEM, "no memory on %s for %zu values", d->name, n);
    return p;
}

dev_float *device_floats(struct device *d, size_t n, struct err *e)
{
    return allocate(d, n, sizeof(dev_float), e);
}

dev_int *device_ints(struct device *d, size_t n, struct err *e) { return allocate(d, n, sizeof(dev_int), e); }

dev_byte *device_reserve(struct device *d, size_t bytes, struct err *e)
{
    dev_byte *p = d->ops->reserve(d, bytes);
    if (!p) err_set(e, ERR_NOMEM, "cannot reserve %zu bytes on %s", bytes, d->name);
    return p;
}

void device_unreserve(struct device *d, dev_byte *p, size_t bytes)
{
    if (p) d->ops->unreserve(d, p, bytes);
}

void device_free(struct device *d, void *p)
{
    if (p) d->ops->free(d, p);
}

void device_lend(struct device *d, void *p, size_t bytes)
{
    if (p) d->ops->lend(d, p, bytes);
}

static void upload(struct device *d, void *to, const void *from, size_t bytes)
{
    if (bytes && !d->failed) d->ops->upload(d, to, from, bytes);
}

void device_upload(struct device *d, dev_float *to, const float *from, size_t n)
{
    upload(d, to, from, n * sizeof *to);
}

void device_upload_ints(struct device *d, dev_int *to, const int32_t *from, size_t n)
{
    upload(d, to, from, n * sizeof *to);
}

void device_download(struct device *d, float *to, const dev_float *from, size_t n)
{
    if (n && !d->failed) d->ops->download(d, to, from, n * sizeof *to);
}

void device_upload_bytes(struct device *d, dev_byte *to, const void *from, size_t n)
{
    upload(d, to, from, n);
}

void device_download_bytes(struct device *d, void *to, const dev_byte *from, size_t n)
{
    if (n && !d->failed) d->ops->download(d, to, from, n);
}

void device_run_host(struct device *d, void (*fn)(void *arg, int ith, int nth), void *arg)
{
    d->ops->run_host(d, fn, arg);
}

float *device_take(struct device *d, dev_float *from, size_t n) { return d->ops->read(d, from, n); }

const float *device_read(struct device *d, const dev_float *from, size_t n)
{
    return d->ops->read(d, from, n);
}

static void copy(struct device *d, void *to, const void *from, size_t bytes)
{
    if (bytes && !d->failed) d->ops->copy(d, to, from, bytes);
}

void device_copy(struct device *d, dev_float *to, const dev_float *from, size_t n)
{
    copy(d, to, from, n * sizeof *to);
}

void device_copy_bytes(struct device *d, dev_byte *to, const dev_byte *from, size_t n)
{
    copy(d, to, from, n);
}

/* ---- objects --------------------------------------------------------------------------------------------------- */

static bool check_matrix(const struct matrix *m, struct err *e)
{
    if (m->n_in > 0 && m->n_out > 0 && dtype_row_bytes(m->type, m->n_in)) return true;
    return err_set(e, ERR_FORMAT, "a [%lld, %lld] matrix cannot be stored as %s", (long long)m->n_out,
                   (long long)m->n_in, dtype_info(m->type)->name);
}

static bool check_parts(const struct matrix *m, int n_parts, enum linear_join join, struct err *e)
{
    if (n_parts < 1 || n_parts > 4 || (join == LINEAR_PAIRED && n_parts != 2))
        return err_set(e, ERR_REQUEST, "a layer of %d parts", n_parts);
    for (int i = 0; i < n_parts; i++) {
        if (m[i].n_in != m[0].n_in || (join == LINEAR_PAIRED && m[i].n_out != m[0].n_out))
            return err_set(
                e, ERR_FORMAT, "the parts of a layer differ in shape: [%lld, %lld] and [%lld, %lld]",
                (long long)m[0].n_out, (long long)m[0].n_in, (long long)m[i].n_out, (long long)m[i].n_in);
        if (!check_matrix(&m[i], e)) return false;
    }
    return true;
}

bool linear_new(struct device *d, struct linear **out, const struct matrix *part, int n_parts,
                enum linear_join join, const float *bias, int rows_hint, struct err *e)
{
    return check_parts(part, n_parts, join, e) &&
           d->ops->linear_new(d, out, part, n_parts, join, bias, rows_hint, e);
}

static const struct linear_base *linear_base(const struct linear *l) { return (const struct linear_base *)l; }

void linear_free(struct linear *l)
{
    if (l) linear_base(l)->device->ops->linear_free(l);
}

int64_t linear_n_in(const struct linear *l) { return linear_base(l)->n_in; }
int64_t linear_n_out(const struct linear *l) { return linear_base(l)->n_out; }
bool linear_is_copy(const struct linear *l) { return linear_base(l)->device->ops->linear_is_copy(l); }
void linear_set_fine(struct linear *l) { linear_base(l)->device->ops->linear_set_fine(l); }
size_t linear_bytes(const struct linear *l) { return linear_base(l)->device->ops->linear_bytes(l); }

bool conv_new(struct device *d, struct conv **out, enum dtype type, const void *w, int n_out, int n_in,
              int kh, int kw, int groups, unsigned use, const float *bias, struct err *e)
{
    return d->ops->conv_new(d, out, type, w, n_out, n_in, kh, kw, groups, use, bias, e);
}

static const struct conv_base *conv_base(const struct conv *c) { return (const struct conv_base *)c; }

void conv_free(struct conv *c)
{
    if (c) conv_base(c)->device->ops->conv_free(c);
}

size_t conv_bytes(const struct conv *c) { return conv_base(c)->device->ops->conv_bytes(c); }

void conv_out_size(const struct conv_args *a, int *h_out, int *w_out)
{
    const struct conv_base *c = conv_base(a->w);
    const int up = a->upsample > 1 ? a->upsample : 1, stride = a->stride > 1 ? a->stride : 1;
    *h_out = (a->h * up + a->pad_top + a->pad_bottom - c->kh) / stride + 1;
    *w_out = (a->w_in * up + a->pad_left + a->pad_right - c->kw) / stride + 1;
}

bool table_new(struct device *d, struct table **out, const struct matrix *m, struct err *e)
{
    return check_matrix(m, e) && d->ops->table_new(d, out, m, e);
}

void table_free(struct table *t)
{
    if (t) ((const struct table_base *)t)->device->ops->table_free(t);
}

/* ---- operations ------------------------------------------------------------------------------------------------ */

size_t kv_page_bytes(const struct device *d, enum kv_type t, int n_kv_head, int k_dim, int v_dim)
{
    return d->ops->kv_page_bytes(d, t, n_kv_head, k_dim, v_dim);
}

void op_linear(struct device *d, const struct linear_args *a)
{
    if (a->n > 0 && !d->failed) d->ops->linear(d, a);
}

void op_linear_each(struct device *d, const struct linear_each_args *a)
{
    if (a->n > 0 && a->n_w > 0 && !d->failed) d->ops->linear_each(d, a);
}

void op_moe(struct device *d, const struct moe_args *a)
{
    if (a->n > 0 && !d->failed) d->ops->moe(d, a);
}

void op_embed(struct device *d, dev_float *y, int64_t ldy, const struct table *t, const dev_int *ids,
              int64_t n)
{
    if (n > 0 && !d->failed) d->ops->embed(d, y, ldy, t, ids, n);
}

void op_rope(struct device *d, const struct rope_args *a)
{
    if (a->n > 0 && !d->failed) d->ops->rope(d, a);
}

void op_attention_paged(struct device *d, const struct attn_args *a)
{
    if (a->n_seq > 0 && !d->failed) d->ops->attention_paged(d, a);
}

void op_rmsnorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n,
                int64_t n_embd, const dev_float *w, float eps)
{
    if (n > 0 && !d->failed) d->ops->rmsnorm(d, y, ldy, x, ldx, n, n_embd, w, eps);
}

void op_layernorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n,
                  int64_t n_embd, const dev_float *w, const dev_float *b, float eps, const dev_float *scale,
                  const dev_float *shift)
{
    if (n > 0 && !d->failed) d->ops->layernorm(d, y, ldy, x, ldx, n, n_embd, w, b, eps, scale, shift);
}

void op_attention(struct device *d, const struct attention_args *a)
{
    if (a->n_q > 0 && !d->failed) d->ops->attention(d, a);
}

void op_rope_table(struct device *d, dev_float *x, int64_t ld, int64_t n, int n_head, int head_dim,
                   const dev_float *cos, const dev_float *sin, const dev_float *head_norm, float eps)
{
    if (n > 0 && !d->failed) d->ops->rope_table(d, x, ld, n, n_head, head_dim, cos, sin, head_norm, eps);
}

void op_conv2d(struct device *d, const struct conv_args *a)
{
    if (!d->failed) d->ops->conv2d(d, a);
}

void op_groupnorm_fold(struct device *d, dev_float *scale, dev_float *shift, const dev_float *x, int64_t hw,
                       int c, int groups, const dev_float *w, const dev_float *b, float eps)
{
    if (hw > 0 && !d->failed) d->ops->groupnorm_fold(d, scale, shift, x, hw, c, groups, w, b, eps);
}

void op_scale_shift(struct device *d, dev_float *y, const dev_float *x, int64_t hw, int c,
                    const dev_float *scale, const dev_float *shift, bool silu)
{
    if (hw > 0 && !d->failed) d->ops->scale_shift(d, y, x, hw, c, scale, shift, silu);
}

void op_silu(struct device *d, dev_float *y, const dev_float *x, int64_t n)
{
    if (n > 0 && !d->failed) d->ops->silu(d, y, x, n);
}

void op_add(struct device *d, dev_float *y, const dev_float *a, const dev_float *b, int64_t n)
{
    if (n > 0 && !d->failed) d->ops->add(d, y, a, b, n);
}

void op_axpby(struct device *d, dev_float *y, const dev_float *x, float a, float b, int64_t n)
{
    if (n > 0 && !d->failed) d->ops->axpby(d, y, x, a, b, n);
}

void op_route(struct device *d, const struct route_args *a)
{
    if (a->n > 0 && !d->failed) d->ops->route(d, a);
}

void op_copy_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n,
                  int64_t n_cols)
{
    if (n > 0 && !d->failed) d->ops->copy_rows(d, y, ldy, x, ldx, n, n_cols);
}

void op_gather(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx,
               const dev_int *row, int64_t n, int64_t n_cols)
{
    if (n > 0 && !d->failed) d->ops->gather(d, y, ldy, x, ldx, row, n, n_cols);
}

void op_fill(struct device *d, dev_float *y, float value, int64_t n)
{
    if (n > 0 && !d->failed) d->ops->fill(d, y, value, n);
}

void op_from_planes(struct device *d, const struct planes_args *a)
{
    if (a->h > 0 && a->w > 0 && !d->failed) d->ops->from_planes(d, a);
}

void op_to_planes(struct device *d, const struct planes_args *a)
{
    if (a->h > 0 && a->w > 0 && !d->failed) d->ops->to_planes(d, a);
}

void op_pack(struct device *d, dev_float *tokens, const dev_float *x, int c, int h, int w)
{
    if (h > 1 && w > 1 && !d->failed) d->ops->pack(d, tokens, x, c, h, w);
}

void op_unpack(struct device *d, dev_float *x, const dev_float *tokens, int c, int h, int w)
{
    if (h > 1 && w > 1 && !d->failed) d->ops->unpack(d, x, tokens, c, h, w);
}

void op_timestep(struct device *d, dev_float *y, double t, int dim, double max_period)
{
    if (dim > 0 && !d->failed) d->ops->timestep(d, y, t, dim, max_period);
}

void op_rope_grid(struct device *d, dev_float *cos, dev_float *sin, int64_t n, int64_t n_text, int grid_w,
                  const int axes[3])
{
    if (n > 0 && !d->failed) d->ops->rope_grid(d, cos, sin, n, n_text, grid_w, axes);
}

void op_relative_bias(struct device *d, dev_float *bias, const dev_float *table, const dev_int *bucket,
                      int n_head, int64_t n)
{
    if (n > 0 && !d->failed) d->ops->relative_bias(d, bias, table, bucket, n_head, n);
}

void op_epilogue(struct device *d, const struct epilogue_args *a)
{
    if (a->n > 0 && !d->failed) d->ops->epilogue(d, a);
}

void op_geglu(struct device *d, dev_float *y, const dev_float *x, int64_t n, int64_t n_ff)
{
    if (n > 0 && !d->failed) d->ops->geglu(d, y, x, n, n_ff);
}

void op_scale(struct device *d, dev_float *y, const dev_float *x, float a, int64_t n)
{
    if (n > 0 && !d->failed) d->ops->scale(d, y, x, a, n);
}

void op_scale_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *by, int64_t n,
                   int64_t n_cols)
{
    if (n > 0 && !d->failed) d->ops->scale_rows(d, y, ldy, by, n, n_cols);
}

void op_lincomb(struct device *d, dev_float *y, const struct lincomb_term *term, int n_terms, int64_t n)
{
    if (n > 0 && !d->failed) d->ops->lincomb(d, y, term, n_terms, n);
}

void op_clamp(struct device *d, dev_float *y, const dev_float *x, float bound, float over, int64_t n)
{
    if (n > 0 && !d->failed) d->ops->clamp(d, y, x, bound, over, n);
}

void op_guide(struct device *d, dev_float *y, const dev_float *v, const dev_float *u, float by, int64_t n)
{
    if (n > 0 && !d->failed) d->ops->guide(d, y, v, u, by, n);
}

void op_mask(struct device *d, dev_float *y, const dev_float *x, const dev_float *mask, int channels,
             int64_t plane)
{
    if (plane > 0 && !d->failed) d->ops->mask(d, y, x, mask, channels, plane);
}

void op_posterior(struct device *d, const struct posterior_args *a)
{
    if (a->plane > 0 && !d->failed) d->ops->posterior(d, a);
}

void op_tile(struct device *d, const struct tile_args *a)
{
    if (a->h > 0 && a->w > 0 && !d->failed) d->ops->tile(d, a);
}

void op_untile(struct device *d, dev_float *picture, const dev_float *weight, int64_t n, int c)
{
    if (n > 0 && !d->failed) d->ops->untile(d, picture, weight, n, c);
}
