/* key_metrics.c - see key_metrics.h. */
#include "http/key_metrics.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "http/json_out.h"
#include "service/account/account.h"
#include "service/account/money.h"

enum { KEYS = 4096, SLOTS = 2 * KEYS, N_COUNTS = 6 };

struct counted {
    char key[PRINCIPAL_ID]; /* "": the slot is free */
    int64_t v[N_COUNTS];
};

struct key_metrics {
    struct account *account;
    pthread_mutex_t lock; /* guards what follows */
    int n_keys;
    struct counted other, slot[SLOTS];
};

enum { COST = N_COUNTS - 1 }; /* nano-dollars */
static const struct {
    const char *name, *help;
} counts[N_COUNTS] = {
    { "hearth_key_requests_total", "Admitted requests that have ended, by key." },
    { "hearth_key_prompt_tokens_total", "Prompt tokens of those, cached ones included." },
    { "hearth_key_completion_tokens_total", "Tokens generated for them." },
    { "hearth_key_pictures_total", "Pictures made for them." },
    { "hearth_key_steps_total", "Steps of image networks for them." },
    { "hearth_key_cost_dollars_total", "What they cost." },
};

bool key_metrics_open(struct key_metrics **out, struct account *account, struct err *e)
{
    struct key_metrics *m = calloc(1, sizeof *m);
    if (!m) return err_set(e, ERR_NOMEM, "out of memory");
    m->account = account;
    strcpy(m->other.key, "other");
    pthread_mutex_init(&m->lock, NULL);
    *out = m;
    return true;
}

void key_metrics_close(struct key_metrics *m)
{
    if (!m) return;
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* FNV-1a: ids are made by us, nobody can aim at a slot. */
static unsigned hash(const char *key)
{
    unsigned h = 2166136261U;
    for (; *key; key++) h = (h ^ (unsigned char)*key) * 16777619U;
    return h;
}

static struct counted *find(struct key_metrics *m, const char *key)
{
    for (unsigned i = hash(key) % SLOTS;; i = (i + 1) % SLOTS) {
        struct counted *c = &m->slot[i];
        if (!strcmp(c->key, key)) return c;
        if (*c->key) continue;
        if (m->n_keys == KEYS) return &m->other;
        m->n_keys++;
        memcpy(c->key, key, strlen(key) + 1);
        return c;
    }
}

void key_metrics_take(void *arg, const struct ending *e)
{
    struct key_metrics *m = arg;
    const struct usage *u = &e->usage;
    int64_t cost = 0;
    if (m->account && *e->model) {
        const struct price price = account_price(m->account, e->model, &e->of);
        cost = e->priced ? e->cost : price_cost(&price, u);
    }
    const int64_t v[N_COUNTS] = { 1, u->prompt_tokens, u->completion_tokens, u->pictures, u->steps, cost };
    pthread_mutex_lock(&m->lock);
    struct counted *c = find(m, *e->of.who.id ? e->of.who.id : "anonymous");
    for (int i = 0; i < N_COUNTS; i++) c->v[i] += v[i];
    pthread_mutex_unlock(&m->lock);
}

static void print_one(struct buf *b, int i, const struct counted *c)
{
    char cost[MONEY_TEXT];
    buf_printf(b, "%s{key=", counts[i].name);
    json_out_cstr(b, c->key);
    if (i == COST)
        buf_printf(b, "} %s\n", money_print(c->v[i], cost));
    else
        buf_printf(b, "} %lld\n", (long long)c->v[i]);
}

void key_metrics_print(struct buf *b, struct key_metrics *m)
{
    pthread_mutex_lock(&m->lock);
    for (int i = 0; i < N_COUNTS; i++) {
        buf_printf(b, "# HELP %s %s\n# TYPE %s counter\n", counts[i].name, counts[i].help, counts[i].name);
        for (int k = 0; k < SLOTS; k++)
            if (*m->slot[k].key) print_one(b, i, &m->slot[k]);
        if (m->n_keys == KEYS) print_one(b, i, &m->other);
    }
    pthread_mutex_unlock(&m->lock);
}
