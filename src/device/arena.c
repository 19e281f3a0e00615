/* arena.c - pieces of one block of a device's memory: the arithmetic of base/mem.h's arena on addresses that only the device reads. */
#include "device/backend.h"

bool device_arena_init(struct device_arena *a, struct device *d, size_t cap, struct err *e)
{
    dev_byte *p = (dev_byte *)device_floats(d, (cap + sizeof(dev_float) - 1) / sizeof(dev_float), e);
    if (!p) return false;
    *a = (struct device_arena){ .d = d };
    arena_over(&a->at, p, cap);
    return true;
}

void device_arena_free(struct device_arena *a)
{
    if (!a->at.base) return;
    void *p = a->at.base;
    arena_leave(&a->at);
    device_free(a->d, p);
}

dev_float *device_arena_floats(struct device_arena *a, size_t n)
{
    return arena_alloc(&a->at, n, sizeof(dev_float));
}

dev_int *device_arena_ints(struct device_arena *a, size_t n)
{
    return arena_alloc(&a->at, n, sizeof(dev_int));
}
