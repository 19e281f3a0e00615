/* picture_dialect.h - an API that asks for pictures: what its requests may say, and how its answers look. One struct picture_dialect each, in
 * a file that knows nothing of the other dialects, of connections or of engines. What all have in common is picture_parse.c (a request as
 * a whole), picture_fields.c (fields that several know) and picture_input.c (uploads and forms).
 *
 * Printers append to a buf, which remembers a lack of memory. */
#ifndef HEARTH_HTTP_DIALECTS_PICTURE_DIALECT_H
#define HEARTH_HTTP_DIALECTS_PICTURE_DIALECT_H

#include "http/dialects/picture_wire.h"
#include "service/reply.h"

enum { PICTURES_MOST = 10 /* of one request */ };

/* A finished picture. */
struct picture_file {
    struct reply_picture is; /* its bytes, NULL until it is there; freed with it */
    char url[400];           /* where it is to be had, for ANSWER_URL */
    int steps;               /* that it took */
};

/* What there is to print of an answer. */
struct picture_reply {
    const struct picture_wire *wire;
    const struct picture_facts *facts;
    const char *id; /* X-Request-Id */
    struct picture_file picture[PICTURES_MOST];
    int n;                     /* pictures */
    struct usage usage;        /* once it is over */
    const struct price *price; /* NULL: costs are not spoken of */
};

/* Headers of a request that some APIs read; NULL: not sent. */
struct picture_headers {
    const char *accept, *inside_json, *jpeg_quality;
};

struct picture_dialect {
    /* ---- requests ---- */
    struct json_table fields; /* rows are struct picture_field (picture_fields.h) */
    enum picture_answer answer;
    enum image_format format;
    bool any_by_zero;           /* a seed of 0 means any */
    bool wordless;              /* a strength stands for a prompt where there is an input picture */
    bool lists_faults;          /* a refusal names all that is wrong, not the first */
    const char *bad[2];         /* around a field's name: "", " " gives "n must be ..." */
    const char *prompt_missing; /* what is said then */
    /* What the headers want; the kind of the fault that *f has, or FAULT_NONE. NULL: they want nothing. */
    enum fault_kind (*negotiate)(struct picture_wire *w, const struct picture_headers *h, struct fault *f);
    bool (*check)(struct picture_wire *w, struct fault *f); /* the whole, when each field is fine; or NULL */
    /* Sizes and qualities that are this API's names for what the model has; or NULL. */
    void (*resolve)(struct picture_wire *w, const struct model *m);

    /* ---- answers ---- */
    void (*print)(struct buf *b, const struct picture_reply *r);
    /* Headers beside it; or NULL. */
    void (*headers)(const struct picture_reply *r,
                    void (*put)(void *arg, const char *name, const char *value), void *arg);
    /* A refusal of what the request says, in a form of its own; NULL: the envelope of every fault. */
    void (*print_refusal)(struct buf *b, const struct picture_wire *w, const char *message);
    /* Events of a stream, each whole; a progress may be none. All NULL: there are no streams. */
    void (*print_progress)(struct buf *b, const struct picture_reply *r, const struct reply_event *ev);
    void (*print_picture)(struct buf *b, const struct picture_reply *r, int index);
    void (*print_done)(struct buf *b, const struct picture_reply *r);
    void (*print_fault)(struct buf *b, enum fault_kind kind, const char *message);
};

extern const struct picture_dialect openai_pictures;   /* /images/generations, /edits, /variations */
extern const struct picture_dialect workflow_pictures; /* Fireworks: /workflows/.../text_to_image */
extern const struct picture_dialect sdxl_pictures;     /* Fireworks: /image_generation/... */
extern const struct picture_dialect firemoon_pictures; /* /api/v1/flux/... */
extern const struct picture_dialect express_pictures;  /* /api/generate */

#endif
