/* job.h - one prompt in the engine: its sequences (one a choice) and the events that wait to be taken.
 *
 * Memory    what the prompts and choices of a request have in common (stop strings and their automata, biases) is kept once and
 *           counted; a sequence takes memory when it begins and gives it back when it ends. A queued job is its prompt.
 *
 * Threads   sequences belong to the scheduler from scheduler_submit() on; the event queue is shared under `mu`. The job
 *           has two owners, the caller and the scheduler, and goes when both have let go of it.
 * Notify    is called with `notify_mu` held, so that lm_job_free() can wait for one that is under way: the caller must
 *           not hold, around lm_job_free(), a lock that its notify function takes. */
#ifndef HEARTH_LM_JOB_H
#define HEARTH_LM_JOB_H

#include <pthread.h>
#include <stdatomic.h>

#include "lm/kvplan.h"
#include "lm/lm.h"
#include "lm/vector_head.h"
#include "lm/masks.h"
#include "lm/predicted.h"
#include "lm/speculate.h"

struct scheduler;
struct job_share;

struct event_node {
    struct event_node *next;
    struct lm_event ev;
};

/* What a request says of all its prompts and choices. Read only. */
struct terms {
    atomic_int refs;
    struct sampler_params sampling;
    struct logit_bias *bias;
    struct stop_set *stops;
    int32_t *stop_ids, *predicted; /* predicted [n_predicted]: the answer that the client foresees */
    int n_stop_ids, n_predicted;
    bool ignore_end, want_tokens;
    struct guide_plan *guide;      /* or NULL */
    unsigned char space[LM_SPACE]; /* whose prefixes */
    struct share_claim share;
};

struct seq_pages { /* of one group of layers */
    int32_t
        *at; /* [cap]; first .. n-1 are pages, before them -1: given back, because no later token sees them */
    int n, first;
};

struct ngram;

/* What is guessed of a sequence (scheduler_guess.c). */
struct ahead {
    struct ngram *text; /* the first n_seen of its tokens, to look guesses up in */
    int n_seen;
    struct guess_odds odds;
    int n, base,
        match; /* guesses in the present step, 0: none; n_token before it; tokens that matched before them */
    int n_right; /* of the last step that had any: how many came */
    int32_t guess[GUESS_MAX];
    struct pick pick[GUESS_MAX]; /* draws from the guesses' rows */
};

struct seq {
    struct lm_job *job;
    struct seq *next; /* in a list of the scheduler's */
    uint64_t ticket;  /* order of arrival; the highest is the youngest */
    int choice;
    int32_t *
        token; /* prompt, then output [n_limit]; of a picture's rows its name (sight.h); NULL before job_begin() and after job_drop() */
    int n_token, n_limit;
    int n_past;  /* tokens whose keys and values are in pages */
    int n_known; /* tokens the prefix tree has been told of */
    struct seq_pages page[KV_GROUPS];
    bool admitted, finished;
    struct sampler *sampler;
    struct detok *detok;
    struct predicted predicted; /* where the answer is in that; empty without one */
    struct pick pick;           /* the last draw */
    struct ahead *ahead;        /* NULL: nothing has been guessed yet */
    struct mask mask;           /* what may be drawn next; its guide is NULL when nothing steers */
    int n_thought;              /* tokens of the thought that the job has counted */
    float *kept_logits;         /* [n_vocab] to draw from when the mask is there, or NULL */
    bool complete;              /* its prompt has been processed once */
    bool draws;                 /* in this step, from logits that are there */
    struct lm_token *held;      /* tokens whose text is not out yet, when tokens are wanted */
    int n_held, cap_held;
    size_t text_made, text_out; /* bytes of all tokens so far; bytes handed out */
};

struct lm_job {
    struct scheduler *sched;
    atomic_int refs;
    atomic_bool cancelled;
    atomic_int prompt_done; /* for lm_progress() */
    atomic_bool waits;      /* nothing of it has begun */

    struct terms *terms;
    int32_t *prompt;
    struct lm_picture_at *picture; /* [n_pictures], by place, with a reference each */
    int n_pictures;
    int n_prompt, n_choices, max_tokens;
    int echo_from;     /* first prompt token to echo; n_prompt: none */
    int score_from;    /* first prompt token whose log-probability is wanted; n_prompt: none */
    float *raw_logits; /* lm_logits(): [n_prompt, n_vocab], the caller's */
    int second;        /* of a pair of texts, where the second one begins; 0: there is one */
    enum lm_pooling pool;
    float *
        vector; /* [n_embd] what the prompt's rows have come to so far, of the last one or the sum; or NULL */
    struct lm_token
        *echo_token; /* [n_prompt - echo_from], filled while the first choice's prompt is processed */

    /* The scheduler's: */
    struct job_share *share;    /* held from submit to the job's own end */
    struct lm_job *next, *prev; /* in a list of its */
    uint64_t ticket;            /* of the first choice; the others' follow */
    uint64_t number;            /* of the job, in order of arrival */
    int n_begun;                /* choices that left the queue */
    int n_held;                 /* choices that the scheduler still has to do with, begun or not */
    bool queued, open;          /* in the list of those that wait; of those whose other choices may begin */
    int n_first;                /* choices that had their first draw */
    float *
        first_logits; /* [n_vocab] of the prompt's last token, until all choices have drawn from them; or NULL */

    struct seq *seq;   /* [n_choices] */
    bool prompt_ready; /* the first choice has processed the prompt: the others may share it */
    bool broken;       /* the prompt's logits were no numbers */
    int n_left;        /* choices not finished */
    bool ended;        /* the final event has been put in the queue */
    struct lm_usage usage;
    double t_submit, t_admit, t_first;

    pthread_mutex_t notify_mu;
    void (*notify)(void *arg);
    void *notify_arg;
    void (*told_end)(void *arg, const struct lm_usage *u); /* lm_request's `ended` */
    void *told_end_arg;

    pthread_mutex_t mu;
    pthread_cond_t cond;
    struct event_node *first, **last;
    struct event_node final; /* of DONE or ERROR: always to be had */
    bool closed;             /* the final event has been taken */
};

bool terms_new(struct terms **out, const struct lm_request *r, struct err *e);
void terms_unref(struct terms *t);

/* Copies the prompt; nothing is queued yet. Takes a reference to the terms. */
bool job_new(struct lm_job **out, const struct lm_request *r, const struct lm_prompt *p, struct terms *terms,
             int n_ctx, int n_vocab, void (*notify)(void *), void *arg, struct err *e);
void job_unref(struct lm_job *j);

/* Memory for a sequence that is to run: tokens, pages of n_group groups, sampler (for instruction sets `isa`), text stream. */
bool job_begin(struct seq *s, const struct tokenizer *tok, int n_vocab, int n_group, unsigned isa,
               struct err *e);
/* ... is not needed any more; what was handed out stays. */
void job_drop(struct seq *s);

void ahead_free(struct ahead *a);

/* The picture's row that stands at position pos of the prompt, which has one there. */
const struct lm_picture *job_row(const struct lm_job *j, int pos, int *tile, int *row);

/* A sampled token of the sequence: text that may be shown goes out. true: a stop string was completed. */
bool job_take_token(struct seq *s, const struct tokenizer *tok, const struct pick *pick);
/* The echoed part of the prompt. */
void job_echo(struct seq *s, const struct tokenizer *tok);
/* The prompt's vector, made of n_embd numbers by the head (NULL: those), goes out. */
void job_vector(struct seq *s, int n_embd, const struct vector_head *head);
/* What was held back goes out, then the choice's end; the last one is followed by DONE. */
void job_end_choice(struct seq *s, enum lm_finish finish, const char *stop_hit);
/* Ends the job at once: DONE when it was cancelled, else ERROR. */
void job_end(struct lm_job *j, const struct err *error);

#endif
