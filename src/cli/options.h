/* options.h - every setting of hearth, described once.
 *
 * The table in options_table.c feeds the configuration file (YAML), the environment (HEARTH_NAME), the flags (--name), --help and the
 * page docs/options.md. Precedence: flags, then environment, then file, then default. A name that does not exist is an error
 * that says which one was probably meant. After options_parse() the struct is constant; nothing else reads the environment, but
 * isa_choose() the largest instruction set (base/isa.h), which options_parse() leaves there.
 *
 * Ownership  strings and lists live until options_free(). */
#ifndef HEARTH_CLI_OPTIONS_H
#define HEARTH_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str_list.h"
#include "cli/cli.h"
#include "http/server.h"
#include "service/account/webhooks.h"
#include "service/models/registry.h"

/* What the settings come to. Where a setting belongs to something that is started, the field is in the struct that starts it, and
 * nothing is copied in between. */
struct options {
    /* the process */
    char *config;  /* the file that was read, or "" */
    char *catalog; /* a models.yaml of one's own, or "" for the embedded one */
    char *isa;     /* the largest instruction set to use, or "" */
    char *device;  /* where models are computed: cli/compute.h */
    enum log_level log_level;
    int threads; /* compute threads; 0: one for each core */

    struct registry_options registry; /* models_dir is never empty */

    /* serve */
    struct server_options server; /* without what serve.c opens for it */
    struct str_list keys;
    char *routes, *shadow_log;     /* "": all is served here; shadows are only counted */
    struct str_list upstream_keys; /* NAME=KEY */
    char *key_file;
    bool new_key, preload, metrics_per_key, detach;
    double drain_s;                              /* seconds */
    char *advice, *styles;                       /* "": the built-in ones */
    char *files_dir, *loras_dir, *safety_policy; /* "": beside the models, twice; the built-in policy */
    char *c2pa_cert, *c2pa_key;                  /* both, or "" */
    char *c2pa_trust;                            /* a file, or "" */
    bool c2pa;
    char *tls_cert, *tls_key; /* both, or "" */
    char *otlp;               /* a URL, or "" */
    struct str_list otlp_headers;
    char *access_log;  /* a file, "-", or "" */
    char *tracker_log; /* a file, or "" */
    struct {
        char *endpoint, *region, *key, *secret; /* "": Amazon's, the first region, none */
    } s3;
    double files_s;
    int64_t files_bytes;

    /* chat, complete, image and bench as clients */
    char *url, *key;
    char *system_text;
    int64_t max_tokens; /* -1: the model's own end, or the context's */
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k, seed;                   /* seed -1: a new one each time */
    char *schema, *grammar, *regex;        /* what the answer must be, "": anything */
    char *tools, *tool_choice, *reasoning; /* "": none; the model decides; as the model is */

    struct str_list images; /* chat: pictures that the first message brings along */

    /* image */
    char *model, *output, *size, *negative, *sampler, *init, *mask, *style;
    struct str_list lora;
    char *window; /* of a batch */
    int64_t pictures, steps;
    double guidance, strength; /* -1: the model's own, or the request's kind */
    bool show, steps_preview, overwrite, enhance;

    /* pull */
    char *hub, *hub_token, *sha256;
    int64_t tries;

    /* the account */
    char *store; /* a file or a URL; "": none */
    struct {
        char *name, *project, *expires;
        struct str_list scope, address, limit, budget, tag;
    } account;                              /* of a key that is made */
    int64_t key_weight, key_priority;       /* of a key that is made */
    char *address_limits, *endpoint_limits; /* "": none */
    char *counters;                         /* "": this process's memory */
    double reserved_s;
    char *prices;  /* a file; "": the catalog's alone */
    char *uploads; /* a folder; "": beside the store's file, or beside the models */
    char *journal; /* "": beside the store's file, or beside the models */
    char *master_key_file, *master_key, *new_master_key_file; /* "": none */
    struct webhooks_options webhooks;
    char *webhook_secret; /* itself, or "secret:NAME" */
    char *since, *until;
    unsigned ledger_lines;           /* of an export: JSON, tracker */
    unsigned usage_by, usage_format; /* enum usage_by; table, csv, json */

    /* output */
    bool json;

    struct str_list args; /* what stood beside the options */
};

/* Fills *o for one command. Returns -1 when the command should run; otherwise the exit status it should return at once (0 after
 * --help, 2 after an error, which has been printed to standard error). Either way options_free() is due. */
int options_parse(struct options *o, enum command_bit command, int argc, char **argv);
void options_free(struct options *o);

/* The settings as they would be now, from the same flags and the file and environment as they are. argv: as options_parse() had it, and hidden
 * secrets are hidden in it again. Nothing is printed or set but *o; options_free() is due either way. */
bool options_again(struct options *o, enum command_bit command, int argc, char **argv, struct err *e);
/* Calls fn with the name of each of the command's options that has another value in b than in a. */
void options_differ(const struct options *a, const struct options *b, enum command_bit command,
                    void (*fn)(void *arg, const char *name), void *arg);

/* The path of a file of hearth's in the user's state folder (XDG_STATE_HOME), which is made; malloc'ed, NULL when it cannot be. */
char *options_state_file(const char *name);

/* May escape sequences go to this descriptor? A terminal that is not dumb, and no NO_COLOR (no-color.org). */
bool options_colours(int fd);

/* The options table as Markdown, for docs/options.md. */
void options_print_markdown(void);

#endif
