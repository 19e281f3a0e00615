/* reply.h - what a model answers, as dialects print it: between the engines' events and the wire.
 *
 * An engine says text and tokens of a choice, or pixels; a dialect prints answers, thoughts, calls of tools, pictures. A reader, one per
 * family of models, tells the ones from the others while the text comes. Nothing above service/ sees an engine's event.
 *
 * Ownership  what an event points to is its own and goes with reply_event_free(); stop_hit lives as long as its generation.
 * Threads    a struct reply has one user at a time. */
#ifndef HEARTH_SERVICE_REPLY_H
#define HEARTH_SERVICE_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "service/request.h"
#include "service/usage.h"
#include "text/sampler.h"

struct lm_event;
struct lm_usage;

/* ---- events -------------------------------------------------------------------------------------------------------- */

enum reply_type {
    REPLY_TEXT,       /* a piece of a choice's answer */
    REPLY_THOUGHT,    /* of what the model thinks before it answers */
    REPLY_CALL,       /* of a call of a tool: first its id and name, then its arguments piece by piece */
    REPLY_CHOICE_END, /* why, and the usage so far */
    REPLY_PROGRESS,   /* a step of a picture is done */
    REPLY_PICTURE,    /* a picture is done */
    REPLY_DONE,       /* the last event: the request's usage */
    REPLY_ERROR       /* the last event, in its place */
};

enum reply_finish { REPLY_STOP, REPLY_LENGTH, REPLY_CALLS, REPLY_FAILED, REPLY_CANCELLED, REPLY_FILTERED };

struct reply_token { /* what text was made of; only when log-probabilities or ids were asked for */
    int32_t id;
    struct pick pick;
    size_t text_offset, text_len; /* bytes of the choice's whole output before it, and its own */
    bool from_prompt;             /* echoed */
};

struct reply_call {
    int index;       /* of the call within its choice, from 0 */
    char *id, *name; /* in the call's first event; NULL in those that follow */
};

struct reply_picture {
    int step, steps;      /* PROGRESS: so many of so many are done */
    unsigned char *bytes; /* PICTURE: the file; PROGRESS: a small JPEG, or NULL */
    size_t len;
    int width, height;
    uint64_t seed;       /* that draws it alone */
    char file[64];       /* its name where it is kept for a URL (files.h), else "" */
    bool nsfw, filtered; /* what the classifier says; whether the policy changed the picture */
};

struct reply_event {
    enum reply_type type;
    int index;          /* of the choice, prompt by prompt, or of the picture */
    struct usage usage; /* CHOICE_END: so far, of the whole request; DONE, ERROR: all of it */
    struct err error;   /* ERROR */

    char *text; /* TEXT, THOUGHT: whole characters, ended by 0; CALL: a piece of the arguments' JSON */
    size_t len; /* may be 0 with tokens, of THOUGHT too, and in a call's first event */
    struct reply_token *tokens;
    int n_tokens;
    struct reply_call call;   /* CALL */
    enum reply_finish finish; /* CHOICE_END */
    const char *stop_hit;     /* CHOICE_END: the stop string that ended it, or NULL */

    struct reply_picture picture; /* PROGRESS, PICTURE */
};
void reply_event_free(struct reply_event *ev);

/* ---- readers ------------------------------------------------------------------------------------------------------- */

struct reply_out;

/* How one family of models writes its answers. A reader is fed a choice's text behind its thought as it comes, cut anywhere between two
 * characters, and says what it understood; what may still become a mark it keeps in its state. The same text gives the same answer however
 * it was cut. */
struct reply_reader {
    const char *family;
    size_t state_bytes; /* of each choice; zeroed before the first feed */
    bool (*feed)(void *state, const char *text, size_t len, struct reply_out *out); /* false: no memory */
    /* The choice ends: says what was kept; or NULL. cut: it was not the model that ended it, so what could only have become a mark or
     * the head of a call is not said. */
    bool (*flush)(void *state, bool cut, struct reply_out *out);
    void (*release)(void *state); /* of what the state points to; or NULL */
    bool short_ids; /* of calls: nine letters and digits, all that the family's template takes */
};
extern const struct reply_reader reply_plain; /* all text is the answer */

/* For readers; false when there is no memory, which is to be returned. Tokens of what was fed go with the first event that comes of it, or,
 * when it was kept, with the next one; so saying nothing at all (len 0) still lets tokens out. */
bool reply_say(struct reply_out *out, const char *text, size_t len);
/* Only what begins before `end` in the choice's whole text goes along of the tokens. */
bool reply_think(struct reply_out *out, const char *text, size_t len, size_t end);
/* Opens the choice's next call under an id of its own; arguments that follow are its, up to reply_call_end(). A choice that ends before that
 * never says that it ended well: its finish is REPLY_LENGTH at best. */
bool reply_call(struct reply_out *out, const char *name);
bool reply_arguments(struct reply_out *out, const char *piece, size_t len);
void reply_call_end(struct reply_out *out);

/* ---- thoughts ------------------------------------------------------------------------------------------------------ */

/* What a reply is made with. Thoughts are taken out before the reader sees anything, so a call inside a thought is none. They stand in front
 * of the answer, between their marks; a mark further on is text. One whose closing mark never comes reaches to the end.
 * INLINE  the text has them and their marks as the model wrote them; where the prompt opened the thought the text begins with think_open and
 *         a line break, as if the model had written them.
 * SPLIT   THOUGHT events without the marks and without white space at either end, and the answer begins with what is no white space; an
 *         empty thought is no event. Tokens of thought and marks go with THOUGHT events (of which one may have no text, for them), never
 *         with the answer.
 * HIDDEN  as SPLIT, but nothing is said of thoughts, nor of their tokens. */
struct reply_style {
    const struct reply_reader *reader; /* of the answer */
    const char *think_open,
        *think_close;       /* borrowed as long as the reply lives; NULL: the model does not think */
    bool begins_inside;     /* the prompt has opened the thought */
    enum thought_form form; /* AS_SET is INLINE */
    uint64_t id_seed;       /* of calls' ids, for tests; 0: as chance will have it */
};

/* ---- a generation's events ------------------------------------------------------------------------------------------ */

struct usage reply_usage(const struct lm_usage *u);

struct reply;
bool reply_new(struct reply **out, const struct reply_style *style, int n_choices, struct err *e);
void reply_free(struct reply *r);
/* Takes over what *ev points to; its choice is below n_choices. Without memory the reply ends with an error. */
void reply_feed(struct reply *r, struct lm_event *ev);
/* The next event; false when nothing has come of what was fed yet. After DONE or ERROR nothing more comes. */
bool reply_next(struct reply *r, struct reply_event *ev);

#endif
