/* batch_parse.h - what makes a batch, and the lines of its file, as OpenAI spells them. */
#ifndef HEARTH_HTTP_DIALECTS_BATCH_PARSE_H
#define HEARTH_HTTP_DIALECTS_BATCH_PARSE_H

#include <jansson.h>

#include "http/json_in.h"
#include "service/batch/batch_rows.h"

/* ---- POST /v1/batches ---------------------------------------------------------------------------------------------- */

/* Its input_file, endpoint, window_s and metadata are set; endpoint without "/v1" in front is none. On failure nothing is to be freed. */
bool batch_parse(struct batch_row *out, const json_t *body, bool strict, struct fault *f);

/* ---- a line -------------------------------------------------------------------------------------------------------- */

enum { BATCH_CUSTOM_ID = 516 };

/* What is wrong with a line, as the batch's errors say it; param and code are constants. */
struct batch_fault {
    const char *code, *param;
    char msg[400];
};
struct batch_line {
    char custom_id[BATCH_CUSTOM_ID];
    json_t *root; /* the line, json_decref()'s */
    const json_t *body;
};

/* endpoint: what every line of the batch must ask. On failure *out is empty, but for the custom_id where that could be read. */
bool batch_parse_line(struct batch_line *out, const char *text, size_t len, const struct json_limits *l,
                      const char *endpoint, struct batch_fault *f);

#endif
