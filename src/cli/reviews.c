/* reviews.c - `hearth reviews list|show|approve|refuse`: what a safety policy holds for a person. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/dates.h"
#include "cli/actor.h"
#include "cli/options.h"
#include "service/account/reviews.h"

enum { SHOWN = 60, ALL = 1 << 30 };

/* The first characters on one line. */
static void print_start(const char *text)
{
    size_t n = strlen(text) < SHOWN ? strlen(text) : SHOWN;
    while (text[n] && ((unsigned char)text[n] & 0xc0) == 0x80) n--;
    for (size_t i = 0; i < n; i++) putchar((unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : text[i]);
    printf("%s\n", text[n] ? "..." : "");
}

static bool print_row(void *arg, const struct review *r, struct err *e)
{
    char made[DATES_TEXT];
    (void)arg;
    (void)e;
    printf("%-39s  %-8s  %s  %-14s  %-20s  ", r->id, r->state, dates_print(r->made_ms, made), r->who,
           r->words);
    print_start(r->text);
    return true;
}

static bool print_one(void *arg, const struct review *r, struct err *e)
{
    char made[DATES_TEXT], decided[DATES_TEXT];
    (void)arg;
    (void)e;
    printf("%-10s %s\n%-10s %s\n%-10s %s\n%-10s %s\n", "id", r->id, "status", r->state, "created",
           dates_print(r->made_ms, made), "key", r->who);
    if (*r->project) printf("%-10s %s\n", "project", r->project);
    printf("%-10s %s\n%-10s %s\n%-10s %s\n%-10s %s\n", "address", r->address, "endpoint", r->endpoint,
           "policy", r->policy, "words", r->words);
    if (r->decided_ms)
        printf("%-10s %s by %s\n", "decided", dates_print(r->decided_ms, decided), r->decided_by);
    if (*r->reason) printf("%-10s %s\n", "reason", r->reason);
    printf("\n");
    for (const char *p = r->text; *p; p++)
        putchar(((unsigned char)*p < ' ' && *p != '\n') || *p == 0x7f ? ' ' : *p); /* strangers' words */
    printf("\n");
    return true;
}

static bool list(struct store *s, const struct options *o, struct err *e)
{
    (void)o;
    return review_each(s, NULL, "", ALL, print_row, NULL, e);
}

static bool show(struct store *s, const struct options *o, struct err *e)
{
    return review_find(s, o->args.v[1], print_one, NULL, e);
}

static bool decide(struct store *s, const struct options *o, bool approves, struct err *e)
{
    char user[ACTOR_USER];
    const struct actor by = actor_user(user);
    return review_decide(s, o->args.v[1], approves, o->args.n > 2 ? o->args.v[2] : "", &by, clock_unix_ms(),
                         e);
}

static bool approve(struct store *s, const struct options *o, struct err *e) { return decide(s, o, true, e); }
static bool refuse(struct store *s, const struct options *o, struct err *e) { return decide(s, o, false, e); }

static const struct act {
    const char *name;
    bool (*run)(struct store *s, const struct options *o, struct err *e);
    int least, most; /* words, its own name among them */
} acts[] = {
    { "list", list, 1, 1 }, { "show", show, 2, 2 }, { "approve", approve, 2, 3 }, { "refuse", refuse, 3, 3 }
};

int cmd_reviews(int argc, char **argv)
{
    struct options o;
    struct err e = { ERR_NONE, "" };
    struct store *s = NULL;
    const struct act *act = NULL;
    int rc = options_parse(&o, CMD_REVIEWS, argc, argv);
    if (rc >= 0) goto done;
    for (size_t i = 0; o.args.n && i < sizeof acts / sizeof *acts; i++)
        if (!strcmp(acts[i].name, o.args.v[0]) && o.args.n >= acts[i].least && o.args.n <= acts[i].most)
            act = &acts[i];
    rc = 2;
    if (!act) {
        fprintf(stderr, "hearth reviews: say what to do: list, show ID, approve ID or refuse ID REASON\n");
        goto done;
    }
    if (!*o.store) {
        fprintf(stderr, "hearth reviews: --store names the file or the URL that keeps them\n");
        goto done;
    }
    rc = 0;
    const struct store_options how = { .must_exist = true };
    if (!store_open(&s, o.store, &how, &e) || !act->run(s, &o, &e)) {
        fprintf(stderr, "hearth reviews: %s\n", e.msg);
        rc = 1;
    }
done:
    store_close(s);
    options_free(&o);
    return rc;
}
