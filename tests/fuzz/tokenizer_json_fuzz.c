/* Any bytes as a tokenizer.json: parse, then encode texts with what came of it and ask about every token. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer/tokenizer_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const texts[] = {
        "Hello, world! don't 12345\r\n\n  x",
        "\xe2\x96\x81 a\xe2\x96\x81\xff\xc3<|im_start|></s><s>[INST]",
        "abab aab bba e\xcc\x81\xe6\x97\xa5",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    struct tokenizer *t = NULL;
    struct err e = { 0 };
    if (!tokenizer_from_json(&t, (const char *)data, size, NULL, &e)) {
        if (e.code == ERR_NONE || !e.msg[0] || t) abort(); /* a refusal says why */
        return 0;
    }
    tokenizer_finish(t);
    int32_t n = tokenizer_n_vocab(t);
    unsigned sum = 0;
    for (size_t i = 0; i < 2 * sizeof texts / sizeof *texts; i++) {
        const char *text = texts[i / 2];
        struct token_list l = { 0 };
        unsigned char mask[128] = { 0 };
        memset(mask + 20, 1, 10);
        if (!tokenizer_encode(t, text, strlen(text), mask, i & 1, TOK_BOS, &l, &e) && e.code == ERR_NONE)
            abort();
        for (size_t k = 0; k < l.n; k++)
            if (l.id[k] < 0 || l.id[k] >= n) abort();
        token_list_free(&l);
    }
    for (int32_t id = -1; id <= n; id++) {
        size_t len;
        const char *s = tokenizer_bytes(t, id, &len);
        if (s[len] != 0) abort();
        sum += len + tokenizer_is_end(t, id) + tokenizer_is_control(t, id);
    }
    sink = sum;
    tokenizer_free(t);
    return 0;
}
