/* Any bytes as a vocab.txt of BERT's: read it, then encode texts with what came of it. The first byte says how text is normalised. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer/tokenizer_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const texts[] = {
        "Hello, worlds! don't 12345\r\n\n  x",
        "\xe2\x96\x81 a\xe2\x96\x81\xff\xc3[UNK][CLS]\xc4\xb0",
        "abab ABBA e\xcc\x81\xe6\x97\xa5\xc2\x85\x0b",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    struct tokenizer *t = NULL;
    struct err e = { 0 };
    if (!size) return 0;
    json_t *config = json_pack("{s:b, s:b, s:b}", "do_lower_case", data[0] & 1, "strip_accents",
                               data[0] >> 1 & 1, "tokenize_chinese_chars", data[0] >> 2 & 1);
    const bool ok = tokenizer_from_vocab_txt(&t, (const char *)data + 1, size - 1, config, NULL, &e);
    json_decref(config);
    if (!ok) {
        if (e.code == ERR_NONE || !e.msg[0] || t) abort(); /* a refusal says why */
        return 0;
    }
    tokenizer_finish(t);
    for (size_t i = 0; i < 2 * sizeof texts / sizeof *texts; i++) {
        struct token_list l = { 0 };
        unsigned char mask[128] = { 0 };
        memset(mask + 20, 1, 10);
        if (!tokenizer_encode(t, texts[i / 2], strlen(texts[i / 2]), mask, i & 1, TOK_BOS, &l, &e) &&
            e.code == ERR_NONE)
            abort();
        for (size_t k = 0; k < l.n; k++)
            if (l.id[k] < 0 || l.id[k] >= tokenizer_n_vocab(t)) abort();
        token_list_free(&l);
    }
    tokenizer_free(t);
    return 0;
}
