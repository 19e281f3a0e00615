/* backoff.c - `hearth backoff`: how long to wait between tries. */
#include <stddef.h>

#include "cli/guide.h"

int cmd_backoff(int argc, char **argv) { return guide_command(CMD_BACKOFF, GUIDE_RETRY, NULL, argc, argv); }
