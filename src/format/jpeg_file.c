/* jpeg_file.c - JPEG through libjpeg-turbo. */
#include <stdio.h>
#include <jpeglib.h>
#include <jerror.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/image_codec.h"
#include "format/orientation.h"

/* A progressive file may hold thousands of scans of a few bytes that each cost a pass over the whole picture. */
#define MAX_SCANS 64

/* libjpeg calls back with pointers to its own structs: they come first, so that ours is found from them. */
struct jpeg_errors {
    struct jpeg_error_mgr mgr;
    jmp_buf jump;
    struct err *e;
};

static void on_error(j_common_ptr c)
{
    struct jpeg_errors *j = (struct jpeg_errors *)c->err;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    err_set(j->e, c->err->msg_code == JERR_OUT_OF_MEMORY ? ERR_NOMEM : ERR_FORMAT, "JPEG: %s", text);
    longjmp(j->jump, 1);
}

/* libjpeg fills what is missing with grey and goes on; half a picture is not what somebody sent. */
static void on_message(j_common_ptr c, int level)
{
    if (level >= 0) return;
    if (c->err->msg_code == JWRN_JPEG_EOF || c->err->msg_code == JWRN_HIT_MARKER) on_error(c);
}

static void on_progress(j_common_ptr c)
{
    struct jpeg_errors *j = (struct jpeg_errors *)c->err;
    if (((j_decompress_ptr)c)->input_scan_number <= MAX_SCANS) return;
    err_set(j->e, ERR_LIMIT, "JPEG: more than %d scans", MAX_SCANS);
    longjmp(j->jump, 1);
}

static void set_errors(struct jpeg_errors *j, struct err *e)
{
    jpeg_std_error(&j->mgr);
    j->mgr.error_exit = on_error;
    j->mgr.emit_message = on_message;
    j->e = e;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

struct jpeg_reader {
    struct jpeg_decompress_struct c;
    struct jpeg_errors errors;
    struct jpeg_progress_mgr progress;
    unsigned char *row; /* CMYK rows pass through here */
    unsigned orientation;
};

/* Adobe writes CMYK inverted, and nobody else writes CMYK. */
static void cmyk_to_rgb(unsigned char *rgb, const unsigned char *cmyk, size_t n, bool inverted)
{
    for (size_t i = 0; i < n; i++, rgb += 3, cmyk += 4) {
        for (int k = 0; k < 3; k++) {
            unsigned ink = inverted ? cmyk[k] : 255u - cmyk[k], black = inverted ? cmyk[3] : 255u - cmyk[3];
            rgb[k] = (unsigned char)((ink * black + 127) / 255);
        }
    }
}

static bool read_rows(struct jpeg_reader *r, struct image_pixels *p)
{
    struct jpeg_decompress_struct *c = &r->c;
    size_t stride = (size_t)p->width * 3;
    bool cmyk = c->out_color_space == JCS_CMYK;
    if (cmyk) {
        r->row = malloc((size_t)p->width * 4);
        if (!r->row) return err_set(r->errors.e, ERR_NOMEM, "no memory for a row of %d pixels", p->width);
    }
    while (c->output_scanline < c->output_height) {
        unsigned char *dst = p->data + (size_t)c->output_scanline * stride;
        JSAMPROW row = cmyk ? r->row : dst;
        if (jpeg_read_scanlines(c, &row, 1) != 1) return err_set(r->errors.e, ERR_FORMAT, "JPEG: truncated");
        if (cmyk) cmyk_to_rgb(dst, r->row, (size_t)p->width, c->saw_Adobe_marker);
    }
    return true;
}

static bool decode(struct jpeg_reader *r, const void *data, size_t n, const struct image_limits *limits,
                   struct image_pixels *p)
{
    struct jpeg_decompress_struct *c = &r->c;
    if (setjmp(r->errors.jump)) return false;
    jpeg_create_decompress(c);
    r->progress.progress_monitor = on_progress;
    c->progress = &r->progress;
    jpeg_mem_src(c, data, (unsigned long)n);
    jpeg_save_markers(c, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(c, TRUE);
    static const char exif[] = "Exif\0", xmp[] = "http://ns.adobe.com/xap/1.0/";
    unsigned second = 0;
    for (jpeg_saved_marker_ptr m = c->marker_list; m && !r->orientation; m = m->next) {
        if (m->data_length > sizeof exif && !memcmp(m->data, exif, sizeof exif))
            r->orientation = orientation_in_exif(m->data, m->data_length);
        else if (!second && m->data_length > sizeof xmp && !memcmp(m->data, xmp, sizeof xmp))
            second = orientation_in_xmp(m->data + sizeof xmp, m->data_length - sizeof xmp);
    }
    if (!r->orientation) r->orientation = second;
    c->out_color_space =
        c->jpeg_color_space == JCS_CMYK || c->jpeg_color_space == JCS_YCCK ? JCS_CMYK : JCS_RGB;
    /* Before jpeg_start_decompress(), which reserves the coefficients of a progressive picture. */
    if (!image_reserve(p, c->image_width, c->image_height, 3, limits, r->errors.e)) return false;
    jpeg_start_decompress(c);
    if (!read_rows(r, p)) return false;
    jpeg_finish_decompress(c);
    return true;
}

bool jpeg_decode(const void *data, size_t n, const struct image_limits *limits, struct image_pixels *p,
                 struct err *e)
{
    struct err ignored;
    struct jpeg_reader *r =
        calloc(1, sizeof *r); /* on the heap: what changes after setjmp() must be in memory */
    if (!r) return err_set(e, ERR_NOMEM, "no memory to read a JPEG");
    set_errors(&r->errors, e ? e : &ignored);
    r->c.err = &r->errors.mgr;
    bool ok = decode(r, data, n, limits, p);
    jpeg_destroy_decompress(&r->c);
    ok = ok && orientation_apply(p, r->orientation, e);
    free(r->row);
    free(r);
    return ok;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

struct jpeg_writer {
    struct jpeg_compress_struct c;
    struct jpeg_errors errors;
    unsigned char *file, *row;
    unsigned long n;
};

static bool encode(struct jpeg_writer *w, const struct image_pixels *p, int quality)
{
    struct jpeg_compress_struct *c = &w->c;
    if (setjmp(w->errors.jump)) return false;
    jpeg_create_compress(c);
    jpeg_mem_dest(c, &w->file, &w->n);
    c->image_width = (JDIMENSION)p->width;
    c->image_height = (JDIMENSION)p->height;
    c->input_components = 3;
    c->in_color_space = JCS_RGB;
    jpeg_set_defaults(c);
    jpeg_set_quality(c, quality, TRUE);
    c->optimize_coding = TRUE;
    if (quality >= 90) { /* colour at full resolution, where somebody asks for quality */
        c->comp_info[0].h_samp_factor = 1;
        c->comp_info[0].v_samp_factor = 1;
    }
    jpeg_start_compress(c, TRUE);
    while (c->next_scanline < c->image_height) {
        unsigned char *src = p->data + (size_t)c->next_scanline * (size_t)p->width * (size_t)p->channels;
        JSAMPROW row = p->channels == 3 ? src : w->row;
        for (size_t x = 0; p->channels == 4 && x < (size_t)p->width; x++) {
            const unsigned char *s = src + 4 * x;
            for (size_t k = 0; k < 3; k++) {
                w->row[3 * x + k] = (unsigned char)((s[k] * s[3] + 255 * (255 - s[3]) + 127) / 255);
            }
        }
        jpeg_write_scanlines(c, &row, 1);
    }
    jpeg_finish_compress(c);
    return true;
}

bool image_file_jpeg(struct buf *out, const struct image_pixels *p, int quality, struct err *e)
{
    struct err ignored;
    struct jpeg_writer *w = calloc(1, sizeof *w);
    if (w) w->row = malloc((size_t)p->width * 3);
    if (!w || !w->row) {
        free(w);
        return err_set(e, ERR_NOMEM, "no memory to write a JPEG");
    }
    set_errors(&w->errors, e ? e : &ignored);
    w->c.err = &w->errors.mgr;
    bool ok = encode(w, p, quality);
    if (ok && !buf_append(out, w->file, w->n))
        ok = err_set(e, ERR_NOMEM, "no memory for a JPEG of %lu bytes", w->n);
    jpeg_destroy_compress(&w->c);
    free(w->file);
    free(w->row);
    free(w);
    return ok;
}
