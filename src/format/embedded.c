/* embedded.c - see embedded.h. */
#include "format/embedded.h"

#include <stdint.h>
#include <string.h>
#include <zlib.h>

static const unsigned char png_magic[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
enum {
    PNG_HEADER = 8 + 25, /* the magic and IHDR, behind which the chunk goes */
    PNG_FRAME = 12,      /* length, name, CRC */
    JPEG_FRAME = 12,     /* marker, length, "JP", instance, number of the segment */
    JPEG_BOX = 8,        /* the box's length and type, again in each segment */
    JPEG_PIECE = 64000,  /* of a box in one segment */
    WEBP_HEADER = 12,    /* RIFF, length, WEBP */
    WEBP_FRAME = 8,      /* name, length */
};

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static uint32_t le32(const unsigned char *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}
static void put_be32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> (24 - 8 * i));
}
static void put_le32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(v >> (8 * i));
}

enum kind { PNG, JPEG, WEBP, NONE };

static enum kind kind_of(const unsigned char *d, size_t n)
{
    if (n >= PNG_HEADER && !memcmp(d, png_magic, sizeof png_magic)) return PNG;
    if (n >= 4 && d[0] == 0xff && d[1] == 0xd8 && d[2] == 0xff) return JPEG;
    if (n >= WEBP_HEADER && !memcmp(d, "RIFF", 4) && !memcmp(d + 8, "WEBP", 4)) return WEBP;
    return NONE;
}

static bool no_picture(struct err *e) { return err_set(e, ERR_FORMAT, "is no PNG, JPEG or WebP picture"); }
static bool cut_off(struct err *e) { return err_set(e, ERR_FORMAT, "is damaged or cut off"); }
static bool twice(struct err *e)
{
    return err_set(e, ERR_FORMAT, "has more than one C2PA manifest, so that none of them counts");
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static size_t framed(enum kind k, size_t n)
{
    if (k == PNG) return PNG_FRAME + n;
    if (k == WEBP) return WEBP_FRAME + n + n % 2;
    const size_t inside = n - JPEG_BOX;
    return n + (inside + JPEG_PIECE - 1) / JPEG_PIECE * (JPEG_FRAME + JPEG_BOX) - JPEG_BOX;
}

static void write_png(unsigned char *to, const unsigned char *m, size_t n)
{
    static const unsigned char name[4] = { 'c', 'a', 'B', 'X' };
    put_be32(to, (uint32_t)n);
    memcpy(to + 4, name, sizeof name);
    memcpy(to + 8, m, n);
    put_be32(to + 8 + n, (uint32_t)crc32_z(crc32_z(0, NULL, 0), to + 4, n + 4));
}

static void write_jpeg(unsigned char *to, const unsigned char *m, size_t n)
{
    uint32_t number = 1;
    for (size_t at = JPEG_BOX; at < n; number++) {
        const size_t piece = n - at < JPEG_PIECE ? n - at : JPEG_PIECE;
        const size_t len = JPEG_FRAME - 2 + JPEG_BOX + piece;
        static const unsigned char head[8] = { 0xff, 0xeb, 0, 0, 'J', 'P', 0, 1 };
        memcpy(to, head, sizeof head);
        to[2] = (unsigned char)(len >> 8);
        to[3] = (unsigned char)len;
        put_be32(to + 8, number);
        memcpy(to + JPEG_FRAME, m, JPEG_BOX);
        memcpy(to + JPEG_FRAME + JPEG_BOX, m + at, piece);
        to += 2 + len;
        at += piece;
    }
}

static void write_webp(unsigned char *to, const unsigned char *m, size_t n)
{
    memcpy(to, "C2PA", 4);
    put_le32(to + 4, (uint32_t)n);
    memcpy(to + WEBP_FRAME, m, n);
    if (n % 2) to[WEBP_FRAME + n] = 0;
}

void embedded_fill(struct buf *file, const struct embedded_span *at, const void *manifest, size_t n)
{
    unsigned char *to = (unsigned char *)file->data + at->start;
    switch (kind_of((const unsigned char *)file->data, file->len)) {
    case PNG: write_png(to, manifest, n); break;
    case JPEG: write_jpeg(to, manifest, n); break;
    case WEBP: write_webp(to, manifest, n); break;
    case NONE: break;
    }
}

bool embedded_put(struct buf *file, const void *manifest, size_t n, struct embedded_span *at, struct err *e)
{
    const unsigned char *d = (const unsigned char *)file->data;
    const enum kind k = kind_of(d, file->len);
    if (k == NONE) return no_picture(e);
    if (n <= JPEG_BOX || n > UINT32_MAX / 2) return err_set(e, ERR_LIMIT, "a manifest of %zu bytes", n);
    struct embedded_span s = { file->len, framed(k, n) };
    if (k == PNG) s.start = PNG_HEADER;
    if (k == JPEG) { /* JFIF's own segment stays the first */
        s.start = 2;
        if (file->len > 6 && d[3] == 0xe0) s.start += 2 + ((size_t)d[4] << 8 | d[5]);
        if (s.start >= file->len) return cut_off(e);
    }
    if (k == WEBP && file->len % 2) buf_putc(file, 0), s.start++;
    const size_t behind = file->len - s.start;
    static const char zeros[4096];
    for (size_t left = s.len; left;) {
        const size_t piece = left < sizeof zeros ? left : sizeof zeros;
        buf_append(file, zeros, piece);
        left -= piece;
    }
    if (file->failed) return err_set(e, ERR_NOMEM, "out of memory");
    unsigned char *to = (unsigned char *)file->data + s.start;
    memmove(to + s.len, to, behind);
    if (k == WEBP) put_le32((unsigned char *)file->data + 4, (uint32_t)(file->len - 8));
    embedded_fill(file, &s, manifest, n);
    *at = s;
    return true;
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static bool take(struct buf *manifest, const unsigned char *d, size_t n, struct err *e)
{
    return buf_append(manifest, d, n) || err_set(e, ERR_NOMEM, "out of memory");
}

static bool find_png(const unsigned char *d, size_t n, struct buf *manifest, struct embedded_span *at,
                     struct err *e)
{
    for (size_t i = sizeof png_magic; i < n;) {
        if (n - i < PNG_FRAME) return cut_off(e);
        const size_t len = be32(d + i);
        if (len > n - i - PNG_FRAME) return cut_off(e);
        if (!memcmp(d + i + 4, "caBX", 4)) {
            if (at->len) return twice(e);
            if (be32(d + i + 8 + len) != (uint32_t)crc32_z(crc32_z(0, NULL, 0), d + i + 4, len + 4))
                return cut_off(e);
            *at = (struct embedded_span){ i, PNG_FRAME + len };
            if (!take(manifest, d + i + 8, len, e)) return false;
        }
        if (!memcmp(d + i + 4, "IEND", 4))
            return true; /* what stands behind it is no part of the manifest, but of what is hashed */
        i += PNG_FRAME + len;
    }
    return cut_off(e);
}

/* A piece of a box in an APP11 segment; the first of a manifest says its type, later ones have the same instance. */
static bool jpeg_piece(const unsigned char *s, size_t len, unsigned *instance, struct buf *manifest,
                       bool *ours, struct err *e)
{
    const unsigned in = (unsigned)s[2] << 8 | s[3];
    const uint32_t number = be32(s + 4);
    *ours = false;
    if (number == 1) {
        /* The description box behind the box's head begins with the type "c2pa". */
        if (len < 8 + JPEG_BOX + 12 || memcmp(s + 12, "jumb", 4) || memcmp(s + 20, "jumdc2pa", 8))
            return true;
        if (manifest->len) return twice(e);
        *instance = in;
        *ours = true;
        return take(manifest, s + 8, len - 8, e);
    }
    if (!manifest->len || in != *instance || memcmp(s + 12, "jumb", 4)) return true;
    *ours = true;
    return take(manifest, s + 8 + JPEG_BOX, len - 8 - JPEG_BOX, e);
}

static bool find_jpeg(const unsigned char *d, size_t n, struct buf *manifest, struct embedded_span *at,
                      struct err *e)
{
    unsigned instance = 0;
    for (size_t i = 2;;) {
        while (i + 1 < n && d[i] == 0xff && d[i + 1] == 0xff) i++; /* fill bytes */
        if (n - i < 4 || d[i] != 0xff) return cut_off(e);
        const unsigned marker = d[i + 1];
        const size_t len = (size_t)d[i + 2] << 8 | d[i + 3];
        if (marker == 0xda || marker == 0xd9) return true;
        if (len < 2 || len > n - i - 2) return cut_off(e);
        if (marker == 0xeb && len >= 2 + 8 + JPEG_BOX && !memcmp(d + i + 4, "JP", 2)) {
            bool ours;
            if (!jpeg_piece(d + i + 4, len - 2, &instance, manifest, &ours, e)) return false;
            if (ours && at->len && at->start + at->len != i)
                return err_set(e, ERR_FORMAT, "has a C2PA manifest whose pieces do not lie together");
            if (ours && !at->len) at->start = i;
            if (ours) at->len += 2 + len;
        }
        i += 2 + len;
    }
}

static bool find_webp(const unsigned char *d, size_t n, struct buf *manifest, struct embedded_span *at,
                      struct err *e)
{
    const size_t end = (size_t)le32(d + 4) + 8;
    if (end > n || end < WEBP_HEADER) return cut_off(e);
    for (size_t i = WEBP_HEADER; i < end;) {
        if (end - i < WEBP_FRAME) return cut_off(e);
        const size_t len = le32(d + i + 4);
        size_t whole = WEBP_FRAME + len + len % 2;
        if (len > end - i - WEBP_FRAME) return cut_off(e);
        if (whole > end - i) whole = end - i; /* the last one's padding may be missing */
        if (!memcmp(d + i, "C2PA", 4)) {
            if (at->len) return twice(e);
            *at = (struct embedded_span){ i, whole };
            if (!take(manifest, d + i + WEBP_FRAME, len, e)) return false;
        }
        i += whole;
    }
    return true;
}

bool embedded_find(const void *file, size_t n, struct buf *manifest, struct embedded_span *at, struct err *e)
{
    const unsigned char *d = file;
    *at = (struct embedded_span){ 0 };
    switch (kind_of(d, n)) {
    case PNG: return find_png(d, n, manifest, at, e);
    case JPEG: return find_jpeg(d, n, manifest, at, e);
    case WEBP: return find_webp(d, n, manifest, at, e);
    case NONE: break;
    }
    return no_picture(e);
}
