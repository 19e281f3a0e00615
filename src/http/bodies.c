/* bodies.c - see bodies.h. */
#include "http/bodies.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct bodies_of {
    struct bodies_of *next;
    struct peer peer;
    size_t bytes;
};

struct peer peer_of(const struct sockaddr *a)
{
    struct peer p = { .v6 = false };
    if (a && a->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, a, sizeof v4);
        memcpy(p.bytes, &v4.sin_addr, 4);
        p.address[10] = p.address[11] = 0xff;
        memcpy(p.address + 12, &v4.sin_addr, 4);
    } else if (a && a->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, a, sizeof v6);
        p.v6 = !IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
        memcpy(p.bytes, v6.sin6_addr.s6_addr + (p.v6 ? 0 : 12), p.v6 ? 8 : 4);
        memcpy(p.address, &v6.sin6_addr, 16);
    }
    return p;
}

static struct bodies_of **find(struct bodies *b, const struct peer *p)
{
    unsigned h = p->v6;
    for (int i = 0; i < 8; i++) h = h * 31 + p->bytes[i];
    struct bodies_of **at = &b->bucket[h % BODIES_BUCKETS];
    while (*at && ((*at)->peer.v6 != p->v6 || memcmp((*at)->peer.bytes, p->bytes, 8))) at = &(*at)->next;
    return at;
}

void bodies_init(struct bodies *b, size_t total, size_t share)
{
    *b = (struct bodies){ .total = total, .share = share };
    pthread_mutex_init(&b->lock, NULL);
}

void bodies_free(struct bodies *b)
{
    for (int i = 0; i < BODIES_BUCKETS; i++) {
        while (b->bucket[i]) {
            struct bodies_of *o = b->bucket[i];
            b->bucket[i] = o->next;
            free(o);
        }
    }
    pthread_mutex_destroy(&b->lock);
}

enum bodies_answer bodies_take(struct bodies *b, const struct peer *p, size_t n)
{
    enum bodies_answer answer = BODIES_TAKEN;
    pthread_mutex_lock(&b->lock);
    struct bodies_of **at = find(b, p), *o = *at;
    if (n > b->total - b->taken)
        answer = BODIES_FULL;
    else if (n > b->share - (o ? o->bytes : 0))
        answer = BODIES_SHARE_FULL;
    else if (!o && (o = calloc(1, sizeof *o)))
        o->peer = *p, *at = o;
    if (answer == BODIES_TAKEN && !o) answer = BODIES_NO_MEMORY;
    if (answer == BODIES_TAKEN) {
        o->bytes += n;
        b->taken += n;
    }
    pthread_mutex_unlock(&b->lock);
    return answer;
}

void bodies_give(struct bodies *b, const struct peer *p, size_t n)
{
    if (!n) return;
    pthread_mutex_lock(&b->lock);
    struct bodies_of **at = find(b, p), *o = *at;
    if (o) {
        o->bytes -= n;
        b->taken -= n;
        if (!o->bytes) {
            *at = o->next;
            free(o);
        }
    }
    pthread_mutex_unlock(&b->lock);
}
