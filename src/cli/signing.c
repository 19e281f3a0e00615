/* signing.c - see signing.h. */
#include "cli/signing.h"

#include <stdio.h>

#include "base/log.h"

static bool folder(const struct options *o, char *out, size_t cap, struct err *e)
{
    return snprintf(out, cap, "%s/../c2pa", o->registry.models_dir) < (int)cap ||
           err_set(e, ERR_REQUEST, "the path of the folder of models is too long");
}

static bool check_pair(const struct options *o, struct err *e)
{
    return !*o->c2pa_cert == !*o->c2pa_key ||
           err_set(e, ERR_REQUEST, "c2pa-cert and c2pa-key belong together, and %s is missing",
                   *o->c2pa_cert ? "c2pa-key" : "c2pa-cert");
}

bool signing_open(struct c2pa_signer **out, const struct options *o, struct err *e)
{
    char dir[4096];
    struct err why;
    *out = NULL;
    if (!o->c2pa)
        return !*o->c2pa_cert ||
               err_set(e, ERR_REQUEST, "c2pa-cert is given, and c2pa=no says that nothing is signed");
    if (!check_pair(o, e)) return false;
    if (*o->c2pa_cert) return c2pa_signer_load(out, o->c2pa_cert, o->c2pa_key, e) || err_wrap(e, "c2pa-cert");
    if (!folder(o, dir, sizeof dir, e)) return false;
    if (!c2pa_signer_open(out, dir, true, &why)) {
        *out = NULL;
        log_warn("pictures are not signed (C2PA): %s", why.msg);
    }
    return true;
}

bool signing_trust(struct c2pa_trust **out, const struct options *o, struct err *e)
{
    char dir[4096];
    struct c2pa_signer *s = NULL;
    struct buf root = BUF_INIT(0);
    *out = NULL;
    if (*o->c2pa_trust) return c2pa_trust_load(out, o->c2pa_trust, e) || err_wrap(e, "c2pa-trust");
    if (*o->c2pa_cert) return c2pa_trust_load(out, o->c2pa_cert, e) || err_wrap(e, "c2pa-cert");
    if (!folder(o, dir, sizeof dir, e)) return false;
    if (!c2pa_signer_open(&s, dir, false, e)) return e->code == ERR_NOT_FOUND;
    const bool ok = c2pa_signer_root(s, &root, e) && c2pa_trust_read(out, dir, root.data, root.len, e);
    c2pa_signer_free(s);
    buf_free(&root);
    return ok;
}
