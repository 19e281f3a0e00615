/* account.c - see account.h. */
#include "service/account/account.h"

#include <stdlib.h>

struct account {
    struct store *store;
    struct keyring *keyring;
};

bool account_open(struct account **out, const struct account_options *o, struct err *e)
{
    struct account *a = calloc(1, sizeof *a);
    if (!a) return err_set(e, ERR_NOMEM, "out of memory");
    if (store_open(&a->store, o->store, &(struct store_options){ 0 }, e) &&
        keyring_open(&a->keyring, a->store, e)) {
        *out = a;
        return true;
    }
    account_close(a);
    return false;
}

void account_close(struct account *a)
{
    if (!a) return;
    keyring_close(a->keyring);
    store_close(a->store);
    free(a);
}

const char *account_where(const struct account *a) { return store_where(a->store); }
struct keyring *account_keyring(struct account *a) { return a->keyring; }
