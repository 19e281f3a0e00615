/* retry_plan.c - `hearth retry-plan`: how long to wait between tries. */
#include <stddef.h>

#include "cli/guide.h"

int cmd_retry_plan(int argc, char **argv)
{
    return guide_command(CMD_RETRY_PLAN, GUIDE_RETRY, NULL, argc, argv);
}
