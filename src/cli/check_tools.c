/* check_tools.c - `hearth check-tools`: tools looked at before they are sent. */
#include "cli/guide.h"

int cmd_check_tools(int argc, char **argv)
{
    return guide_command(CMD_CHECK_TOOLS, GUIDE_TOOLS, "tools", argc, argv);
}
