/* cells.c - operations on elements, layouts, positions and pictures: what the kernels of kernels/cells.cuh are given. */
#include "device/cuda/cuda_device.h"

static void run(struct device *d, struct cells_params p)
{
    cuda_launch(cuda_of(d), K_cells, cuda_over(p.n * p.n_cols), &p);
}

void cuda_scale_shift(struct device *d, dev_float *y, const dev_float *x, int64_t hw, int c,
                      const dev_float *scale, const dev_float *shift, bool silu)
{
    run(d, (struct cells_params){ .what = CELLS_SCALE_SHIFT,
                                  .y = y,
                                  .x = x,
                                  .scale = scale,
                                  .shift = shift,
                                  .ldy = c,
                                  .ldx = c,
                                  .n = hw,
                                  .n_cols = c,
                                  .flag = silu });
}

void cuda_silu(struct device *d, dev_float *y, const dev_float *x, int64_t n)
{
    run(d, (struct cells_params){ .what = CELLS_SILU, .y = y, .x = x, .n = 1, .n_cols = n });
}

void cuda_add(struct device *d, dev_float *y, const dev_float *a, const dev_float *b, int64_t n)
{
    run(d, (struct cells_params){ .what = CELLS_ADD, .y = y, .x = a, .z = b, .n = 1, .n_cols = n });
}

void cuda_axpby(struct device *d, dev_float *y, const dev_float *x, float a, float b, int64_t n)
{
    run(d, (struct cells_params){ .what = CELLS_AXPBY, .y = y, .x = x, .a = a, .b = b, .n = 1, .n_cols = n });
}

void cuda_copy_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n,
                    int64_t n_cols)
{
    run(d, (struct cells_params){
               .what = CELLS_COPY, .y = y, .x = x, .ldy = ldy, .ldx = ldx, .n = n, .n_cols = n_cols });
}

void cuda_gather(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx,
                 const dev_int *row, int64_t n, int64_t n_cols)
{
    run(d, (struct cells_params){ .what = CELLS_COPY,
                                  .y = y,
                                  .x = x,
                                  .row = row,
                                  .ldy = ldy,
                                  .ldx = ldx,
                                  .n = n,
                                  .n_cols = n_cols });
}

void cuda_fill(struct device *d, dev_float *y, float value, int64_t n)
{
    run(d, (struct cells_params){ .what = CELLS_FILL, .y = y, .a = value, .n = 1, .n_cols = n });
}

void cuda_epilogue(struct device *d, const struct epilogue_args *a)
{
    run(d, (struct cells_params){ .what = CELLS_EPILOGUE,
                                  .y = a->y,
                                  .x = a->v,
                                  .scale = a->gate,
                                  .ldy = a->ldy,
                                  .ldx = a->ldv,
                                  .n = a->n,
                                  .n_cols = a->n_out,
                                  .flag = (int32_t)a->epi });
}

void cuda_geglu(struct device *d, dev_float *y, const dev_float *x, int64_t n, int64_t n_ff)
{
    run(d, (struct cells_params){
               .what = CELLS_GEGLU, .y = y, .x = x, .ldy = n_ff, .ldx = 2 * n_ff, .n = n, .n_cols = n_ff });
}

void cuda_scale(struct device *d, dev_float *y, const dev_float *x, float a, int64_t n)
{
    run(d, (struct cells_params){ .what = CELLS_SCALE, .y = y, .x = x, .a = a, .n = 1, .n_cols = n });
}

void cuda_scale_rows(struct device *d, dev_float *y, int64_t ldy, const dev_float *by, int64_t n,
                     int64_t n_cols)
{
    run(d, (struct cells_params){ .what = CELLS_SCALE_ROWS,
                                  .y = y,
                                  .x = y,
                                  .scale = by,
                                  .ldy = ldy,
                                  .ldx = ldy,
                                  .n = n,
                                  .n_cols = n_cols });
}

void cuda_clamp(struct device *d, dev_float *y, const dev_float *x, float bound, float over, int64_t n)
{
    run(d, (struct cells_params){
               .what = CELLS_CLAMP, .y = y, .x = x, .a = bound, .b = over, .n = 1, .n_cols = n });
}

void cuda_guide(struct device *d, dev_float *y, const dev_float *v, const dev_float *u, float by, int64_t n)
{
    run(d,
        (struct cells_params){ .what = CELLS_GUIDE, .y = y, .x = v, .z = u, .a = by, .n = 1, .n_cols = n });
}

void cuda_mask(struct device *d, dev_float *y, const dev_float *x, const dev_float *mask, int channels,
               int64_t plane)
{
    run(d, (struct cells_params){ .what = CELLS_MASK,
                                  .y = y,
                                  .x = x,
                                  .scale = mask,
                                  .ldy = plane,
                                  .ldx = plane,
                                  .n = channels,
                                  .n_cols = plane });
}

void cuda_untile(struct device *d, dev_float *picture, const dev_float *weight, int64_t n, int c)
{
    run(d, (struct cells_params){
               .what = CELLS_UNTILE, .y = picture, .scale = weight, .ldy = c, .n = n, .n_cols = c });
}

_Static_assert((int)GPU_LINCOMB_MOST == (int)LINCOMB_MOST, "as many terms");
void cuda_lincomb(struct device *d, dev_float *y, const struct lincomb_term *term, int n_terms, int64_t n)
{
    struct lincomb_params p = { .y = y, .n = n, .n_terms = n_terms };
    for (int i = 0; i < n_terms; i++) {
        p.by[i] = term[i].by;
        p.x[i] = term[i].x;
    }
    cuda_launch(cuda_of(d), K_lincomb, cuda_over(n), &p);
}

static void run_planes(struct device *d, const struct planes_args *a, bool to_planes)
{
    const struct planes_params p = { .y = a->y,
                                     .x = a->x,
                                     .mul = a->mul,
                                     .add = a->add,
                                     .plane = a->plane,
                                     .row = a->row,
                                     .c = a->c,
                                     .h = a->h,
                                     .w = a->w,
                                     .to_planes = to_planes };
    cuda_launch(cuda_of(d), K_planes, cuda_over((int64_t)a->c * a->h * a->w), &p);
}

void cuda_from_planes(struct device *d, const struct planes_args *a) { run_planes(d, a, false); }
void cuda_to_planes(struct device *d, const struct planes_args *a) { run_planes(d, a, true); }

static void run_pack(struct device *d, struct pack_params p)
{
    cuda_launch(cuda_of(d), K_pack_tokens, cuda_over((int64_t)p.c * p.h * p.w), &p);
}

void cuda_pack(struct device *d, dev_float *tokens, const dev_float *x, int c, int h, int w)
{
    run_pack(d, (struct pack_params){ .y = tokens, .x = x, .c = c, .h = h, .w = w });
}

void cuda_unpack(struct device *d, dev_float *x, const dev_float *tokens, int c, int h, int w)
{
    run_pack(d, (struct pack_params){ .y = x, .x = tokens, .c = c, .h = h, .w = w, .unpack = 1 });
}

void cuda_relative_bias(struct device *d, dev_float *bias, const dev_float *values, const dev_int *bucket,
                        int n_head, int64_t n)
{
    const struct bias_params p = {
        .bias = bias, .table = values, .bucket = bucket, .n = n, .n_head = n_head
    };
    cuda_launch(cuda_of(d), K_relative_bias, cuda_over(n_head * n * n), &p);
}

void cuda_posterior(struct device *d, const struct posterior_args *a)
{
    const struct posterior_params p = { .y = a->y,
                                        .moments = a->moments,
                                        .noise = a->noise,
                                        .shift = a->shift,
                                        .std = a->std,
                                        .plane = a->plane,
                                        .scaling = a->scaling,
                                        .c = a->c };
    cuda_launch(cuda_of(d), K_posterior, cuda_over(a->plane * a->c), &p);
}

void cuda_tile(struct device *d, const struct tile_args *a)
{
    const struct tile_params p = { .picture = a->picture,
                                   .weight = a->weight,
                                   .tile = a->tile,
                                   .h = a->h,
                                   .w = a->w,
                                   .c = a->c,
                                   .y0 = a->y0,
                                   .x0 = a->x0,
                                   .wide = a->wide,
                                   .lap = a->lap,
                                   .outer = (int32_t)a->outer };
    cuda_launch(cuda_of(d), K_add_tile, cuda_over((int64_t)a->h * a->w), &p);
}

/* ---- positions ------------------------------------------------------------------------------------------------------ */

static float *host_floats(struct device *d, size_t n)
{
    float *v = mem_aligned(n, sizeof *v, false);
    struct err e;
    if (v) return v;
    err_set(&e, ERR_NOMEM, "no memory for positions");
    device_fail(d, &e);
    return NULL;
}

void cuda_timestep(struct device *d, dev_float *y, double t, int dim, double max_period)
{
    const int n = dim / 2 * 2;
    float *v = host_floats(d, (size_t)n);
    if (!v) return;
    host_timestep(v, t, dim, max_period);
    device_upload(d, y, v, (size_t)n);
    mem_free(v);
}

void cuda_rope_grid(struct device *d, dev_float *cs, dev_float *sn, int64_t n, int64_t n_text, int grid_w,
                    const int axes[3])
{
    const size_t each = (size_t)n * (size_t)((axes[0] + axes[1] + axes[2]) / 2);
    float *v = host_floats(d, 2 * each);
    if (!v) return;
    host_rope_grid(v, v + each, n, n_text, grid_w, axes);
    device_upload(d, cs, v, each);
    device_upload(d, sn, v + each, each);
    mem_free(v);
}
