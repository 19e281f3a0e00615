/* s3_place.c - see s3_place.h. */
#include "store/s3_place.h"

#include <stdio.h>
#include <string.h>

static const char lower[] = "abcdefghijklmnopqrstuvwxyz0123456789",
                  safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=/";

/* The rules of S3: 3 to 63 lower-case letters, digits, dots and hyphens, between letters or digits. */
static bool bucket_ok(const char *s, size_t n)
{
    if (n < 3 || n >= S3_BUCKET || !strchr(lower, s[0]) || !strchr(lower, s[n - 1])) return false;
    for (size_t i = 0; i < n; i++)
        if (!strchr(lower, s[i]) && s[i] != '-' && (s[i] != '.' || s[i - 1] == '.')) return false;
    return true;
}

/* What needs no escaping in a URL, and leads nowhere else. */
static bool prefix_ok(const char *s)
{
    return strspn(s, safe) == strlen(s) && *s != '/' && !strstr(s, "//") && !strstr(s, "..") &&
           !strstr(s, "./");
}

static bool endpoint_ok(const char *s)
{
    const char *host = !strncmp(s, "http://", 7) ? s + 7 : !strncmp(s, "https://", 8) ? s + 8 : NULL;
    if (!host || !*host || *host == '/' || strstr(host, "..")) return false;
    const size_t n = strcspn(host, "/");
    if (host[n] && host[n + 1]) return false; /* a path: the bucket's place is there */
    for (size_t i = 0; i < n; i++)
        if (!strchr(safe, host[i]) && !strchr(":[]", host[i])) return false;
    return true;
}

bool s3_place_parse(struct s3_place *p, const char *where, const char *endpoint, const char *region,
                    struct err *e)
{
    struct s3_place out = { 0 };
    int n;
    if (strncmp(where, "s3://", 5))
        return err_set(e, ERR_REQUEST, "files must be a folder or s3://BUCKET/PREFIX, got \"%.200s\"", where);
    const char *bucket = where + 5, *slash = strchr(bucket, '/'), *prefix = slash ? slash + 1 : "";
    const size_t bucket_n = slash ? (size_t)(slash - bucket) : strlen(bucket), prefix_n = strlen(prefix);
    if (!bucket_ok(bucket, bucket_n))
        return err_set(
            e, ERR_REQUEST,
            "files %.200s: a bucket's name is 3 to 63 lower-case letters, digits, dots and hyphens", where);
    if (!prefix_ok(prefix) || prefix_n + 2 > S3_PREFIX)
        return err_set(e, ERR_REQUEST,
                       "files %.200s: behind the bucket stand letters, digits and -_.=/ and no empty part",
                       where);
    snprintf(out.bucket, sizeof out.bucket, "%.*s", (int)bucket_n, bucket);
    snprintf(out.prefix, sizeof out.prefix, "%s%s", prefix,
             prefix_n && prefix[prefix_n - 1] != '/' ? "/" : "");
    if (!*region || strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(region) ||
        strlen(region) > 40)
        return err_set(e, ERR_REQUEST, "s3-region \"%.60s\" is no region", region);
    if (*endpoint && !endpoint_ok(endpoint))
        return err_set(
            e, ERR_REQUEST,
            "s3-endpoint must be a URL without a path, as https://minio.example:9000, got \"%.200s\"",
            endpoint);
    const size_t end = strlen(endpoint);
    if (*endpoint)
        n = snprintf(out.base, sizeof out.base, "%.*s/%s/%s", (int)(end - (endpoint[end - 1] == '/')),
                     endpoint, out.bucket, out.prefix);
    else
        n = snprintf(out.base, sizeof out.base, "https://%s.s3.%s.amazonaws.com/%s", out.bucket, region,
                     out.prefix);
    if (n >= (int)sizeof out.base)
        return err_set(e, ERR_REQUEST, "files: the URL of %.100s is too long", where);
    *p = out;
    return true;
}
