#include "service/picture_fetch.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/version.h"

enum { HOST = 256 };

struct fetch {
    struct buf *out;
    size_t max_bytes;
    double deadline;
    const atomic_bool *cancel;
    const char *listed; /* the host as the list has it, where that is an address; else NULL */
    bool too_large, forbidden;
};

/* ---- the list --------------------------------------------------------------------------------------------------------- */

/* One entry, without brackets around an address; port "" where it has none. */
struct entry {
    char host[HOST], port[8];
};

/* The next entry of a list at *at; false: there is no more. An entry that does not fit is empty, which equals no host. */
static bool next_entry(const char **at, struct entry *out)
{
    const char *s = *at + strspn(*at, ", ");
    if (!*s) return false;
    const size_t len = strcspn(s, ", ");
    *at = s + len;
    *out = (struct entry){ 0 };
    const char *end = s + len, *host_end = end, *port = NULL;
    if (*s == '[') {
        const char *close = memchr(s, ']', len);
        if (!close) return true;
        s++;
        host_end = close;
        if (close + 1 < end) port = close[1] == ':' ? close + 2 : end;
    } else {
        const char *colon = memchr(s, ':', len);
        const bool bare6 =
            colon && memchr(colon + 1, ':', (size_t)(end - colon - 1)); /* an address of IPv6 */
        if (colon && !bare6) {
            host_end = colon;
            port = colon + 1;
        }
    }
    const size_t n = (size_t)(host_end - s), n_port = port ? (size_t)(end - port) : 0;
    if (n == 0 || n >= sizeof out->host || n_port >= sizeof out->port || (port && n_port == 0)) return true;
    if (port && strspn(port, "0123456789") < n_port) return true;
    memcpy(out->host, s, n);
    memcpy(out->port, port ? port : "", n_port);
    return true;
}

bool picture_fetch_check_hosts(const char *hosts, struct err *e)
{
    struct entry entry;
    const char *at = hosts;
    while (next_entry(&at, &entry))
        if (!entry.host[0] || strpbrk(entry.host, "/@?#\\*%"))
            return err_set(e, ERR_REQUEST,
                           "\"%.200s\": expected hosts with a comma between them, each as example.com or "
                           "example.com:8080",
                           hosts);
    return true;
}

/* IPv6 addresses are compared as such: one may be written in many ways. */
static bool same_host(const char *a, const char *b)
{
    struct in6_addr x, y;
    if (inet_pton(AF_INET6, a, &x) == 1 && inet_pton(AF_INET6, b, &y) == 1)
        return memcmp(&x, &y, sizeof x) == 0;
    return strcasecmp(a, b) == 0;
}

static bool is_listed(const char *hosts, const char *host, const char *port, bool default_port)
{
    struct entry entry;
    const char *at = hosts ? hosts : "";
    while (next_entry(&at, &entry))
        if (same_host(entry.host, host) && (entry.port[0] ? !strcmp(entry.port, port) : default_port))
            return true;
    return false;
}

/* ---- addresses --------------------------------------------------------------------------------------------------------- */

static bool public4(uint32_t a)
{
    static const struct {
        uint32_t net;
        int bits;
    } not [] = {
        { 0x00000000, 8 },  /* this network */
        { 0x0a000000, 8 },  /* private */
        { 0x64400000, 10 }, /* shared by providers */
        { 0x7f000000, 8 },  /* loopback */
        { 0xa9fe0000, 16 }, /* link-local, and where clouds keep their credentials */
        { 0xac100000, 12 }, /* private */
        { 0xc0000000, 24 }, /* protocols */
        { 0xc0000200, 24 }, /* documentation */
        { 0xc0586300, 24 }, /* relays */
        { 0xc0a80000, 16 }, /* private */
        { 0xc6120000, 15 }, /* benchmarks */
        { 0xc6336400, 24 }, /* documentation */
        { 0xcb007100, 24 }, /* documentation */
        { 0xe0000000, 3 },  /* many, and reserved */
    };
    for (size_t i = 0; i < sizeof not / sizeof *not ; i++)
        if ((a ^ not [i].net) >> (32 - not [i].bits) == 0) return false;
    return true;
}

static uint32_t be32(const unsigned char *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Of what is given out (2000::/3) all but what stands for addresses of the older kind, tunnels and documentation. */
static bool public6(const unsigned char *b)
{
    static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
    if (memcmp(b, mapped, sizeof mapped) == 0) return public4(be32(b + 12));
    if ((b[0] & 0xe0) != 0x20) return false;
    const uint32_t head = be32(b);
    if (head >> 9 == 0x20010000 >> 9) return false; /* 2001::/23: protocols, tunnels */
    if (head == 0x20010db8) return false;           /* documentation */
    if (head >> 16 == 0x2002) return false;         /* 6to4 */
    return head >> 12 != 0x3fff0000 >> 12;          /* documentation */
}

bool picture_fetch_is_public(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return public4(ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr));
    if (a->sa_family == AF_INET6)
        return public6(((const struct sockaddr_in6 *)(const void *)a)->sin6_addr.s6_addr);
    return false;
}

/* Is this the address that the list names? */
static bool is_address(const struct sockaddr *a, const char *listed)
{
    char text[INET6_ADDRSTRLEN] = "";
    if (!listed) return false;
    if (a->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, text, sizeof text);
    else if (a->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, text, sizeof text);
    return *text && same_host(text, listed);
}

/* ---- a transfer -------------------------------------------------------------------------------------------------------- */

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct fetch *f = arg;
    if (purpose != CURLSOCKTYPE_IPCXN ||
        (!picture_fetch_is_public(&a->addr) && !is_address(&a->addr, f->listed))) {
        f->forbidden = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static size_t take(char *data, size_t size, size_t n, void *arg)
{
    struct fetch *f = arg;
    (void)size; /* 1 */
    f->too_large = n > f->max_bytes - f->out->len;
    if (f->too_large) return 0;
    buf_append(f->out, data, n);
    return f->out->failed ? 0 : n;
}

static int stop_if(void *arg, curl_off_t total, curl_off_t now, curl_off_t up, curl_off_t up_now)
{
    const struct fetch *f = arg;
    (void)total, (void)now, (void)up, (void)up_now;
    return f->cancel && atomic_load(f->cancel);
}

/* Host and port of a URL that may be fetched; what the transfer is to know of them. */
static bool allowed(const char *url, const char *hosts, struct entry *at, struct err *e)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *given = NULL, *user = NULL;
    bool ok = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK;
    const bool named = ok && curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK;
    *at = (struct entry){ 0 };
    if (!ok) {
        err_set(e, ERR_REQUEST, "\"%.200s\" is no URL of a picture", url);
    } else if (named || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)) {
        ok = err_set(e, ERR_REQUEST, "%.200s: expected http:// or https://, without a user's name", url);
    } else {
        size_t n = strlen(host);
        const char *h = host;
        if (*h == '[' && n > 2) h++, n -= 2;
        if (n < sizeof at->host) memcpy(at->host, h, n);
        snprintf(at->port, sizeof at->port, "%s", port);
        const bool usual = curl_url_get(u, CURLUPART_PORT, &given, CURLU_NO_DEFAULT_PORT) != CURLUE_OK;
        ok = (at->host[0] && is_listed(hosts, at->host, at->port, usual)) ||
             err_set(e, ERR_REQUEST,
                     "pictures are not fetched from %.200s: send it as a data URL "
                     "(data:image/png;base64,...); the "
                     "server's --image-hosts lists the hosts that it fetches from",
                     at->host);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(given);
    curl_free(user);
    curl_url_cleanup(u);
    return ok;
}

static bool explain(CURLcode code, long status, const struct fetch *f, const char *host, struct err *e)
{
    if (f->cancel && atomic_load(f->cancel)) return err_set(e, ERR_CANCELLED, "cancelled");
    if (f->out->failed) return err_set(e, ERR_NOMEM, "out of memory");
    if (f->forbidden)
        return err_set(e, ERR_REQUEST, "%.200s leads to an address that is not of the open internet", host);
    if (f->too_large || code == CURLE_FILESIZE_EXCEEDED)
        return err_set(e, ERR_REQUEST, "the file at %.200s is larger than %zu MB", host, f->max_bytes >> 20);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return err_set(e, ERR_REQUEST, "%.200s did not send the picture in time", host);
    if (code != CURLE_OK) return err_set(e, ERR_REQUEST, "%.200s: %s", host, curl_easy_strerror(code));
    return err_set(e, ERR_REQUEST, "%.200s answered with status %ld", host, status);
}

/* One answer. *next: where it redirects to, the caller's; NULL: it was the picture. */
static bool one_hop(struct fetch *f, const char *url, const char *hosts, char **next, struct err *e)
{
    struct entry at;
    struct in6_addr any6;
    struct in_addr any4;
    char agent[100];
    long status = 0;
    *next = NULL;
    if (!allowed(url, hosts, &at, e)) return false;
    const bool literal = inet_pton(AF_INET, at.host, &any4) == 1 || inet_pton(AF_INET6, at.host, &any6) == 1;
    f->listed = literal ? at.host : NULL;
    const double left_s = f->deadline - clock_seconds();
    if (left_s <= 0) return err_set(e, ERR_REQUEST, "%.200s did not send the picture in time", at.host);
    CURL *c = curl_easy_init();
    if (!c) return err_set(e, ERR_NOMEM, "out of memory");
    snprintf(agent, sizeof agent, "hearth/%s", hearth_version);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_PROXY, ""); /* the address that is looked at must be the host's */
    curl_easy_setopt(c, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(left_s * 1e3) + 1);
    curl_easy_setopt(c, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)f->max_bytes);
    curl_easy_setopt(c, CURLOPT_USERAGENT, agent);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, f);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, stop_if);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, f);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    const CURLcode code = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    const char *to = NULL;
    if (code == CURLE_OK) curl_easy_getinfo(c, CURLINFO_REDIRECT_URL, &to);
    bool ok = true;
    if (to) {
        *next = strdup(to);
        ok = *next || err_set(e, ERR_NOMEM, "out of memory");
        f->out->len = 0;
    } else if (code != CURLE_OK || status != 200) {
        ok = explain(code, status, f, at.host, e);
    }
    curl_easy_cleanup(c);
    return ok;
}

bool picture_fetch(struct buf *out, const char *url, const char *hosts, size_t max_bytes, double deadline,
                   const atomic_bool *cancel, struct err *e)
{
    struct fetch f = { .out = out, .max_bytes = max_bytes, .deadline = deadline, .cancel = cancel };
    char *at = NULL, *next;
    bool ok = true;
    for (int hop = 0; ok; hop++) {
        ok = one_hop(&f, at ? at : url, hosts, &next, e);
        free(at);
        at = next;
        if (!ok || !at) break;
        if (hop == PICTURE_FETCH_HOPS)
            ok = err_set(e, ERR_REQUEST, "%.200s redirects more than %d times", url, PICTURE_FETCH_HOPS);
    }
    free(at);
    return ok;
}
