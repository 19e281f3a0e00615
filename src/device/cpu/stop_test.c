/* Work that is given up inside one operation: a page of the input is out of reach until it is read, and what reads it first sets the flag that
 * the pool stops on. What would have come after that piece must not have been computed, on every instruction set. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "base/mem.h"
#include "device/backend.h"

enum { PAGE = 4096 };
static const float untouched = 1234.5f;

static struct pool *pool;
static struct device *dev;
static atomic_bool flag;
static unsigned char *trap; /* the page that is watched */
static atomic_int met;

static void on_fault(int sig, siginfo_t *info, void *context)
{
    (void)context;
    unsigned char *at = info->si_addr;
    if (at < trap || at >= trap + PAGE || mprotect(trap, PAGE, PROT_READ | PROT_WRITE) != 0) {
        signal(sig, SIG_DFL);
        return;
    }
    atomic_store(&flag, true);
    atomic_fetch_add(&met, 1);
}

static float *reserve(size_t floats)
{
    size_t n = (floats * sizeof(float) + PAGE - 1) / PAGE * PAGE;
    float *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) fail_msg("no memory");
    return p;
}

static void release(float *p, size_t floats) { munmap(p, (floats * sizeof(float) + PAGE - 1) / PAGE * PAGE); }

/* Input and output of one operation, the trap in the middle of the input. */
struct room {
    float *x, *y;
    size_t n_x, n_y;
};

static struct room begin(size_t n_x, size_t n_y)
{
    struct room r = { reserve(n_x), reserve(n_y), n_x, n_y };
    for (size_t i = 0; i < n_x; i++) r.x[i] = (float)(i % 7) * 0.25f - 0.5f;
    for (size_t i = 0; i < n_y; i++) r.y[i] = untouched;
    trap = (unsigned char *)r.x + n_x / 2 * sizeof(float) / PAGE * PAGE;
    assert_int_equal(mprotect(trap, PAGE, PROT_NONE), 0);
    atomic_store(&flag, false);
    atomic_store(&met, 0);
    const struct sigaction watch = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };
    sigaction(SIGSEGV, &watch, NULL); /* cmocka has its own in every test */
    pool_acquire(pool, POOL_IMAGE);
    pool_stop_on(pool, &flag);
    return r;
}

/* wrote: the operation writes outputs before it has read all inputs. */
static void end(const char *what, struct room *r, bool wrote)
{
    pool_release(pool);
    size_t left = 0;
    for (size_t i = 0; i < r->n_y; i++) left += r->y[i] == untouched;
    if (met != 1) fail_msg("%s: its input was read by %d", what, (int)met);
    if (r->y[r->n_y - 1] != untouched) fail_msg("%s ran to its end", what);
    if (left < r->n_y / 4) fail_msg("%s: %zu of %zu outputs are left", what, left, r->n_y);
    if (wrote && r->y[0] == untouched) fail_msg("%s: nothing was computed before", what);
    printf("  %-28s %3.0f%% of the outputs left\n", what, 100.0 * (double)left / (double)r->n_y);
    release(r->x, r->n_x);
    release(r->y, r->n_y);
}

static void test_elementwise(void **state)
{
    (void)state;
    enum { N = 1 << 20, C = 64 };
    struct room r = begin(N, N);
    op_silu(dev, r.y, r.x, N);
    end("silu", &r, true);
    r = begin(N, N);
    op_add(dev, r.y, r.x, r.x, N);
    end("add", &r, true);
    r = begin(N, N);
    op_axpby(dev, r.y, r.x, 2, 0, N);
    end("axpby", &r, true);
    float one[C];
    for (int i = 0; i < C; i++) one[i] = 1;
    r = begin(N, N);
    op_scale_shift(dev, r.y, r.x, N / C, C, one, one, true);
    end("scale and shift", &r, true);
    r = begin(N, N);
    op_rmsnorm(dev, r.y, C, r.x, C, N / C, C, one, 1e-5f);
    end("rms norm", &r, true);
    r = begin(N, N);
    op_layernorm(dev, r.y, C, r.x, C, N / C, C, NULL, NULL, 1e-5f, NULL, NULL);
    end("layer norm", &r, true);
}

static void test_linear(void **state)
{
    (void)state;
    enum { ROWS = 2048, IN = 64, OUT = 96 };
    struct err e = { 0 };
    struct linear *l;
    float *w = mem_aligned(IN * OUT, sizeof *w, true);
    assert_non_null(w);
    struct matrix m = { .type = DT_F32, .n_out = OUT, .n_in = IN, .data = w };
    pool_acquire(pool, POOL_IMAGE);
    if (!linear_new(dev, &l, &m, 1, LINEAR_CONCAT, NULL, ROWS, &e)) fail_msg("%s", e.msg);
    pool_release(pool);
    struct room r = begin((size_t)ROWS * IN, (size_t)ROWS * OUT);
    op_linear(dev, &(struct linear_args){ .w = l, .x = r.x, .ldx = IN, .y = r.y, .ldy = OUT, .n = ROWS });
    end("linear", &r, false);
    linear_free(l);
    mem_free(w);
}

static void test_attention(void **state)
{
    (void)state;
    enum { N = 2048, HEADS = 2, DIM = 32, WIDE = HEADS * DIM };
    struct room r = begin((size_t)N * WIDE, (size_t)N * WIDE);
    float *kv = reserve((size_t)N * WIDE);
    op_attention(dev, &(struct attention_args){ .q = r.x,
                                                .ldq = WIDE,
                                                .k = kv,
                                                .ldk = WIDE,
                                                .v = kv,
                                                .ldv = WIDE,
                                                .out = r.y,
                                                .ldo = WIDE,
                                                .n_q = N,
                                                .n_kv = N,
                                                .n_head = HEADS,
                                                .n_kv_head = HEADS,
                                                .head_dim = DIM,
                                                .scale = 1 });
    release(kv, (size_t)N * WIDE);
    pool_release(pool);
    /* The last queries come first: what is left is at the beginning. */
    assert_int_equal(met, 1);
    assert_true(r.y[0] == untouched);
    release(r.x, r.n_x);
    release(r.y, r.n_y);
}

static void test_convolution(void **state)
{
    (void)state;
    enum { SIDE = 256, C = 16 };
    struct err e = { 0 };
    struct conv *c;
    float *w = mem_aligned(C * C * 9, sizeof *w, true);
    assert_non_null(w);
    pool_acquire(pool, POOL_IMAGE);
    if (!conv_new(dev, &c, DT_F32, w, C, C, 3, 3, 1, CONV_ANY, NULL, &e)) fail_msg("%s", e.msg);
    pool_release(pool);
    struct room r = begin((size_t)SIDE * SIDE * C, (size_t)SIDE * SIDE * C);
    op_conv2d(dev, &(struct conv_args){ .w = c,
                                        .x = r.x,
                                        .y = r.y,
                                        .h = SIDE,
                                        .w_in = SIDE,
                                        .pad_top = 1,
                                        .pad_left = 1,
                                        .pad_bottom = 1,
                                        .pad_right = 1 });
    end("convolution", &r, false);
    conv_free(c);
    mem_free(w);
}

/* After the flag no other operation begins, and the next holder's work is done as ever. */
static void test_afterwards(void **state)
{
    (void)state;
    float x[4] = { 1, 2, 3, 4 }, y[4] = { 0 };
    pool_acquire(pool, POOL_IMAGE);
    pool_stop_on(pool, &flag);
    atomic_store(&flag, true);
    op_add(dev, y, x, x, 4);
    assert_true(y[0] == 0);
    pool_release(pool);
    pool_acquire(pool, POOL_IMAGE);
    op_add(dev, y, x, x, 4);
    assert_true(y[0] == 2 && y[3] == 8);
    pool_release(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_elementwise), cmocka_unit_test(test_linear),
                                        cmocka_unit_test(test_attention), cmocka_unit_test(test_convolution),
                                        cmocka_unit_test(test_afterwards) };
    struct err e = { 0 };
    if (!pool_new(&pool, 1, &e) || !device_cpu_open(&dev, pool, ~0u, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    device_close(dev);
    pool_free(pool);
    return failed;
}
