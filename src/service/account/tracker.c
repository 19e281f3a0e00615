/* tracker.c - see tracker.h. */
#include "service/account/tracker.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "service/account/money.h"

/* As Python's repr() has it, ASCII. */
static void python_text(struct buf *b, const char *s)
{
    buf_putc(b, '\'');
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if (*p == '\'' || *p == '\\')
            buf_printf(b, "\\%c", *p);
        else if (*p < ' ' || *p > '~')
            buf_printf(b, "\\x%02x", *p);
        else
            buf_putc(b, (char)*p);
    }
    buf_putc(b, '\'');
}

static double per_second(int64_t n, int64_t us) { return us > 0 ? (double)n * 1e6 / (double)us : 0; }

void tracker_line(struct buf *b, const struct ledger_row *r)
{
    const time_t t = (time_t)(r->ended_ms / 1000);
    const int ms = (int)(r->ended_ms % 1000);
    struct tm tm;
    char day[32], clock[32], dollars[MONEY_TEXT];
    if (strcmp(r->how, "done") != 0 || !(r->prompt || r->pictures)) return;
    gmtime_r(&t, &tm);
    strftime(day, sizeof day, "%Y-%m-%d", &tm);
    strftime(clock, sizeof clock, "%H:%M:%S", &tm);
    buf_printf(b, "%s %s,%03d - INFO - %s: {'timestamp': '%sT%s.%03d000', 'model': ", day, clock, ms,
               r->pictures ? "IMAGE_GENERATION" : "COMPLETION_USAGE", day, clock, ms);
    python_text(b, r->model);
    money_print(r->cost, dollars);
    if (r->pictures)
        buf_printf(b,
                   ", 'prompt_length': None, 'parameters': {'n': %" PRId64 ", 'steps': %" PRId64
                   ", 'seed': %s}, 'generation_time_seconds': %.6f, 'estimated_cost': %s, "
                   "'images_per_second': %.6f}\n",
                   r->pictures, r->steps / r->pictures, *r->seed ? r->seed : "None",
                   (double)r->total_us * 1e-6, dollars, per_second(r->pictures, r->total_us));
    else
        buf_printf(b,
                   ", 'input_tokens': %" PRId64 ", 'output_tokens': %" PRId64 ", 'total_tokens': %" PRId64
                   ", 'response_time_seconds': %.6f, 'tokens_per_second': %.6f, 'estimated_cost': %s}\n",
                   r->prompt, r->completion, r->prompt + r->completion, (double)r->total_us * 1e-6,
                   per_second(r->completion, r->total_us), dollars);
}
