/* web_data.h - the bytes of the playground's files (web/), which the assembler puts into the binary. */
#ifndef HEARTH_HTTP_WEB_DATA_H
#define HEARTH_HTTP_WEB_DATA_H

#define WEB_FILE(symbol, file, type) extern const char web_##symbol[], web_##symbol##_end[];
#include "http/web_files.def"
#undef WEB_FILE

#endif
