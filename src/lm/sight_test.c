/* A model that sees, through its door (tests/golden/lm/llama4_see, tools/reference/llama4_see_golden.py): the prompt's tokens and the logits behind
 * them as transformers has them; equal bytes alone and among others; pictures that are told apart by the cache; projectors in files of their
 * own; towers without projectors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "format/image_file.h"
#include "lm/job.h"
#include "lm/sight.h"
#include "lm/test_engine.h"

#define DIR "tests/golden/lm/llama4_see/"
#define GGUF DIR "gguf/"

static struct engine *start_at(const char *path, const struct lm_options *o)
{
    static struct engine g;
    start_model(&g, path, 2, o);
    assert_true(lm_sees(g.lm));
    return &g;
}

static struct engine *start(const struct lm_options *o) { return start_at(DIR "model.safetensors", o); }

static struct lm_picture *picture(const struct engine *g, const char *name, bool whole)
{
    char path[120], bytes[16384];
    struct err e = { 0 };
    struct image_pixels px;
    struct lm_picture *p;
    const struct image_limits limits = IMAGE_LIMITS_DEFAULT;
    snprintf(path, sizeof path, DIR "%s", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    const size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    if (!image_file_decode(bytes, n, 3, &limits, &px, &e) || !lm_picture_new(&p, g->lm, &px, whole, &e))
        fail_msg("%s", e.msg);
    free(px.data);
    return p;
}

/* The pictures of a golden chat's messages, in order. */
static int pictures_of(const struct engine *g, const json_t *messages, struct lm_picture **out)
{
    const json_t *m, *part;
    size_t i, k;
    int n = 0;
    json_array_foreach(messages, i, m)
    {
        json_array_foreach(json_object_get(m, "content"), k, part)
        {
            const char *name = json_string_value(json_object_get(part, "picture"));
            if (name) out[n++] = picture(g, name, false);
        }
    }
    return n;
}

struct prompt_of {
    int32_t ids[256];
    size_t n;
    struct lm_picture *of[4];
    struct lm_picture_at at[4];
    int n_pictures;
};

/* The golden prompt's own ids; the pictures' tokens among them must be those that we make. */
static void golden_prompt(const struct engine *g, const json_t *chat, struct prompt_of *p)
{
    const json_t *ids = json_object_get(chat, "ids");
    const int32_t begin = tokenizer_find(lm_tokenizer(g->lm), "<|image_start|>");
    p->n = json_array_size(ids);
    assert_true(p->n <= 256);
    for (size_t i = 0; i < p->n; i++) p->ids[i] = (int32_t)json_integer_value(json_array_get(ids, i));
    p->n_pictures = pictures_of(g, json_object_get(chat, "messages"), p->of);
    assert_true(p->n_pictures > 0);
    size_t at = 0;
    for (int i = 0; i < p->n_pictures; i++) {
        int32_t own[256];
        const size_t n = lm_picture_n_tokens(p->of[i]);
        while (at < p->n && p->ids[at] != begin) at++;
        lm_picture_tokens(p->of[i], own);
        assert_true(at + n <= p->n);
        assert_memory_equal(own, p->ids + at, n * sizeof *own);
        p->at[i] = (struct lm_picture_at){ p->of[i], at };
        at += n;
    }
    while (at < p->n) assert_int_not_equal(p->ids[at++], begin);
}

static void free_prompt(struct prompt_of *p)
{
    for (int i = 0; i < p->n_pictures; i++) lm_picture_unref(p->of[i]);
}

static struct lm_request seeing(const struct prompt_of *p, int max_tokens)
{
    struct lm_request r = request(p->ids, (int)p->n, max_tokens);
    r.prompt.picture = p->at;
    r.prompt.n_pictures = p->n_pictures;
    return r;
}

/* Log-probabilities of the first token that is drawn, against those of the golden logits. */
static double first_error(struct engine *g, const struct prompt_of *p, const json_t *logits)
{
    struct lm_request r = seeing(p, 1);
    r.sampling.n_top_logprobs = 20;
    const size_t n = json_array_size(logits);
    double sum = 0, worst = 0;
    for (size_t i = 0; i < n; i++) sum += exp(json_number_value(json_array_get(logits, i)));
    struct lm_job *j = submit(g, &r);
    struct lm_event ev;
    int seen = 0;
    while (lm_wait(j, &ev)) {
        if (ev.type == LM_EV_ERROR) fail_msg("%s", ev.error.msg);
        for (int k = 0; k < ev.n_tokens; k++)
            for (int t = 0; t < ev.tokens[k].pick.n_top; t++, seen++) {
                const struct token_prob *top = &ev.tokens[k].pick.top[t];
                const double want = json_number_value(json_array_get(logits, (size_t)top->id)) - log(sum);
                if (fabs((double)top->logprob - want) > worst) worst = fabs((double)top->logprob - want);
            }
        lm_event_free(&ev);
    }
    lm_job_free(j);
    assert_int_equal(seen, 20);
    return worst;
}

static void golden_chats(struct engine *g)
{
    json_t *golden = json_load_file(DIR "golden.json", 0, NULL), *chat;
    size_t i;
    assert_int_equal(json_array_size(golden), 4);
    json_array_foreach(golden, i, chat)
    {
        struct prompt_of p;
        golden_prompt(g, chat, &p);
        const double worst = first_error(g, &p, json_object_get(chat, "logits"));
        print_message("chat %zu: %zu tokens, %d pictures, log-probabilities off by at most %.1e\n", i, p.n,
                      p.n_pictures, worst);
        assert_true(worst < 3e-2);         /* products with weights in bf16 round what they multiply */
        if (p.n_pictures == 1 && i == 0) { /* that is far less than another picture makes */
            struct lm_picture *own = p.of[0];
            p.at[0].picture = p.of[0] = picture(g, "p2.png", true);
            assert_true(first_error(g, &p, json_object_get(chat, "logits")) > 0.1);
            lm_picture_unref(own);
        }
        free_prompt(&p);
    }
    json_decref(golden);
    stop(g);
}

static void test_golden_chats(void **state)
{
    (void)state;
    golden_chats(start(NULL));
}

/* The projector's file beside the model, and the one that an option names. */
static void test_golden_chats_of_gguf(void **state)
{
    (void)state;
    golden_chats(start_at(GGUF "model.gguf", NULL));
    golden_chats(start_at(GGUF "model.gguf", &(struct lm_options){ .mmproj = GGUF "mmproj-tower.gguf" }));
}

/* What a client would see of all chats, submitted together or one by one. */
static void all_answers(const struct lm_options *o, bool together, struct buf *out)
{
    struct engine *g = start(o);
    json_t *golden = json_load_file(DIR "golden.json", 0, NULL);
    struct prompt_of p[4];
    struct lm_job *j[4];
    struct err e = { 0 };
    for (size_t i = 0; i < 4; i++) golden_prompt(g, json_array_get(golden, i), &p[i]);
    for (size_t i = 0; i < 4; i++) {
        const struct lm_request r = seeing(&p[i], 12);
        if (!lm_submit(g->lm, &r, NULL, NULL, &j[i], &e)) fail_msg("%s", e.msg);
        for (size_t k = together ? (i == 3 ? 0 : 4) : i; k <= i; k++) {
            struct lm_event ev;
            while (lm_wait(j[k], &ev)) {
                if (ev.type == LM_EV_ERROR) fail_msg("%s", ev.error.msg);
                for (int t = 0; t < ev.n_tokens; t++)
                    buf_printf(out, "%d %a ", ev.tokens[t].id, (double)ev.tokens[t].pick.logprob);
                lm_event_free(&ev);
            }
            buf_puts(out, "\n");
            lm_job_free(j[k]);
        }
    }
    for (size_t i = 0; i < 4; i++) free_prompt(&p[i]);
    json_decref(golden);
    stop(g);
}

static void test_equal_bytes(void **state)
{
    (void)state;
    struct buf one = BUF_INIT(0), other = BUF_INIT(0);
    all_answers(NULL, false, &one);
    assert_true(one.len > 400);
    all_answers(NULL, true, &other);
    assert_string_equal(one.data, other.data);
    buf_clear(&other);
    all_answers(&(struct lm_options){ .prefill_chunk = 7, .max_batch = 3 }, true, &other);
    assert_string_equal(one.data, other.data);
    buf_free(&one);
    buf_free(&other);
}

static int cached_of(struct engine *g, const struct prompt_of *p)
{
    const struct lm_request r = seeing(p, 1);
    struct lm_job *j = submit(g, &r);
    struct lm_event ev;
    int cached = -1;
    while (lm_wait(j, &ev)) {
        if (ev.type == LM_EV_ERROR) fail_msg("%s", ev.error.msg);
        if (ev.type == LM_EV_DONE) {
            cached = ev.usage.cached_tokens;
            assert_int_equal(ev.usage.prompt_tokens, (int)p->n);
        }
        lm_event_free(&ev);
    }
    lm_job_free(j);
    return cached;
}

/* A text, a picture and a text; the tokens of two pictures of one size are the same. */
static void around(const struct engine *g, struct prompt_of *p, struct lm_picture *picture)
{
    int32_t text[4] = { 1, 2, 3, 4 };
    memcpy(p->ids, text, sizeof text);
    lm_picture_tokens(picture, p->ids + 4);
    p->n = 4 + lm_picture_n_tokens(picture);
    memcpy(p->ids + p->n, text, sizeof text);
    p->n += 4;
    p->of[0] = picture;
    p->at[0] = (struct lm_picture_at){ picture, 4 };
    p->n_pictures = 1;
    (void)g;
}

static void test_pictures_in_the_cache(void **state)
{
    (void)state;
    struct engine *g = start(NULL);
    struct prompt_of a, same, whole, b;
    around(g, &a, picture(g, "p1.png", false));
    around(g, &same, picture(g, "p1.png", false));
    around(g, &whole, picture(g, "p0.png", true));
    around(g, &b, picture(g, "p2.png", true));
    assert_int_equal(whole.n, b.n);
    assert_memory_equal(whole.ids, b.ids, b.n * sizeof *b.ids);
    assert_int_equal(cached_of(g, &a), 0);
    assert_int_equal(cached_of(g, &same),
                     (int)same.n - 1);         /* all but the last token, whose logits are wanted */
    assert_int_equal(cached_of(g, &whole), 5); /* the text and <|image_start|> */
    assert_int_equal(cached_of(g, &b), 6);     /* <|image|> too, and no row */
    assert_int_equal(cached_of(g, &whole), (int)whole.n - 1);
    free_prompt(&a);
    free_prompt(&same);
    free_prompt(&whole);
    free_prompt(&b);
    stop(g);
}

static void test_prompts_that_lie(void **state)
{
    (void)state;
    struct engine *g = start(NULL);
    struct prompt_of p;
    struct lm_job *j;
    struct err e = { 0 };
    around(g, &p, picture(g, "p0.png", false));
    p.at[0].at = p.n - 3;
    const struct lm_request r = seeing(&p, 1);
    assert_false(lm_submit(g->lm, &r, NULL, NULL, &j, &e));
    assert_non_null(strstr(e.msg, "picture 1 does not stand"));
    free_prompt(&p);
    stop(g);
}

/* The rows of a tile, by the tower of the folder and by that of the projector's file. */
static void test_projector_file(void **state)
{
    (void)state;
    enum { VALUES = 3 * 24 * 24, ROWS = 9 * 32 };
    struct err e = { 0 };
    struct pool *pool;
    struct device *dev;
    static float tile[VALUES], rows[2][ROWS];
    for (int i = 0; i < VALUES; i++) tile[i] = (float)((i * 37) % 256) / 128 - 1;
    if (!pool_new(&pool, 2, &e) || !device_cpu_open(&dev, pool, ~0u, &e)) fail_msg("%s", e.msg);
    device_acquire(dev, POOL_LOAD);
    for (int i = 0; i < 2; i++) {
        struct weights *w;
        struct llama4_vision *v;
        struct llama4_vision_shape s;
        if (!weights_open(&w, i ? GGUF "mmproj-tower.gguf" : DIR "model.safetensors", &e) ||
            !llama4_vision_check(&s, w, &e) || !llama4_vision_load(&v, w, dev, &e))
            fail_msg("%s", e.msg);
        assert_int_equal(s.n_rows * s.n_text, ROWS);
        if (!llama4_vision_run(v, tile, rows[i], &e)) fail_msg("%s", e.msg);
        llama4_vision_free(v);
        weights_close(w);
    }
    assert_memory_equal(rows[0], rows[1], sizeof rows[0]);
    assert_true(fabsf(rows[0][0] - rows[0][40]) > 0);
    device_release(dev);
    device_close(dev);
    pool_free(pool);
}

/* A copy of the projector's file with what is at `from` (in its header) changed. */
static void refused_projector(const char *from, const void *to, size_t n, size_t behind, const char *says)
{
    char path[] = "/tmp/hearth-mmproj-XXXXXX";
    static char bytes[1 << 17];
    struct err e = { 0 };
    struct weights *w;
    struct llama4_vision_shape s = { 0 };
    FILE *in = fopen(GGUF "mmproj-tower.gguf", "rb");
    const size_t len = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    char *at = memmem(bytes, len, from, strlen(from));
    assert_non_null(at);
    memcpy(at + behind, to, n);
    const int fd = mkstemp(path);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
    if (!weights_open(&w, path, &e)) fail_msg("%s", e.msg);
    if (llama4_vision_check(&s, w, &e)) fail_msg("%s: accepted", from);
    if (!strstr(e.msg, says)) fail_msg("%s: \"%s\" does not say \"%s\"", from, e.msg, says);
    weights_close(w);
    unlink(path);
}

static void test_projectors_that_lie(void **state)
{
    (void)state;
    const uint32_t zero = 0, seven = 7, huge = 0x7fffffff;
    /* a number stands behind its key and four bytes of its type */
#define REFUSED(name, value, says)                                                                           \
    refused_projector("clip.vision." name, &(value), 4, sizeof("clip.vision." name) - 1 + 4, says)
    REFUSED("image_size", seven, "tiles of 7 pixels are not whole squares");
    REFUSED("patch_size", zero, "clip.vision.patch_size is no whole number");
    REFUSED("block_count", huge, "clip.vision.block_count is no whole number");
    REFUSED("attention.head_count", seven, "16 channels in 7 heads");
    REFUSED("embedding_length", seven, "channels");
    REFUSED("projection_dim", seven, "mm.model.fc.weight");
    REFUSED("block_count", seven, "v.blk.2.");
    refused_projector("llama4", "gemma3", 6, 0, "type 'gemma3' are not supported");
    refused_projector("clip", "clap", 4, 0, "");
}

/* The folder's weights with some left out. */
static void refused_folder(const char *hide, const char *says)
{
    char dir[] = "/tmp/hearth-see-XXXXXX", path[120];
    static char bytes[1 << 18];
    struct err e = { 0 };
    struct weights *w;
    bool there;
    FILE *in = fopen(DIR "model.safetensors", "rb");
    const size_t len = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    size_t n = 0;
    for (char *at; (at = memmem(bytes, len, hide, strlen(hide))); n++) at[0] = 'x';
    assert_true(n > 0);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    FILE *out = fopen(path, "wb");
    assert_int_equal(fwrite(bytes, 1, len, out), len);
    fclose(out);
    if (!weights_open(&w, dir, &e)) fail_msg("%s", e.msg);
    if (sight_check(w, NULL, 32, &there, &e)) {
        if (says) fail_msg("without %s: accepted", hide);
        assert_false(there);
    } else if (!says || !strstr(e.msg, says)) {
        fail_msg("without %s: %s", hide, e.msg);
    }
    weights_close(w);
    unlink(path);
    rmdir(dir);
}

static void test_half_towers(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct weights *w;
    bool there;
    refused_folder("multi_modal_projector.",
                   "a tower that sees pictures (vision_model.*) without the projector");
    refused_folder("vision_model.", "a projector (multi_modal_projector.*) without the tower");
    if (!weights_open(&w, DIR "model.safetensors", &e)) fail_msg("%s", e.msg);
    assert_true(sight_check(w, NULL, 32, &there, &e) && there);
    assert_false(sight_check(w, NULL, 40, &there, &e));
    assert_non_null(strstr(e.msg, "its rows have 32 numbers, the model's embeddings 40"));
    assert_false(sight_check(w, GGUF "mmproj-tower.gguf", 32, &there, &e));
    assert_non_null(strstr(e.msg, "--mmproj is for models in GGUF"));
    weights_close(w);
}

static void link_to(const char *dir, const char *name, const char *target)
{
    char cwd[400], from[600], to[120];
    assert_non_null(getcwd(cwd, sizeof cwd));
    snprintf(from, sizeof from, "%s/%s", cwd, target);
    snprintf(to, sizeof to, "%s/%s", dir, name);
    assert_int_equal(symlink(from, to), 0);
}

static void unlink_in(const char *dir, const char *name)
{
    char path[120];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(unlink(path), 0);
}

/* None, another model's, one, and two beside a model in GGUF. */
static void test_projectors_beside(void **state)
{
    (void)state;
    char dir[] = "/tmp/hearth-beside-XXXXXX", path[80];
    struct err e = { 0 };
    struct weights *w;
    bool there;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    link_to(dir, "model.gguf", GGUF "model.gguf");
    if (!weights_open(&w, path, &e)) fail_msg("%s", e.msg);
    assert_true(sight_check(w, NULL, 32, &there, &e) && !there);
    link_to(dir, "mmproj-other.gguf", GGUF "model.gguf"); /* whatever it is, it is no tower of this family */
    assert_true(sight_check(w, NULL, 32, &there, &e) && !there);
    link_to(dir, "mmproj-a.gguf", GGUF "mmproj-tower.gguf");
    assert_true(sight_check(w, NULL, 32, &there, &e) && there);
    assert_false(sight_check(w, NULL, 48, &there, &e));
    link_to(dir, "mmproj-b.gguf", GGUF "mmproj-tower.gguf");
    assert_false(sight_check(w, NULL, 32, &there, &e));
    assert_non_null(strstr(e.msg, "mmproj-a.gguf and mmproj-b.gguf: say with --mmproj"));
    assert_true(sight_check(w, GGUF "mmproj-tower.gguf", 32, &there, &e) && there);
    assert_false(sight_check(w, GGUF "model.gguf", 32, &there, &e));
    assert_false(sight_check(w, GGUF "none.gguf", 32, &there, &e));
    weights_close(w);
    unlink_in(dir, "model.gguf");
    unlink_in(dir, "mmproj-other.gguf");
    unlink_in(dir, "mmproj-a.gguf");
    unlink_in(dir, "mmproj-b.gguf");
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_chats),          cmocka_unit_test(test_golden_chats_of_gguf),
        cmocka_unit_test(test_projectors_beside),     cmocka_unit_test(test_equal_bytes),
        cmocka_unit_test(test_pictures_in_the_cache), cmocka_unit_test(test_prompts_that_lie),
        cmocka_unit_test(test_projector_file),        cmocka_unit_test(test_projectors_that_lie),
        cmocka_unit_test(test_half_towers),
    };
    return cmocka_run_group_tests_name("a model that sees", tests, NULL, NULL);
}
