/* picture_enhance.c - see picture_enhance.h. */
#include "http/dialects/picture_enhance.h"

#include <stdlib.h>
#include <string.h>

#include "format/json_memory.h"
#include "http/json_out.h"
#include "service/advice/advice.h"

enum { MOST_AVOID = 32, MOST_REWRITTEN = 4000 /* bytes */, REWRITE_TOKENS = 200 };

static const char rewrite[] = "You write prompts for an image generator. Write the user's idea as one prompt "
                              "of at most sixty words: the "
                              "subject, the setting, the composition, the light. Keep what the user asks "
                              "for. Answer with the prompt alone.";

/* ---- the field ----------------------------------------------------------------------------------------------------- */

static bool text(struct picture_value *a, const json_t *o, const char *member, char **out)
{
    const json_t *v = json_object_get(o, member);
    if (!v || json_is_null(v)) return true;
    if (!json_is_string(v) || !json_string_length(v))
        return picture_bad(a, "must have a %s that is a text", member);
    free(*out);
    *out = strdup(json_string_value(v));
    return *out || err_set(&a->f->err, ERR_NOMEM, "out of memory");
}

static bool avoid(struct picture_value *a, const json_t *list, struct str_list *out)
{
    size_t i;
    json_t *v;
    if (!list || json_is_null(list)) return true;
    if (!json_is_array(list) || json_array_size(list) > MOST_AVOID)
        return picture_bad(a, "must have an avoid that is a list of at most %d texts", MOST_AVOID);
    json_array_foreach(list, i, v)
    {
        if (!json_is_string(v) || !json_string_length(v))
            return picture_bad(a, "must have an avoid that is a list of at most %d texts", MOST_AVOID);
        if (!str_list_add(out, json_string_value(v), json_string_length(v), &a->f->err)) return false;
    }
    return true;
}

static bool take_object(struct picture_value *a, const json_t *o)
{
    struct picture_enhancing *to = &a->w->enhance;
    const json_t *quality = json_object_get(o, "quality");
    if (!json_in_members(o, "style quality avoid model", "enhance.", a->w->strict, a->name, a->f))
        return false;
    if (quality && !json_is_boolean(quality) && !json_is_null(quality))
        return picture_bad(a, "must have a quality that is true or false");
    to->wanted = true;
    to->plain = json_is_false(quality);
    return text(a, o, "style", &to->style) && text(a, o, "model", &to->model) &&
           avoid(a, json_object_get(o, "avoid"), &to->avoid);
}

bool picture_field_enhance(struct picture_value *a)
{
    const char *s = json_string_value(a->v);
    if (json_is_object(a->v)) return take_object(a, a->v);
    if (!s || *s != '{') return picture_flag(a, &a->w->enhance.wanted);
    json_t *o =
        json_memory_load(s, json_string_length(a->v), 0, NULL); /* a form has no other way to send one */
    const bool ok = o ? take_object(a, o) : picture_bad(a, "must be true, false or an object");
    json_decref(o);
    return ok;
}

/* ---- what is drawn ------------------------------------------------------------------------------------------------- */

static bool no_memory(struct fault *f) { return err_set(&f->err, ERR_NOMEM, "out of memory"); }

/* Takes over b. */
static bool become(char **at, struct buf *b, struct fault *f)
{
    char *s = buf_take(b);
    if (!s) return no_memory(f);
    free(*at);
    *at = s;
    return true;
}

/* The request's own negative prompt comes first. */
static bool add_negative(struct picture_wire *w, const struct styles *styles, struct fault *f)
{
    struct buf b = BUF_INIT(0);
    if (w->q.negative_prompt && *w->q.negative_prompt) buf_printf(&b, "%s, ", w->q.negative_prompt);
    if (styles_negative(styles, &w->enhance.avoid, &b, &f->err) && become(&w->q.negative_prompt, &b, f))
        return true;
    buf_free(&b);
    return false;
}

bool picture_enhance(struct picture_wire *w, const struct styles *styles, const struct catalog_model *m,
                     struct fault *f)
{
    struct picture_enhancing *how = &w->enhance;
    struct buf b = BUF_INIT(0);
    if (!how->wanted) return true;
    f->param = "enhance";
    if (m && !advice_takes_negative(m) && how->avoid.n)
        return err_set(&f->err, ERR_REQUEST,
                       "enhance.avoid: %s takes no negative prompt: say in the prompt what should be there",
                       m->id);
    if (!styles_enhance(styles, w->q.prompt, how->style, !how->plain, true, &b, &f->err) ||
        !become(&w->q.prompt, &b, f)) {
        buf_free(&b);
        return false;
    }
    /* Of a model that only this machine knows it is not known before it is loaded; then what was asked for is tried. */
    const bool negative = m ? advice_takes_negative(m) : how->avoid.n > 0;
    if (negative && !add_negative(w, styles, f)) return false;
    f->param = NULL;
    return true;
}

/* ---- a model that writes it ---------------------------------------------------------------------------------------- */

bool picture_enhance_asks(const struct picture_wire *w) { return w->enhance.wanted && w->enhance.model; }

/* Without chance: the same request gives the same picture. */
json_t *picture_enhance_question(const struct picture_wire *w)
{
    return json_pack("{s:s, s:[{s:s, s:s}, {s:s, s:s}], s:i, s:i}", "model", w->enhance.model, "messages",
                     "role", "system", "content", rewrite, "role", "user", "content", w->q.prompt,
                     "temperature", 0, "max_tokens", REWRITE_TOKENS);
}

/* One line, without quotation marks around it. */
static bool tidy(struct picture_wire *w, const char *said, size_t n, struct fault *f)
{
    struct buf b = BUF_INIT(0);
    if (n > MOST_REWRITTEN) n = MOST_REWRITTEN;
    while (n && ((unsigned char)said[n] & 0xc0) == 0x80) n--; /* not in the middle of a character */
    while (n && strchr(" \t\r\n\"", *said)) said++, n--;
    while (n && strchr(" \t\r\n\"", said[n - 1])) n--;
    for (size_t i = 0; i < n; i++) buf_putc(&b, (unsigned char)said[i] < ' ' ? ' ' : said[i]);
    if (!b.len && !b.failed) {
        f->param = "enhance";
        err_set(&f->err, ERR_IO, "enhance.model: %s wrote no prompt", w->enhance.model);
    } else if (become(&w->q.prompt, &b, f)) {
        return true;
    }
    buf_free(&b);
    return false;
}

bool picture_enhance_answer(struct picture_wire *w, int status, const char *body, size_t len, struct fault *f)
{
    json_t *o = json_memory_load(body, len, 0, NULL);
    const json_t *choice = json_array_get(json_object_get(o, "choices"), 0),
                 *said = json_object_get(json_object_get(choice, "message"), "content");
    const char *why = json_string_value(json_object_get(json_object_get(o, "error"), "message"));
    bool ok = false;
    if (status == 200) {
        ok = tidy(w, json_is_string(said) ? json_string_value(said) : "", json_string_length(said), f);
    } else {
        const enum err_code code = status == 404   ? ERR_NOT_FOUND
                                   : status == 429 ? ERR_BUSY
                                   : status == 503 ? ERR_CANCELLED
                                   : status < 500  ? ERR_REQUEST
                                                   : ERR_IO;
        f->param = "enhance";
        err_set(&f->err, code, "enhance.model: %s", why ? why : "the model failed");
    }
    json_decref(o);
    return ok;
}

void picture_enhance_print(struct buf *b, const struct picture_wire *w)
{
    if (!w->enhance.wanted) return;
    buf_puts(b, ",\"revised_prompt\":");
    json_out_cstr(b, w->q.prompt);
    if (!w->q.negative_prompt || !*w->q.negative_prompt) return;
    buf_puts(b, ",\"negative_prompt\":");
    json_out_cstr(b, w->q.negative_prompt);
}
