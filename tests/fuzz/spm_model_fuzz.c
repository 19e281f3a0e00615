/* Any bytes as a SentencePiece model: parse, then normalise texts with its character map, and with the bytes as a map. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer/spm_charsmap.h"
#include "text/tokenizer/spm_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void apply(const uint8_t *map, size_t len)
{
    static const char text[] = "Hello \xef\xac\x81 e\xcc\x81 \xe3\x8c\x94 "
                               "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 \r\n\xe1\x84\x92\xe1\x85\xa1";
    struct spm_charsmap m;
    struct masked out = { 0 };
    struct err e = { 0 };
    if (!spm_charsmap_init(&m, map, len, &e)) {
        if (e.code == ERR_NONE) abort();
        return;
    }
    if (!spm_charsmap_apply(&m, text, sizeof text - 1, &out, &e) || utf8_valid(out.text, out.len) != out.len)
        abort();
    masked_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spm_model m;
    struct err e = { 0 };
    apply(data, size);
    if (!spm_model_parse(&m, data, size, &e)) {
        if (e.code == ERR_NONE || !e.msg[0]) abort(); /* a refusal says why */
        return 0;
    }
    for (size_t i = 0; i < m.n; i++)
        if (utf8_valid(m.piece[i].text, m.piece[i].len) != m.piece[i].len) abort();
    apply(m.charsmap, m.charsmap_len);
    spm_model_free(&m);
    return 0;
}
