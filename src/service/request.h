/* request.h - what a text request means, whichever dialect it came in: chat and plain completions.
 *
 * Ownership  everything a gen_request points to belongs to it and goes with gen_request_free(). */
#ifndef HEARTH_SERVICE_REQUEST_H
#define HEARTH_SERVICE_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "service/principal.h"
#include "service/tools/tools.h"
#include "text/sampler.h"

struct ending;
struct usage;
struct tool_format;
struct word_policy;
struct word_rules;

#define REQUEST_MAX_STOP 16
#define REQUEST_MAX_STOP_IDS 64
#define REQUEST_MAX_VARS 64
#define REQUEST_MAX_PROMPTS 2048
#define REQUEST_HASH 32 /* bytes */
/* Pictures among the messages of a request: how many, and bytes of a file and pixels of one; pixels of all. */
#define REQUEST_MAX_PICTURES 30
#define REQUEST_PICTURE_BYTES (20 << 20)
#define REQUEST_PICTURE_PIXELS (32 << 20)
#define REQUEST_PICTURES_PIXELS (96 << 20)
#define REQUEST_PICTURES_S 10 /* in which all that are fetched must be there */

/* A picture among the messages, as it came. */
struct gen_picture {
    unsigned char *bytes; /* [n] a file, or NULL ... */
    size_t n;
    char *url;      /* ... where to fetch it */
    size_t message; /* in which one it stands */
    bool whole;     /* the whole picture in little will do */
};

/* An error, the request's field it is about (a string constant, or NULL), and when to come again, where that is known. */
struct fault {
    struct err err;
    const char *param;
    int retry_after_s; /* seconds; 0: as usual for such an error, which may be never */
    int64_t again_ms;  /* Unix: the same to the millisecond, where that is known; 0: it is not */
};

/* What happens when prompt and output do not fit the context. */
enum overflow {
    OVERFLOW_LOWER,    /* max_tokens is lowered; a prompt that alone is too long is an error */
    OVERFLOW_TRUNCATE, /* the oldest turns go as well; system messages and the last turn stay */
    OVERFLOW_ERROR     /* both are errors */
};

struct prompt { /* text, or token ids taken as they are */
    char *text;
    size_t len;
    int32_t *ids;
    size_t n_ids;
};

/* Whether the model is to think before it answers. */
enum thinking { THINKING_AS_IT_IS, THINKING_OFF, THINKING_ON };

/* How thoughts are shown, and which of earlier turns the model sees again. */
enum thought_form {
    THOUGHT_AS_SET, /* as the catalog says of the model */
    THOUGHT_INLINE, /* in the text, between their marks */
    THOUGHT_SPLIT,  /* apart from it */
    THOUGHT_HIDDEN  /* not at all; they count all the same */
};
enum thought_history {
    HISTORY_AS_TEMPLATE,
    HISTORY_NONE,        /* none */
    HISTORY_INTERLEAVED, /* those behind the last message of the user */
    HISTORY_ALL
};

/* What the answer must be. */
enum form_kind {
    FORM_ANY,     /* anything */
    FORM_JSON,    /* any JSON object */
    FORM_SCHEMA,  /* JSON that meets `schema` */
    FORM_GRAMMAR, /* what GBNF `text` derives from root */
    FORM_REGEX /* what `text`, a regular expression as ECMA-262 has them, matches from its beginning to its end */
};
struct answer_form {
    enum form_kind kind;
    json_t *schema;
    char *text;
    size_t len;
    const char *from; /* the field that said so, for faults */
    bool strict;      /* schema: refused where it is not of the kind that OpenAI's strict mode takes */
    bool closed;      /* schema: objects that list properties admit no others, whatever it says of them */
};

struct gen_request {
    char *model; /* as the client wrote it */
    /* Chat: a checked array of {role, content, ...}; content is a string or an array of parts {"type": "text", "text": ...} and, in a user's
     * message, {"type": "image", "picture": which of those below}. An assistant's may have tool_calls [{"id", "type":
     * "function", "function": {"name", "arguments": a JSON object as text}}], and then content may be null; a message of the role "tool" has a tool_call_id. NULL: completion. */
    json_t *messages;
    struct gen_picture *picture; /* [n_pictures], in the messages' order */
    int n_pictures;
    const char *image_hosts; /* borrowed: from where pictures are fetched (picture_fetch.h); NULL: nowhere */
    json_t *
        template_vars; /* chat: variables for the model's template, by names that are free for it; NULL: none */
    bool loose_vars;   /* those that the template does not ask for are left out, not refused */
    enum thinking thinking;
    char effort[16];           /* with THINKING_ON: the level, "" when none was said */
    const char *thinking_from; /* the field that said so, for the fault */
    int64_t
        think_budget; /* tokens of a thought, after which it is closed for the model; -1: as the catalog has it for the effort */
    enum thought_form thought_form;
    enum thought_history thought_history;
    struct answer_form answer;
    struct tool_set tools;
    const struct tool_format *tool_format; /* in which the model writes calls; NULL: as its template tells */
    struct prompt *prompts;
    int n_prompts;
    struct prompt predicted; /* what the answer will be, as the client foresees; empty: nothing */

    int64_t max_tokens;         /* -1: what fits */
    bool max_tokens_is_default; /* not the client's wish, so never a reason to refuse */
    enum overflow overflow;
    int64_t prompt_truncate_len; /* tokens; 0: off */

    struct sampler_params sampling; /* bias is owned here */
    struct logit_bias *bias;
    bool has_seed;
    char *stop[REQUEST_MAX_STOP];
    int n_stop;
    int32_t stop_ids[REQUEST_MAX_STOP_IDS]; /* end a choice, as the model's own end tokens do */
    int n_stop_ids;
    int n, best_of; /* choices per prompt; best_of >= n are generated */
    bool ignore_end, echo, return_token_ids;
    int echo_last;                  /* 0: with echo, the whole prompt */
    bool unsafe_tokens;             /* control tokens spelled in the client's text count as such */
    const struct word_rules *words; /* borrowed, with the policy: what answers may not say; NULL: anything */
    const struct word_policy *policy; /* of which only what is refused counts */
    struct principal who;
    struct ending *ending; /* borrowed: each of its jobs holds it to its end; NULL: nobody counts */
    /* Asked once it is known what it uses at most, before any of it is computed; false, with the error, refuses it. NULL: nobody asks. */
    bool (*may)(void *may_arg, const struct usage *most, struct err *e);
    void *may_arg;
    /* Prefixes are shared only with requests of the same isolation and, if so wished, of the same key. */
    bool apart;
    unsigned char isolation[REQUEST_HASH];
    bool isolated;
};

void gen_request_init(struct gen_request *q);
void gen_request_free(struct gen_request *q);
/* Isolates the request under a key of any length; the first one counts. */
/* Whose cached prefixes it may use: REQUEST_HASH bytes. */
void gen_request_space(const struct gen_request *q, unsigned char out[REQUEST_HASH]);
void gen_request_isolate(struct gen_request *q, const char *key, size_t len);

#endif
