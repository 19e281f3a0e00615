/* Pictures signed and held against their manifests: every kind of file, every byte changed in turn, another picture's manifest, strangers' signatures. */
#include "service/c2pa/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "format/embedded.h"
#include "format/image_file.h"
#include "service/c2pa/manifest.h"

static char dir[] = "/tmp/hearth-c2pa-XXXXXX";
static struct c2pa_signer *signer;
static struct c2pa_trust *own;

static struct c2pa_trust *trust_of(const struct c2pa_signer *s)
{
    struct c2pa_trust *t;
    struct buf pem = BUF_INIT(0);
    struct err e;
    if (!c2pa_signer_root(s, &pem, &e) || !c2pa_trust_read(&t, "root", pem.data, pem.len, &e))
        fail_msg("%s", e.msg);
    buf_free(&pem);
    return t;
}

static int make_place(void **state)
{
    struct err e;
    (void)state;
    if (!mkdtemp(dir)) return -1;
    if (!c2pa_signer_open(&signer, dir, true, &e)) fail_msg("%s", e.msg);
    own = trust_of(signer);
    return 0;
}

static int remove_place(void **state)
{
    char command[100];
    (void)state;
    c2pa_trust_free(own);
    c2pa_signer_free(signer);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static struct buf draw(enum image_format f, unsigned char colour)
{
    unsigned char px[16 * 12 * 3];
    const struct image_pixels p = { 16, 12, 3, px };
    struct buf b = BUF_INIT(0);
    struct err e;
    memset(px, colour, sizeof px);
    if (!(f == IMAGE_PNG    ? image_file_png(&b, &p, NULL, 0, &e)
          : f == IMAGE_JPEG ? image_file_jpeg(&b, &p, 90, &e)
                            : image_file_webp(&b, &p, 90, &e)))
        fail_msg("%s", e.msg);
    return b;
}

static struct buf sign(enum image_format f, unsigned char colour, struct c2pa_signer *by)
{
    struct buf b = draw(f, colour);
    struct err e;
    if (!c2pa_put(by, &(struct c2pa_made){ .model = "tiny" }, &b, &e)) fail_msg("%s", e.msg);
    return b;
}

static void test_signed(void **state)
{
    (void)state;
    for (enum image_format f = IMAGE_PNG; f <= IMAGE_WEBP; f++) {
        struct buf a = sign(f, 80, signer), b = sign(f, 80, signer);
        struct c2pa_report r;
        struct image_pixels px;
        struct err e;
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.data, b.data, a.len); /* again: the same bytes */
        if (!c2pa_verify(own, a.data, a.len, &r, &e)) fail_msg("%d: %s", f, e.msg);
        assert_int_equal(r.known, C2PA_KNOWN);
        assert_string_equal(r.signer, "hearth pictures (hearth)");
        assert_string_equal(r.made, "drawn by the model tiny");
        assert_string_equal(r.source, "trainedAlgorithmicMedia");
        assert_int_equal(strncmp(r.program, "hearth ", 7), 0);
        if (!image_file_decode(a.data, a.len, 3, &IMAGE_LIMITS_DEFAULT, &px, &e))
            fail_msg("%s", e.msg); /* still a picture */
        assert_int_equal(px.width, 16);
        free(px.data);
        if (!c2pa_verify(NULL, a.data, a.len, &r, &e)) fail_msg("%s", e.msg);
        assert_int_equal(r.known, C2PA_UNKNOWN);
        buf_free(&a);
        buf_free(&b);
    }
}

/* Outside of the manifest no byte may change; within it some say nothing (a segment's number), and then all that is told is the same. */
static void test_changed(void **state)
{
    (void)state;
    for (enum image_format f = IMAGE_PNG; f <= IMAGE_WEBP; f++) {
        struct buf b = sign(f, 80, signer), m = BUF_INIT(0);
        struct c2pa_report want, got;
        struct embedded_span at;
        struct err e;
        int silent = 0;
        if (!c2pa_verify(own, b.data, b.len, &want, &e) || !embedded_find(b.data, b.len, &m, &at, &e))
            fail_msg("%s", e.msg);
        for (size_t i = 0; i < b.len; i++) {
            b.data[i] ^= 1;
            if (c2pa_verify(own, b.data, b.len, &got, &e)) {
                if (i < at.start || i >= at.start + at.len)
                    fail_msg("%d: byte %zu of %zu was changed, and nobody noticed", f, i, b.len);
                assert_memory_equal(&got, &want, sizeof got);
                silent++;
            } else {
                assert_true(e.code == ERR_FORMAT || e.code == ERR_NOT_FOUND);
            }
            b.data[i] ^= 1;
        }
        assert_true(silent < 100); /* types of boxes beside their labels, numbers of segments */
        for (size_t n = 0; n < b.len;
             n++) { /* cut off: from a block of its size, so that the address checker sees a byte too far */
            char *cut = malloc(n ? n : 1);
            assert_non_null(cut);
            memcpy(cut, b.data, n);
            assert_false(c2pa_verify(own, cut, n, &got, &e));
            free(cut);
        }
        buf_free(&b);
        buf_free(&m);
    }
}

static void test_others(void **state)
{
    struct buf plain = draw(IMAGE_PNG, 1), a = sign(IMAGE_PNG, 80, signer), m = BUF_INIT(0);
    struct embedded_span at;
    struct c2pa_report r;
    struct err e;
    (void)state;
    assert_false(c2pa_verify(own, plain.data, plain.len, &r, &e)); /* stripped */
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_false(c2pa_verify(own, "text", 4, &r, &e));
    assert_non_null(strstr(e.msg, "no PNG, JPEG or WebP"));
    if (!embedded_find(a.data, a.len, &m, &at, &e)) fail_msg("%s", e.msg);
    if (!embedded_put(&plain, m.data, m.len, &at, &e)) fail_msg("%s", e.msg); /* another picture's */
    assert_false(c2pa_verify(own, plain.data, plain.len, &r, &e));
    assert_non_null(strstr(e.msg, "was changed after it was signed"));
    if (!embedded_put(&a, m.data, m.len, &at, &e)) fail_msg("%s", e.msg);
    assert_false(c2pa_verify(own, a.data, a.len, &r, &e));
    assert_non_null(strstr(e.msg, "more than one"));
    buf_free(&plain);
    buf_free(&a);
    buf_free(&m);
}

static void test_strangers(void **state)
{
    char other[100], path[140];
    struct c2pa_signer *s, *again;
    struct c2pa_report r;
    struct stat st;
    struct err e;
    (void)state;
    snprintf(other, sizeof other, "%s/other", dir);
    assert_false(c2pa_signer_open(&s, other, false, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    if (!c2pa_signer_open(&s, other, true, &e)) fail_msg("%s", e.msg);
    struct buf b = sign(IMAGE_PNG, 80, s);
    if (!c2pa_verify(own, b.data, b.len, &r, &e)) fail_msg("%s", e.msg);
    assert_int_equal(r.known, C2PA_UNKNOWN); /* the same names in it, but another root */
    if (!c2pa_signer_open(&again, other, true, &e)) fail_msg("%s", e.msg); /* the next start has the same */
    struct buf c = sign(IMAGE_PNG, 80, again);
    assert_int_equal(b.len, c.len);
    assert_memory_equal(b.data, c.data, b.len);
    snprintf(path, sizeof path, "%s/signer.pem", other);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    snprintf(path, sizeof path, "%s/root.pem", other);
    assert_int_equal(stat(path, &st), 0);
    assert_false(c2pa_signer_load(&s, path, path, &e)); /* an authority, and no key */
    assert_int_equal(e.code, ERR_REQUEST);
    buf_free(&b);
    buf_free(&c);
    c2pa_signer_free(s);
    c2pa_signer_free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_strangers),
    };
    return cmocka_run_group_tests(tests, make_place, remove_place);
}
