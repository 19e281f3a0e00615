/* mapfault.h - a file that shrinks under its mapping is that file's fault, not the end of the process.
 *
 * Reading a page that the file has lost raises SIGBUS. For the mappings watched here the page and all behind it become zeros, the
 * mapping counts as hit, and the reader goes on; whoever uses the numbers asks mapfault_hit() before believing them.
 * Any other SIGBUS does what it did before.
 * State    a signal finds nothing but what stands at file scope: a list of records that is only ever extended (records are used again),
 *          and the action that was there before.
 * Threads  any; reading and faulting take no lock. */
#ifndef HEARTH_FORMAT_MAPFAULT_H
#define HEARTH_FORMAT_MAPFAULT_H

#include <stdbool.h>
#include <stddef.h>

struct mapfault;

/* Watches the mapping [begin, begin + n) until mapfault_forget(); before it is unmapped. NULL: no memory. */
struct mapfault *mapfault_watch(const void *begin, size_t n);
void mapfault_forget(struct mapfault *f); /* NULL: nothing */
bool mapfault_hit(const struct mapfault *f);

#endif
