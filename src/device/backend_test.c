/* Every row of every backend's table, against plain C, on random shapes; what only one implementation has also against its formula. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/backend_case.h"
#include "device/backend_route.h"

#include "base/isa.h"
#include "device/cuda/emulated/driver.h"
#include "device/guard/guard.h"

/* ---- objects and the operations of language models ---------------------------------------------------------------- */

static struct linear *layer(struct ctx *c, enum dtype type, int n_parts, int64_t n_out, int64_t n_in,
                            enum linear_join join)
{
    struct matrix m[2];
    struct err e = { 0 };
    for (int i = 0; i < n_parts; i++) {
        const float *v = values(c, n_out * n_in);
        uint16_t *narrow = host(c, (size_t)(n_out * n_in) * sizeof *narrow);
        for (int64_t k = 0; k < n_out * n_in; k++) {
            uint32_t bits;
            memcpy(&bits, &v[k], sizeof bits);
            narrow[k] = (uint16_t)(bits >> 16);
        }
        m[i] = (struct matrix){ .type = type, .n_out = n_out, .n_in = n_in };
        m[i].data = type == DT_F32 ? (const void *)v : narrow;
    }
    const float *bias = values(c, n_parts * n_out);
    struct linear *l;
    if (!linear_new(c->d, &l, m, n_parts, join, bias, 1, &e)) fail_msg("%s", e.msg);
    return l;
}

static void case_linear(struct ctx *c)
{
    static const enum dtype type[] = { DT_F32, DT_BF16 };
    for (int i = 0; i < 2; i++) {
        const int64_t in = 32 * pick(c, 1, 7), out = pick(c, 1, 70), n = pick(c, 1, 40);
        struct linear *l = layer(c, type[i], 1, out, in, LINEAR_CONCAT);
        assert_int_equal(linear_n_in(l), in);
        assert_int_equal(linear_n_out(l), out);
        assert_true(linear_bytes(l) >= (size_t)(out * in) * 2);
        assert_true(linear_is_copy(l));
        linear_set_fine(l);
        dev_float *x = put_random(c, n * in), *y = put_random(c, n * out), *w = put_random(c, in);
        op_linear(c->d, &(struct linear_args){ .w = l,
                                               .x = x,
                                               .ldx = in,
                                               .y = y,
                                               .ldy = out,
                                               .n = n,
                                               .norm = i ? w : NULL,
                                               .eps = 1e-5f,
                                               .epi = i ? EPI_ADD : EPI_SILU });
        result(c, y, n * out);
        linear_free(l);
    }
}

/* As many products, one by one. */
static void case_linear_each(struct ctx *c)
{
    const bool narrow = pick(c, 0, 1);
    const int n_w = pick(c, 1, 7);
    const int64_t in = 32 * pick(c, 1, 4), out = pick(c, 1, 70), n = pick(c, 1, 20), gap = pick(c, 0, 9);
    const int64_t dx = in + gap, dy = out + gap;
    struct linear *w[7];
    for (int i = 0; i < n_w; i++) w[i] = layer(c, narrow ? DT_BF16 : DT_F32, 1, out, in, LINEAR_CONCAT);
    const float *v = values(c, n * n_w * dx), *was = values(c, n * n_w * dy);
    dev_float *x = put(c, v, n * n_w * dx), *y = put(c, was, n * n_w * dy), *z = put(c, was, n * n_w * dy);
    const struct linear_each_args a = {
        .w = w, .n_w = n_w, .x = x, .ldx = n_w * dx, .dx = dx, .y = y, .ldy = n_w * dy, .dy = dy, .n = n
    };
    op_linear_each(c->d, &a);
    for (int i = 0; i < n_w; i++)
        op_linear(c->d,
                  &(struct linear_args){
                      .w = w[i], .x = x + i * dx, .ldx = a.ldx, .y = z + i * dy, .ldy = a.ldy, .n = n });
    float *want = host(c, (size_t)(n * n_w * dy) * sizeof *want),
          *got = host(c, (size_t)(n * n_w * dy) * sizeof *got);
    device_download(c->d, want, z, (size_t)(n * n_w * dy));
    device_download(c->d, got, y, (size_t)(n * n_w * dy));
    assert_memory_equal(got, want, (size_t)(n * n_w * dy) * sizeof *got); /* also what is between them */
    result(c, y, n * n_w * dy);
    for (int i = 0; i < n_w; i++) linear_free(w[i]);
}

static void case_moe(struct ctx *c)
{
    const int n_expert = 3, k = 2;
    const int64_t d = 32 * pick(c, 1, 3), hidden = 32 * pick(c, 1, 3), n = pick(c, 1, 9);
    struct linear *gate_up[3], *down[3];
    int32_t expert[18];
    for (int i = 0; i < n_expert; i++) {
        gate_up[i] = layer(c, DT_F32, 2, hidden, d, LINEAR_PAIRED);
        down[i] = layer(c, DT_F32, 1, d, hidden, LINEAR_CONCAT);
    }
    for (int64_t r = 0; r < n; r++) {
        expert[2 * r] = pick(c, 0, 1);
        expert[2 * r + 1] = pick(c, expert[2 * r] + 1, 2);
    }
    dev_float *y = put_random(c, n * d);
    op_moe(c->d, &(struct moe_args){ .gate_up = gate_up,
                                     .down = down,
                                     .n_expert = n_expert,
                                     .x = put_random(c, n * d),
                                     .ldx = d,
                                     .y = y,
                                     .ldy = d,
                                     .n = n,
                                     .expert = put_ints(c, expert, n * k),
                                     .weight = put_random(c, n * k),
                                     .k = k });
    result(c, y, n * d);
    for (int i = 0; i < n_expert; i++) {
        linear_free(gate_up[i]);
        linear_free(down[i]);
    }
}

static void case_embed(struct ctx *c)
{
    const int64_t rows = pick(c, 3, 20), cols = pick(c, 1, 70), n = pick(c, 1, 9);
    const float *v = values(c, rows * cols);
    int32_t ids[9];
    float *want = host(c, (size_t)(n * cols) * sizeof *want);
    for (int64_t i = 0; i < n; i++) {
        ids[i] = pick(c, 0, (int)rows - 1);
        memcpy(want + i * cols, v + ids[i] * cols, (size_t)cols * sizeof *v);
    }
    struct matrix m = { .type = DT_F32, .n_out = rows, .n_in = cols, .data = v };
    struct table *t;
    struct err e = { 0 };
    if (!table_new(c->d, &t, &m, &e)) fail_msg("%s", e.msg);
    dev_float *y = put_random(c, n * cols);
    op_embed(c->d, y, cols, t, put_ints(c, ids, n), n);
    result(c, y, n * cols);
    expect(c, want, n * cols);
    table_free(t);
}

static void case_rope(struct ctx *c)
{
    const int heads = pick(c, 1, 5), dim = 2 * pick(c, 4, 40), rot = 2 * pick(c, 1, dim / 2);
    const int64_t n = pick(c, 1, 9), ld = heads * dim + pick(c, 0, 9);
    int32_t pos[9];
    for (int i = 0; i < 9; i++) pos[i] = pick(c, 0, 500);
    dev_float *x = put_random(c, n * ld);
    op_rope(c->d, &(struct rope_args){ .x = x,
                                       .ld = ld,
                                       .n = n,
                                       .n_head = heads,
                                       .head_dim = dim,
                                       .n_rot = rot,
                                       .pos = put_ints(c, pos, 9),
                                       .freq = put_random(c, rot / 2),
                                       .mscale = 1.25f,
                                       .layout = pick(c, 0, 1) ? ROPE_HALF : ROPE_INTERLEAVED,
                                       .head_norm = put_random(c, dim),
                                       .eps = 1e-5f });
    result(c, x, n * ld);
}

static void case_attention_paged(struct ctx *c)
{
    const int rep = pick(c, 1, 3), kv_heads = pick(c, 1, 3), dim = 32 * pick(c, 1, 3), heads = rep * kv_heads;
    const int64_t n[2] = { pick(c, 1, 40), pick(c, 1, 5) }, rows = n[0] + n[1];
    static const int32_t page[2][2] = { { 3, 1 }, { 2, -1 } };
    struct kv_layer kv = {
        .type = pick(c, 0, 1) ? KV_F16 : KV_Q8_0, .n_kv_head = kv_heads, .k_dim = dim, .v_dim = dim
    };
    struct err e = { 0 };
    kv.page_stride = kv_page_bytes(c->d, kv.type, kv_heads, dim, dim);
    kv.pages = device_reserve(c->d, 4 * kv.page_stride, &e);
    if (!kv.pages) fail_msg("%s", e.msg);
    const struct attn_seq seq[2] = { { 0, n[0], 0 }, { n[0], n[1], 0 } };
    const int32_t where[2][3] = { { 0, (int32_t)n[0], 0 }, { (int32_t)n[0], (int32_t)n[1], 0 } };
    dev_float *out = put_random(c, rows * heads * dim);
    op_attention_paged(c->d, &(struct attn_args){ .kv = &kv,
                                                  .seq = seq,
                                                  .n_seq = 2,
                                                  .where = put_ints(c, where[0], 6),
                                                  .page = put_ints(c, page[0], 4),
                                                  .max_pages = 2,
                                                  .q = put_random(c, rows * heads * dim),
                                                  .ldq = heads * dim,
                                                  .k = put_random(c, rows * kv_heads * dim),
                                                  .ldk = kv_heads * dim,
                                                  .v = put_random(c, rows * kv_heads * dim),
                                                  .ldv = kv_heads * dim,
                                                  .out = out,
                                                  .ldo = heads * dim,
                                                  .n_head = heads,
                                                  .scale = 0.125f,
                                                  .window = pick(c, 0, 1) ? 7 : 0,
                                                  .sink = pick(c, 0, 1) ? put_random(c, heads) : NULL });
    result(c, out, rows * heads * dim);
    /* A page that is copied holds the same tokens: the second sequence again, one token further. */
    device_copy_bytes(c->d, kv.pages + 1 * kv.page_stride, kv.pages + 2 * kv.page_stride, kv.page_stride);
    const struct attn_seq again = { 0, 1, (int32_t)n[1] };
    const int32_t at[3] = { 0, 1, (int32_t)n[1] }, copied = 1;
    op_attention_paged(c->d, &(struct attn_args){ .kv = &kv,
                                                  .seq = &again,
                                                  .n_seq = 1,
                                                  .where = put_ints(c, at, 3),
                                                  .page = put_ints(c, &copied, 1),
                                                  .max_pages = 1,
                                                  .q = put_random(c, heads * dim),
                                                  .k = put_random(c, kv_heads * dim),
                                                  .v = put_random(c, kv_heads * dim),
                                                  .out = out,
                                                  .n_head = heads,
                                                  .scale = 0.125f });
    result(c, out, heads * dim);
    device_unreserve(c->d, kv.pages, 4 * kv.page_stride);
}

/* ---- dense operations ---------------------------------------------------------------------------------------------- */

static void case_rmsnorm(struct ctx *c)
{
    const int64_t n = pick(c, 1, 9), d = pick(c, 1, 99), ld = d + pick(c, 0, 5);
    dev_float *y = put_random(c, n * d);
    op_rmsnorm(c->d, y, d, put_random(c, n * ld), ld, n, d, put_random(c, d), 1e-5f);
    result(c, y, n * d);
}

static void case_layernorm(struct ctx *c)
{
    const int64_t n = pick(c, 1, 9), d = pick(c, 2, 99);
    dev_float *y = put_random(c, n * d);
    op_layernorm(c->d, y, d, put_random(c, n * d), d, n, d, put_random(c, d), put_random(c, d), 1e-5f,
                 put_random(c, d), put_random(c, d));
    result(c, y, n * d);
}

static void case_attention(struct ctx *c)
{
    const int heads = pick(c, 1, 3), dim = 8 * pick(c, 1, 9);
    const int64_t n_q = pick(c, 1, 70), n_kv = pick(c, 1, 150), ld = heads * dim;
    dev_float *out = put_random(c, n_q * ld);
    op_attention(c->d, &(struct attention_args){ .q = put_random(c, n_q * ld),
                                                 .ldq = ld,
                                                 .k = put_random(c, n_kv * ld),
                                                 .ldk = ld,
                                                 .v = put_random(c, n_kv * ld),
                                                 .ldv = ld,
                                                 .out = out,
                                                 .ldo = ld,
                                                 .n_q = n_q,
                                                 .n_kv = n_kv,
                                                 .n_head = heads,
                                                 .n_kv_head = heads,
                                                 .head_dim = dim,
                                                 .scale = 0.3f,
                                                 .bias = put_random(c, heads * n_q * n_kv),
                                                 .precise = true });
    result(c, out, n_q * ld);
}

/* Several texts, row behind row. */
static void case_attention_texts(struct ctx *c)
{
    const int heads = pick(c, 1, 3), dim = 8 * pick(c, 1, 9);
    const int64_t ld = heads * dim;
    struct attn_seq seq[4];
    int64_t n = 0;
    for (int i = 0; i < 4; i++) {
        seq[i] = (struct attn_seq){ .row = n, .n = pick(c, 1, i == 2 ? 200 : 40) };
        n += seq[i].n;
    }
    dev_float *out = put_random(c, n * ld);
    op_attention(c->d, &(struct attention_args){ .q = put_random(c, n * ld),
                                                 .ldq = ld,
                                                 .k = put_random(c, n * ld),
                                                 .ldk = ld,
                                                 .v = put_random(c, n * ld),
                                                 .ldv = ld,
                                                 .out = out,
                                                 .ldo = ld,
                                                 .n_q = n,
                                                 .n_kv = n,
                                                 .seq = seq,
                                                 .n_seq = 4,
                                                 .n_head = heads,
                                                 .n_kv_head = heads,
                                                 .head_dim = dim,
                                                 .scale = 0.3f,
                                                 .precise = true });
    result(c, out, n * ld);
}

static void case_rope_table(struct ctx *c)
{
    const int heads = pick(c, 1, 4), dim = 2 * pick(c, 2, 40);
    const int64_t n = pick(c, 1, 9), ld = heads * dim + pick(c, 0, 5);
    dev_float *x = put_random(c, n * ld);
    op_rope_table(c->d, x, ld, n, heads, dim, put_random(c, n * dim / 2), put_random(c, n * dim / 2),
                  put_random(c, dim), 1e-6f);
    result(c, x, n * ld);
}

static void case_conv2d(struct ctx *c)
{
    const int in = pick(c, 1, 40), out = pick(c, 1, 40), h = pick(c, 3, 20), w = pick(c, 3, 20);
    const float *weights = values(c, (int64_t)in * out * 9), *bias = values(c, out);
    struct conv *k;
    struct err e = { 0 };
    if (!conv_new(c->d, &k, DT_F32, weights, out, in, 3, 3, 1, CONV_ANY, bias, &e)) fail_msg("%s", e.msg);
    assert_true(conv_bytes(k) >= (size_t)in * (size_t)out * 9 * 4);
    struct conv_args a = { .w = k, .h = h, .w_in = w, .stride = pick(c, 1, 2), .pad_top = 1, .pad_left = 1 };
    a.pad_bottom = a.pad_right = pick(c, 0, 1);
    a.in_silu = true;
    int ho, wo;
    conv_out_size(&a, &ho, &wo);
    dev_float *y = put_random(c, (int64_t)ho * wo * out);
    a.x = put_random(c, (int64_t)h * w * in);
    a.y = y;
    a.gn_scale = put_random(c, in);
    a.gn_shift = put_random(c, in);
    a.bias2 = put_random(c, out);
    a.epi = EPI_ADD;
    op_conv2d(c->d, &a);
    result(c, y, (int64_t)ho * wo * out);
    conv_free(k);
}

static void case_groupnorm_fold(struct ctx *c)
{
    const int groups = pick(c, 1, 4), ch = groups * pick(c, 1, 9);
    const int64_t hw = pick(c, 1, 700);
    dev_float *scale = put_random(c, ch), *shift = put_random(c, ch);
    op_groupnorm_fold(c->d, scale, shift, put_random(c, hw * ch), hw, ch, groups, put_random(c, ch),
                      put_random(c, ch), 1e-5f);
    result(c, scale, ch);
    result(c, shift, ch);
}

static void case_scale_shift(struct ctx *c)
{
    const int ch = pick(c, 1, 50);
    const int64_t hw = pick(c, 1, 60);
    dev_float *y = put_random(c, hw * ch);
    op_scale_shift(c->d, y, put_random(c, hw * ch), hw, ch, put_random(c, ch), put_random(c, ch), true);
    result(c, y, hw * ch);
}

static void case_silu(struct ctx *c)
{
    const int64_t n = pick(c, 1, 300);
    dev_float *y = put_random(c, n);
    op_silu(c->d, y, y, n);
    result(c, y, n);
}

static void case_add(struct ctx *c)
{
    const int64_t n = pick(c, 1, 300);
    dev_float *y = put_random(c, n);
    op_add(c->d, y, y, put_random(c, n), n);
    result(c, y, n);
}

static void case_axpby(struct ctx *c)
{
    const int64_t n = pick(c, 1, 300);
    dev_float *y = put_random(c, n);
    op_axpby(c->d, y, put_random(c, n), 1.5f, -0.25f, n);
    result(c, y, n);
}

static void case_epilogue(struct ctx *c)
{
    static const enum epilogue epi[] = { EPI_ADD,        EPI_GATE_ADD, EPI_GELU_TANH, EPI_GELU_ERF,
                                         EPI_QUICK_GELU, EPI_SILU,     EPI_RELU,      EPI_STORE };
    for (size_t k = 0; k < sizeof epi / sizeof *epi; k++) {
        const int64_t n = pick(c, 1, 5), d = pick(c, 1, 30);
        const float *y = values(c, n * d), *v = values(c, n * d), *gate = values(c, d);
        float *want = host(c, (size_t)(n * d) * sizeof *want);
        for (int64_t i = 0; i < n * d; i++) {
            const double x = v[i];
            want[i] = (float)(epi[k] == EPI_ADD        ? y[i] + x
                              : epi[k] == EPI_GATE_ADD ? y[i] + gate[i % d] * x
                              : epi[k] == EPI_GELU_TANH
                                  ? x / 2 * (1 + tanh(0.7978845608 * (x + 0.044715 * x * x * x)))
                              : epi[k] == EPI_GELU_ERF   ? x / 2 * (1 + erf(x / sqrt(2)))
                              : epi[k] == EPI_QUICK_GELU ? x / (1 + exp(-1.702 * x))
                              : epi[k] == EPI_SILU       ? x / (1 + exp(-x))
                              : epi[k] == EPI_RELU       ? fmax(x, 0)
                                                         : x);
        }
        dev_float *to = put(c, y, n * d);
        op_epilogue(c->d,
                    &(struct epilogue_args){ epi[k], to, d, put(c, v, n * d), d, n, d, put(c, gate, d) });
        result(c, to, n * d);
        expect(c, want, n * d);
    }
}

static void case_geglu(struct ctx *c)
{
    const int64_t n = pick(c, 1, 5), ff = pick(c, 1, 40);
    const float *x = values(c, n * 2 * ff);
    float *want = host(c, (size_t)(n * ff) * sizeof *want);
    for (int64_t i = 0; i < n * ff; i++) {
        const float *row = x + i / ff * 2 * ff + i % ff;
        want[i] = (float)(row[0] * (double)row[ff] / 2 * (1 + erf(row[ff] / sqrt(2))));
    }
    dev_float *y = put_random(c, n * ff);
    op_geglu(c->d, y, put(c, x, n * 2 * ff), n, ff);
    result(c, y, n * ff);
    expect(c, want, n * ff);
}

/* ---- layouts, positions, steps --------------------------------------------------------------------------------------- */

static void case_copy_rows(struct ctx *c)
{
    const int64_t n = pick(c, 1, 2000), cols = pick(c, 1, 60), ldx = cols + pick(c, 0, 9),
                  ldy = cols + pick(c, 0, 9);
    const float *x = values(c, n * ldx);
    float *y = values(c, n * ldy);
    dev_float *to = put(c, y, n * ldy);
    op_copy_rows(c->d, to, ldy, put(c, x, n * ldx), ldx, n, cols);
    result(c, to, n * ldy);
    for (int64_t r = 0; r < n; r++) memcpy(y + r * ldy, x + r * ldx, (size_t)cols * sizeof *x);
    expect(c, y, n * ldy);
}

static void case_gather(struct ctx *c)
{
    const int64_t rows = pick(c, 1, 30), cols = pick(c, 1, 60), n = pick(c, 1, 9);
    const float *x = values(c, rows * cols);
    int32_t row[9];
    float *want = host(c, (size_t)(n * cols) * sizeof *want);
    for (int64_t i = 0; i < n; i++) {
        row[i] = pick(c, 0, (int)rows - 1);
        memcpy(want + i * cols, x + row[i] * cols, (size_t)cols * sizeof *x);
    }
    dev_float *y = put_random(c, n * cols);
    op_gather(c->d, y, cols, put(c, x, rows * cols), cols, put_ints(c, row, n), n, cols);
    result(c, y, n * cols);
    expect(c, want, n * cols);
}

static void case_fill(struct ctx *c)
{
    const int64_t n = pick(c, 2, 99);
    float *want = values(c, n);
    dev_float *y = put(c, want, n);
    op_fill(c->d, y, 0.75f, n - 1);
    for (int64_t i = 0; i < n - 1; i++) want[i] = 0.75f;
    result(c, y, n);
    expect(c, want, n);
}

static void both_planes(struct ctx *c, bool from)
{
    const int ch = pick(c, 1, 9), h = pick(c, 1, 9), w = pick(c, 1, 9);
    const int64_t row = w + pick(c, 0, 5), plane = row * h + pick(c, 0, 5), n_pixels = (int64_t)h * w * ch,
                  n_planes = plane * ch;
    const float *x = values(c, from ? n_planes : n_pixels), *mul = values(c, ch), *add = values(c, ch);
    float *y = values(c, from ? n_pixels : n_planes);
    dev_float *to = put(c, y, from ? n_pixels : n_planes);
    const bool mapped = pick(c, 0, 1);
    struct planes_args a = { .y = to, .x = put(c, x, from ? n_planes : n_pixels), .c = ch, .h = h, .w = w };
    a.plane = plane;
    a.row = row;
    a.mul = mapped ? put(c, mul, ch) : NULL;
    a.add = mapped ? put(c, add, ch) : NULL;
    (from ? op_from_planes : op_to_planes)(c->d, &a);
    for (int k = 0; k < ch; k++)
        for (int r = 0; r < h; r++)
            for (int i = 0; i < w; i++) {
                const int64_t p = ((int64_t)r * w + i) * ch + k, q = k * plane + r * row + i;
                const float v = x[from ? q : p];
                y[from ? p : q] = mapped ? v * mul[k] + add[k] : v;
            }
    result(c, to, from ? n_pixels : n_planes);
    expect(c, y, from ? n_pixels : n_planes);
}

static void case_from_planes(struct ctx *c) { both_planes(c, true); }
static void case_to_planes(struct ctx *c) { both_planes(c, false); }

/* Token t's element ch * 4 + dy * 2 + dx. */
static void both_packs(struct ctx *c, bool pack)
{
    const int ch = pick(c, 1, 5), h = 2 * pick(c, 1, 5), w = 2 * pick(c, 1, 5);
    const int64_t n = (int64_t)ch * h * w;
    const float *x = values(c, n);
    float *want = host(c, (size_t)n * sizeof *want);
    int64_t t = 0;
    for (int y = 0; y < h; y += 2)
        for (int i = 0; i < w; i += 2)
            for (int k = 0; k < ch; k++)
                for (int corner = 0; corner < 4; corner++, t++) {
                    const int64_t at = ((int64_t)k * h + y + corner / 2) * w + i + corner % 2;
                    want[pack ? t : at] = x[pack ? at : t];
                }
    dev_float *y = put_random(c, n);
    (pack ? op_pack : op_unpack)(c->d, y, put(c, x, n), ch, h, w);
    result(c, y, n);
    expect(c, want, n);
}

static void case_pack(struct ctx *c) { both_packs(c, true); }
static void case_unpack(struct ctx *c) { both_packs(c, false); }

static void case_timestep(struct ctx *c)
{
    const int dim = 2 * pick(c, 1, 60);
    const double t = pick(c, 0, 999) / 8.0;
    float *want = host(c, (size_t)dim * sizeof *want);
    for (int i = 0; i < dim / 2; i++) {
        want[i] = (float)cos(t * pow(10000, -i / (dim / 2.0)));
        want[dim / 2 + i] = (float)sin(t * pow(10000, -i / (dim / 2.0)));
    }
    dev_float *y = put_random(c, dim);
    op_timestep(c->d, y, t, dim, 10000.0);
    result(c, y, dim);
    expect(c, want, dim);
}

static void case_rope_grid(struct ctx *c)
{
    const int axes[3] = { 2 * pick(c, 0, 3), 2 * pick(c, 1, 6), 2 * pick(c, 1, 6) }, wide = pick(c, 1, 6);
    const int64_t text = pick(c, 0, 5), n = text + wide * pick(c, 1, 5),
                  half = (axes[0] + axes[1] + axes[2]) / 2;
    float *want = host(c, (size_t)(2 * n * half) * sizeof *want);
    for (int64_t r = text; r < n; r++) {
        const double at[3] = { 0, (double)((r - text) / wide), (double)((r - text) % wide) };
        int64_t k = 0;
        for (int a = 0; a < 3; a++)
            for (int i = 0; i < axes[a] / 2; i++, k++) {
                want[r * half + k] = (float)cos(at[a] / pow(10000, 2.0 * i / axes[a]));
                want[(n + r) * half + k] = (float)sin(at[a] / pow(10000, 2.0 * i / axes[a]));
            }
    }
    for (int64_t i = 0; i < text * half; i++) want[i] = 1; /* text stands at no angle */
    dev_float *cs = put_random(c, n * half), *sn = put_random(c, n * half);
    op_rope_grid(c->d, cs, sn, n, text, wide, axes);
    result(c, cs, n * half);
    result(c, sn, n * half);
    expect(c, want, 2 * n * half);
}

static void case_relative_bias(struct ctx *c)
{
    const int heads = pick(c, 1, 4), buckets = 5;
    const int64_t n = pick(c, 1, 20);
    const float *table = values(c, buckets * heads);
    int32_t bucket[39];
    for (int64_t i = 0; i < 2 * n - 1; i++) bucket[i] = pick(c, 0, buckets - 1);
    float *want = host(c, (size_t)(heads * n * n) * sizeof *want);
    for (int64_t k = 0; k < heads * n * n; k++)
        want[k] = table[bucket[k % n - k / n % n + n - 1] * heads + (int)(k / n / n)];
    dev_float *y = put_random(c, heads * n * n);
    op_relative_bias(c->d, y, put(c, table, buckets * heads), put_ints(c, bucket, 2 * n - 1), heads, n);
    result(c, y, heads * n * n);
    expect(c, want, heads * n * n);
}

static void case_scale(struct ctx *c)
{
    const int64_t n = pick(c, 1, 99);
    float *x = values(c, n);
    dev_float *y = put(c, x, n);
    op_scale(c->d, y, y, -1.5f, n);
    for (int64_t i = 0; i < n; i++) x[i] *= -1.5f;
    result(c, y, n);
    expect(c, x, n);
}

static void case_scale_rows(struct ctx *c)
{
    const int64_t n = pick(c, 1, 9), cols = pick(c, 1, 40), ld = cols + pick(c, 0, 5);
    float *x = values(c, n * ld), *by = values(c, n);
    dev_float *y = put(c, x, n * ld);
    op_scale_rows(c->d, y, ld, put(c, by, n), n, cols);
    for (int64_t i = 0; i < n * ld; i++) x[i] *= i % ld < cols ? by[i / ld] : 1;
    result(c, y, n * ld);
    expect(c, x, n * ld);
}

static void case_lincomb(struct ctx *c)
{
    const int64_t n = pick(c, 1, 99);
    const int terms = pick(c, 1, LINCOMB_MOST);
    struct lincomb_term term[LINCOMB_MOST];
    double *sum = host(c, (size_t)n * sizeof *sum);
    float *want = host(c, (size_t)n * sizeof *want);
    for (int t = 0; t < terms; t++) {
        const float *x = values(c, n);
        term[t] = (struct lincomb_term){ pick(c, -9, 9) / 7.0, put(c, x, n) };
        for (int64_t i = 0; i < n; i++) sum[i] += term[t].by * x[i];
    }
    for (int64_t i = 0; i < n; i++) want[i] = (float)sum[i];
    dev_float *y = (dev_float *)(uintptr_t)term[terms - 1].x; /* in place */
    op_lincomb(c->d, y, term, terms, n);
    result(c, y, n);
    expect(c, want, n);
}

static void case_clamp(struct ctx *c)
{
    const int64_t n = pick(c, 1, 99);
    float *x = values(c, n);
    dev_float *y = put(c, x, n);
    op_clamp(c->d, y, y, 0.5f, 2.0f, n);
    for (int64_t i = 0; i < n; i++) x[i] = (x[i] > 0.5f ? 0.5f : x[i] < -0.5f ? -0.5f : x[i]) / 2;
    result(c, y, n);
    expect(c, x, n);
}

static void case_guide(struct ctx *c)
{
    const int64_t n = pick(c, 1, 99);
    const float *v = values(c, n), *u = values(c, n);
    float *want = host(c, (size_t)n * sizeof *want);
    for (int64_t i = 0; i < n; i++) want[i] = (float)(u[i] + 7.5 * ((double)v[i] - u[i]));
    dev_float *y = put(c, v, n);
    op_guide(c->d, y, y, put(c, u, n), 7.5f, n);
    result(c, y, n);
    expect(c, want, n);
}

static void case_mask(struct ctx *c)
{
    const int ch = pick(c, 1, 5);
    const int64_t plane = pick(c, 1, 40);
    const float *x = values(c, ch * plane), *m = values(c, plane);
    float *y = values(c, ch * plane);
    dev_float *to = put(c, y, ch * plane);
    op_mask(c->d, to, put(c, x, ch * plane), put(c, m, plane), ch, plane);
    for (int64_t i = 0; i < ch * plane; i++) y[i] = m[i % plane] * y[i] + (1 - m[i % plane]) * x[i];
    result(c, to, ch * plane);
    expect(c, y, ch * plane);
}

static void case_posterior(struct ctx *c)
{
    const int ch = pick(c, 1, 5);
    const int64_t plane = pick(c, 1, 40);
    const float *moments = values(c, plane * 2 * ch), *noise = values(c, plane * ch), *shift = values(c, ch);
    float *std = values(c, ch), *want = host(c, (size_t)(plane * ch) * sizeof *want);
    const bool noisy = pick(c, 0, 1), divides = pick(c, 0, 1);
    for (int k = 0; k < ch; k++) std[k] += 2;
    for (int64_t i = 0; i < plane * ch; i++) {
        const int64_t k = i / plane, cell = i % plane;
        double v = moments[cell * 2 * ch + k];
        if (noisy) v += exp(moments[cell * 2 * ch + ch + k] / 2) * noise[i];
        want[i] = (float)((v - shift[k]) * 0.5 / (divides ? std[k] : 1));
    }
    dev_float *y = put_random(c, plane * ch);
    op_posterior(c->d, &(struct posterior_args){ .y = y,
                                                 .moments = put(c, moments, plane * 2 * ch),
                                                 .noise = noisy ? put(c, noise, plane * ch) : NULL,
                                                 .shift = put(c, shift, ch),
                                                 .std = divides ? put(c, std, ch) : NULL,
                                                 .scaling = 0.5f,
                                                 .c = ch,
                                                 .plane = plane });
    result(c, y, plane * ch);
    expect(c, want, plane * ch);
}

/* Two tiles that overlap make a picture of ones out of ones, and each pixel's weight is between them. */
static void case_tile(struct ctx *c)
{
    const int h = pick(c, 2, 9), lap = pick(c, 1, 4), w = lap + pick(c, 1, 9), wide = 2 * w - lap,
              ch = pick(c, 1, 3);
    float *one = host(c, (size_t)(h * wide * ch) * sizeof *one),
          *zero = host(c, (size_t)(h * wide * ch) * sizeof *zero);
    float *want = host(c, (size_t)(h * wide) * sizeof *want);
    for (int i = 0; i < h * wide * ch; i++) one[i] = 1;
    for (int i = 0; i < h * wide; i++) want[i] = 1; /* (k + 1/2) / lap of the one, the rest of the other */
    dev_float *picture = put(c, zero, h * wide * ch), *weight = put(c, zero, h * wide),
              *tile = put(c, one, h * w * ch);
    struct tile_args a = {
        picture, weight, tile, h, w, ch, 0, 0, wide, lap, TILE_TOP | TILE_LEFT | TILE_BOTTOM
    };
    op_tile(c->d, &a);
    a.x0 = w - lap;
    a.outer = TILE_TOP | TILE_RIGHT | TILE_BOTTOM;
    op_tile(c->d, &a);
    result(c, weight, h * wide);
    expect(c, want, h * wide);
    result(c, picture, h * wide * ch);
    expect(c, one, h * wide * ch);
    /* A corner between four tiles: the ramps multiply. */
    a = (struct tile_args){ picture, weight, tile, 1, 1, 1, 0, 0, wide, 4, 0 };
    op_fill(c->d, weight, 0, 1);
    op_tile(c->d, &a);
    result(c, weight, 1);
    const float corner = 0.125f * 0.125f;
    expect(c, &corner, 1);
}

static void case_untile(struct ctx *c)
{
    const int ch = pick(c, 1, 3);
    const int64_t n = pick(c, 1, 40);
    float *p = values(c, n * ch), *w = values(c, n);
    for (int64_t i = 0; i < n; i++) w[i] += 2;
    dev_float *y = put(c, p, n * ch);
    op_untile(c->d, y, put(c, w, n), n, ch);
    for (int64_t i = 0; i < n * ch; i++) p[i] /= w[i / ch];
    result(c, y, n * ch);
    expect(c, p, n * ch);
}

/* ---- memory and the device itself -------------------------------------------------------------------------------------- */

static void case_memory(struct ctx *c)
{
    const int64_t n = pick(c, 1, 5000);
    const float *v = values(c, n);
    struct err e = { 0 };
    dev_float *x = put(c, v, n), *y = device_floats(c->d, (size_t)n, &e);
    assert_non_null(y);
    assert_int_equal((uintptr_t)y % 64, 0);
    device_copy(c->d, y, x, (size_t)n);
    op_scale(c->d, x, x, 0, n);
    assert_memory_equal(device_read(c->d, y, (size_t)n), v, (size_t)n * sizeof *v);
    result(c, y, n);
    expect(c, v, n);
    float *taken = device_take(c->d, y, (size_t)n);
    taken[n - 1] = 3;
    assert_true(taken[n - 1] == 3);
    device_lend(c->d, y, (size_t)n * sizeof *y);
    device_free(c->d, y);
    assert_null(device_floats(c->d, SIZE_MAX / 2, &e));
    assert_int_equal(e.code, ERR_NOMEM);

    dev_byte *b = device_reserve(c->d, (size_t)1 << 34, &e); /* much more than is used */
    assert_non_null(b);
    device_copy_bytes(c->d, b + ((size_t)1 << 33), (const dev_byte *)x, 4);
    float up[3] = { 1, 2, 3 }, down[3];
    device_upload_bytes(c->d, b + 64, up, sizeof up);
    device_download_bytes(c->d, down, b + 64, sizeof down);
    assert_memory_equal(up, down, sizeof up);
    device_unreserve(c->d, b, (size_t)1 << 34);

    struct device_arena a;
    assert_true(device_arena_init(&a, c->d, device_arena_cost((size_t)n) + device_arena_cost(3), &e));
    dev_float *first = device_arena_floats(&a, (size_t)n);
    dev_int *second = device_arena_ints(&a, 3);
    assert_true(first && second);
    assert_null(device_arena_floats(&a, 64));
    device_upload(c->d, first, v, (size_t)n);
    device_upload_ints(c->d, second, (const int32_t[]){ 1, 2, 3 }, 3);
    result(c, first, n);
    expect(c, v, n);
    device_arena_free(&a);
}

static void count_part(void *arg, int ith, int nth)
{
    (void)ith;
    atomic_fetch_add((atomic_int *)arg, 60 / nth);
}

static void case_owner(struct ctx *c)
{
    atomic_int done = 0;
    device_run_host(c->d, count_part, &done);
    assert_int_equal(done, 60);
    device_release(c->d);
    device_acquire(c->d, POOL_PREFILL);
    device_offer(c->d, POOL_PREFILL);
    static atomic_bool stop;
    device_stop_on(c->d, &stop);
    device_stop_on(c->d, NULL);
    device_release(c->d);
    device_acquire(c->d, POOL_IMAGE);
}

/* After a failure nothing is done until it was reported, once. */
static void case_failure(struct ctx *c)
{
    const float one = 1, two = 2;
    struct err e = { 0 }, first, second;
    dev_float *x = put(c, &one, 1);
    assert_true(device_finish(c->d, &e));
    err_set(&first, ERR_IO, "the first");
    err_set(&second, ERR_IO, "the second");
    device_fail(c->d, &first);
    device_fail(c->d, &second);
    op_scale(c->d, x, x, 5, 1);
    device_upload(c->d, x, &two, 1);
    assert_false(device_finish(c->d, &e));
    assert_string_equal(e.msg, "the first");
    assert_true(device_finish(c->d, &e));
    result(c, x, 1);
    expect(c, &one, 1);
}

/* ---- the cases, and the backends ------------------------------------------------------------------------------------------ */

#define ROW(name) offsetof(struct device_ops, name)

static const struct test_case {
    const char *name;
    void (*run)(struct ctx *c);
    float bound; /* ||out - ref|| / ||ref|| against plain C, and against the formula */
    size_t row[12];
} cases[] = {
    { "linear",
      case_linear,
      1e-2f,
      { ROW(linear), ROW(linear_new), ROW(linear_free), ROW(linear_is_copy), ROW(linear_set_fine),
        ROW(linear_bytes) } },
    { "linear_each", case_linear_each, 1e-2f, { ROW(linear_each) } },
    { "moe", case_moe, 1e-4f, { ROW(moe) } },
    { "embed", case_embed, 0, { ROW(embed), ROW(table_new), ROW(table_free) } },
    { "rope", case_rope, 1e-5f, { ROW(rope) } },
    { "attention_paged", case_attention_paged, 1e-4f, { ROW(attention_paged), ROW(kv_page_bytes) } },
    { "route", case_route, 1e-5f, { ROW(route) } },
    { "rmsnorm", case_rmsnorm, 1e-5f, { ROW(rmsnorm) } },
    { "layernorm", case_layernorm, 1e-5f, { ROW(layernorm) } },
    { "attention", case_attention, 1e-4f, { ROW(attention) } },
    { "attention_texts", case_attention_texts, 1e-4f, { ROW(attention) } },
    { "rope_table", case_rope_table, 1e-5f, { ROW(rope_table) } },
    { "conv2d", case_conv2d, 1e-4f, { ROW(conv2d), ROW(conv_new), ROW(conv_free), ROW(conv_bytes) } },
    { "groupnorm_fold", case_groupnorm_fold, 1e-4f, { ROW(groupnorm_fold) } },
    { "scale_shift", case_scale_shift, 1e-5f, { ROW(scale_shift) } },
    { "silu", case_silu, 1e-5f, { ROW(silu) } },
    { "add", case_add, 0, { ROW(add) } },
    { "axpby", case_axpby, 1e-6f, { ROW(axpby) } },
    { "epilogue", case_epilogue, 1e-5f, { ROW(epilogue) } },
    { "geglu", case_geglu, 1e-5f, { ROW(geglu) } },
    { "copy_rows", case_copy_rows, 0, { ROW(copy_rows) } },
    { "gather", case_gather, 0, { ROW(gather) } },
    { "fill", case_fill, 0, { ROW(fill) } },
    { "from_planes", case_from_planes, 1e-6f, { ROW(from_planes) } },
    { "to_planes", case_to_planes, 1e-6f, { ROW(to_planes) } },
    { "pack", case_pack, 0, { ROW(pack) } },
    { "unpack", case_unpack, 0, { ROW(unpack) } },
    { "timestep", case_timestep, 1e-5f, { ROW(timestep) } },
    { "rope_grid", case_rope_grid, 1e-6f, { ROW(rope_grid) } },
    { "relative_bias", case_relative_bias, 0, { ROW(relative_bias) } },
    { "scale", case_scale, 0, { ROW(scale) } },
    { "scale_rows", case_scale_rows, 0, { ROW(scale_rows) } },
    { "lincomb", case_lincomb, 1e-6f, { ROW(lincomb) } },
    { "clamp", case_clamp, 0, { ROW(clamp) } },
    { "guide", case_guide, 1e-6f, { ROW(guide) } },
    { "mask", case_mask, 1e-6f, { ROW(mask) } },
    { "posterior", case_posterior, 1e-5f, { ROW(posterior) } },
    { "tile", case_tile, 1e-6f, { ROW(tile) } },
    { "untile", case_untile, 1e-6f, { ROW(untile) } },
    { "memory",
      case_memory,
      0,
      { ROW(alloc), ROW(free), ROW(lend), ROW(reserve), ROW(unreserve), ROW(upload), ROW(download), ROW(read),
        ROW(copy) } },
    { "owner", case_owner, 0, { ROW(acquire), ROW(release), ROW(offer), ROW(stop_on), ROW(run_host) } },
    { "failure",
      case_failure,
      0,
      { ROW(close), ROW(finish) } }, /* close: open_backend() and close_backend() */
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void test_every_row_has_a_case(void **state)
{
    (void)state;
    for (size_t row = 0; row < sizeof(struct device_ops); row += sizeof(void (*)(void))) {
        bool covered = false;
        for (int i = 0; i < N_CASES; i++)
            for (int k = 0; k < 12 && (k == 0 || cases[i].row[k]); k++) covered |= cases[i].row[k] == row;
        if (!covered) fail_msg("row %zu of struct device_ops has no case", row / sizeof(void (*)(void)));
    }
}

struct backend {
    char name[40];
    int level; /* of isa_level */
    bool guard, gpu;
};

struct opened {
    struct pool *pool;
    struct device *inner, *d;
};

static struct opened open_backend(const struct backend *b)
{
    struct opened o;
    struct err e = { 0 };
    bool ok = pool_new(&o.pool, 2, &e);
#ifdef HEARTH_CUDA_EMULATED
    if (b->gpu) ok = ok && emulated_gpu_open(&o.inner, o.pool, &e);
#endif
    if (!b->gpu) ok = ok && device_cpu_open(&o.inner, o.pool, isa_mask(b->level), &e);
    if (!ok) fail_msg("%s", e.msg);
    o.d = o.inner;
    if (b->guard && !device_guard_open(&o.d, o.inner, &e)) fail_msg("%s", e.msg);
    return o;
}

static void close_backend(struct opened *o)
{
    if (o->d != o->inner) device_close(o->d);
    device_close(o->inner);
    pool_free(o->pool);
}

static void compare(const char *what, const struct test_case *t, const float *got, const float *ref, size_t n)
{
    double sum = 0, off = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)ref[i] * ref[i];
        off += ((double)got[i] - ref[i]) * ((double)got[i] - ref[i]);
    }
    if (!(sqrt(off) <= t->bound * sqrt(sum)))
        fail_msg("%s differs from %s: %g of %g", t->name, what, sqrt(off), sqrt(sum));
}

static void test_backend(void **state)
{
    const struct backend *b = *state;
    const unsigned bit = isa_level[b->level].bit;
    unsigned isa;
    struct err e = { 0 };
    if (!isa_choose(&isa, &e)) fail_msg("%s", e.msg);
    if ((isa & bit) != bit) skip();
    const struct backend plain = { "plain", 0, false, false };
    for (int i = 0; i < N_CASES; i++)
        for (uint64_t round = 0; round < (b->gpu ? GPU_ROUNDS : ROUNDS); round++) {
            struct opened a = open_backend(&plain), o = open_backend(b);
            struct ctx ref = { .d = a.d, .seed = round * 1000 + (uint64_t)i },
                       got = { .d = o.d, .seed = ref.seed };
            device_acquire(a.d, POOL_IMAGE);
            cases[i].run(&ref);
            device_release(a.d);
            device_acquire(o.d, POOL_IMAGE);
            cases[i].run(&got);
            device_release(o.d);
            if (!device_finish(o.d, &e)) fail_msg("%s: %s", cases[i].name, e.msg);
            assert_int_equal(got.n_out, ref.n_out);
            assert_true(got.n_want == 0 || got.n_want == got.n_out);
            compare("plain C", &cases[i], got.out, ref.out, got.n_out);
            if (got.n_want) compare("its formula", &cases[i], got.out, got.want, got.n_out);
            forget(&ref);
            forget(&got);
            close_backend(&a);
            close_backend(&o);
        }
}

/* An operation that fails leaves its error and nothing else. */
static void test_a_failing_operation(void **state)
{
    (void)state;
    const struct backend b = { "guard", 0, true, false };
    struct opened o = open_backend(&b);
    struct ctx c = { .d = o.d, .seed = 1 };
    const float two = 2;
    struct err e = { 0 };
    device_acquire(o.d, POOL_DECODE);
    dev_float *x = put(&c, &two, 1);
    device_guard_fail(o.d, 2);
    op_scale(o.d, x, x, 2, 1);
    op_scale(o.d, x, x, 2, 1); /* fails */
    op_scale(o.d, x, x, 2, 1); /* is not done */
    assert_false(device_finish(o.d, &e));
    assert_non_null(strstr(e.msg, "guard"));
    op_scale(o.d, x, x, 2, 1);
    assert_true(device_finish(o.d, &e));
    assert_true(*device_read(o.d, x, 1) == 8);
    device_release(o.d);
    forget(&c);
    close_backend(&o);
}

int main(void)
{
    static struct backend backend[ISA_LEVELS + 2];
    struct CMUnitTest tests[ISA_LEVELS + 4];
    int n = 0;
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_every_row_has_a_case);
    for (int l = 0; l <= ISA_LEVELS; l++) {
        backend[l] = (struct backend){ .level = l % ISA_LEVELS, .guard = l == ISA_LEVELS };
        snprintf(backend[l].name, sizeof backend[l].name, "%s (%s)", backend[l].guard ? "guard" : "cpu",
                 isa_level[backend[l].level].name);
        tests[n++] = (struct CMUnitTest){ backend[l].name, test_backend, NULL, NULL, &backend[l] };
    }
#ifdef HEARTH_CUDA_EMULATED
    backend[ISA_LEVELS + 1] = (struct backend){ .name = "cuda (emulated)", .gpu = true };
    tests[n++] = (struct CMUnitTest){ backend[ISA_LEVELS + 1].name, test_backend, NULL, NULL,
                                      &backend[ISA_LEVELS + 1] };
#endif
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_a_failing_operation);
    return _cmocka_run_group_tests("backend", tests, (size_t)n, NULL, NULL);
}
