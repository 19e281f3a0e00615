/* usage.c - `hearth usage`: the ledger's sums, for people, as CSV, or as JSON lines. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "base/dates.h"
#include "cli/options.h"
#include "format/json_memory.h"
#include "service/account/ledger.h"
#include "service/account/money.h"

#include <jansson.h>

enum { AS_TABLE, AS_CSV, AS_JSON };

struct print {
    unsigned format, by;
    struct usage_line sum;
    int n;
};

/* Quoted where it has to be, RFC 4180. */
static void csv_text(const char *s)
{
    if (!s[strcspn(s, "\",\r\n")]) {
        fputs(s, stdout);
        return;
    }
    putchar('"');
    for (; *s; s++) printf("%s%c", *s == '"' ? "\"" : "", *s);
    putchar('"');
}

static void print_table(const struct usage_line *l)
{
    char dollars[MONEY_TEXT];
    printf("%-44s %9" PRId64 " %12" PRId64 " %12" PRId64 " %12" PRId64 " %9" PRId64 " %9" PRId64 " %16s\n",
           *l->by ? l->by : "-", l->requests, l->prompt, l->cached, l->completion, l->pictures, l->steps,
           money_print(l->cost, dollars));
}

static bool print_json(const struct print *p, const struct usage_line *l, struct err *e)
{
    char dollars[MONEY_TEXT];
    json_t *o =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", usage_by_name[p->by], l->by, "requests",
                  (json_int_t)l->requests, "prompt_tokens", (json_int_t)l->prompt, "cached_tokens",
                  (json_int_t)l->cached, "completion_tokens", (json_int_t)l->completion, "reasoning_tokens",
                  (json_int_t)l->reasoning, "pictures", (json_int_t)l->pictures, "steps",
                  (json_int_t)l->steps, "dollars", money_print(l->cost, dollars));
    const bool ok = o && !json_dumpf(o, stdout, JSON_COMPACT);
    if (ok) putchar('\n');
    json_decref(o);
    return ok || err_set(e, ERR_IO, "a line could not be printed");
}

static bool print_line(void *arg, const struct usage_line *l, struct err *e)
{
    struct print *p = arg;
    char dollars[MONEY_TEXT];
    p->n++;
    p->sum.requests += l->requests;
    p->sum.prompt += l->prompt;
    p->sum.cached += l->cached;
    p->sum.completion += l->completion;
    p->sum.pictures += l->pictures;
    p->sum.steps += l->steps;
    p->sum.cost += l->cost;
    if (p->format == AS_JSON) return print_json(p, l, e);
    if (p->format == AS_TABLE) {
        print_table(l);
        return true;
    }
    csv_text(l->by);
    printf(",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%s\r\n",
           l->requests, l->prompt, l->cached, l->completion, l->reasoning, l->pictures, l->steps,
           money_print(l->cost, dollars));
    return true;
}

static bool print_usage(struct store *s, const struct options *o, struct err *e)
{
    struct print p = { .format = o->usage_format, .by = o->usage_by };
    int64_t from, to;
    if (!dates_span(o->since, o->until, clock_unix_ms(), &from, &to, e)) return false;
    if (p.format == AS_TABLE)
        printf("%-44s %9s %12s %12s %12s %9s %9s %16s\n", usage_by_name[p.by], "requests", "prompt", "cached",
               "generated", "pictures", "steps", "dollars");
    if (p.format == AS_CSV)
        printf("%s,requests,prompt_tokens,cached_tokens,completion_tokens,reasoning_tokens,pictures,steps,"
               "dollars\r\n",
               usage_by_name[p.by]);
    if (!ledger_usage(s, (enum usage_by)p.by, from, to, print_line, &p, e)) return false;
    p.sum.by = "all";
    if (p.format == AS_TABLE && p.n > 1) print_table(&p.sum);
    return true;
}

int cmd_usage(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    struct store *s = NULL;
    int rc = options_parse(&o, CMD_USAGE, argc, argv);
    if (rc >= 0) goto done;
    rc = 2;
    if (o.args.n || !*o.store) {
        fprintf(stderr,
                o.args.n
                    ? "hearth usage: no argument is needed; --by, --since and --until say what is summed\n"
                    : "hearth usage: --store names the file or the URL that keeps the ledger\n");
        goto done;
    }
    rc = 0;
    if (!store_open(&s, o.store, &(struct store_options){ .must_exist = true }, &e) ||
        !print_usage(s, &o, &e)) {
        fprintf(stderr, "hearth usage: %s\n", e.msg);
        rc = 1;
    }
done:
    store_close(s);
    options_free(&o);
    return rc;
}
