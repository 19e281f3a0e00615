/* batch_run.h - one open batch while it is worked on: its file, which of its lines have answers, and what is wrong with them. For batch_runner.c.
 *
 * Threads  the runner's alone. */
#ifndef HEARTH_HTTP_BATCH_RUN_H
#define HEARTH_HTTP_BATCH_RUN_H

#include "http/json_in.h"
#include "service/batch/batch_rows.h"
#include "service/batch/line_reader.h"

struct batch_run {
    struct batch_run *next;
    struct batch_row row; /* its counts are as they were when it was opened */
    struct file_row input;
    int fd;
    struct line_reader reader;
    bool at_end;             /* every line was looked at */
    unsigned char *answered; /* a bit a line */
    size_t answered_bytes;
    bool no_memory;
    int n_working;     /* of its lines */
    double not_before; /* clock_seconds(): nothing of it is begun before */
    double not_closed_before;

    struct seen *seen; /* custom_ids, while it is validated */
    struct buf errors; /* of its lines, as the batch shows them */
    int n_errors;
    int64_t n_lines;
};

/* Takes over *row. ERR_NOT_FOUND: its file is gone. */
bool batch_run_open(struct batch_run **out, struct batch_row *row, struct store *s, struct file_folder *f,
                    size_t most_line, struct err *e);
void batch_run_free(struct batch_run *r);

/* Looks at some lines more. *over: at all of them, and r->errors has what is wrong ("" for nothing). */
bool batch_run_validate(struct batch_run *r, const struct json_limits *l, int64_t most_lines, bool *over,
                        struct err *e);
/* Back to the first line. */
void batch_run_rewind(struct batch_run *r, size_t most_line);

void batch_run_answered(struct batch_run *r, int64_t line);
/* The next line without an answer: its number and its body as it is sent. *line 0: there is none any more. */
bool batch_run_next(struct batch_run *r, const struct json_limits *l, int64_t *line, struct buf *body,
                    struct err *e);

#endif
