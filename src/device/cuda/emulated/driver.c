/* driver.c - see driver.h. */
#include "device/cuda/cuda_device.h"
#include "device/cuda/emulated/driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "device/cuda/emulated/fibres.h"

enum { NO_CONTEXT = 201, INVALID = 1, NOT_FOUND = 500, LOST = 719, PIECES = 65536 };

const char emulated_image[] = "the host's own";

static struct {
    pthread_mutex_t lock;
    struct piece {
        unsigned char *p;
        size_t bytes, mapped;
    } piece[PIECES];
    int n, fail_in;
    size_t left;
} g = { .lock = PTHREAD_MUTEX_INITIALIZER, .left = SIZE_MAX };
static _Thread_local void *current;
static char context, module, stream;

void emulated_fail_launch(int n) { g.fail_in = n; }
void emulated_limit_memory(size_t bytes) { g.left = bytes; }
int emulated_pieces(void) { return g.n; }

static int on_init(unsigned flags) { return flags ? INVALID : 0; }

static int on_version(int *v)
{
    *v = 13000;
    return 0;
}

static int on_device_count(int *n)
{
    *n = 1;
    return 0;
}

static int on_device_get(int *device, int ordinal)
{
    *device = ordinal;
    return ordinal ? INVALID : 0;
}

static int on_device_name(char *name, int size, int device)
{
    (void)device;
    snprintf(name, (size_t)size, "emulated");
    return 0;
}

static int on_device_attribute(int *value, int attribute, int device)
{
    (void)device;
    *value = attribute == CUDA_ATTRIBUTE_MAJOR ? 9 : attribute == CUDA_ATTRIBUTE_PROCESSORS ? 1 : 0;
    return 0;
}

static int on_device_memory(size_t *bytes, int device)
{
    (void)device;
    *bytes = (size_t)1 << 36;
    return 0;
}

static int on_context_retain(void **c, int device)
{
    *c = &context;
    return device ? INVALID : 0;
}

static int on_context_release(int device) { return device ? INVALID : 0; }

static int on_context_set(void *c)
{
    current = c;
    return c == &context ? 0 : INVALID;
}

static int on_module_load(void **m, const void *image)
{
    *m = &module;
    return !current ? NO_CONTEXT : image == emulated_image ? 0 : INVALID;
}

static int on_module_unload(void *m) { return m == &module ? 0 : INVALID; }

static int on_module_function(void **function, void *m, const char *name)
{
    if (m != &module) return INVALID;
    for (const struct emulated_kernel *k = emulated_kernels; k->name; k++)
        if (strcmp(k->name, name) == 0) {
            *function = (void *)k;
            return 0;
        }
    return NOT_FOUND;
}

static int on_stream_new(void **s, unsigned flags)
{
    *s = &stream;
    return flags == CUDA_STREAM_NON_BLOCKING ? 0 : INVALID;
}

static int on_stream_free(void *s) { return s == &stream ? 0 : INVALID; }
static int on_stream_wait(void *s) { return s != &stream ? INVALID : !current ? NO_CONTEXT : 0; }

/* Memory is what nobody cleared: poisoned, but for what is too large to touch. */
static int on_memory_new(void **address, size_t bytes)
{
    enum { POISONED = 1 << 20 };
    if (!current || !bytes) return current ? INVALID : NO_CONTEXT;
    if (bytes > g.left || bytes > (size_t)1 << 40 || g.n == PIECES) return CUDA_NO_MEMORY;
    const size_t whole = (bytes + 4095) / 4096 * 4096;
    unsigned char *p =
        mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return CUDA_NO_MEMORY;
    memset(p, 0xff, bytes < POISONED ? bytes : POISONED);
    pthread_mutex_lock(&g.lock);
    g.piece[g.n++] = (struct piece){ p, bytes, whole };
    pthread_mutex_unlock(&g.lock);
    *address = p;
    return 0;
}

static int on_memory_free(void *address)
{
    int error = INVALID;
    pthread_mutex_lock(&g.lock);
    for (int i = 0; i < g.n; i++) {
        if (g.piece[i].p != address) continue;
        munmap(g.piece[i].p, g.piece[i].mapped);
        g.piece[i] = g.piece[--g.n];
        error = 0;
        break;
    }
    pthread_mutex_unlock(&g.lock);
    return current ? error : NO_CONTEXT;
}

static int on_memory_info(size_t *left, size_t *total)
{
    *left = g.left < (size_t)1 << 36 ? g.left : (size_t)1 << 36;
    *total = (size_t)1 << 36;
    return current ? 0 : NO_CONTEXT;
}

/* Within one piece? */
static int within(const void *address, size_t bytes)
{
    bool found = false;
    pthread_mutex_lock(&g.lock);
    for (int i = 0; i < g.n && !found; i++) {
        const uintptr_t at = (uintptr_t)g.piece[i].p, from = (uintptr_t)address;
        found = from >= at && bytes <= g.piece[i].bytes && from - at <= g.piece[i].bytes - bytes;
    }
    pthread_mutex_unlock(&g.lock);
    return !current ? NO_CONTEXT : found ? 0 : INVALID;
}

static int on_copy_up(void *to, const void *from, size_t bytes, void *s)
{
    const int error = s == &stream ? within(to, bytes) : INVALID;
    if (!error) memcpy(to, from, bytes);
    return error;
}

static int on_copy_down(void *to, const void *from, size_t bytes, void *s)
{
    const int error = s == &stream ? within(from, bytes) : INVALID;
    if (!error) memcpy(to, from, bytes);
    return error;
}

static int on_copy_inside(void *to, const void *from, size_t bytes, void *s)
{
    int error = s == &stream ? within(from, bytes) : INVALID;
    if (!error) error = within(to, bytes);
    if (!error) memmove(to, from, bytes);
    return error;
}

static int on_launch(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                     unsigned bz, unsigned shared_bytes, void *s, void **params, void **extra)
{
    const struct emulated_kernel *k = function;
    if (!current) return NO_CONTEXT;
    if (s != &stream || shared_bytes || extra || !gx || gy - 1 >= 65535 || gz - 1 >= 65535) return INVALID;
    if (g.fail_in > 0 && --g.fail_in == 0) return LOST;
    pthread_mutex_lock(&g.lock);
    emulated_run(k, params[0], (const unsigned[]){ gx, gy, gz }, (const unsigned[]){ bx, by, bz });
    pthread_mutex_unlock(&g.lock);
    return 0;
}

static int on_error_name(int error, const char **name)
{
    *name = error == LOST             ? "CUDA_ERROR_LAUNCH_FAILED"
            : error == CUDA_NO_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
                                      : NULL;
    return *name ? 0 : INVALID;
}

static int on_error_text(int error, const char **text)
{
    *text = error == LOST ? "unspecified launch failure" : NULL;
    return 0;
}

const struct cuda_driver *emulated_driver(void)
{
    static const struct cuda_driver driver = {
#define CALL(field, symbol, arguments) .field = on_##field,
#include "device/cuda/driver_calls.def"
#undef CALL
    };
    return &driver;
}

bool emulated_gpu_open(struct device **out, struct pool *pool, struct err *e)
{
    return cuda_open_on(out, pool, emulated_driver(), emulated_image, 0, e);
}
