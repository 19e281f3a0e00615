/* auth.c - see auth.h. */
#include "http/auth.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

bool auth_set_keys(struct auth *a, const char *const *keys, int n_keys, struct err *e)
{
    struct auth_keys *k = calloc(1, sizeof *k + (size_t)n_keys * sizeof *k->hash);
    if (!k) return err_set(e, ERR_NOMEM, "out of memory");
    for (int i = 0; i < n_keys; i++) {
        struct principal p;
        principal_of_key(&p, keys[i], strlen(keys[i]));
        memcpy(k->hash[i], p.hash, sizeof p.hash);
    }
    k->n = n_keys;
    k->older = atomic_load(&a->keys);
    atomic_store(&a->keys, k);
    return true;
}

bool auth_init(struct auth *a, const char *const *keys, int n_keys, struct keyring *keyring, struct err *e)
{
    memset(a, 0, sizeof *a);
    if (sodium_init() < 0) return err_set(e, ERR_IO, "libsodium could not be started");
    a->keyring = keyring;
    return auth_set_keys(a, keys, n_keys, e);
}

void auth_free(struct auth *a)
{
    for (struct auth_keys *k = atomic_load(&a->keys), *older; k; k = older) {
        older = k->older;
        free(k);
    }
    memset(a, 0, sizeof *a);
}

/* The key in an Authorization header, NULL when there is none. */
static const char *bearer(const char *authorization, size_t *len)
{
    if (!authorization || strncasecmp(authorization, "Bearer ", 7)) return NULL;
    const char *key = authorization + 7 + strspn(authorization + 7, " ");
    *len = strlen(key);
    while (*len && key[*len - 1] == ' ') --*len;
    return key;
}

int auth_n_keys(const struct auth *a)
{
    const struct auth_keys *k = atomic_load(&a->keys);
    return k ? k->n : 0;
}

static bool asks_for_keys(const struct auth *a) { return auth_n_keys(a) || a->keyring; }

static void take_key(struct principal *out)
{
    memcpy(out->id, out->key->id, sizeof out->id); /* the same after the key was rotated */
    out->share.weight = out->key->weight;
    out->share.priority = out->key->priority;
}

bool auth_principal(const struct auth *a, const char *authorization, const char *api_key,
                    struct principal *out)
{
    size_t len = 0;
    const char *key = bearer(authorization, &len);
    if (!key && api_key) {
        key = api_key;
        len = strlen(key);
    }
    principal_of_key(out, key, len);
    if (!asks_for_keys(a)) return true;
    bool known = false;
    const struct auth_keys *k = atomic_load(&a->keys);
    for (int i = 0; k && i < k->n; i++) /* all of them: time says nothing about which one it was */
        known |= sodium_memcmp(out->hash, k->hash[i], PRINCIPAL_HASH) == 0;
    if (key && !known && a->keyring) out->key = keyring_find(a->keyring, out->hash);
    if (out->key) take_key(out);
    out->known = key && (known || out->key);
    return out->known;
}

void auth_asker(const struct principal *who, char asker[AUTH_ASKER])
{
    char hex[2 * PRINCIPAL_HASH + 1];
    if (who->key)
        snprintf(asker, AUTH_ASKER, "key:%s", who->key->id);
    else
        snprintf(asker, AUTH_ASKER, "hash:%s", sodium_bin2hex(hex, sizeof hex, who->hash, sizeof who->hash));
}

bool auth_principal_again(const struct auth *a, const char *asker, struct principal *out)
{
    unsigned char hash[PRINCIPAL_HASH];
    size_t n = 0;
    if (!strncmp(asker, "key:", 4)) {
        const struct key_record *k = a->keyring ? keyring_find_id(a->keyring, asker + 4) : NULL;
        if (!k) return false;
        principal_of_hash(out, k->bytes);
        out->key = k;
        take_key(out);
        return out->known = true;
    }
    if (strncmp(asker, "hash:", 5) != 0 ||
        sodium_hex2bin(hash, sizeof hash, asker + 5, strlen(asker + 5), NULL, &n, NULL) || n != sizeof hash)
        return false;
    principal_of_hash(out, hash);
    if (!asks_for_keys(a)) return true;
    const struct auth_keys *k = atomic_load(&a->keys);
    for (int i = 0; k && i < k->n; i++) out->known |= !sodium_memcmp(hash, k->hash[i], PRINCIPAL_HASH);
    return out->known;
}

/* Length of the name in "name:port" or "[v6]:port". */
static size_t host_name_length(const char *host)
{
    if (host[0] == '[') {
        const char *end = strchr(host, ']');
        return end && (!end[1] || end[1] == ':') ? (size_t)(end - host) + 1 : strlen(host);
    }
    return strcspn(host, ":");
}

static bool same_name(const char *a, const char *b, size_t n)
{
    return strlen(a) == n && !strncasecmp(a, b, n);
}

bool auth_host_ok(const struct auth *a, const char *host)
{
    if (asks_for_keys(a) || !host) return true;
    size_t n = host_name_length(host);
    if (same_name("localhost", host, n) || same_name("[::1]", host, n)) return true;
    if (n > 10 && !strncasecmp(host + n - 10, ".localhost", 10)) return true;
    if (!strncmp(host, "127.", 4) && strspn(host, "0123456789.") >= n) return true;
    for (int i = 0; i < a->n_host; i++)
        if (same_name(a->host[i], host, n) || !strcmp(a->host[i], "*")) return true;
    return false;
}

enum origin auth_origin(const struct auth *a, const char *origin, const char *host)
{
    if (!origin) return ORIGIN_NONE;
    for (int i = 0; i < a->n_origin; i++)
        if (!strcmp(a->origin[i], "*") || !strcasecmp(a->origin[i], origin)) return ORIGIN_ALLOWED;
    const char *name = !strncmp(origin, "http://", 7)    ? origin + 7
                       : !strncmp(origin, "https://", 8) ? origin + 8
                                                         : NULL;
    if (name && host && !strcasecmp(name, host)) return ORIGIN_SAME;
    return ORIGIN_FOREIGN;
}

void auth_new_key(char *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    memcpy(out, "hk-", 3);
    for (int i = 3; i < 46; i++) out[i] = letters[randombytes_uniform(sizeof letters - 1)];
    out[46] = 0;
}
