/* reload.h - what SIGHUP does to a running server: files are read again, and what can change while requests run does.
 *
 * The access log is opened again, the certificate read again, then the configuration: keys (the key file), prices, limits of addresses and of
 * endpoints, what is logged. Each of them as a whole or not at all: what is wrong is said in the log, and the old one holds. An option that has
 * changed and cannot change now is named there too. Requests that are under way end by the rules that they began by.
 *
 * Threads  the one that waits for signals. */
#ifndef HEARTH_CLI_RELOAD_H
#define HEARTH_CLI_RELOAD_H

struct options;
struct catalog;
struct server;
struct account;
struct gate;
struct tls;
struct access_log;
struct router;
struct word_rules;

struct reload_kept; /* what was read again: pieces of it are in use until the server is gone */

struct reload { /* all borrowed; NULL: there is none such */
    const struct options *started_with;
    int argc;
    char **argv;         /* of reload_args() */
    const char *new_key; /* one that was made at the start, or "" */
    const struct catalog *catalog;
    struct server *server;
    struct account *account;
    struct gate *gate;
    struct tls *tls;
    struct access_log *access_log;
    struct router *router;
    struct reload_kept *kept; /* its own; NULL to begin with */
};

void reload_now(struct reload *r);
void reload_end(struct reload *r); /* once the server, the account and the router are gone */

/* A copy of a command line, which options_parse() hides secrets in. NULL: no memory. */
char **reload_args(int argc, char *const *argv);
void reload_args_free(char **argv);

#endif
