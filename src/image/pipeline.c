#include "image/pipeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "image/picture.h"

const struct pipeline_kind *const pipelines[] = { &pipeline_flux, &pipeline_sdxl, NULL };

/* ---- what may be asked for --------------------------------------------------------------------------------- */

static void fill_defaults(const struct image_info *info, struct image_request *r)
{
    int m = info->size_multiple;
    if (r->steps == 0) r->steps = info->default_steps;
    if (r->guidance < 0) r->guidance = info->default_guidance;
    if (r->init) {
        int wide = r->init->width + r->expand_left + r->expand_right;
        int high = r->init->height + r->expand_top + r->expand_bottom;
        if (r->width == 0) r->width = (wide + m - 1) / m * m;
        if (r->height == 0) r->height = (high + m - 1) / m * m;
    }
    if (r->width == 0) r->width = info->default_width;
    if (r->height == 0) r->height = info->default_height;
    if (r->draw_width == 0) r->draw_width = r->width;
    if (r->draw_height == 0) r->draw_height = r->height;
}

static bool check_size(const struct image_info *info, const struct image_request *r, struct err *e)
{
    int m = info->size_multiple;
    if (r->draw_width < m || r->draw_height < m || r->draw_width % m != 0 || r->draw_height % m != 0) {
        return err_set(e, ERR_REQUEST, "width and height must be multiples of %d, got %dx%d", m,
                       r->draw_width, r->draw_height);
    }
    if (r->width < 1 || r->height < 1)
        return err_set(e, ERR_REQUEST, "width and height must be above 0, got %dx%d", r->width, r->height);
    if (r->init && (int64_t)r->width * r->draw_height != (int64_t)r->height * r->draw_width) {
        return err_set(e, ERR_REQUEST,
                       "from an input picture %s draws %dx%d and pictures of that shape, got %dx%d",
                       info->name, r->draw_width, r->draw_height, r->width, r->height);
    }
    return true;
}

static bool check_steps(const struct pipeline *p, const struct image_request *r, struct err *e)
{
    int named = r->sampler ? sampler_by_name(r->sampler) : -1; /* a name that is none is refused below */
    const struct schedule_config run =
        schedule_config_under(&p->schedule, named < 0 ? p->schedule.sampler : (enum sampler)named);
    int most = schedule_most_steps(&run);
    return (r->steps >= 1 && r->steps <= most) ||
           err_set(e, ERR_REQUEST, "steps must be between 1 and %d, got %d", most, r->steps);
}

/* Masks and expansions. */
static bool check_canvas(const struct image_info *info, const struct image_request *r, struct err *e)
{
    bool expands = r->expand_left || r->expand_right || r->expand_top || r->expand_bottom;
    if (r->expand_left < 0 || r->expand_right < 0 || r->expand_top < 0 || r->expand_bottom < 0) {
        return err_set(e, ERR_REQUEST, "an expansion must not be negative");
    }
    if ((expands || r->mask) && !r->init)
        return err_set(e, ERR_REQUEST, "a mask or an expansion needs an image");
    if ((expands || r->mask) && r->draw_width != r->width) {
        /* What is kept must come back as it was, and scaling would change it. */
        return err_set(e, ERR_REQUEST, "with a mask or an expansion %s makes %dx%d only, got %dx%d",
                       info->name, r->draw_width, r->draw_height, r->width, r->height);
    }
    return true;
}

static bool check_clip_skip(const struct pipeline *p, const struct image_request *r, struct err *e)
{
    if (r->clip_skip < 0 || (r->clip_skip > 0 && !p->kind->clip_skip)) {
        return err_set(e, ERR_REQUEST, "clip_skip is not supported by %s", p->info.name);
    }
    for (int i = 0; i < 2 && p->clip[i] && r->clip_skip > 0; i++) {
        if (r->clip_skip + 1 >= clip_config(p->clip[i])->n_layer) {
            return err_set(e, ERR_REQUEST, "clip_skip must be below %d, got %d",
                           clip_config(p->clip[i])->n_layer - 1, r->clip_skip);
        }
    }
    return true;
}

/* Names of the samplers that a process can run under, the model's own kind of process first; ended by NULL. */
static const char *const *image_samplers_of(bool flow, enum sampler own)
{
    static const char *const flux[] = { "flow_euler", NULL };
    static const char *const edm[] = { "edm_dpmpp_2m", "edm_euler", NULL };
    static const char *const sdxl[] = { "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras", "ddim", NULL };
    return flow ? flux : own == SAMPLER_EDM_DPMPP_2M || own == SAMPLER_EDM_EULER ? edm : sdxl;
}

static bool check_sampler(const struct pipeline *p, const struct image_request *r, struct err *e)
{
    if (!r->sampler) return true;
    const char *const *names = image_samplers_of(p->kind->flow, p->schedule.sampler);
    struct buf list = BUF_INIT(160);
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], r->sampler) == 0) {
            buf_free(&list);
            return true;
        }
        buf_printf(&list, "%s%s", i ? ", " : "", names[i]);
    }
    err_set(e, ERR_REQUEST, "sampler must be one of %s for this model, got \"%.40s\"",
            list.data ? list.data : "its own", r->sampler);
    buf_free(&list);
    return false;
}

/* Each check is about one field, which it names by setting *field first. */
bool pipeline_check(const struct pipeline *p, struct image_request *r, const char **field, struct err *e)
{
    const struct image_info *info = &p->info;
    *field = "prompt";
    if (!r->prompt) return err_set(e, ERR_REQUEST, "prompt is missing");
    fill_defaults(info, r);
    *field = "size";
    if (!check_size(info, r, e)) return false;
    *field = "steps";
    if (!check_steps(p, r, e)) return false;
    *field = "guidance_scale";
    if (!isfinite(r->guidance) || r->guidance > 1000) {
        return err_set(e, ERR_REQUEST, "guidance_scale must be a number from 0 to 1000");
    }
    *field = "negative_prompt";
    if (r->negative_prompt && r->negative_prompt[0] && !info->takes_negative) {
        return err_set(e, ERR_REQUEST, "negative_prompt is not supported by %s", info->name);
    }
    *field = "n";
    if (r->n < 1) return err_set(e, ERR_REQUEST, "n must be at least 1, got %d", r->n);
    *field = "image";
    if (!check_canvas(info, r, e)) return false;
    *field = "strength";
    if (r->init && !(r->strength > 0 && r->strength <= 1)) {
        return err_set(e, ERR_REQUEST, "strength must be above 0 and at most 1, got %g", r->strength);
    }
    *field = "clip_skip";
    if (!check_clip_skip(p, r, e)) return false;
    *field = "sampler";
    if (!check_sampler(p, r, e)) return false;
    *field = NULL;
    return true;
}

bool pipeline_ids_fit(const int32_t *ids, int n, int n_vocab, struct err *e)
{
    for (int i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= n_vocab)
            return err_set(
                e, ERR_FORMAT,
                "the tokenizer gives token %d to an encoder that knows %d: they do not belong together",
                (int)ids[i], n_vocab);
    }
    return true;
}

/* ---- preview ----------------------------------------------------------------------------------------------- */

/* Solves the n x n system a z = b for three right sides in place; a is symmetric and positive. */
static void solve3(double *a, double *b, int n)
{
    for (int i = 0; i < n; i++) {
        for (int r = i + 1; r < n; r++) {
            double f = a[r * n + i] / a[i * n + i];
            for (int c = i; c < n; c++) a[r * n + c] -= f * a[i * n + c];
            for (int c = 0; c < 3; c++) b[r * 3 + c] -= f * b[i * 3 + c];
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int c = 0; c < 3; c++) {
            for (int k = i + 1; k < n; k++) b[i * 3 + c] -= a[i * n + k] * b[k * 3 + c];
            b[i * 3 + c] /= a[i * n + i];
        }
    }
}

/* A linear map from a latent cell to its mean colour, fitted by least squares to what this model's own decoder makes of a noise
 * latent: works for any autoencoder, published or not. */
static float *fit_preview(const struct pipeline *p)
{
    enum { SIDE = 12 };
    int channels = vae_config(p->vae)->n_latent, n = channels + 1, factor = vae_factor(p->vae);
    size_t pixels = (size_t)SIDE * SIDE * (size_t)(factor * factor);
    const size_t values = (size_t)channels * SIDE * SIDE;
    float *latent = malloc(values * sizeof *latent);
    const float *rgb = NULL;
    dev_float *noisy = device_floats(p->dev, values, NULL),
              *picture = device_floats(p->dev, pixels * 3, NULL);
    double *a = calloc((size_t)n * (size_t)n, sizeof *a), *b = calloc((size_t)n * 3, sizeof *b);
    float *map = malloc((size_t)n * 3 * sizeof *map);
    struct noise *g = malloc(sizeof *g);
    bool ok = latent && noisy && picture && a && b && map && g;
    if (ok) {
        noise_seed(g, 1);
        noise_fill(g, latent, values);
        device_upload(p->dev, noisy, latent, values);
        ok = vae_decode(p->vae, p->dev, noisy, SIDE, SIDE, 0, picture, NULL, NULL) &&
             device_finish(p->dev, NULL);
        if (ok) rgb = device_read(p->dev, picture, pixels * 3);
    }
    for (int cell = 0; ok && cell < SIDE * SIDE; cell++) {
        double in[33], colour[3] = { 0 };
        for (int k = 0; k < channels; k++) in[k] = latent[k * SIDE * SIDE + cell];
        in[channels] = 1;
        for (int y = 0; y < factor; y++) {
            for (int x = 0; x < factor; x++) {
                size_t at = ((size_t)(cell / SIDE * factor + y) * SIDE * (size_t)factor +
                             (size_t)(cell % SIDE * factor + x)) *
                            3;
                for (int c = 0; c < 3; c++) colour[c] += rgb[at + (size_t)c] / (factor * factor);
            }
        }
        for (int i = 0; i < n; i++) {
            for (int k = 0; k < n; k++) a[i * n + k] += in[i] * in[k];
            for (int c = 0; c < 3; c++) b[i * 3 + c] += in[i] * colour[c];
        }
    }
    if (ok) {
        for (int i = 0; i < n; i++) a[i * n + i] += 1e-3;
        solve3(a, b, n);
        for (int i = 0; i < n * 3; i++) map[i] = (float)b[i];
    }
    free(latent);
    device_free(p->dev, noisy);
    device_free(p->dev, picture);
    free(a);
    free(b);
    free(g);
    if (ok) return map;
    free(map);
    return NULL;
}

/* What the latent at step i would be without its noise, as far as the network's last output tells, seen through the linear map. */
static struct image_rgb preview(const struct pipeline *p, const dev_float *latent, int h, int w, double keep)
{
    struct image_rgb out = { .width = w, .height = h, .pixels = malloc((size_t)h * (size_t)w * 3) };
    int channels = vae_config(p->vae)->n_latent;
    int64_t plane = (int64_t)h * w;
    if (!out.pixels) return (struct image_rgb){ 0 };
    const float *x = device_read(p->dev, latent, (size_t)(channels * plane));
    for (int64_t i = 0; i < plane; i++) {
        for (int c = 0; c < 3; c++) {
            float v = p->preview[channels * 3 + c];
            for (int k = 0; k < channels; k++) v += p->preview[k * 3 + c] * x[k * plane + i] * (float)keep;
            out.pixels[i * 3 + c] = picture_byte(v);
        }
    }
    return out;
}

/* ---- drawing ----------------------------------------------------------------------------------------------- */

struct canvas {               /* what image to image starts from, shared by the n pictures */
    struct image_rgb picture; /* width x height */
    unsigned char *mask;      /* [height, width] 255: repaint; NULL: everything */
    struct device *dev;
    dev_float *mask_latent; /* [h, w] 0 or 1; NULL: no mask */
    dev_float *rgb;         /* [height, width, 3] in -1..1 */
};

static void canvas_free(struct canvas *k)
{
    free(k->picture.pixels);
    free(k->mask);
    device_free(k->dev, k->mask_latent);
    device_free(k->dev, k->rgb);
}

/* Host values that are gone when it returns; NULL and *e when there is no memory. */
static dev_float *to_device(struct device *dev, float *v, size_t n, struct err *e)
{
    dev_float *p = device_floats(dev, n, e);
    if (p) device_upload(dev, p, v, n);
    free(v);
    return p;
}

static bool canvas_make(struct canvas *k, const struct draw *d, int factor, struct err *e)
{
    const struct image_request *r = d->r;
    if (!picture_canvas(r->init, r->mask, r->expand_left, r->expand_top, r->expand_right, r->expand_bottom,
                        r->draw_width, r->draw_height, &k->picture, &k->mask, e)) {
        return false;
    }
    size_t pixels = (size_t)r->draw_width * (size_t)r->draw_height;
    int h = r->draw_height / factor, w = r->draw_width / factor;
    k->dev = d->p->dev;
    float *rgb = malloc(pixels * 3 * sizeof *rgb),
          *mask = k->mask ? malloc((size_t)h * (size_t)w * sizeof *mask) : NULL;
    if (!rgb || (k->mask && !mask)) {
        free(rgb);
        free(mask);
        return err_set(e, ERR_NOMEM, "no memory for a %dx%d canvas", r->draw_width, r->draw_height);
    }
    for (size_t i = 0; i < pixels * 3; i++) rgb[i] = (float)k->picture.pixels[i] / 127.5f - 1.0f;
    k->rgb = to_device(k->dev, rgb, pixels * 3, e);
    if (mask) {
        picture_mask_latent(mask, w, h, k->mask, factor);
        k->mask_latent = to_device(k->dev, mask, (size_t)h * (size_t)w, e);
    }
    return k->rgb && (!k->mask || k->mask_latent);
}

static bool no_memory(const struct image_request *r, struct err *e)
{
    return err_set(e, ERR_NOMEM, "no memory for a picture of %dx%d", r->width, r->height);
}

/* The picture at another size, of another shape with its edges going on; on failure it is as it was. */
static bool scale_to(struct image_rgb *picture, int width, int height)
{
    if (picture->width == width && picture->height == height) return true;
    struct image_rgb out = { width, height, malloc((size_t)width * (size_t)height * 3) };
    if (!out.pixels ||
        !picture_fit(out.pixels, width, height, picture->pixels, picture->width, picture->height, NULL)) {
        free(out.pixels);
        return false;
    }
    free(picture->pixels);
    *picture = out;
    return true;
}

struct buffers {
    dev_float *x, *out, *noise, *clean, *extra, *rgb;
    float *drawn; /* noise on its way to the device */
    size_t values;
};

/* Fresh unit noise, drawn on the host: the same numbers on every device. */
static void draw_noise(struct device *dev, struct noise *g, struct buffers *b, dev_float *to)
{
    noise_fill(g, b->drawn, b->values);
    device_upload(dev, to, b->drawn, b->values);
}

static bool draw_one(const struct draw *d, struct nn_ctx *c, int index, const struct conditioning *positive,
                     const struct conditioning *negative, const struct canvas *k, struct buffers *b,
                     struct noise *g, struct err *e)
{
    struct pipeline *p = d->p;
    const struct image_request *r = d->r;
    int factor = vae_factor(p->vae), h = r->draw_height / factor, w = r->draw_width / factor;
    int64_t plane = (int64_t)h * w;
    size_t values = (size_t)plane * (size_t)vae_config(p->vae)->n_latent;
    uint64_t seed = r->seed + (uint64_t)index;
    struct schedule *s = NULL;
    enum sampler sampler = r->sampler ? (enum sampler)sampler_by_name(r->sampler) : p->schedule.sampler;
    if (!schedule_new(&s, p->dev, &p->schedule, sampler, r->steps, (int)(plane / 4), values, e)) return false;

    bool ok = true;
    int first = 0, steps = schedule_steps(s);
    noise_seed(g, seed);
    if (r->init) {
        /* The references draw the posterior's noise before the latent's. */
        draw_noise(p->dev, g, b, b->extra);
        ok = vae_encode(p->vae, p->dev, k->rgb, r->draw_height, r->draw_width, b->extra, b->clean, d->cancel,
                        e);
        first = schedule_begin(s, r->strength);
    }
    if (r->noise)
        device_upload(p->dev, b->noise, r->noise + (size_t)index * values, values);
    else
        draw_noise(p->dev, g, b, b->noise);
    /* The references encode what the mask leaves as well, for UNets of another kind: that much of the noise is gone. */
    if (k->mask && schedule_wants_noise(s)) draw_noise(p->dev, g, b, b->extra);
    /* What is painted anew altogether starts from noise alone, as in the references' inpainting. */
    bool whole = !r->init || (k->mask_latent && r->strength >= 1);
    if (!whole && first < steps) {
        schedule_add_noise(s, first, b->x, b->clean, b->noise);
    } else if (!whole) {
        device_copy(p->dev, b->x, b->clean, values);
    } else {
        op_scale(p->dev, b->x, b->noise, (float)schedule_start(s), (int64_t)values);
    }

    for (int i = first; ok && i < steps; i++) {
        if (!p->kind->predict(p, c, s, i, b->x, h, w, positive, negative, r->guidance, b->out, d->cancel) ||
            *d->cancel) {
            ok = err_set(e, ERR_CANCELLED, "cancelled");
            break;
        }
        if (!pipeline_intact(p, e)) { /* what was computed may be of anything */
            ok = false;
            break;
        }
        if (schedule_wants_noise(s)) draw_noise(p->dev, g, b, b->extra);
        schedule_step(s, i, b->x, b->out, schedule_wants_noise(s) ? b->extra : NULL);
        if (k->mask_latent) {
            /* Outside the mask the picture keeps its place on the way from noise to itself. */
            schedule_add_noise(s, i + 1, b->extra, b->clean, b->noise);
            op_mask(p->dev, b->x, b->extra, k->mask_latent, vae_config(p->vae)->n_latent, plane);
        }
        if (!device_finish(p->dev, e)) {
            ok = false;
            break;
        }
        struct image_rgb small = { 0 };
        double sigma = schedule_sigma(s, i + 1);
        if (r->previews && p->preview) small = preview(p, b->x, h, w, 1 / sqrt(1 + sigma * sigma));
        d->progress(d->arg, index, i + 1 - first, steps - first, small);
    }
    schedule_free(s);
    if (ok && *d->cancel) ok = err_set(e, ERR_CANCELLED, "cancelled");
    if (!ok) return false;
    if (d->latent) d->latent(d->arg, index, device_read(p->dev, b->x, values), h, w);

    /* Above about a megapixel the decoder works in tiles: its widest activations would otherwise pass two gigabytes. */
    int tile = plane > 160 * 160 ? 128 : 0;
    if (!vae_decode(p->vae, p->dev, b->x, h, w, tile, b->rgb, d->cancel, e) || !device_finish(p->dev, e) ||
        !pipeline_intact(p, e))
        return false;
    if (*d->cancel) return err_set(e, ERR_CANCELLED, "cancelled"); /* perhaps inside its last operation */
    struct image_rgb picture = { .width = r->draw_width, .height = r->draw_height };
    size_t pixels = (size_t)picture.width * (size_t)picture.height;
    picture.pixels = malloc(pixels * 3);
    if (!picture.pixels) return no_memory(r, e);
    const float *rgb = device_read(p->dev, b->rgb, pixels * 3);
    for (size_t i = 0; i < pixels; i++) {
        for (size_t ch = 0; ch < 3; ch++) {
            unsigned char v = picture_byte(rgb[i * 3 + ch]);
            picture.pixels[i * 3 + ch] =
                k->mask ? picture_lay(v, k->picture.pixels[i * 3 + ch], k->mask[i]) : v;
        }
    }
    if (!scale_to(&picture, r->width, r->height)) {
        free(picture.pixels);
        return no_memory(r, e);
    }
    d->finished(d->arg, index, seed, picture);
    return true;
}

bool pipeline_draw(const struct draw *d, struct err *e)
{
    struct pipeline *p = d->p;
    const struct image_request *r = d->r;
    int factor = vae_factor(p->vae), h = r->draw_height / factor, w = r->draw_width / factor;
    size_t values = (size_t)h * (size_t)w * (size_t)vae_config(p->vae)->n_latent;
    size_t pixels = (size_t)r->draw_width * (size_t)r->draw_height;
    struct device *dev = p->dev;
    struct device_arena scratch;
    if (!device_arena_init(&scratch, dev, p->kind->scratch(p, h, w, r->guidance > 1), e)) return false;
    struct nn_ctx c = { .dev = p->dev, .scratch = &scratch, .lora = d->lora, .n_lora = d->n_lora };
    struct canvas k = { 0 };
    struct buffers b = { device_floats(dev, values, e),  device_floats(dev, values, e),
                         device_floats(dev, values, e),  device_floats(dev, values, e),
                         device_floats(dev, values, e),  device_floats(dev, pixels * 3, e),
                         malloc(values * sizeof(float)), values };
    struct noise *g = malloc(sizeof *g);
    bool ok = b.x && b.out && b.noise && b.clean && b.extra && b.rgb && b.drawn && g;
    if (!ok) no_memory(r, e);
    if (ok && r->init) ok = canvas_make(&k, d, factor, e);
    if (ok && r->previews && !p->preview) {
        p->preview = fit_preview(p);
        if (*d->cancel) { /* what was given up is not kept */
            free(p->preview);
            p->preview = NULL;
        }
    }
    struct conditioning positive, negative;
    if (ok) ok = p->kind->encode(p, &c, r, &positive, &negative, e);
    if (ok && *d->cancel) ok = err_set(e, ERR_CANCELLED, "cancelled");
    if (ok) ok = device_finish(dev, e);
    for (int i = 0; ok && i < r->n; i++) ok = draw_one(d, &c, i, &positive, &negative, &k, &b, g, e);
    canvas_free(&k);
    dev_float *const piece[] = { b.x, b.out, b.noise, b.clean, b.extra, b.rgb };
    for (size_t i = 0; i < sizeof piece / sizeof *piece; i++) device_free(dev, piece[i]);
    free(b.drawn);
    free(g);
    device_arena_free(&scratch);
    (void)device_finish(dev, NULL); /* what was given up leaves no failure to the next request */
    return ok;
}
