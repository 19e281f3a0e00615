/* batch_files.h - what a batch leaves: a file with the answers of its lines and one with the errors, in the order of its input. */
#ifndef HEARTH_HTTP_BATCH_FILES_H
#define HEARTH_HTTP_BATCH_FILES_H

#include "http/json_in.h"
#include "service/batch/batch_rows.h"

struct batch_files {
    struct file_row output, errors;
    bool has_output, has_errors;
};

struct batch_writing {
    struct store *store;
    struct file_folder *folder;
    const struct json_limits *json;
    const struct batch_row *batch;
    const struct file_row *input;
    size_t most_line;   /* bytes */
    bool expired;       /* why lines without an answer have none; else the batch was cancelled */
    int64_t expires_ms; /* of both files; 0: never */
};

/* Their bytes are on the disk under ids that follow from the batch's, so that doing it again after a kill ends with the same two files. The rows are
 * the caller's to write. */
bool batch_files_write(const struct batch_writing *w, struct batch_files *out, struct err *e);
/* The X-Request-Id of a line. */
void batch_request_id(const char *batch, int64_t line, char out[72]);

#endif
