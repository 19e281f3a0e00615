/* plan.c - `hearth plan`: pictures within a budget. */
#include "cli/advise.h"

int cmd_plan(int argc, char **argv) { return advise_command(CMD_PLAN, "plan", argc, argv); }
