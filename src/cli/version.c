/* version.c - `hearth version`. */
#include <stdio.h>

#include "base/version.h"
#include "cli/options.h"

int cmd_version(int argc, char **argv)
{
    struct options o;
    int rc = options_parse(&o, CMD_VERSION, argc, argv);
    if (rc < 0) {
        printf("hearth %s\n", hearth_version);
        rc = 0;
    }
    options_free(&o);
    return rc;
}
