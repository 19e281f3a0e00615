/* Configurations that lie: every number of every family's config.json and of its GGUF metadata becomes 0, -1, huge, one more, no number at all.
 * What check() lets through must load and compute; the rest is refused with a reason. Never a crash: the address checker runs this too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "lm/arch.h"
#include "lm/hparams.h"
#include "lm/kvcache.h"

#define DIR "tests/golden/lm/"

static struct pool *pool;
static struct device *dev;
static int n_refused, n_loaded;

static int open_device(void **state)
{
    (void)state;
    struct err e = { 0 };
    return pool_new(&pool, 1, &e) && device_cpu_open(&dev, pool, ~0u, &e) ? 0 : -1;
}

static int close_device(void **state)
{
    (void)state;
    device_close(dev);
    pool_free(pool);
    return 0;
}

/* ---- one model, as it claims to be --------------------------------------------------------------------------------------- */

/* Three tokens through the network. */
static void compute(const char *what, const struct lm_arch *arch, const struct weights *w)
{
    enum { N = 3 };
    struct err e = { 0 };
    struct lm_net *net;
    struct lm_shape s;
    struct kvcache *cache;
    struct kv_plan plan;
    if (!arch->engine->load(arch, &net, &s, w, dev, N, N, &e))
        fail_msg("%s: check() lets it through, load() says: %s", what, e.msg);
    kv_plan(&plan, &s);
    if (!kvcache_new(&cache, dev, KV_F16, &plan, &s, plan.n_group, &e)) fail_msg("%s: %s", what, e.msg);
    const int32_t ids[N] = { 1, 0, 1 }, pos[N] = { 0, 1, 2 }, row[1] = { N - 1 };
    int32_t page[KV_GROUPS];
    struct lm_seq seq[KV_GROUPS];
    for (int k = 0; k < plan.n_group; k++) {
        page[k] = kvcache_alloc(cache);
        seq[k] = (struct lm_seq){ .row = 0, .n = N, .pos0 = 0, .page = &page[k] };
    }
    const struct lm_batch b = { .n_rows = N,
                                .ids = ids,
                                .pos = pos,
                                .seq = seq,
                                .n_seq = 1,
                                .group = plan.group_of,
                                .lane = POOL_PREFILL };
    dev_float *logits = device_floats(dev, (size_t)s.n_vocab, &e);
    assert_non_null(logits);
    if (!arch->engine->step(net, &b, kvcache_layers(cache), &e) ||
        !arch->engine->head(net, row, 1, logits, &e))
        fail_msg("%s: %s", what, e.msg);
    device_free(dev, logits);
    kvcache_free(cache);
    arch->engine->free(net);
}

static void try_model(const char *what, const char *path)
{
    struct err e = { 0 };
    struct weights *w;
    struct lm_shape s;
    if (!weights_open(&w, path, &e)) {
        assert_true(e.code != ERR_NONE && *e.msg);
        n_refused++;
        return;
    }
    const struct lm_arch *arch = NULL;
    for (int i = 0; i < lm_n_families && !arch; i++)
        if (hparams_member(lm_families[i]->member, lm_families[i]->n_members, w)) arch = lm_families[i];
    if (!arch) fail_msg("%s: no family recognises it", what);
    if (arch->engine->check(arch, &s, w, &e)) {
        n_loaded++;
        compute(what, arch, w);
    } else {
        if (e.code == ERR_NONE || e.code == ERR_NOMEM || !*e.msg)
            fail_msg("%s: refused with code %d: %s", what, (int)e.code, e.msg);
        n_refused++;
    }
    weights_close(w);
}

static void report(const char *name)
{
    print_message("%-40s %d refused, %d computed\n", name, n_refused, n_loaded);
    assert_true(n_refused > 0 && n_loaded > 0);
    n_refused = n_loaded = 0;
}

/* ---- config.json ----------------------------------------------------------------------------------------------------------- */

struct folder {
    char dir[40], config[80], weights[80];
    json_t *whole;
    const char *name;
};

static void try_config(struct folder *f, const char *key, const char *how)
{
    char what[200];
    snprintf(what, sizeof what, "%s, %s %s", f->name, key, how);
    assert_int_equal(json_dump_file(f->whole, f->config, 0), 0);
    try_model(what, f->dir);
}

/* What stands in place of a value that was v; NULL: no more of them. */
static json_t *lie(const json_t *v, int i, const char **how)
{
    const double was = json_is_number(v) ? json_number_value(v) : 0;
    switch (json_is_boolean(v) && i < 5 ? i + 5 : i) {
    case 0: return *how = "is 0", json_integer(0);
    case 1: return *how = "is -1", json_integer(-1);
    case 2: return *how = "is 2^31", json_integer(1LL << 31);
    case 3: return *how = "is 1e300", json_real(1e300);
    case 4:
        return *how = "is one more", json_is_real(v) ? json_real(was + 1) : json_integer((json_int_t)was + 1);
    case 5: return *how = "is a string", json_string("x");
    case 6: return *how = "is null", json_null();
    case 7: return *how = "is an empty list", json_array();
    case 8: return *how = "is a list", json_pack("[i]", 3);
    case 9: return *how = "is an object", json_pack("{s:i}", "a", 1);
    case 10: return *how = "is turned around", json_boolean(!json_is_true(v));
    case 11: return *how = "is a half", json_real(was / 2);
    default: return NULL;
    }
}

static void lie_about(struct folder *f, json_t *object);

static void lie_about_member(struct folder *f, json_t *object, const char *key, json_t *v)
{
    const char *how;
    json_t *other;
    if (json_is_object(v)) lie_about(f, v);
    if (strcmp(key, "model_type") == 0) return; /* which family it is */
    json_incref(v);
    for (int i = 0; (other = lie(v, i, &how)) != NULL; i++) {
        json_object_set_new(object, key, other);
        try_config(f, key, how);
    }
    if (json_is_array(v) && json_array_size(v)) { /* an entry of it, an entry less, one more */
        json_t *list = json_deep_copy(v);
        json_object_set_new(object, key, list);
        for (int i = 0; (other = lie(json_array_get(v, 0), i, &how)) != NULL; i++) {
            json_array_set_new(list, 0, other);
            try_config(f, key, how);
        }
        json_array_remove(list, 0);
        try_config(f, key, "is an entry short");
    }
    json_object_del(object, key);
    try_config(f, key, "is away");
    json_object_set_new(object, key, v);
}

static void lie_about(struct folder *f, json_t *object)
{
    const char *key;
    json_t *v, *copy = json_copy(object);
    json_object_foreach(copy, key, v) lie_about_member(f, object, key, v);
    json_decref(copy);
}

static void test_config_json(void **state)
{
    (void)state;
    static const char *const names[] = { "llama3",       "mixtral",     "qwen2_window", "qwen3",
                                         "qwen3_moe",    "gemma3",      "smollm3",      "llama4_maverick",
                                         "llama4_scout", "deepseek_v3", "deepseek_v2",  "llama_fp8",
                                         "phi3",         "glm4",        "glm4_moe",     "gpt_oss" };
    char cwd[400], target[500], path[200];
    assert_non_null(getcwd(cwd, sizeof cwd));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct folder f = { .name = names[i] };
        snprintf(f.dir, sizeof f.dir, "/tmp/hearth-hostile-XXXXXX");
        assert_non_null(mkdtemp(f.dir));
        snprintf(f.config, sizeof f.config, "%s/config.json", f.dir);
        snprintf(f.weights, sizeof f.weights, "%s/model.safetensors", f.dir);
        snprintf(target, sizeof target, "%s/" DIR "%s/model.safetensors", cwd, names[i]);
        assert_int_equal(symlink(target, f.weights), 0);
        snprintf(path, sizeof path, DIR "%s/config.json", names[i]);
        f.whole = json_load_file(path, 0, NULL);
        assert_non_null(f.whole);
        try_config(&f, "nothing", "is changed");
        assert_int_equal(n_loaded, 1);
        lie_about(&f, f.whole);
        json_decref(f.whole);
        unlink(f.config);
        unlink(f.weights);
        rmdir(f.dir);
        report(names[i]);
    }
}

/* ---- GGUF metadata ---------------------------------------------------------------------------------------------------------- */

enum { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 };

static size_t width(uint32_t type)
{
    static const unsigned char of[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    assert_true(type < sizeof of);
    return of[type];
}

struct bytes {
    unsigned char *p;
    size_t n, at;
    int fd;
    char path[40];
};

static uint64_t take(struct bytes *b, size_t n)
{
    uint64_t x = 0;
    assert_true(b->at + n <= b->n);
    memcpy(&x, b->p + b->at, n);
    b->at += n;
    return x;
}

static void put(const struct bytes *b, size_t at, const void *p, size_t n)
{
    assert_int_equal(pwrite(b->fd, p, n, (off_t)at), n);
}

static void lie_at(const struct bytes *b, const char *key, uint32_t type, size_t at)
{
    const size_t n = width(type);
    char what[200];
    for (int i = 0; i < 6; i++) {
        unsigned char v[8];
        memcpy(v, b->p + at, n);
        if (type == F32 || type == F64) {
            float was;
            memcpy(&was, v, sizeof was);
            const float f[] = { 0, -1, 1e30f, NAN, INFINITY, was + 1 };
            const double d = (double)f[i];
            if (type == F32)
                memcpy(v, &f[i], 4);
            else
                memcpy(v, &d, 8);
        } else {
            uint64_t was = 0;
            memcpy(&was, v, n);
            const uint64_t u[] = { 0,       UINT64_MAX, 1ULL << (8 * n - 1), (1ULL << (8 * n - 1)) - 1,
                                   was + 1, was * 2 };
            memcpy(v, &u[i], n);
        }
        put(b, at, v, n);
        snprintf(what, sizeof what, "%s at %zu, lie %d", key, at, i);
        try_model(what, b->path);
    }
    put(b, at, b->p + at, n);
}

/* Numbers of the architecture's keys: the tokenizer's have tests of their own. */
static void lie_about_keys(struct bytes *b)
{
    b->at = 8 + 8;
    for (uint64_t left = take(b, 8); left; left--) {
        char key[80];
        const size_t n = take(b, 8);
        assert_true(n < sizeof key);
        memcpy(key, b->p + b->at, n);
        key[n] = 0;
        b->at += n;
        uint32_t type = (uint32_t)take(b, 4);
        uint64_t count = 1;
        if (type == ARRAY) {
            type = (uint32_t)take(b, 4);
            count = take(b, 8);
        }
        const bool ours = strncmp(key, "general.", 8) != 0 && strncmp(key, "tokenizer.", 10) != 0;
        if (ours && type != STRING) lie_at(b, key, type, b->at);
        for (; count; count--) b->at += type == STRING ? take(b, 8) : width(type);
    }
}

static void test_gguf(void **state)
{
    (void)state;
    static const char *const names[] = { "llama3", "llama_yarn",   "mixtral",     "qwen3_moe",
                                         "gemma3", "llama4_scout", "deepseek_v3", "deepseek_v2_lite",
                                         "phi3",   "glm4_moe",     "gpt_oss" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char from[200];
        struct bytes b = { .path = "/tmp/hearth-hostile-XXXXXX.gguf" };
        snprintf(from, sizeof from, DIR "%s/model.gguf", names[i]);
        FILE *f = fopen(from, "rb");
        struct stat st;
        assert_true(f && fstat(fileno(f), &st) == 0);
        b.n = (size_t)st.st_size;
        b.p = malloc(b.n);
        assert_true(b.p && fread(b.p, 1, b.n, f) == b.n);
        fclose(f);
        b.fd = mkstemps(b.path, 5);
        assert_true(b.fd >= 0);
        put(&b, 0, b.p, b.n);
        try_model(from, b.path);
        assert_int_equal(n_loaded, 1);
        lie_about_keys(&b);
        close(b.fd);
        unlink(b.path);
        free(b.p);
        report(names[i]);
    }
}

int main(void)
{
    log_set_level(LOG_ERROR - 1);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_config_json), cmocka_unit_test(test_gguf) };
    return cmocka_run_group_tests_name("configurations that lie", tests, open_device, close_device);
}
