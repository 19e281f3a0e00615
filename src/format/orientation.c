#include "format/orientation.h"

#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST /* inflate() only reads */
#include <zlib.h>

#include "base/mem.h"

enum { TAG = 0x0112, TYPE_BYTE = 1, TYPE_SHORT = 3, TYPE_LONG = 4 };

static unsigned read16(const unsigned char *p, bool little)
{
    return little ? (unsigned)(p[0] | p[1] << 8) : (unsigned)(p[0] << 8 | p[1]);
}

static uint32_t read32(const unsigned char *p, bool little)
{
    return little ? (uint32_t)read16(p + 2, true) << 16 | read16(p, true)
                  : (uint32_t)read16(p, false) << 16 | read16(p + 2, false);
}

static unsigned in_range(uint32_t v) { return v >= 1 && v <= 8 ? v : 0; }

unsigned orientation_in_exif(const void *data, size_t n)
{
    const unsigned char *s = data;
    while (n >= 6 && !memcmp(s, "Exif\0\0", 6)) {
        s += 6;
        n -= 6;
    }
    if (n < 10 || s[0] != s[1] || (s[0] != 'I' && s[0] != 'M')) return 0;
    bool little = s[0] == 'I';
    uint32_t at = read32(s + 4, little);
    if (at > n - 2) return 0;
    unsigned count = read16(s + at, little);
    for (size_t i = 0; i < count; i++) {
        size_t entry = (size_t)at + 2 + 12 * i;
        if (entry + 12 > n) return 0;
        if (read16(s + entry, little) != TAG) continue;
        unsigned type = read16(s + entry + 2, little);
        const unsigned char *v = s + entry + 8;
        return type == TYPE_SHORT  ? in_range(read16(v, little))
               : type == TYPE_LONG ? in_range(read32(v, little))
               : type == TYPE_BYTE ? in_range(*v)
                                   : 0;
    }
    return 0;
}

unsigned orientation_in_xmp(const void *s, size_t n)
{
    static const char name[] = "tiff:Orientation";
    const unsigned char *at = s, *end = at + n;
    while (at && (at = memmem(at, (size_t)(end - at), name, sizeof name - 1)) != NULL) {
        at += sizeof name - 1;
        const unsigned char *digit = end - at > 2 && at[0] == '=' && at[1] == '"' ? at + 2
                                     : end - at > 1 && at[0] == '>'               ? at + 1
                                                                                  : NULL;
        if (digit && *digit >= '0' && *digit <= '9') return in_range((uint32_t)(*digit - '0'));
    }
    return 0;
}

/* ---- PNG --------------------------------------------------------------------------------------------------- */

static int hex(unsigned char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* "\nexif\n      72\n45786966...", hexadecimal digits with line breaks: decoded in place. */
static unsigned in_raw_profile(unsigned char *s, size_t n)
{
    size_t at = 0, out = 0;
    for (int lines = 0; lines < 3 && at < n; at++) lines += s[at] == '\n';
    for (int high = -1; at < n; at++) {
        int v = hex(s[at]);
        if (v < 0) continue;
        if (high < 0) {
            high = v;
        } else {
            s[out++] = (unsigned char)(high << 4 | v);
            high = -1;
        }
    }
    return orientation_in_exif(s, out);
}

/* s [n]: a text chunk's value, deflated or not; at most so much of it is looked at. */
static unsigned in_text(const unsigned char *s, size_t n, bool deflated, bool xmp)
{
    enum { MOST = 256 << 10 };
    unsigned char *text = malloc(MOST);
    z_stream z = { .next_in = s, .avail_in = (uInt)n, .next_out = text, .avail_out = MOST };
    size_t len = n < MOST ? n : MOST;
    unsigned got = 0;
    if (text && !deflated) {
        memcpy(text, s, len);
        got = xmp ? orientation_in_xmp(text, len) : in_raw_profile(text, len);
    } else if (text && inflateInit(&z) == Z_OK) {
        inflate(&z, Z_SYNC_FLUSH);
        len = MOST - z.avail_out;
        inflateEnd(&z);
        got = xmp ? orientation_in_xmp(text, len) : in_raw_profile(text, len);
    }
    free(text);
    return got;
}

static bool starts(const unsigned char *s, size_t n, const char *key, size_t key_n)
{
    return n >= key_n && !memcmp(s, key, key_n);
}

/* What the chunks that are not eXIf say: of which kind, in *is_exif. */
static unsigned in_text_chunk(const unsigned char *kind, const unsigned char *s, size_t n, bool *is_exif)
{
    static const char raw[] = "Raw profile type exif",
                      xmp[] = "XML:com.adobe.xmp"; /* keys end with their zero */
    *is_exif = true;
    if (!memcmp(kind, "tEXt", 4) && starts(s, n, raw, sizeof raw))
        return in_text(s + sizeof raw, n - sizeof raw, false, false);
    if (!memcmp(kind, "zTXt", 4) && starts(s, n, raw, sizeof raw) && n > sizeof raw)
        return in_text(s + sizeof raw + 1, n - sizeof raw - 1, true, false);
    *is_exif = false;
    if (memcmp(kind, "iTXt", 4) != 0 || !starts(s, n, xmp, sizeof xmp) || n < sizeof xmp + 2) return 0;
    const unsigned char *at = s + sizeof xmp + 2,
                        *end = s + n; /* language and translated key follow, each with its zero */
    for (int i = 0; i < 2; i++) {
        at = memchr(at, 0, (size_t)(end - at));
        if (!at) return 0;
        at++;
    }
    return in_text(at, (size_t)(end - at), s[sizeof xmp] == 1, true);
}

unsigned orientation_in_png(const unsigned char *file, size_t n)
{
    unsigned exif = 0, xmp = 0;
    for (size_t at = 8; at + 12 <= n;) {
        const unsigned char *kind = file + at + 4, *s = file + at + 8;
        size_t len = read32(file + at, false);
        if (len > n - at - 12) break;
        bool is_exif;
        unsigned text;
        if (!memcmp(kind, "eXIf", 4)) {
            unsigned got = orientation_in_exif(s, len);
            if (got) return got;
        } else if ((!exif || !xmp) && (text = in_text_chunk(kind, s, len, &is_exif)) != 0) {
            if (is_exif)
                exif = text;
            else
                xmp = text;
        }
        at += len + 12;
    }
    return exif ? exif : xmp;
}

/* ---- WebP -------------------------------------------------------------------------------------------------- */

unsigned orientation_in_webp(const unsigned char *file, size_t n)
{
    unsigned xmp = 0;
    for (size_t at = 12; at + 8 <= n;) {
        size_t len = read32(file + at + 4, true), left = n - at - 8;
        if (len > left) break;
        if (!memcmp(file + at, "EXIF", 4)) {
            unsigned got = orientation_in_exif(file + at + 8, len);
            if (got) return got;
        } else if (!memcmp(file + at, "XMP ", 4) && !xmp) {
            xmp = orientation_in_xmp(file + at + 8, len);
        }
        at += 8 + len + (len & 1);
    }
    return xmp;
}

/* ---- turning ----------------------------------------------------------------------------------------------- */

bool orientation_apply(struct image_pixels *p, unsigned orientation, struct err *e)
{
    if (orientation <= 1) return true;
    size_t w = (size_t)p->width, h = (size_t)p->height, c = (size_t)p->channels;
    bool swap = orientation >= 5;
    bool flip_x = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    bool flip_y = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    unsigned char *data = malloc(w * h * c); /* the product fits: the picture itself has this size */
    if (!data) return err_set(e, ERR_NOMEM, "no memory to turn a picture of %d x %d", p->width, p->height);
    size_t w2 = swap ? h : w, h2 = swap ? w : h;
    for (size_t y = 0; y < h2; y++) {
        for (size_t x = 0; x < w2; x++) {
            size_t u = flip_x ? w2 - 1 - x : x, v = flip_y ? h2 - 1 - y : y;
            size_t from = swap ? u * w + v : v * w + u;
            memcpy(data + (y * w2 + x) * c, p->data + from * c, c);
        }
    }
    free(p->data);
    *p = (struct image_pixels){ (int)w2, (int)h2, p->channels, data };
    return true;
}
