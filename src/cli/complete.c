/* complete.c - `hearth complete [MODEL] [PROMPT]`: continue a text; without a prompt, the one on standard input. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "cli/talk.h"

enum { MAX_PROMPT = 16 << 20 };

/* arg: the flag that ends the reply, set when whoever read it has left. */
static void print_text(void *arg, const char *text, size_t len)
{
    fwrite(text, 1, len, stdout);
    if (fflush(stdout) || ferror(stdout)) *(atomic_bool *)arg = true;
}

static bool read_all(struct buf *b, struct err *e)
{
    char part[65536];
    size_t n;
    while ((n = fread(part, 1, sizeof part, stdin)) > 0) {
        if (!buf_append(b, part, n))
            return err_set(e, ERR_LIMIT, "the prompt passes %d bytes", (int)MAX_PROMPT);
    }
    return true;
}

int cmd_complete(int argc, char **argv)
{
    struct options o;
    int rc = options_parse(&o, CMD_COMPLETE, argc, argv);
    if (rc >= 0) {
        options_free(&o);
        return rc;
    }
    log_set_level(LOG_WARN);
    struct err e = { 0 };
    struct buf input = BUF_INIT(MAX_PROMPT);
    struct talk *t = NULL;
    struct talk_stats stats;
    struct wishes wishes = { .reasoning = "" };
    /* One argument is the prompt, but for the name of a model with a prompt on standard input. */
    bool piped = o.args.n == 1 && !isatty(STDIN_FILENO) && talk_names_model(&o, o.args.v[0]);
    const char *model = o.args.n == 2 || piped ? o.args.v[0] : NULL,
               *prompt = o.args.n && !piped ? o.args.v[o.args.n - 1] : NULL;
    bool ok = true;
    atomic_bool stop = false;
    const struct talk_sink sink = { .text = print_text, .arg = &stop };
    if (o.args.n > 2) {
        fprintf(stderr, "hearth complete: too many arguments; quote the prompt\n");
        rc = 2;
    } else {
        if (!prompt) {
            ok = read_all(&input, &e);
            prompt = input.data ? input.data : "";
        }
        ok = ok && (*prompt || err_set(&e, ERR_REQUEST, "there is no prompt")) &&
             wishes_read(&wishes, &o, &e) && talk_open(&t, &o, model, &e) &&
             talk_ask(t, &(struct talk_question){ .prompt = prompt, .wishes = &wishes }, &sink, &stop, &stats,
                      &e);
        if (ok)
            printf("\n");
        else
            fprintf(stderr, "hearth complete: %s\n", e.msg);
        rc = ok ? 0 : 1;
    }
    talk_close(t);
    wishes_free(&wishes);
    buf_free(&input);
    options_free(&o);
    return rc;
}
