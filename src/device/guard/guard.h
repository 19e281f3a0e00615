/* guard.h - a device for tests: another one behind a table that keeps its memory out of the host's reach.
 *
 * Memory lies in pages that nobody may touch except while an operation runs: a host loop over device memory, which on the CPU would
 * pass unseen, ends the process. New memory is full of NaNs. A view from device_read() is a copy that ends with the next operation.
 * Failures device_guard_fail() makes the n-th operation from now fail, as one of a GPU might. */
#ifndef HEARTH_DEVICE_GUARD_GUARD_H
#define HEARTH_DEVICE_GUARD_GUARD_H

#include "device/device.h"

/* `inner` stays the caller's and outlives the guard; its objects are made and used through the guard. */
bool device_guard_open(struct device **out, struct device *inner, struct err *e);
void device_guard_fail(struct device *guard, int n);

#endif
