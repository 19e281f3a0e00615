/* version.c - `hearth version`. */
#include <stdio.h>

#include "cli/options.h"

int cmd_version(int argc, char **argv)
{
    struct options o;
    int rc = options_parse(&o, CMD_VERSION, argc, argv);
    if (rc < 0) {
        printf("hearth %s\n", HEARTH_VERSION);
        rc = 0;
    }
    options_free(&o);
    return rc;
}
