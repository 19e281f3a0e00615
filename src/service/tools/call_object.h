/* call_object.h - a call that is a JSON object, {"name": ..., "arguments": {...}}, or only the arguments of one; said while it comes.
 *
 * Nothing is said before it is known that this is a call: a name is there and the arguments begin as an object. From then on the arguments go
 * out as they come. Should they break later they are closed so that they parse, and the call ends there.
 * Threads  one owner at a time. */
#ifndef HEARTH_SERVICE_TOOLS_CALL_OBJECT_H
#define HEARTH_SERVICE_TOOLS_CALL_OBJECT_H

#include "service/reply.h"
#include "service/tools/json_stream.h"

enum object_step {
    OBJECT_MORE,
    OBJECT_CALL,        /* a call; it ended with this byte */
    OBJECT_CALL_BEFORE, /* a call; it ended `back` bytes before this one, which was not taken */
    OBJECT_NONE         /* no call; nothing was said */
};

struct call_object {
    int at;
    bool marked; /* a mark stood in front: other members may be there, and arguments may be missing */
    int key;     /* whose value it is */
    struct json_stream json;
    struct buf token;  /* key or value being read */
    struct buf name;   /* decoded */
    struct buf ready;  /* arguments to be said */
    bool named, begun; /* the name is known; the arguments have begun */
    bool ended;        /* so have they ended */
    bool called;       /* the call has been said */
    size_t back;
};

void call_object_begin(struct call_object *o, bool marked); /* the first byte is its { */
/* The name is known already: what comes are the arguments, whose first byte is {. */
bool call_object_begin_arguments(struct call_object *o, const char *name, size_t len);
void call_object_free(struct call_object *o);
/* false: no memory. */
bool call_object_feed(struct call_object *o, char c, enum object_step *step, struct reply_out *out);
/* All that has been fed is to be said, as far as it can; at the end (whole) what could not be closed, too. */
bool call_object_settle(struct call_object *o, bool whole, struct reply_out *out);

#endif
