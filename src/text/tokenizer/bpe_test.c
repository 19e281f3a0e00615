/* Merging against its definition: join the pair of the lowest rank, the leftmost of equals, until none is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer/bpe.h"

struct rule {
    int32_t left, right, id;
    uint32_t rank;
};

static size_t naive(const struct rule *rules, int n_rules, int32_t *sym, size_t n)
{
    for (;;) {
        size_t best = SIZE_MAX;
        const struct rule *with = NULL;
        for (size_t i = 0; i + 1 < n; i++)
            for (int r = 0; r < n_rules; r++)
                if (rules[r].left == sym[i] && rules[r].right == sym[i + 1] &&
                    (!with || rules[r].rank < with->rank)) {
                    best = i;
                    with = &rules[r];
                }
        if (!with) return n;
        sym[best] = with->id;
        memmove(sym + best + 1, sym + best + 2, (n - best - 2) * sizeof *sym);
        n--;
    }
}

static unsigned seed = 11;
static unsigned draw(unsigned n) { return ((seed = seed * 1664525 + 1013904223) >> 10) % n; }

static void test_random(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct bpe_scratch scratch = { 0 };
    for (int round = 0; round < 400; round++) {
        struct rule rules[60];
        int n = 0, tokens = 3;
        struct bpe b;
        assert_true(bpe_init(&b, 60, &e));
        bool shared = draw(2); /* ranks may be shared, as SentencePiece's equal scores are */
        while (n < 60 && tokens < 40) {
            struct rule r = { (int32_t)draw((unsigned)tokens), (int32_t)draw((unsigned)tokens), tokens,
                              shared ? draw(12) : (uint32_t)n };
            bool known = false;
            for (int i = 0; i < n; i++) known |= rules[i].left == r.left && rules[i].right == r.right;
            if (known) continue;
            rules[n++] = r;
            tokens++;
            bpe_add(&b, r.left, r.right, r.rank, r.id);
        }
        for (int k = 0; k < 8; k++) {
            int32_t got[200], want[200];
            size_t len = 1 + draw(k % 2 ? 180 : 39),
                   n_got = len; /* on both sides of where the method changes */
            for (size_t i = 0; i < len; i++) got[i] = draw(30) ? (int32_t)draw(3) : -1;
            memcpy(want, got, len * sizeof *got);
            assert_true(bpe_merge(&b, &scratch, got, &n_got, &e));
            size_t n_want = naive(rules, n, want, len);
            assert_int_equal(n_got, n_want);
            assert_memory_equal(got, want, n_want * sizeof *want);
        }
        bpe_free(&b);
    }
    bpe_scratch_free(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_random) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
