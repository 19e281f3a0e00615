/* fibres.cc - see fibres.h and emulate.h. */
#include "device/cuda/emulated/fibres.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <ucontext.h>

#include "device/cuda/emulated/emulate.h"

enum { MOST_THREADS = 1024, LANES = 32, STACK = 64 << 10 };

struct emulated_dim threadIdx, blockIdx, blockDim, gridDim;

struct meeting {
    int wanted, arrived;
    unsigned generation;
};

/* Going from stack to stack: ucontext asks the kernel for each step, so only the first of a fibre, unless a checker watches stacks. */
struct place {
    ucontext_t whole;
#ifndef __SANITIZE_ADDRESS__
    jmp_buf quick;
#endif
};

static void go(struct place *from, struct place *to, bool first)
{
#ifdef __SANITIZE_ADDRESS__
    (void)first;
    swapcontext(&from->whole, &to->whole);
#else
    if (_setjmp(from->quick)) return;
    if (first) setcontext(&to->whole);
    _longjmp(to->quick, 1);
#endif
}

struct fibre { /* lives on: block after block goes through it */
    struct place at;
    unsigned turns; /* exchanges so far: their places alternate */
    bool begun, done;
};

static struct {
    const struct emulated_kernel *kernel;
    const void *params;
    struct place main;
    struct fibre fibre[MOST_THREADS];
    unsigned char *stacks;
    struct meeting block, warp[MOST_THREADS / LANES];
    uint64_t slot[2][MOST_THREADS];
    int current, n;
    bool moved; /* since the last look at all of them */
} f;

static void fail(const char *why)
{
    fprintf(stderr, "emulated kernel %s: %s\n", f.kernel->name, why);
    abort();
}

static void set_thread(int i)
{
    f.current = i;
    threadIdx.x = (unsigned)i % blockDim.x;
    threadIdx.y = (unsigned)i / blockDim.x % blockDim.y;
    threadIdx.z = (unsigned)i / blockDim.x / blockDim.y;
}

static void meet(struct meeting *m)
{
    if (!f.kernel->meets) fail("its threads meet, but kernels.def says that they do not");
    const unsigned generation = m->generation;
    if (++m->arrived == m->wanted) {
        m->arrived = 0;
        m->generation++;
        f.moved = true;
        return;
    }
    while (m->generation == generation) {
        go(&f.fibre[f.current].at, &f.main, false);
    }
    f.moved = true;
}

extern "C" void emulated_block_meets(void) { meet(&f.block); }
extern "C" void emulated_warp_meets(void) { meet(&f.warp[f.current / LANES]); }
extern "C" int emulated_lane(void) { return f.current % LANES; }

extern "C" uint64_t emulated_exchange(uint64_t mine, int from)
{
    const int me = f.current;
    uint64_t *slot = f.slot[f.fibre[me].turns++ % 2];
    slot[me] = mine;
    emulated_warp_meets();
    return slot[me / LANES * LANES + from];
}

static void live(void)
{
    for (;;) {
        f.kernel->run(f.params);
        struct fibre *me = &f.fibre[f.current];
        me->done = true;
        f.moved = true;
        go(&me->at, &f.main, false);
    }
}

static void make_fibre(struct fibre *me, unsigned char *stack)
{
    getcontext(&me->at.whole);
    me->at.whole.uc_stack.ss_sp = stack;
    me->at.whole.uc_stack.ss_size = STACK;
    me->at.whole.uc_link = NULL;
    makecontext(&me->at.whole, live, 0);
    me->begun = true;
}

static void run_fibres(void)
{
    if (f.n % LANES) fail("a warp is not whole");
    if (!f.stacks) f.stacks = (unsigned char *)malloc((size_t)MOST_THREADS * STACK);
    if (!f.stacks) fail("no memory");
    f.block = { f.n, 0, 0 };
    for (int w = 0; w < f.n / LANES; w++) f.warp[w] = { LANES, 0, 0 };
    for (int i = 0; i < f.n; i++) {
        struct fibre *me = &f.fibre[i];
        me->turns = 0;
        me->done = false;
    }
    for (int left = f.n; left;) {
        f.moved = false;
        left = 0;
        for (int i = 0; i < f.n; i++) {
            if (f.fibre[i].done) continue;
            struct fibre *me = &f.fibre[i];
            const bool first = !me->begun;
            if (first) make_fibre(me, f.stacks + (size_t)i * STACK);
            set_thread(i);
            go(&f.main, &me->at, first);
            left += !f.fibre[i].done;
        }
        if (left && !f.moved) fail("its threads wait for one that does not come");
    }
}

extern "C" void emulated_run(const struct emulated_kernel *k, const void *params, const unsigned grid[3],
                             const unsigned block[3])
{
    f.kernel = k;
    f.params = params;
    gridDim = { grid[0], grid[1], grid[2] };
    blockDim = { block[0], block[1], block[2] };
    f.n = (int)(block[0] * block[1] * block[2]);
    if (f.n < 1 || f.n > MOST_THREADS) fail("a block of that size does not exist");
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = { x, y, z };
                if (k->meets) {
                    run_fibres();
                    continue;
                }
                for (int i = 0; i < f.n; i++) {
                    set_thread(i);
                    k->run(params);
                }
            }
}
