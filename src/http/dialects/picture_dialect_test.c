/* picture_dialect_test.c - requests as each image API spells them, and answers as each prints them, without an engine. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/dialects/cost.h"
#include "http/dialects/firemoon.h"
#include "http/dialects/picture_dialect.h"

static const struct picture_dialect *const all[] = { &openai_pictures, &workflow_pictures, &sdxl_pictures,
                                                     &firemoon_pictures };
enum { N_ALL = sizeof all / sizeof *all };

/* *w is to be freed whatever comes back. */
static bool parse(struct picture_wire *w, const struct picture_dialect *d, const char *body, struct fault *f)
{
    json_t *o = json_loads(body, 0, NULL);
    assert_non_null(o);
    *f = (struct fault){ 0 };
    picture_wire_init(w, d, false);
    bool ok = picture_wire_json(w, o, true, f);
    json_decref(o);
    return ok;
}

/* ---- requests ------------------------------------------------------------------------------------------------------ */

/* The same wish in each dialect's own words. */
static void test_same_wish(void **state)
{
    (void)state;
    static const char *const body[N_ALL] = {
        "{\"prompt\":\"a\",\"n\":2,\"size\":\"1024x768\",\"steps\":7,\"cfg_scale\":3,\"seed\":9}",
        "{\"prompt\":\"a\",\"samples\":1,\"width\":1024,\"height\":768,\"num_inference_steps\":7,"
        "\"guidance_scale\":3,\"seed\":9}",
        "{\"text_prompts\":[{\"text\":\"a\"}],\"samples\":1,\"width\":\"1024\",\"height\":768,\"steps\":7,"
        "\"cfg_scale\":3,\"seed\":9}",
        "{\"prompt\":\"a\",\"num_images\":2,\"image_size\":\"landscape_4_3\",\"num_inference_steps\":7,"
        "\"guidance_scale\":3,\"seed\":9}",
    };
    for (int i = 0; i < N_ALL; i++) {
        struct picture_wire w;
        struct fault f;
        if (!parse(&w, all[i], body[i], &f)) fail_msg("%d: %s", i, f.err.msg);
        assert_string_equal(w.q.prompt, "a");
        assert_int_equal(w.q.width, 1024);
        assert_int_equal(w.q.height, 768);
        assert_int_equal(w.q.steps, 7);
        assert_true(w.q.guidance == 3);
        assert_true(w.q.has_seed && w.q.seed == 9);
        picture_wire_free(&w);
    }
}

/* What only one of them knows is refused by the others. */
static void test_own_fields(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        int known_to; /* one bit each */
    } own[] = {
        { "{\"prompt\":\"a\",\"quality\":\"hd\"}", 1 },
        { "{\"prompt\":\"a\",\"num_images\":2}", 1 | 8 },
        { "{\"prompt\":\"a\",\"aspect_ratio\":\"16:9\"}", 1 | 2 | 4 },
        { "{\"prompt\":\"a\",\"crop_padding\":true}", 4 },
        { "{\"prompt\":\"a\",\"lora_scale\":0.5}", 8 },
        { "{\"prompt\":\"a\",\"guidance_scale\":50}", 1 | 2 | 4 },
        { "{\"prompt\":\"a\",\"image_size\":\"auto\"}", 1 },
    };
    for (size_t k = 0; k < sizeof own / sizeof *own; k++) {
        for (int i = 0; i < N_ALL; i++) {
            struct picture_wire w;
            struct fault f;
            bool ok = parse(&w, all[i], own[k].body, &f);
            if (ok != ((own[k].known_to >> i & 1) != 0)) fail_msg("%s in dialect %d", own[k].body, i);
            if (!ok) assert_int_equal(f.err.code, ERR_REQUEST);
            picture_wire_free(&w);
        }
    }
}

static void test_seed_zero(void **state)
{
    (void)state;
    for (int i = 0; i < N_ALL; i++) {
        struct picture_wire w;
        struct fault f;
        assert_true(parse(&w, all[i], "{\"prompt\":\"a\",\"seed\":0}", &f));
        assert_int_equal(w.q.has_seed, all[i] == &openai_pictures || all[i] == &firemoon_pictures);
        picture_wire_free(&w);
    }
}

static void test_accept(void **state)
{
    (void)state;
    static const struct {
        struct picture_headers h;
        enum fault_kind kind;
        enum picture_answer answer;
        enum image_format format;
        int quality;
    } cases[] = {
        { { NULL, NULL, NULL }, FAULT_NONE, ANSWER_BYTES, IMAGE_PNG, 90 },
        { { "*/*", NULL, NULL }, FAULT_NONE, ANSWER_BYTES, IMAGE_PNG, 90 },
        { { "image/jpeg", NULL, "0" }, FAULT_NONE, ANSWER_BYTES, IMAGE_JPEG, 1 },
        { { "image/png;q=0.2, image/webp", NULL, NULL }, FAULT_NONE, ANSWER_BYTES, IMAGE_WEBP, 90 },
        { { "application/json", "image/jpeg", "50" }, FAULT_NONE, ANSWER_JSON, IMAGE_JPEG, 50 },
        { { "text/html", NULL, NULL }, FAULT_ACCEPT, ANSWER_BYTES, IMAGE_PNG, 90 },
        { { "image/png", NULL, "101" }, FAULT_INVALID, ANSWER_BYTES, IMAGE_PNG, 90 },
        { { "application/json", "image/gif", NULL }, FAULT_INVALID, ANSWER_JSON, IMAGE_PNG, 90 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct picture_wire w;
        struct fault f = { 0 };
        picture_wire_init(&w, &sdxl_pictures, true);
        assert_int_equal(sdxl_pictures.negotiate(&w, &cases[i].h, &f), cases[i].kind);
        if (cases[i].kind == FAULT_NONE) {
            assert_int_equal(w.answer, cases[i].answer);
            assert_int_equal(w.q.format, cases[i].format);
            assert_int_equal(w.q.quality, cases[i].quality);
        } else {
            assert_non_null(f.param);
        }
        picture_wire_free(&w);
    }
}

/* The list of what is wrong stays JSON however long the body is. */
static void test_many_faults(void **state)
{
    (void)state;
    struct buf body = BUF_INIT(0), b = BUF_INIT(0);
    struct picture_wire w;
    struct fault f;
    buf_puts(&body, "{\"num_images\":\"x\"");
    for (int i = 0; i < 2000; i++)
        buf_printf(&body, ",\"no such \\\" field %d\":\"\\u00e9\\u00e9\\u00e9\"", i);
    buf_puts(&body, "}");
    assert_false(parse(&w, &firemoon_pictures, body.data, &f));
    firemoon_pictures.print_refusal(&b, &w, f.err.msg);
    json_t *v = json_loads(b.data, 0, NULL);
    assert_non_null(v);
    assert_string_equal(json_string_value(json_object_get(v, "message")), "Input validation failed");
    assert_in_range(json_array_size(json_object_get(v, "errors")), 50, 500);
    json_decref(v);
    buf_free(&b);
    buf_free(&body);
    picture_wire_free(&w);
}

/* ---- answers ------------------------------------------------------------------------------------------------------- */

/* Two pictures, the second of which the policy changed. */
struct made {
    struct picture_wire w;
    struct picture_facts facts;
    struct picture_reply r;
};

static void make(struct made *m, const struct picture_dialect *d, enum picture_answer answer)
{
    struct fault f;
    assert_true(parse(&m->w, d, "{\"prompt\":\"a \\\"b\\\"\"}", &f));
    m->w.answer = answer;
    m->facts = (struct picture_facts){ .model = "m", .n = 2, .width = 8, .height = 4, .steps = 3, .seed = 5 };
    m->r = (struct picture_reply){
        .wire = &m->w, .facts = &m->facts, .id = "req_1", .n = 2, .usage = { .queue_s = 1, .total_s = 3.25 }
    };
    for (int i = 0; i < 2; i++) {
        m->r.picture[i].is = (struct reply_picture){ .bytes = (unsigned char *)"foobar",
                                                     .len = (size_t)(6 - i),
                                                     .width = 8,
                                                     .height = 4,
                                                     .seed = (uint64_t)(5 + i),
                                                     .nsfw = i == 1,
                                                     .filtered = i == 1 };
        strcpy(m->r.picture[i].url, i ? "http://h/files/b" : "http://h/files/a");
    }
}

static void prints(const struct picture_dialect *d, enum picture_answer answer, const char *want)
{
    struct made m;
    struct buf b = BUF_INIT(0);
    make(&m, d, answer);
    d->print(&b, &m.r);
    const char *got = b.data;
    if (!strncmp(got, "{\"created\":", 11)) got = strchr(got, ',') + 1; /* the time is another each time */
    assert_string_equal(got, want);
    buf_free(&b);
    picture_wire_free(&m.w);
}

static void test_print(void **state)
{
    (void)state;
    prints(&openai_pictures, ANSWER_B64,
           "\"data\":[{\"b64_json\":\"Zm9vYmFy\",\"seed\":5},{\"b64_json\":\"Zm9vYmE=\",\"seed\":6,\"nsfw\":"
           "true,"
           "\"filtered\":true}]}");
    prints(&openai_pictures, ANSWER_URL,
           "\"data\":[{\"url\":\"http://h/files/a\",\"seed\":5},{\"url\":\"http://h/files/b\",\"seed\":6,"
           "\"nsfw\":true,\"filtered\":true}]}");
    prints(&workflow_pictures, ANSWER_JSON,
           "{\"id\":\"req_1\",\"base64\":[\"data:image/png;base64,Zm9vYmFy\",\"data:image/"
           "png;base64,Zm9vYmE=\"],"
           "\"finishReason\":\"SUCCESS\",\"seed\":5}");
    prints(&sdxl_pictures, ANSWER_JSON,
           "[{\"base64\":\"Zm9vYmFy\",\"finishReason\":\"SUCCESS\",\"seed\":5},{\"base64\":\"Zm9vYmE=\","
           "\"finishReason\":\"CONTENT_FILTERED\",\"seed\":6}]");
    prints(
        &firemoon_pictures, ANSWER_URL,
        "{\"images\":[{\"url\":\"http://h/files/a\",\"width\":8,\"height\":4,\"content_type\":\"image/"
        "jpeg\"},"
        "{\"url\":\"http://h/files/b\",\"width\":8,\"height\":4,\"content_type\":\"image/jpeg\"}],\"seed\":5,"
        "\"has_nsfw_concepts\":[false,true],\"timings\":{\"inference\":2.250}}");
}

/* Of n steps the client sees as many previews as it asked for, the last one with the last step. */
static void test_partial(void **state)
{
    (void)state;
    struct made m;
    make(&m, &openai_pictures, ANSWER_B64);
    for (int wanted = -1; wanted <= 3; wanted++) {
        int seen = 0;
        m.w.partial = wanted;
        for (int step = 1; step <= 10; step++) {
            struct buf b = BUF_INIT(0);
            const struct reply_event ev = { .type = REPLY_PROGRESS,
                                            .picture = { .step = step, .steps = 10 } };
            openai_pictures.print_progress(&b, &m.r, &ev);
            if (b.len) {
                char index[40];
                snprintf(index, sizeof index, "\"partial_image_index\":%d,", seen++);
                assert_non_null(strstr(b.data, index));
                assert_memory_equal(b.data, "event: image_generation.partial_image\ndata: {", 45);
                assert_string_equal(b.data + b.len - 3, "}\n\n");
            }
            buf_free(&b);
        }
        assert_int_equal(seen, wanted < 0 ? 10 : wanted);
    }
    picture_wire_free(&m.w);
}

/* The seeds' figures: 0.0140 for 28 steps of one model, 0.0014 for four of another. */
static void test_cost(void **state)
{
    (void)state;
    static const struct {
        int64_t per_step;
        int steps;
        const char *want;
    } cases[] = { { 500000, 28, "\"cost\":0.014}" },
                  { 350000, 4, "\"cost\":0.0014}" },
                  { 350000, 6, "\"cost\":0.0021}" },
                  { 130000, 30, "\"cost\":0.0039}" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct price price = { .step = cases[i].per_step };
        struct made m;
        struct buf b = BUF_INIT(0);
        make(&m, &openai_pictures, ANSWER_B64);
        m.r.n = 1;
        m.r.price = &price;
        m.r.usage.pictures = 1;
        m.r.usage.steps = m.r.picture[0].steps = cases[i].steps;
        openai_pictures.print(&b, &m.r);
        assert_non_null(strstr(b.data, cases[i].want));
        buf_clear(&b);
        openai_pictures.print_picture(&b, &m.r, 0);
        assert_non_null(strstr(b.data, cases[i].want));
        buf_free(&b);
        picture_wire_free(&m.w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_wish),   cmocka_unit_test(test_own_fields),
        cmocka_unit_test(test_seed_zero),   cmocka_unit_test(test_accept),
        cmocka_unit_test(test_many_faults), cmocka_unit_test(test_print),
        cmocka_unit_test(test_partial),     cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
