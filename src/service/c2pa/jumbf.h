/* jumbf.h - boxes of ISO 19566-5, which C2PA keeps its manifests in: a length, a type of four letters, content. A box "jumb" holds a description (what
 * its content is, and a label) and other boxes.
 *
 * Memory   boxes that are read point into the bytes.
 * Threads  any; no state between calls. */
#ifndef HEARTH_SERVICE_C2PA_JUMBF_H
#define HEARTH_SERVICE_C2PA_JUMBF_H

#include "base/buf.h"

/* ---- writing: a box is begun, filled and ended; jumbf_open() is a "jumb" with its description. kind: the four letters of its type -------- */

size_t jumbf_begin(struct buf *b, const char type[4]); /* what jumbf_end() wants */
size_t jumbf_open(struct buf *b, const char kind[4], const char *label);
void jumbf_end(struct buf *b, size_t begun);

/* ---- reading ------------------------------------------------------------------------------------------------------- */

struct jumbf { /* bytes that are boxes */
    const unsigned char *at, *end;
};
struct jumbf_box {
    char type[5];
    struct jumbf content; /* all behind the head */
    /* of a "jumb": */
    char kind[5];
    const char *label;  /* "" for none */
    struct jumbf boxes; /* behind the description */
};
/* False at the end, or where no box stands: then j->at is not j->end. */
bool jumbf_next(struct jumbf *j, struct jumbf_box *out);
/* The first "jumb" with this label; the first box of this type. */
bool jumbf_labelled(const struct jumbf *in, const char *label, struct jumbf_box *out);
bool jumbf_typed(const struct jumbf *in, const char type[4], struct jumbf_box *out);

#endif
