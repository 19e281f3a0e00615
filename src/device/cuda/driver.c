/* driver.c - see driver.h. */
#include "device/cuda/driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static struct cuda_driver driver;
static struct err opened = { ERR_NONE, "" };
static pthread_once_t once = PTHREAD_ONCE_INIT;

static bool find(void *library, const char *symbol, void *to)
{
    void *p = dlsym(library, symbol);
    memcpy(to, &p, sizeof p);
    if (p) return true;
    return err_set(&opened, ERR_UNSUPPORTED,
                   "the NVIDIA driver of this machine has no %s; a newer one is needed", symbol);
}

static void open_driver(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        err_set(&opened, ERR_UNSUPPORTED, "there is no NVIDIA driver on this machine (%s)", dlerror());
        return;
    }
#define CALL(field, symbol, arguments)                                                                       \
    if (!find(library, #symbol, &driver.field)) return;
#include "device/cuda/driver_calls.def"
#undef CALL
    const int error = driver.init(0);
    if (error) cuda_error(&driver, error, "the NVIDIA driver does not start", &opened);
}

const struct cuda_driver *cuda_driver_open(struct err *e)
{
    pthread_once(&once, open_driver);
    if (opened.code == ERR_NONE) return &driver;
    *e = opened;
    return NULL;
}

bool cuda_error(const struct cuda_driver *c, int error, const char *what, struct err *e)
{
    const char *name = NULL, *text = NULL;
    if (c->error_name(error, &name) || !name) name = "an unknown error";
    if (c->error_text(error, &text) || !text) text = "";
    return err_set(e, error == CUDA_NO_MEMORY ? ERR_NOMEM : ERR_IO, "%s: %s%s%s", what, name,
                   *text ? ": " : "", text);
}
