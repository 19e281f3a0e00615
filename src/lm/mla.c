#include "lm/mla.h"

#include <stdlib.h>
#include <string.h>

/* ---- kv_b, turned over and cut ------------------------------------------------------------------------------------------ */

/* A head's slice of a matrix in a type that products read, with its memory. */
struct slice {
    struct matrix m;
    void *data;
    float *scale;
};

static void forget(struct slice *s)
{
    free(s->data);
    free(s->scale);
}

static size_t width(enum dtype t) { return t == DT_F32 ? 4 : 2; }

static void put(unsigned char *to, size_t i, enum dtype t, float v)
{
    uint32_t bits;
    uint16_t half;
    memcpy(&bits, &v, sizeof bits);
    if (t == DT_F32) {
        memcpy(to + 4 * i, &v, sizeof v);
        return;
    }
    half = t == DT_BF16 ? (uint16_t)(bits >> 16) : f32_to_f16(v); /* what is put as BF16 is exact in it */
    memcpy(to + 2 * i, &half, sizeof half);
}

/* Rows [row0, row0 + n) of m, turned over if asked for: [n, n_in], or [n_in, n]. */
static bool cut(struct slice *out, const struct matrix *m, int64_t row0, int64_t n, bool turn, struct err *e)
{
    const int64_t sr = m->scale_rows, sc = m->scale_cols;
    const int64_t cols = m->scale ? (m->n_in + sc - 1) / sc : 0;
    /* Scales whose blocks do not begin with the slice are multiplied in. */
    const bool apart = m->scale && (sr >= m->n_out || row0 % sr == 0);
    *out = (struct slice){ .m = { .n_out = turn ? m->n_in : n, .n_in = turn ? n : m->n_in } };
    struct matrix *to = &out->m;
    to->type = m->type == DT_F8_E4M3 && (apart || !m->scale) ? DT_BF16
               : m->type == DT_F32 || m->type == DT_F8_E4M3  ? DT_F32
               : m->type == DT_BF16                          ? DT_BF16
                                                             : DT_F16;
    const int64_t blocks = apart ? (n + sr - 1) / sr : 0; /* of rows */
    float *row = calloc((size_t)m->n_in, sizeof *row);
    out->data = calloc((size_t)(n * m->n_in), width(to->type));
    out->scale = apart ? calloc((size_t)(blocks * cols), sizeof *out->scale) : NULL;
    if (!row || !out->data || (apart && !out->scale)) {
        free(row);
        return err_set(e, ERR_NOMEM, "no memory to turn over a head's keys");
    }
    const size_t bytes = dtype_row_bytes(m->type, m->n_in);
    for (int64_t r = 0; r < n; r++) {
        dequant_row(m->type, (const unsigned char *)m->data + (size_t)(row0 + r) * bytes, row, m->n_in);
        for (int64_t i = 0; m->scale && !apart && i < m->n_in; i++)
            row[i] *= m->scale[(row0 + r) / sr * cols + i / sc];
        for (int64_t i = 0; i < m->n_in; i++)
            put(out->data, (size_t)(turn ? i * n + r : r * m->n_in + i), to->type, row[i]);
    }
    free(row);
    to->data = out->data;
    if (!apart) return true;
    const int64_t b0 = row0 / sr;
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t c = 0; c < cols; c++)
            out->scale[turn ? c * blocks + b : b * cols + c] = m->scale[(b0 + b) * cols + c];
    to->scale = out->scale;
    to->scale_rows = turn ? sc : sr;
    to->scale_cols = turn ? sr : sc;
    if (to->scale_rows > to->n_out) to->scale_rows = to->n_out;
    if (to->scale_cols > to->n_in) to->scale_cols = to->n_in;
    return true;
}

static bool make(struct layer_maker *mk, struct linear **out, const struct matrix *m, const char *name,
                 int head, struct err *e)
{
    if (!linear_new(mk->dev, out, m, 1, LINEAR_CONCAT, NULL, 1, e))
        return err_wrap(e, "%s, head %d", name, head);
    layers_made(mk, *out);
    return true;
}

/* A layer of rows [row0, row0 + n) of the matrix. Where nothing has to be changed it is made of the file's bytes. */
static bool make_slice(struct layer_maker *mk, struct linear **out, const struct tensor_slot *t,
                       const struct matrix *m, int64_t row0, int64_t n, bool turn, int head, struct err *e)
{
    if (!turn && !m->scale && m->type != DT_F8_E4M3) {
        struct matrix rows = *m;
        rows.data = (const unsigned char *)m->data + (size_t)row0 * dtype_row_bytes(m->type, m->n_in);
        rows.n_out = n;
        return make(mk, out, &rows, t->t->name, head, e);
    }
    struct slice s;
    const bool ok = cut(&s, m, row0, n, turn, e) && make(mk, out, &s.m, t->t->name, head, e);
    forget(&s);
    return ok;
}

static bool load_heads(struct layer_maker *mk, struct mla *a, const struct lm_shape *s,
                       const struct mla_slots *t, struct err *e)
{
    const struct lm_latent *l = &s->latent;
    a->k = calloc((size_t)s->n_head, sizeof *a->k);
    a->v = calloc((size_t)s->n_head, sizeof *a->v);
    if (!a->k || !a->v) return err_set(e, ERR_NOMEM, "no memory for %d heads", s->n_head);
    a->n_head = s->n_head;
    if (t->kv_b->t) {
        const struct matrix m = slot_matrix(t->kv_b, 0, mk->scales);
        for (int h = 0; h < s->n_head; h++) {
            const int64_t row = (int64_t)h * (l->nope + l->v);
            if (!make_slice(mk, &a->k[h], t->kv_b, &m, row, l->nope, true, h, e) ||
                !make_slice(mk, &a->v[h], t->kv_b, &m, row + l->nope, l->v, false, h, e))
                return false;
        }
        weights_forget(mk->w, t->kv_b->t);
        return true;
    }
    for (int h = 0; h < s->n_head; h++) {
        const struct matrix k = slot_matrix(t->k_b, h, mk->scales), v = slot_matrix(t->v_b, h, mk->scales);
        if (!make_slice(mk, &a->k[h], t->k_b, &k, 0, l->kv_rank, false, h, e) ||
            !make_slice(mk, &a->v[h], t->v_b, &v, 0, l->v, false, h, e))
            return false;
    }
    weights_forget(mk->w, t->k_b->t);
    weights_forget(mk->w, t->v_b->t);
    return true;
}

bool mla_load(struct layer_maker *mk, struct mla *a, const struct lm_shape *s, const struct mla_slots *t,
              struct err *e)
{
    const bool two = s->latent.q_rank > 0;
    const struct tensor_slot *down[] = { two ? t->q_a : t->q, t->kv_a }, *q[] = { t->q };
    return layers_norm(mk, &a->kv_norm, t->kv_norm, false, e) &&
           (!two || layers_norm(mk, &a->q_norm, t->q_norm, false, e)) &&
           layers_linear(mk, &a->down, down, 2, LINEAR_CONCAT, NULL, e) &&
           (!two || layers_linear(mk, &a->q, q, 1, LINEAR_CONCAT, NULL, e)) && load_heads(mk, a, s, t, e);
}

void mla_free(struct mla *a)
{
    for (int h = 0; h < a->n_head; h++) {
        linear_free(a->k[h]);
        linear_free(a->v[h]);
    }
    linear_free(a->down);
    linear_free(a->q);
    free(a->k);
    free(a->v);
    *a = (struct mla){ 0 };
}

/* ---- a step --------------------------------------------------------------------------------------------------------------- */

struct widths {
    size_t down, q, wide, latent; /* of a row */
};

static struct widths widths_of(const struct lm_shape *s)
{
    const struct lm_latent *l = &s->latent;
    const size_t heads = (size_t)s->n_head, q = heads * (size_t)(l->nope + l->rope),
                 kv = (size_t)(l->kv_rank + l->rope);
    return (struct widths){ .down = (l->q_rank ? (size_t)l->q_rank : q) + kv,
                            .q = l->q_rank ? q : 0,
                            .wide = heads * kv,
                            .latent = heads * (size_t)l->kv_rank };
}

size_t mla_room_cost(const struct lm_shape *s, size_t rows)
{
    const struct widths w = widths_of(s);
    return device_arena_cost(rows * w.down) + device_arena_cost(rows * w.q) +
           device_arena_cost(rows * w.wide) + device_arena_cost(rows * w.latent);
}

void mla_room_take(struct mla_room *r, const struct lm_shape *s, struct device_arena *a, size_t rows)
{
    const struct widths w = widths_of(s);
    r->down = device_arena_floats(a, rows * w.down);
    r->q = w.q ? device_arena_floats(a, rows * w.q) : NULL;
    r->wide = device_arena_floats(a, rows * w.wide);
    r->latent = device_arena_floats(a, rows * w.latent);
}

/* y[r, h, :] = w[h] x[r, h, :]; heads dx and dy apart in their rows. */
static void each_head(struct device *d, struct linear *const *w, int n_head, const dev_float *x, int64_t ldx,
                      int64_t dx, dev_float *y, int64_t ldy, int64_t dy, int64_t rows)
{
    op_linear_each(
        d,
        &(struct linear_each_args){
            .w = w, .n_w = n_head, .x = x, .ldx = ldx, .dx = dx, .y = y, .ldy = ldy, .dy = dy, .n = rows });
}

void mla_run(struct device *d, const struct mla *a, const struct mla_step *st, const struct mla_room *r,
             const dev_float *x, dev_float *out)
{
    const struct lm_shape *s = st->shape;
    const struct lm_latent *l = &s->latent;
    const int64_t rows = st->rows, head = l->nope + l->rope, kv = l->kv_rank + l->rope;
    const int64_t ld_down = linear_n_out(a->down), ld_wide = s->n_head * kv;
    op_linear(d, &(struct linear_args){ .w = a->down,
                                        .x = x,
                                        .ldx = s->n_embd,
                                        .y = r->down,
                                        .ldy = ld_down,
                                        .n = rows,
                                        .norm = st->norm,
                                        .eps = s->eps });
    const dev_float *q = r->down;
    int64_t ldq = ld_down;
    if (a->q) {
        q = r->q;
        ldq = s->n_head * head;
        op_linear(d, &(struct linear_args){ .w = a->q,
                                            .x = r->down,
                                            .ldx = ld_down,
                                            .y = r->q,
                                            .ldy = ldq,
                                            .n = rows,
                                            .norm = a->q_norm,
                                            .eps = s->eps });
    }
    dev_float *c = r->down + ld_down - kv; /* [rows, kv_rank + rope] */
    op_rmsnorm(d, c, ld_down, c, ld_down, rows, l->kv_rank, a->kv_norm, s->eps);
    struct rope_args rope = {
        .x = c + l->kv_rank, .ld = ld_down, .n = rows, .n_head = 1, .head_dim = l->rope
    };
    rope.n_rot = s->rope[0].n_rot;
    rope.pos = st->pos;
    rope.freq = st->freq;
    rope.mscale = (float)s->rope[0].mscale;
    rope.layout = s->rope_layout;
    op_rope(d, &rope);
    /* wide [rows, n_head, kv_rank + rope]: the query as the latent's keys meet it. */
    each_head(d, a->k, s->n_head, q, ldq, head, r->wide, ld_wide, kv, rows);
    if (a->q) /* heads of all rows are evenly apart */
        op_copy_rows(d, r->wide + l->kv_rank, kv, q + l->nope, head, rows * s->n_head, l->rope);
    else
        for (int h = 0; h < s->n_head; h++)
            op_copy_rows(d, r->wide + h * kv + l->kv_rank, ld_wide, q + h * head + l->nope, ldq, rows,
                         l->rope);
    rope.x = r->wide + l->kv_rank; /* heads of kv channels, of which those from here on turn */
    rope.ld = ld_wide;
    rope.n_head = s->n_head;
    rope.head_dim = (int)kv;
    op_rope(d, &rope);
    struct attn_args at = st->at;
    at.q = r->wide;
    at.ldq = ld_wide;
    at.k = c;
    at.ldk = ld_down;
    at.out = r->latent;
    at.ldo = (int64_t)s->n_head * l->kv_rank;
    at.n_head = s->n_head;
    at.scale = st->layer->attn_scale;
    op_attention_paged(d, &at);
    each_head(d, a->v, s->n_head, r->latent, at.ldo, l->kv_rank, out, (int64_t)s->n_head * l->v, l->v, rows);
}
