/* validate.c - `hearth validate`: tools looked at before they are sent. */
#include "cli/guide.h"

int cmd_validate(int argc, char **argv)
{
    return guide_command(CMD_VALIDATE, GUIDE_TOOLS, "tools", argc, argv);
}
