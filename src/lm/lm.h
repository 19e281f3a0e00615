/* lm.h - the door to the language engine: a loaded model with its scheduler thread.
 *
 * Requests  lm_submit() queues a request and returns at once. Its events are taken with lm_next(); `notify` is called from the
 *           scheduler's thread whenever there is something to take, and must not block (it wakes an HTTP connection).
 * Cancel    lm_cancel() may be called from any thread at any time; the request leaves the batch within one step.
 * Ownership lm_submit() copies what it needs. A job is released with lm_job_free(), which cancels it if it still runs.
 * Fairness  requests of several shares (keys) are served by their shares' weights, in prompts and in generated tokens, whoever sends more; one
 *           that has more than its part of the batch gives way to one that waits.
 * Promise   the same model, request and seed give the same bytes whatever else is running, however the prompt was cut
 *           into chunks and however many threads there are. */
#ifndef HEARTH_LM_LM_H
#define HEARTH_LM_LM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/shares.h"
#include "device/device.h"
#include "text/grammar/guide.h"
#include "text/jinja/chat_template.h"
#include "text/sampler.h"
#include "text/tokenizer/tokenizer.h"

struct lm;

/* What lm_options may ask for, and what 0 means. Macros, so that the options table can print them. */
#define LM_DEFAULT_CTX 8192 /* at most: the model's own, when that is less */
#define LM_DEFAULT_BATCH 32
#define LM_MAX_BATCH 1024
#define LM_DEFAULT_QUEUE 2048
#define LM_MAX_QUEUE 1048576
#define LM_DEFAULT_CHUNK 256
#define LM_MAX_CHUNK 8192
#define LM_DEFAULT_CACHE (UINT64_C(8) << 30)

/* Where guesses at the next tokens come from; they change the time that an answer takes, never the answer. AUTO: from the text so far. */
enum lm_speculate { LM_SPECULATE_AUTO, LM_SPECULATE_OFF, LM_SPECULATE_NGRAM };

struct lm_options {
    int n_ctx;         /* tokens a sequence may hold; 0: the model's own, at most LM_DEFAULT_CTX */
    int max_batch;     /* sequences that decode together; 0: LM_DEFAULT_BATCH */
    int queue_limit;   /* sequences waiting: choices of requests; 0: LM_DEFAULT_QUEUE */
    int prefill_chunk; /* prompt tokens a step; 0: LM_DEFAULT_CHUNK */
    size_t kv_bytes;   /* of the paged cache; 0: four contexts, at most a quarter of memory */
    enum kv_type kv_type;
    const char *cache_dir; /* where prefixes are kept over restarts; NULL or "": nowhere */
    size_t cache_bytes;    /* of each model there, at most; 0: LM_DEFAULT_CACHE */
    enum lm_speculate speculate;
    int guess_rows; /* 0: as many guesses as pay, by measurement; else so many for each sequence, if there are any (tests) */
    const char *
        mmproj; /* the file of a GGUF model's tower and projector; NULL or "": the one that lies beside the model, if any */
};

bool lm_load(struct lm **out, const char *path, const struct lm_options *o, struct device *dev,
             struct err *e);
/* Is there an engine for this model_type of config.json? */
bool lm_supports(const char *model_type);

/* Whether lm_load() would take the model, without a projector's file of its own, as far as that shows without reading weights: its files are
 * whole, an engine knows its architecture, the configuration and the encoding of its weights are supported, every tensor is there in its shape. *sees: it takes pictures. */
bool lm_check(const char *path, bool *sees, struct err *e);
/* Whether the model's files are those that were loaded; when not, its requests end with this error and it is to be loaded anew. */
bool lm_intact(const struct lm *m, struct err *e);
/* Cancels what runs, joins the scheduler, frees everything. Jobs must have been freed before. */
void lm_free(struct lm *m);

/* How a text's hidden states, behind the last norm, become one vector. */
enum lm_pooling {
    LM_POOL_NONE,
    LM_POOL_LAST, /* that of its last token */
    LM_POOL_MEAN,
    LM_POOL_FIRST,
    LM_POOL_MAX, /* the greatest of each number */
};

struct lm_info {
    const char *arch, *name; /* "llama"; the file's general.name or the folder's name */
    int n_layer, n_embd, n_head, n_kv_head, n_vocab, n_ctx, n_ctx_train;
    int64_t n_params;
    bool encoder;       /* it makes vectors of texts, and no text (encoder.h) */
    int n_vector;       /* numbers of a text's vector */
    int n_score;        /* it scores pairs of texts: so many numbers are a pair's "vector"; 0: it does not */
    bool score_sigmoid; /* what makes a score of such a number: a sigmoid, or nothing */
    bool unit_vectors;  /* vectors have length 1 as the model makes them */
    enum lm_pooling pooling; /* what the model was made for, as far as its files say; else LAST */
    size_t weight_bytes, kv_bytes, resident_bytes; /* resident: estimate of what the model holds */
};
const struct lm_info *lm_info(const struct lm *m);
const struct tokenizer *lm_tokenizer(const struct lm *m);
const struct chat_template *lm_chat_template(const struct lm *m); /* NULL when the model has none */
struct constraint_cache *lm_constraints(const struct lm *m);      /* over the model's vocabulary */
const char *lm_chat_template_error(const struct lm *m);           /* why a template is not usable, or NULL */

enum lm_finish { LM_FINISH_NONE, LM_FINISH_STOP, LM_FINISH_LENGTH, LM_FINISH_CANCELLED, LM_FINISH_ERROR };

enum { LM_SPACE = 32 }; /* bytes: a hash of who asks, or zeros */

/* A picture as a model that sees takes it: cut to tiles, named by what they show. Made for one model and used with it alone. */
struct lm_picture;
struct image_pixels;
bool lm_sees(const struct lm *m);
/* The token that the model's chat template prints for a picture; in its place stand those of lm_picture_tokens(). -1: it sees none. */
int32_t lm_picture_mark(const struct lm *m);
/* px has 3 channels and is only read. whole: the whole picture as one tile, however large it is. */
bool lm_picture_new(struct lm_picture **out, const struct lm *m, const struct image_pixels *px, bool whole,
                    struct err *e);
void lm_picture_unref(struct lm_picture *p); /* NULL is fine; before the model is freed */
size_t lm_picture_n_tokens(const struct lm_picture *p);
void lm_picture_tokens(const struct lm_picture *p, int32_t *ids);

struct lm_picture_at {
    struct lm_picture *picture;
    size_t at; /* its first token in the prompt; all of them stand there */
};

struct lm_prompt {
    const int32_t *ids;
    size_t n;
    size_t second;  /* of a pair of texts, its second one's first token; 0: there is one text */
    int max_tokens; /* per choice; 0 with echo scores the prompt only */
    const struct lm_picture_at *picture; /* [n_pictures], by place; a reference to each is taken */
    int n_pictures;
};

struct lm_usage {
    int prompt_tokens, cached_tokens;
    int completion_tokens, reasoning_tokens; /* summed over choices; the latter are among the former */
    int foreseen_tokens,
        unforeseen_tokens; /* of the predicted answers: those that came, and those that did not */
    double queue_s, prefill_s, ttft_s, total_s;
};

struct lm_request {
    struct lm_prompt prompt;        /* lm_submit()'s; lm_submit_all() has its own */
    int n;                          /* choices of each prompt, 1..128; they share the prompt's pages */
    struct sampler_params sampling; /* choice c draws from stream c */
    const char *const *stop;
    int n_stop;
    const int32_t *stop_ids; /* tokens that end a choice as the model's end tokens do, ignore_end or not */
    int n_stop_ids;
    /* What the answer will be, or much of it, as the client foresees: guesses are made of it, and it is counted how much came true. */
    const int32_t *predicted;
    int n_predicted;
    bool ignore_end; /* do not stop at the model's end tokens */
    /* What steers each choice, or NULL; a reference is taken. Stop strings count outside of thoughts alone. */
    struct guide_plan *guide;
    bool echo;
    int echo_last; /* events carry the prompt (or its last tokens) before the completion */
    bool want_token_ids;
    enum lm_pooling pool; /* with max_tokens 0: each prompt's vector is an event; NONE: it is not wanted */
    struct share_claim share; /* whose place among those who wait it takes, and with what weight */
    unsigned char
        space[LM_SPACE]; /* prefixes are shared only with requests of the same space, byte for byte */
    /* Called once for each prompt when it has ended, whatever its end and whether its events are taken or not, with what it used: from the
     * scheduler's thread, before its last event can be taken. Must not block. NULL: nobody asks. */
    void (*ended)(void *arg, const struct lm_usage *u);
    void *ended_arg;
};

struct lm_token {
    int32_t id;
    struct pick pick;
    size_t text_offset, text_len; /* bytes of the choice's text before it, and its own */
    bool from_prompt;
};

enum lm_event_type { LM_EV_TEXT, LM_EV_VECTOR, LM_EV_CHOICE_END, LM_EV_DONE, LM_EV_ERROR };
struct lm_event {
    enum lm_event_type type;
    int choice;
    char *text;
    size_t len; /* LM_EV_TEXT: whole characters; may be empty with tokens */
    struct lm_token *tokens;
    int n_tokens;          /* tokens that this text was made of, when logprobs or ids were asked for */
    enum lm_finish finish; /* LM_EV_CHOICE_END */
    float *vector;         /* LM_EV_VECTOR: [n_vector] of the whole prompt, or [n_score] */
    const char *stop_hit;  /* the stop string that ended the choice, or NULL */
    struct lm_usage usage; /* LM_EV_DONE (also after cancel), running totals in LM_EV_CHOICE_END */
    struct err error;      /* LM_EV_ERROR */
};
void lm_event_free(struct lm_event *ev);

struct lm_job;
/* ERR_BUSY: the queue is full. ERR_CONTEXT: a prompt (+1) does not fit n_ctx. */
bool lm_submit(struct lm *m, const struct lm_request *r, void (*notify)(void *arg), void *arg,
               struct lm_job **out, struct err *e);
/* A job for each prompt, all or none; jobs[n]. What they and their choices have in common is kept once. */
bool lm_submit_all(struct lm *m, const struct lm_request *r, const struct lm_prompt *prompts, int n,
                   void (*notify)(void *arg), void *arg, struct lm_job **jobs, struct err *e);
/* Takes the next event; false when there is none now. After LM_EV_DONE or LM_EV_ERROR nothing more comes. */
bool lm_next(struct lm_job *j, struct lm_event *ev);
/* Blocks until an event is there (for the command line); false after the last one. */
bool lm_wait(struct lm_job *j, struct lm_event *ev);
void lm_cancel(struct lm_job *j);
void lm_job_free(struct lm_job *j);
/* 0..1 of the prompt processed so far, for keep-alives; and the place in the queue among those of its share, at most (0: running). */
double lm_progress(const struct lm_job *j, int *queue_place);

struct lm_stats { /* a consistent snapshot; counters only grow */
    uint64_t requests, prompt_tokens, cached_tokens, completion_tokens, steps, step_rows, preemptions,
        cancelled;
    uint64_t guesses_right, guesses_wrong; /* computed tokens that came next, and that did not */
    uint64_t queue_looks;                  /* entries of the queue that all steps together looked at */
    int running, waiting, kv_pages_used, kv_pages_total; /* sequences */
    double step_seconds;
};
void lm_stats(struct lm *m, struct lm_stats *out);

/* The model's embedding, final hidden state, logits: for tests and tools. logits [n, n_vocab] of every prompt position. */
bool lm_logits(struct lm *m, const int32_t *ids, int n, float *logits, struct err *e);

#endif
