#include "text/grammar/budget.h"

#include <limits.h>

/* Steps between two looks at *cancel: a third of a millisecond. */
enum { SLICE = 20000 };

void budget_open(struct budget *b, long steps, long long bytes, const atomic_bool *cancel)
{
    *b = (struct budget){ .steps = steps > 0 ? steps : LONG_MAX / 2,
                          .bytes = bytes > 0 ? bytes : LLONG_MAX,
                          .cancel = cancel };
}

static bool end(struct budget *b, enum err_code why)
{
    if (b->over == ERR_NONE) b->over = why;
    b->steps = b->at_hand = -1;
    return false;
}

bool budget_more(struct budget *b)
{
    const long need = -b->at_hand;
    if (b->over != ERR_NONE) return end(b, b->over);
    if (b->cancel && atomic_load_explicit(b->cancel, memory_order_relaxed)) return end(b, ERR_CANCELLED);
    if (b->steps < need) return end(b, ERR_LIMIT);
    b->steps -= need;
    b->at_hand = b->steps < SLICE ? b->steps : SLICE;
    b->steps -= b->at_hand;
    return true;
}

bool budget_bytes(struct budget *b, size_t n)
{
    if (b->over != ERR_NONE) return false;
    if (n > (unsigned long long)b->bytes) return b->too_large = true, end(b, ERR_LIMIT);
    b->bytes -= (long long)n;
    return true;
}

bool budget_no_memory(struct budget *b) { return end(b, ERR_NOMEM); }

bool budget_ok(const struct budget *b, struct err *e)
{
    switch (b->over) {
    case ERR_NONE: return true;
    case ERR_NOMEM: return err_set(e, ERR_NOMEM, "no memory for a schema");
    case ERR_CANCELLED: return err_set(e, ERR_CANCELLED, "cancelled while it was compiled");
    default:
        return err_set(e, ERR_LIMIT,
                       b->too_large
                           ? "it takes too much memory; make its lists and patterns smaller"
                           : "it takes too much work; simplify its alternatives, patterns, lengths and "
                             "bounds");
    }
}
