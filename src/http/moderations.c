/* moderations.c - POST /v1/moderations: texts by the lists of the safety policy's file that have a category, pictures by the classifier. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "format/image_file.h"
#include "base/log.h"
#include "format/json_memory.h"
#include "http/dialects/judge.h"
#include "http/dialects/moderation.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/inner.h"
#include "http/json_in.h"
#include "service/picture_fetch.h"

struct moderating {
    json_t *body;
    struct moderation m;
    struct exchange *x;
    const struct word_rules *words;
    const struct word_judge *judge; /* NULL: none */
    struct inner *asked;            /* it is asked about ... */
    int at;                         /* ... this input */
};

static void work_free(struct moderating *w)
{
    inner_free(w->asked);
    moderation_free(&w->m);
    json_decref(w->body);
    free(w);
}

static bool look_at_text(const struct word_rules *words, const struct moderation_input *in,
                         struct moderation_result *r, struct err *e)
{
    static const struct word_policy nothing = { .name = "off" };
    struct word_found found = { 0 };
    if (!words) return true;
    if (!word_check(words, &nothing, in->text, in->len, &found, e)) return false;
    for (unsigned list = 0; list < PHRASES_LISTS; list++) {
        const int k = found.lists >> list & 1 ? word_rules_category(words, list) : CATEGORY_NONE;
        if (k == CATEGORY_NONE) continue;
        r->flagged[k] = true;
        r->text_score[k] = 1;
    }
    word_found_free(&found);
    return true;
}

static int sexual(void)
{
    int k = 0;
    while (strcmp(safety_categories[k], "sexual") != 0) k++;
    return k;
}

static bool look_at_picture(struct exchange *x, const struct moderation_input *in,
                            struct moderation_result *r, double deadline, struct err *e)
{
    const struct server *s = exchange_server(x);
    const struct image_limits limits = { REQUEST_PICTURE_BYTES, REQUEST_PICTURE_PIXELS, 16384 };
    struct buf fetched = BUF_INIT(REQUEST_PICTURE_BYTES);
    struct image_pixels px;
    double score;
    bool unsafe;
    bool ok = !in->url || picture_fetch(&fetched, in->url, s->o.image_hosts, REQUEST_PICTURE_BYTES, deadline,
                                        exchange_stop_flag(x, false), e);
    ok = ok && image_file_decode(in->url ? (const void *)fetched.data : in->bytes,
                                 in->url ? fetched.len : in->n, 3, &limits, &px, e);
    buf_free(&fetched);
    if (!ok) {
        if (e->code == ERR_FORMAT || e->code == ERR_LIMIT) e->code = ERR_REQUEST;
        return err_wrap(e, "input");
    }
    const struct image_rgb rgb = { .width = px.width, .height = px.height, .pixels = px.data };
    ok = safety_score(s->o.safety, &rgb, &score, &unsafe, e);
    free(px.data);
    if (!ok) return false;
    const int k = sexual();
    r->flagged[k] |= unsafe;
    if (score > r->picture_score[k]) r->picture_score[k] = score;
    return true;
}

static void look(struct exchange *x, void *arg, const struct err *nothing)
{
    (void)nothing;
    struct moderating *w = arg;
    struct fault f = { 0 };
    struct buf b = BUF_INIT(0);
    char id[80];
    const double deadline = clock_seconds() + REQUEST_PICTURES_S;
    bool ok = true;
    f.param = "input";
    for (int i = 0; ok && i < w->m.n_inputs; i++) {
        const struct moderation_input *in = &w->m.input[i];
        struct moderation_result *r = &w->m.result[in->result];
        ok = in->text ? look_at_text(w->words, in, r, &f.err) : look_at_picture(x, in, r, deadline, &f.err);
    }
    if (ok) {
        snprintf(id, sizeof id, "modr-%.60s", exchange_id(x));
        moderation_print(&b, &w->m, id);
        exchange_reply(x, 200, "application/json", &b);
    } else {
        exchange_fault_from(x, &f);
    }
    work_free(w);
}

/* ---- a model as judge: each text is a request of its own, with limits, a budget and a row ---------------------------- */

static void ask_next(struct exchange *x, struct moderating *w);

static void look_itself(struct exchange *x, struct moderating *w)
{
    bool pictures = false;
    for (int i = 0; i < w->m.n_inputs; i++) pictures |= !w->m.input[i].text;
    if (pictures)
        loading_on_long(x, look, w);
    else
        look(x, w, NULL);
}

/* False: answered, and w is gone. */
static bool failed(struct exchange *x, struct moderating *w, struct fault *f)
{
    log_warn("%s: %s; %s", exchange_id(x), f->err.msg,
             w->judge->refuse ? "the request is refused" : "the lists decide alone");
    if (!w->judge->refuse) return true;
    exchange_refused(x, FAULT_UNAVAILABLE);
    exchange_fault_from(x, f);
    work_free(w);
    return false;
}

static void judged(struct exchange *x, void *arg, const struct err *none)
{
    struct moderating *w = arg;
    struct moderation_result *r = &w->m.result[w->m.input[w->at].result];
    struct buf said = BUF_INIT(1 << 20);
    struct fault f = { 0 };
    struct judged j;
    (void)none;
    inner_take(w->asked, &said);
    const bool ok =
        judge_answer(w->judge, inner_status(w->asked), said.data ? said.data : "", said.len, &j, &f.err);
    buf_free(&said);
    inner_free(w->asked);
    w->asked = NULL;
    if (ok && j.category != CATEGORY_NONE) {
        r->flagged[j.category] |= j.score >= w->judge->threshold;
        if (j.score > r->text_score[j.category]) r->text_score[j.category] = j.score;
    }
    if (!ok && !failed(x, w, &f)) return;
    w->at++;
    ask_next(x, w);
}

static void on_judged(void *arg, bool over)
{
    struct moderating *w = arg;
    if (over) loading_on(w->x, judged, w);
}

static bool ask(struct exchange *x, struct moderating *w, struct err *e)
{
    const struct moderation_input *in = &w->m.input[w->at];
    struct buf body = BUF_INIT(0);
    json_t *question = judge_question(w->judge, in->text, in->len);
    char *text = question ? json_memory_dumps(question, JSON_COMPACT) : NULL;
    bool ok = (text && buf_puts(&body, text)) || err_set(e, ERR_NOMEM, "out of memory");
    ok = ok && inner_ask_judge(&w->asked, x, w->at, &body, on_judged, w, e);
    free(text);
    json_decref(question);
    buf_free(&body);
    return ok;
}

static void ask_next(struct exchange *x, struct moderating *w)
{
    struct fault f = { 0 };
    while (w->at < w->m.n_inputs && !w->m.input[w->at].text) w->at++;
    if (w->at == w->m.n_inputs) {
        look_itself(x, w);
    } else if (!ask(x, w, &f.err)) {
        exchange_fault_from(x, &f);
        work_free(w);
    }
}

void moderations_post(struct exchange *x)
{
    struct fault f = { 0 };
    struct moderating *w = calloc(1, sizeof *w);
    size_t len;
    const char *bytes = exchange_body(x, &len);
    bool ok = w || err_set(&f.err, ERR_NOMEM, "out of memory");
    ok = ok && json_in_parse(bytes, len, &exchange_server(x)->json, &w->body, &f) &&
         moderation_read(&w->m, w->body, exchange_server(x)->o.strict_fields, &f);
    if (!ok) {
        if (w) work_free(w);
        exchange_fault_from(x, &f);
        return;
    }
    exchange_free_body(x);
    w->x = x;
    w->words = exchange_words(x);
    w->judge = w->words ? word_rules_judge(w->words) : NULL;
    if (w->judge)
        ask_next(x, w);
    else
        look_itself(x, w);
}
