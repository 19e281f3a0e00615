#include "lm/inputs.h"

#include <stdlib.h>
#include <string.h>

static bool grow(struct inputs *in, size_t numbers, int n_seq, struct err *e)
{
    if (numbers > in->cap) {
        const size_t cap = numbers + numbers / 2;
        free(in->host);
        device_free(in->dev, in->all);
        in->all = NULL;
        in->cap = 0;
        in->host = malloc(cap * sizeof *in->host);
        in->all = in->host ? device_ints(in->dev, cap, e) : NULL;
        if (!in->all) return err_set(e, ERR_NOMEM, "no memory for the pages of %d sequences", n_seq);
        in->cap = cap;
    }
    if (n_seq > in->cap_seq) {
        free(in->seq);
        in->cap_seq = 0;
        in->seq = calloc((size_t)n_seq, sizeof *in->seq);
        if (!in->seq) return err_set(e, ERR_NOMEM, "no memory for a step of %d sequences", n_seq);
        in->cap_seq = n_seq;
    }
    return true;
}

bool inputs_set(struct inputs *in, struct device *d, const struct lm_batch *b, int n_group, struct err *e)
{
    in->dev = d;
    int max_pages = 1;
    for (int i = 0; i < b->n_seq; i++) {
        const int pages = (b->seq[i].pos0 + (int)b->seq[i].n + KV_PAGE - 1) / KV_PAGE;
        if (pages > max_pages) max_pages = pages;
    }
    const size_t rows = (size_t)b->n_rows, n_seq = (size_t)b->n_seq;
    const size_t numbers = 2 * rows + 3 * n_seq + (size_t)n_group * n_seq * (size_t)max_pages;
    if (!grow(in, numbers, b->n_seq, e)) return false;
    int32_t *at = in->host;
    memcpy(at, b->ids, rows * sizeof *at);
    memcpy(at + rows, b->pos, rows * sizeof *at);
    at += 2 * rows;
    for (int i = 0; i < b->n_seq; i++, at += 3) {
        const struct lm_seq *s = &b->seq[i];
        in->seq[i] = (struct attn_seq){ .row = s->row, .n = s->n, .pos0 = s->pos0 };
        at[0] = (int32_t)s->row;
        at[1] = (int32_t)s->n;
        at[2] = s->pos0;
    }
    for (int i = 0; i < n_group * b->n_seq; i++, at += max_pages) {
        const struct lm_seq *s = &b->seq[i];
        const int pages = (s->pos0 + (int)s->n + KV_PAGE - 1) / KV_PAGE;
        memcpy(at, s->page, (size_t)pages * sizeof *at);
        memset(at + pages, 0xff, (size_t)(max_pages - pages) * sizeof *at); /* -1: nobody looks there */
    }
    device_upload_ints(d, in->all, in->host, numbers);
    in->ids = in->all;
    in->pos = in->ids + rows;
    in->where = in->pos + rows;
    in->page = in->where + 3 * n_seq;
    in->max_pages = max_pages;
    return true;
}

void inputs_free(struct inputs *in)
{
    free(in->host);
    device_free(in->dev, in->all);
    free(in->seq);
    *in = (struct inputs){ .dev = in->dev };
}
