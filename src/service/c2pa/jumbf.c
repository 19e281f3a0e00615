/* jumbf.c - see jumbf.h. */
#include "service/c2pa/jumbf.h"

#include <stdint.h>
#include <string.h>

enum { HEAD = 8, LABELLED = 2 };
/* A type is four letters and this (ISO 19566-5, annex B). */
static const unsigned char type_end[12] = { 0x00, 0x11, 0x00, 0x10, 0x80, 0x00,
                                            0x00, 0xaa, 0x00, 0x38, 0x9b, 0x71 };

size_t jumbf_begin(struct buf *b, const char type[4])
{
    const size_t at = b->len;
    buf_append(b, "\0\0\0\0", 4);
    buf_append(b, type, 4);
    return at;
}

void jumbf_end(struct buf *b, size_t begun)
{
    const size_t len = b->len - begun;
    if (b->failed) return;
    for (int i = 0; i < 4; i++) b->data[begun + (size_t)i] = (char)(len >> (24 - 8 * i));
}

size_t jumbf_open(struct buf *b, const char kind[4], const char *label)
{
    const size_t at = jumbf_begin(b, "jumb"), description = jumbf_begin(b, "jumd");
    buf_append(b, kind, 4);
    buf_append(b, type_end, sizeof type_end);
    buf_putc(b, LABELLED | 1); /* 1: others may ask for it by its label */
    buf_append(b, label, strlen(label) + 1);
    jumbf_end(b, description);
    return at;
}

/* The description at the beginning of a "jumb". */
static bool describe(struct jumbf_box *box)
{
    struct jumbf rest = box->content;
    struct jumbf_box d;
    if (!jumbf_next(&rest, &d) || strcmp(d.type, "jumd") != 0 || d.content.end - d.content.at < 17)
        return false;
    memcpy(box->kind, d.content.at, 4);
    if (memcmp(d.content.at + 4, type_end, sizeof type_end) != 0)
        box->kind[0] = 0; /* of another family of types */
    box->label = "";
    box->boxes = rest;
    if (d.content.at[16] & LABELLED) {
        const unsigned char *label = d.content.at + 17;
        if (!memchr(label, 0, (size_t)(d.content.end - label))) return false;
        box->label = (const char *)label;
    }
    return true;
}

bool jumbf_next(struct jumbf *j, struct jumbf_box *out)
{
    const size_t left = (size_t)(j->end - j->at);
    if (left < HEAD) return false;
    const size_t len = (size_t)j->at[0] << 24 | (size_t)j->at[1] << 16 | (size_t)j->at[2] << 8 | j->at[3];
    if (len < HEAD || len > left) return false;
    struct jumbf_box box = { .content = { j->at + HEAD, j->at + len }, .label = "" };
    memcpy(box.type, j->at + 4, 4);
    if (!strcmp(box.type, "jumb") && !describe(&box)) return false;
    j->at += len;
    *out = box;
    return true;
}

bool jumbf_labelled(const struct jumbf *in, const char *label, struct jumbf_box *out)
{
    struct jumbf j = *in;
    struct jumbf_box box;
    while (jumbf_next(&j, &box)) {
        if (strcmp(box.type, "jumb") != 0 || strcmp(box.label, label) != 0) continue;
        *out = box;
        return true;
    }
    return false;
}

bool jumbf_typed(const struct jumbf *in, const char type[4], struct jumbf_box *out)
{
    struct jumbf j = *in;
    struct jumbf_box box;
    while (jumbf_next(&j, &box)) {
        if (memcmp(box.type, type, 4) != 0) continue;
        *out = box;
        return true;
    }
    return false;
}
