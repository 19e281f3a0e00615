/* serve.c - `hearth serve`: models behind HTTP until a signal says stop. */
#include <errno.h>
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
#include "base/pool.h"
#include "base/version.h"
#include "cli/compute.h"
#include "cli/detach.h"
#include "cli/keys.h"
#include "cli/options.h"
#include "cli/reload.h"
#include "cli/route_file.h"
#include "cli/signing.h"
#include "device/device.h"
#include "http/access_log.h"
#include "http/key_metrics.h"
#include "http/server.h"
#include "http/tls.h"
#include "http/traces.h"
#include "service/models/registry.h"
#include "service/account/account.h"
#include "service/account/gate.h"
#include "service/account/secrets.h"
#include "service/advice/advice.h"
#include "service/advice/prompts.h"
#include "service/batch/file_folder.h"
#include "service/safety/policy.h"
#include "service/safety/safety.h"
#include "service/files.h"
#include "service/picture_fetch.h"
#include "service/route/router.h"

enum { DAY_S = 86400 };

struct service {
    struct options *o;
    struct keys keys;
    struct catalog *catalog;
    struct pool *pool;
    struct device *device, *image_device;
    struct registry *registry;
    struct safety *safety;
    struct word_rules *words;
    struct blobs *files;
    struct file_folder *uploads;
    struct c2pa_signer *signer;
    struct advice *advice;
    struct styles *styles;
    struct account *account;
    struct webhooks *webhooks;
    struct access_log *access_log;
    struct gate *gate;
    struct tls *tls;
    struct traces *traces;
    struct router *router;
    struct key_metrics *key_metrics;
    struct reload reload;
    char loras[4096]; /* the folder of adapters */
    struct server *server;
};

/* ---- keys ---------------------------------------------------------------------------------------------------------- */

static bool collect_keys(struct service *s, struct err *e)
{
    const struct options *o = s->o;
    if (!keys_collect(&s->keys, &o->keys, o->key_file, o->new_key, e)) return false;
    return !o->new_key || s->keys.n || keys_make(&s->keys, o->key_file, e);
}

/* ---- models -------------------------------------------------------------------------------------------------------- */

static bool open_account(struct service *s, struct err *e)
{
    char journal[4200];
    if (*s->o->journal)
        snprintf(journal, sizeof journal, "%s", s->o->journal);
    else if (strstr(s->o->store, "://"))
        snprintf(journal, sizeof journal, "%s/../journal", s->o->registry.models_dir);
    else
        snprintf(journal, sizeof journal, "%s.under-way", s->o->store);
    const struct account_options a = { .store = s->o->store,
                                       .journal = journal,
                                       .prices = s->o->prices,
                                       .tracker = s->o->tracker_log,
                                       .reserved_s = s->o->reserved_s,
                                       .catalog = s->catalog };
    const struct gate_options g = { .counters = s->o->counters,
                                    .address_limits = s->o->address_limits,
                                    .endpoint_limits = s->o->endpoint_limits };
    if (*s->o->tracker_log && !*s->o->store)
        return err_set(e, ERR_REQUEST,
                       "the tracker log is of the ledger, and there is no store; --store names one");
    return gate_open(&s->gate, &g, e) && (!*s->o->store || account_open(&s->account, &a, e));
}

/* Files that clients send: their rows are in the store. */
static bool open_uploads(struct service *s, struct err *e)
{
    char folder[4200];
    if (!*s->o->store)
        return !*s->o->uploads || err_set(e, ERR_REQUEST,
                                          "uploads are files that a store knows, and there is none; --store "
                                          "names one");
    if (*s->o->uploads)
        snprintf(folder, sizeof folder, "%s", s->o->uploads);
    else if (strstr(s->o->store, "://"))
        snprintf(folder, sizeof folder, "%s/../uploads", s->o->registry.models_dir);
    else
        snprintf(folder, sizeof folder, "%s.uploads", s->o->store);
    return file_folder_open(&s->uploads, folder, e);
}

/* Told what is written to the store from now on, here or by another program. */
static bool open_webhooks(struct service *s, struct err *e)
{
    const struct options *o = s->o;
    struct webhooks_options w = o->webhooks;
    char *secret = NULL;
    if (!w.urls.n) return true;
    if (!s->account)
        return err_set(e, ERR_REQUEST, "webhooks tell of a store, and there is none; --store names one");
    struct store *store = account_store(s->account);
    const bool ok =
        (secrets_resolve(store, o->webhook_secret, o->master_key_file, o->master_key, &secret, e) &&
         (w.secret = secret, webhooks_open(&s->webhooks, store, &w, e))) ||
        err_wrap(e, "webhook-secret");
    free(secret);
    return ok;
}

/* Where it is written what requests were. */
static bool open_records(struct service *s, struct err *e)
{
    if (s->o->metrics_per_key && !key_metrics_open(&s->key_metrics, s->account, e)) return false;
    if (*s->o->otlp && !traces_open(&s->traces, s->o->otlp, &s->o->otlp_headers, e)) return false;
    return !*s->o->access_log || access_log_open(&s->access_log, s->o->access_log, s->account, e);
}

/* ---- other servers ------------------------------------------------------------------------------------------------- */

static bool open_routes(struct service *s, struct err *e)
{
    const struct router_options r = { .shadow_log = s->o->shadow_log };
    struct upstreams *u;
    if (!*s->o->routes)
        return !s->o->upstream_keys.n ||
               err_set(e, ERR_REQUEST,
                       "upstream-key belongs to an upstream of routes, and there is no such file");
    if (!route_file_load(&u, s->o, s->account, e)) return false;
    if (router_open(&s->router, u, &r, e)) return true;
    upstreams_free(u);
    return false;
}

static bool open_tls(struct service *s, struct err *e)
{
    const struct options *o = s->o;
    if (!*o->tls_cert && !*o->tls_key)
        return o->server.redirect_port < 0 ||
               err_set(e, ERR_REQUEST, "http-redirect leads to HTTPS, which needs tls-cert and tls-key");
    if (!*o->tls_cert || !*o->tls_key)
        return err_set(e, ERR_REQUEST, "tls-cert and tls-key belong together, and %s is missing",
                       *o->tls_cert ? "tls-key" : "tls-cert");
    if (!tls_open(&s->tls, o->tls_cert, o->tls_key, e)) return false;
    tls_warn(s->tls);
    return true;
}

static bool open_models(struct service *s, struct err *e)
{
    const struct options *o = s->o;
    return catalog_load(&s->catalog, o->catalog, e) && pool_new(&s->pool, o->threads, e) &&
           compute_open(&s->device, s->pool, s->o->device, e) &&
           compute_open(&s->image_device, s->pool, s->o->device, e) &&
           registry_new(&s->registry, &o->registry, s->catalog, s->device, s->image_device, e);
}

static bool open_advice(struct service *s, struct err *e)
{
    return advice_load(&s->advice, s->o->advice, s->catalog, e) && styles_load(&s->styles, s->o->styles, e);
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
static bool open_words(struct service *s, struct err *e)
{
    return word_rules_load(&s->words, s->o->safety_policy, e) &&
           (word_rules_find(s->words, s->o->server.policy, e) || err_wrap(e, "--policy")) &&
           word_rules_may_hold(s->words, s->account != NULL, e);
}

static bool open_pictures(struct service *s, struct err *e)
{
    char dir[4096];
    const struct blobs_options b = { .retention_s = s->o->files_s,
                                     .max_bytes = s->o->files_bytes,
                                     .s3_endpoint = s->o->s3.endpoint,
                                     .s3_region = s->o->s3.region,
                                     .s3_key = s->o->s3.key,
                                     .s3_secret = s->o->s3.secret };
    if (*s->o->files_dir)
        snprintf(dir, sizeof dir, "%s", s->o->files_dir);
    else
        snprintf(dir, sizeof dir, "%s/../files", s->o->registry.models_dir);
    if (*s->o->loras_dir)
        snprintf(s->loras, sizeof s->loras, "%s", s->o->loras_dir);
    else
        snprintf(s->loras, sizeof s->loras, "%s/../loras", s->o->registry.models_dir);
    return safety_load(&s->safety, s->o->safety_policy, s->image_device, e) && open_words(s, e) &&
           blobs_open(&s->files, dir, &b, e) && signing_open(&s->signer, s->o, e);
}

/* ---- the server ---------------------------------------------------------------------------------------------------- */

static bool open_server(struct service *s, struct err *e)
{
    struct server_options h = s->o->server;
    h.keys = (struct str_list){ s->keys.v, s->keys.n };
    h.account = s->account;
    h.gate = s->gate;
    h.safety = s->safety;
    h.words = s->words;
    h.files = s->files;
    h.uploads = s->uploads;
    h.signer = s->signer;
    h.loras = s->loras;
    h.advice = s->advice;
    h.styles = s->styles;
    h.access_log = s->access_log;
    h.tls = s->tls;
    h.traces = s->traces;
    h.router = s->router;
    h.key_metrics = s->key_metrics;
    if (h.image_hosts && !picture_fetch_check_hosts(h.image_hosts, e)) return err_wrap(e, "--image-hosts");
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
    printf("hearth %s\n", hearth_version);
    printf("  device   %s\n", device_name(s->device));
    if (registry_list(s->registry, &rows, &n, NULL)) {
        for (int i = 0; i < n; i++)
            printf("  %s %s%s%s\n", i ? "        " : "models  ", rows[i].id,
                   rows[i].loaded       ? " (loaded)"
                   : rows[i].problem[0] ? " cannot be used: "
                                        : "",
                   rows[i].problem);
        if (!n)
            printf("  models   none installed in %s; `hearth pull` fetches some\n",
                   s->o->registry.models_dir);
        free(rows);
    }
    printf("  URL      %s/v1\n", server_url(s->server));
    if (s->o->server.playground) printf("  page     %s/\n", server_url(s->server));
    if (*server_redirect_url(s->server)) printf("  redirect %s\n", server_redirect_url(s->server));
    if (*s->keys.new_key)
        printf("  key      %s%s\n", s->keys.new_key,
               *s->o->key_file ? "" : "   (for this run; --key-file keeps one)");
    else if (s->keys.n)
        printf("  key      %d configured\n", s->keys.n);
    else if (!s->account)
        printf("  key      none: only this machine is served; --keys, --key-file or --new-key open it to "
               "others\n");
    if (s->account) printf("  store    %s\n", account_where(s->account));
    if (*s->o->counters) printf("  counters %s\n", gate_where(s->gate));
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

/* The signals of a running server: those that stop it, and SIGHUP. */
static int next_signal(struct service *s, const sigset_t *stop)
{
    sigset_t all = *stop;
    sigaddset(&all, SIGHUP);
    for (;;) {
        const int sig = sigtimedwait(&all, NULL, &(struct timespec){ DAY_S, 0 });
        if (sig > 0) return sig;
        if (errno == EAGAIN && s->tls) tls_warn(s->tls);
    }
}

static void run_until_signal(struct service *s, struct last_resort *l)
{
    /* A terminal that is closed says SIGHUP as well, and means that it ends. */
    const bool terminal = isatty(STDIN_FILENO);
    int sig;
    while ((sig = next_signal(s, l->signals)) == SIGHUP && !(terminal && !isatty(STDIN_FILENO)))
        reload_now(&s->reload);
    server_drain(s->server);
    l->at = clock_seconds() + s->o->drain_s + END_S;
    l->running = !pthread_create(&l->thread, NULL, last_resort_main, l);
    log_info("%s: finishing %d requests, at most %.0f s",
             sig == SIGINT   ? "interrupted"
             : sig == SIGHUP ? "the terminal is gone"
                             : "asked to stop",
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
    struct detached detached = { -1, -1 };
    char **args = reload_args(argc, argv); /* before secrets are hidden in them */
    int rc = options_parse(&o, CMD_SERVE, argc, argv);
    if (rc >= 0) goto end;
    if (o.detach && !detach_begin(&detached, &rc, &e)) {
        rc = 1;
        goto fail;
    }
    if (rc >= 0) goto end;
    rc = 1;
    /* Before any thread starts, so that all of them leave the signals to this one. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigset_t blocked = signals;
    sigaddset(&blocked, SIGHUP); /* waits until the server is there, and is then a reload */
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    starting_begin(&starting, &signals);
    raise_file_limit();
    double t = clock_seconds();
    if (!collect_keys(&s, &e) || !open_tls(&s, &e) || !open_models(&s, &e) || !open_account(&s, &e) ||
        !open_uploads(&s, &e) || !open_webhooks(&s, &e) || !open_pictures(&s, &e) || !open_advice(&s, &e) ||
        !open_records(&s, &e) || !open_routes(&s, &e) || !open_server(&s, &e))
        goto fail;
    if (!preload(&s, &e)) {
        server_stop(s.server, 0, NULL, NULL);
        goto fail;
    }
    starting_end(&starting);
    server_set_ready(s.server, true);
    print_banner(&s);
    s.reload = (struct reload){ .started_with = &o,
                                .argc = argc,
                                .argv = args,
                                .new_key = s.keys.new_key,
                                .catalog = s.catalog,
                                .router = s.router,
                                .server = s.server,
                                .account = s.account,
                                .gate = s.gate,
                                .tls = s.tls,
                                .access_log = s.access_log };
    log_info("ready after %.2f s", clock_seconds() - t);
    if (o.detach) detach_ready(&detached);
    run_until_signal(&s, &last);
    rc = 0;
    goto end;
fail:
    fprintf(stderr, "hearth serve: %s\n", e.msg);
end:
    starting_end(&starting);
    access_log_close(s.access_log);
    router_close(s.router);
    traces_close(s.traces);
    key_metrics_close(s.key_metrics);
    tls_close(s.tls);
    registry_free(s.registry);
    webhooks_close(s.webhooks);
    account_close(s.account);
    gate_close(s.gate);
    safety_free(s.safety);
    word_rules_free(s.words);
    reload_end(&s.reload);
    styles_free(s.styles);
    advice_free(s.advice);
    blobs_close(s.files);
    file_folder_close(s.uploads);
    c2pa_signer_free(s.signer);
    if (s.device) device_close(s.device);
    if (s.image_device) device_close(s.image_device);
    if (s.pool) pool_free(s.pool);
    catalog_free(s.catalog);
    keys_free(&s.keys);
    options_free(&o);
    reload_args_free(args);
    atomic_store(&last.over, true);
    if (last.running) pthread_join(last.thread, NULL);
    return rc;
}
