/* line_input.c - see line_input.h. On libedit's own interface: its readline one restarts reading after a signal. */
#include "cli/line_input.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_ENTRIES = 1000, LOOK_MS = 50 };

struct line_input {
    EditLine *el;
    History *history;
    char *history_path;
    const char *prompt;
    atomic_bool *interrupted;
};

static struct line_input *owner(EditLine *el)
{
    void *in = NULL;
    el_get(el, EL_CLIENTDATA, &in);
    return in;
}

static char *prompt_of(EditLine *el) { return (char *)owner(el)->prompt; }

/* One character; -1 when the line is interrupted, 0 at the end of input. */
static int next_character(EditLine *el, wchar_t *out)
{
    const struct line_input *in = owner(el);
    mbstate_t state = { 0 };
    for (;;) {
        struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
        if (*in->interrupted) return -1;
        /* Not for ever: the signal may come before poll() begins, or to another thread. */
        if (poll(&p, 1, LOOK_MS) <= 0) continue;
        char byte;
        ssize_t n = read(STDIN_FILENO, &byte, 1);
        if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (n <= 0) return (int)n;
        if (byte == '\0')
            byte = '\4'; /* Ctrl-D while the terminal was between two lines: it keeps that as a NUL */
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-2) continue; /* more bytes of it to come */
        if (used == (size_t)-1) {         /* no character: what was read of it is dropped */
            state = (mbstate_t){ 0 };
            continue;
        }
        return 1;
    }
}

struct line_input *line_input_open(const char *history_path, atomic_bool *interrupted)
{
    HistEvent ev;
    struct line_input *in = calloc(1, sizeof *in);
    if (!in) return NULL;
    setlocale(LC_CTYPE, ""); /* how the terminal spells characters */
    in->prompt = "";
    in->interrupted = interrupted;
    in->el = el_init("hearth", stdin, stdout, stderr);
    in->history = history_init();
    in->history_path = history_path ? strdup(history_path) : NULL;
    if (!in->el || !in->history) {
        line_input_close(in);
        return NULL;
    }
    history(in->history, &ev, H_SETSIZE, HISTORY_ENTRIES);
    history(in->history, &ev, H_SETUNIQUE, 1);
    if (in->history_path) history(in->history, &ev, H_LOAD, in->history_path);
    el_set(in->el, EL_CLIENTDATA, in);
    el_set(in->el, EL_PROMPT, prompt_of);
    el_set(in->el, EL_EDITOR, "emacs");
    el_set(in->el, EL_BIND, "^R", "em-inc-search-prev", NULL); /* as shells have it */
    el_set(in->el, EL_HIST, history, in->history);
    el_set(in->el, EL_GETCFN, next_character);
    el_source(in->el, NULL); /* the user's own key bindings */
    return in;
}

void line_input_close(struct line_input *in)
{
    HistEvent ev;
    if (!in) return;
    if (in->el) el_end(in->el);
    if (in->history && in->history_path) {
        mode_t mask = umask(077);
        history(in->history, &ev, H_SAVE, in->history_path);
        umask(mask);
    }
    if (in->history) history_end(in->history);
    free(in->history_path);
    free(in);
}

enum line_kind line_input_next(struct line_input *in, const char *prompt, char **line)
{
    int n = 0;
    in->prompt = prompt;
    *in->interrupted = false;
    const char *text = el_gets(in->el, &n);
    if (*in->interrupted) {
        el_reset(in->el);
        printf("\n");
        return LINE_INTERRUPTED;
    }
    if (!text || n <= 0) return LINE_END;
    size_t len = (size_t)n;
    if (text[len - 1] == '\n') len--;
    *line = strndup(text, len);
    return *line ? LINE_TEXT : LINE_END;
}

void line_input_remember(struct line_input *in, const char *message)
{
    HistEvent ev;
    history(in->history, &ev, H_ENTER, message);
}
