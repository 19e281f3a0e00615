/* watch.c - see watch.h.
 *
 * A client that closes sends FIN, which looks like one that merely has nothing more to say. A plain reply is given up then: a client
 * that will read it keeps its side open in practice. A stream gets a comment written at once: if the client is gone its machine answers with a
 * reset, which is an unmistakable end. */
#include "http/watch.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/exchange_inside.h"

enum { TICK_MS = 200, READERS_MS = 1000, BATCH = 64 };

struct watch {
    struct watch_times times;
    long long readers_at; /* when the readers of replies are looked at again */
    int epoll, stop_read, stop_write;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* guards what follows; taken before an exchange's lock */
    struct exchange *exchanges;
    struct link *links;
    struct exchange **by_fd;
    int n_by_fd;
    uint32_t serial;
};

static long long now_ms(void) { return (long long)(clock_seconds() * 1000) + 1; }

static void probe(struct exchange *x)
{
    pthread_mutex_lock(&x->lock);
    x->ping = true;
    pthread_mutex_unlock(&x->lock);
    exchange_wake(x);
}

static void on_event(struct watch *w, const struct epoll_event *ev)
{
    int fd = (int)(ev->data.u64 & 0xFFFFFFFF);
    struct exchange *x = fd < w->n_by_fd ? w->by_fd[fd] : NULL;
    if (!x || x->watched.serial != ev->data.u64 >> 32) return; /* it ended before we came to look */
    if (ev->events & (EPOLLHUP | EPOLLERR)) {
        exchange_abandon(x, true);
        return;
    }
    struct epoll_event again = { .events = EPOLLONESHOT,
                                 .data.u64 = ev->data.u64 }; /* reset and hang-up are always reported */
    epoll_ctl(w->epoll, EPOLL_CTL_MOD, fd, &again);
    exchange_half_closed(x);
}

/* Its event loop sees the end and cleans up. why: a constant. */
static void cut(struct link *l, const char *why)
{
    if (atomic_exchange(&l->closed, why)) return;
    intake_cut(l->fd);
}

/* Whether bytes of a reply wait and the client has taken none of them for `limit_ms`. */
static bool stalled(struct link *l, long long now, double limit_ms)
{
    struct tcp_info t = { 0 };
    socklen_t n = sizeof t;
    if (getsockopt(l->fd, IPPROTO_TCP, TCP_INFO, &t, &n)) return false;
    if (t.tcpi_bytes_acked != l->acked || !l->acked_ms || (!t.tcpi_notsent_bytes && !t.tcpi_unacked)) {
        l->acked = t.tcpi_bytes_acked;
        l->acked_ms = now;
    }
    return (double)(now - l->acked_ms) > limit_ms;
}

static void look_at_link(struct watch *w, struct link *l, long long now, bool readers)
{
    const int phase = atomic_load(&l->intake.phase);
    const double sent = (double)(now - atomic_load(&l->intake.since_ms)),
                 silent = (double)(now - atomic_load(&l->intake.byte_ms));
    if (phase == INTAKE_SENDING && sent > w->times.request_s * 1000)
        cut(l, "the request was not sent within the time for it (request-time)");
    else if (phase == INTAKE_SENDING && silent > w->times.idle_s * 1000)
        cut(l, "the client stopped sending in the middle of a request (idle-time)");
    else if (phase == INTAKE_IDLE && silent > w->times.idle_s * 1000)
        cut(l, "silent between requests (idle-time)");
    if (!atomic_load(&l->replying))
        l->acked_ms = 0;
    else if (readers && stalled(l, now, w->times.read_s * 1000))
        cut(l, "the client does not read its reply (read-time)");
}

static void tick(struct watch *w)
{
    const double now = clock_seconds();
    for (struct exchange *x = w->exchanges; x; x = x->watched.next) {
        pthread_mutex_lock(&x->lock);
        bool silent =
            x->state == EXCHANGE_STREAMING && x->suspended && now - x->last_write > w->times.keepalive_s;
        bool late = w->times.run_s > 0 && now - x->whole > w->times.run_s && !x->timed_out &&
                    x->state != EXCHANGE_SENT;
        pthread_mutex_unlock(&x->lock);
        if (late)
            exchange_abandon(x, false);
        else if (silent)
            probe(x);
    }
    const long long ms = now_ms();
    const bool readers = ms >= w->readers_at;
    if (readers) w->readers_at = ms + READERS_MS;
    for (struct link *l = w->links; l; l = l->next) look_at_link(w, l, ms, readers);
}

static void *watch_main(void *arg)
{
    struct watch *w = arg;
    long long next = now_ms() + TICK_MS;
    for (;;) {
        struct epoll_event ev[BATCH];
        long long wait = next - now_ms();
        int n = epoll_wait(w->epoll, ev, BATCH, wait > 0 ? (int)wait : 0);
        pthread_mutex_lock(&w->lock);
        for (int i = 0; i < n; i++) {
            if (ev[i].data.u64 == UINT64_MAX) {
                pthread_mutex_unlock(&w->lock);
                return NULL;
            }
            on_event(w, &ev[i]);
        }
        if (now_ms() >= next) {
            tick(w);
            next = now_ms() + TICK_MS;
        }
        pthread_mutex_unlock(&w->lock);
    }
}

bool watch_new(struct watch **out, const struct watch_times *times, struct err *e)
{
    struct watch *w = calloc(1, sizeof *w);
    int pipe_fd[2] = { -1, -1 };
    if (!w) return err_set(e, ERR_NOMEM, "out of memory");
    *w = (struct watch){ .times = *times, .stop_read = -1, .stop_write = -1 };
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    pthread_mutex_init(&w->lock, NULL);
    struct epoll_event stop = { .events = EPOLLIN, .data.u64 = UINT64_MAX };
    if (w->epoll >= 0 && !pipe2(pipe_fd, O_CLOEXEC)) {
        w->stop_read = pipe_fd[0];
        w->stop_write = pipe_fd[1];
        w->running = !epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->stop_read, &stop) &&
                     !pthread_create(&w->thread, NULL, watch_main, w);
    }
    if (!w->running) {
        watch_free(w);
        return err_set(e, ERR_IO, "the watch thread could not be started");
    }
    *out = w;
    return true;
}

void watch_free(struct watch *w)
{
    if (!w) return;
    if (w->running) {
        close(w->stop_write); /* its other end wakes the thread: nothing about that can fail */
        w->stop_write = -1;
        pthread_join(w->thread, NULL);
    }
    if (w->epoll >= 0) close(w->epoll);
    if (w->stop_read >= 0) close(w->stop_read);
    if (w->stop_write >= 0) close(w->stop_write);
    pthread_mutex_destroy(&w->lock);
    free(w->by_fd);
    free(w);
}

static bool room_for(struct watch *w, int fd)
{
    if (fd < w->n_by_fd) return true;
    int n = w->n_by_fd ? w->n_by_fd : 256;
    while (n <= fd) n *= 2;
    struct exchange **grown = realloc(w->by_fd, (size_t)n * sizeof *grown);
    if (!grown) return false;
    memset(grown + w->n_by_fd, 0, (size_t)(n - w->n_by_fd) * sizeof *grown);
    w->by_fd = grown;
    w->n_by_fd = n;
    return true;
}

void watch_add(struct watch *w, struct exchange *x, int fd)
{
    pthread_mutex_lock(&w->lock);
    if (!++w->serial) w->serial = 1;
    x->watched = (struct watched){ .next = w->exchanges, .fd = fd, .serial = w->serial };
    if (w->exchanges) w->exchanges->watched.prev = x;
    w->exchanges = x;
    if (fd >= 0 && room_for(w, fd)) {
        struct epoll_event ev = { .events = EPOLLRDHUP | EPOLLONESHOT,
                                  .data.u64 = (uint64_t)w->serial << 32 | (uint32_t)fd };
        w->by_fd[fd] = x;
        epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev);
    }
    pthread_mutex_unlock(&w->lock);
}

void watch_remove(struct watch *w, struct exchange *x)
{
    if (!x->watched.serial) return;
    pthread_mutex_lock(&w->lock);
    struct watched *d = &x->watched;
    if (d->prev)
        d->prev->watched.next = d->next;
    else
        w->exchanges = d->next;
    if (d->next) d->next->watched.prev = d->prev;
    if (d->fd >= 0 && d->fd < w->n_by_fd && w->by_fd[d->fd] == x) {
        w->by_fd[d->fd] = NULL;
        epoll_ctl(w->epoll, EPOLL_CTL_DEL, d->fd, NULL);
    }
    d->serial = 0;
    pthread_mutex_unlock(&w->lock);
}

void watch_abandon_all(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    for (struct exchange *x = w->exchanges; x; x = x->watched.next) exchange_abandon(x, false);
    pthread_mutex_unlock(&w->lock);
}

void watch_close_all(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    for (struct link *l = w->links; l; l = l->next) cut(l, "the server is stopping");
    pthread_mutex_unlock(&w->lock);
}

struct link *watch_open(struct watch *w, int fd, const struct sockaddr *from, size_t max_header)
{
    struct link *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->fd = fd;
    l->peer = peer_of(from);
    if (!intake_open(&l->intake, fd, max_header)) {
        free(l);
        return NULL;
    }
    pthread_mutex_lock(&w->lock);
    l->next = w->links;
    if (w->links) w->links->prev = l;
    w->links = l;
    pthread_mutex_unlock(&w->lock);
    return l;
}

void watch_close(struct watch *w, struct link *l)
{
    if (!l) return;
    pthread_mutex_lock(&w->lock);
    if (l->prev)
        l->prev->next = l->next;
    else
        w->links = l->next;
    if (l->next) l->next->prev = l->prev;
    pthread_mutex_unlock(&w->lock);
    const char *why = atomic_load(&l->closed);
    if (why && atomic_load(&l->intake.phase) == INTAKE_SENDING) log_info("a connection was closed: %s", why);
    intake_close(&l->intake);
    free(l);
}
