/* scheduler_inside.h - the scheduler as its own files see it: scheduler.c (queue, pages, admission, ends, the thread) and scheduler_step.c
 * (what goes into a step, and what is drawn). */
#ifndef HEARTH_LM_SCHEDULER_INSIDE_H
#define HEARTH_LM_SCHEDULER_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/shares.h"
#include "lm/arch.h"
#include "lm/job.h"
#include "lm/kvcache.h"
#include "lm/masks.h"
#include "lm/prefix_store.h"
#include "lm/radix.h"
#include "lm/scheduler.h"

enum { MIN_CHUNK = 16 }; /* rows of a prompt that a step takes at least */
/* With more shares than places in a batch, one gives way after so many rows more than another had: a few seconds of reading, against which the
 * pages that are found again in the tree cost little. */
#define TURN_ROWS 256.0

struct job_share { /* whoever asks by one key */
    struct share s;
    struct lm_job *queue, *queue_last; /* jobs of which nothing has begun, in order of arrival */
    uint64_t next_number;
    _Atomic uint64_t head; /* number of the queue's first job */
    int n_running;         /* of its sequences in running[]: the thread's */
};

struct piece { /* one sequence's part of the present step */
    struct seq *seq;
    int row, n_rows;
    int n_guess; /* of its rows, the last ones */
};

struct draw { /* rows of logits and who wants tokens from them */
    struct seq *seq;
    float *logits;       /* [1 + n_guess, n_vocab] */
    int row;             /* the first one's among those of the step */
    int n_guess, n_pick; /* rows behind guesses; draws that count */
};

struct scheduler {
    struct scheduler_config c;
    struct radix *radix;
    struct masks *masks;      /* made for the first sequence that is steered */
    const struct kv_plan *kv; /* the cache's */
    pthread_t thread;
    bool started;

    pthread_mutex_t mu; /* guards what follows, up to the blank line */
    pthread_cond_t cond;
    struct shares shares; /* of struct job_share */
    int n_waiting;        /* jobs in their queues */
    struct lm_job *gone;  /* those of them that were cancelled, for the thread to end */
    uint64_t next_ticket;
    int n_queued; /* choices that have not begun, also of jobs that have */
    bool stop, woken;
    struct lm_stats stats;
    struct err failure; /* ERR_NONE: none; written once, by the thread */

    struct lm_job *open; /* jobs whose prompt is ready and whose other choices may begin; ascending tickets */
    struct seq *again;   /* sequences that gave way, ascending tickets */
    int n_again;
    bool full;                        /* the next in order found no pages; until something leaves */
    const struct job_share *full_for; /* ... whose it was: another may be served before it by then */
    struct seq **running;             /* ascending tickets */
    int n_running;
    struct lm_stats count; /* the thread's own; copied to stats once a step */
    double decode_s;       /* a step without prompts, smoothed */
    double row_cost_s;     /* what a prompt row adds to it, smoothed */

    struct step_costs costs;
    struct guess_odds odds;    /* of all sequences */
    struct guess_offer *offer; /* [max_batch] */

    int max_rows, max_draws; /* max_draws: rows of logits */
    int32_t *ids, *pos, *out_row;
    float *embd;   /* [max_rows, n_embd] of rows that are given, where the model sees pictures; else NULL */
    float *hidden; /* [max_rows, n_embd], made for the first vector that is wanted; else NULL */
    struct lm_seq *attn; /* [n_group][n_piece] */
    struct piece *piece;
    int n_piece, *plan;
    struct draw *draw;
    dev_float *logits; /* [max_draws, n_vocab] */
    int n_draw;        /* entries of draw[] that this step filled */
    atomic_int next_draw;
};

/* A free page, at an idle one's cost; -1: there is none. */
int32_t scheduler_new_page(struct scheduler *s);
/* Pages that leave the tree from now on go to the disk; and all that are there. */
void scheduler_keep_evicted(struct scheduler *s);
void scheduler_keep_all(struct scheduler *s);
/* Tells the tree of the sequence's first n tokens; gives all of its pages back. */
void scheduler_tell_tree(struct scheduler *s, struct seq *q, int n);
void scheduler_give_up_pages(struct scheduler *s, struct seq *q);
/* The sequence, which has no pages, gets those of the longest prefix that is known. */
void scheduler_start_from_prefix(struct scheduler *s, struct seq *q);

/* Guesses for the sequences that decode, n_plain of them, in a step without prompts: into their `ahead`. */
void scheduler_guess(struct scheduler *s, int n_plain);
/* Which of the step's rows behind the sequence's guesses (0: before the first) its present last token is, -1: none. */
int scheduler_row_ahead(const struct seq *q);
/* The step's guesses have been drawn: how many were right. */
int scheduler_settle(struct scheduler *s, struct seq *q);
/* Does the token end a choice? */
bool scheduler_ends(const struct scheduler *s, const struct terms *t, int32_t id);

/* Ids from here on are padding of the vocabulary. */
static inline int scheduler_n_valid(const struct scheduler *s)
{
    const int n = tokenizer_n_vocab(s->c.tok);
    return n < s->c.shape->n_vocab ? n : s->c.shape->n_vocab;
}

static inline int rows_left(const struct seq *q) { return q->n_token - q->n_past; }

/* Pages for the next n_rows tokens of running[i]; the youngest make room. false: it had to go itself. */
bool scheduler_make_room(struct scheduler *s, int i, int n_rows);
/* Lays the batch out: its rows. Sequences may leave running[] meanwhile. */
int scheduler_compose(struct scheduler *s, struct lm_batch *b);
/* Looks at what the step's pieces have of pictures and puts the rows into the batch. The device is held. */
bool scheduler_look(struct scheduler *s, struct lm_batch *b, struct err *e);
/* Log-probabilities of prompt tokens (echo), or plain logits (tests): more rows than draws, block by block. */
bool scheduler_score(struct scheduler *s, const struct piece *p, struct err *e);
/* What a piece's rows add to their prompt's vector, where one is wanted. */
bool scheduler_pool(struct scheduler *s, const struct piece *p, struct err *e);
/* After the forward pass, with the device still ours: logits and draws for every sequence that is complete up to now. Their number
 * into *n_draws. */
bool scheduler_draw(struct scheduler *s, int *n_draws, struct err *e);

#endif
