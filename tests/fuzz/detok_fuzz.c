/* Any bytes as stop strings and a stream of tokens: what is shown is whole characters, and the text before the first stop
 * string whatever the tokens' borders are.
 * Input: stop strings ended by NUL, an empty one after the last; then bytes, each a token of that one byte. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "text/tokenizer/tokenizer_internal.h"
#include "text/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* 256 tokens of one byte each. */
static struct tokenizer *bytes_tokenizer(void)
{
    struct tokenizer *t;
    if (!tokenizer_alloc(&t, NULL) || !vocab_begin(&t->vocab, 256, 256, NULL)) abort();
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        if (!vocab_add(&t->vocab, b, VOCAB_NORMAL, &c, 1, NULL)) abort();
    }
    if (!tokenizer_index(t, NULL) || !bpe_init(&t->bpe, 0, NULL)) abort();
    return t;
}

/* Where the first stop string ends the text (of several that end there, the longest); its length when none does. */
static size_t cut_of(const char *text, size_t len, const char *const *stop, int n_stop)
{
    for (size_t end = 1; end <= len; end++) {
        size_t longest = 0;
        for (int k = 0; k < n_stop; k++) {
            size_t n = strlen(stop[k]);
            if (n && n <= end && n > longest && memcmp(text + end - n, stop[k], n) == 0) longest = n;
        }
        if (longest) return end - longest;
    }
    return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *stop[8];
    int n_stop = 0;
    size_t at = 0;
    while (at < size && data[at] && n_stop < 8) {
        const uint8_t *end = memchr(data + at, 0, size - at);
        if (!end) return 0;
        if (utf8_valid((const char *)data + at, (size_t)(end - data) - at) != (size_t)(end - data) - at)
            return 0;
        stop[n_stop++] = (const char *)data + at;
        at = (size_t)(end - data) + 1;
    }
    if (at < size && data[at] == 0) at++;
    if (size - at > 4096) return 0;

    struct tokenizer *t = bytes_tokenizer();
    struct stop_set *stops;
    struct detok *d;
    struct buf out = BUF_INIT(0);
    const char *s;
    size_t len;
    if (!stop_set_new(&stops, stop, n_stop, NULL) || !detok_new(&d, t, stops, false, NULL)) abort();
    for (size_t i = at; i < size; i++) {
        bool stopped = detok_push(d, data[i], &s, &len);
        if (utf8_valid(s, len) != len) abort();
        buf_append(&out, s, len);
        if (stopped) break;
    }
    detok_finish(d, &s, &len);
    buf_append(&out, s, len);

    struct masked whole = { 0 };
    if (!utf8_repair((const char *)data + at, NULL, size - at, &whole, NULL)) abort();
    const char *text = whole.text ? whole.text : "";
    size_t cut = cut_of(text, whole.len, stop, n_stop);
    if (out.len != cut || (cut && memcmp(out.data, text, cut) != 0)) abort();
    masked_free(&whole);
    buf_free(&out);
    detok_free(d);
    stop_set_free(stops);
    tokenizer_free(t);
    return 0;
}
