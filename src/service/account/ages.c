/* ages.c - see ages.h. */
#include "service/account/ages.h"

static struct age_span both(struct age_span a, struct age_span b)
{
    return (struct age_span){ a.least < b.least ? a.least : b.least, a.most > b.most ? a.most : b.most };
}

/* What was before it began is not known: nothing is of the future until it has run for an age. */
void ages_init(struct ages *a, int64_t age_ms, double now_s, int64_t unix_ms)
{
    const int64_t ms = (int64_t)(now_s * 1000), d = unix_ms - ms;
    *a = (struct ages){ .age_ms = age_ms, .turned_ms = ms, .now = { d, d }, .before = { d, INT64_MAX } };
    pthread_mutex_init(&a->lock, NULL);
}

void ages_free(struct ages *a) { pthread_mutex_destroy(&a->lock); }

struct age_bounds ages_look(struct ages *a, double now_s, int64_t unix_ms)
{
    const int64_t ms = (int64_t)(now_s * 1000), d = unix_ms - ms;
    pthread_mutex_lock(&a->lock);
    a->now = both(a->now, (struct age_span){ d, d });
    const struct age_span seen = both(a->now, a->before);
    if (ms - a->turned_ms >= a->age_ms) {
        a->before = a->now;
        a->now = (struct age_span){ d, d };
        a->turned_ms = ms;
    }
    pthread_mutex_unlock(&a->lock);
    const int64_t latest = ms + a->age_ms;
    return (struct age_bounds){ ms - a->age_ms + seen.least,
                                seen.most > INT64_MAX - latest ? INT64_MAX : latest + seen.most };
}
