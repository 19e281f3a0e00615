/* dates.h - points in time as people write them: "2030-12-31", "2030-12-31T18:00", or so much from now: "90m", "12h", "30d", ago with a
 * minus in front. UTC. */
#ifndef HEARTH_BASE_DATES_H
#define HEARTH_BASE_DATES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { DATES_TEXT = 32 };

/* Unix milliseconds. */
bool dates_parse(const char *text, int64_t now_ms, int64_t *ms);
/* What --since and --until name; "" is from the beginning, and without an end. A day of --until is its beginning. ERR_REQUEST. */
bool dates_span(const char *since, const char *until, int64_t now_ms, int64_t *from_ms, int64_t *to_ms,
                struct err *e);
const char *dates_print(int64_t ms, char out[DATES_TEXT]);

#endif
