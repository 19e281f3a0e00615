/* How layers are dealt into groups, and what a sequence takes of memory by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "lm/kvcache.h"

/* Every `period`-th layer sees everything, the others a window. */
static void shape(struct lm_shape *s, int n_layer, int period, int window, int chunk)
{
    memset(s, 0, sizeof *s);
    s->n_layer = n_layer;
    s->n_ctx_train = 131072;
    s->n_kv_head = 1;
    s->k_dim = s->v_dim = 256;
    for (int il = 0; il < n_layer; il++)
        if ((il + 1) % period) s->layer[il].window = window, s->layer[il].chunk = chunk;
}

/* Every layer has a place of its own, among layers that see what it sees. */
static void check(const struct kv_plan *p, const struct lm_shape *s)
{
    bool taken[KV_GROUPS][LM_MAX_LAYER] = { { false } };
    assert_true(p->n_group >= 1 && p->n_group <= KV_GROUPS);
    for (int il = 0; il < s->n_layer; il++) {
        const int g = p->group_of[il], slot = p->slot_of[il];
        assert_true(g >= 0 && g < p->n_group && slot >= 0 && slot < p->layers_each);
        assert_false(taken[g][slot]);
        taken[g][slot] = true;
        assert_int_equal(p->group[g].window, s->layer[il].window);
        assert_int_equal(p->group[g].chunk, s->layer[il].chunk);
    }
}

static void test_groups(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int n_layer, period, window, chunk, n_group, layers_each;
    } cases[] = {
        { "all alike", 32, 1, 0, 0, 1, 32 },     { "a window everywhere", 32, 1000, 4096, 0, 1, 32 },
        { "gemma-3-1b", 26, 6, 512, 0, 7, 4 },   { "gemma-3-4b", 34, 6, 1024, 0, 7, 5 },
        { "gemma-3-12b", 48, 6, 1024, 0, 6, 8 }, { "gemma-3-27b", 62, 6, 1024, 0, 7, 10 },
        { "one of two", 24, 2, 128, 0, 2, 12 },  { "chunks", 48, 4, 0, 8192, 4, 12 },
    };
    struct pool *pool;
    struct device *d;
    struct err e;
    assert_true(pool_new(&pool, 1, &e) && device_cpu_open(&d, pool, 0, &e));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct lm_shape s;
        struct kv_plan p;
        shape(&s, cases[i].n_layer, cases[i].period, cases[i].window, cases[i].chunk);
        kv_plan(&p, &s);
        check(&p, &s);
        const size_t page = kvcache_page_bytes(d, KV_F16, &p, &s);
        const size_t now = page * (size_t)kv_sequence_pages(&p, 8192, 256);
        const size_t before = page / (size_t)p.layers_each * (size_t)s.n_layer * (size_t)kv_pages_for(8192);
        print_message(
            "%-20s %d groups of %d layers; 8,192 tokens take %zu MB, %zu MB in pages over all layers\n",
            cases[i].name, p.n_group, p.layers_each, now >> 20, before >> 20);
        if (p.n_group != cases[i].n_group || p.layers_each != cases[i].layers_each)
            fail_msg("%s: %d groups of %d", cases[i].name, p.n_group, p.layers_each);
        assert_true(now <= before);
        if (cases[i].period == 6) assert_true(now < before / 2);
    }
    device_close(d);
    pool_free(pool);
}

/* More kinds of layers than groups: all keep everything, and windows still hide what they hide. */
static void test_too_many_kinds(void **state)
{
    (void)state;
    struct lm_shape s;
    struct kv_plan p;
    shape(&s, 12, 1, 0, 0);
    for (int il = 0; il < 12; il++) s.layer[il].window = 100 + il;
    kv_plan(&p, &s);
    assert_int_equal(p.n_group, 1);
    assert_int_equal(p.layers_each, 12);
    assert_int_equal(kv_first_page(&p, 0, 5000), 0);
    for (int il = 0; il < 12; il++) assert_int_equal(p.slot_of[il], il);
}

/* Values that are part of their keys take nothing: DeepSeek's 576 channels in place of 1,088. */
static void test_values_in_keys(void **state)
{
    (void)state;
    struct lm_shape s;
    struct kv_plan p;
    struct kvcache *c;
    struct err e;
    struct pool *pool;
    struct device *d;
    assert_true(pool_new(&pool, 1, &e) && device_cpu_open(&d, pool, 0, &e));
    shape(&s, 4, 1, 0, 0);
    s.k_dim = 576;
    s.v_dim = 512;
    kv_plan(&p, &s);
    const size_t both = kvcache_page_bytes(d, KV_F16, &p, &s);
    s.v_in_k = true;
    assert_int_equal(kvcache_page_bytes(d, KV_F16, &p, &s), 4 * KV_PAGE * 576 * 2);
    assert_int_equal(both, 4 * KV_PAGE * (576 + 512) * 2);
    if (!kvcache_new(&c, d, KV_F16, &p, &s, 3, &e)) fail_msg("%s", e.msg);
    const struct kv_layer *l = kvcache_layers(c);
    for (int il = 0; il < 4; il++) {
        assert_true(l[il].v_in_k);
        assert_int_equal(l[il].k_dim, 576);
        assert_int_equal(l[il].v_dim, 512);
        assert_int_equal(l[il].pages - l[0].pages, il * KV_PAGE * 576 * 2);
    }
    kvcache_free(c);
    device_close(d);
    pool_free(pool);
}

static void test_what_is_seen(void **state)
{
    (void)state;
    const struct kv_plan p = { .n_group = 4, .group = { { 0, 0 }, { 40, 0 }, { 0, 64 }, { 33, 64 } } };
    for (int pos = 0; pos < 300; pos++)
        for (int g = 0; g < 4; g++) {
            /* the positions that a token at pos or later sees, one by one */
            int oldest = pos;
            for (int i = pos; i >= 0; i--)
                if ((!p.group[g].window || pos - i < p.group[g].window) &&
                    (!p.group[g].chunk || i / p.group[g].chunk == pos / p.group[g].chunk))
                    oldest = i;
            assert_int_equal(kv_first_page(&p, g, pos), oldest / KV_PAGE);
        }
    /* the most that is held: by hand, in steps of 10 rows */
    for (int g = 0; g < 4; g++)
        for (int n = 1; n < 300; n += 7) {
            int most = 0;
            for (int past = 0; past < n; past += 10) {
                const int end = past + 10 < n ? past + 10 : n;
                const int held = kv_pages_for(end) - kv_first_page(&p, g, past);
                most = held > most ? held : most;
            }
            assert_true(kv_group_pages(&p, g, n, 10) >= most);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_too_many_kinds),
        cmocka_unit_test(test_what_is_seen),
        cmocka_unit_test(test_values_in_keys),
    };
    return cmocka_run_group_tests_name("groups of layers", tests, NULL, NULL);
}
