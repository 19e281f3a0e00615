/* enhance.c - `hearth enhance`: more words for a prompt. */
#include "cli/advise.h"

int cmd_enhance(int argc, char **argv) { return advise_command(CMD_ENHANCE, "enhance", argc, argv); }
