/* bodies.h - how much memory the bodies of requests may take together, and how much of it one address.
 *
 * Counted as bytes arrive, not as they are announced, and given back when the request is on its model's queue or answered.
 * Threads  any. */
#ifndef HEARTH_HTTP_BODIES_H
#define HEARTH_HTTP_BODIES_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

/* Who sends: an IPv4 address, or the first half of an IPv6 one, which is what one customer of a provider gets. */
struct peer {
    unsigned char bytes[8];
    bool v6;
    unsigned char address[16]; /* the whole, as IPv6 has it; not compared */
};
struct peer peer_of(const struct sockaddr *a);

enum { BODIES_BUCKETS = 256 };

struct bodies {
    size_t total, share;  /* bytes */
    pthread_mutex_t lock; /* guards what follows */
    size_t taken;
    struct bodies_of *bucket[BODIES_BUCKETS]; /* addresses that have bytes here */
};

enum bodies_answer { BODIES_TAKEN, BODIES_FULL, BODIES_SHARE_FULL, BODIES_NO_MEMORY };

void bodies_init(struct bodies *b, size_t total, size_t share);
void bodies_free(struct bodies *b);
/* n more bytes for this address. Nothing is counted unless the answer is BODIES_TAKEN. */
enum bodies_answer bodies_take(struct bodies *b, const struct peer *p, size_t n);
void bodies_give(struct bodies *b, const struct peer *p, size_t n);

#endif
