/* bench.c - `hearth bench MODEL`: how fast a model runs on this machine. bench/run.sh compares with peers. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "cli/compute.h"
#include "cli/options.h"
#include "device/device.h"
#include "lm/lm_bench.h"
#include "service/models/registry.h"

enum { REPETITIONS = 3, PROMPT = 512, NEW = 128, STREAM_PROMPT = 100 };

/* Text for a person, or one JSON object a line. */
static void report(const struct options *o, const char *test, int n, double rate)
{
    if (o->json)
        printf("{\"test\":\"%s\",\"n\":%d,\"tokens_per_s\":%.1f}\n", test, n, rate);
    else
        printf("  %-9s %4d   %9.1f tokens/s\n", test, n, rate);
    fflush(stdout);
}

static bool measure(const struct options *o, struct lm *lm, struct err *e)
{
    struct lm_bench b = { .lm = lm, .repetitions = REPETITIONS };
    static const int streams[] = { 1, 8, 16 };
    double rate;
    if (!lm_bench_prompt(&b, PROMPT, &rate, e)) return false;
    report(o, "prompt", PROMPT, rate);
    if (!lm_bench_generate(&b, NEW, &rate, e)) return false;
    report(o, "generate", NEW, rate);
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        if (!lm_bench_streams(&b, streams[i], STREAM_PROMPT, NEW, &rate, e)) return false;
        report(o, "streams", streams[i], rate);
    }
    return true;
}

static bool run(const struct options *o, struct err *e)
{
    struct catalog *catalog = NULL;
    struct pool *pool = NULL;
    struct device *device = NULL;
    struct registry *registry = NULL;
    struct model *model;
    struct lm *lm;
    struct registry_options r = o->registry;
    if (!r.lm.n_ctx) r.lm.n_ctx = 1024;
    bool ok = catalog_load(&catalog, o->catalog, e) && pool_new(&pool, o->threads, e) &&
              compute_open(&device, pool, o->device, e) &&
              registry_new(&registry, &r, catalog, device, device, e) &&
              registry_add(registry, o->args.v[0], &model, e);
    const double t0 = clock_seconds();
    ok = ok && registry_acquire(registry, model, &lm, e);
    if (ok) {
        const double load_s = clock_seconds() - t0;
        if (o->json)
            printf("{\"test\":\"load\",\"model\":\"%s\",\"device\":\"%s\",\"seconds\":%.3f}\n",
                   model_id(model), device_name(device), load_s);
        else
            printf("%s on %s, loaded in %.2f s\n", model_id(model), device_name(device), load_s);
        ok = measure(o, lm, e);
        registry_release(registry, model);
    }
    if (registry) registry_free(registry);
    if (device) device_close(device);
    pool_free(pool);
    if (catalog) catalog_free(catalog);
    return ok;
}

int cmd_bench(int argc, char **argv)
{
    struct options o;
    int rc = options_parse(&o, CMD_BENCH, argc, argv);
    if (rc < 0) {
        struct err e = { 0 };
        log_set_level(LOG_WARN);
        if (o.args.n != 1) {
            fprintf(stderr, "hearth bench: name one model; `hearth models` lists what is installed\n");
            rc = 2;
        } else {
            rc = run(&o, &e) ? 0 : 1;
            if (rc) fprintf(stderr, "hearth bench: %s\n", e.msg);
        }
    }
    options_free(&o);
    return rc;
}
