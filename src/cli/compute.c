/* compute.c - see compute.h. */
#include "cli/compute.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* The number behind "cuda:"; -1: there is none. */
static int gpu_number(const char *where)
{
    char *end;
    if (strcmp(where, "cuda") == 0) return 0;
    if (strncmp(where, "cuda:", 5) != 0 || where[5] < '0' || where[5] > '9') return -1;
    const long n = strtol(where + 5, &end, 10);
    return *end || n > 1023 ? -1 : (int)n;
}

bool compute_open(struct device **out, struct pool *pool, const char *where, struct err *e)
{
    const bool any = strcmp(where, "auto") == 0;
    const int gpu = any ? 0 : gpu_number(where);
    struct err why;
    if (!any && gpu < 0 && strcmp(where, "cpu") != 0)
        return err_set(e, ERR_REQUEST, "--device is cpu, auto, cuda or cuda:N, not \"%s\"", where);
    if (any && device_cuda_open(out, pool, gpu, &why)) {
        log_info("computing on %s", device_name(*out));
        return true;
    }
    if (any) log_info("no GPU is used: %s", why.msg);
    if (!any && gpu >= 0) return device_cuda_open(out, pool, gpu, e) || err_wrap(e, "--device %s", where);
    return device_cpu_open(out, pool, ~0U, e);
}
