/* measured.c - see measured.h. */
#include "service/account/measured.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ROWS = 101,     /* of a model that are looked at */
    LOOK_AT = 20000 /* rows of all models that they are looked for in */
};

struct sample {
    int64_t steps, pixels; /* of one picture */
    double value;
};

struct reading {
    const char *model;
    bool pictures;
    struct sample v[ROWS];
    int n;
};

static bool take(void *arg, const struct store_row *row, struct err *e)
{
    struct reading *r = arg;
    const int64_t pictures = row->v[0].number, steps = row->v[1].number, pixels = row->v[2].number,
                  tokens = row->v[3].number, queue = row->v[4].number, first = row->v[5].number,
                  total = row->v[6].number;
    (void)e;
    struct sample *s = &r->v[r->n];
    if (r->pictures && (!steps || total <= queue)) return true;
    if (!r->pictures && (tokens < 2 || total <= first)) return true;
    *s = r->pictures
             ? (struct sample){ steps, pixels / pictures, (double)(total - queue) * 1e-6 / (double)steps }
             : (struct sample){ .value = (double)(tokens - 1) / ((double)(total - first) * 1e-6) };
    r->n++;
    return true;
}

static bool read_rows(void *arg, struct session *c, struct err *e)
{
    struct reading *r = arg;
    /* Models are asked in turns: what is far back says little of today, and is not looked for. */
    static const char start[] = "SELECT pictures, steps, pixels, completion, queue_us, first_us, total_us "
                                "FROM ledger WHERE model = $1 "
                                "AND seq > (SELECT seq FROM ledger_head WHERE one = 1) - $2 AND how = 'done' "
                                "AND route IN ('', 'here') "
                                "AND ";
    char sql[500];
    snprintf(sql, sizeof sql, "%s%s ORDER BY seq DESC LIMIT $3", start,
             r->pictures ? "pictures > 0" : "completion > 1");
    return session_run(
        c, sql, STORE_ARGS(STORE_V(r->model), STORE_V((int64_t)LOOK_AT), STORE_V((int64_t)ROWS)), take, r, e);
}

static int ascending(const void *a, const void *b)
{
    const double x = ((const struct sample *)a)->value, y = ((const struct sample *)b)->value;
    return (x > y) - (x < y);
}

static void middle(struct sample *v, int n, struct measured *out)
{
    out->rows = n;
    qsort(v, (size_t)n, sizeof *v, ascending);
    out->value = n ? v[n / 2].value : 0;
}

bool measured_step(struct store *s, const char *model, int64_t pixels, struct measured *out, struct err *e)
{
    struct reading r = { .model = model, .pictures = true };
    struct sample same[ROWS];
    int n = 0;
    *out = (struct measured){ 0 };
    if (!store_read(s, read_rows, &r, e)) return false;
    for (int i = 0; i < r.n; i++)
        if (r.v[i].pixels == pixels) same[n++] = r.v[i];
    if (n >= MEASURED_LEAST) {
        middle(same, n, out);
        return true;
    }
    for (int i = 0; i < r.n; i++)
        if (r.v[i].pixels) r.v[i].value *= (double)pixels / (double)r.v[i].pixels;
    middle(r.v, r.n, out);
    out->like = true;
    return true;
}

bool measured_tokens(struct store *s, const char *model, struct measured *out, struct err *e)
{
    struct reading r = { .model = model };
    *out = (struct measured){ 0 };
    if (!store_read(s, read_rows, &r, e)) return false;
    middle(r.v, r.n, out);
    return true;
}
