/* audit.c - `hearth audit [verify [SEQ:HASH]]`: what administrators did, in the order in which they did it; and whether that is what was written. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/dates.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "http/json_out.h"
#include "service/account/audit.h"

enum { PAGE = 500 };

struct print {
    bool json;
    int64_t last;
};

/* before and after are JSON already, or nothing. */
static bool print_json(const struct audit_row *r, const char *at, struct err *e)
{
    const struct {
        const char *name, *value;
    } texts[] = {
        { "at", at }, { "who", r->who }, { "from", r->from }, { "act", r->act }, { "target", r->target }
    };
    struct buf b = BUF_INIT(1 << 20);
    buf_printf(&b, "{\"seq\":%" PRId64, r->seq);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        buf_printf(&b, ",\"%s\":", texts[i].name);
        json_out_cstr(&b, texts[i].value);
    }
    buf_printf(&b, ",\"before\":%s,\"after\":%s,\"hash\":\"%s\"}", *r->before ? r->before : "null",
               *r->after ? r->after : "null", r->hash);
    const bool ok = !b.failed && puts(b.data) >= 0;
    buf_free(&b);
    return ok || err_set(e, ERR_IO, "a line could not be printed");
}

static bool print_row(void *arg, const struct audit_row *r, struct err *e)
{
    struct print *p = arg;
    char at[DATES_TEXT];
    dates_print(r->at_ms, at);
    if (!p->last && !p->json)
        printf("%6s %-20s %-20s %-20s %-20s %s\n", "SEQ", "WHEN", "WHO", "FROM", "ACT", "WHAT");
    p->last = r->seq;
    if (p->json) return print_json(r, at, e);
    printf("%6" PRId64 " %-20s %-20s %-20s %-20s %s\n", r->seq, at, r->who, *r->from ? r->from : "-", r->act,
           r->target);
    return true;
}

static bool print_all(struct store *s, const struct options *o, struct err *e)
{
    struct print p = { .json = o->json };
    int64_t from;
    do {
        from = p.last;
        if (!audit_each(s, from, PAGE, print_row, &p, e)) return false;
    } while (p.last - from == PAGE);
    return true;
}

static bool verify(struct store *s, const struct options *o, struct err *e)
{
    struct chain_head head;
    if (!audit_verify(s, o->args.n > 1 ? o->args.v[1] : "", &head, e)) return false;
    printf("whole: %" PRId64 " rows\n", head.seq);
    if (head.seq) printf("head: %" PRId64 ":%s\n", head.seq, head.hash);
    return true;
}

int cmd_audit(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    struct store *s = NULL;
    int rc = options_parse(&o, CMD_AUDIT, argc, argv);
    if (rc >= 0) goto done;
    rc = 2;
    const bool verifies = o.args.n && !strcmp(o.args.v[0], "verify") && o.args.n <= 2;
    if ((o.args.n && !verifies) || !*o.store) {
        fprintf(stderr, *o.store ? "hearth audit: no argument, or verify [SEQ:HASH]\n"
                                 : "hearth audit: --store names the file or the URL that keeps it\n");
        goto done;
    }
    rc = 0;
    if (!store_open(&s, o.store, &(struct store_options){ .must_exist = true }, &e) ||
        !(verifies ? verify : print_all)(s, &o, &e)) {
        fprintf(stderr, "hearth audit: %s\n", e.msg);
        rc = 1;
    }
done:
    store_close(s);
    options_free(&o);
    return rc;
}
