/* line_answer.c - see line_answer.h. */
#include "service/account/line_answer.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void line_uid(const char *batch, int64_t line, char uid[33])
{
    unsigned char hash[16];
    char name[80];
    const int n = snprintf(name, sizeof name, "%s:%" PRId64, batch, line);
    crypto_generichash(hash, sizeof hash, (const unsigned char *)name, (size_t)n, NULL, 0);
    sodium_bin2hex(uid, 33, hash, sizeof hash);
}

bool line_is_final(int status) { return status != 429 && status != 499 && status != 503; }

void line_flatten(struct buf *json)
{
    for (size_t i = 0; i < json->len; i++)
        if (json->data[i] == '\n' || json->data[i] == '\r') json->data[i] = ' ';
}

void line_answer_take(struct line_answer *out, struct ending *e)
{
    *out = (struct line_answer){ .line = e->of.line, .status = e->status };
    snprintf(out->batch, sizeof out->batch, "%s", e->of.batch);
    snprintf(out->request, sizeof out->request, "%s", e->of.id);
    out->body = buf_take(&e->answer);
}

bool line_answer_put(const struct line_answer *a, struct session *c, struct err *e)
{
    const char *batch = a->batch, *request = a->request;
    const int64_t failed = a->status >= 400;
    if (!a->body) return err_set(e, ERR_NOMEM, "out of memory");
    if (!session_run(c,
                     "INSERT INTO batch_lines (batch, line, status, request, body) VALUES ($1, $2, $3, $4, "
                     "$5) ON CONFLICT (batch, line) DO NOTHING",
                     STORE_ARGS(STORE_V(batch), STORE_V(a->line), STORE_V(a->status), STORE_V(request),
                                STORE_V(a->body)),
                     NULL, NULL, e))
        return false;
    return !session_changed(c) ||
           session_run(c, "UPDATE batches SET done = done + $1, failed = failed + $2 WHERE id = $3",
                       STORE_ARGS(STORE_V(1 - failed), STORE_V(failed), STORE_V(batch)), NULL, NULL, e);
}

void line_answer_free(struct line_answer *a)
{
    free(a->body);
    a->body = NULL;
}
