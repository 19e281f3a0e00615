/* picture_wire.h - image requests as the three APIs spell them, and what each wants back. Parse only: no model is touched. */
#ifndef HEARTH_HTTP_DIALECTS_PICTURE_WIRE_H
#define HEARTH_HTTP_DIALECTS_PICTURE_WIRE_H

#include "http/error.h"
#include "http/multipart.h"
#include "service/drawing.h"

enum picture_style {
    PICTURES_OPENAI = 1,   /* /images/generations, /images/edits, /images/variations */
    PICTURES_WORKFLOW = 2, /* /workflows/.../text_to_image */
    PICTURES_SDXL = 4,     /* /image_generation/... */
    PICTURES_FIREMOON = 8  /* /api/v1/flux/... */
};

/* EDIT and VARY start from an input picture; VARY does without a prompt. */
enum picture_task { PICTURE_GENERATE, PICTURE_EDIT, PICTURE_VARY };

enum picture_answer { ANSWER_URL, ANSWER_B64, ANSWER_BYTES, ANSWER_JSON };

struct picture_wire {
    struct picture_request q;
    enum picture_style style;
    enum picture_answer answer;
    enum picture_task task;
    bool strict;         /* fields that no API defines are refused */
    bool stream;         /* events instead of one reply */
    bool fireworks;      /* under /inference: seed 0 means a new one */
    int partial;         /* previews of each picture in a stream; below 0: one after every step */
    char ratio[8];       /* aspect_ratio, resolved once the model is known; "" */
    char asked_size[32]; /* size as text, for mapping DALL-E's */
    char quality[16];
    /* Of the SDXL endpoints' image to image, -1 where not given: how near to stay, and which share of the steps to leave out */
    double image_strength, schedule_start;
    bool by_schedule; /* init_image_mode */
    bool form;        /* numbers arrive as text */
    bool has_n, has_answer;
    bool gpt, revises;          /* asked for by the name of a GPT image model, of DALL-E 3 */
    int compression;            /* output_compression; -1: not given */
    unsigned accepts;           /* 1 << format for what the Accept header allows as bytes; 0: all */
    unsigned char *transparent; /* the input picture's, as a mask, 255: transparent; NULL: it has none */
    struct buf faults;          /* Firemoon lists every fault: JSON strings joined by commas */
    int n_faults;
};

void picture_wire_init(struct picture_wire *w, enum picture_style style, bool fireworks);
void picture_wire_free(struct picture_wire *w);

/* Fields of a JSON body. Aliases agree or are refused; unknown names are refused when `strict`. */
bool picture_wire_json(struct picture_wire *w, const json_t *body, bool strict, struct fault *f);
/* Fields and files of a form; numbers and booleans arrive as text, an empty part counts as absent. */
bool picture_wire_form(struct picture_wire *w, const struct multipart *m, bool strict, struct fault *f);
/* What the model says about size: its ratio table, DALL-E's names for sizes and qualities. */
bool picture_wire_resolve(struct picture_wire *w, const struct model *m, struct fault *f);
/* Content negotiation of the workflow endpoints; false: nothing of what the client accepts can be given (406). */
bool picture_wire_accept(struct picture_wire *w, const char *accept, const char *inside_json);

#endif
