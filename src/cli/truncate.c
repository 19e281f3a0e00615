/* truncate.c - `hearth truncate`: messages cut to a window. */
#include "cli/guide.h"

int cmd_truncate(int argc, char **argv)
{
    return guide_command(CMD_TRUNCATE, GUIDE_TRUNCATE, "messages", argc, argv);
}
