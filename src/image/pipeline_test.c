/* Whole pipelines through the engine's door, against pictures that diffusers drew with the same folders: every pixel must be the
 * reference's value rounded (tools/reference/pipeline_golden.py). */
#include <stdatomic.h>

#include "image/golden.h"
#include "image/image.h"
#include "image/picture.h"

enum { MASK_W = 48, MASK_H = 32 }; /* of mask_golden.py's pictures */
#define PIPELINES "tests/golden/pipelines/"

static struct golden g;

static struct image_model *open_model(const char *path)
{
    struct err e = { 0 };
    struct image_model *m = NULL;
    if (!image_load(&m, path, NULL, g.dev, &e)) fail_msg("%s", e.msg);
    return m;
}

struct result {
    struct image_rgb picture[4];
    uint64_t seed[4];
    int n, progress, previews;
    bool done;
    struct err error;
};

static void draw(struct image_model *m, const struct image_request *r, struct result *out)
{
    struct err e = { 0 };
    struct image_job *j;
    struct image_event ev;
    *out = (struct result){ 0 };
    if (!image_submit(m, r, NULL, NULL, &j, NULL, &e)) fail_msg("%s", e.msg);
    while (image_wait(j, &ev)) {
        if (ev.type == IMAGE_EV_IMAGE) {
            assert_in_range(ev.index, 0, 3);
            out->picture[ev.index] = ev.image;
            out->seed[ev.index] = ev.seed;
            out->n++;
            ev.image.pixels = NULL;
        } else if (ev.type == IMAGE_EV_PROGRESS) {
            out->progress++;
            out->previews += ev.image.pixels != NULL;
        } else if (ev.type == IMAGE_EV_DONE) {
            out->done = true;
        } else {
            out->error = ev.error;
        }
        image_event_free(&ev);
    }
    image_job_free(j);
}

static void free_result(struct result *r)
{
    for (int i = 0; i < 4; i++) free(r->picture[i].pixels);
}

/* Every byte is the reference's value times 255, rounded, up to what the arithmetic leaves of a tie. */
static void equal_picture(const char *what, const struct image_rgb *got, const struct weights *ref,
                          const char *name)
{
    int64_t n = (int64_t)got->width * got->height * 3;
    float *want = golden_floats(ref, name, n);
    double worst = 0, spread = 0;
    for (int64_t i = 0; i < n; i++) {
        worst = fmax(worst, fabs((double)want[i] * 255 - got->pixels[i]));
        spread += fabs(want[i] - want[0]) > 0.02;
    }
    free(want);
    if (worst > 0.55) fail_msg("%s: a pixel is off by %.2f", what, worst);
    assert_true(spread > (double)n / 10); /* a picture, not one colour */
    printf("  %-36s within rounding (%.2f)\n", what, worst);
}

static const char prompt[] = "a photo of an astronaut riding a horse on mars, highly detailed";
static const char negative[] = "blurry, low quality";

static void flux_case(const char *dir, int steps)
{
    char path[128];
    snprintf(path, sizeof path, "%s/golden.safetensors", dir);
    struct weights *ref = golden_weights(path);
    struct image_model *m = open_model(dir);
    float *noise = golden_floats(ref, "noise", 2 * 4 * 12 * 16);
    struct result out;
    draw(m,
         &(struct image_request){ .prompt = prompt,
                                  .width = 32,
                                  .height = 24,
                                  .n = 2,
                                  .steps = steps,
                                  .guidance = 3.5f,
                                  .noise = noise,
                                  .previews = true },
         &out);
    assert_true(out.done);
    assert_int_equal(out.n, 2);
    assert_int_equal(out.progress, 2 * steps);
    assert_int_equal(out.previews, 2 * steps);
    equal_picture("flux, first picture", &out.picture[0], ref, "text0");
    equal_picture("flux, second picture", &out.picture[1], ref, "text1");
    free_result(&out);
    free(noise);
    image_free(m);
    weights_close(ref);
}

static void test_flux(void **state)
{
    (void)state;
    flux_case(PIPELINES "flux_dev", 5);
    flux_case(PIPELINES "flux_schnell", 3);
}

/* The right half painted anew, as diffusers' inpainting pipelines do it; they draw the kept half too, which here stays as it was. */
static void inpaint_case(struct image_model *m, const struct weights *ref, const char *name, double strength,
                         struct image_request r)
{
    static unsigned char mask[64 * 64];
    int w = r.init->width, h = r.init->height;
    struct result out;
    memset(mask, 0, sizeof mask);
    for (int y = 0; y < h; y++) memset(mask + y * w + w / 2, 255, (size_t)(w - w / 2));
    r.mask = mask;
    r.strength = strength;
    draw(m, &r, &out);
    if (!out.done) fail_msg("%s: %s", name, out.error.msg);
    float *want = golden_floats(ref, name, (int64_t)w * h * 3);
    double worst = 0;
    for (int y = 0; y < h; y++) {
        assert_memory_equal(out.picture[0].pixels + y * w * 3, r.init->pixels + y * w * 3, (size_t)w / 2 * 3);
        for (int i = (y * w + w / 2) * 3; i < (y + 1) * w * 3; i++)
            worst = fmax(worst, fabs((double)want[i] * 255 - out.picture[0].pixels[i]));
    }
    if (worst > 0.55) fail_msg("%s: a pixel is off by %.2f", name, worst);
    printf("  %-36s within rounding (%.2f)\n", name, worst);
    free(want);
    free_result(&out);
}

static void test_flux_inpainting(void **state)
{
    (void)state;
    struct weights *ref = golden_weights(PIPELINES "flux_dev/golden.safetensors");
    struct image_model *m = open_model(PIPELINES "flux_dev");
    struct image_rgb init = { 32, 24, (unsigned char *)weights_find(ref, "init")->data };
    struct image_request r = {
        .prompt = prompt, .n = 1, .steps = 5, .guidance = 3.5f, .seed = 79, .init = &init
    };
    inpaint_case(m, ref, "inpaint", 0.6, r);
    inpaint_case(m, ref, "inpaint_whole", 1, r);
    image_free(m);
    weights_close(ref);
}

/* Masks across the latent's cells, soft ones, and both picture and mask scaled: where the mask is at least half on, the reference's
 * picture; where it is 0, the input (tools/reference/mask_golden.py). */
static void mask_case(struct image_model *m, const struct weights *ref, const char *name, const char *init,
                      const char *mask, const char *before, const char *seen, double strength,
                      const char *sampler)
{
    const struct tensor *p = weights_find(ref, init), *k = weights_find(ref, mask);
    const unsigned char *kept = weights_find(ref, before)->data, *on = weights_find(ref, seen)->data;
    struct image_rgb start = { (int)p->dim[1], (int)p->dim[0], (unsigned char *)p->data };
    struct image_request r = { .prompt = prompt,
                               .n = 1,
                               .steps = 5,
                               .guidance = 5,
                               .seed = 7,
                               .width = MASK_W,
                               .height = MASK_H,
                               .init = &start,
                               .mask = k->data,
                               .strength = strength,
                               .sampler = sampler };
    struct result out;
    draw(m, &r, &out);
    if (!out.done) fail_msg("%s: %s", name, out.error.msg);
    float *want = golden_floats(ref, name, MASK_W * MASK_H * 3);
    double worst = 0;
    int inside = 0;
    for (int i = 0; i < MASK_W * MASK_H * 3; i++) {
        int v = out.picture[0].pixels[i];
        if (on[i / 3] == 0) assert_int_equal(v, kept[i]);
        if (on[i / 3] <= 127) continue;
        worst = fmax(worst, fabs((double)want[i] * 255 - v));
        inside++;
    }
    assert_true(inside > MASK_W * MASK_H * 3 / 4);
    if (worst > 0.55) fail_msg("%s: a pixel is off by %.2f", name, worst);
    printf("  %-36s within rounding (%.2f)\n", name, worst);
    free(want);
    free_result(&out);
}

static void test_masks(void **state)
{
    (void)state;
    static const char *const family[][2] = { { "sdxl", "sdxl" }, { "flux", "flux_dev" } };
    for (int i = 0; i < 2; i++) {
        char path[128];
        snprintf(path, sizeof path, GOLDEN_DIR "masks/%s.safetensors", family[i][0]);
        struct weights *ref = golden_weights(path);
        snprintf(path, sizeof path, PIPELINES "%s", family[i][1]);
        struct image_model *m = open_model(path);
        printf("  %s\n", family[i][0]);
        mask_case(m, ref, "hard_0.3", "init", "hard", "init", "hard", 0.3, NULL);
        mask_case(m, ref, "hard_0.6", "init", "hard", "init", "hard", 0.6, NULL);
        mask_case(m, ref, "hard_1.0", "init", "hard", "init", "hard", 1, NULL);
        mask_case(m, ref, "soft_0.6", "init", "soft", "init", "soft", 0.6, NULL);
        mask_case(m, ref, "large_0.6", "large", "large_mask", "scaled", "scaled_mask", 0.6, NULL);
        if (i == 0) mask_case(m, ref, "ancestral_0.6", "init", "hard", "init", "hard", 0.6, "euler_a");
        image_free(m);
        weights_close(ref);
    }
}

static void test_flux_seed_and_image(void **state)
{
    (void)state;
    struct weights *ref = golden_weights(PIPELINES "flux_dev/golden.safetensors");
    struct image_model *m = open_model(PIPELINES "flux_dev");
    struct result out, alone;
    struct image_request r = {
        .prompt = prompt, .width = 32, .height = 24, .n = 1, .steps = 5, .guidance = 3.5f, .seed = 4242
    };
    draw(m, &r, &out);
    equal_picture("flux, diffusers' own seed", &out.picture[0], ref, "seed4242");
    free_result(&out);

    /* The third of three is the one that its seed draws alone. */
    r.n = 3;
    r.seed = 7;
    draw(m, &r, &out);
    assert_int_equal(out.seed[2], 9);
    r.n = 1;
    r.seed = 9;
    draw(m, &r, &alone);
    assert_memory_equal(out.picture[2].pixels, alone.picture[0].pixels, 32 * 24 * 3);
    free_result(&out);
    free_result(&alone);

    const struct tensor *start = weights_find(ref, "init");
    struct image_rgb init = { 32, 24, (unsigned char *)start->data };
    r = (struct image_request){
        .prompt = prompt, .n = 1, .steps = 5, .guidance = 3.5f, .seed = 77, .init = &init, .strength = 0.6
    };
    draw(m, &r, &out);
    equal_picture("flux, image to image", &out.picture[0], ref, "img2img");
    free_result(&out);

    /* Inpainting leaves what the mask does not name as it was, byte for byte; outpainting keeps the old picture in its place. */
    unsigned char mask[24 * 32] = { 0 };
    for (int y = 0; y < 24; y++) memset(mask + y * 32 + 16, 255, 16);
    r.mask = mask;
    r.strength = 1;
    draw(m, &r, &out);
    int changed = 0;
    for (int y = 0; y < 24; y++) {
        assert_memory_equal(out.picture[0].pixels + y * 96, init.pixels + y * 96, 48);
        changed += memcmp(out.picture[0].pixels + y * 96 + 48, init.pixels + y * 96 + 48, 48) != 0;
    }
    assert_true(changed > 12);
    free_result(&out);
    r.mask = NULL;
    r.expand_left = 8;
    r.expand_bottom = 4;
    draw(m, &r, &out);
    assert_int_equal(out.picture[0].width, 40);
    assert_int_equal(out.picture[0].height, 28);
    for (int y = 0; y < 24; y++)
        assert_memory_equal(out.picture[0].pixels + (y * 40 + 8) * 3, init.pixels + y * 96, 96);
    free_result(&out);
    image_free(m);
    weights_close(ref);
}

/* The message says `says`, and the field it is about is `names`. */
static void refused(struct image_model *m, struct image_request r, const char *says, const char *names)
{
    struct err e = { 0 };
    const char *field = "unset";
    struct image_job *j;
    r.prompt = prompt;
    r.n = 1;
    assert_false(image_submit(m, &r, NULL, NULL, &j, &field, &e));
    assert_int_equal(e.code, ERR_REQUEST);
    if (!strstr(e.msg, says)) fail_msg("\"%s\" does not say \"%s\"", e.msg, says);
    assert_string_equal(field, names);
}

/* A picture at another size than the network draws is the drawn one scaled. */
static void test_drawn_at_another_size(void **state)
{
    (void)state;
    struct image_model *m = open_model(PIPELINES "flux_dev");
    struct image_request r = {
        .prompt = prompt, .width = 32, .height = 16, .n = 2, .steps = 2, .guidance = 1, .seed = 3
    };
    struct result small, large;
    draw(m, &r, &small);
    r.draw_width = 32;
    r.draw_height = 16;
    r.width = 80;
    r.height = 40;
    draw(m, &r, &large);
    assert_int_equal(large.n, 2);
    static unsigned char want[80 * 40 * 3];
    for (int i = 0; i < 2; i++) {
        assert_true(large.picture[i].width == 80 && large.picture[i].height == 40);
        assert_true(picture_scale(want, 80, 40, small.picture[i].pixels, 32, 16, 3, NULL));
        assert_memory_equal(large.picture[i].pixels, want, sizeof want);
    }
    free_result(&small);
    free_result(&large);

    /* Image to image: the input is brought to the drawn size, the result to the one asked for, here the input's own. */
    struct image_rgb init = { 64, 32, calloc(64 * 32, 3) };
    r.init = &init;
    r.strength = 0.5;
    r.width = r.height = 0;
    draw(m, &r, &large);
    assert_true(large.done && large.picture[1].width == 64 && large.picture[1].height == 32);
    free_result(&large);

    unsigned char mask[64 * 32] = { 0 };
    r.mask = mask;
    refused(m, r, "with a mask or an expansion flux_dev makes 32x16 only, got 64x32", "image");
    r.mask = NULL;
    r.expand_left = 64;
    r.expand_bottom = 32;
    refused(m, r, "makes 32x16 only, got 128x64", "image");
    r.expand_bottom = 0;
    refused(m, r, "from an input picture flux_dev draws 32x16 and pictures of that shape, got 128x32",
            "size");
    r.expand_left = 0;
    r.draw_width = 33;
    refused(m, r, "multiples of", "size");
    r.draw_width = r.draw_height = 1 << 14;
    r.width = r.height = 64;
    refused(m, r, "pixels", "size");
    free(init.pixels);
    image_free(m);
}

static void sdxl_case(struct image_model *m, const struct weights *ref, const char *name,
                      struct image_request more)
{
    float *noise = golden_floats(ref, "noise", 4 * 12 * 20);
    struct result out;
    more.prompt = prompt;
    more.width = 40;
    more.height = 24;
    more.n = 1;
    more.steps = 6;
    more.noise = noise;
    draw(m, &more, &out);
    if (!out.done) fail_msg("%s: %s", name, out.error.msg);
    equal_picture(name, &out.picture[0], ref, name);
    free_result(&out);
    free(noise);
}

static void test_sdxl(void **state)
{
    (void)state;
    struct weights *ref = golden_weights(PIPELINES "sdxl/golden.safetensors");
    struct image_model *m = open_model(PIPELINES "sdxl");
    assert_true(image_info(m)->takes_negative);
    sdxl_case(m, ref, "plain", (struct image_request){ .guidance = 5 });
    sdxl_case(m, ref, "negative", (struct image_request){ .guidance = 5, .negative_prompt = negative });
    sdxl_case(m, ref, "unguided", (struct image_request){ .guidance = 1 });
    sdxl_case(m, ref, "skip", (struct image_request){ .guidance = 5, .clip_skip = 1 });
    sdxl_case(m, ref, "skip_negative",
              (struct image_request){ .guidance = 5, .clip_skip = 1, .negative_prompt = negative });
    sdxl_case(m, ref, "dpmpp_2m", (struct image_request){ .guidance = 5, .sampler = "dpmpp_2m" });
    sdxl_case(m, ref, "dpmpp_2m_karras",
              (struct image_request){ .guidance = 5, .sampler = "dpmpp_2m_karras" });
    sdxl_case(m, ref, "ddim", (struct image_request){ .guidance = 5, .sampler = "ddim" });
    const struct tensor *start = weights_find(ref, "init");
    struct image_rgb init = { 40, 24, (unsigned char *)start->data };
    struct result out;
    draw(
        m,
        &(struct image_request){
            .prompt = prompt, .n = 1, .steps = 6, .guidance = 5, .seed = 78, .init = &init, .strength = 0.6 },
        &out);
    equal_picture("sdxl, image to image", &out.picture[0], ref, "img2img");
    free_result(&out);
    struct image_request again = {
        .prompt = prompt, .n = 1, .steps = 6, .guidance = 5, .seed = 79, .init = &init
    };
    inpaint_case(m, ref, "inpaint", 0.6, again);
    inpaint_case(m, ref, "inpaint_whole", 1, again);
    image_free(m);
    weights_close(ref);
}

static void test_playground(void **state)
{
    (void)state;
    struct weights *ref = golden_weights(PIPELINES "playground/golden.safetensors");
    struct image_model *m = open_model(PIPELINES "playground");
    assert_string_equal(image_info(m)->family, "playground-v2.5");
    sdxl_case(m, ref, "plain", (struct image_request){ .guidance = 5 });
    sdxl_case(m, ref, "negative", (struct image_request){ .guidance = 5, .negative_prompt = negative });
    sdxl_case(m, ref, "unguided", (struct image_request){ .guidance = 1 });
    struct image_rgb init = { 40, 24, (unsigned char *)weights_find(ref, "init")->data };
    struct result out;
    draw(
        m,
        &(struct image_request){
            .prompt = prompt, .n = 1, .steps = 6, .guidance = 5, .seed = 78, .init = &init, .strength = 0.6 },
        &out);
    equal_picture("playground, image to image", &out.picture[0], ref, "img2img");
    free_result(&out);
    image_free(m);
    weights_close(ref);
}

static void test_japanese(void **state)
{
    (void)state;
    struct weights *ref = golden_weights(PIPELINES "japanese/golden.safetensors");
    struct image_model *m = open_model(PIPELINES "japanese");
    sdxl_case(m, ref, "plain", (struct image_request){ .guidance = 5 });
    sdxl_case(m, ref, "negative", (struct image_request){ .guidance = 5, .negative_prompt = negative });
    image_free(m);
    weights_close(ref);
}

static void test_refusals(void **state)
{
    (void)state;
    struct image_model *m = open_model(PIPELINES "flux_dev");
    struct image_rgb init = { 8, 8, calloc(64, 3) };
    refused(m, (struct image_request){ .negative_prompt = negative }, "negative_prompt is not supported",
            "negative_prompt");
    refused(m, (struct image_request){ .width = 33, .height = 32 }, "multiples of", "size");
    refused(m, (struct image_request){ .width = 1 << 20, .height = 1 << 20 }, "pixels", "size");
    refused(m, (struct image_request){ .steps = -1 }, "steps", "steps");
    refused(m, (struct image_request){ .steps = 1 << 20 }, "steps", "steps");
    refused(m, (struct image_request){ .sampler = "euler" }, "sampler", "sampler");
    refused(m, (struct image_request){ .expand_left = 4 }, "needs an image", "image");
    refused(m, (struct image_request){ .init = &init, .strength = 1.5 }, "strength", "strength");
    refused(m, (struct image_request){ .guidance = NAN }, "guidance_scale", "guidance_scale");
    refused(m, (struct image_request){ .clip_skip = 1 }, "clip_skip", "clip_skip");
    free(init.pixels);
    image_free(m);

    struct err e = { 0 };
    assert_false(image_load(&m, "tests/golden/image", NULL, g.dev, &e));
    assert_false(image_load(&m, "tests/golden/image/t5/model.safetensors", NULL, g.dev, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
}

static void test_cancel(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct image_model *m = open_model(PIPELINES "flux_dev");
    struct image_request r = {
        .prompt = prompt, .width = 64, .height = 64, .n = 1, .steps = 1000, .guidance = 1
    };
    struct image_job *running = NULL, *waiting = NULL, *forgotten = NULL;
    if (!image_submit(m, &r, NULL, NULL, &running, NULL, &e) ||
        !image_submit(m, &r, NULL, NULL, &waiting, NULL, &e) ||
        !image_submit(m, &r, NULL, NULL, &forgotten, NULL, &e)) {
        fail_msg("%s", e.msg);
    }
    struct image_event ev;
    assert_true(image_wait(running, &ev)); /* it has begun */
    image_event_free(&ev);
    image_cancel(running);
    image_cancel(waiting);
    image_job_free(forgotten);
    struct image_job *both[] = { running, waiting };
    for (int i = 0; i < 2; i++) {
        bool cancelled = false;
        while (image_wait(both[i], &ev)) {
            cancelled = ev.type == IMAGE_EV_ERROR && ev.error.code == ERR_CANCELLED;
            image_event_free(&ev);
        }
        assert_true(cancelled);
        image_job_free(both[i]);
    }
    /* Work that was given up leaves nothing behind: the next picture and its previews are those of a fresh model. */
    struct image_model *fresh = open_model(PIPELINES "flux_dev");
    struct result after, want;
    r.steps = 2;
    r.width = r.height = 32;
    r.previews = true;
    draw(m, &r, &after);
    draw(fresh, &r, &want);
    assert_true(after.done && after.previews == 2 && want.previews == 2);
    assert_memory_equal(after.picture[0].pixels, want.picture[0].pixels, 32 * 32 * 3);
    free_result(&after);
    free_result(&want);
    image_free(fresh);
    image_free(m);
}

/* Whoever cancels has left the queue when image_cancel() returns: its place is free though the worker is at a long picture. */
static void test_cancelled_leave_the_queue(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct image_model *m;
    if (!image_load(&m, PIPELINES "flux_dev", &(struct image_options){ .queue_limit = 2 }, g.dev, &e))
        fail_msg("%s", e.msg);
    struct image_request r = {
        .prompt = prompt, .width = 64, .height = 64, .n = 10, .steps = 1000, .guidance = 1
    };
    struct image_job *running, *waiting[2], *one_more;
    struct image_event ev;
    if (!image_submit(m, &r, NULL, NULL, &running, NULL, &e)) fail_msg("%s", e.msg);
    assert_true(image_wait(running, &ev)); /* it has begun, and goes on for long */
    image_event_free(&ev);
    for (int i = 0; i < 2; i++)
        if (!image_submit(m, &r, NULL, NULL, &waiting[i], NULL, &e)) fail_msg("%s", e.msg);
    assert_false(image_submit(m, &r, NULL, NULL, &one_more, NULL, &e));
    assert_int_equal(e.code, ERR_BUSY);
    image_cancel(waiting[1]);
    assert_true(image_next(waiting[1], &ev));
    assert_true(ev.type == IMAGE_EV_ERROR && ev.error.code == ERR_CANCELLED);
    image_cancel(waiting[1]); /* once more: nothing */
    assert_false(image_next(waiting[1], &ev));
    image_job_free(waiting[0]);
    for (int i = 0; i < 2; i++) /* two places are free, at the end and in front */
        if (!image_submit(m, &r, NULL, NULL, i ? &one_more : &waiting[0], NULL, &e)) fail_msg("%s", e.msg);
    image_job_free(waiting[0]);
    image_job_free(waiting[1]);
    image_job_free(one_more);
    image_job_free(running);
    image_free(m);
}

enum { FLOOD = 6 };
struct order {
    int begun[FLOOD + 1], n; /* the jobs in the order of their first events: the worker's */
    struct watched {
        struct order *order;
        int which;
        bool seen;
    } job[FLOOD + 1];
};

static void note_first(void *arg)
{
    struct watched *w = arg;
    if (!w->seen) w->order->begun[w->order->n++] = w->which;
    w->seen = true;
}

/* Of several shares the one that had the fewest steps is next, whoever asked more and before; the higher priority before that. */
static void test_shares_of_pictures(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct image_model *m = open_model(PIPELINES "flux_schnell");
    struct image_request r = {
        .prompt = prompt, .width = 64, .height = 64, .n = 10, .steps = 50, .guidance = 1, .share = { .id = 1 }
    };
    struct order o = { .n = 0 };
    struct image_job *long_one, *job[FLOOD + 1];
    struct image_event ev;
    if (!image_submit(m, &r, NULL, NULL, &long_one, NULL, &e)) fail_msg("%s", e.msg);
    assert_true(image_wait(long_one, &ev)); /* it has begun, and goes on for long */
    image_event_free(&ev);
    r.n = r.steps = 1;
    r.width = r.height = 32;
    for (int i = 0; i <= FLOOD; i++) {
        r.share.id = i < 3 ? 1 : i < FLOOD ? 2 : 3;
        r.share.priority = i == FLOOD;
        o.job[i] = (struct watched){ &o, i, false };
        if (!image_submit(m, &r, note_first, &o.job[i], &job[i], NULL, &e)) fail_msg("%s", e.msg);
    }
    image_job_free(long_one);
    for (int i = 0; i <= FLOOD; i++) {
        while (image_wait(job[i], &ev)) image_event_free(&ev);
        image_job_free(job[i]);
    }
    image_free(m); /* the worker is gone, and what it wrote is here */
    /* The second share begins where the first was when it came: 500 steps. From then on they take turns, the older first. */
    const int want[] = { 6, 0, 3, 1, 4, 2, 5 };
    assert_int_equal(o.n, FLOOD + 1);
    for (int i = 0; i <= FLOOD; i++) assert_int_equal(o.begun[i], want[i]);
}

/* An operation fails while a picture is drawn: its request ends with the device's error, and the next is drawn as if nothing had been. */
static void test_a_failing_operation(void **state)
{
    (void)state;
    struct image_model *m = open_model(PIPELINES "flux_schnell");
    const struct image_request r = {
        .prompt = prompt, .width = 32, .height = 32, .n = 1, .steps = 2, .guidance = 3.5f
    };
    struct result before, out;
    draw(m, &r, &before);
    assert_true(before.done);
    static const int at[] = { 3, 60, 100 }; /* in the encoders and in the transformer */
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        device_guard_fail(g.dev, at[i]);
        draw(m, &r, &out);
        assert_false(out.done);
        assert_int_equal(out.n, 0);
        if (!strstr(out.error.msg, "an operation failed on guard")) fail_msg("%d: %s", at[i], out.error.msg);
        free_result(&out);
        draw(m, &r, &out);
        if (!out.done) fail_msg("after %d: %s", at[i], out.error.msg);
        assert_memory_equal(out.picture[0].pixels, before.picture[0].pixels, 32 * 32 * 3);
        free_result(&out);
    }
    free_result(&before);
    image_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flux),
        cmocka_unit_test(test_a_failing_operation),
        cmocka_unit_test(test_flux_seed_and_image),
        cmocka_unit_test(test_flux_inpainting),
        cmocka_unit_test(test_masks),
        cmocka_unit_test(test_sdxl),
        cmocka_unit_test(test_playground),
        cmocka_unit_test(test_japanese),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancelled_leave_the_queue),
        cmocka_unit_test(test_shares_of_pictures),
        cmocka_unit_test(test_drawn_at_another_size),
    };
    golden_open(&g);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_close(&g);
    return failed;
}
