/* secrets.c - `hearth secrets init|set NAME|list|rm NAME|rotate`: what is kept sealed in the store. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dates.h"
#include "cli/actor.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "service/account/secrets.h"

static bool master_key(const struct options *o, struct master_key *k, struct err *e)
{
    return master_key_load(k, o->master_key_file, o->master_key, e);
}

/* From standard input, so that it stands in no list of processes; an end of line at its end is no part of it. */
static bool set(struct store *s, const struct options *o, const struct actor *by, struct err *e)
{
    char value[SECRETS_VALUE + 2];
    struct master_key k;
    if (!master_key(o, &k, e)) return false;
    if (isatty(STDIN_FILENO)) fprintf(stderr, "hearth secrets: type the value, then Ctrl-D\n");
    size_t n = fread(value, 1, sizeof value - 1, stdin);
    bool ok = !ferror(stdin) || err_set(e, ERR_IO, "standard input cannot be read");
    if (n && value[n - 1] == '\n') n--;
    value[n] = 0;
    ok = ok && (strlen(value) == n || err_set(e, ERR_REQUEST, "a secret is text, and this has a zero byte"));
    ok = ok && secrets_set(s, &k, o->args.v[1], value, by, clock_unix_ms(), e);
    sodium_memzero(value, sizeof value);
    sodium_memzero(&k, sizeof k);
    return ok;
}

static bool print_name(void *arg, const char *name, int64_t set_ms, struct err *e)
{
    char at[DATES_TEXT];
    (void)arg, (void)e;
    printf("%-40s %s\n", name, dates_print(set_ms, at));
    return true;
}

static bool list(struct store *s, const struct options *o, const struct actor *by, struct err *e)
{
    (void)o, (void)by;
    return secrets_each(s, print_name, NULL, e);
}

static bool drop(struct store *s, const struct options *o, const struct actor *by, struct err *e)
{
    return secrets_remove(s, o->args.v[1], by, clock_unix_ms(), e);
}

static bool rotate(struct store *s, const struct options *o, const struct actor *by, struct err *e)
{
    struct master_key from, to;
    int n = 0;
    if (!*o->new_master_key_file)
        return err_set(e, ERR_REQUEST,
                       "--new-master-key-file names the key to seal with from now on; init makes one");
    const bool ok = master_key(o, &from, e) && master_key_load(&to, o->new_master_key_file, "", e) &&
                    secrets_rotate(s, &from, &to, by, clock_unix_ms(), &n, e);
    if (ok) printf("%d secret%s sealed anew\n", n, n == 1 ? "" : "s");
    sodium_memzero(&from, sizeof from);
    sodium_memzero(&to, sizeof to);
    return ok;
}

static const struct act {
    const char *name;
    bool (*run)(struct store *s, const struct options *o, const struct actor *by, struct err *e);
    int n_args; /* its own name among them */
} acts[] = { { "set", set, 2 }, { "list", list, 1 }, { "rm", drop, 2 }, { "rotate", rotate, 1 } };

/* The one that needs no store. */
static int init(const struct options *o)
{
    struct err e;
    if (!*o->master_key_file) {
        fprintf(stderr, "hearth secrets: --master-key-file names the file to make\n");
        return 2;
    }
    if (master_key_make(o->master_key_file, &e)) return 0;
    fprintf(stderr, "hearth secrets: %s\n", e.msg);
    return 1;
}

int cmd_secrets(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    struct store *s = NULL;
    const struct act *act = NULL;
    char user[ACTOR_USER];
    int rc = options_parse(&o, CMD_SECRETS, argc, argv);
    if (rc >= 0) goto done;
    if (o.args.n == 1 && !strcmp(o.args.v[0], "init")) {
        rc = init(&o);
        goto done;
    }
    for (size_t i = 0; o.args.n && i < sizeof acts / sizeof *acts; i++)
        if (!strcmp(acts[i].name, o.args.v[0]) && acts[i].n_args == o.args.n) act = &acts[i];
    rc = 2;
    if (!act || !*o.store) {
        fprintf(stderr, act ? "hearth secrets: --store names the file or the URL that keeps them\n"
                            : "hearth secrets: say what to do: init, set NAME, list, rm NAME or rotate\n");
        goto done;
    }
    rc = 0;
    const struct actor by = actor_user(user);
    if (!store_open(&s, o.store, &(struct store_options){ .must_exist = act->run != set }, &e) ||
        !act->run(s, &o, &by, &e)) {
        fprintf(stderr, "hearth secrets: %s\n", e.msg);
        rc = 1;
    }
done:
    store_close(s);
    options_free(&o);
    return rc;
}
