#include "format/mapfault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct mapfault {
    struct mapfault *next; /* never changes once it is in the list */
    atomic_bool taken, hit;
    atomic_uintptr_t begin, end; /* end 0: nothing is watched */
};

static _Atomic(struct mapfault *) records;
static struct sigaction before;
static atomic_uintptr_t page_bytes;
static pthread_mutex_t installing = PTHREAD_MUTEX_INITIALIZER;

/* Nothing here but loads, stores and one system call. */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    (void)context;
    const int kept = errno;
    const uintptr_t at = (uintptr_t)info->si_addr;
    for (struct mapfault *f = atomic_load(&records); f; f = f->next) {
        const uintptr_t end = atomic_load(&f->end), into = at & (atomic_load(&page_bytes) - 1);
        if (at < atomic_load(&f->begin) || at >= end) continue;
        if (mmap((char *)info->si_addr - into, end - (at - into), PROT_READ,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            break;
        atomic_store(&f->hit, true);
        errno = kept;
        return;
    }
    sigaction(sig, &before, NULL); /* the instruction is tried again, and what was to happen happens */
    errno = kept;
}

/* With every mapping, because a library or a test program may have put its own action in our place. */
static void install(void)
{
    struct sigaction now, ours = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
    sigemptyset(&ours.sa_mask);
    pthread_mutex_lock(&installing);
    atomic_store(&page_bytes, (uintptr_t)sysconf(_SC_PAGESIZE));
    if (sigaction(SIGBUS, NULL, &now) == 0 &&
        !((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_sigbus)) {
        before = now;
        sigaction(SIGBUS, &ours, NULL);
    }
    pthread_mutex_unlock(&installing);
}

static struct mapfault *free_record(void)
{
    for (struct mapfault *f = atomic_load(&records); f; f = f->next)
        if (!atomic_load(&f->taken) && !atomic_exchange(&f->taken, true)) return f;
    struct mapfault *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    atomic_init(&f->taken, true);
    f->next = atomic_load(&records);
    while (!atomic_compare_exchange_weak(&records, &f->next, f)) continue;
    return f;
}

struct mapfault *mapfault_watch(const void *begin, size_t n)
{
    install();
    struct mapfault *f = free_record();
    if (!f) return NULL;
    atomic_store(&f->hit, false);
    atomic_store(&f->begin, (uintptr_t)begin);
    const uintptr_t page = atomic_load(&page_bytes);
    atomic_store(&f->end, (uintptr_t)begin + (n + page - 1) / page * page);
    return f;
}

void mapfault_forget(struct mapfault *f)
{
    if (!f) return;
    atomic_store(&f->end, 0);
    atomic_store(&f->taken, false);
}

bool mapfault_hit(const struct mapfault *f) { return atomic_load(&f->hit); }
