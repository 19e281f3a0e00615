/* safety_data.c - puts the classifier and its policy into the binary's constant data. The assembler reads them, relative to the
 * repository's root, where make runs. */
#include "service/safety/safety_data.h"

__asm__(".pushsection .rodata\n"
        ".global safety_weights\n"
        ".global safety_weights_end\n"
        "safety_weights:\n"
        ".incbin \"models/nsfw/mobilenet_v2_nsfw.safetensors\"\n"
        "safety_weights_end:\n"
        ".byte 0\n"
        ".global safety_policy\n"
        ".global safety_policy_end\n"
        "safety_policy:\n"
        ".incbin \"catalog/safety.yaml\"\n"
        "safety_policy_end:\n"
        ".byte 0\n"
        ".popsection\n");
