/* cuda.c - a GPU: its context, its memory, the one stream that everything goes through in the order of the calls, and launches. */
#include "device/cuda/cuda_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/isa.h"
#include "device/cuda/image.h"

/* Notes a driver's answer; true when it is good. */
static bool cuda_check(struct cuda_device *d, int error, const char *what)
{
    struct err e;
    if (!error) return true;
    cuda_error(d->driver, error, what, &e);
    device_fail(&d->base, &e);
    return false;
}

/* Makes the device's context this thread's. false: the device has failed. */
static bool cuda_enter(struct cuda_device *d)
{
    return cuda_check(d, d->driver->context_set(d->context), "the GPU's context");
}

/* ---- the device ----------------------------------------------------------------------------------------------------- */

static void close_device(struct device *base)
{
    struct cuda_device *d = cuda_of(base);
    if (d->context && d->driver->context_set(d->context) == CUDA_OK) {
        if (d->scratch) d->driver->memory_free(d->scratch);
        if (d->stream) d->driver->stream_free(d->stream);
        if (d->module) d->driver->module_unload(d->module);
    }
    if (d->context) d->driver->context_release(d->handle);
    free(d->view);
    free(d);
}

static void finish(struct device *base)
{
    struct cuda_device *d = cuda_of(base);
    if (cuda_enter(d)) cuda_check(d, d->driver->stream_wait(d->stream), "the GPU's work");
}

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

static void *alloc(struct device *base, size_t bytes)
{
    struct cuda_device *d = cuda_of(base);
    void *p = NULL;
    if (!cuda_enter(d) || d->driver->memory_new(&p, bytes) != CUDA_OK) return NULL;
    return p;
}

static void free_memory(struct device *base, void *p) { cuda_memory_free(cuda_of(base), p); }

/* A GPU's memory does not come when it is written: all of it is taken at once. */
static void *reserve(struct device *d, size_t bytes) { return alloc(d, bytes); }

static void unreserve(struct device *d, void *p, size_t bytes)
{
    (void)bytes;
    free_memory(d, p);
}

static void lend(struct device *d, void *p, size_t bytes) { (void)d, (void)p, (void)bytes; }

static void upload(struct device *base, void *to, const void *from, size_t bytes)
{
    struct cuda_device *d = cuda_of(base);
    if (cuda_enter(d)) cuda_check(d, d->driver->copy_up(to, from, bytes, d->stream), "a copy to the GPU");
}

static void download(struct device *base, void *to, const void *from, size_t bytes)
{
    struct cuda_device *d = cuda_of(base);
    if (cuda_enter(d) &&
        cuda_check(d, d->driver->copy_down(to, from, bytes, d->stream), "a copy from the GPU"))
        cuda_check(d, d->driver->stream_wait(d->stream), "the GPU's work");
}

static float *read_floats(struct device *base, const dev_float *from, size_t n)
{
    struct cuda_device *d = cuda_of(base);
    const size_t bytes = (n ? n : 1) * sizeof *from;
    if (bytes > d->view_bytes) {
        float *view = realloc(d->view, bytes);
        if (!view) {
            struct err e;
            err_set(&e, ERR_NOMEM, "no memory for %zu bytes from %s", bytes, base->name);
            device_fail(base, &e);
            return NULL;
        }
        d->view = view;
        d->view_bytes = bytes;
    }
    if (base->failed) {
        memset(d->view, 0, bytes);
    } else if (n) {
        download(base, d->view, from, bytes);
    }
    return d->view;
}

static void copy(struct device *base, void *to, const void *from, size_t bytes)
{
    struct cuda_device *d = cuda_of(base);
    if (cuda_enter(d)) cuda_check(d, d->driver->copy_inside(to, from, bytes, d->stream), "a copy on the GPU");
}

void *cuda_memory_of(struct cuda_device *d, const void *from, size_t bytes, struct err *e)
{
    void *p = NULL;
    int error = d->driver->context_set(d->context);
    if (!error) error = d->driver->memory_new(&p, bytes ? bytes : 1);
    if (!error) error = d->driver->copy_up(p, from, bytes, d->stream);
    if (!error)
        error =
            d->driver->stream_wait(d->stream); /* the host's copy may be a file's page that is forgotten */
    if (!error) return p;
    cuda_error(d->driver, error, "weights to the GPU", e);
    if (p) d->driver->memory_free(p);
    return 0;
}

void cuda_memory_free(struct cuda_device *d, const void *p)
{
    if (p && d->driver->context_set(d->context) == CUDA_OK) d->driver->memory_free((void *)p);
}

void *cuda_scratch(struct cuda_device *d, size_t bytes)
{
    if (bytes > d->scratch_bytes) {
        if (!cuda_enter(d)) return NULL;
        if (d->scratch) d->driver->memory_free(d->scratch); /* which waits for what uses it */
        d->scratch = NULL;
        d->scratch_bytes = 0;
        if (!cuda_check(d, d->driver->memory_new(&d->scratch, bytes), "scratch on the GPU")) return NULL;
        d->scratch_bytes = bytes;
    }
    return d->scratch;
}

/* ---- launches --------------------------------------------------------------------------------------------------------- */

void cuda_launch(struct cuda_device *d, enum cuda_kernel k, struct cuda_grid grid, const void *params)
{
    void *args[] = { (void *)params };
    if (!grid.x || !grid.y || !cuda_enter(d)) return;
    cuda_check(
        d, d->driver->launch(d->kernel[k], grid.x, grid.y, 1, grid.threads, 1, 1, 0, d->stream, args, NULL),
        "a kernel");
}

struct cuda_grid cuda_over(int64_t n)
{
    const int64_t blocks = (n + 255) / 256;
    return (struct cuda_grid){ (unsigned)(blocks < 65536 ? blocks : 65536), 1, 256 };
}

struct cuda_grid cuda_warps(int64_t n, int warps)
{
    return (struct cuda_grid){ (unsigned)((n + warps - 1) / warps), 1, 32 * (unsigned)warps };
}

/* ---- opening ---------------------------------------------------------------------------------------------------------- */

/* clang-format off */
static const struct device_ops table = {
    .close = close_device, .finish = finish,
    .acquire = host_acquire, .release = host_release, .offer = host_offer, .stop_on = host_stop_on,
    .run_host = host_run,
    .alloc = alloc, .reserve = reserve, .unreserve = unreserve, .free = free_memory, .lend = lend,
    .upload = upload, .download = download, .read = read_floats, .copy = copy,
    .linear_new = cuda_linear_new, .linear_free = cuda_linear_free, .linear_is_copy = cuda_linear_is_copy,
    .linear_set_fine = cuda_linear_set_fine, .linear_bytes = cuda_linear_bytes,
    .conv_new = cuda_conv_new, .conv_free = cuda_conv_free, .conv_bytes = cuda_conv_bytes,
    .table_new = cuda_table_new, .table_free = cuda_table_free,
    .kv_page_bytes = cuda_kv_page_bytes,
    .linear = cuda_linear, .linear_each = cuda_linear_each,
    .moe = cuda_moe, .embed = cuda_embed, .rope = cuda_rope, .attention_paged = cuda_attention_paged,
    .rmsnorm = cuda_rmsnorm, .layernorm = cuda_layernorm, .attention = cuda_attention, .rope_table = cuda_rope_table,
    .conv2d = cuda_conv2d, .groupnorm_fold = cuda_groupnorm_fold, .scale_shift = cuda_scale_shift,
    .silu = cuda_silu, .add = cuda_add, .axpby = cuda_axpby, .route = cuda_route,
    .copy_rows = cuda_copy_rows, .gather = cuda_gather, .fill = cuda_fill, .from_planes = cuda_from_planes,
    .to_planes = cuda_to_planes, .pack = cuda_pack, .unpack = cuda_unpack, .timestep = cuda_timestep,
    .rope_grid = cuda_rope_grid, .relative_bias = cuda_relative_bias, .epilogue = cuda_epilogue, .geglu = cuda_geglu,
    .scale = cuda_scale, .scale_rows = cuda_scale_rows, .lincomb = cuda_lincomb, .clamp = cuda_clamp, .guide = cuda_guide,
    .mask = cuda_mask, .posterior = cuda_posterior, .tile = cuda_tile, .untile = cuda_untile,
};
/* clang-format on */

static const char *const kernel_name[N_CUDA_KERNELS] = {
#define KERNEL(name, params, meets) [K_##name] = #name,
#include "device/cuda/kernels.def"
#undef KERNEL
};

static void describe(struct cuda_device *d)
{
    char name[40] = "GPU";
    int major = 0, minor = 0;
    d->driver->device_name(name, sizeof name, d->handle);
    d->driver->device_attribute(&major, CUDA_ATTRIBUTE_MAJOR, d->handle);
    d->driver->device_attribute(&minor, CUDA_ATTRIBUTE_MINOR, d->handle);
    snprintf(d->base.name, sizeof d->base.name, "cuda:%d %s, sm_%d%d", d->ordinal, name, major, minor);
}

static bool start(struct cuda_device *d, const void *image, struct err *e)
{
    const struct cuda_driver *c = d->driver;
    int n = 0, error = c->device_count(&n);
    if (!error && d->ordinal >= n)
        return err_set(e, ERR_NOT_FOUND, "there is no GPU %d: this machine has %d", d->ordinal, n);
    if (!error) error = c->device_get(&d->handle, d->ordinal);
    if (!error) describe(d);
    if (!error) error = c->context_retain(&d->context, d->handle);
    if (!error) error = c->context_set(d->context);
    if (!error) error = c->stream_new(&d->stream, CUDA_STREAM_NON_BLOCKING);
    if (error) return cuda_error(c, error, "the GPU does not start", e);
    error = c->module_load(&d->module, image);
    for (int i = 0; !error && i < N_CUDA_KERNELS; i++)
        error = c->module_function(&d->kernel[i], d->module, kernel_name[i]);
    if (error) return cuda_error(c, error, "the kernels do not load on this GPU", e);
    return true;
}

bool cuda_open_on(struct device **out, struct pool *pool, const struct cuda_driver *driver, const void *image,
                  int ordinal, struct err *e)
{
    struct cuda_device *d = calloc(1, sizeof *d);
    if (!d) return err_set(e, ERR_NOMEM, "no memory for the device");
    d->base.ops = &table;
    d->base.pool = pool;
    d->driver = driver;
    d->ordinal = ordinal;
    if (!isa_choose(&d->base.isa, e) || !start(d, image, e)) {
        close_device(&d->base);
        return false;
    }
    *out = &d->base;
    return true;
}

bool device_cuda_open(struct device **out, struct pool *pool, int ordinal, struct err *e)
{
    const void *image = cuda_image();
    if (!image)
        return err_set(e, ERR_UNSUPPORTED,
                       "this hearth was built without CUDA (nvcc was not found, or CUDA=0)");
    const struct cuda_driver *driver = cuda_driver_open(e);
    return driver && cuda_open_on(out, pool, driver, image, ordinal, e);
}
