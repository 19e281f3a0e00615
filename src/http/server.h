/* server.h - the HTTP server: libmicrohttpd's event loops in front, lanes of worker threads behind.
 *
 * Threads    http_threads event loops accept, read requests and write replies; they never wait for a model. Parsing, templates and
 *            tokenising run on the text lane, loading a model on the load lane. A stream's connection is suspended while there is nothing
 *            to write, so that idle ones cost memory only. One watch thread notices clients that leave, and keeps times.
 * Stopping   server_drain() makes /ready answer 503 and refuses new work; server_stop() lets what runs finish within the limit, then tells
 *            streams that it ends, and soon after closes every connection. */
#ifndef HEARTH_HTTP_SERVER_H
#define HEARTH_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str_list.h"
#include "http/watch.h"
#include "service/models/registry.h"
#include "service/safety/safety.h"

struct server;
struct blobs;
struct account;
struct access_log;
struct gate;
struct tls;
struct key_metrics;
struct traces;
struct advice;
struct styles;
struct router;
struct word_rules;
struct file_folder;
struct c2pa_signer;

struct server_options {
    const char *listen; /* "127.0.0.1:8080", "[::1]:0", ":8080" for every address, "8080" for this machine */
    int port;           /* in place of the one in `listen`; -1: that one */
    int redirect_port;  /* with tls: plain HTTP there is redirected; -1: there is none such, 0: a free one */
    struct str_list keys;         /* none: loopback only */
    struct account *account;      /* a store of keys; NULL: none. Borrowed */
    bool record;                  /* requests and what was answered are kept in it */
    size_t record_limit;          /* bytes of a body; larger ones are not */
    struct gate *gate;            /* limits; NULL: none. Borrowed */
    struct str_list allow_origin; /* web origins; "*" for all */
    struct str_list allow_host;   /* names a server without keys may be called by */
    int http_threads, prepare_threads;
    size_t max_body, max_header;                      /* bytes */
    int max_connections, max_connections_per_address; /* per address 0: no limit of its own */
    int max_json_depth;
    int64_t max_json_values;
    size_t body_memory; /* bytes that bodies take together; 0: eight of the largest */
    size_t body_share;  /* and from one address; 0: half of it */
    struct watch_times times;
    bool strict_fields, include_stop;
    bool playground;         /* GET / and /web/ show it */
    bool share_prefixes;     /* cached prompts of one key serve the others too */
    const char *image_hosts; /* from where pictures among messages are fetched; borrowed */
    struct safety *safety;   /* borrowed */
    /* What prompts may say; NULL: anything. Borrowed. A request keeps to those that it met first (exchange_words()). */
    const struct word_rules *_Atomic words;
    const char *policy;              /* of words, where the key names none; "": the file's default */
    struct c2pa_signer *signer;      /* of pictures; NULL: they are not signed. Borrowed */
    struct blobs *files;             /* pictures given out by URL; borrowed */
    struct file_folder *uploads;     /* files that clients send; NULL: none are kept. Borrowed */
    int64_t file_limit, files_total; /* bytes of one of them, and of those of one owner together */
    double batch_keep_s;             /* how long what batches made is kept; 0: for ever */
    int batch_parallel;              /* lines of batches that are worked on at a time; 0: none */
    int64_t batch_most_lines;        /* of one batch */
    struct access_log *access_log;   /* NULL: none. Borrowed */
    struct traces *traces;           /* where spans go; NULL: nowhere. Borrowed */
    struct key_metrics *key_metrics; /* NULL: none. Borrowed */
    struct tls *tls;                 /* what connections speak; NULL: plain HTTP. Borrowed */
    const struct advice *advice;     /* rules of recommendation; borrowed */
    const struct styles *styles;     /* words behind prompts; borrowed */
    struct router *router;           /* other servers; NULL: all is served here. Borrowed */
    const char *loras;               /* folder of adapters that requests may name; borrowed */
};

/* The options are copied, what they point to is borrowed, and so are the registry and the catalog. ERR_REQUEST when `listen` is not loopback and there are no keys. */
bool server_start(struct server **out, const struct server_options *o, struct registry *r,
                  const struct catalog *c, struct err *e);
/* "http://127.0.0.1:8080", with the port that was taken. */
const char *server_url(const struct server *s);
/* "http://127.0.0.1:8081", where plain HTTP is redirected; "" for nowhere. */
const char *server_redirect_url(const struct server *s);
/* Other keys in place of those of the options; from any thread, one at a time. ERR_REQUEST, and the old ones stay, when a server that asks for keys
 * would ask for none. */
bool server_set_keys(struct server *s, const struct str_list *keys, struct err *e);
/* Other rules for what prompts may say, from any thread; those of before stay as long as the server. */
void server_set_words(struct server *s, const struct word_rules *words);
void server_set_ready(struct server *s, bool ready);
void server_drain(struct server *s);
int server_active(const struct server *s); /* requests being worked on */
/* Waits up to `limit_s` for running requests, or until hurry(arg), asked every few milliseconds, says not to (NULL: never); cancels
 * the rest, closes, frees. */
void server_stop(struct server *s, double limit_s, bool (*hurry)(void *arg), void *arg);

#endif
