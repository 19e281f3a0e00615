/* call_reader.h - the reader of answers with calls of tools, for every family: what differs is a table of marks.
 *
 * What is no call in the end is text, without the marks that stood around it; white space between a call and text that never comes is
 * dropped. Never said: a mark, or what may still become one.
 * Threads  one owner at a time. */
#ifndef HEARTH_SERVICE_TOOLS_CALL_READER_H
#define HEARTH_SERVICE_TOOLS_CALL_READER_H

#include "base/buf.h"
#include "service/tools/call_object.h"

enum call_body { /* what a call may look like; together as bits */
                 CALL_OBJECT =
                     1, /* {"name": ..., "arguments": ...}, and further ones behind it, with ; or nothing between */
                 CALL_ARRAY = 2,           /* a list of them */
                 CALL_PYTHON = 4,          /* [f(a=1), g()] */
                 CALL_METHOD = 8,          /* f.call(a=1) */
                 CALL_NAME_ARGUMENTS = 16, /* f[ARGS]{...} */
};

struct call_mark {
    const char *text;
    enum {
        CALL_OPENS,    /* one of the family's bodies follows */
        CALL_FUNCTION, /* NAME>{...} follows */
        CALL_TYPED, /* TYPE, call_separator, NAME, a line break and fenced arguments; or NAME, call_separator and arguments */
        CALL_DROPPED /* closes or parts; stands for nothing */
    } is;
};

struct call_family {
    const struct call_mark *marks; /* up to one without text */
    unsigned bodies;               /* behind a mark */
    unsigned first;                /* without a mark, in front of all text */
    const char *separator;         /* of CALL_TYPED */
};

struct call_reader { /* zeroed, it waits for the answer's first byte */
    int at;
    struct buf in;       /* the text, from where it is not settled */
    size_t pos;          /* read so far of it */
    size_t start;        /* where what may be a call began: back to there if it is none */
    bool end, cut;       /* no more comes */
    bool said;           /* some text */
    bool tried;          /* it was seen that the answer does not begin with a call */
    bool called;         /* a call or a mark has been there */
    bool marked;         /* a mark opened what is being read */
    int list;            /* inside one: of which kind */
    size_t name, n_name; /* within `in` */
    char quote;          /* in a call as Python writes it */
    int depth;
    struct call_object object;
};

/* For a family's struct reply_reader. */
bool call_reader_feed(struct call_reader *r, const struct call_family *f, const char *text, size_t len,
                      struct reply_out *out);
bool call_reader_flush(struct call_reader *r, const struct call_family *f, bool cut, struct reply_out *out);
void call_reader_free(struct call_reader *r);

/* Defines `name`, a struct reply_reader over `family`, a struct call_family. */
#define CALL_READER(name, family_name, family, nine_letters)                                                 \
    static bool name##_feed(void *state, const char *text, size_t len, struct reply_out *out)                \
    {                                                                                                        \
        return call_reader_feed(state, &(family), text, len, out);                                           \
    }                                                                                                        \
    static bool name##_flush(void *state, bool cut, struct reply_out *out)                                   \
    {                                                                                                        \
        return call_reader_flush(state, &(family), cut, out);                                                \
    }                                                                                                        \
    static void name##_release(void *state) { call_reader_free(state); }                                     \
    static const struct reply_reader name = { .family = (family_name),                                       \
                                              .state_bytes = sizeof(struct call_reader),                     \
                                              .feed = name##_feed,                                           \
                                              .flush = name##_flush,                                         \
                                              .release = name##_release,                                     \
                                              .short_ids = (nine_letters) }

#endif
