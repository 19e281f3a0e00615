/* serve.c - `hearth serve`: models behind HTTP until a signal says stop. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/pool.h"
#include "cli/keys.h"
#include "cli/options.h"
#include "device/device.h"
#include "http/server.h"
#include "service/models/registry.h"
#include "service/safety.h"
#include "service/files.h"

struct service {
    struct options *o;
    struct keys keys;
    struct catalog *catalog;
    struct pool *pool;
    struct device *device, *image_device;
    struct registry *registry;
    struct safety *safety;
    struct files *files;
    char loras[4096]; /* the folder of adapters */
    struct server *server;
};

/* ---- keys ---------------------------------------------------------------------------------------------------------- */

static bool collect_keys(struct service *s, struct err *e)
{
    const struct options *o = s->o;
    for (int i = 0; i < o->keys.n; i++)
        if (!keys_add(&s->keys, o->keys.v[i], strlen(o->keys.v[i]), "keys", e)) return false;
    if (*o->key_file && !keys_read_file(&s->keys, o->key_file, o->new_key, e)) return false;
    if (*o->key_file && !s->keys.n && !o->new_key)
        return err_set(e, ERR_REQUEST, "key-file %s holds no key; --new-key puts one in", o->key_file);
    return !o->new_key || s->keys.n || keys_make(&s->keys, o->key_file, e);
}

/* ---- models -------------------------------------------------------------------------------------------------------- */

/* Before anything is loaded: what cannot be kept is not promised. */
static bool check_memory(const struct options *o, struct err *e)
{
    const struct {
        const char *name;
        int64_t bytes;
    } limits[] = { { "kv-memory", o->kv_bytes },
                   { "memory-limit", o->memory_limit },
                   { "body-memory", o->body_memory },
                   { "max-body", o->max_body } };
    const size_t machine = machine_memory();
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if ((size_t)limits[i].bytes > machine)
            return err_set(e, ERR_REQUEST, "%s is %lld MB, more than this machine's memory (%zu MB)",
                           limits[i].name, (long long)limits[i].bytes >> 20, machine >> 20);
    return true;
}

static bool open_models(struct service *s, struct err *e)
{
    const struct options *o = s->o;
    if (!check_memory(o, e)) return false;
    struct registry_options r = {
        .models_dir = o->models_dir,
        .memory_limit = (size_t)o->memory_limit,
        .memory_wait = (int)o->memory_wait,
        .lm = { .n_ctx = (int)o->n_ctx,
                .max_batch = (int)o->max_batch,
                .queue_limit = (int)o->queue_limit,
                .prefill_chunk = (int)o->prefill_chunk,
                .kv_bytes = (size_t)o->kv_bytes,
                .kv_type = !strcmp(o->kv_type, "q8_0") ? KV_Q8_0 : KV_F16 },
    };
    return catalog_load(&s->catalog, o->catalog, e) && pool_new(&s->pool, (int)o->threads, e) &&
           device_cpu_open(&s->device, s->pool, ~0U, e) &&
           device_cpu_open(&s->image_device, s->pool, ~0U, e) &&
           registry_new(&s->registry, &r, s->catalog, s->device, s->image_device, e);
}

/* Loads what was named, or the only installed text model. The references are given back at once: the models may be unloaded later. */
static bool preload(struct service *s, struct err *e)
{
    struct model_row *rows;
    struct model *m;
    int n, n_text = 0;
    for (int i = 0; i < s->o->args.n; i++) {
        if (!registry_add(s->registry, s->o->args.v[i], &m, e)) return false;
        if (s->o->preload && !registry_preload(s->registry, m, e)) return false;
    }
    if (!registry_list(s->registry, &rows, &n, e)) return false;
    const char *only = NULL;
    for (int i = 0; i < n; i++)
        if (!rows[i].image && !rows[i].problem[0]) n_text++, only = rows[i].id;
    bool ok = true;
    if (!s->o->args.n && n_text == 1 && s->o->preload) {
        ok = registry_find(s->registry, only, &m, e) && registry_preload(s->registry, m, e);
    }
    free(rows);
    return ok;
}

/* What drawing needs besides models. */
static bool open_pictures(struct service *s, struct err *e)
{
    char dir[4096];
    if (*s->o->files_dir)
        snprintf(dir, sizeof dir, "%s", s->o->files_dir);
    else
        snprintf(dir, sizeof dir, "%s/../files", s->o->models_dir);
    if (*s->o->loras_dir)
        snprintf(s->loras, sizeof s->loras, "%s", s->o->loras_dir);
    else
        snprintf(s->loras, sizeof s->loras, "%s/../loras", s->o->models_dir);
    return safety_load(&s->safety, s->o->safety_policy, s->image_device, e) &&
           files_new(&s->files, dir, s->o->files_s, s->o->files_bytes, e);
}

/* ---- the server ---------------------------------------------------------------------------------------------------- */

/* ADDRESS:PORT of what the user gave: a port alone means this machine, --port replaces the port. */
static bool listen_address(const struct options *o, char *out, size_t cap, struct err *e)
{
    const char *given = o->listen, *colon = strrchr(given, ':');
    bool port_alone = *given && strspn(given, "0123456789") == strlen(given);
    int n;
    if (o->port >= 0) {
        int len = port_alone ? 0 : colon ? (int)(colon - given) : (int)strlen(given);
        n = snprintf(out, cap, "%.*s:%d", len ? len : 9, len ? given : "127.0.0.1", (int)o->port);
    } else {
        n = snprintf(out, cap, "%s%s", port_alone ? "127.0.0.1:" : "", given);
    }
    return n < (int)cap || err_set(e, ERR_REQUEST, "--listen: the address is too long");
}

static bool open_server(struct service *s, struct err *e)
{
    const struct options *o = s->o;
    char listen[300];
    if (!listen_address(o, listen, sizeof listen, e)) return false;
    const size_t body_memory = (size_t)(o->body_memory ? o->body_memory : 8 * o->max_body),
                 body_share = o->body_share ? (size_t)o->body_share : body_memory / 2;
    if (body_memory < (size_t)o->max_body || body_share < (size_t)o->max_body)
        return err_set(
            e, ERR_REQUEST,
            "max-body lets a body have %lld bytes, but body-memory has %zu for all and "
            "body-memory-per-address %zu: no such body could ever be sent; lower the one or raise the others",
            (long long)o->max_body, body_memory, body_share);
    struct server_options h = {
        .listen = listen,
        .keys = (const char *const *)s->keys.v,
        .n_keys = s->keys.n,
        .allow_origin = (const char *const *)o->allow_origin.v,
        .n_allow_origin = o->allow_origin.n,
        .allow_host = (const char *const *)o->allow_host.v,
        .n_allow_host = o->allow_host.n,
        .http_threads = (int)o->http_threads,
        .prepare_threads = (int)o->prepare_threads,
        .max_body = (size_t)o->max_body,
        .max_header = (size_t)o->max_header,
        .max_connections = (int)o->max_connections,
        .max_connections_per_address = (int)o->max_connections_per_address,
        .max_json_depth = (int)o->max_json_depth,
        .max_json_values = o->max_json_values,
        .body_memory = body_memory,
        .body_share = body_share,
        .times = { .request_s = o->request_s,
                   .idle_s = o->idle_s,
                   .read_s = o->read_s,
                   .run_s = o->run_s,
                   .keepalive_s = o->keepalive_s },
        .strict_fields = o->strict_fields,
        .include_stop = o->include_stop,
        .share_prefixes = !strcmp(o->prefix_sharing, "all"),
        .safety = s->safety,
        .files = s->files,
        .loras = s->loras,
    };
    return server_start(&s->server, &h, s->registry, s->catalog, e);
}

/* Connections are files: take as many as the system lets this user have. */
static void raise_file_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur >= r.rlim_max) return;
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
}

static void print_banner(const struct service *s)
{
    struct model_row *rows;
    int n;
    printf("hearth %s\n", HEARTH_VERSION);
    printf("  device   %s\n", device_name(s->device));
    if (registry_list(s->registry, &rows, &n, NULL)) {
        for (int i = 0; i < n; i++)
            printf("  %s %s%s%s\n", i ? "        " : "models  ", rows[i].id,
                   rows[i].loaded       ? " (loaded)"
                   : rows[i].problem[0] ? " cannot be used: "
                                        : "",
                   rows[i].problem);
        if (!n) printf("  models   none installed in %s; `hearth pull` fetches some\n", s->o->models_dir);
        free(rows);
    }
    printf("  URL      %s/v1\n", server_url(s->server));
    if (*s->keys.new_key)
        printf("  key      %s%s\n", s->keys.new_key,
               *s->o->key_file ? "" : "   (for this run; --key-file keeps one)");
    else if (s->keys.n)
        printf("  key      %d configured\n", s->keys.n);
    else
        printf("  key      none: only this machine is served; --keys, --key-file or --new-key open it to "
               "others\n");
    fflush(stdout);
}

/* ---- signals ------------------------------------------------------------------------------------------------------- */

#define END_S 2.0 /* from the end of draining to the end of the process */

/* What ends the process when nothing else does: a model that is being read or a step that is under way waits for nobody, and
 * whoever asked us to stop does not wait for them. */
struct last_resort {
    sigset_t *signals;
    _Atomic double at; /* clock_seconds() */
    atomic_bool over;
    pthread_t thread;
    bool running;
};

static void *last_resort_main(void *arg)
{
    struct last_resort *l = arg;
    while (clock_seconds() < l->at) {
        if (atomic_load(&l->over)) return NULL;
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
    }
    /* Said only where somebody listens: a full pipe would hold us up as well. */
    if (poll(&(struct pollfd){ .fd = STDERR_FILENO, .events = POLLOUT }, 1, 0) == 1)
        log_warn("not everything ended in time; leaving it");
    _exit(0);
}

/* A second signal means: now. */
static bool signalled_again(void *arg)
{
    struct last_resort *l = arg;
    if (sigtimedwait(l->signals, NULL, &(struct timespec){ 0, 0 }) <= 0) return false;
    l->at = clock_seconds() + END_S;
    return true;
}

static void run_until_signal(struct service *s, struct last_resort *l)
{
    int sig = 0;
    sigwait(l->signals, &sig);
    server_drain(s->server);
    l->at = clock_seconds() + s->o->drain_s + END_S;
    l->running = !pthread_create(&l->thread, NULL, last_resort_main, l);
    log_info("%s: finishing %d requests, at most %.0f s", sig == SIGINT ? "interrupted" : "asked to stop",
             server_active(s->server), s->o->drain_s);
    server_stop(s->server, s->o->drain_s, signalled_again, l);
    log_info("stopped");
}

/* Until there is something to drain, a signal ends the process at once, whatever it is reading. */
struct starting {
    const sigset_t *signals;
    atomic_bool over;
    pthread_t thread;
    bool running;
};

static void *starting_main(void *arg)
{
    struct starting *s = arg;
    while (!atomic_load(&s->over)) {
        int sig = sigtimedwait(s->signals, NULL, &(struct timespec){ .tv_nsec = 50000000 });
        if (sig > 0) _exit(128 + sig);
    }
    return NULL;
}

static void starting_begin(struct starting *s, const sigset_t *signals)
{
    s->signals = signals;
    atomic_init(&s->over, false);
    s->running = !pthread_create(&s->thread, NULL, starting_main, s);
}

static void starting_end(struct starting *s)
{
    atomic_store(&s->over, true);
    if (s->running) pthread_join(s->thread, NULL);
    s->running = false;
}

int cmd_serve(int argc, char **argv)
{
    struct options o;
    struct service s = { .o = &o };
    struct err e = { ERR_NONE, "" };
    sigset_t signals;
    struct last_resort last = { .signals = &signals, .at = 0 };
    struct starting starting = { 0 };
    int rc = options_parse(&o, CMD_SERVE, argc, argv);
    if (rc >= 0) goto end;
    rc = 1;
    /* Before any thread starts, so that all of them leave the signals to this one. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    starting_begin(&starting, &signals);
    raise_file_limit();
    double t = clock_seconds();
    if (!collect_keys(&s, &e) || !open_models(&s, &e) || !open_pictures(&s, &e) || !open_server(&s, &e))
        goto fail;
    if (!preload(&s, &e)) {
        server_stop(s.server, 0, NULL, NULL);
        goto fail;
    }
    starting_end(&starting);
    server_set_ready(s.server, true);
    print_banner(&s);
    log_info("ready after %.2f s", clock_seconds() - t);
    run_until_signal(&s, &last);
    rc = 0;
    goto end;
fail:
    fprintf(stderr, "hearth serve: %s\n", e.msg);
end:
    starting_end(&starting);
    registry_free(s.registry);
    safety_free(s.safety);
    files_free(s.files);
    if (s.device) device_close(s.device);
    if (s.image_device) device_close(s.image_device);
    if (s.pool) pool_free(s.pool);
    catalog_free(s.catalog);
    keys_free(&s.keys);
    options_free(&o);
    atomic_store(&last.over, true);
    if (last.running) pthread_join(last.thread, NULL);
    return rc;
}
