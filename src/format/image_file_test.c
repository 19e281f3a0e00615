/* Pictures in every flavour against Pillow's pixels; there and back; cut, damaged and inflated ones. */
#include "format/image_file.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <zlib.h>

static unsigned char *load(const char *name, size_t *n)
{
    char path[300];
    snprintf(path, sizeof path, "tests/golden/images/%s", name);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s (tests run from the root of the repository)", path);
    unsigned char *data = malloc(1 << 16);
    assert_non_null(data);
    *n = fread(data, 1, 1 << 16, f);
    fclose(f);
    return data;
}

static const struct image_limits limits = { .max_bytes = 1 << 20, .max_pixels = 1 << 20, .max_side = 4096 };

/* From a block of exactly its size, so that the address checker sees one byte too far. */
static bool decode_copy(const unsigned char *data, size_t n, int channels, struct image_pixels *p,
                        struct err *e)
{
    unsigned char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, data, n);
    bool ok = image_file_decode(copy, n, channels, &limits, p, e);
    free(copy);
    return ok;
}

/* Calls f with every picture of the folder. */
static void each_picture(void (*f)(const char *name, const unsigned char *data, size_t n))
{
    DIR *d = opendir("tests/golden/images");
    if (!d) fail_msg("tests/golden/images is not there (tests run from the root of the repository)");
    int count = 0;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        const char *name = entry->d_name;
        if (name[0] == '.' || strstr(name, ".rgba") || strcmp(name, "animated.webp") == 0) continue;
        size_t n;
        unsigned char *data = load(name, &n);
        f(name, data, n);
        free(data);
        count++;
    }
    if (d) closedir(d);
    assert_true(count >= 20);
}

static void compare_with_pillow(const char *name, const unsigned char *data, size_t n)
{
    char want_name[280];
    snprintf(want_name, sizeof want_name, "%s.rgba", name);
    size_t want_n;
    unsigned char *want = load(want_name, &want_n);
    uint32_t w, h;
    memcpy(&w, want, 4);
    memcpy(&h, want + 4, 4);
    struct image_pixels p;
    struct err e = { 0 };
    if (!decode_copy(data, n, 4, &p, &e)) fail_msg("%s: %s", name, e.msg);
    assert_true(p.width == (int)w && p.height == (int)h && p.channels == 4);
    bool png = strstr(name, ".png") || strstr(name, "lossless");
    int tolerance = png ? 0 : 4, worst = 0; /* decoders may round chroma differently */
    for (size_t i = 0; i < (size_t)w * h * 4; i++) {
        int d = abs((int)p.data[i] - (int)want[8 + i]);
        worst = d > worst ? d : worst;
    }
    if (worst > tolerance) fail_msg("%s: a byte is off by %d", name, worst);
    free(p.data);
    assert_true(decode_copy(data, n, 3, &p, &e));
    for (size_t i = 0; i < (size_t)w * h; i++) { /* three channels: the same over white */
        for (size_t c = 0; c < 3; c++) {
            int a = want[8 + 4 * i + 3], v = (want[8 + 4 * i + c] * a + 255 * (255 - a)) / 255;
            if (abs(v - p.data[3 * i + c]) > tolerance + 1) fail_msg("%s: over white, a byte is off", name);
        }
    }
    free(p.data);
    free(want);
}

static void pixels_match_pillow(void **state)
{
    (void)state;
    each_picture(compare_with_pillow);
}

static void cut_everywhere(const char *name, const unsigned char *data, size_t n)
{
    size_t accepted = 0;
    for (size_t i = 0; i < n; i++) {
        struct image_pixels p;
        struct err e = { 0 };
        if (decode_copy(data, i, 3, &p, &e)) {
            accepted++;
            free(p.data);
        } else {
            assert_true(e.msg[0]);
        }
    }
    /* Behind the last pixel there is a trailer that decoders need not see: IEND, EOI, padding. */
    if (accepted > 16) fail_msg("%s was accepted cut short at %zu places", name, accepted);
}

static void cut_anywhere_is_refused(void **state)
{
    (void)state;
    each_picture(cut_everywhere);
}

static void damage_everywhere(const char *name, const unsigned char *data, size_t n)
{
    (void)name;
    static const unsigned char values[] = { 0x00, 0x7f, 0xff };
    unsigned char *copy = malloc(n);
    assert_non_null(copy);
    memcpy(copy, data, n);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < sizeof values; j++) {
            copy[i] = values[j];
            struct image_pixels p;
            if (decode_copy(copy, n, 3, &p, NULL)) free(p.data);
        }
        copy[i] = data[i];
    }
    free(copy);
}

static void damage_anywhere_is_survived(void **state)
{
    (void)state;
    each_picture(damage_everywhere);
}

/* ---- bombs ------------------------------------------------------------------------------------------------------ */

static void put_chunk(struct buf *b, const char *kind, const unsigned char *data, uint32_t n)
{
    unsigned char len[4] = { (unsigned char)(n >> 24), (unsigned char)(n >> 16), (unsigned char)(n >> 8),
                             (unsigned char)n };
    buf_append(b, len, 4);
    buf_append(b, kind, 4);
    buf_append(b, data, n);
    uint32_t crc = (uint32_t)crc32(crc32(0, (const unsigned char *)kind, 4), data, n);
    unsigned char sum[4] = { (unsigned char)(crc >> 24), (unsigned char)(crc >> 16),
                             (unsigned char)(crc >> 8), (unsigned char)crc };
    buf_append(b, sum, 4);
}

static void put_png_header(struct buf *b, uint32_t w, uint32_t h)
{
    unsigned char ihdr[13] = { (unsigned char)(w >> 24),
                               (unsigned char)(w >> 16),
                               (unsigned char)(w >> 8),
                               (unsigned char)w,
                               (unsigned char)(h >> 24),
                               (unsigned char)(h >> 16),
                               (unsigned char)(h >> 8),
                               (unsigned char)h,
                               8,
                               2,
                               0,
                               0,
                               0 };
    buf_append(b, "\x89PNG\r\n\x1a\n", 8);
    put_chunk(b, "IHDR", ihdr, 13);
}

static void refused(const struct buf *b, enum err_code code, const char *message)
{
    struct image_pixels p;
    struct err e = { 0 };
    if (decode_copy((const unsigned char *)b->data, b->len, 3, &p, &e)) fail_msg("accepted: %s", message);
    if (!strstr(e.msg, message) || e.code != code)
        fail_msg("expected \"%s\", got %d \"%s\"", message, e.code, e.msg);
}

static void bombs_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t w, h;
        enum err_code code;
        const char *message;
    } cases[] = {
        { 4096, 4096, ERR_LIMIT, "4096 x 4096 pixels, the limits are" },
        { 5000, 1, ERR_FORMAT, "PNG: " },
        { 0x7fffffff, 0x7fffffff, ERR_FORMAT, "PNG: " },
        { 0, 5, ERR_FORMAT, "PNG: " },
    };
    struct buf b = BUF_INIT(0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&b);
        put_png_header(&b, cases[i].w, cases[i].h);
        put_chunk(&b, "IDAT", (const unsigned char *)"x", 1);
        refused(&b, cases[i].code, cases[i].message);
    }

    /* A text that unpacks to 64 MB is passed over, not unpacked; the picture behind it is fine. */
    static unsigned char zeros[1 << 20], packed[1 << 17];
    z_stream z = { 0 };
    assert_int_equal(deflateInit(&z, 9), Z_OK);
    z.next_out = packed + 5;
    z.avail_out = sizeof packed - 5;
    static const unsigned char key[5] = { 'k', 'e', 'y' };
    memcpy(packed, key, sizeof key);
    for (int i = 0; i < 64; i++) {
        z.next_in = zeros;
        z.avail_in = sizeof zeros;
        assert_int_equal(deflate(&z, i == 63 ? Z_FINISH : Z_NO_FLUSH), i == 63 ? Z_STREAM_END : Z_OK);
    }
    unsigned long room = 64;
    unsigned char pixels[64], raw[4] = { 0, 1, 2, 3 };
    assert_int_equal(compress(pixels, &room, raw, 4), Z_OK);
    buf_clear(&b);
    put_png_header(&b, 1, 1);
    put_chunk(&b, "zTXt", packed, (uint32_t)(5 + z.total_out));
    deflateEnd(&z);
    put_chunk(&b, "IDAT", pixels, (uint32_t)room);
    put_chunk(&b, "IEND", pixels, 0);
    struct image_pixels p;
    struct err e = { 0 };
    if (!decode_copy((const unsigned char *)b.data, b.len, 3, &p, &e)) fail_msg("%s", e.msg);
    assert_memory_equal(p.data, raw + 1, 3);
    free(p.data);
    buf_free(&b);

    struct buf plain = BUF_INIT(0);
    buf_puts(&plain, "GIF89a and more");
    refused(&plain, ERR_FORMAT, "expected a PNG, JPEG or WebP");
    buf_free(&plain);
    size_t n;
    unsigned char *data = load("animated.webp", &n);
    plain = BUF_INIT(0);
    buf_append(&plain, data, n);
    refused(&plain, ERR_UNSUPPORTED, "animation");
    buf_free(&plain);
    free(data);

    struct image_limits small = limits;
    small.max_bytes = 10;
    assert_false(image_file_decode("\x89PNG\r\n\x1a\n1234", 12, 3, &small, &p, &e));
    assert_true(e.code == ERR_LIMIT && strstr(e.msg, "12 bytes, the limit is 10"));
}

/* JPEG and WebP say their size in their own way; each is held to the limits before memory is reserved. */
static void small_limits_hold_for_all(const char *name, const unsigned char *data, size_t n)
{
    struct image_limits small = { .max_bytes = 1 << 20,
                                  .max_pixels = 116,
                                  .max_side = 4096 }; /* they have 117 */
    struct image_pixels p;
    struct err e = { 0 };
    if (image_file_decode(data, n, 3, &small, &p, &e)) fail_msg("%s passed a limit", name);
    if (e.code != ERR_LIMIT) fail_msg("%s: %s", name, e.msg);
}

static void limits_hold(void **state)
{
    (void)state;
    each_picture(small_limits_hold_for_all);
}

/* ---- there and back --------------------------------------------------------------------------------------------- */

static struct image_pixels gradient(int channels)
{
    struct image_pixels p = { 37, 21, channels, malloc((size_t)37 * 21 * (size_t)channels) };
    assert_non_null(p.data);
    for (int i = 0; i < 37 * 21; i++) {
        for (int c = 0; c < channels; c++) {
            p.data[i * channels + c] =
                (unsigned char)(c == 3 ? 255 - i % 37 * 3 : i % 37 * 3 + i / 37 * (c + 1) * 2);
        }
    }
    return p;
}

static int worst_difference(const struct image_pixels *a, const struct image_pixels *b)
{
    assert_true(a->width == b->width && a->height == b->height && a->channels == b->channels);
    int worst = 0;
    for (int i = 0; i < a->width * a->height * a->channels; i++) {
        int d = abs((int)a->data[i] - (int)b->data[i]);
        worst = d > worst ? d : worst;
    }
    return worst;
}

static void there_and_back(void **state)
{
    (void)state;
    for (int channels = 3; channels <= 4; channels++) {
        struct image_pixels p = gradient(channels), q;
        struct err e = { 0 };
        struct buf b = BUF_INIT(0);
        assert_true(image_file_png(&b, &p, NULL, 0, &e));
        assert_true(decode_copy((unsigned char *)b.data, b.len, channels, &q, &e));
        assert_int_equal(worst_difference(&p, &q), 0);
        free(q.data);

        buf_clear(&b);
        assert_true(image_file_webp(&b, &p, 0, &e));
        assert_true(decode_copy((unsigned char *)b.data, b.len, channels, &q, &e));
        assert_int_equal(worst_difference(&p, &q), 0);
        free(q.data);

        buf_clear(&b);
        assert_true(image_file_webp(&b, &p, 90, &e));
        assert_true(decode_copy((unsigned char *)b.data, b.len, channels, &q, &e));
        assert_in_range(worst_difference(&p, &q), 0, 24);
        free(q.data);

        if (channels == 3) {
            buf_clear(&b);
            assert_true(image_file_jpeg(&b, &p, 95, &e));
            assert_true(decode_copy((unsigned char *)b.data, b.len, 3, &q, &e));
            assert_in_range(worst_difference(&p, &q), 0, 8);
            free(q.data);
        }
        buf_free(&b);
        free(p.data);
    }
}

static void alpha_becomes_white_paper_in_jpeg(void **state)
{
    (void)state;
    unsigned char clear[16 * 16 * 4] = { 0 };
    struct image_pixels p = { 16, 16, 4, clear }, q;
    struct buf b = BUF_INIT(0);
    assert_true(image_file_jpeg(&b, &p, 90, NULL));
    assert_true(decode_copy((unsigned char *)b.data, b.len, 3, &q, NULL));
    for (int i = 0; i < 16 * 16 * 3; i++) assert_in_range(q.data[i], 254, 255);
    free(q.data);
    buf_free(&b);
}

static void texts_are_written(void **state)
{
    (void)state;
    struct image_pixels p = gradient(3);
    struct image_text text[] = { { "prompt", "a f\xc3\xbcr tree" }, { "seed", "42" } };
    struct buf b = BUF_INIT(0);
    assert_true(image_file_png(&b, &p, text, 2, NULL));
    assert_non_null(memmem(b.data, b.len, "iTXtprompt\0\0\0\0\0a f\xc3\xbcr tree", 26));
    assert_non_null(memmem(b.data, b.len,
                           "tEXtseed\0"
                           "42",
                           11));
    struct image_text bad[] = { { "", "x" }, { "k", "\xff" }, { "k\n", "x" } };
    for (int i = 0; i < 3; i++) {
        struct err e = { 0 };
        assert_false(image_file_png(&b, &p, &bad[i], 1, &e));
        assert_int_equal(e.code, ERR_REQUEST);
    }
    buf_free(&b);
    free(p.data);
}

static void a_full_buffer_is_an_error(void **state)
{
    (void)state;
    struct image_pixels p = gradient(3);
    struct err e = { 0 };
    struct buf b = BUF_INIT(100);
    assert_false(image_file_png(&b, &p, NULL, 0, &e));
    assert_true(e.msg[0]);
    buf_free(&b);
    assert_false(image_file_jpeg(&b, &p, 90, &e));
    assert_false(image_file_webp(&b, &p, 90, &e));
    buf_free(&b);
    free(p.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pixels_match_pillow),
        cmocka_unit_test(cut_anywhere_is_refused),
        cmocka_unit_test(damage_anywhere_is_survived),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(alpha_becomes_white_paper_in_jpeg),
        cmocka_unit_test(texts_are_written),
        cmocka_unit_test(a_full_buffer_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
