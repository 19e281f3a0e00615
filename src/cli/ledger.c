/* ledger.c - `hearth ledger verify [SEQ:HASH] | export`. */
#include "service/account/ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "base/dates.h"
#include "cli/options.h"
#include "service/account/money.h"
#include "service/account/tracker.h"

static bool verify(struct store *s, const struct options *o, struct err *e)
{
    struct ledger_sum sum;
    char dollars[MONEY_TEXT];
    if (!ledger_verify(s, o->args.n > 1 ? o->args.v[1] : "", &sum, e)) return false;
    printf("whole: %" PRId64 " rows, %" PRId64 " prompt tokens, %" PRId64 " generated, %" PRId64
           " pictures in %" PRId64 " steps, %s dollars\n",
           sum.rows, sum.prompt, sum.completion, sum.pictures, sum.steps, money_print(sum.cost, dollars));
    if (sum.rows) printf("head: %" PRId64 ":%s\n", sum.rows, sum.head);
    return true;
}

/* A string of JSON. What is no UTF-8 came so from a client, and its bytes are kept as U+00XX. */
static void json_text(struct buf *b, const char *s)
{
    buf_putc(b, '"');
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_printf(b, "\\%c", *p);
        else if (*p < ' ' || *p > '~')
            buf_printf(b, "\\u%04x", *p);
        else
            buf_putc(b, (char)*p);
    }
    buf_putc(b, '"');
}

static bool print_row(void *arg, const struct ledger_row *r, struct err *e)
{
    struct buf b = BUF_INIT(64 << 10);
    (void)arg;
    buf_printf(&b, "{\"seq\":%" PRId64, r->seq);
#define TEXT(name, size)                                                                                     \
    buf_puts(&b, ",\"" #name "\":");                                                                         \
    json_text(&b, r->name);
#define NUMBER(name) buf_printf(&b, ",\"" #name "\":%" PRId64, r->name);
    LEDGER_FIELDS(TEXT, NUMBER)
#undef TEXT
#undef NUMBER
    buf_printf(&b, ",\"hash\":\"%s\"}\n", r->hash);
    const bool ok = !b.failed && fwrite(b.data, 1, b.len, stdout) == b.len;
    buf_free(&b);
    return ok || err_set(e, ERR_IO, "standard output cannot be written to");
}

static bool print_tracker(void *arg, const struct ledger_row *r, struct err *e)
{
    struct buf b = BUF_INIT(64 << 10);
    (void)arg;
    tracker_line(&b, r);
    const bool ok = !b.failed && fwrite(b.data ? b.data : "", 1, b.len, stdout) == b.len;
    buf_free(&b);
    return ok || err_set(e, ERR_IO, "standard output cannot be written to");
}

static bool export(struct store *s, const struct options *o, struct err *e)
{
    int64_t from, to;
    return dates_span(o->since, o->until, clock_unix_ms(), &from, &to, e) &&
           ledger_each(s, from, to, o->ledger_lines ? print_tracker : print_row, NULL, e);
}

int cmd_ledger(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    struct store *s = NULL;
    int rc = options_parse(&o, CMD_LEDGER, argc, argv);
    if (rc >= 0) goto done;
    const bool verifies = o.args.n && !strcmp(o.args.v[0], "verify") && o.args.n <= 2;
    const bool exports = o.args.n == 1 && !strcmp(o.args.v[0], "export");
    rc = 2;
    if (!verifies && !exports) {
        fprintf(stderr, "hearth ledger: say what to do: verify [SEQ:HASH], or export\n");
        goto done;
    }
    if (!*o.store) {
        fprintf(stderr, "hearth ledger: --store names the file or the URL that keeps it\n");
        goto done;
    }
    rc = 0;
    if (!store_open(&s, o.store, &(struct store_options){ .must_exist = true }, &e) ||
        !(verifies ? verify : export)(s, &o, &e)) {
        fprintf(stderr, "hearth ledger: %s\n", e.msg);
        rc = 1;
    }
done:
    store_close(s);
    options_free(&o);
    return rc;
}
