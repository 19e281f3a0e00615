/* pictures.c - image endpoints: from a body or a form to a drawing, and from its events to a reply, bytes or a stream. How requests are
 * spelled and answers look is the dialects' (dialects/picture_dialect.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/costs.h"
#include "http/dialects/firemoon.h"
#include "http/dialects/picture_enhance.h"
#include "http/exchange.h"
#include "http/inner.h"
#include "http/loading.h"
#include "format/json_memory.h"
#include "http/handlers.h"
#include "http/pictures.h"
#include "http/prompt_policy.h"
#include "http/provenance.h"
#include "http/relayed_pictures.h"
#include "http/routes.h"
#include "http/wanted.h"
#include "service/ending.h"
#include "service/files.h"
#include "service/models/lora_folder.h"

struct picture_work {
    const struct picture_dialect *dialect;
    struct picture_wire wire;
    struct model *model;
    struct drawing *drawing;            /* NULL: another server draws, */
    struct relayed_pictures *elsewhere; /* which this is */
    char *wanted;                       /* the model that the path names; NULL: the body's counts */
    bool routed;                        /* another server may draw it */
    struct picture_facts facts;         /* what the request became; model points into the registry */
    struct picture_reply reply;
    struct price price; /* reply.price, where there is one */
    int steps;          /* of the picture that is being drawn */
    bool over, failed;
    int last;             /* of a stream: its last picture, which waits until what was used is written down */
    bool shown, closed;   /* the stream has that picture; and its last event */
    struct inner *writer; /* the chat model that writes the prompt anew; NULL: none */
    struct exchange *x;
    struct err error;
};

static void work_free(void *arg)
{
    struct picture_work *t = arg;
    if (!t) return;
    inner_free(t->writer);
    drawing_free(t->drawing);
    relayed_pictures_free(t->elsewhere);
    free(t->wanted);
    for (int i = 0; i < PICTURES_MOST; i++) free(t->reply.picture[i].is.bytes);
    picture_wire_free(&t->wire);
    free(t);
}

static void work_cancel(void *arg)
{
    struct picture_work *t = arg;
    if (t->elsewhere)
        relayed_pictures_cancel(t->elsewhere);
    else
        drawing_cancel(t->drawing);
}

static bool next_event(struct picture_work *t, struct reply_event *ev)
{
    return t->elsewhere ? relayed_pictures_next(t->elsewhere, ev) : drawing_next(t->drawing, ev);
}

static void on_event(void *arg) { exchange_wake(arg); }

/* ---- events ------------------------------------------------------------------------------------------------ */

static void fail(struct picture_work *t, const struct err *e)
{
    t->failed = t->over = true;
    t->error = *e;
}

/* Where this client reached us: the address it used, or the one it should use. */
static void set_url(struct exchange *x, struct picture_file *p, const char *name)
{
    const char *host = exchange_header_in(x, "Host"), *proto = exchange_header_in(x, "X-Forwarded-Proto");
    if (host && *host && strlen(host) < 300 && !strpbrk(host, "/\\@ \t")) {
        const bool https = exchange_server(x)->o.tls || (proto && !strcmp(proto, "https"));
        snprintf(p->url, sizeof p->url, "%s://%s/files/%s", https ? "https" : "http", host, name);
    } else {
        snprintf(p->url, sizeof p->url, "%s/files/%s", exchange_server(x)->url, name);
    }
}

static void take_picture(struct exchange *x, struct picture_work *t, struct reply_event *ev)
{
    struct picture_file *p = &t->reply.picture[ev->index];
    p->is = ev->picture;
    p->steps = t->steps;
    t->steps = 0;
    ev->picture.bytes = NULL; /* taken over */
    t->reply.n++;
    if (*ev->picture.file) set_url(x, p, ev->picture.file);
}

static void note_made(struct exchange *x, const struct picture_work *t)
{
    const struct picture_reply *r = &t->reply;
    const char *model = strrchr(t->facts.model, '/') ? strrchr(t->facts.model, '/') + 1 : t->facts.model;
    exchange_note(x, "%.70s %d picture%s %dx%d, %d steps, %.2f s", model, r->n, r->n == 1 ? "" : "s",
                  r->picture[0].is.width, r->picture[0].is.height, t->facts.steps,
                  r->usage.total_s - r->usage.queue_s);
}

static void take_event(struct exchange *x, struct picture_work *t, struct reply_event *ev)
{
    switch (ev->type) {
    case REPLY_PROGRESS: t->steps = ev->picture.step; break;
    case REPLY_PICTURE: take_picture(x, t, ev); break;
    case REPLY_DONE:
        t->over = true;
        t->reply.usage = ev->usage;
        note_made(x, t);
        break;
    case REPLY_ERROR: fail(t, &ev->error); break;
    default: break;
    }
}

static const char *early_end(struct exchange *x, const struct picture_work *t, enum fault_kind *kind)
{
    return exchange_early_end(x, t->failed ? &t->error : NULL, kind);
}

/* ---- a full reply ------------------------------------------------------------------------------------------ */

static void put_header(void *arg, const char *name, const char *value)
{
    exchange_header(arg, name, "%s", value);
}

static void reply(struct exchange *x, struct picture_work *t)
{
    struct buf b = BUF_INIT(0);
    const struct reply_picture *first = &t->reply.picture[0].is;
    if (t->dialect->headers) t->dialect->headers(&t->reply, put_header, x);
    costs_header(x, t->reply.price, &t->reply.usage);
    if (t->wire.answer == ANSWER_BYTES)
        buf_append(&b, first->bytes, first->len);
    else
        t->dialect->print(&b, &t->reply);
    if (b.failed) {
        buf_free(&b);
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    exchange_reply(x, 200,
                   t->wire.answer == ANSWER_BYTES ? image_format_mime(t->wire.q.format) : "application/json",
                   &b);
}

static bool collect(struct exchange *x, void *arg)
{
    struct picture_work *t = arg;
    struct reply_event ev;
    enum fault_kind kind;
    while (!t->over && next_event(t, &ev)) {
        take_event(x, t, &ev);
        reply_event_free(&ev);
    }
    const char *why = early_end(x, t, &kind);
    if (why)
        exchange_fault(x, kind, NULL, "%s", why);
    else if (t->over)
        reply(x, t);
    return why || t->over;
}

/* ---- a stream ---------------------------------------------------------------------------------------------- */

static void stream_event(struct exchange *x, struct picture_work *t, struct reply_event *ev, struct buf *out)
{
    take_event(x, t, ev);
    if (t->failed) return;
    if (ev->type == REPLY_PROGRESS) t->dialect->print_progress(out, &t->reply, ev);
    if (ev->type != REPLY_PICTURE) return;
    if (t->reply.n < t->facts.n)
        t->dialect->print_picture(out, &t->reply, ev->index);
    else
        t->last = ev->index;
}

static enum produced produce(struct exchange *x, void *arg, struct buf *out)
{
    struct picture_work *t = arg;
    struct reply_event ev;
    enum fault_kind kind;
    if (t->closed) return PRODUCED_END;
    while (!out->len && !t->over && !early_end(x, t, &kind) && next_event(t, &ev)) {
        stream_event(x, t, &ev, out);
        reply_event_free(&ev);
    }
    const bool whole = t->over && !t->failed; /* then it is too late for an error */
    const char *why = whole ? NULL : early_end(x, t, &kind);
    if (why) {
        char told[sizeof t->error.msg];
        buf_clear(out);
        exchange_tell(x, why, told, sizeof told);
        t->dialect->print_fault(out, kind, told);
        exchange_note(x, "%.150s", why);
        t->closed = true;
    } else if (whole && !out->len && !t->shown) {
        t->dialect->print_picture(out, &t->reply, t->last);
        t->shown = true;
        return PRODUCED_LAST;
    } else if (whole && !out->len) {
        t->dialect->print_done(out, &t->reply);
        t->closed = true;
    }
    return out->len ? PRODUCED_EVENT : PRODUCED_NOTHING;
}

static const struct work_ops picture_ops = { collect, produce, work_cancel, work_free };

/* ---- the request ------------------------------------------------------------------------------------------- */

/* Takes over t. */
static void refuse(struct exchange *x, struct picture_work *t, const struct fault *f)
{
    const struct fault why = *f;
    const enum fault_kind kind = exchange_kind(x, f);
    if (t->dialect->print_refusal && fault_status(kind) == 400 && kind != FAULT_POLICY) {
        struct buf b = BUF_INIT(65536);
        char told[sizeof why.err.msg];
        exchange_told(x, why.err.msg, told, sizeof told);
        exchange_note(x, "%.150s", why.err.msg);
        t->dialect->print_refusal(&b, &t->wire, told);
        work_free(t);
        exchange_reply(x, 400, "application/json", &b);
        return;
    }
    work_free(t);
    exchange_fault_from(x, &why);
}

static const char *name_of(const struct picture_work *t) { return t->wanted ? t->wanted : t->wire.q.model; }

static void ask_others(struct exchange *x, struct picture_work *t, const struct routed *route,
                       const struct fault *busy);

static void start(struct exchange *x, struct picture_work *t, const struct err *loaded)
{
    const struct server *s = exchange_server(x);
    struct fault f = { .err = *loaded };
    struct err away;
    exchange_at_work(x);
    if (f.err.code == ERR_NONE) provenance_model(x, t->model);
    t->wire.q.signer = s->o.signer;
    if (t->wire.answer == ANSWER_URL) t->wire.q.files = s->o.files;
    if (f.err.code == ERR_NONE && t->wire.q.files && blobs_away(s->o.files, &away)) /* 503 before any work */
        err_set(&f.err, ERR_CANCELLED, "pictures cannot be kept for their URLs now; try again later");
    if (f.err.code != ERR_NONE ||
        !drawing_start(s->registry, t->model, s->o.safety, &t->wire.q, on_event, x, &t->drawing, &f)) {
        const struct routed *route = relay_spill(x, name_of(t), &f);
        if (route)
            ask_others(x, t, route, &f);
        else
            refuse(x, t, &f);
        return;
    }
    t->facts = *drawing_facts(t->drawing);
    if (costs_price(x, model_id(t->model), &t->price)) t->reply.price = &t->price;
    exchange_run(x, &picture_ops, t, t->wire.stream);
}

static void start_held(struct exchange *x, void *work, const struct err *loaded)
{
    start(x, work, loaded);
    loading_end(x);
}

static bool read_body(struct exchange *x, struct picture_wire *w, struct fault *f)
{
    const struct server *s = exchange_server(x);
    const char *type = exchange_header_in(x, "Content-Type");
    size_t len;
    const char *body = exchange_body(x, &len);
    if (type && !strncasecmp(type, "multipart/form-data", 19)) {
        struct multipart *m = malloc(sizeof *m);
        provenance_bytes(x, body, len);
        bool ok = m || err_set(&f->err, ERR_NOMEM, "out of memory");
        ok = ok && multipart_parse(m, type, body, len, &f->err) &&
             picture_wire_form(w, m, s->o.strict_fields, f);
        free(m);
        return ok;
    }
    json_t *o;
    if (!json_in_parse(body, len, &s->json, &o, f)) return false;
    provenance_json(x, o);
    bool ok = picture_wire_json(w, o, s->o.strict_fields, f);
    json_decref(o);
    return ok;
}

/* From the names of adapters to their files. */
static bool find_loras(struct exchange *x, struct picture_request *q, struct fault *f)
{
    for (int i = 0; i < q->n_lora; i++) {
        const char *name = q->lora[i].path;
        char *path;
        if (!lora_folder_find(exchange_server(x)->o.loras, name, &path, &f->err)) {
            f->param = "loras";
            return false;
        }
        free((char *)name);
        q->lora[i].path = path;
    }
    return true;
}

/* False: answered, and t is gone. */
static bool negotiate(struct exchange *x, struct picture_work *t)
{
    struct fault f = { 0 };
    const struct picture_headers h = { .accept = exchange_header_in(x, "Accept"),
                                       .inside_json = exchange_header_in(x, "Json-Return-Image-Accept"),
                                       .jpeg_quality = exchange_header_in(x, "Jpeg-Quality") };
    enum fault_kind kind = t->dialect->negotiate ? t->dialect->negotiate(&t->wire, &h, &f) : FAULT_NONE;
    if (kind == FAULT_NONE) return true;
    work_free(t);
    exchange_fault(x, kind, f.param, "%s", f.err.msg);
    return false;
}

/* ---- who draws --------------------------------------------------------------------------------------------- */

/* What a model of this server needs to be known of, and what it uses at most. */
static bool find_here(struct exchange *x, struct picture_work *t, struct fault *f)
{
    struct usage worst;
    const bool ok = wanted_pictures(exchange_server(x)->registry, &t->wire, t->wanted, &t->model, &worst, f);
    if (t->model) ending_model(t->wire.q.ending, model_id(t->model));
    if (!ok || !find_loras(x, &t->wire.q, f)) return false;
    ending_may_use(t->wire.q.ending, &worst);
    return true;
}

static void draw_here(struct exchange *x, struct picture_work *t)
{
    struct fault f = { 0 };
    t->routed = false;
    if (find_here(x, t, &f))
        loading_then(x, t->model, start_held, t);
    else
        refuse(x, t, &f);
}

/* Another server was asked. */
static void drawn(struct exchange *x, void *arg, const struct err *none)
{
    struct picture_work *t = arg;
    struct fault f = { 0 };
    (void)none;
    struct blobs *files = t->wire.answer == ANSWER_URL ? exchange_server(x)->o.files : NULL;
    switch (relayed_pictures_outcome(t->elsewhere, files, &f)) {
    case CALL_HERE:
        relayed_pictures_free(t->elsewhere);
        t->elsewhere = NULL;
        draw_here(x, t);
        return;
    case CALL_FAILED: refuse(x, t, &f); return;
    case CALL_ANSWERED: break;
    }
    relayed_pictures_facts(t->elsewhere, &t->facts, &t->price);
    if (exchange_server(x)->o.account) t->reply.price = &t->price;
    exchange_run(x, &picture_ops, t, t->wire.stream);
}

static void ask_others(struct exchange *x, struct picture_work *t, const struct routed *route,
                       const struct fault *busy)
{
    struct fault f = { 0 };
    const enum relay_is is = relayed_pictures_start(x, route, &t->wire, drawn, t, &t->elsewhere, &f);
    if (is == RELAY_HERE) draw_here(x, t);
    if (is == RELAY_REFUSED) refuse(x, t, busy && f.err.code == ERR_UNSUPPORTED ? busy : &f);
}

static void draw_elsewhere(struct exchange *x, struct picture_work *t)
{
    const struct routed *route = relay_route(x, name_of(t)); /* it may be gone since t came */
    if (route)
        ask_others(x, t, route, NULL);
    else
        draw_here(x, t);
}

/* Sizes as the model here would have them, where it is here too; a quality goes along by its name. */
static bool find_elsewhere(struct exchange *x, struct picture_work *t, const char *name, struct fault *f)
{
    struct model *m = NULL;
    struct err none = { 0 };
    ending_model(t->wire.q.ending, name);
    if (!registry_find_image(exchange_server(x)->registry, name, &m, &none)) m = NULL;
    return picture_wire_resolve(&t->wire, m, f);
}

/* ---- a prompt that a chat model writes anew ---------------------------------------------------------------- */

/* With the prompt that there is now. */
static void draw(struct exchange *x, struct picture_work *t)
{
    struct fault f = { 0 };
    const struct catalog_model *known =
        t->model ? model_catalog(t->model) : catalog_find(exchange_server(x)->catalog, name_of(t));
    if (!picture_enhance(&t->wire, exchange_server(x)->o.styles, known, &f))
        refuse(x, t, &f);
    else if (t->routed)
        draw_elsewhere(x, t);
    else
        loading_then(x, t->model, start_held, t);
}

static void written(struct exchange *x, void *arg, const struct err *none)
{
    struct picture_work *t = arg;
    struct fault f = { 0 };
    struct buf said = BUF_INIT(0);
    (void)none;
    inner_take(t->writer, &said);
    if (*inner_cost(t->writer)) exchange_header(x, "X-Hearth-Enhance-Cost", "%s", inner_cost(t->writer));
    const bool ok = said.failed ? err_set(&f.err, ERR_NOMEM, "out of memory")
                                : picture_enhance_answer(&t->wire, inner_status(t->writer),
                                                         said.data ? said.data : "", said.len, &f);
    buf_free(&said);
    if (ok)
        draw(x, t);
    else
        refuse(x, t, &f);
}

static void on_written(void *arg, bool over)
{
    struct picture_work *t = arg;
    if (over) loading_on(t->x, written, t);
}

/* It is a request of its own, with limits, a budget and a row. */
static bool ask_writer(struct exchange *x, struct picture_work *t, struct fault *f)
{
    struct buf body = BUF_INIT(0);
    json_t *question = picture_enhance_question(&t->wire);
    char *text = question ? json_memory_dumps(question, JSON_COMPACT) : NULL;
    bool ok = (text && buf_puts(&body, text)) || err_set(&f->err, ERR_NOMEM, "out of memory");
    ok = ok && inner_start(&t->writer, x, 0, "/v1/chat/completions", &body, on_written, t, &f->err);
    free(text);
    json_decref(question);
    buf_free(&body);
    return ok;
}

void pictures_run(struct exchange *x, const struct picture_dialect *d, const char *model,
                  enum picture_task task)
{
    struct fault f = { 0 };
    struct picture_work *t = calloc(1, sizeof *t);
    if (!t) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    t->dialect = d;
    t->reply.wire = &t->wire;
    t->reply.facts = &t->facts;
    t->reply.id = exchange_id(x);
    picture_wire_init(&t->wire, d, exchange_dialect(x) == DIALECT_FIREWORKS);
    t->wire.task = task;
    if (!negotiate(x, t)) return;
    bool ok = !model || (t->wanted = strdup(model)) || err_set(&f.err, ERR_NOMEM, "out of memory");
    ok = ok && read_body(x, &t->wire, &f);
    if (ok) exchange_free_body(x);
    t->wire.q.ending = exchange_ending(x);
    t->wire.q.share = exchange_who(x)->share;
    t->x = x;
    const struct routed *route = ok ? relay_route(x, name_of(t)) : NULL;
    t->routed = route != NULL;
    ok = ok && (route ? find_elsewhere(x, t, route->model, &f) : find_here(x, t, &f));
    if (!ok || !prompt_policy_picture(x, t->wire.q.prompt, &f))
        refuse(x, t, &f);
    else if (!picture_enhance_asks(&t->wire))
        draw(x, t);
    else if (!ask_writer(x, t, &f))
        refuse(x, t, &f);
}

void images_generations(struct exchange *x) { pictures_run(x, &openai_pictures, NULL, PICTURE_GENERATE); }
void images_edits(struct exchange *x) { pictures_run(x, &openai_pictures, NULL, PICTURE_EDIT); }
void images_variations(struct exchange *x) { pictures_run(x, &openai_pictures, NULL, PICTURE_VARY); }

/* "accounts/A/models/NAME/VERB": the name, and whether the verb was there. */
static bool cut_verb(char *path, const char *verb)
{
    char *last = strrchr(path, '/');
    if (!last || strcmp(last + 1, verb) != 0) return false;
    *last = '\0';
    return true;
}

static void nothing_here(struct exchange *x)
{
    exchange_fault(x, FAULT_URL, NULL, "there is nothing at POST %.200s", exchange_path(x));
}

void workflows_post(struct exchange *x)
{
    char path[300];
    snprintf(path, sizeof path, "%s", exchange_tail(x));
    if (cut_verb(path, "text_to_image") && !strncmp(path, "accounts/", 9))
        pictures_run(x, &workflow_pictures, path, PICTURE_GENERATE);
    else
        nothing_here(x);
}

void image_generation_post(struct exchange *x)
{
    char path[300];
    snprintf(path, sizeof path, "%s", exchange_tail(x));
    bool edit = cut_verb(path, "image_to_image");
    /* After the last "models/" (the prefix may come twice) there is a name and nothing else: control_net and the like are not here. */
    const char *name = NULL;
    for (const char *at = path; (at = strstr(at, "/models/")); name = at) at += strlen("/models/");
    if (strncmp(path, "accounts/", 9) != 0 || (name && strchr(name, '/')))
        nothing_here(x);
    else
        pictures_run(x, &sdxl_pictures, path, edit ? PICTURE_EDIT : PICTURE_GENERATE);
}

/* ---- Firemoon ---------------------------------------------------------------------------------------------- */

static void no_such_model(struct exchange *x)
{
    exchange_fault(x, FAULT_MODEL, NULL, "Model configuration not found for %.100s", exchange_tail(x));
}

void firemoon_post(struct exchange *x)
{
    const char *model = firemoon_model(exchange_tail(x));
    if (model)
        pictures_run(x, &firemoon_pictures, model, PICTURE_GENERATE);
    else
        no_such_model(x);
}

void firemoon_get(struct exchange *x)
{
    struct buf b = BUF_INIT(0);
    if (firemoon_page(&b, exchange_tail(x), exchange_server(x)->catalog))
        exchange_reply(x, 200, "application/json", &b);
    else
        no_such_model(x);
}
