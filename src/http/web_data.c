/* web_data.c - puts the playground's files into the binary's constant data. The assembler reads them, relative to the repository's root, where
 * make runs. */
#include "http/web_data.h"

#define WEB_FILE(symbol, file, type)                                                                         \
    __asm__(".pushsection .rodata\n"                                                                         \
            ".global web_" #symbol "\n"                                                                      \
            ".global web_" #symbol "_end\n"                                                                  \
            "web_" #symbol ":\n"                                                                             \
            ".incbin \"web/" file "\"\n"                                                                     \
            "web_" #symbol "_end:\n"                                                                         \
            ".byte 0\n"                                                                                      \
            ".popsection\n");
#include "http/web_files.def"
#undef WEB_FILE
