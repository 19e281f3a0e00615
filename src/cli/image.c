/* image.c - `hearth image PROMPT`: draw, here or with a running server, and write the pictures to files.
 *
 * The options become the fields of the OpenAI style API; drawn here, they go through the server's own parser, so that both ways take
 * and refuse the same. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "cli/compute.h"
#include "cli/image_url.h"
#include "cli/show.h"
#include "cli/signing.h"
#include "device/device.h"
#include "format/json_memory.h"
#include "http/dialects/picture_enhance.h"

enum { MAX_FILE = 64 << 20, PREVIEW_ROWS = 16, PICTURE_ROWS = 60 };

struct studio {
    const struct options *o;
    char output[4096];
    const char *format;
    struct drawing d;
    /* here */
    struct catalog *catalog;
    struct pool *pool;
    struct device *device;
    struct registry *registry;
    struct safety *safety;
    struct c2pa_signer *signer;
    struct model *model;
    struct styles *styles;
    struct picture_wire wire;
    struct drawing *pictures;
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool has_news;
    /* the progress bar */
    double start;
    bool bar;
    int rows; /* of the preview that stands above it */
};

/* ---- files ------------------------------------------------------------------------------------------------- */

static bool read_file(struct buf *b, const char *path, struct err *e)
{
    char block[65536];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    bool ok = true;
    while (ok && (n = fread(block, 1, sizeof block, f)) > 0) ok = buf_append(b, block, n);
    if (!ok) err_set(e, ERR_LIMIT, "%s passes %d MB", path, MAX_FILE >> 20);
    if (ok && ferror(f)) ok = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (ok && !b->len) ok = err_set(e, ERR_REQUEST, "%s is empty", path);
    fclose(f);
    return ok;
}

/* Where a picture goes: of several, the number stands before the extension. */
static void name_file(const struct studio *s, int index, char *out, size_t size)
{
    const char *slash = strrchr(s->output, '/'), *dot = strrchr(slash ? slash : s->output, '.');
    int stem = (int)(dot ? (size_t)(dot - s->output) : strlen(s->output));
    if (s->o->pictures > 1)
        snprintf(out, size, "%.*s-%d%s", stem, s->output, index + 1, s->output + stem);
    else
        snprintf(out, size, "%s", s->output);
}

static void clear_bar(struct studio *s)
{
    if (s->bar) fprintf(stderr, "\r\033[K");
    s->bar = false;
}

/* A device or a pipe is written into, not replaced. */
static bool is_special(const char *path)
{
    struct stat st;
    return !stat(path, &st) && !S_ISREG(st.st_mode);
}

static bool save(void *arg, const void *file, size_t n, int index, uint64_t seed, struct err *e)
{
    struct studio *s = arg;
    char path[4096];
    int rows = 0;
    clear_bar(s);
    if (!strcmp(s->output, "-")) {
        return (fwrite(file, 1, n, stdout) == n && !fflush(stdout)) ||
               err_set(e, ERR_IO, "standard output: %s", strerror(errno));
    }
    name_file(s, index, path, sizeof path);
    FILE *f = fopen(path, s->o->overwrite || is_special(path) ? "wb" : "wbx");
    bool ok = f && fwrite(file, 1, n, f) == n;
    if (f) ok = !fclose(f) && ok;
    if (!ok) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    if (s->o->show && !show_picture(stdout, file, n, PICTURE_ROWS, &rows, e)) return false;
    printf("%s  seed %llu\n", path, (unsigned long long)seed);
    fflush(stdout);
    return true;
}

/* ---- the request ------------------------------------------------------------------------------------------- */

static bool put(json_t *fields, const char *name, json_t *v, struct err *e)
{
    return !json_object_set_new(fields, name, v) || err_set(e, ERR_REQUEST, "%s is not valid UTF-8", name);
}

static bool fill_fields(struct studio *s, const char *prompt, struct err *e)
{
    const struct options *o = s->o;
    json_t *f = s->d.fields = json_object();
    bool ok = put(f, "prompt", json_string(prompt), e) &&
              put(f, "response_format", json_string("b64_json"), e) &&
              put(f, "output_format", json_string(s->format), e) && put(f, "n", json_integer(o->pictures), e);
    if (ok && *o->model) ok = put(f, "model", json_string(o->model), e);
    if (ok && *o->size) ok = put(f, strchr(o->size, ':') ? "aspect_ratio" : "size", json_string(o->size), e);
    if (ok && *o->negative) ok = put(f, "negative_prompt", json_string(o->negative), e);
    if (ok && *o->style)
        ok = put(f, "enhance", json_pack("{s:s}", "style", o->style), e);
    else if (ok && o->enhance)
        ok = put(f, "enhance", json_true(), e);
    if (ok && *o->sampler) ok = put(f, "sampler", json_string(o->sampler), e);
    if (ok && o->steps) ok = put(f, "steps", json_integer(o->steps), e);
    if (ok && o->guidance >= 0) ok = put(f, "guidance_scale", json_real(o->guidance), e);
    if (ok && o->strength >= 0) ok = put(f, "strength", json_real(o->strength), e);
    if (ok && o->seed >= 0) ok = put(f, "seed", json_integer(o->seed), e);
    if (ok && *o->init) ok = read_file(&s->d.init, o->init, e);
    return ok && (!*o->mask || read_file(&s->d.mask, o->mask, e));
}

/* "file.safetensors:0.8"; the weight may be left out. */
static bool add_loras(struct picture_request *q, const struct str_list *list, struct err *e)
{
    if (!list->n) return true;
    q->lora = calloc((size_t)list->n, sizeof *q->lora);
    for (int i = 0; q->lora && i < list->n; i++) {
        const char *spec = list->v[i], *colon = strrchr(spec, ':');
        char *end = NULL;
        float weight = colon ? strtof(colon + 1, &end) : 1;
        bool weighted = colon && end != colon + 1 && !*end;
        char *path = strndup(spec, weighted ? (size_t)(colon - spec) : strlen(spec));
        if (!path) break;
        q->lora[q->n_lora++] = (struct image_lora_spec){ path, weighted ? weight : 1 };
    }
    return q->n_lora == list->n || err_set(e, ERR_NOMEM, "out of memory");
}

/* The fields as a form's parts would bring them, next to the input picture. */
static bool read_form(struct studio *s, struct fault *f)
{
    struct multipart m = { .n = 0 };
    char *text[MULTIPART_MAX_PARTS] = { NULL };
    const char *key;
    json_t *v;
    int n = 0;
    m.part[m.n++] = (struct multipart_part){
        .name = "image", .name_len = 5, .data = s->d.init.data, .len = s->d.init.len
    };
    if (s->d.mask.len) {
        m.part[m.n++] = (struct multipart_part){
            .name = "mask", .name_len = 4, .data = s->d.mask.data, .len = s->d.mask.len
        };
    }
    json_object_foreach(s->d.fields, key, v)
    {
        char *t = json_is_string(v) ? strdup(json_string_value(v)) : json_memory_dumps(v, JSON_ENCODE_ANY);
        if (!t || m.n == MULTIPART_MAX_PARTS) {
            free(t);
            continue;
        }
        text[n++] = t;
        m.part[m.n++] =
            (struct multipart_part){ .name = key, .name_len = strlen(key), .data = t, .len = strlen(t) };
    }
    bool ok = picture_wire_form(&s->wire, &m, true, f);
    for (int i = 0; i < n; i++) free(text[i]);
    return ok;
}

/* ---- drawing here ------------------------------------------------------------------------------------------ */

static bool find_model(struct studio *s, struct err *e)
{
    const char *name = s->o->model;
    /* A path is made known first; the second search refuses what is not an image model. */
    if (*name && !registry_add(s->registry, name, &s->model, e)) return false;
    return registry_find_image(s->registry, *name ? model_id(s->model) : NULL, &s->model, e);
}

static bool open_local(struct studio *s, struct err *e)
{
    const struct options *o = s->o;
    struct registry_options r = o->registry;
    r.lister = "`hearth models`";
    return catalog_load(&s->catalog, o->catalog, e) && pool_new(&s->pool, o->threads, e) &&
           compute_open(&s->device, s->pool, o->device, e) &&
           registry_new(&s->registry, &r, s->catalog, s->device, s->device, e) && find_model(s, e) &&
           safety_load(&s->safety, o->safety_policy, s->device, e) && signing_open(&s->signer, o, e);
}

static void wake(void *arg)
{
    struct studio *s = arg;
    pthread_mutex_lock(&s->lock);
    s->has_news = true;
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
}

static void next_event(struct studio *s, struct reply_event *ev)
{
    while (!drawing_next(s->pictures, ev)) {
        pthread_mutex_lock(&s->lock);
        while (!s->has_news) pthread_cond_wait(&s->news, &s->lock);
        s->has_news = false;
        pthread_mutex_unlock(&s->lock);
    }
}

static void print_progress(struct studio *s, int index, const struct reply_picture *ev)
{
    enum { WIDTH = 30 };
    if (!options_colours(STDERR_FILENO) || ev->steps < 1) return;
    if (s->o->steps_preview && ev->bytes) {
        clear_bar(s);
        show_picture(stderr, ev->bytes, ev->len, PREVIEW_ROWS, &s->rows, NULL);
    }
    int all = (int)s->o->pictures * ev->steps, done = index * ev->steps + ev->step;
    double spent = clock_seconds() - s->start, left = done ? spent / done * (all - done) : 0;
    int full = all ? WIDTH * done / all : 0;
    fprintf(stderr, "\r\033[K  [%.*s%.*s] step %d of %d", full,
            "==============================", WIDTH - full, "                              ", ev->step,
            ev->steps);
    if (s->o->pictures > 1) fprintf(stderr, ", picture %d of %d", index + 1, (int)s->o->pictures);
    if (left >= 60)
        fprintf(stderr, ", %d min %02d s left", (int)left / 60, (int)left % 60);
    else
        fprintf(stderr, ", %.0f s left", left);
    fflush(stderr);
    s->bar = true;
}

/* The words behind the prompt, which are told: who likes them puts them into the next one. */
static bool enhance(struct studio *s, struct fault *f)
{
    if (!s->wire.enhance.wanted) return true;
    if (!styles_load(&s->styles, s->o->styles, &f->err) ||
        !picture_enhance(&s->wire, s->styles, model_catalog(s->model), f))
        return false;
    fprintf(stderr, "prompt: %s\n", s->wire.q.prompt);
    return true;
}

static bool draw_local(struct studio *s, struct err *e)
{
    struct fault f = { 0 };
    bool ok = s->d.init.len ? read_form(s, &f) : picture_wire_json(&s->wire, s->d.fields, true, &f);
    if (ok && !open_local(s, e)) return false;
    ok = ok && picture_wire_resolve(&s->wire, s->model, &f) && add_loras(&s->wire.q, &s->o->lora, &f.err) &&
         enhance(s, &f);
    s->wire.q.signer = s->signer;
    s->wire.q.previews = s->o->steps_preview;
    s->start = clock_seconds();
    ok = ok && drawing_start(s->registry, s->model, s->safety, &s->wire.q, wake, s, &s->pictures, &f);
    if (!ok) *e = f.err;
    for (bool over = false; ok && !over;) {
        struct reply_event ev;
        next_event(s, &ev);
        switch (ev.type) {
        case REPLY_PROGRESS: print_progress(s, ev.index, &ev.picture); break;
        case REPLY_PICTURE:
            ok = save(s, ev.picture.bytes, ev.picture.len, ev.index, ev.picture.seed, e);
            s->rows = 0;
            if (ev.picture.filtered)
                fprintf(stderr, "hearth image: the safety policy changed this picture\n");
            break;
        case REPLY_ERROR:
            ok = false;
            *e = ev.error;
            break;
        default: over = ev.type == REPLY_DONE; break;
        }
        reply_event_free(&ev);
    }
    clear_bar(s);
    return ok;
}

/* ---- the command ------------------------------------------------------------------------------------------- */

/* Is one of the files to be written there already? Its name goes to `path`. */
static bool is_taken(const struct studio *s, char *path, size_t size)
{
    for (int i = 0; i < s->o->pictures; i++) {
        name_file(s, i, path, size);
        if (!access(path, F_OK) && !is_special(path)) return true;
    }
    return false;
}

/* Before minutes of drawing: the file's kind is known and its folder can be written to. */
static bool check_output(struct studio *s, struct err *e)
{
    const size_t cap = sizeof s->output;
    if (snprintf(s->output, cap, "%s", *s->o->output ? s->o->output : "picture.png") >= (int)cap)
        return err_set(e, ERR_REQUEST, "the output's path is too long");
    const char *slash = strrchr(s->output, '/'), *dot = strrchr(slash ? slash : s->output, '.');
    s->format = !strcmp(s->output, "-") || !dot                         ? "png"
                : !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg") ? "jpeg"
                : !strcasecmp(dot, ".webp")                             ? "webp"
                : !strcasecmp(dot, ".png")                              ? "png"
                                                                        : NULL;
    if (!s->format) {
        return err_set(e, ERR_REQUEST, "%s: the extension must be .png, .jpg or .webp", s->output);
    }
    char dir[4096];
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - s->output + 1) : 1, slash ? s->output : ".");
    if (access(dir, W_OK)) return err_set(e, ERR_IO, "%s: %s", dir, strerror(errno));
    char taken[4096];
    if (s->o->overwrite || !strcmp(s->output, "-") || !is_taken(s, taken, sizeof taken)) return true;
    if (*s->o->output) return err_set(e, ERR_REQUEST, "%s is there already; --overwrite replaces it", taken);
    for (int i = 2; i < 10000; i++) { /* no name was asked for: the first that is free */
        snprintf(s->output, cap, "picture_%d.png", i);
        if (!is_taken(s, taken, sizeof taken)) return true;
    }
    return err_set(e, ERR_REQUEST, "this folder is full of pictures; name a file with -o");
}

static const char *misuse(const struct options *o)
{
    bool url = *o->url;
    return o->args.n < 1                                ? "there is no prompt"
           : o->args.n > 1                              ? "too many arguments; quote the prompt"
           : o->pictures > 1 && !strcmp(o->output, "-") ? "standard output takes one picture"
           : o->show && !strcmp(o->output, "-")         ? "standard output takes the picture or shows it"
           : *o->mask && !*o->init                      ? "--mask needs --init"
           : o->strength >= 0 && !*o->init              ? "--strength needs --init"
           : url && o->lora.n                           ? "--lora does not go with --url"
           : url && o->steps_preview                    ? "--steps-preview does not go with --url"
                                                        : NULL;
}

static void close_studio(struct studio *s)
{
    drawing_free(s->pictures);
    registry_free(s->registry);
    safety_free(s->safety);
    c2pa_signer_free(s->signer);
    device_close(s->device);
    pool_free(s->pool);
    catalog_free(s->catalog);
    styles_free(s->styles);
    picture_wire_free(&s->wire);
    json_decref(s->d.fields);
    buf_free(&s->d.init);
    buf_free(&s->d.mask);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->news);
}

int cmd_image(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    int rc = options_parse(&o, CMD_IMAGE, argc, argv);
    const char *wrong = rc < 0 ? misuse(&o) : NULL;
    if (wrong) {
        fprintf(stderr, "hearth image: %s\n", wrong);
        rc = 2;
    }
    if (rc >= 0) {
        options_free(&o);
        return rc;
    }
    log_set_level(LOG_WARN);
    struct studio s = { .o = &o, .d = { .init = BUF_INIT(MAX_FILE), .mask = BUF_INIT(MAX_FILE) } };
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.news, NULL);
    picture_wire_init(&s.wire, &openai_pictures, false);
    bool ok = check_output(&s, &e) && fill_fields(&s, o.args.v[0], &e) &&
              (*o.url ? image_url_draw(&o, &s.d, save, &s, &e) : draw_local(&s, &e));
    if (!ok) fprintf(stderr, "hearth image: %s\n", e.msg);
    close_studio(&s);
    options_free(&o);
    return ok ? 0 : 1;
}
