/* advice_data.c - puts the rules of recommendation and the styles into the binary's constant data. The assembler reads them, relative to
 * the repository's root, where make runs. */
#include "service/advice/advice_data.h"

__asm__(".pushsection .rodata\n"
        ".global advice_rules\n"
        ".global advice_rules_end\n"
        "advice_rules:\n"
        ".incbin \"catalog/advice.yaml\"\n"
        "advice_rules_end:\n"
        ".byte 0\n"
        ".global advice_styles\n"
        ".global advice_styles_end\n"
        "advice_styles:\n"
        ".incbin \"catalog/styles.yaml\"\n"
        "advice_styles_end:\n"
        ".byte 0\n"
        ".popsection\n");
