/* usage_query.c - see usage_query.h. Widths and limits: OpenAI's API reference, "Usage" and "Costs". */
#include "http/dialects/usage_query.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ITEMS = 200 };
#define LAST_S INT64_C(253402300800) /* the year 10000 */

static const struct width {
    const char *name;
    int64_t seconds, usual, most;
} widths[] = { { "1d", 86400, 7, 31 }, { "1h", 3600, 24, 168 }, { "1m", 60, 60, 1440 } };

enum { TEXT = 1 << USAGE_OF_TEXT, PICTURES = 1 << USAGE_OF_PICTURES, MONEY = 1 << USAGE_OF_MONEY };

static const struct list {
    const char *filter, *group;
    enum usage_by_what what;
    unsigned kinds;
} lists[] = {
    { "project_ids", "project_id", BY_PROJECT, TEXT | PICTURES | MONEY },
    { "api_key_ids", "api_key_id", BY_KEY, TEXT | PICTURES | MONEY },
    { "models", "model", BY_MODEL, TEXT | PICTURES },
    { "line_items", "line_item", BY_MODEL, MONEY }, /* a line of the bill is a model */
    { "sources", "source", BY_SOURCE, PICTURES },
};

void usage_query_init(struct usage_query *q, enum usage_kind kind)
{
    *q = (struct usage_query){ .kind = kind, .start_s = -1, .width_s = 86400 };
}

void usage_query_free(struct usage_query *q)
{
    for (int i = 0; i < N_BY; i++) str_list_clear(&q->only[i]);
}

static bool number(const char *name, const char *text, int64_t max, int64_t *out, struct fault *f)
{
    char *end;
    const long long v = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || v > max) {
        f->param = "query";
        return err_set(&f->err, ERR_REQUEST, "%s must be a whole number up to %" PRId64 ", got \"%.40s\"",
                       name, max, text);
    }
    *out = v;
    return true;
}

static bool take_width(struct usage_query *q, const char *text, struct fault *f)
{
    const size_t n = q->kind == USAGE_OF_MONEY ? 1 : sizeof widths / sizeof *widths;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(widths[i].name, text)) {
            q->width_s = widths[i].seconds;
            return true;
        }
    f->param = "bucket_width";
    return err_set(&f->err, ERR_REQUEST, "bucket_width must be %s, got \"%.40s\"",
                   n > 1 ? "1m, 1h or 1d" : "1d for costs", text);
}

static bool take_group(struct usage_query *q, const char *text, struct fault *f)
{
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (lists[i].kinds & 1U << q->kind && !strcmp(lists[i].group, text)) {
            q->by |= 1U << lists[i].what;
            return true;
        }
    f->param = "group_by";
    return err_set(&f->err, ERR_REQUEST, "group_by \"%.40s\" is not known here: project_id, api_key_id%s",
                   text,
                   q->kind == USAGE_OF_MONEY      ? " and line_item are"
                   : q->kind == USAGE_OF_PICTURES ? ", model and source are"
                                                  : " and model are");
}

static bool take_page(struct usage_query *q, const char *text, struct fault *f)
{
    if (!strncmp(text, "page_", 5) && number("page", text + 5, LAST_S, &q->page_s, f)) return true;
    f->param = "page";
    return err_set(&f->err, ERR_REQUEST, "page must be the next_page of an earlier answer, got \"%.40s\"",
                   text);
}

/* "name" or "name[]". */
static bool is(const char *name, const char *typed)
{
    const size_t n = strlen(name);
    return !strncmp(name, typed, n) && (!typed[n] || !strcmp(typed + n, "[]"));
}

bool usage_query_take(struct usage_query *q, const char *name, const char *value, struct fault *f)
{
    if (!strcmp(name, "start_time")) return number(name, value, LAST_S, &q->start_s, f);
    if (!strcmp(name, "end_time")) return number(name, value, LAST_S, &q->end_s, f);
    if (!strcmp(name, "limit")) return number(name, value, 1440, &q->limit, f);
    if (!strcmp(name, "bucket_width")) return take_width(q, value, f);
    if (!strcmp(name, "page")) return take_page(q, value, f);
    if (is("group_by", name)) return take_group(q, value, f);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct str_list *l = &q->only[lists[i].what];
        if (!(lists[i].kinds & 1U << q->kind) || !is(lists[i].filter, name)) continue;
        if (l->n == MOST_ITEMS)
            return err_set(&f->err, ERR_REQUEST, "%s may have at most %d items", lists[i].filter, MOST_ITEMS);
        return str_list_add(l, value, strlen(value), &f->err);
    }
    f->param = "query";
    return err_set(&f->err, ERR_UNSUPPORTED, "the parameter \"%.60s\" is not known here", name);
}

bool usage_query_whole(struct usage_query *q, int64_t now_s, struct fault *f)
{
    int64_t usual = 7, most = 180;
    f->param = "start_time";
    if (q->start_s < 0) return err_set(&f->err, ERR_REQUEST, "start_time is required: seconds since 1970");
    if (!q->end_s) q->end_s = now_s + 1;
    f->param = "end_time";
    if (q->end_s <= q->start_s) return err_set(&f->err, ERR_REQUEST, "end_time must be after start_time");
    for (size_t i = 0; q->kind != USAGE_OF_MONEY && i < sizeof widths / sizeof *widths; i++)
        if (widths[i].seconds == q->width_s) {
            usual = widths[i].usual;
            most = widths[i].most;
        }
    f->param = "limit";
    if (!q->limit) q->limit = usual;
    if (q->limit > most)
        return err_set(&f->err, ERR_REQUEST, "limit must be from 1 to %" PRId64 " for buckets of this width",
                       most);
    if (q->page_s < q->start_s) q->page_s = q->start_s;
    f->param = NULL;
    return true;
}

bool usage_query_wants(const struct usage_query *q, enum usage_by_what what, const char *value)
{
    const struct str_list *l = &q->only[what];
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->v[i], value)) return true;
    return !l->n;
}
