/* batch_rows.h - batches of requests as the store has them, and the answers of their lines. How answers come there is account/line_answer.h's.
 *
 * A batch goes validating -> in_progress -> finalizing -> completed; or to failed when a line of its file is wrong, to expired when its time is
 * over, or by cancelling to cancelled. Only the process that works on batches moves it, but for who makes and who cancels it. */
#ifndef HEARTH_SERVICE_BATCH_BATCH_ROWS_H
#define HEARTH_SERVICE_BATCH_BATCH_ROWS_H

#include "service/batch/file_rows.h"

enum batch_state {
    BATCH_VALIDATING,
    BATCH_FAILED,
    BATCH_IN_PROGRESS,
    BATCH_FINALIZING,
    BATCH_COMPLETED,
    BATCH_EXPIRED,
    BATCH_CANCELLING,
    BATCH_CANCELLED,
    N_BATCH_STATES
};
const char *batch_state_name(enum batch_state s); /* "in_progress" */

struct batch_row {
    char id[FILE_ID], owner[FILE_OWNER], asker[80], address[46], endpoint[64];
    char input_file[FILE_ID], output_file[FILE_ID], error_file[FILE_ID]; /* "": none */
    int64_t window_s;
    char *metadata, *errors; /* JSON, "" for none; malloc'ed */
    enum batch_state state;
    int64_t total, done, failed; /* lines: all, answered well, answered with an error */
    int64_t made_ms, expires_ms;
    int64_t at_ms[N_BATCH_STATES]; /* when it came to a state; 0: never. Of VALIDATING: 0 */
};
void batch_row_free(struct batch_row *r);

bool batch_rows_add(struct store *s, const struct batch_row *r, struct err *e);
/* owner NULL: anyone's. ERR_NOT_FOUND. *out is batch_row_free()'s. */
bool batch_rows_get(struct store *s, const char *owner, const char *id, struct batch_row *out, struct err *e);
/* Up to `limit` of an owner, the latest first, behind `after` ("": from the first). */
bool batch_rows_list(struct store *s, const char *owner, const char *after, int limit,
                     void (*fn)(void *arg, const struct batch_row *r), void *arg, bool *more, struct err *e);
/* What is not over becomes cancelling. ERR_REQUEST: it is over. */
bool batch_rows_cancel(struct store *s, const char *owner, const char *id, int64_t now_ms, struct err *e);

/* ---- for who works on them ----------------------------------------------------------------------------------------- */

/* Up to `limit` that are not over, the oldest first. */
bool batch_rows_open(struct store *s, int limit, void (*fn)(void *arg, const struct batch_row *r), void *arg,
                     struct err *e);
/* From one state to the next, with its time; what is in another state by now (it was cancelled) stays, and *moved says so. total, errors: written
 * with it; total -1 and errors NULL: as they are. */
bool batch_rows_move(struct store *s, const char *id, enum batch_state from, enum batch_state to,
                     int64_t now_ms, int64_t total, const char *errors, bool *moved, struct err *e);
/* The end: its files get their rows (NULL: there is none), its answers go, in one transaction. */
bool batch_rows_close(struct store *s, const char *id, enum batch_state to, int64_t now_ms,
                      const struct file_row *output, const struct file_row *errors, struct err *e);

/* Every line that has its answer. */
bool batch_lines_each(struct store *s, const char *id, void (*fn)(void *arg, int64_t line), void *arg,
                      struct err *e);
struct batch_answer {
    int64_t line, status;
    const char *request, *body; /* until fn returns */
};
/* Up to `limit` answers behind a line, in the order of lines. */
bool batch_lines_page(struct store *s, const char *id, int64_t after, int limit,
                      bool (*fn)(void *arg, const struct batch_answer *a, struct err *e), void *arg,
                      struct err *e);
/* Inside a transaction. */
bool batch_lines_has(struct session *c, const char *id, int64_t line, bool *has, struct err *e);

#endif
