/* gpt2_bytes.c - see gpt2_bytes.h. */
#include "text/tokenizer/gpt2_bytes.h"

#include "text/unicode.h"

/* GPT-2's alphabet: printable bytes stand for themselves, the other 68 for U+0100 and up, in order. */
static int byte_of_gpt2(uint32_t c)
{
    if ((c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255)) return (int)c;
    if (c >= 256 && c <= 288) return (int)c - 256;       /* 0..32 */
    if (c >= 289 && c <= 322) return (int)c - 289 + 127; /* 127..160 */
    return c == 323 ? 173 : -1;
}

bool bytes_from_gpt2(const char *s, size_t len, char *out, size_t *out_len)
{
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)s[i];
        if (c > 32 && c < 127) {
            out[n++] = (char)c;
            i++;
            continue;
        }
        if (c < 0xc2 || c > 0xc5 || i + 1 >= len || ((unsigned char)s[i + 1] & 0xc0) != 0x80) return false;
        unsigned k;
        int b = byte_of_gpt2(utf8_get((const unsigned char *)s + i, &k));
        if (b < 0) return false;
        out[n++] = (char)b;
        i += k;
    }
    *out_len = n;
    return true;
}

static uint32_t gpt2_of_byte(unsigned char b)
{
    if (byte_of_gpt2(b) == b) return b;
    return b <= 32 ? 256u + b : b <= 160 ? 289u + b - 127 : 323;
}

size_t gpt2_from_bytes(const char *s, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) n += utf8_put(gpt2_of_byte((unsigned char)s[i]), out + n);
    return n;
}
