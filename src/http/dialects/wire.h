/* wire.h - a text request as OpenAI's and Fireworks' dialects put it on the wire, and how its reply is printed.
 *
 * Both dialects share one set of fields: a field of the other is honoured too. They differ in defaults and in the shape of replies, which a struct
 * wire_style describes. */
#ifndef HEARTH_HTTP_DIALECTS_WIRE_H
#define HEARTH_HTTP_DIALECTS_WIRE_H

#include "base/buf.h"
#include "http/dialects/cost.h"
#include "http/error.h"
#include "service/reply.h"
#include "service/request.h"
#include "text/tokenizer/tokenizer.h"

enum logprob_shape {
    LOGPROBS_NONE,
    LOGPROBS_CONTENT, /* {"content": [{"token", "logprob", "bytes", "top_logprobs"}]} */
    LOGPROBS_LEGACY   /* {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []} */
};

struct wire_style;

struct wire_request {
    struct gen_request gen;
    const struct wire_style *style;
    bool chat, strict;
    bool stream;
    enum { USAGE_DEFAULT, USAGE_ON, USAGE_OFF } stream_usage; /* stream_options.include_usage */
    enum logprob_shape logprobs;
    bool raw_output, perf_in_body;
    int64_t max_completion_tokens; /* -1: not given */
    bool max_tokens_open;          /* -1 was given: to the end of the context */
    int64_t echo_last;
    bool best_of_given, logprobs_wanted;
    int64_t top_logprobs;     /* -1: not given */
    bool shown_given;         /* the request said whether it wants to see thoughts */
    json_t *echo;             /* Responses: what the reply repeats of the request; owned, or NULL */
    const char *thought_name; /* the member that split thoughts are printed as; NULL: reasoning_content */
};

struct wire_reply;
struct wire_choice;
struct wire_growing;

/* How a dialect prints replies. A stream is what open, piece and end say of each choice, then usage and done; or fault and nothing more. Each appends
 * whole events, or nothing. `g` is the choice's own; of usage, done and fault the first choice's. */
struct wire_printer {
    void (*full)(struct buf *b, const struct wire_reply *r, const struct wire_choice *choice, int n,
                 const struct usage *u);
    void (*open)(struct buf *b, const struct wire_reply *r, struct wire_growing *g, int choice);
    void (*piece)(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                  const struct reply_event *ev);
    /* raw_output: printed JSON, or NULL. */
    void (*end)(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                const struct reply_event *ev, const char *raw_output);
    void (*usage)(struct buf *b, const struct wire_reply *r, struct wire_growing *g, const struct usage *u);
    void (*done)(struct buf *b, const struct wire_reply *r, struct wire_growing *g);
    void (*fault)(struct buf *b, const struct wire_reply *r, struct wire_growing *g, enum fault_kind kind,
                  const char *message);
    bool keeps; /* of a stream too, g->said is all of the choice that was said so far */
};
extern const struct wire_printer chunk_printer; /* stream.c: chat completions and completions, as below */

/* What one dialect does its own way. */
struct wire_style {
    enum api_dialect dialect;
    /* As wire_parse(), which it is where the fields are those of chat completions. */
    bool (*parse)(struct wire_request *w, json_t *body, bool chat, bool strict,
                  const struct wire_style *style, struct fault *f);
    const struct wire_printer *printer;
    int chat_max_tokens;      /* when the request gives none; -1: what the context leaves */
    enum overflow overflow;   /* when the request does not say */
    bool stop_may_stay;       /* the matched stop string stays in the output when the server is set so */
    bool usage_in_last_chunk; /* streams: the last chunk of a choice carries the usage so far */
    bool extra_token_fields;  /* logprobs: token_id, text_offset and the like */
    void (*id)(struct buf *b, bool chat, const unsigned char random[16]);
    void (*message_extras)(struct buf *b); /* members of a full message behind content */
    bool thoughts_in_text;                 /* unless the catalog says otherwise of a model */
    bool stop_when_named; /* a call of the function that the request named ends with "stop" */
    /* The delta that opens a choice; calls: it may turn out to be calls without a text. */
    void (*first_delta)(struct buf *b, bool calls);
    void (*reply_extras)(struct buf *b); /* members of a full reply behind usage */
    void (*usage_details)(struct buf *b, const struct usage *u);
};

extern const struct wire_style openai_style;    /* openai.c */
extern const struct wire_style fireworks_style; /* fireworks.c */
extern const struct wire_style responses_style,
    responses_count_style; /* responses.c; the latter to count tokens */
extern const struct wire_style anthropic_style,
    anthropic_count_style; /* anthropic.c; the latter to count tokens */

/* body: a JSON object; what extra_body holds is merged in. strict: fields that no dialect knows are refused. */
bool wire_parse(struct wire_request *w, json_t *body, bool chat, bool strict, const struct wire_style *style,
                struct fault *f);
void wire_free(struct wire_request *w);

/* What every chunk and reply of one request repeats. */
struct wire_reply {
    const struct wire_request *request;
    const char *model;
    const struct tokenizer *tokenizer;
    char id[64];
    int64_t created;
    int dropped; /* messages left out of the prompt */
    const int32_t *prompt_ids;
    size_t n_prompt_ids;       /* of the first prompt; printed when ids were asked for */
    const struct price *price; /* NULL: costs are not spoken of. The caller's */
};
void wire_reply_init(struct wire_reply *r, const struct wire_request *w, const char *model,
                     const struct tokenizer *t);

/* Parts of replies and chunks (print.c). */
void wire_put_head(struct buf *b, const struct wire_reply *r, const char *object); /* up to "choices":[ */
void wire_put_usage(struct buf *b, const struct wire_reply *r, const struct usage *u);
void wire_put_perf(struct buf *b, const struct usage *u); /* ,"perf_metrics":{...} */
void wire_put_token_ids(struct buf *b, const struct wire_reply *r, const struct reply_token *t, size_t n);
void wire_put_prompt_facts(struct buf *b, const struct wire_reply *r);
/* {"name":...,"arguments": of a function; "id":...,"type":...,"function": and that of a call. */
void wire_open_function(struct buf *b, const char *name);
void wire_open_call(struct buf *b, const char *id, const char *name);
const char *wire_thought_name(const struct wire_request *w); /* the member that split thoughts are */
const char *wire_finish_reason(const struct wire_request *w, enum reply_finish finish);

/* A piece of a choice's output: all of it in a full reply, what is new in a chunk. */
struct wire_piece {
    const char *text;
    size_t len;
    const struct reply_token *tokens; /* placed: their text_offset counts bytes of the choice's answer */
    size_t n_tokens;
    size_t bytes_before, chars_before; /* of the answer in front of text */
};

struct wire_call {
    char *id, *name;
    struct buf arguments;
};

/* A stretch of a choice that is of one kind: bytes of its text or of its thought, or one of its calls. */
struct wire_part {
    enum reply_type type; /* TEXT, THOUGHT or CALL */
    size_t from, len;     /* CALL: from is its place among the calls */
};

/* One choice as it grows (choice.c). Zeroed to begin with. */
struct wire_choice {
    struct buf text, thought;
    struct reply_token *tokens;
    size_t n_tokens, cap_tokens;
    struct wire_call *calls;
    int n_calls;
    struct wire_part *parts; /* in their order */
    int n_parts;
    enum reply_finish finish;
    const char *stop_hit; /* as reply.h has it */
    char *raw_output;     /* printed JSON, or NULL; owned */
};
/* Adds a piece of it, tokens placed, or its end. False when there is no memory. */
bool wire_choice_take(struct wire_choice *c, const struct reply_event *ev);
bool wire_choice_keep_tokens(struct wire_choice *c, const struct reply_event *ev); /* those of ev alone */
void wire_choice_free(struct wire_choice *c);
void wire_print_full(struct buf *b, const struct wire_reply *r, const struct wire_choice *choice, int n,
                     const struct usage *u);

/* How far a choice's output is told. Zeroed to begin with. */
struct wire_growing {
    size_t bytes, chars; /* of the answer's text that has been said; chars: of a stream */
    bool mixed;          /* there was something else than text */
    bool answered;       /* a stream had a text or a call */
    /* For printers of a stream by parts: */
    const struct wire_choice *said;
    int n_parts; /* that were begun; the last of them is open where in_part */
    bool in_part;
    int64_t sequence; /* of the next event */
};
/* Places an event's tokens, whose offsets count bytes of all that the model wrote, in the answer. In a choice that has been nothing but text
 * so far the two are the same; from a thought or a call on a token stands where the piece begins that it came with. Called with each event
 * before it is printed or kept. */
void wire_place_tokens(struct reply_event *ev, struct wire_growing *g);

/* Events of a stream, each "data: {...}\n\n" (stream.c). What they say together is what wire_print_full() says of the same reply events. */
void wire_event_open(struct buf *b, const struct wire_reply *r, int choice);
/* TEXT, THOUGHT or CALL; nothing where there is nothing to say. Plain completions have no place for the latter two: their generations are read
 * as plain text. */
void wire_stream_piece(struct buf *b, const struct wire_reply *r, struct wire_growing *g,
                       const struct reply_event *ev);
/* CHOICE_END. raw_output: printed JSON, or NULL. */
void wire_stream_end(struct buf *b, const struct wire_reply *r, const struct wire_growing *g,
                     const struct reply_event *ev, const char *raw_output);
void wire_event_usage(struct buf *b, const struct wire_reply *r,
                      const struct usage *u); /* nothing when not asked for */
void wire_event_fault(struct buf *b, const struct wire_request *w, enum fault_kind kind, const char *message);

/* logprobs.c: the value of "logprobs" for a piece. */
void wire_logprobs(struct buf *b, const struct wire_request *w, const struct tokenizer *t,
                   const struct wire_piece *p);
/* Code points in text[len]. */
size_t wire_chars(const char *text, size_t len);
/* messages.c: an array of {role, content, ...} as request.h has it, into q->messages and q->picture; what is wrong is named by its place. strict: members that no API
 * defines are refused. paired: every result must answer a call of the assistant's turn before it, and every call be answered. */
bool wire_messages(const json_t *in, bool strict, bool paired, struct gen_request *q, struct fault *f);

/* message_pictures.c, for messages.c. A part of the k-th place of messages[i] that is a picture: its file, decoded from a data URL, or where it is,
 * becomes q's next picture; the part in its plain form, new, or NULL with the fault set. wire_is_picture(): is `type` one of a picture's? */
bool wire_is_picture(const char *type);
json_t *wire_picture(const json_t *part, size_t i, size_t k, bool strict, struct gen_request *q,
                     struct fault *f);

/* calls.c, for messages.c. The calls of an assistant's message, tool_calls or function_call, as request.h has them: *out is new, or NULL where
 * there are none. Missing ids are made up where `paired` does not ask for them. Errors speak of messages[i]. */
bool wire_calls(const json_t *message, size_t i, bool strict, bool paired, json_t **out, struct fault *f);
/* Keeps in `called`, by name, the id of each function's latest call, which a message of the role function answers. */
bool wire_calls_note(json_t *called, const json_t *calls, struct fault *f);
/* `paired` above, over the messages as they came and as they were brought to one form. */
bool wire_calls_paired(const json_t *in, const json_t *messages, struct fault *f);

#endif
