/* router_test.c - calls over a socket of this machine: a plain answer, a stream, a client that leaves, and a router that is closed under its calls. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "service/route/router.h"

/* ---- an upstream: one connection after the other, each answered by its path -------------------------------------------- */

struct server {
    int fd, port;
    pthread_t thread;
    atomic_int n_asked, n_ended;
};

static bool say(int fd, const char *text)
{
    for (size_t n = strlen(text); n;) {
        const ssize_t done = send(fd, text, n, MSG_NOSIGNAL);
        if (done <= 0) return false;
        text += done;
        n -= (size_t)done;
    }
    return true;
}

#define EVENT(text) "data: {\"model\":\"t\",\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}\n\n"
#define LAST "data: {\"model\":\"t\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USED "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n"
#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

static void answer_one(struct server *s, int fd)
{
    char head[8192] = "";
    size_t n = 0;
    ssize_t got;
    while (!strstr(head, "\"model\"") && n < sizeof head - 1 &&
           (got = recv(fd, head + n, sizeof head - 1 - n, 0)) > 0)
        head[n += (size_t)got] = 0;
    atomic_fetch_add(&s->n_asked, 1);
    if (strstr(head, "/plain/")) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 64\r\nConnection: "
                "close\r\n\r\n"
                "{\"model\":\"t\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2 }}");
    } else if (strstr(head, "/stream/")) {
        say(fd, STREAM EVENT("a") EVENT("b") LAST USED "data: [DONE]\n\n");
    } else if (strstr(head, "/ever/") && say(fd, STREAM)) {
        while (say(fd, EVENT("again and again and again"))) {
        }
    } else if (strstr(head, "/hang/")) {
        while (recv(fd, head, sizeof head, 0) > 0) {
        }
    } else if (atomic_load(&s->n_asked) % 2) { /* every other time */
        say(fd, "HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    } else {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: "
                "close\r\n\r\n{}");
    }
    close(fd);
    atomic_fetch_add(&s->n_ended, 1);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0;) answer_one(s, fd);
    return NULL;
}

static void server_open(struct server *s)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof a;
    *s = (struct server){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) };
    assert_true(s->fd >= 0 && !bind(s->fd, (struct sockaddr *)&a, n) && !listen(s->fd, 16));
    assert_false(getsockname(s->fd, (struct sockaddr *)&a, &n));
    s->port = ntohs(a.sin_port);
    assert_false(pthread_create(&s->thread, NULL, serve, s));
}

static void server_close(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

/* ---- who waits ------------------------------------------------------------------------------------------------------- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_ready, n_wakes;
};

static void on_ready(void *arg)
{
    struct waiter *w = arg;
    pthread_mutex_lock(&w->lock);
    w->n_ready++;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void on_wake(void *arg)
{
    struct waiter *w = arg;
    pthread_mutex_lock(&w->lock);
    w->n_wakes++;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

struct fixture {
    struct server server;
    struct router *router;
    struct waiter waiter;
    atomic_bool stop;
};

static void fixture_open(struct fixture *f)
{
    char text[2000];
    struct upstreams *u = NULL;
    struct err e;
    server_open(&f->server);
    f->waiter = (struct waiter){ .n_ready = 0 };
    pthread_mutex_init(&f->waiter.lock, NULL);
    pthread_cond_init(&f->waiter.changed, NULL);
    atomic_init(&f->stop, false);
    int n = snprintf(text, sizeof text, "version: 1\nupstreams:\n");
    for (const char *const *name = (const char *const[]){ "plain", "stream", "ever", "hang", "other", NULL };
         *name; name++)
        n += snprintf(text + n, sizeof text - (size_t)n,
                      "  - { name: %s, base_url: \"http://127.0.0.1:%d/%s\", backoff_s: 0.01, connect_s: "
                      "300, models: [{ name: %s }] }\n",
                      *name, f->server.port, *name, *name);
    if (!upstreams_parse(&u, "r", text, (size_t)n, &e)) fail_msg("%s", e.msg);
    assert_true(router_open(&f->router, u, &(struct router_options){ .shadow_log = "" }, &e));
}

static void fixture_close(struct fixture *f)
{
    router_close(f->router);
    server_close(&f->server);
    pthread_mutex_destroy(&f->waiter.lock);
    pthread_cond_destroy(&f->waiter.changed);
}

static struct call *start(struct fixture *f, const char *model, bool stream)
{
    struct call *c = NULL;
    struct plan plan;
    struct err e;
    int again;
    const struct routed *route = router_find(f->router, model, "", 0);
    const struct call_request q = { .path = "/v1/x",
                                    .endpoint = "/x",
                                    .body = "{\"model\":\"x\"}",
                                    .len = 13,
                                    .model = "ours",
                                    .stream = stream,
                                    .hides_usage = true,
                                    .n_choices = 1,
                                    .id = "r",
                                    .stop = &f->stop,
                                    .ready = on_ready,
                                    .wake = on_wake,
                                    .arg = &f->waiter };
    router_plan(f->router, route, &(struct usage){ 0 }, false, 0, &plan, &again);
    assert_int_equal(plan.n, 1);
    if (!call_start(&c, f->router, &plan, &q, &e)) fail_msg("%s", e.msg);
    return c;
}

static void wait_ready(struct fixture *f, int n)
{
    pthread_mutex_lock(&f->waiter.lock);
    while (f->waiter.n_ready < n) pthread_cond_wait(&f->waiter.changed, &f->waiter.lock);
    pthread_mutex_unlock(&f->waiter.lock);
}

static void test_plain(void **state)
{
    (void)state;
    struct fixture f;
    struct err e = { ERR_NONE, "" };
    struct buf b = BUF_INIT(0);
    struct usage u;
    struct price p;
    int again;
    fixture_open(&f);
    struct call *c = start(&f, "plain", false);
    wait_ready(&f, 1);
    if (call_outcome(c, &e, &again) != CALL_ANSWERED) fail_msg("%s", e.msg);
    assert_true(call_answer(c, &b));
    assert_string_equal(b.data,
                        "{\"model\":\"ours\",\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2 }}");
    call_used(c, &u, &p);
    assert_true(u.prompt_tokens == 3 && u.completion_tokens == 2);
    call_free(c);
    buf_clear(&b);
    c = start(&f, "other", false); /* fails first, or else answers: the retry does */
    wait_ready(&f, 2);
    if (call_outcome(c, &e, &again) != CALL_ANSWERED) fail_msg("%s", e.msg);
    call_free(c);
    buf_free(&b);
    fixture_close(&f);
}

static void test_stream(void **state)
{
    (void)state;
    struct fixture f;
    struct err e = { ERR_NONE, "" };
    struct buf b = BUF_INIT(0);
    enum call_next is;
    bool last = false;
    int again;
    fixture_open(&f);
    struct call *c = start(&f, "stream", true);
    wait_ready(&f, 1);
    if (call_outcome(c, &e, &again) != CALL_ANSWERED) fail_msg("%s", e.msg);
    for (;;) {
        pthread_mutex_lock(&f.waiter.lock);
        const int seen = f.waiter.n_wakes;
        pthread_mutex_unlock(&f.waiter.lock);
        is = call_next(c, &b, &e);
        last |= is == CALL_LAST;
        if (is == CALL_END || is == CALL_BROKEN) break;
        pthread_mutex_lock(&f.waiter.lock);
        while (is == CALL_NOTHING && f.waiter.n_wakes == seen)
            pthread_cond_wait(&f.waiter.changed, &f.waiter.lock);
        pthread_mutex_unlock(&f.waiter.lock);
    }
    if (is != CALL_END) fail_msg("%s", e.msg);
    assert_true(last);
    assert_non_null(
        strstr(b.data, "{\"model\":\"ours\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: "));
    assert_null(strstr(b.data, "usage"));
    assert_string_equal(b.data + b.len - 14, "data: [DONE]\n\n");
    call_free(c);
    buf_free(&b);
    fixture_close(&f);
}

/* Of a stream without an end nothing is taken, and its reader leaves; so does one that got no answer. */
static void test_who_leaves(void **state)
{
    (void)state;
    struct fixture f;
    struct err e = { ERR_NONE, "" };
    int again;
    fixture_open(&f);
    struct call *c = start(&f, "ever", true);
    wait_ready(&f, 1);
    assert_int_equal(call_outcome(c, &e, &again), CALL_ANSWERED);
    call_free(c); /* the server goes on with the next one once its connection is closed */
    c = start(&f, "hang", false);
    while (atomic_load(&f.server.n_asked) < 2) usleep(1000);
    atomic_store(&f.stop, true);
    wait_ready(&f, 2);
    assert_int_equal(call_outcome(c, &e, &again), CALL_FAILED);
    assert_int_equal(e.code, ERR_CANCELLED);
    call_free(c);
    fixture_close(&f);
    assert_int_equal(atomic_load(&f.server.n_ended), 2);
}

/* What nobody waits for any more ends with the router, and a shadow too. */
static void test_closed_under_calls(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    struct routed shadowed = *router_find(f.router, "hang", "", 0);
    shadowed.shadow =
        (struct target){ .upstream = 3, .model = &router_upstreams(f.router)->v[3].model[0], .weight = 1 };
    shadowed.shadow_share = 1;
    const struct call_request q = { .path = "/v1/x",
                                    .endpoint = "/x",
                                    .body = "{\"model\":\"x\"}",
                                    .len = 13,
                                    .model = "ours",
                                    .n_choices = 1,
                                    .id = "r" };
    struct call *c = start(&f, "hang", false);
    router_shadow(f.router, &shadowed, &q);
    while (atomic_load(&f.server.n_asked) < 1) usleep(1000);
    call_free(c);
    fixture_close(&f);
    assert_true(atomic_load(&f.server.n_ended) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_plain), cmocka_unit_test(test_stream),
                                        cmocka_unit_test(test_who_leaves),
                                        cmocka_unit_test(test_closed_under_calls) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
