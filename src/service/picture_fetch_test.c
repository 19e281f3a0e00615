/* Pictures by URL: which addresses are of the open internet, and what is fetched and what is not, from a server of our own on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "service/picture_fetch.h"

/* ---- a server that answers each path in its way ------------------------------------------------------------------------ */

struct web {
    int fd, port;
    pthread_t thread;
    atomic_int n_asked;
};

static void answer(struct web *w, int fd)
{
    char in[4096] = "", out[8192];
    size_t n = 0;
    while (n < sizeof in - 1 && !strstr(in, "\r\n\r\n")) {
        const ssize_t got = recv(fd, in + n, sizeof in - 1 - n, 0);
        if (got <= 0) return;
        in[n += (size_t)got] = 0;
    }
    char path[64] = "";
    sscanf(in, "GET %60s", path);
    atomic_fetch_add(&w->n_asked, 1);
    int len = 0;
    if (!strcmp(path, "/picture"))
        len = snprintf(out, sizeof out,
                       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nbytes");
    else if (!strcmp(path, "/large"))
        len = snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%*d", 4000, 1);
    else if (!strcmp(path, "/says-large"))
        len = snprintf(out, sizeof out,
                       "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n");
    else if (!strcmp(path, "/on"))
        len = snprintf(
            out, sizeof out,
            "HTTP/1.1 302 Found\r\nLocation: /picture\r\nContent-Length: 4\r\nConnection: close\r\n\r\nover");
    else if (!strcmp(path, "/round"))
        len = snprintf(
            out, sizeof out,
            "HTTP/1.1 302 Found\r\nLocation: /round\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    else if (!strcmp(path, "/out"))
        len = snprintf(
            out, sizeof out,
            "HTTP/1.1 302 Found\r\nLocation: http://localhost:%d/picture\r\nContent-Length: 0\r\nConnection: "
            "close\r\n\r\n",
            w->port);
    else if (!strcmp(path, "/file"))
        len = snprintf(
            out, sizeof out,
            "HTTP/1.1 302 Found\r\nLocation: file:///etc/hostname\r\nContent-Length: 0\r\nConnection: "
            "close\r\n\r\n");
    else
        len =
            snprintf(out, sizeof out, "HTTP/1.1 404 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    for (ssize_t at = 0, k; at < len; at += k) {
        k = send(fd, out + at, (size_t)(len - at), MSG_NOSIGNAL);
        if (k <= 0) return;
    }
}

static void *serve(void *arg)
{
    struct web *w = arg;
    for (int fd; (fd = accept(w->fd, NULL, NULL)) >= 0;) {
        answer(w, fd);
        close(fd);
    }
    return NULL;
}

static int open_web(void **state)
{
    static struct web w;
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;
    w.fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(w.fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(w.fd, 16), 0);
    assert_int_equal(getsockname(w.fd, (struct sockaddr *)&a, &len), 0);
    w.port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&w.thread, NULL, serve, &w), 0);
    *state = &w;
    return 0;
}

static int close_web(void **state)
{
    struct web *w = *state;
    shutdown(w->fd, SHUT_RDWR);
    pthread_join(w->thread, NULL);
    close(w->fd);
    return 0;
}

/* Fetches a URL whose %d is the server's port, as the list's are; the error, or "" and the bytes in *out. */
static const char *fetch(const struct web *w, const char *url, const char *hosts, struct buf *out)
{
    static struct err e;
    char at[200], list[200];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(at, sizeof at, url, w->port);
    if (hosts) snprintf(list, sizeof list, hosts, w->port, w->port);
#pragma GCC diagnostic pop
    e = (struct err){ 0 };
    *out = BUF_INIT(4096);
    return picture_fetch(out, at, hosts ? list : NULL, 1000, clock_seconds() + 300, NULL, &e) ? "" : e.msg;
}

static void test_fetched(void **state)
{
    const struct web *w = *state;
    static const char *const urls[] = { "http://127.0.0.1:%d/picture", "http://127.0.0.1:%d/on",
                                        "http://127.0.0.1:%d/picture#part" };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct buf got;
        const char *why = fetch(w, urls[i], "example.com, 127.0.0.1:%d", &got);
        if (*why) fail_msg("%s: %s", urls[i], why);
        assert_string_equal(got.data, "bytes");
        buf_free(&got);
    }
}

static void test_refused(void **state)
{
    struct web *w = *state;
    static const struct {
        const char *url, *hosts, *says;
        int asked; /* requests that reach the server */
    } rows[] = {
        { "http://127.0.0.1:%d/picture", NULL, "pictures are not fetched from 127.0.0.1", 0 },
        { "http://127.0.0.1:%d/picture", "", "pictures are not fetched from 127.0.0.1", 0 },
        { "http://127.0.0.1:%d/picture", "127.0.0.1", "pictures are not fetched", 0 }, /* of port 80 alone */
        { "http://127.0.0.1:%d/picture", "127.0.0.1:1", "pictures are not fetched", 0 },
        { "http://127.0.0.1:%d/picture", "evil127.0.0.1:%d,127.0.0.1.com:%d", "pictures are not fetched", 0 },
        /* A name that leads here is not the address; nor is another spelling of loopback. */
        { "http://localhost:%d/picture", "localhost:%d", "not of the open internet", 0 },
        { "http://127.0.0.2:%d/picture", "127.0.0.1:%d", "pictures are not fetched", 0 },
        { "http://2130706434:%d/picture", "127.0.0.1:%d", "pictures are not fetched", 0 },
        { "http://[::ffff:127.0.0.1]:%d/picture", "127.0.0.1:%d", "pictures are not fetched", 0 },
        { "http://[::1]:%d/picture", "127.0.0.1:%d,localhost:%d", "pictures are not fetched", 0 },
        { "http://127.0.0.1:%d@example.org/", "127.0.0.1:%d", "without a user's name", 0 },
        { "http://example.org:%d\\@127.0.0.1/", "127.0.0.1:%d", "", 0 },
        { "ftp://127.0.0.1:%d/picture", "127.0.0.1:%d", "expected http:// or https://", 0 },
        { "file:///etc/hostname", "127.0.0.1:%d", "", 0 },
        { "gopher://127.0.0.1:%d/", "127.0.0.1:%d", "", 0 },
        { "nonsense", "127.0.0.1:%d", "", 0 },
        { "http://127.0.0.1:%d/none", "127.0.0.1:%d", "answered with status 404", 1 },
        { "http://127.0.0.1:%d/large", "127.0.0.1:%d", "is larger than", 1 },
        { "http://127.0.0.1:%d/says-large", "127.0.0.1:%d", "is larger than", 1 },
        { "http://127.0.0.1:%d/round", "127.0.0.1:%d", "redirects more than 3 times", 4 },
        { "http://127.0.0.1:%d/out", "127.0.0.1:%d", "pictures are not fetched from localhost", 1 },
        { "http://127.0.0.1:%d/file", "127.0.0.1:%d", "", 1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf got;
        const int before = atomic_load(&w->n_asked);
        const char *why = fetch(w, rows[i].url, rows[i].hosts, &got);
        if (!*why) fail_msg("%s: fetched", rows[i].url);
        if (!strstr(why, rows[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].url, why, rows[i].says);
        if (atomic_load(&w->n_asked) - before != rows[i].asked)
            fail_msg("%s: %d requests", rows[i].url, atomic_load(&w->n_asked) - before);
        buf_free(&got);
    }
}

static void test_cancelled(void **state)
{
    const struct web *w = *state;
    const atomic_bool cancel = true;
    struct err e = { 0 };
    char url[80], hosts[80];
    struct buf got = BUF_INIT(4096);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/picture", w->port);
    snprintf(hosts, sizeof hosts, "127.0.0.1:%d", w->port);
    assert_false(picture_fetch(&got, url, hosts, 1000, clock_seconds() + 300, &cancel, &e));
    assert_int_equal(e.code, ERR_CANCELLED);
    assert_false(picture_fetch(&got, url, hosts, 1000, clock_seconds() - 1, NULL, &e));
    assert_non_null(strstr(e.msg, "in time"));
    buf_free(&got);
}

static void test_addresses(void **state)
{
    (void)state;
    static const char *const inside[] = { "0.0.0.0",
                                          "10.1.2.3",
                                          "100.64.0.1",
                                          "127.0.0.1",
                                          "127.255.255.254",
                                          "169.254.169.254",
                                          "172.16.0.1",
                                          "172.31.255.255",
                                          "192.168.1.1",
                                          "192.0.2.1",
                                          "198.18.0.1",
                                          "198.19.255.255",
                                          "203.0.113.9",
                                          "224.0.0.1",
                                          "240.0.0.1",
                                          "255.255.255.255",
                                          "::",
                                          "::1",
                                          "fe80::1",
                                          "fc00::1",
                                          "fd12::1",
                                          "ff02::1",
                                          "::ffff:127.0.0.1",
                                          "::ffff:10.0.0.1",
                                          "::127.0.0.1",
                                          "64:ff9b::7f00:1",
                                          "2002:7f00:1::",
                                          "2001::1",
                                          "2001:db8::1",
                                          "fec0::1" };
    static const char *const outside[] = { "1.1.1.1",         "8.8.8.8",         "100.63.0.1",
                                           "100.128.0.1",     "172.15.0.1",      "172.32.0.1",
                                           "192.167.0.1",     "192.0.1.1",       "198.17.0.1",
                                           "223.255.255.255", "2606:4700::1111", "2a00:1450::1",
                                           "::ffff:8.8.8.8" };
    for (size_t i = 0; i < sizeof inside / sizeof *inside + sizeof outside / sizeof *outside; i++) {
        const size_t n = sizeof inside / sizeof *inside;
        const char *text = i < n ? inside[i] : outside[i - n];
        struct sockaddr_in a = { .sin_family = AF_INET };
        struct sockaddr_in6 b = { .sin6_family = AF_INET6 };
        const bool four = inet_pton(AF_INET, text, &a.sin_addr) == 1;
        if (!four) assert_int_equal(inet_pton(AF_INET6, text, &b.sin6_addr), 1);
        if (picture_fetch_is_public(four ? (struct sockaddr *)&a : (struct sockaddr *)&b) != (i >= n))
            fail_msg("%s is taken for %s", text, i < n ? "public" : "private");
    }
}

static void test_lists(void **state)
{
    (void)state;
    struct err e = { 0 };
    assert_true(picture_fetch_check_hosts("example.com,img.example.org:8080, [::1]:80", &e));
    assert_true(picture_fetch_check_hosts("", &e));
    assert_false(picture_fetch_check_hosts("https://example.com", &e));
    assert_non_null(strstr(e.msg, "expected hosts with a comma"));
    assert_false(picture_fetch_check_hosts("*.example.com", &e));
    assert_false(picture_fetch_check_hosts("example.com:", &e));
    assert_false(picture_fetch_check_hosts("[::1", &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_lists),     cmocka_unit_test(test_fetched),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests_name("pictures by URL", tests, open_web, close_web);
}
