/* Any bytes as a picture whose manifest is to be checked; and, so that more of them get past the hashes of files, as the manifest of a small PNG. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/embedded.h"
#include "service/c2pa/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const void *data, size_t size)
{
    struct c2pa_report r;
    struct err e = { 0 };
    if (!c2pa_verify(NULL, data, size, &r, &e) && (e.code == ERR_NONE || !e.msg[0]))
        abort(); /* a refusal says why */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char png[] =
        "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde\0\0\0\0IEND\xae"
        "B`\x82";
    struct buf file = BUF_INIT(0);
    struct embedded_span at;
    struct err e = { 0 };
    check(data, size);
    if (buf_append(&file, png, sizeof png - 1) && embedded_put(&file, data, size, &at, &e))
        check(file.data, file.len);
    buf_free(&file);
    return 0;
}
