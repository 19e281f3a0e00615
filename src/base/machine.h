/* machine.h - what this machine offers to this process: memory, processors, caches. Together with isa.h (instruction sets) the
 * only place that asks the system for it; tools/lint/imports.py holds that.
 *
 * Limits   Of a control group (version 2, or 1), also of those around the process's own, the smallest counts: what a container
 *          may use is what there is. Files that are not there are no limit; nothing here fails.
 * Cost     tens of file reads, below a millisecond: ask once, when something is opened.
 * Threads  no state; any number of threads may ask. */
#ifndef HEARTH_BASE_MACHINE_H
#define HEARTH_BASE_MACHINE_H

#include <stddef.h>

struct machine_cache {
    size_t bytes; /* of one such cache; 0: there is none, or it is not known */
    int sharers;  /* processors that use it together, at least 1 */
};

struct machine {
    size_t memory; /* bytes this process may use: the machine's, or the group's limit where that is lower */
    size_t memory_free; /* of these, bytes to be had now without swapping; caches of files count as free */
    int processors; /* that may run at once: the affinity mask, or the group's quota rounded up; at least 1 */
    struct machine_cache l1d, l2,
        l3; /* of the first processor of the mask. l1d and l2 are never 0: 32 and 512 KiB where
                                         the system does not say */
};

/* Everything. `root`: "" for the machine; a folder in place of / for tests (the affinity mask is always the process's own). */
void machine_read(struct machine *m, const char *root);

/* One of these alone. */
size_t machine_memory(void);
int machine_processors(void);

#endif
