/* chat.c - `hearth chat [MODEL]`: a conversation in the terminal, or line by line through a pipe. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "cli/attach.h"
#include "cli/calls.h"
#include "cli/line_input.h"
#include "cli/talk.h"
#include "format/json_memory.h"

enum { MAX_MESSAGE = 4 << 20 };

struct chat {
    struct options *o;
    struct talk *talk;
    json_t *messages;
    bool terminal;           /* someone is there: prompts, figures */
    const char *dim, *plain; /* "" where colours are not wanted */
    struct line_input *in;   /* with a terminal, once a line was asked for */
    struct wishes wishes;
    struct buf reply, thought;
    struct calls calls;      /* of the reply under way */
    bool seen;               /* thoughts are shown */
    bool thinking;           /* the last that was shown is a thought */
    struct str_list pending; /* files of pictures that the next message brings along */
    bool done;
};

/* Set by Ctrl-C: stops the reply under way. The second of the process's two kinds of mutable global state, a stop flag. */
static atomic_bool interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = true;
}

/* ---- the conversation -------------------------------------------------------------------------------------- */

static void reset(struct chat *c)
{
    json_array_clear(c->messages);
    str_list_clear(&c->pending);
    for (int i = 0; i < c->o->images.n; i++)
        str_list_add(&c->pending, c->o->images.v[i], strlen(c->o->images.v[i]), NULL);
    if (*c->o->system_text) {
        json_array_append_new(c->messages,
                              json_pack("{s:s, s:s}", "role", "system", "content", c->o->system_text));
    }
}

static void print(struct chat *c, const char *text, size_t len)
{
    fwrite(text, 1, len, stdout);
    if (fflush(stdout) || ferror(stdout)) interrupted = c->done = true; /* whoever read this has left */
}

static void end_thought(struct chat *c)
{
    if (c->thinking) printf("%s\n\n", c->plain);
    c->thinking = false;
}

static void show(void *arg, const char *text, size_t len)
{
    struct chat *c = arg;
    end_thought(c);
    buf_append(&c->reply, text, len);
    print(c, text, len);
}

static void show_thought(void *arg, const char *text, size_t len)
{
    struct chat *c = arg;
    buf_append(&c->thought, text, len);
    if (!c->seen) return;
    if (!c->thinking) printf("%s", c->dim);
    c->thinking = true;
    print(c, text, len);
}

static void take_call(void *arg, int call, const char *id, const char *name, const char *piece, size_t len)
{
    struct chat *c = arg;
    end_thought(c);
    calls_add(&c->calls, call, id, name, piece, len);
}

static void show_figures(const struct chat *c, const struct talk_stats *s)
{
    double rate = s->total_s > s->first_s && s->completion_tokens > 1
                      ? (s->completion_tokens - 1) / (s->total_s - s->first_s)
                      : 0;
    printf("%s%s%d tokens, %.1f tokens/s, first after %.2f s%s%s\n", c->dim, s->stopped ? "stopped; " : "",
           s->completion_tokens, rate, s->first_s, s->hit_length ? ", cut at the token limit" : "", c->plain);
}

/* One reply to the conversation as it stands, added to it. Calls that a stop cut are none. */
static bool reply_once(struct chat *c, bool choose)
{
    const struct talk_question question = { .messages = c->messages, .wishes = &c->wishes, .choose = choose };
    const struct talk_sink sink = { show, show_thought, take_call, c };
    struct err e = { 0 };
    struct talk_stats s;
    interrupted = false;
    buf_clear(&c->reply);
    buf_clear(&c->thought);
    calls_clear(&c->calls);
    bool ok = talk_ask(c->talk, &question, &sink, &interrupted, &s, &e);
    end_thought(c);
    if (ok && s.stopped) calls_clear(&c->calls);
    json_t *m = ok ? calls_message(&c->calls, c->reply.data, c->reply.len, &e) : NULL;
    if (!m) {
        fprintf(stderr, "%shearth chat: %s%s\n", c->reply.len ? "\n" : "", e.msg,
                ok && s.hit_length ? "; the token limit cut it" : "");
        return false;
    }
    if (!c->calls.n) json_object_del(m, "tool_calls");
    if (c->thought.len)
        json_object_set_new(m, "reasoning_content", json_stringn(c->thought.data, c->thought.len));
    json_array_append_new(c->messages, m);
    if (c->reply.len || !c->calls.n) printf("\n");
    if (c->terminal) show_figures(c, &s);
    fflush(stdout);
    return true;
}

static enum line_kind next_line(struct chat *c, const char *prompt, char **line);

/* Shows the reply's calls, one a line, and adds what the next lines of the input say they gave. */
static bool answer_calls(struct chat *c)
{
    for (int i = 0; i < c->calls.n; i++) {
        const struct call *one = &c->calls.v[i];
        json_t *arguments = json_memory_load(one->arguments.data, one->arguments.len, 0, NULL);
        char *line = arguments ? json_memory_dumps(arguments, JSON_COMPACT) : NULL;
        printf("%s %s\n", one->name, line ? line : one->arguments.data);
        json_decref(arguments);
        free(line);
    }
    fflush(stdout);
    for (int i = 0; i < c->calls.n; i++) {
        const struct call *one = &c->calls.v[i];
        char prompt[100], *line;
        snprintf(prompt, sizeof prompt, "%.80s gave: ", one->name);
        if (next_line(c, prompt, &line) != LINE_TEXT) {
            fprintf(stderr, "hearth chat: there is no line with what %s gave; the message is dropped\n",
                    one->name);
            return false;
        }
        json_t *m = json_pack("{s:s, s:s, s:s}", "role", "tool", "tool_call_id", one->id ? one->id : "",
                              "content", line);
        free(line);
        if (!m || json_array_append_new(c->messages, m)) {
            fprintf(stderr, "hearth chat: what %s gave is not valid UTF-8; the message is dropped\n",
                    one->name);
            return false;
        }
    }
    return true;
}

/* Asks with the conversation as it stands until the answer is there; all of it is added, or nothing. */
static bool reply(struct chat *c)
{
    const size_t before = json_array_size(c->messages);
    bool ok = reply_once(c, true);
    while (ok && c->calls.n) ok = answer_calls(c) && reply_once(c, false);
    while (!ok && json_array_size(c->messages) > before)
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
    return ok;
}

static bool ask(struct chat *c, const char *text, size_t len)
{
    struct err e = { 0 };
    json_t *content = attach_content(text, len, &c->pending, &e);
    json_t *m = content ? json_pack("{s:s, s:o}", "role", "user", "content", content) : NULL;
    if (!m) {
        fprintf(stderr, "hearth chat: %s\n", content ? "out of memory" : e.msg);
        return false;
    }
    json_array_append_new(c->messages, m);
    if (reply(c)) {
        str_list_clear(&c->pending);
        return true;
    }
    json_array_remove(c->messages,
                      json_array_size(c->messages) - 1); /* so that the next try does not send it twice */
    return false;
}

/* ---- commands ---------------------------------------------------------------------------------------------- */

static bool do_help(struct chat *c, const char *rest);

static bool do_clear(struct chat *c, const char *rest)
{
    (void)rest;
    reset(c);
    return true;
}

static bool do_system(struct chat *c, const char *rest)
{
    char *copy = strdup(rest);
    if (!copy) return false;
    free(c->o->system_text);
    c->o->system_text = copy;
    reset(c);
    return true;
}

/* Looked at now, so that a wrong name is said before the message is typed. */
static bool do_image(struct chat *c, const char *rest)
{
    struct err e = { 0 };
    char *name = strdup(rest);
    struct str_list one = { .v = &name, .n = 1 };
    json_t *content = NULL;
    if (!*rest)
        err_set(&e, ERR_REQUEST, "usage: /image FILE");
    else if (!name)
        err_set(&e, ERR_NOMEM, "out of memory");
    else
        content = attach_content("", 0, &one, &e);
    const bool ok = content && str_list_add(&c->pending, rest, strlen(rest), &e);
    if (!ok) fprintf(stderr, "%s\n", e.msg);
    json_decref(content);
    free(name);
    return ok;
}

static bool do_retry(struct chat *c, const char *rest)
{
    (void)rest;
    size_t n = json_array_size(c->messages);
    const char *role =
        n ? json_string_value(json_object_get(json_array_get(c->messages, n - 1), "role")) : NULL;
    if (!role || strcmp(role, "assistant") != 0) {
        fprintf(stderr, "there is no reply to make again\n");
        return false;
    }
    json_array_remove(c->messages, n - 1);
    return reply(c);
}

static bool do_set(struct chat *c, const char *rest)
{
    static const struct {
        const char *name;
        double min, max;
    } known[] = { { "temperature", 0, 2 }, { "top-p", 0, 1 },         { "min-p", 0, 1 },
                  { "top-k", 0, 1e9 },     { "max-tokens", -1, 1e9 }, { "seed", -1, 9e15 } };
    char name[32];
    double v;
    int used = 0;
    if (sscanf(rest, "%31s %lf %n", name, &v, &used) == 2 && rest[used] == '\0') {
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            if (strcmp(known[i].name, name) != 0) continue;
            if (!(v >= known[i].min && v <= known[i].max)) {
                fprintf(stderr, "%s goes from %g to %g\n", name, known[i].min, known[i].max);
                return false;
            }
            if (i == 0) c->o->temperature = v;
            if (i == 1) c->o->top_p = v;
            if (i == 2) c->o->min_p = v;
            if (i == 3) c->o->top_k = (int64_t)v;
            if (i == 4) c->o->max_tokens = (int64_t)v;
            if (i == 5) c->o->seed = (int64_t)v;
            return true;
        }
    }
    fprintf(stderr, "usage: /set temperature|top-p|min-p|top-k|max-tokens|seed NUMBER\n");
    return false;
}

static bool do_save(struct chat *c, const char *rest)
{
    if (*rest && json_dump_file(c->messages, rest, JSON_INDENT(1)) == 0) return true;
    if (*rest)
        fprintf(stderr, "cannot write %s\n", rest);
    else
        fprintf(stderr, "usage: /save FILE\n");
    return false;
}

static bool do_load(struct chat *c, const char *rest)
{
    json_error_t je;
    json_t *m = json_load_file(rest, 0, &je), *one;
    size_t i;
    bool ok = json_is_array(m);
    json_array_foreach(m, i, one)
    {
        ok = ok && json_is_string(json_object_get(one, "role")) &&
             (json_is_string(json_object_get(one, "content")) ||
              json_is_array(json_object_get(one, "content")));
    }
    if (!ok) {
        fprintf(stderr, "%s is not a saved conversation%s%s\n", rest, m ? "" : ": ", m ? "" : je.text);
        json_decref(m);
        return false;
    }
    json_decref(c->messages);
    c->messages = m;
    return true;
}

static bool do_quit(struct chat *c, const char *rest)
{
    (void)rest;
    c->done = true;
    return true;
}

static const struct {
    const char *name, *help; /* help NULL: another name of a command */
    bool (*run)(struct chat *c, const char *rest);
} chat_commands[] = {
    { "/help", "this list", do_help },
    { "/clear", "forget the conversation", do_clear },
    { "/system", "TEXT: begin again with this system message", do_system },
    { "/image", "FILE: show a picture with the next message, where the model sees pictures", do_image },
    { "/retry", "make the last reply again", do_retry },
    { "/set", "NAME NUMBER: temperature, top-p, min-p, top-k, max-tokens, seed", do_set },
    { "/save", "FILE: write the conversation as JSON", do_save },
    { "/load", "FILE: go on with a saved conversation", do_load },
    { "/quit", "leave (also /bye, /exit, Ctrl-D)", do_quit },
    { "/bye", NULL, do_quit },
    { "/exit", NULL, do_quit },
    { "/?", NULL, do_help },
};

static bool do_help(struct chat *c, const char *rest)
{
    (void)c, (void)rest;
    for (size_t i = 0; i < sizeof chat_commands / sizeof *chat_commands; i++) {
        if (chat_commands[i].help) printf("  %-8s  %s\n", chat_commands[i].name, chat_commands[i].help);
    }
    printf("  A line that ends with \\ goes on in the next; \"\"\" begins and ends a text of several lines.\n"
           "  Ctrl-C stops a reply, or drops what is being typed.\n");
    return true;
}

/* One line of input that is not empty: a command or a message. */
static bool handle(struct chat *c, const char *line, size_t len)
{
    if (line[0] != '/') return ask(c, line, len);
    size_t n = strcspn(line, " \t");
    for (size_t i = 0; i < sizeof chat_commands / sizeof *chat_commands; i++) {
        if (strlen(chat_commands[i].name) == n && !strncmp(line, chat_commands[i].name, n)) {
            return chat_commands[i].run(c, line + n + strspn(line + n, " \t"));
        }
    }
    fprintf(stderr, "there is no command %.*s; /help lists them\n", (int)n, line);
    return false;
}

/* ---- input ------------------------------------------------------------------------------------------------- */

#define FENCE "\"\"\""

/* The next line, without its newline; *line is malloc'ed with LINE_TEXT. */
static enum line_kind next_line(struct chat *c, const char *prompt, char **line)
{
    if (c->terminal && !c->in) {
        char *history = options_state_file("chat_history");
        c->in = line_input_open(history, &interrupted);
        free(history);
    }
    if (c->in) return line_input_next(c->in, prompt, line);
    size_t size = 0;
    *line = NULL;
    ssize_t n = getline(line, &size, stdin);
    if (n < 0) {
        free(*line);
        return LINE_END;
    }
    if (n && (*line)[n - 1] == '\n') (*line)[--n] = '\0';
    return LINE_TEXT;
}

/* A message in the making: the text between two FENCEs, which may share lines with it, or lines joined by a backslash at their end. */
struct message {
    struct buf *text;
    int lines; /* of the text */
    bool block;
};

/* Takes the next line; true when the message goes on. */
static bool add_line(struct message *m, const char *line, bool first)
{
    size_t n = strlen(line), fence = strlen(FENCE);
    bool opens = first && n >= fence && !memcmp(line, FENCE, fence);
    if (opens) line += fence, n -= fence;
    bool closes = (opens || m->block) && n >= fence && !memcmp(line + n - fence, FENCE, fence);
    if (closes) n -= fence;
    bool joined = !opens && !m->block && n && line[n - 1] == '\\';
    if (n || (m->block && !closes)) { /* the fences' own lines are no text */
        if (m->lines++) buf_putc(m->text, '\n');
        buf_append(m->text, line, joined ? n - 1 : n);
    }
    m->block = (opens || m->block) && !closes;
    return m->block || joined;
}

/* A whole message. LINE_INTERRUPTED: what was typed of it is gone and nothing is sent; so is what the end of input cuts off. */
static enum line_kind next_message(struct chat *c, struct buf *out)
{
    struct message m = { .text = out };
    bool more = true;
    buf_clear(out);
    for (bool first = true; more; first = false) {
        char *line;
        enum line_kind kind = next_line(c, first ? "> " : ". ", &line);
        if (kind == LINE_END && !first && !c->terminal)
            fprintf(stderr, "hearth chat: the input ends inside a text that " FENCE
                            " or \\ began; that was not sent\n");
        if (kind != LINE_TEXT) return kind;
        more = add_line(&m, line, first);
        free(line);
    }
    return LINE_TEXT;
}

static bool converse(struct chat *c)
{
    struct buf message = BUF_INIT(MAX_MESSAGE);
    bool all_ok = true, asked = false; /* asked: Ctrl-C was pressed once with nothing typed */
    if (c->terminal)
        printf("%s%s  /help lists commands; Ctrl-C stops a reply%s\n", c->dim, talk_model(c->talk), c->plain);
    while (!c->done) {
        enum line_kind kind = next_message(c, &message);
        if (kind == LINE_END) {
            if (message.len) all_ok = false;
            break;
        }
        if (kind == LINE_INTERRUPTED) {
            if (asked) break;
            asked = true;
            printf("%sCtrl-C once more, Ctrl-D or /quit leaves%s\n", c->dim, c->plain);
            continue;
        }
        asked = false;
        if (message.failed) {
            fprintf(stderr, "hearth chat: a message may have at most %d bytes\n", (int)MAX_MESSAGE);
            all_ok = false;
            continue;
        }
        if (!message.len || strspn(message.data, " \t\r\n") == message.len) continue;
        if (c->in) line_input_remember(c->in, message.data);
        all_ok &= handle(c, message.data, message.len);
    }
    if (c->terminal) printf("\n");
    buf_free(&message);
    return all_ok;
}

int cmd_chat(int argc, char **argv)
{
    struct options o;
    int rc = options_parse(&o, CMD_CHAT, argc, argv);
    if (rc >= 0) {
        options_free(&o);
        return rc;
    }
    log_set_level(LOG_WARN);
    struct err e = { 0 };
    struct chat c = { .o = &o, .messages = json_array(), .reply = BUF_INIT(0), .thought = BUF_INIT(0) };
    c.seen = isatty(STDOUT_FILENO);
    c.terminal = c.seen && isatty(STDIN_FILENO);
    c.dim = options_colours(STDOUT_FILENO) ? "\033[2m" : "";
    c.plain = *c.dim ? "\033[0m" : "";
    if (!wishes_read(&c.wishes, &o, &e) || !talk_open(&c.talk, &o, o.args.n ? o.args.v[0] : NULL, &e)) {
        fprintf(stderr, "hearth chat: %s\n", e.msg);
        rc = 1;
    } else {
        struct sigaction stop = { .sa_handler = on_interrupt, .sa_flags = 0 }; /* reading a line ends */
        if (c.terminal) sigaction(SIGINT, &stop, NULL);
        reset(&c);
        bool ok = true;
        if (o.args.n > 1) { /* hearth chat MODEL "one message": answer and leave */
            for (int i = 1; i < o.args.n; i++) ok &= handle(&c, o.args.v[i], strlen(o.args.v[i]));
        } else {
            ok = converse(&c);
        }
        rc = ok || c.terminal ? 0 : 1;
    }
    line_input_close(c.in);
    talk_close(c.talk);
    wishes_free(&c.wishes);
    calls_clear(&c.calls);
    json_decref(c.messages);
    str_list_clear(&c.pending);
    buf_free(&c.reply);
    buf_free(&c.thought);
    options_free(&o);
    return rc;
}
