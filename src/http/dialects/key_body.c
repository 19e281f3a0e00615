/* key_body.c - see key_body.h. */
#include "http/dialects/key_body.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "http/dialects/fields.h"
#include "base/clock.h"
#include "base/dates.h"

enum form { FORM_TEXT, FORM_LIST, FORM_TAGS, FORM_DATE, FORM_WEIGHT, FORM_PRIORITY };
#define F(field) offsetof(struct key_body, field)
static const struct body_row {
    struct json_member member;
    enum form form;
    size_t offset;
} rows[] = {
    { { "name", 1, "text" }, FORM_TEXT, F(name) },
    { { "project", 1, "text" }, FORM_TEXT, F(project) },
    { { "scopes", 1, "text|[text]" }, FORM_LIST, F(scopes) },
    { { "addresses", 1, "text|[text]" }, FORM_LIST, F(addresses) },
    { { "limits", 1, "text|[text]" }, FORM_LIST, F(limits) },
    { { "budgets", 1, "text|[text]" }, FORM_LIST, F(budgets) },
    { { "tags", 1, "text|[text]|{text}" }, FORM_TAGS, F(tags) },
    { { "expires", 1, "text|int" }, FORM_DATE, F(expires_ms) },
    { { "weight", 1, "int 1..1000" }, FORM_WEIGHT, F(weight) },
    { { "priority", 1, "int -100..100" }, FORM_PRIORITY, F(priority) },
};
#undef F

void key_body_free(struct key_body *w)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].form <= FORM_TAGS) free(*(char **)((char *)w + rows[i].offset));
}

/* "a,b" of an array of strings, "n=v" of the members of an object. False where one is no string. */
static bool join(const json_t *v, struct buf *b)
{
    const char *name;
    json_t *item;
    size_t i;
    json_array_foreach(v, i, item)
    {
        if (!json_is_string(item)) return false;
        buf_printf(b, "%s%s", i ? "," : "", json_string_value(item));
    }
    json_object_foreach((json_t *)v, name, item)
    {
        if (!json_is_string(item)) return false;
        buf_printf(b, "%s%s=%s", b->len ? "," : "", name, json_string_value(item));
    }
    return true;
}

static bool take_list(const json_t *v, const struct body_row *r, char **out, struct fault *f)
{
    struct buf b = BUF_INIT(64 << 10);
    const char *name = r->member.name;
    bool ok = true;
    if (json_is_string(v))
        buf_puts(&b, json_string_value(v));
    else if (json_is_array(v) || (json_is_object(v) && r->form == FORM_TAGS))
        ok = join(v, &b);
    else
        ok = false;
    if (!ok)
        json_in_bad(v, name,
                    r->form == FORM_TAGS ? "an object of strings, or an array of NAME=VALUE"
                                         : "an array of strings, or one with commas between",
                    f);
    free(*out);
    *out = ok ? b.len ? buf_take(&b) : strdup("") : NULL;
    buf_free(&b);
    if (ok && !*out) ok = err_set(&f->err, ERR_NOMEM, "out of memory, or too long a list");
    return ok;
}

static bool take_date(const json_t *v, const char *name, int64_t *out, struct fault *f)
{
    const int64_t now = clock_unix_ms();
    const char *text = json_string_value(v);
    if (json_is_integer(v) && json_integer_value(v) > 0 && json_integer_value(v) < INT64_MAX / 1000) {
        *out = json_integer_value(v) * 1000;
        return true;
    }
    if (text && !strcmp(text, "never")) {
        *out = 0;
        return true;
    }
    if (text && dates_parse(text, now, out)) return true;
    return json_in_bad(
        v, name, "a date such as \"2030-12-31\", a time from now such as \"30d\", Unix seconds, or \"never\"",
        f);
}

static bool take(void *reader, const void *row, const json_t *v, struct fault *f)
{
    const struct body_row *r = row;
    char *at = (char *)reader + r->offset;
    const char *text;
    switch (r->form) {
    case FORM_DATE: return take_date(v, r->member.name, (int64_t *)(void *)at, f);
    case FORM_LIST:
    case FORM_TAGS: return take_list(v, r, (char **)(void *)at, f);
    case FORM_WEIGHT: return json_in_int(v, "weight", 1, KEY_WEIGHT_MAX, (int64_t *)(void *)at, f);
    case FORM_PRIORITY:
        return json_in_int(v, "priority", -KEY_PRIORITY_MAX, KEY_PRIORITY_MAX, (int64_t *)(void *)at, f);
    case FORM_TEXT: break;
    }
    if (!json_in_str(v, r->member.name, &text, f)) return false;
    free(*(char **)(void *)at);
    *(char **)(void *)at = strdup(text);
    return *(char **)(void *)at || err_set(&f->err, ERR_NOMEM, "out of memory");
}

const struct json_table key_fields = JSON_TABLE(rows, take);

/* Unknown members are refused whatever the server does elsewhere: a limit that is misspelt must not be none. */
bool key_body_read(struct key_body *out, const json_t *body, struct fault *f)
{
    const struct json_place place = { .path = "", .form = 1, .strict = true };
    *out = (struct key_body){ .expires_ms = KEY_EXPIRES_KEPT, .priority = KEY_PRIORITY_KEPT };
    if (json_in_object(&key_fields, &place, out, body, f)) return true;
    key_body_free(out);
    return false;
}
