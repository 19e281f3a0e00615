#include "image/unet.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct unet_res {
    int n_in, n_out;
    dev_float *norm1_w, *norm1_b, *norm2_w, *norm2_b;
    struct conv *conv1, *conv2, *shortcut; /* shortcut NULL: n_in == n_out */
    struct nn_linear *time;
};

struct unet_block { /* one transformer block */
    dev_float *norm1_w, *norm1_b, *norm2_w, *norm2_b, *norm3_w, *norm3_b;
    struct nn_linear *qkv, *out1, *q, *kv, *out2, *ff_in, *ff_out;
};

struct unet_attn { /* a spatial transformer; depth 0: none */
    int depth, n_head;
    dev_float *norm_w, *norm_b;
    struct nn_linear *proj_in, *proj_out;
    struct unet_block *block;
};

struct unet_level {
    struct unet_res res[UNET_RES];
    struct unet_attn attn[UNET_RES];
    struct conv *resample; /* after the level; NULL: none */
};

struct unet {
    struct unet_config c;
    struct nn_owner own;
    struct nn_linear *time[2], *added[2];
    struct conv *conv_in, *conv_out;
    struct unet_level down[UNET_LEVELS], up[UNET_LEVELS];
    struct unet_res mid[2];
    struct unet_attn mid_attn;
    dev_float *norm_w, *norm_b;
    bool precise;
};

/* ---- loading ----------------------------------------------------------------------------------------------- */

static void load_res(struct unet *m, struct nn_source *s, struct unet_res *r, const char *at, int n_in,
                     int n_out)
{
    struct nn_owner *o = &m->own;
    *r = (struct unet_res){
        .n_in = n_in,
        .n_out = n_out,
        .norm1_w = nn_vector(o, s, NN("%s.norm1.weight", at), n_in),
        .norm1_b = nn_vector(o, s, NN("%s.norm1.bias", at), n_in),
        .norm2_w = nn_vector(o, s, NN("%s.norm2.weight", at), n_out),
        .norm2_b = nn_vector(o, s, NN("%s.norm2.bias", at), n_out),
        .conv1 = nn_conv(o, s, NN("%s.conv1", at), n_out, n_in, 3, CONV_ANY, NN_BIAS),
        .conv2 = nn_conv(o, s, NN("%s.conv2", at), n_out, n_out, 3, CONV_ANY, NN_BIAS),
        .time = nn_linear1(o, s, NN("%s.time_emb_proj", at), n_out, 4 * m->c.channels[0], NN_BIAS),
    };
    if (n_in != n_out)
        r->shortcut = nn_conv(o, s, NN("%s.conv_shortcut", at), n_out, n_in, 1, CONV_ANY, NN_BIAS);
}

static void load_block(struct unet *m, struct nn_source *s, struct unet_block *b, const char *at, int d)
{
    struct nn_owner *o = &m->own;
    struct nn_name q = nn_name("%s.attn1.to_q", at), k = nn_name("%s.attn1.to_k", at),
                   v = nn_name("%s.attn1.to_v", at);
    struct nn_name k2 = nn_name("%s.attn2.to_k", at), v2 = nn_name("%s.attn2.to_v", at);
    *b = (struct unet_block){
        .norm1_w = nn_vector(o, s, NN("%s.norm1.weight", at), d),
        .norm1_b = nn_vector(o, s, NN("%s.norm1.bias", at), d),
        .norm2_w = nn_vector(o, s, NN("%s.norm2.weight", at), d),
        .norm2_b = nn_vector(o, s, NN("%s.norm2.bias", at), d),
        .norm3_w = nn_vector(o, s, NN("%s.norm3.weight", at), d),
        .norm3_b = nn_vector(o, s, NN("%s.norm3.bias", at), d),
        .qkv = nn_linear_load(o, s, 3, (const char *[]){ q.s, k.s, v.s }, (int64_t[]){ d, d, d }, d,
                              LINEAR_CONCAT, NN_NO_BIAS),
        .out1 = nn_linear1(o, s, NN("%s.attn1.to_out.0", at), d, d, NN_BIAS),
        .q = nn_linear1(o, s, NN("%s.attn2.to_q", at), d, d, NN_NO_BIAS),
        .kv = nn_linear_load(o, s, 2, (const char *[]){ k2.s, v2.s }, (int64_t[]){ d, d }, m->c.n_context,
                             LINEAR_CONCAT, NN_NO_BIAS),
        .out2 = nn_linear1(o, s, NN("%s.attn2.to_out.0", at), d, d, NN_BIAS),
        .ff_in = nn_linear1(o, s, NN("%s.ff.net.0.proj", at), 8 * (int64_t)d, d, NN_BIAS),
        .ff_out = nn_linear1(o, s, NN("%s.ff.net.2", at), d, 4 * (int64_t)d, NN_BIAS),
    };
}

static bool load_attn(struct unet *m, struct nn_source *s, struct unet_attn *t, const char *at, int d,
                      int n_head, int depth)
{
    struct nn_owner *o = &m->own;
    *t = (struct unet_attn){ .depth = depth, .n_head = n_head };
    if (depth == 0) return true;
    t->block = calloc((size_t)depth, sizeof *t->block);
    if (!t->block) return false;
    t->norm_w = nn_vector(o, s, NN("%s.norm.weight", at), d);
    t->norm_b = nn_vector(o, s, NN("%s.norm.bias", at), d);
    t->proj_in = nn_linear1(o, s, NN("%s.proj_in", at), d, d, NN_BIAS);
    t->proj_out = nn_linear1(o, s, NN("%s.proj_out", at), d, d, NN_BIAS);
    for (int i = 0; i < depth; i++) load_block(m, s, &t->block[i], NN("%s.transformer_blocks.%d", at, i), d);
    return true;
}

bool unet_load(struct unet **out, const struct unet_config *c, struct nn_source *s, struct err *e)
{
    struct unet *m = calloc(1, sizeof *m);
    if (!m) return err_set(e, ERR_NOMEM, "no memory for %s", s->what);
    m->c = *c;
    struct nn_owner *o = &m->own;
    int base = c->channels[0], last = c->n_level - 1, width = base;
    bool ok = true;
    m->time[0] = nn_linear1(o, s, "time_embedding.linear_1", 4 * base, base, NN_BIAS);
    m->time[1] = nn_linear1(o, s, "time_embedding.linear_2", 4 * base, 4 * base, NN_BIAS);
    m->added[0] = nn_linear1(o, s, "add_embedding.linear_1", 4 * base, c->n_added, NN_BIAS);
    m->added[1] = nn_linear1(o, s, "add_embedding.linear_2", 4 * base, 4 * base, NN_BIAS);
    m->conv_in = nn_conv(o, s, "conv_in", base, c->n_in, 3, CONV_ANY, NN_BIAS);
    for (int i = 0; i < c->n_level; i++) {
        for (int j = 0; j < c->n_res; j++) {
            load_res(m, s, &m->down[i].res[j], NN("down_blocks.%d.resnets.%d", i, j), width, c->channels[i]);
            width = c->channels[i];
            ok &= load_attn(m, s, &m->down[i].attn[j], NN("down_blocks.%d.attentions.%d", i, j), width,
                            c->n_head[i], c->down_depth[i][j]);
        }
        if (i < last) {
            m->down[i].resample = nn_conv(o, s, NN("down_blocks.%d.downsamplers.0.conv", i), width, width, 3,
                                          CONV_ANY, NN_BIAS);
        }
    }
    for (int i = 0; i < c->mid_res; i++)
        load_res(m, s, &m->mid[i], NN("mid_block.resnets.%d", i), width, width);
    ok &= load_attn(m, s, &m->mid_attn, "mid_block.attentions.0", width, c->n_head[last], c->mid_depth);
    for (int i = 0; i < c->n_level; i++) {
        int level = last - i, ch = c->channels[level], below = c->channels[level > 0 ? level - 1 : 0];
        for (int j = 0; j <= c->n_res; j++) {
            int skip = j == c->n_res ? below : ch;
            load_res(m, s, &m->up[i].res[j], NN("up_blocks.%d.resnets.%d", i, j), width + skip, ch);
            width = ch;
            ok &= load_attn(m, s, &m->up[i].attn[j], NN("up_blocks.%d.attentions.%d", i, j), ch,
                            c->n_head[level], c->up_depth[i][j]);
        }
        if (i < last)
            m->up[i].resample =
                nn_conv(o, s, NN("up_blocks.%d.upsamplers.0.conv", i), ch, ch, 3, CONV_DOUBLED, NN_BIAS);
    }
    m->norm_w = nn_vector(o, s, "conv_norm_out.weight", base);
    m->norm_b = nn_vector(o, s, "conv_norm_out.bias", base);
    m->conv_out = nn_conv(o, s, "conv_out", c->n_out, base, 3, CONV_ANY, NN_BIAS);
    m->precise = s->f32;
    if (!ok || !nn_check(s, e)) {
        unet_free(m);
        return ok ? false : err_set(e, ERR_NOMEM, "no memory for %s", s->what);
    }
    *out = m;
    return true;
}

void unet_free(struct unet *m)
{
    if (!m) return;
    for (int i = 0; i < UNET_LEVELS; i++) {
        for (int j = 0; j < UNET_RES; j++) {
            free(m->down[i].attn[j].block);
            free(m->up[i].attn[j].block);
        }
    }
    free(m->mid_attn.block);
    nn_owner_free(&m->own);
    free(m);
}

const struct unet_config *unet_config(const struct unet *m) { return &m->c; }

const struct nn_owner *unet_owner(const struct unet *m) { return &m->own; }

/* ---- running ----------------------------------------------------------------------------------------------- */

struct state { /* one evaluation; x [h * w, ch] is the picture in flight */
    const struct unet *m;
    struct nn_ctx *c;
    int h, w, ch, n_text;
    const dev_float *context;
    dev_float *x, *y; /* the picture, and the other half of the ping-pong: [cells, widest concatenation] */
    dev_float *a;     /* between two convolutions: [cells, channels] */
    dev_float *tok, *u, *wide; /* tokens [n, d], normed [n, d], qkv or feed-forward [n, 12d] */
    dev_float *kv;             /* context keys and values [n_text, 2d] */
    dev_float *emb, *time;     /* silu(embedding) [4 base]; its projection for one res block */
    dev_float *fold;           /* [2, widest] */
    int widest;
    const atomic_bool *cancel;
    bool stopped;
    struct {
        dev_float *x;
        int ch;
    } skip[UNET_LEVELS * UNET_RES];
    int n_skip;
};

static void run(struct state *st, const struct nn_linear *l, struct linear_args a)
{
    nn_linear_run(st->c, &st->m->own, l, a);
}

static bool pause(struct state *st)
{
    st->stopped |= st->cancel && *st->cancel;
    return st->stopped;
}

static void flip(struct state *st)
{
    dev_float *t = st->x;
    st->x = st->y;
    st->y = t;
}

static void fold(struct state *st, const dev_float *x, int ch, const dev_float *w, const dev_float *b,
                 float eps)
{
    op_groupnorm_fold(st->c->dev, st->fold, st->fold + st->widest, x, (int64_t)st->h * st->w, ch,
                      st->m->c.groups, w, b, eps);
}

static void conv3(struct state *st, const struct conv *w, const dev_float *x, dev_float *y,
                  struct conv_args more)
{
    more.w = w;
    more.x = x;
    more.y = y;
    more.h = st->h;
    more.w_in = st->w;
    more.pad_top = more.pad_left = more.pad_bottom = more.pad_right = 1;
    op_conv2d(st->c->dev, &more);
}

static void res_block(struct state *st, const struct unet_res *r)
{
    if (pause(st)) return;
    const dev_float *scale = st->fold, *shift = st->fold + st->widest;
    run(st, r->time,
        (struct linear_args){ .x = st->emb, .ldx = r->time->n_in, .y = st->time, .ldy = r->n_out, .n = 1 });
    fold(st, st->x, r->n_in, r->norm1_w, r->norm1_b, st->m->c.eps);
    conv3(st, r->conv1, st->x, st->a,
          (struct conv_args){ .gn_scale = scale, .gn_shift = shift, .in_silu = true, .bias2 = st->time });
    fold(st, st->a, r->n_out, r->norm2_w, r->norm2_b, st->m->c.eps);
    if (r->shortcut) {
        op_conv2d(st->c->dev,
                  &(struct conv_args){ .w = r->shortcut, .x = st->x, .y = st->y, .h = st->h, .w_in = st->w });
        flip(st);
    }
    conv3(st, r->conv2, st->a, st->x,
          (struct conv_args){ .gn_scale = scale, .gn_shift = shift, .in_silu = true, .epi = EPI_ADD });
    st->ch = r->n_out;
}

static void transformer_block(struct state *st, const struct unet_block *b, int n_head)
{
    int64_t n = (int64_t)st->h * st->w, d = st->ch;
    int head_dim = (int)(d / n_head);
    float scale = 1.0f / sqrtf((float)head_dim);
    struct device *dev = st->c->dev;

    op_layernorm(dev, st->u, d, st->tok, d, n, d, b->norm1_w, b->norm1_b, 1e-5f, NULL, NULL);
    run(st, b->qkv, (struct linear_args){ .x = st->u, .ldx = d, .y = st->wide, .ldy = 3 * d, .n = n });
    op_attention(dev, &(struct attention_args){ .q = st->wide,
                                                .ldq = 3 * d,
                                                .k = st->wide + d,
                                                .ldk = 3 * d,
                                                .v = st->wide + 2 * d,
                                                .ldv = 3 * d,
                                                .out = st->u,
                                                .ldo = d,
                                                .n_q = n,
                                                .n_kv = n,
                                                .n_head = n_head,
                                                .n_kv_head = n_head,
                                                .head_dim = head_dim,
                                                .scale = scale,
                                                .precise = st->m->precise });
    run(st, b->out1,
        (struct linear_args){ .x = st->u, .ldx = d, .y = st->tok, .ldy = d, .n = n, .epi = EPI_ADD });

    op_layernorm(dev, st->u, d, st->tok, d, n, d, b->norm2_w, b->norm2_b, 1e-5f, NULL, NULL);
    run(st, b->q, (struct linear_args){ .x = st->u, .ldx = d, .y = st->wide, .ldy = d, .n = n });
    run(st, b->kv,
        (struct linear_args){
            .x = st->context, .ldx = st->m->c.n_context, .y = st->kv, .ldy = 2 * d, .n = st->n_text });
    op_attention(dev, &(struct attention_args){ .q = st->wide,
                                                .ldq = d,
                                                .k = st->kv,
                                                .ldk = 2 * d,
                                                .v = st->kv + d,
                                                .ldv = 2 * d,
                                                .out = st->u,
                                                .ldo = d,
                                                .n_q = n,
                                                .n_kv = st->n_text,
                                                .n_head = n_head,
                                                .n_kv_head = n_head,
                                                .head_dim = head_dim,
                                                .scale = scale,
                                                .precise = st->m->precise });
    run(st, b->out2,
        (struct linear_args){ .x = st->u, .ldx = d, .y = st->tok, .ldy = d, .n = n, .epi = EPI_ADD });

    op_layernorm(dev, st->u, d, st->tok, d, n, d, b->norm3_w, b->norm3_b, 1e-5f, NULL, NULL);
    dev_float *ff = st->wide + n * 8 * d;
    run(st, b->ff_in, (struct linear_args){ .x = st->u, .ldx = d, .y = st->wide, .ldy = 8 * d, .n = n });
    op_geglu(dev, ff, st->wide, n, 4 * d);
    run(st, b->ff_out,
        (struct linear_args){ .x = ff, .ldx = 4 * d, .y = st->tok, .ldy = d, .n = n, .epi = EPI_ADD });
}

static void spatial_transformer(struct state *st, const struct unet_attn *t)
{
    int64_t n = (int64_t)st->h * st->w, d = st->ch;
    if (t->depth == 0 || st->stopped) return;
    fold(st, st->x, st->ch, t->norm_w, t->norm_b, 1e-6f);
    op_scale_shift(st->c->dev, st->u, st->x, n, st->ch, st->fold, st->fold + st->widest, false);
    run(st, t->proj_in, (struct linear_args){ .x = st->u, .ldx = d, .y = st->tok, .ldy = d, .n = n });
    for (int i = 0; i < t->depth && !pause(st); i++) transformer_block(st, &t->block[i], t->n_head);
    run(st, t->proj_out,
        (struct linear_args){ .x = st->tok, .ldx = d, .y = st->x, .ldy = d, .n = n, .epi = EPI_ADD });
}

static void push(struct state *st)
{
    int64_t n = (int64_t)st->h * st->w * st->ch;
    dev_float *copy = nn_alloc(st->c, n);
    device_copy(st->c->dev, copy, st->x, (size_t)n);
    st->skip[st->n_skip].x = copy;
    st->skip[st->n_skip++].ch = st->ch;
}

/* x = [x | skip] on channels */
static void pop(struct state *st)
{
    const dev_float *skip = st->skip[--st->n_skip].x;
    int extra = st->skip[st->n_skip].ch, ch = st->ch;
    const int64_t n = (int64_t)st->h * st->w;
    op_copy_rows(st->c->dev, st->y, ch + extra, st->x, ch, n, ch);
    op_copy_rows(st->c->dev, st->y + ch, ch + extra, skip, extra, n, extra);
    flip(st);
    st->ch = ch + extra;
}

/* silu(time embedding + added embedding), all that the res blocks use of it. */
static void embed(struct state *st, double timestep, const dev_float *pooled, const float time_ids[6])
{
    const struct unet_config *k = &st->m->c;
    int base = k->channels[0], wide = 4 * base, n_pooled = k->n_added - 6 * k->n_time_id;
    dev_float *in = st->wide, *mid = st->u;
    op_timestep(st->c->dev, in, timestep, base, 10000.0);
    run(st, st->m->time[0],
        (struct linear_args){ .x = in, .ldx = base, .y = mid, .ldy = wide, .n = 1, .epi = EPI_SILU });
    run(st, st->m->time[1], (struct linear_args){ .x = mid, .ldx = wide, .y = st->emb, .ldy = wide, .n = 1 });
    device_copy(st->c->dev, in, pooled, (size_t)n_pooled);
    for (int i = 0; i < 6; i++)
        op_timestep(st->c->dev, in + n_pooled + i * k->n_time_id, time_ids[i], k->n_time_id, 10000.0);
    run(st, st->m->added[0],
        (struct linear_args){ .x = in, .ldx = k->n_added, .y = mid, .ldy = wide, .n = 1, .epi = EPI_SILU });
    run(st, st->m->added[1],
        (struct linear_args){ .x = mid, .ldx = wide, .y = st->emb, .ldy = wide, .n = 1, .epi = EPI_ADD });
    op_silu(st->c->dev, st->emb, st->emb, wide);
}

struct sizes {
    int64_t picture, token,
        skips; /* floats: of x and y; of one token buffer [n, d]; of all skips with their padding */
    int widest;
};

static struct sizes measure(const struct unet_config *c, int h, int w)
{
    struct sizes s = { 0 };
    int64_t cells = (int64_t)h * w;
    for (int i = 0; i < c->n_level; i++, cells /= 4) {
        int ch = c->channels[i], above = c->channels[i + 1 < c->n_level ? i + 1 : i];
        int below = c->channels[i ? i - 1 : 0];
        int side = above > ch ? above : ch;
        if (below > side) side = below;
        int concat = side + (ch > below ? ch : below);
        if (cells * concat > s.picture) s.picture = cells * concat;
        if (cells * ch > s.token) s.token = cells * ch;
        if (concat > s.widest) s.widest = concat;
        s.skips += (cells * (side + 64)) * (c->n_res + 2);
    }
    int small = 4 * c->channels[0] > c->n_added ? 4 * c->channels[0] : c->n_added;
    if (s.token < small) s.token = small; /* embed() borrows token buffers */
    return s;
}

size_t unet_scratch(const struct unet *m, int h, int w, int n_text)
{
    struct sizes s = measure(&m->c, h, w);
    size_t top = 0;
    for (int i = 0; i < m->c.n_level; i++)
        top = (size_t)m->c.channels[i] > top ? (size_t)m->c.channels[i] : top;
    return 3 * arena_cost((size_t)s.picture, 4) + 2 * arena_cost((size_t)s.token, 4) +
           arena_cost(12 * (size_t)s.token, 4) + arena_cost((size_t)n_text * 2 * top, 4) +
           3 * arena_cost(4 * (size_t)s.widest, 4) + (size_t)s.skips * 4 +
           arena_cost(8 * (size_t)s.token, 4) + arena_cost((size_t)h * (size_t)w * 512, 4) +
           65536; /* LoRA branches */
}

bool unet_forward(const struct unet *m, struct nn_ctx *c, const dev_float *x, int h, int w, double timestep,
                  const dev_float *context, int n_text, const dev_float *pooled, const float time_ids[6],
                  dev_float *out, const atomic_bool *cancel)
{
    const struct unet_config *k = &m->c;
    struct sizes s = measure(k, h, w);
    const size_t mark = nn_mark(c);
    struct state st = { .m = m,
                        .c = c,
                        .h = h,
                        .w = w,
                        .ch = k->channels[0],
                        .n_text = n_text,
                        .context = context,
                        .widest = s.widest,
                        .cancel = cancel };
    int top = 0;
    for (int i = 0; i < k->n_level; i++) top = k->channels[i] > top ? k->channels[i] : top;
    st.x = nn_alloc(c, s.picture);
    st.y = nn_alloc(c, s.picture);
    st.a = nn_alloc(c, s.picture);
    st.tok = nn_alloc(c, s.token);
    st.u = nn_alloc(c, s.token);
    st.wide = nn_alloc(c, 12 * s.token);
    st.kv = nn_alloc(c, (int64_t)n_text * 2 * top);
    st.emb = nn_alloc(c, 4 * (int64_t)s.widest);
    st.time = nn_alloc(c, s.widest);
    st.fold = nn_alloc(c, 2 * (int64_t)s.widest);

    embed(&st, timestep, pooled, time_ids);
    conv3(&st, m->conv_in, x, st.x, (struct conv_args){ 0 });
    push(&st);
    for (int i = 0; i < k->n_level && !st.stopped; i++) {
        const struct unet_level *l = &m->down[i];
        for (int j = 0; j < k->n_res && !st.stopped; j++) {
            res_block(&st, &l->res[j]);
            spatial_transformer(&st, &l->attn[j]);
            push(&st);
        }
        if (l->resample) {
            conv3(&st, l->resample, st.x, st.y, (struct conv_args){ .stride = 2 });
            flip(&st);
            st.h /= 2;
            st.w /= 2;
            push(&st);
        }
    }
    if (!st.stopped && k->mid_res > 0) res_block(&st, &m->mid[0]);
    spatial_transformer(&st, &m->mid_attn);
    if (!st.stopped && k->mid_res > 1) res_block(&st, &m->mid[1]);
    for (int i = 0; i < k->n_level && !st.stopped; i++) {
        const struct unet_level *l = &m->up[i];
        for (int j = 0; j <= k->n_res && !st.stopped; j++) {
            pop(&st);
            res_block(&st, &l->res[j]);
            spatial_transformer(&st, &l->attn[j]);
        }
        if (l->resample && !st.stopped) {
            conv3(&st, l->resample, st.x, st.y, (struct conv_args){ .upsample = 2 });
            flip(&st);
            st.h *= 2;
            st.w *= 2;
        }
    }
    if (!st.stopped) {
        fold(&st, st.x, st.ch, m->norm_w, m->norm_b, k->eps);
        conv3(&st, m->conv_out, st.x, out,
              (struct conv_args){ .gn_scale = st.fold, .gn_shift = st.fold + st.widest, .in_silu = true });
    }
    nn_reset(c, mark);
    return !st.stopped;
}
