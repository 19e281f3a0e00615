/* picture_wire.h - an image request as it came, whichever dialect it is in, and what it wants back. Parse only: no model is touched. */
#ifndef HEARTH_HTTP_DIALECTS_PICTURE_WIRE_H
#define HEARTH_HTTP_DIALECTS_PICTURE_WIRE_H

#include "base/str_list.h"
#include "http/error.h"
#include "http/json_in.h"
#include "http/multipart.h"
#include "service/drawing.h"

struct picture_dialect;

/* EDIT and VARY start from an input picture; VARY does without a prompt. */
enum picture_task { PICTURE_GENERATE, PICTURE_EDIT, PICTURE_VARY };

enum picture_answer { ANSWER_URL, ANSWER_B64, ANSWER_BYTES, ANSWER_JSON };

/* What `enhance` says (picture_enhance.h). */
struct picture_enhancing {
    bool wanted, plain;  /* plain: without the words for quality */
    char *style, *model; /* NULL: the default style; no model */
    struct str_list avoid;
};

struct picture_wire {
    struct picture_request q;
    const struct picture_dialect *dialect;
    enum picture_answer answer;
    enum picture_task task;
    bool strict;         /* fields that no API defines are refused */
    bool stream;         /* events instead of one reply */
    bool any_by_zero;    /* a seed of 0 means a new one: under /inference, and in some dialects */
    int partial;         /* previews of each picture in a stream; below 0: one after every step */
    char ratio[8];       /* aspect_ratio, resolved once the model is known; "" */
    char asked_size[32]; /* size as text, for names that stand for another; "" */
    char quality[16];
    /* Of the SDXL endpoints' image to image, -1 where not given: how near to stay, and which share of the steps to leave out */
    double image_strength, schedule_start;
    bool by_schedule;                   /* init_image_mode */
    bool form;                          /* numbers arrive as text */
    bool has_n, has_answer, has_prompt; /* given, though perhaps wrong */
    bool gpt, revises;                  /* asked for by the name of a GPT image model, of DALL-E 3 */
    int compression;                    /* output_compression; -1: not given */
    unsigned accepts;                   /* 1 << format for what the Accept header allows as bytes; 0: all */
    unsigned char *transparent; /* the input picture's, as a mask, 255: transparent; NULL: it has none */
    struct picture_enhancing enhance;
    struct buf faults; /* of a dialect that lists them: JSON strings joined by commas */
    int n_faults;
};

/* under_inference: Fireworks' base path. */
void picture_wire_init(struct picture_wire *w, const struct picture_dialect *d, bool under_inference);
void picture_wire_free(struct picture_wire *w);

/* Fields of a JSON body, of which extra_body's become the body's. Aliases agree or are refused; unknown names are refused when `strict`. */
bool picture_wire_json(struct picture_wire *w, json_t *body, bool strict, struct fault *f);
/* Fields and files of a form; numbers and booleans arrive as text, an empty part counts as absent. */
bool picture_wire_form(struct picture_wire *w, const struct multipart *m, bool strict, struct fault *f);
/* What the model says about size: its ratio table, and the dialect's names for sizes and qualities. m NULL: another server has it. */
bool picture_wire_resolve(struct picture_wire *w, const struct model *m, struct fault *f);

/* ---- for the files of this folder ---- */

/* One field. What is wrong with it goes on the list in a dialect that has one; false all the same. */
bool picture_wire_field(struct picture_wire *w, const char *key, const json_t *v, struct fault *f);
/* What is wrong with the whole; param a constant. False. */
bool picture_wire_bad(struct picture_wire *w, struct fault *f, const char *param, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* When every field has been taken. ok: none was wrong. */
bool picture_wire_whole(struct picture_wire *w, bool ok, struct fault *f);
/* The input picture: a file's bytes, or "data:image/png;base64,..." in their place; `name` for the fault. */
bool picture_input(struct picture_wire *w, const char *data, size_t len, const char *name, struct fault *f);

#endif
