/* framing.h - where a request ends: its block of headers and the chunks of its body, as pure functions over bytes.
 *
 * Stricter than the library that parses the request afterwards, because what two readers of the same bytes divide differently is how a
 * second request is smuggled in the first one's body (RFC 9112, sections 2.2, 3, 5.1, 6.3, 7.1): lines end in CRLF, nothing stands between
 * a header's name and its colon, no control characters, one way to say how long the body is.
 *
 * What passes is written anew in one spelling, so that the library sees nothing that was not understood here. A request that does not pass
 * is replaced by one without headers or body, so that its answer comes in turn behind those of earlier requests. */
#ifndef HEARTH_HTTP_FRAMING_H
#define HEARTH_HTTP_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "http/error.h"

enum { FRAMING_MAX_HEADERS = 128, FRAMING_MAX_QUERY = 128, FRAMING_CHUNK_LINE = 1024 };

enum framing { FRAMING_MORE, FRAMING_DONE, FRAMING_BAD };

/* The answer to a request that cannot be divided. why is a constant. */
struct framing_fault {
    enum fault_kind kind;
    const char *why;
};

/* A block of headers from its first byte. */
struct framing_head {
    size_t line;     /* for framing_head(): where the line begins that is not whole yet; 0 at first */
    size_t used;     /* bytes of the block */
    bool chunked;    /* how the body comes; else it has `length` bytes */
    uint64_t length; /* 0: no body */
    struct framing_fault fault;
};

/* Looks at p[0..n), of which earlier calls saw a part (h->line remembers how much). DONE: out has the request as the library
 * shall see it. BAD: h->fault says why, out has the request that stands for it. `limit`: bytes a block may have. */
enum framing framing_head(struct framing_head *h, const char *p, size_t n, size_t limit, struct buf *out);

/* The line in front of a chunk. *used: its bytes; *size: of the chunk. Extensions are passed over. */
enum framing framing_chunk(const char *p, size_t n, size_t *used, uint64_t *size,
                           struct framing_fault *fault);

/* One line of what may follow the last chunk. *used: its bytes, 2 for the empty one that ends the body. */
enum framing framing_trailer(const char *p, size_t n, size_t *used, struct framing_fault *fault);

#endif
