/* dates.h - points in time as people write them: "2030-12-31", "2030-12-31T18:00", or so much from now: "90m", "12h", "30d". UTC. */
#ifndef HEARTH_CLI_DATES_H
#define HEARTH_CLI_DATES_H

#include <stdbool.h>
#include <stdint.h>

enum { DATES_TEXT = 32 };

/* Unix milliseconds. */
bool dates_parse(const char *text, int64_t now_ms, int64_t *ms);
const char *dates_print(int64_t ms, char out[DATES_TEXT]);

#endif
