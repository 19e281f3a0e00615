/* stop.c - `hearth stop [MODEL...]`: ends the detached server, or unloads models of a running one. */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/detach.h"
#include "cli/fetch.h"
#include "cli/options.h"

static bool stop_server(struct err *e)
{
    const pid_t pid = detached_pid();
    if (!pid)
        return err_set(
            e, ERR_NOT_FOUND,
            "no detached server runs (`hearth serve --detach` starts one); Ctrl-C or SIGTERM ends any other");
    if (kill(pid, SIGTERM) && errno != ESRCH)
        return err_set(e, ERR_IO, "process %ld: %s", (long)pid, strerror(errno));
    detached_wait();
    return true;
}

/* As Ollama's clients ask for it: a request without a prompt, after which the model stays no longer. */
static bool unload(const struct options *o, const char *model, struct err *e)
{
    struct buf body = BUF_INIT(1 << 20);
    json_t *ask = json_pack("{s:s, s:i}", "model", model, "keep_alive", 0);
    char *text = ask ? json_dumps(ask, JSON_COMPACT) : NULL;
    const bool ok =
        text ? fetch_post(*o->url ? o->url : FETCH_USUAL_URL, o->key, "/api/generate", text, &body, e)
             : err_set(e, ERR_REQUEST, "\"%.100s\" is no name of a model", model);
    free(text);
    json_decref(ask);
    buf_free(&body);
    return ok;
}

int cmd_stop(int argc, char **argv)
{
    struct options o;
    struct err e = { 0 };
    int rc = options_parse(&o, CMD_STOP, argc, argv);
    if (rc < 0 && !o.args.n && *o.url) {
        fprintf(stderr, "hearth stop: --url goes with a model; a server is stopped where it runs\n");
        rc = 2;
    }
    if (rc < 0) {
        bool ok = o.args.n || stop_server(&e);
        for (int i = 0; ok && i < o.args.n; i++) ok = unload(&o, o.args.v[i], &e);
        if (!ok) fprintf(stderr, "hearth stop: %s\n", e.msg);
        rc = ok ? 0 : 1;
    }
    options_free(&o);
    return rc;
}
