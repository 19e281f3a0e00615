/* nsfw.c - the picture classifier: MobileNetV2 (Sandler et al. 2018), 224x224, five classes.
 *
 * Format    safetensors with U8 tensors, value = u8 * scale + min with scale.NAME and min.NAME in the file's metadata; Keras names
 *           and layouts ([kh, kw, in, out], depthwise [kh, kw, in, 1]). Batch norms are folded into the convolutions at load. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/nn.h"
#include "image/picture.h"

enum { SIDE = 224, N_BLOCK = 17, N_CLASS = 5, N_TOP = 1280 };

static const int out_channels[N_BLOCK] = { 16, 24, 24, 32, 32,  32,  64,  64, 64,
                                           64, 96, 96, 96, 160, 160, 160, 320 };
static bool halves(int block) { return block == 1 || block == 3 || block == 6 || block == 13; }

struct image_classifier {
    struct device *dev;
    struct conv *first, *expand[N_BLOCK], *depth[N_BLOCK], *project[N_BLOCK], *top;
    float *dense_w[3], *dense_b[3]; /* [in, out] as in the file */
};

static const int dense_width[4] = { N_TOP, 256, 128, N_CLASS };

/* The values of a tensor with n elements; NULL with *e set. */
static float *read_values(const struct weights *w, const char *name, int64_t n, struct err *e)
{
    const struct tensor *t = weights_find(w, name);
    const char *scale = weights_note(w, NN("scale.%s", name)), *min = weights_note(w, NN("min.%s", name));
    if (!t || t->type != DT_U8 || tensor_elems(t) != n || !scale || !min) {
        err_set(e, ERR_FORMAT, "classifier: %s is missing, or not %lld U8 values with a scale", name,
                (long long)n);
        return NULL;
    }
    float *v = malloc((size_t)n * sizeof *v);
    if (!v) {
        err_set(e, ERR_NOMEM, "no memory for the classifier");
        return NULL;
    }
    double s = strtod(scale, NULL), m = strtod(min, NULL);
    const unsigned char *u = t->data;
    for (int64_t i = 0; i < n; i++) v[i] = (float)(u[i] * s + m);
    return v;
}

/* conv + batch norm as one convolution with a bias. depthwise: n_in == n_out, one filter a channel. */
static struct conv *read_conv(struct device *dev, const struct weights *w, const char *name, const char *bn,
                              int n_out, int n_in, int k, bool depthwise, struct err *e)
{
    int per_out = depthwise ? k * k : n_in * k * k;
    static const char *const leaf[] = { "gamma", "beta", "moving_mean", "moving_variance" };
    float *kernel = read_values(w, NN("%s/%s", name, depthwise ? "depthwise_kernel" : "kernel"),
                                (int64_t)n_out * per_out, e);
    float *norm[4] = { 0 }, *turned = malloc((size_t)n_out * (size_t)per_out * sizeof *turned);
    float *bias = malloc((size_t)n_out * sizeof *bias);
    struct conv *c = NULL;
    bool ok = kernel != NULL;
    for (int i = 0; i < 4 && ok; i++)
        ok = (norm[i] = read_values(w, NN("%s/%s", bn, leaf[i]), n_out, e)) != NULL;
    if (ok && (!turned || !bias)) ok = err_set(e, ERR_NOMEM, "no memory for the classifier");
    for (int o = 0; ok && o < n_out; o++) {
        float g = norm[0][o] / sqrtf(norm[3][o] + 1e-3f);
        bias[o] = norm[1][o] - norm[2][o] * g;
        for (int i = 0; i < per_out; i++) {
            /* [kh, kw, in, out] to [out, in, kh, kw]; depthwise [kh, kw, channel, 1] to [channel, 1, kh, kw] */
            int in = depthwise ? 0 : i / (k * k), at = i % (k * k);
            size_t from = depthwise ? (size_t)at * (size_t)n_out + (size_t)o
                                    : ((size_t)at * (size_t)n_in + (size_t)in) * (size_t)n_out + (size_t)o;
            turned[(size_t)o * (size_t)per_out + (size_t)i] = kernel[from] * g;
        }
    }
    if (ok && !conv_new(dev, &c, DT_F32, turned, n_out, n_in, k, k, depthwise ? n_in : 1, CONV_ANY, bias, e))
        c = NULL;
    free(kernel);
    free(turned);
    free(bias);
    for (int i = 0; i < 4; i++) free(norm[i]);
    return c;
}

static bool load(struct image_classifier *m, const struct weights *w, struct err *e)
{
    if (!(m->first = read_conv(m->dev, w, "Conv1", "bn_Conv1", 32, 3, 3, false, e))) return false;
    int width = 32;
    for (int b = 0; b < N_BLOCK; b++) {
        struct nn_name base = b ? nn_name("block_%d", b) : nn_name("expanded_conv");
        int wide = b ? 6 * width : width;
        if (b && !(m->expand[b] = read_conv(m->dev, w, NN("%s_expand", base.s), NN("%s_expand_BN", base.s),
                                            wide, width, 1, false, e))) {
            return false;
        }
        m->depth[b] = read_conv(m->dev, w, NN("%s_depthwise", base.s), NN("%s_depthwise_BN", base.s), wide,
                                wide, 3, true, e);
        if (!m->depth[b]) return false;
        m->project[b] = read_conv(m->dev, w, NN("%s_project", base.s), NN("%s_project_BN", base.s),
                                  out_channels[b], wide, 1, false, e);
        if (!m->project[b]) return false;
        width = out_channels[b];
    }
    if (!(m->top = read_conv(m->dev, w, "Conv_1", "Conv_1_bn", N_TOP, width, 1, false, e))) return false;
    for (int i = 0; i < 3; i++) {
        m->dense_w[i] =
            read_values(w, NN("dense_%d/kernel", i + 1), (int64_t)dense_width[i] * dense_width[i + 1], e);
        m->dense_b[i] = read_values(w, NN("dense_%d/bias", i + 1), dense_width[i + 1], e);
        if (!m->dense_w[i] || !m->dense_b[i]) return false;
    }
    return true;
}

bool image_classifier_load(struct image_classifier **out, const char *path, struct device *dev, struct err *e)
{
    struct weights *w;
    if (!weights_open(&w, path, e)) return false;
    struct image_classifier *m = calloc(1, sizeof *m);
    bool ok = m || err_set(e, ERR_NOMEM, "no memory for the classifier");
    if (ok) {
        m->dev = dev;
        device_acquire(dev, POOL_IMAGE_LOAD);
        ok = load(m, w, e) || err_wrap(e, "%s", path);
        device_release(dev);
    }
    weights_close(w);
    if (!ok) {
        image_classifier_free(m);
        return false;
    }
    *out = m;
    return true;
}

void image_classifier_free(struct image_classifier *m)
{
    if (!m) return;
    conv_free(m->first);
    conv_free(m->top);
    for (int b = 0; b < N_BLOCK; b++) {
        conv_free(m->expand[b]);
        conv_free(m->depth[b]);
        conv_free(m->project[b]);
    }
    for (int i = 0; i < 3; i++) {
        free(m->dense_w[i]);
        free(m->dense_b[i]);
    }
    free(m);
}

static void relu6_conv(struct image_classifier *m, const struct conv *w, const dev_float *x, dev_float *y,
                       int side, int stride, bool same)
{
    /* Keras: stride 2 is padded below and right only ("valid" behind a ZeroPadding2D), stride 1 all round. */
    int before = same && stride == 1, after = same;
    op_conv2d(m->dev, &(struct conv_args){ .w = w,
                                           .x = x,
                                           .y = y,
                                           .h = side,
                                           .w_in = side,
                                           .stride = stride,
                                           .pad_top = before,
                                           .pad_left = before,
                                           .pad_bottom = after,
                                           .pad_right = after,
                                           .epi = EPI_RELU,
                                           .clamp_max = 6 });
}

/* a: the picture [SIDE, SIDE, 3] at first. What is left of it at the end, [N_TOP] a cell, is few numbers: the host does the rest. */
static bool classify(struct image_classifier *m, dev_float *x, dev_float *a, dev_float *b,
                     float probability[N_CLASS], struct err *e)
{
    relu6_conv(m, m->first, a, x, SIDE, 2, true);
    int side = SIDE / 2, width = 32;
    for (int i = 0; i < N_BLOCK; i++) {
        const dev_float *wide = x;
        if (m->expand[i]) {
            relu6_conv(m, m->expand[i], x, a, side, 1, false);
            wide = a;
        }
        relu6_conv(m, m->depth[i], wide, b, side, halves(i) ? 2 : 1, true);
        if (halves(i)) side /= 2;
        bool residual = i > 0 && !halves(i) && out_channels[i] == width;
        op_conv2d(m->dev, &(struct conv_args){ .w = m->project[i],
                                               .x = b,
                                               .y = x,
                                               .h = side,
                                               .w_in = side,
                                               .epi = residual ? EPI_ADD : EPI_STORE });
        width = out_channels[i];
    }
    relu6_conv(m, m->top, x, a, side, 1, false);
    if (!device_finish(m->dev, e)) return false;
    const float *top = device_read(m->dev, a, (size_t)(side * side) * N_TOP);
    float act[2][N_TOP];
    for (int c = 0; c < N_TOP; c++) {
        float sum = 0;
        for (int i = 0; i < side * side; i++) sum += top[i * N_TOP + c];
        act[0][c] = sum / (float)(side * side);
    }
    for (int l = 0; l < 3; l++) {
        const float *in = act[l % 2];
        float *o = act[(l + 1) % 2];
        for (int j = 0; j < dense_width[l + 1]; j++) {
            float v = m->dense_b[l][j];
            for (int i = 0; i < dense_width[l]; i++) v += in[i] * m->dense_w[l][i * dense_width[l + 1] + j];
            o[j] = l < 2 ? fmaxf(v, 0) : v;
        }
    }
    float most = act[1][0], sum = 0;
    for (int j = 1; j < N_CLASS; j++) most = fmaxf(most, act[1][j]);
    for (int j = 0; j < N_CLASS; j++) sum += probability[j] = expf(act[1][j] - most);
    for (int j = 0; j < N_CLASS; j++) probability[j] /= sum;
    return true;
}

bool image_classify(struct image_classifier *m, const struct image_rgb *picture, float probability[5],
                    struct err *e)
{
    enum { WIDEST = 112 * 112 * 96 };
    enum { PIXELS = SIDE * SIDE * 3 };
    dev_float *x = device_floats(m->dev, WIDEST, e), *a = device_floats(m->dev, WIDEST, e),
              *b = device_floats(m->dev, WIDEST, e);
    unsigned char *small = malloc(PIXELS);
    float *pixels = malloc(PIXELS * sizeof *pixels);
    bool ok = (x && a && b && small && pixels) || err_set(e, ERR_NOMEM, "no memory to classify a picture");
    ok = ok && picture_scale(small, SIDE, SIDE, picture->pixels, picture->width, picture->height, 3, e);
    if (ok) {
        for (int i = 0; i < PIXELS; i++) pixels[i] = (float)small[i] / 255.0f;
        device_acquire(m->dev, POOL_IMAGE);
        device_upload(m->dev, a, pixels, PIXELS);
        ok = classify(m, x, a, b, probability, e);
        device_release(m->dev);
    }
    device_free(m->dev, x);
    device_free(m->dev, a);
    device_free(m->dev, b);
    free(pixels);
    free(small);
    return ok;
}
