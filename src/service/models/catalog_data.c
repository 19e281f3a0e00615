/* catalog_data.c - puts catalog/models.yaml into the binary's constant data. The assembler reads it, relative to the
 * repository's root, where make runs. */
#include "service/models/catalog_data.h"

__asm__(".pushsection .rodata\n"
        ".global catalog_builtin\n"
        ".global catalog_builtin_end\n"
        "catalog_builtin:\n"
        ".incbin \"catalog/models.yaml\"\n"
        "catalog_builtin_end:\n"
        ".byte 0\n"
        ".popsection\n");
