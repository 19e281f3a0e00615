/* secrets.c - see secrets.h. */
#include "service/account/secrets.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
    TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES,
    SEALED = NONCE + SECRETS_VALUE + TAG,
    NAME_BYTES = 60
};
_Static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == SECRETS_KEY, "the key is a master key");

/* ---- the master key ------------------------------------------------------------------------------------------------ */

bool master_key_parse(struct master_key *out, const char *text, const char *from, struct err *e)
{
    const size_t len = strcspn(text, " \t\r\n");
    struct master_key k;
    size_t n = 0;
    const char *end;
    if (text[len + strspn(text + len, " \t\r\n")] || len != 2 * sizeof k.bytes ||
        sodium_hex2bin(k.bytes, sizeof k.bytes, text, len, NULL, &n, &end) || n != sizeof k.bytes ||
        end != text + len)
        return err_set(e, ERR_REQUEST,
                       "%.150s is no master key: %d hexadecimal digits, as `hearth secrets init` makes", from,
                       2 * SECRETS_KEY);
    *out = k;
    return true;
}

static bool read_key_file(struct master_key *out, const char *path, struct err *e)
{
    char text[200], from[200];
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_set(e, ERR_IO, "master-key-file %.150s: %s", path, strerror(errno));
    bool ok = !fstat(fd, &st) || err_set(e, ERR_IO, "master-key-file %.150s: %s", path, strerror(errno));
    ok = ok && (!S_ISREG(st.st_mode) || !(st.st_mode & (S_IRWXG | S_IRWXO)) ||
                err_set(e, ERR_REQUEST, "master-key-file %.150s can be read by others: chmod 600", path));
    const ssize_t n = ok ? read(fd, text, sizeof text - 1) : 0;
    if (n < 0) ok = err_set(e, ERR_IO, "master-key-file %.150s: %s", path, strerror(errno));
    close(fd);
    text[n > 0 ? n : 0] = 0;
    snprintf(from, sizeof from, "what is in %.150s", path);
    ok = ok && master_key_parse(out, text, from, e);
    sodium_memzero(text, sizeof text);
    return ok;
}

bool master_key_load(struct master_key *out, const char *path, const char *text, struct err *e)
{
    if (sodium_init() < 0) return err_set(e, ERR_IO, "libsodium could not be started");
    if (*path) return read_key_file(out, path, e);
    if (*text) return master_key_parse(out, text, "HEARTH_MASTER_KEY", e);
    return err_set(
        e, ERR_REQUEST,
        "secrets need a master key: --master-key-file FILE or HEARTH_MASTER_KEY; `hearth secrets init` "
        "makes one");
}

bool master_key_make(const char *path, struct err *e)
{
    struct master_key k;
    char text[2 * SECRETS_KEY + 2];
    if (sodium_init() < 0) return err_set(e, ERR_IO, "libsodium could not be started");
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, ERR_IO, "master-key-file %.150s: %s", path,
                       errno == EEXIST ? "it is there already, and what was sealed with it needs it"
                                       : strerror(errno));
    randombytes_buf(k.bytes, sizeof k.bytes);
    sodium_bin2hex(text, sizeof text - 1, k.bytes, sizeof k.bytes);
    strcat(text, "\n");
    bool ok = write(fd, text, sizeof text - 1) == (ssize_t)(sizeof text - 1) && !fsync(fd);
    if (close(fd)) ok = false;
    sodium_memzero(&k, sizeof k);
    sodium_memzero(text, sizeof text);
    if (ok) return true;
    err_set(e, ERR_IO, "master-key-file %.150s: %s", path, strerror(errno));
    unlink(path);
    return false;
}

/* ---- sealing ------------------------------------------------------------------------------------------------------- */

/* Hexadecimal, malloc'ed. NULL: no memory. */
static char *seal(const struct master_key *k, const char *name, const char *value)
{
    const size_t len = strlen(value), cap = 2 * (NONCE + len + TAG) + 1;
    unsigned char *box = malloc(NONCE + len + TAG);
    char *text = box ? malloc(cap) : NULL;
    if (text) {
        unsigned long long n;
        randombytes_buf(box, NONCE);
        crypto_aead_xchacha20poly1305_ietf_encrypt(box + NONCE, &n, (const unsigned char *)value, len,
                                                   (const unsigned char *)name, strlen(name), NULL, box,
                                                   k->bytes);
        sodium_bin2hex(text, cap, box, NONCE + len + TAG);
    }
    free(box);
    return text;
}

static bool unseal(const struct master_key *k, const char *name, const char *sealed, char **value,
                   struct err *e)
{
    unsigned char *box = malloc(SEALED);
    char *text = calloc(1, SECRETS_VALUE + 1);
    size_t n = 0;
    unsigned long long len;
    bool ok = (box && text) || err_set(e, ERR_NOMEM, "out of memory");
    ok = ok && ((!sodium_hex2bin(box, SEALED, sealed, strlen(sealed), NULL, &n, NULL) && n >= NONCE + TAG &&
                 !crypto_aead_xchacha20poly1305_ietf_decrypt((unsigned char *)text, &len, NULL, box + NONCE,
                                                             n - NONCE, (const unsigned char *)name,
                                                             strlen(name), box, k->bytes)) ||
                err_set(e, ERR_REQUEST,
                        "the secret \"%.60s\" cannot be opened: this is not the master key that it was "
                        "sealed with, or it "
                        "was changed in the store",
                        name));
    free(box);
    if (ok)
        *value = text;
    else
        free(text);
    return ok;
}

static void forget(char *value)
{
    if (value) sodium_memzero(value, strlen(value));
    free(value);
}

/* ---- the table ----------------------------------------------------------------------------------------------------- */

/* Rows copied out of a reading: statements do not nest. */
struct sealed {
    char name[NAME_BYTES + 4];
    char *text;
    int64_t set_ms;
};
struct all {
    struct sealed *v;
    int n;
};

static void all_free(struct all *a)
{
    for (int i = 0; i < a->n; i++) free(a->v[i].text);
    free(a->v);
    *a = (struct all){ .n = 0 };
}

static bool add_sealed(void *arg, const struct store_row *r, struct err *e)
{
    struct all *a = arg;
    struct sealed *v = realloc(a->v, ((size_t)a->n + 1) * sizeof *v);
    if (v) a->v = v;
    char *text = v ? strdup(r->v[1].text) : NULL;
    if (!text) return err_set(e, ERR_NOMEM, "out of memory");
    v[a->n] = (struct sealed){ .text = text, .set_ms = r->v[2].number };
    snprintf(v[a->n++].name, sizeof v->name, "%s", r->v[0].text);
    return true;
}

static bool read_all(struct session *c, struct all *a, struct err *e)
{
    all_free(a); /* it may be asked again */
    return session_run(c, "SELECT name, sealed, set_ms FROM secrets ORDER BY name", STORE_NO_ARGS, add_sealed,
                       a, e);
}

static bool read_all_fn(void *arg, struct session *c, struct err *e) { return read_all(c, arg, e); }

static bool put(struct session *c, const struct master_key *k, const char *name, const char *value,
                int64_t now_ms, struct err *e)
{
    char *sealed = seal(k, name, value);
    const char *text = sealed;
    const bool ok =
        sealed ? session_run(c,
                             "INSERT INTO secrets (name, sealed, set_ms) VALUES ($1, $2, $3) ON CONFLICT "
                             "(name) DO UPDATE SET sealed = excluded.sealed, set_ms = excluded.set_ms",
                             STORE_ARGS(STORE_V(name), STORE_V(text), STORE_V(now_ms)), NULL, NULL, e)
               : err_set(e, ERR_NOMEM, "out of memory");
    free(sealed);
    return ok;
}

struct job {
    const struct master_key *key, *to;
    const char *name, *value;
    const struct actor *by;
    int64_t now_ms;
    int n;
    bool found;
};

static bool write_down(struct session *c, const struct job *j, const char *act, struct err *e)
{
    return audit_add(c,
                     &(struct audit_row){ .at_ms = j->now_ms,
                                          .who = j->by->who,
                                          .from = j->by->from,
                                          .act = act,
                                          .target = j->name,
                                          .before = "",
                                          .after = "" },
                     e);
}

/* Every one is opened with the key before one is added or sealed anew. */
static bool set(void *arg, struct session *c, struct err *e)
{
    const struct job *j = arg;
    struct all a = { .n = 0 };
    char *value = NULL;
    bool ok = read_all(c, &a, e);
    for (int i = 0; ok && i < a.n; i++, forget(value)) {
        value = NULL;
        ok = unseal(j->key, a.v[i].name, a.v[i].text, &value, e);
    }
    all_free(&a);
    return ok && put(c, j->key, j->name, j->value, j->now_ms, e) && write_down(c, j, "secret.set", e);
}

static bool name_ok(const char *name, struct err *e)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    const size_t n = strlen(name);
    return (n && n <= NAME_BYTES && strspn(name, letters) == n) ||
           err_set(e, ERR_REQUEST,
                   "\"%.80s\" is no name of a secret: up to %d letters, digits, '-', '_' and '.'", name,
                   NAME_BYTES);
}

bool secrets_set(struct store *s, const struct master_key *k, const char *name, const char *value,
                 const struct actor *by, int64_t now_ms, struct err *e)
{
    struct job j = { .key = k, .name = name, .value = value, .by = by, .now_ms = now_ms };
    if (!name_ok(name, e)) return false;
    if (!*value || strlen(value) > SECRETS_VALUE)
        return err_set(e, ERR_REQUEST, "a secret has from 1 to %d bytes", SECRETS_VALUE);
    return store_write(s, set, &j, e);
}

bool secrets_get(struct store *s, const struct master_key *k, const char *name, char **value, struct err *e)
{
    struct all a = { .n = 0 };
    bool ok = store_read(s, read_all_fn, &a, e), found = false;
    for (int i = 0; ok && i < a.n && !found; i++) {
        if (strcmp(a.v[i].name, name) != 0) continue;
        found = true;
        ok = unseal(k, name, a.v[i].text, value, e);
    }
    all_free(&a);
    if (ok && !found)
        ok = err_set(e, ERR_NOT_FOUND, "there is no secret \"%.60s\"; `hearth secrets list` has them", name);
    return ok;
}

static bool drop(void *arg, struct session *c, struct err *e)
{
    struct job *j = arg;
    if (!session_run(c, "DELETE FROM secrets WHERE name = $1", STORE_ARGS(STORE_V(j->name)), NULL, NULL, e))
        return false;
    j->found = session_changed(c) > 0;
    return !j->found || write_down(c, j, "secret.removed", e);
}

bool secrets_remove(struct store *s, const char *name, const struct actor *by, int64_t now_ms, struct err *e)
{
    struct job j = { .name = name, .by = by, .now_ms = now_ms };
    return store_write(s, drop, &j, e) &&
           (j.found ||
            err_set(e, ERR_NOT_FOUND, "there is no secret \"%.60s\"; `hearth secrets list` has them", name));
}

bool secrets_each(struct store *s, bool (*fn)(void *arg, const char *name, int64_t set_ms, struct err *e),
                  void *arg, struct err *e)
{
    struct all a = { .n = 0 };
    bool ok = store_read(s, read_all_fn, &a, e);
    for (int i = 0; ok && i < a.n; i++) ok = fn(arg, a.v[i].name, a.v[i].set_ms, e);
    all_free(&a);
    return ok;
}

static bool reseal(void *arg, struct session *c, struct err *e)
{
    struct job *j = arg;
    struct all a = { .n = 0 };
    bool ok = read_all(c, &a, e);
    for (int i = 0; ok && i < a.n; i++) {
        char *value = NULL;
        ok = unseal(j->key, a.v[i].name, a.v[i].text, &value, e) &&
             put(c, j->to, a.v[i].name, value, a.v[i].set_ms, e);
        forget(value);
    }
    j->n = a.n;
    all_free(&a);
    return ok && write_down(c, j, "secrets.rotated", e);
}

bool secrets_rotate(struct store *s, const struct master_key *from, const struct master_key *to,
                    const struct actor *by, int64_t now_ms, int *n, struct err *e)
{
    struct job j = { .key = from, .to = to, .name = "", .by = by, .now_ms = now_ms };
    if (!store_write(s, reseal, &j, e)) return false;
    *n = j.n;
    return true;
}

bool secrets_resolve(struct store *s, const char *setting, const char *key_file, const char *key_text,
                     char **value, struct err *e)
{
    struct master_key k;
    if (strncmp(setting, "secret:", 7) != 0) {
        *value = strdup(setting);
        return *value || err_set(e, ERR_NOMEM, "out of memory");
    }
    const bool ok = master_key_load(&k, key_file, key_text, e) && secrets_get(s, &k, setting + 7, value, e);
    sodium_memzero(&k, sizeof k);
    return ok;
}
