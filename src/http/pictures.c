/* pictures.c - image endpoints: from a body or a form to a drawing, and from its events to a reply, bytes or a stream. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/dialects/picture_wire.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_out.h"
#include "http/routes.h"
#include "service/ending.h"
#include "service/files.h"
#include "service/models/lora_folder.h"

enum { MOST = 10 };

struct done_picture {
    unsigned char *bytes;
    size_t len;
    int width, height;
    uint64_t seed;
    bool nsfw, filtered;
    char url[FILES_NAME]; /* name in the folder of files */
};

struct picture_work {
    struct picture_wire wire;
    struct model *model;
    struct drawing *pictures;
    struct picture_facts facts; /* what the request became; model points into the registry */
    struct done_picture done[MOST];
    int n_done;
    bool over, failed;
    bool at_work; /* errors may speak of the server's files */
    double seconds;
    struct err error;
};

static void work_free(void *arg)
{
    struct picture_work *t = arg;
    if (!t) return;
    drawing_free(t->pictures);
    for (int i = 0; i < MOST; i++) free(t->done[i].bytes);
    picture_wire_free(&t->wire);
    free(t);
}

static void work_cancel(void *arg) { drawing_cancel(((struct picture_work *)arg)->pictures); }

static void on_event(void *arg) { exchange_wake(arg); }

/* ---- events ------------------------------------------------------------------------------------------------ */

static void fail(struct picture_work *t, const struct err *e)
{
    t->failed = t->over = true;
    t->error = *e;
}

static void take_picture(struct exchange *x, struct picture_work *t, struct picture_event *ev)
{
    if (ev->index < 0 || ev->index >= MOST || t->done[ev->index].bytes) return;
    struct done_picture *d = &t->done[ev->index];
    struct err e = { 0 };
    *d = (struct done_picture){ .bytes = ev->bytes,
                                .len = ev->len,
                                .width = ev->width,
                                .height = ev->height,
                                .seed = ev->seed,
                                .nsfw = ev->nsfw,
                                .filtered = ev->filtered };
    ev->bytes = NULL;
    t->n_done++;
    if (t->wire.answer == ANSWER_URL && !files_put(exchange_server(x)->o.files, d->bytes, d->len,
                                                   picture_extension(t->wire.q.format), d->url, &e)) {
        fail(t, &e);
    }
}

static void take_event(struct exchange *x, struct picture_work *t, struct picture_event *ev)
{
    switch (ev->type) {
    case PICTURE_PROGRESS: break;
    case PICTURE_READY: take_picture(x, t, ev); break;
    case PICTURE_DONE:
        t->over = true;
        t->seconds = ev->seconds;
        exchange_note(x, "%.70s %d picture%s %dx%d, %d steps, %.2f s",
                      strrchr(t->facts.model, '/') ? strrchr(t->facts.model, '/') + 1 : t->facts.model,
                      t->n_done, t->n_done == 1 ? "" : "s", t->done[0].width, t->done[0].height,
                      t->facts.steps, t->seconds);
        break;
    case PICTURE_ERROR: fail(t, &ev->error); break;
    }
}

static const char *early_end(struct exchange *x, const struct picture_work *t, enum fault_kind *kind)
{
    return exchange_early_end(x, t->failed ? &t->error : NULL, kind);
}

/* ---- replies ----------------------------------------------------------------------------------------------- */

/* Where this client reached us: the address it used, or the one it should use. */
static void put_url(struct exchange *x, struct buf *b, const char *name)
{
    const char *host = exchange_header_in(x, "Host");
    const char *proto = exchange_header_in(x, "X-Forwarded-Proto");
    struct buf url = BUF_INIT(2048);
    if (host && *host && strlen(host) < 300 && !strpbrk(host, "/\\@ \t")) {
        buf_printf(&url, "%s://%s/files/%s", proto && !strcmp(proto, "https") ? "https" : "http", host, name);
    } else {
        buf_printf(&url, "%s/files/%s", exchange_server(x)->url, name);
    }
    json_out_cstr(b, url.data ? url.data : "");
    buf_free(&url);
}

/* Nothing is billed by tokens here; clients count on the members. */
static void put_usage(struct buf *b)
{
    buf_puts(
        b, ",\"usage\":{\"input_tokens\":0,\"output_tokens\":0,\"total_tokens\":0,\"input_tokens_details\":{"
           "\"text_tokens\":0,\"image_tokens\":0}}");
}

/* What the GPT image models say beside the pictures. */
static void put_gpt_facts(const struct picture_work *t, struct buf *b)
{
    const char *q = t->wire.quality;
    bool high = !strcmp(q, "high") || !strcmp(q, "hd");
    buf_printf(b, ",\"background\":\"opaque\",\"output_format\":\"%s\",\"quality\":\"%s\",\"size\":\"%dx%d\"",
               image_format_mime(t->wire.q.format) + 6,
               high                ? "high"
               : !strcmp(q, "low") ? "low"
                                   : "medium",
               t->done[0].width, t->done[0].height);
    put_usage(b);
}

static void print_openai(struct exchange *x, struct picture_work *t, struct buf *b)
{
    buf_printf(b, "{\"created\":%lld,\"data\":[", (long long)time(NULL));
    for (int i = 0; i < t->n_done; i++) {
        const struct done_picture *d = &t->done[i];
        buf_puts(b, i ? ",{" : "{");
        if (t->wire.answer == ANSWER_URL) {
            buf_puts(b, "\"url\":");
            put_url(x, b, d->url);
        } else {
            buf_puts(b, "\"b64_json\":\"");
            json_out_base64(b, d->bytes, d->len);
            buf_putc(b, '"');
        }
        if (t->wire.revises) {
            buf_puts(b, ",\"revised_prompt\":");
            json_out_cstr(b, t->wire.q.prompt);
        }
        buf_printf(b, ",\"seed\":%llu", (unsigned long long)d->seed);
        if (d->nsfw) buf_printf(b, ",\"nsfw\":true,\"filtered\":%s", d->filtered ? "true" : "false");
        buf_putc(b, '}');
    }
    buf_putc(b, ']');
    if (t->wire.gpt) put_gpt_facts(t, b);
    buf_putc(b, '}');
}

static void print_data_uri(struct buf *b, const struct picture_work *t, const struct done_picture *d)
{
    buf_printf(b, "\"data:%s;base64,", image_format_mime(t->wire.q.format));
    json_out_base64(b, d->bytes, d->len);
    buf_putc(b, '"');
}

static const char *finish_reason(const struct done_picture *d)
{
    return d->filtered ? "CONTENT_FILTERED" : "SUCCESS";
}

static void print_workflow(struct exchange *x, struct picture_work *t, struct buf *b)
{
    buf_printf(b, "{\"id\":\"%s\",\"base64\":[", exchange_id(x));
    for (int i = 0; i < t->n_done; i++) {
        if (i) buf_putc(b, ',');
        print_data_uri(b, t, &t->done[i]);
    }
    buf_printf(b, "],\"finishReason\":\"%s\",\"seed\":%llu}", finish_reason(&t->done[0]),
               (unsigned long long)t->done[0].seed);
}

static void print_sdxl(struct picture_work *t, struct buf *b)
{
    buf_putc(b, '[');
    for (int i = 0; i < t->n_done; i++) {
        const struct done_picture *d = &t->done[i];
        buf_puts(b, i ? ",{\"base64\":\"" : "{\"base64\":\"");
        json_out_base64(b, d->bytes, d->len);
        buf_printf(b, "\",\"finishReason\":\"%s\",\"seed\":%llu}", finish_reason(d),
                   (unsigned long long)d->seed);
    }
    buf_putc(b, ']');
}

/* No further top-level keys: a documented client builds a fixed structure from them. */
static void print_firemoon(struct exchange *x, struct picture_work *t, struct buf *b)
{
    buf_puts(b, "{\"images\":[");
    for (int i = 0; i < t->n_done; i++) {
        const struct done_picture *d = &t->done[i];
        buf_puts(b, i ? ",{\"url\":" : "{\"url\":");
        put_url(x, b, d->url);
        buf_printf(b, ",\"width\":%d,\"height\":%d,\"content_type\":\"%s\"}", d->width, d->height,
                   image_format_mime(t->wire.q.format));
    }
    buf_printf(b, "],\"seed\":%llu,\"has_nsfw_concepts\":[", (unsigned long long)t->facts.seed);
    for (int i = 0; i < t->n_done; i++)
        buf_printf(b, "%s%s", i ? "," : "", t->done[i].nsfw ? "true" : "false");
    buf_printf(b, "],\"timings\":{\"inference\":%.3f}}", t->seconds);
}

static void reply(struct exchange *x, struct picture_work *t)
{
    struct buf b = BUF_INIT(0);
    if (t->wire.style & (PICTURES_WORKFLOW | PICTURES_SDXL)) {
        exchange_header(x, "Seed", "%llu", (unsigned long long)t->done[0].seed);
        exchange_header(x, "Finish-Reason", "%s", finish_reason(&t->done[0]));
    }
    if (t->wire.answer == ANSWER_BYTES) {
        buf_append(&b, t->done[0].bytes, t->done[0].len);
        exchange_reply(x, 200, image_format_mime(t->wire.q.format), &b);
        return;
    }
    switch (t->wire.style) {
    case PICTURES_OPENAI: print_openai(x, t, &b); break;
    case PICTURES_WORKFLOW: print_workflow(x, t, &b); break;
    case PICTURES_SDXL: print_sdxl(t, &b); break;
    case PICTURES_FIREMOON: print_firemoon(x, t, &b); break;
    }
    if (b.failed) {
        buf_free(&b);
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    exchange_reply(x, 200, "application/json", &b);
}

static bool collect(struct exchange *x, void *arg)
{
    struct picture_work *t = arg;
    struct picture_event ev;
    enum fault_kind kind;
    while (!t->over && drawing_next(t->pictures, &ev)) {
        take_event(x, t, &ev);
        picture_event_free(&ev);
    }
    const char *why = early_end(x, t, &kind);
    if (why)
        exchange_fault(x, kind, NULL, "%s", why);
    else if (t->over)
        reply(x, t);
    return why || t->over;
}

/* ---- a stream ---------------------------------------------------------------------------------------------- */

static void open_event(struct buf *out, const struct picture_work *t, const char *what)
{
    const char *family = t->wire.task == PICTURE_GENERATE ? "image_generation" : "image_edit";
    buf_printf(out, "event: %s.%s\ndata: {\"type\":\"%s.%s\"", family, what, family, what);
}

/* Which preview the event of a step is, from 0; below 0: none, for the client wants fewer and gets them evenly spread. */
static int partial_index(const struct picture_work *t, const struct picture_event *ev)
{
    int n = t->wire.partial;
    if (n < 0 || n >= ev->steps || ev->steps < 1) return ev->step - 1;
    int now = ev->step * n / ev->steps, before = (ev->step - 1) * n / ev->steps;
    return now > before ? now - 1 : -1;
}

static void stream_event(struct exchange *x, struct picture_work *t, struct picture_event *ev,
                         struct buf *out)
{
    if (ev->type == PICTURE_PROGRESS) {
        int partial = partial_index(t, ev);
        if (partial < 0) return;
        open_event(out, t, "partial_image");
        buf_printf(
            out,
            ",\"index\":%d,\"partial_image_index\":%d,\"step\":%d,\"steps\":%d,\"created_at\":%lld,\"size\":"
            "\"%dx%d\""
            ",\"quality\":\"auto\",\"background\":\"opaque\",\"output_format\":\"jpeg\",\"b64_json\":\"",
            ev->index, partial, ev->step, ev->steps, (long long)time(NULL), t->facts.width, t->facts.height);
        if (ev->bytes) json_out_base64(out, ev->bytes, ev->len);
        buf_puts(out, "\"}\n\n");
    } else if (ev->type == PICTURE_READY) {
        int i = ev->index;
        take_event(x, t, ev);
        const struct done_picture *d = &t->done[i];
        open_event(out, t, "completed");
        buf_printf(out,
                   ",\"index\":%d,\"created_at\":%lld,\"size\":\"%dx%d\",\"quality\":\"auto\",\"background\":"
                   "\"opaque\""
                   ",\"output_format\":\"%s\",\"seed\":%llu",
                   i, (long long)time(NULL), d->width, d->height, image_format_mime(t->wire.q.format) + 6,
                   (unsigned long long)d->seed);
        put_usage(out);
        if (t->wire.answer == ANSWER_URL) {
            buf_puts(out, ",\"url\":");
            put_url(x, out, d->url);
        }
        buf_puts(out, ",\"b64_json\":\"");
        json_out_base64(out, d->bytes, d->len);
        buf_puts(out, "\"}\n\n");
    } else {
        take_event(x, t, ev);
        if (ev->type == PICTURE_DONE) buf_puts(out, "data: [DONE]\n\n");
    }
}

static enum produced produce(struct exchange *x, void *arg, struct buf *out)
{
    struct picture_work *t = arg;
    struct picture_event ev;
    enum fault_kind kind;
    if (t->over) return PRODUCED_END;
    while (!out->len && !t->over && !early_end(x, t, &kind) && drawing_next(t->pictures, &ev)) {
        stream_event(x, t, &ev, out);
        picture_event_free(&ev);
    }
    const char *why = early_end(x, t, &kind);
    if (why) {
        buf_clear(out);
        buf_puts(out, "event: error\ndata: ");
        char told[sizeof t->error.msg];
        exchange_tell(x, why, told, sizeof told);
        fault_print(out, DIALECT_OPENAI, kind, NULL, told);
        buf_puts(out, "\n\n");
        exchange_note(x, "%.150s", why);
        t->over = true;
    }
    return out->len ? PRODUCED_EVENT : PRODUCED_NOTHING;
}

static const struct work_ops picture_ops = { collect, produce, work_cancel, work_free };

/* ---- requests ---------------------------------------------------------------------------------------------- */

static void refuse(struct exchange *x, struct picture_work *t, const struct fault *f)
{
    char told[sizeof f->err.msg];
    if (t->wire.style == PICTURES_FIREMOON && fault_status(fault_of(f->err.code)) == 400) {
        struct buf b = BUF_INIT(65536);
        if (t->at_work) exchange_tell(x, f->err.msg, told, sizeof told);
        const char *message = t->wire.n_faults ? "Input validation failed" : t->at_work ? told : f->err.msg;
        if (!t->wire.n_faults) json_out_cstr(&t->wire.faults, message);
        const char *list = t->wire.faults.data ? t->wire.faults.data : "";
        buf_puts(&b, "{\"error\":\"Invalid input\",\"message\":");
        json_out_cstr(&b, message);
        buf_printf(&b, ",\"errors\":[%s],\"details\":{\"errors\":[%s]}}", list, list);
        work_free(t);
        exchange_reply(x, 400, "application/json", &b);
        return;
    }
    struct fault copy = *f;
    work_free(t);
    exchange_fault_from(x, &copy);
}

static void start(struct exchange *x, struct picture_work *t, const struct err *loaded)
{
    struct fault f = { *loaded, NULL };
    exchange_at_work(x);
    t->at_work = true;
    if (f.err.code != ERR_NONE ||
        !drawing_start(exchange_server(x)->registry, t->model, exchange_server(x)->o.safety, &t->wire.q,
                       on_event, x, &t->pictures, &f)) {
        refuse(x, t, &f);
        return;
    }
    t->facts = *drawing_facts(t->pictures);
    exchange_run(x, &picture_ops, t, t->wire.stream);
}

static void start_held(struct exchange *x, void *work, const struct err *loaded)
{
    start(x, work, loaded);
    loading_end(x);
}

static bool read_body(struct exchange *x, struct picture_work *t, struct fault *f)
{
    const char *type = exchange_header_in(x, "Content-Type");
    size_t len;
    const char *body = exchange_body(x, &len);
    if (type && !strncasecmp(type, "multipart/form-data", 19)) {
        struct multipart *m = malloc(sizeof *m);
        bool ok = m || err_set(&f->err, ERR_NOMEM, "out of memory");
        ok = ok && multipart_parse(m, type, body, len, &f->err) &&
             picture_wire_form(&t->wire, m, exchange_server(x)->o.strict_fields, f);
        free(m);
        return ok;
    }
    json_t *o;
    if (!json_in_parse(body, len, &exchange_server(x)->json, &o, f)) return false;
    bool ok = picture_wire_json(&t->wire, o, exchange_server(x)->o.strict_fields, f);
    json_decref(o);
    return ok;
}

/* From the names of adapters to their files. */
static bool find_loras(struct exchange *x, struct picture_work *t, struct fault *f)
{
    for (int i = 0; i < t->wire.q.n_lora; i++) {
        const char *name = t->wire.q.lora[i].path;
        char *path;
        if (!lora_folder_find(exchange_server(x)->o.loras, name, &path, &f->err)) {
            f->param = "loras";
            return false;
        }
        free((char *)name);
        t->wire.q.lora[i].path = path;
    }
    return true;
}

/* model: from the path, or NULL to take it from the body. */
static void picture_post(struct exchange *x, enum picture_style style, const char *model,
                         enum picture_task task)
{
    struct fault f = { { ERR_NONE, "" }, NULL };
    struct picture_work *t = calloc(1, sizeof *t);
    if (!t) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    picture_wire_init(&t->wire, style, exchange_dialect(x) == DIALECT_FIREWORKS);
    t->wire.task = task;
    const char *accept = exchange_header_in(x, "Accept");
    const char *inside = exchange_header_in(x, "Json-Return-Image-Accept");
    const char *quality = exchange_header_in(x, "Jpeg-Quality");
    if (style & (PICTURES_WORKFLOW | PICTURES_SDXL)) {
        if (!picture_wire_accept(&t->wire, accept, inside)) {
            struct buf b = BUF_INIT(0);
            work_free(t);
            fault_print(&b, exchange_dialect(x), FAULT_INVALID, "Accept",
                        "Accept must allow image/png, image/jpeg, image/webp or application/json");
            exchange_reply(x, 406, "application/json", &b);
            return;
        }
        char *end = NULL;
        long q = quality ? strtol(quality, &end, 10) : 90;
        bool fine = !quality || (*quality && !*end && q >= 0 && q <= 100);
        bool inner = !inside || !strcasecmp(inside, "image/png") || !strcasecmp(inside, "image/jpeg");
        if (!fine || !inner) {
            work_free(t);
            exchange_fault(x, FAULT_INVALID, fine ? "Json-Return-Image-Accept" : "Jpeg-Quality",
                           fine ? "Json-Return-Image-Accept must be image/png or image/jpeg"
                                : "Jpeg-Quality must be a whole number from 0 to 100");
            return;
        }
        t->wire.q.quality = q < 1 ? 1 : (int)q;
    }
    if (!read_body(x, t, &f)) {
        refuse(x, t, &f);
        return;
    }
    exchange_free_body(x);
    const char *wanted = model ? model : t->wire.q.model;
    if (wanted && (!strncmp(wanted, "dall-e-", 7) || !strncmp(wanted, "gpt-image-", 10) ||
                   !strncmp(wanted, "chatgpt-image-", 14)))
        wanted = NULL; /* OpenAI's models are elsewhere: the first of ours stands for them */
    if (!registry_find_image(exchange_server(x)->registry, wanted, &t->model, &f.err)) {
        f.param = "model";
        refuse(x, t, &f);
        return;
    }
    t->wire.q.ending = exchange_ending(x);
    ending_model(t->wire.q.ending, model_id(t->model));
    if (!picture_wire_resolve(&t->wire, t->model, &f)) {
        refuse(x, t, &f);
        return;
    }
    if (!find_loras(x, t, &f)) {
        refuse(x, t, &f);
        return;
    }
    loading_then(x, t->model, start_held, t);
}

void images_generations(struct exchange *x) { picture_post(x, PICTURES_OPENAI, NULL, PICTURE_GENERATE); }
void images_edits(struct exchange *x) { picture_post(x, PICTURES_OPENAI, NULL, PICTURE_EDIT); }
void images_variations(struct exchange *x) { picture_post(x, PICTURES_OPENAI, NULL, PICTURE_VARY); }

/* "accounts/A/models/NAME/text_to_image" -> NAME and what is wanted of it. */
static void model_path(struct exchange *x, enum picture_style style)
{
    char path[300];
    snprintf(path, sizeof path, "%s", exchange_tail(x));
    char *verb = strrchr(path, '/');
    bool image = verb && !strcmp(verb, "/image_to_image"), text = verb && !strcmp(verb, "/text_to_image");
    if (image || text) *verb = '\0';
    /* After the last "models/" (the prefix may come twice) there is a name and nothing else: control_net and the like are not here. */
    const char *name = NULL;
    for (const char *at = path; (at = strstr(at, "/models/")); name = at) at += strlen("/models/");
    if ((style == PICTURES_WORKFLOW) != text || strncmp(path, "accounts/", 9) != 0 ||
        (style == PICTURES_SDXL && name && strchr(name, '/'))) {
        exchange_fault(x, FAULT_URL, NULL, "there is nothing at POST %.200s", exchange_path(x));
        return;
    }
    picture_post(x, style, path, image ? PICTURE_EDIT : PICTURE_GENERATE);
}

void workflows_post(struct exchange *x) { model_path(x, PICTURES_WORKFLOW); }
void image_generation_post(struct exchange *x) { model_path(x, PICTURES_SDXL); }

/* ---- files ------------------------------------------------------------------------------------------------- */

void files_get(struct exchange *x)
{
    int64_t size, mtime;
    int fd = exchange_server(x)->o.files
                 ? files_open(exchange_server(x)->o.files, exchange_tail(x), &size, &mtime)
                 : -1;
    if (fd < 0) {
        exchange_fault(x, FAULT_URL, NULL, "there is no such picture, or its time is over");
        return;
    }
    const char *range = exchange_header_in(x, "Range");
    const char *dot = strrchr(exchange_tail(x), '.');
    const char *type = dot && !strcmp(dot, ".png")    ? "image/png"
                       : dot && !strcmp(dot, ".webp") ? "image/webp"
                                                      : "image/jpeg";
    long long from = 0, to = size - 1;
    bool part = false;
    if (range && !strncmp(range, "bytes=", 6) && !strchr(range, ',')) {
        long long a = -1, b = -1;
        if (range[6] == '-') {
            part = sscanf(range + 7, "%lld", &b) == 1 && b >= 0;
            if (part) from = b < size ? size - b : 0;
        } else if (sscanf(range + 6, "%lld-%lld", &a, &b) >= 1 && a >= 0) {
            from = a;
            if (b >= 0 && b < to) to = b;
            part = true;
        }
        if (part && (from >= size || to < from)) {
            struct buf none = BUF_INIT(0);
            close(fd);
            exchange_header(x, "Content-Range", "bytes */%lld", (long long)size);
            exchange_reply(x, 416, "text/plain", &none);
            return;
        }
    }
    struct buf b = BUF_INIT(0);
    char block[65536];
    off_t at = from;
    ssize_t n;
    while (at <= to &&
           (n = pread(fd, block,
                      (size_t)(to - at + 1 < (long long)sizeof block ? to - at + 1 : (long long)sizeof block),
                      at)) > 0) {
        buf_append(&b, block, (size_t)n);
        at += n;
    }
    close(fd);
    if (b.failed || at <= to) {
        buf_free(&b);
        exchange_fault(x, FAULT_SERVER, NULL, "the picture could not be read");
        return;
    }
    exchange_header(x, "Accept-Ranges", "bytes");
    exchange_header(x, "Cache-Control", "private, max-age=3600, immutable");
    exchange_header(x, "X-Content-Type-Options", "nosniff");
    if (part) exchange_header(x, "Content-Range", "bytes %lld-%lld/%lld", from, to, (long long)size);
    exchange_reply(x, part ? 206 : 200, type, &b);
}

/* ---- Firemoon ---------------------------------------------------------------------------------------------- */

struct firemoon_model {
    const char *id, *name; /* "flux/" in front of the id makes the catalog's, which has the defaults */
};
static const struct firemoon_model firemoon_models[] = { { "dev", "FLUX.1 [dev]" },
                                                         { "schnell", "FLUX.1 [schnell]" } };
enum { N_FIREMOON = sizeof firemoon_models / sizeof *firemoon_models };

static const struct firemoon_model *firemoon_model(const char *tail)
{
    for (int i = 0; i < N_FIREMOON; i++) {
        if (!strncmp(tail, "flux/", 5) && !strcmp(tail + 5, firemoon_models[i].id))
            return &firemoon_models[i];
    }
    return NULL;
}

void firemoon_post(struct exchange *x)
{
    char id[40];
    const struct firemoon_model *m = firemoon_model(exchange_tail(x));
    if (!m) {
        exchange_fault(x, FAULT_MODEL, NULL, "Model configuration not found for %.100s", exchange_tail(x));
        return;
    }
    snprintf(id, sizeof id, "flux/%s", m->id);
    picture_post(x, PICTURES_FIREMOON, id, PICTURE_GENERATE);
}

static void print_schema(struct buf *b, const struct firemoon_model *m, int steps)
{
    buf_printf(
        b,
        "{\"id\":\"flux/%s\",\"provider\":\"flux\",\"model\":\"%s\",\"name\":\"%s\",\"type\":\"image\","
        "\"endpoint\":\"/api/v1/flux/%s\",\"input_schema\":{\"type\":\"object\",\"required\":[\"prompt\"],"
        "\"additionalProperties\":false,\"properties\":{"
        "\"prompt\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":1000},"
        "\"num_images\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":4,\"default\":1},"
        "\"image_size\":{\"type\":\"string\",\"default\":\"landscape_4_3\",\"enum\":[\"square_hd\","
        "\"square\",\"portrait_4_3\","
        "\"portrait_16_9\",\"landscape_4_3\",\"landscape_16_9\"]},"
        "\"guidance_scale\":{\"type\":\"number\",\"minimum\":1,\"maximum\":20,\"default\":3.5},"
        "\"num_inference_steps\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":50,\"default\":%d},"
        "\"seed\":{\"type\":\"integer\"}}}}",
        m->id, m->id, m->name, m->id, steps);
}

void firemoon_get(struct exchange *x)
{
    struct buf b = BUF_INIT(0);
    const struct firemoon_model *m = firemoon_model(exchange_tail(x));
    const struct catalog_model *c = m ? catalog_find(exchange_server(x)->catalog, exchange_tail(x)) : NULL;
    if (!*exchange_tail(x)) {
        buf_puts(&b, "{\"name\":\"hearth\",\"version\":\"v1\",\"endpoints\":[");
        for (int i = 0; i < N_FIREMOON; i++) {
            buf_printf(
                &b, "%s{\"method\":\"POST\",\"path\":\"/api/v1/flux/%s\",\"description\":\"Draw with %s\"}",
                i ? "," : "", firemoon_models[i].id, firemoon_models[i].name);
        }
        buf_puts(&b, ",{\"method\":\"GET\",\"path\":\"/api/v1/providers\",\"description\":\"Providers and "
                     "their models\"}]}");
    } else if (!strcmp(exchange_tail(x), "providers")) {
        buf_puts(&b, "{\"providers\":[{\"id\":\"flux\",\"name\":\"FLUX\",\"type\":\"image\",\"models\":["
                     "\"dev\",\"schnell\"]}]}");
    } else if (!strcmp(exchange_tail(x), "providers/flux/models")) {
        buf_puts(&b, "{\"provider\":\"flux\",\"models\":[");
        for (int i = 0; i < N_FIREMOON; i++) {
            buf_printf(&b, "%s{\"id\":\"flux/%s\",\"name\":\"%s\",\"endpoint\":\"/api/v1/flux/%s\"}",
                       i ? "," : "", firemoon_models[i].id, firemoon_models[i].name, firemoon_models[i].id);
        }
        buf_puts(&b, "]}");
    } else if (c) {
        print_schema(&b, m, c->steps);
    } else {
        exchange_fault(x, FAULT_MODEL, NULL, "Model configuration not found for %.100s", exchange_tail(x));
        return;
    }
    exchange_reply(x, 200, "application/json", &b);
}
