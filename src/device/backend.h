/* backend.h - what a backend is: a table with a row for every operation, for every object, and for memory.
 *
 * Adding one  a folder beside cpu/ with its table, `struct NAME_device { struct device base; ... }`, its objects, each with its base first
 *             (struct linear { struct linear_base base; ... }), a function that opens it in device.h, and one line in the list of
 *             backend_test.c, which runs every row of every backend against plain C.
 * Rows        stand for the functions of device.h with their names, which say what each does; device.c does what is the same for all:
 *             nothing is done after a failure, and calls without rows or columns do not arrive.
 * Elements    in files that include this header dev_float is float, so that the kernels, whose device memory is the host's, index it;
 *             a backend with memory of its own never looks through such a pointer. Everywhere else it is a struct that nobody can
 *             compute with. The two have one size and alignment. Include this header before anything that includes device.h.
 *             Networks do not include it (tools/lint/imports.py). */
#ifndef HEARTH_DEVICE_BACKEND_H
#define HEARTH_DEVICE_BACKEND_H

#if defined(HEARTH_DEVICE_DEVICE_H) && !defined(DEVICE_HOST_ELEMENTS)
#error "device/backend.h comes before everything that includes device/device.h"
#endif
#ifndef DEVICE_HOST_ELEMENTS
#define DEVICE_HOST_ELEMENTS
#endif
#include "device/device.h"

/* clang-format off */
struct device_ops {
    void (*close)(struct device *d);
    /* Waits; a failure that shows only now is noted with device_fail(). */
    void (*finish)(struct device *d);

    void (*acquire)(struct device *d, enum pool_lane lane);
    void (*release)(struct device *d);
    void (*offer)(struct device *d, enum pool_lane lane);
    void (*stop_on)(struct device *d, const atomic_bool *flag);
    void (*run_host)(struct device *d, void (*fn)(void *arg, int ith, int nth), void *arg);

    /* Memory: 64-byte aligned, or NULL. `reserve`: see device_reserve(). */
    void *(*alloc)(struct device *d, size_t bytes);
    void *(*reserve)(struct device *d, size_t bytes);
    void (*unreserve)(struct device *d, void *p, size_t bytes);
    void (*free)(struct device *d, void *p);
    void (*lend)(struct device *d, void *p, size_t bytes);
    void (*upload)(struct device *d, void *to, const void *from, size_t bytes);
    void (*download)(struct device *d, void *to, const void *from, size_t bytes);
    float *(*read)(struct device *d, const dev_float *from, size_t n); /* also device_take() */
    void (*copy)(struct device *d, void *to, const void *from, size_t bytes);

    bool (*linear_new)(struct device *d, struct linear **out, const struct matrix *part, int n_parts, enum linear_join join,
                       const float *bias, int rows_hint, struct err *e);
    void (*linear_free)(struct linear *l);
    bool (*linear_is_copy)(const struct linear *l);
    void (*linear_set_fine)(struct linear *l);
    size_t (*linear_bytes)(const struct linear *l);
    bool (*conv_new)(struct device *d, struct conv **out, enum dtype type, const void *w, int n_out, int n_in, int kh, int kw,
                     int groups, unsigned use, const float *bias, struct err *e);
    void (*conv_free)(struct conv *c);
    size_t (*conv_bytes)(const struct conv *c);
    bool (*table_new)(struct device *d, struct table **out, const struct matrix *m, struct err *e);
    void (*table_free)(struct table *t);

    size_t (*kv_page_bytes)(const struct device *d, enum kv_type t, int n_kv_head, int k_dim, int v_dim);
    void (*linear)(struct device *d, const struct linear_args *a);
    void (*linear_each)(struct device *d, const struct linear_each_args *a);
    void (*moe)(struct device *d, const struct moe_args *a);
    void (*embed)(struct device *d, dev_float *y, int64_t ldy, const struct table *t, const dev_int *ids, int64_t n);
    void (*rope)(struct device *d, const struct rope_args *a);
    void (*attention_paged)(struct device *d, const struct attn_args *a);
    void (*rmsnorm)(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n, int64_t n_embd,
                    const dev_float *w, float eps);
    void (*layernorm)(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n, int64_t n_embd,
                      const dev_float *w, const dev_float *b, float eps, const dev_float *scale, const dev_float *shift);
    void (*attention)(struct device *d, const struct attention_args *a);
    void (*rope_table)(struct device *d, dev_float *x, int64_t ld, int64_t n, int n_head, int head_dim, const dev_float *cos,
                       const dev_float *sin, const dev_float *head_norm, float eps);
    void (*conv2d)(struct device *d, const struct conv_args *a);
    void (*groupnorm_fold)(struct device *d, dev_float *scale, dev_float *shift, const dev_float *x, int64_t hw, int c, int groups,
                           const dev_float *w, const dev_float *b, float eps);
    void (*scale_shift)(struct device *d, dev_float *y, const dev_float *x, int64_t hw, int c, const dev_float *scale,
                        const dev_float *shift, bool silu);
    void (*silu)(struct device *d, dev_float *y, const dev_float *x, int64_t n);
    void (*add)(struct device *d, dev_float *y, const dev_float *a, const dev_float *b, int64_t n);
    void (*axpby)(struct device *d, dev_float *y, const dev_float *x, float a, float b, int64_t n);

    void (*route)(struct device *d, const struct route_args *a);
    void (*copy_rows)(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n, int64_t n_cols);
    void (*gather)(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, const dev_int *row, int64_t n,
                   int64_t n_cols);
    void (*fill)(struct device *d, dev_float *y, float value, int64_t n);
    void (*from_planes)(struct device *d, const struct planes_args *a);
    void (*to_planes)(struct device *d, const struct planes_args *a);
    void (*pack)(struct device *d, dev_float *tokens, const dev_float *x, int c, int h, int w);
    void (*unpack)(struct device *d, dev_float *x, const dev_float *tokens, int c, int h, int w);
    void (*timestep)(struct device *d, dev_float *y, double t, int dim, double max_period);
    void (*rope_grid)(struct device *d, dev_float *cos, dev_float *sin, int64_t n, int64_t n_text, int grid_w, const int axes[3]);
    void (*relative_bias)(struct device *d, dev_float *bias, const dev_float *table, const dev_int *bucket, int n_head, int64_t n);
    void (*epilogue)(struct device *d, const struct epilogue_args *a);
    void (*geglu)(struct device *d, dev_float *y, const dev_float *x, int64_t n, int64_t n_ff);
    void (*scale)(struct device *d, dev_float *y, const dev_float *x, float a, int64_t n);
    void (*scale_rows)(struct device *d, dev_float *y, int64_t ldy, const dev_float *by, int64_t n, int64_t n_cols);
    void (*lincomb)(struct device *d, dev_float *y, const struct lincomb_term *term, int n_terms, int64_t n);
    void (*clamp)(struct device *d, dev_float *y, const dev_float *x, float bound, float over, int64_t n);
    void (*guide)(struct device *d, dev_float *y, const dev_float *v, const dev_float *u, float by, int64_t n);
    void (*mask)(struct device *d, dev_float *y, const dev_float *x, const dev_float *mask, int channels, int64_t plane);
    void (*posterior)(struct device *d, const struct posterior_args *a);
    void (*tile)(struct device *d, const struct tile_args *a);
    void (*untile)(struct device *d, dev_float *picture, const dev_float *weight, int64_t n, int c);
};
/* clang-format on */

/* First in every backend's device. */
struct device {
    const struct device_ops *ops;
    struct pool *pool; /* the host's threads */
    unsigned isa;      /* bits of enum isa that the host's passes may use */
    struct err error;  /* the first failure since device_finish() */
    bool failed;
    char name[80];
};

/* host.c: rows of backends whose owner is the pool's, and numbers that are few and that a host computes as the references do. */
void host_acquire(struct device *d, enum pool_lane lane);
void host_release(struct device *d);
void host_offer(struct device *d, enum pool_lane lane);
void host_stop_on(struct device *d, const atomic_bool *flag);
void host_run(struct device *d, void (*fn)(void *arg, int ith, int nth), void *arg);
void host_timestep(float *y, double t, int dim, double max_period);
void host_rope_grid(float *cos, float *sin, int64_t n, int64_t n_text, int grid_w, const int axes[3]);

/* First in every backend's objects. `device` is the one whose table they are used through. */
struct linear_base {
    struct device *device;
    int64_t n_in, n_out;
};
struct conv_base {
    struct device *device;
    int n_in, n_out, kh, kw;
};
struct table_base {
    struct device *device;
};

#endif
