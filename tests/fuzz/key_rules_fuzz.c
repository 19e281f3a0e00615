/* Any text as the lists of a key: addresses, scopes, limits, budgets, money; and as the secret of webhooks and a master key. What is
 * taken keeps to its limits, what is refused says why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/account/address_list.h"
#include "service/account/endpoint_rules.h"
#include "service/account/money.h"
#include "service/account/rules.h"
#include "service/account/scopes.h"
#include "service/account/secrets.h"
#include "service/account/webhooks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok, const struct err *e)
{
    if (!ok && (e->code == ERR_NONE || !*e->msg)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e[5] = { { ERR_NONE, "" } };
    struct endpoint_rules endpoints;
    struct address_list addresses;
    struct scopes scopes;
    struct limit_rules limits;
    struct budget_rules budgets;
    int64_t nano;
    char *text = malloc(size + 1), money[MONEY_TEXT];
    if (!text) return 0;
    memcpy(text, data, size);
    text[size] = 0;
    bool ok = address_list_parse(&addresses, text, &e[0]);
    check(ok, &e[0]);
    if (ok && (addresses.n < 0 || addresses.n > ADDRESS_LIST_MAX)) abort();
    if (ok && addresses.n) address_list_has(&addresses, "192.0.2.1");
    ok = scopes_parse(&scopes, text, &e[1]);
    check(ok, &e[1]);
    if (ok) {
        scopes_model(&scopes, "accounts/a/models/flux");
        scopes_endpoint(&scopes, "image generation");
        scopes_free(&scopes);
    }
    check(limit_rules_parse(&limits, text, &e[2]), &e[2]);
    check(budget_rules_parse(&budgets, text, &e[3]), &e[3]);
    ok = endpoint_rules_parse(&endpoints, text, &e[4]);
    check(ok, &e[4]);
    if (ok && (endpoints.n < 0 || endpoints.n > ENDPOINT_RULES_MAX)) abort();
    if (ok) endpoint_rules_of(&endpoints, "image generation");
    if (money_parse(text, &nano)) { /* what is printed reads as the same */
        int64_t back = -1;
        if (nano < 0 || !money_parse(money_print(nano, money), &back) || back != nano) abort();
    }
    struct webhooks_key hook;
    struct master_key master;
    ok = webhooks_key_parse(&hook, text, &e[0]);
    check(ok, &e[0]);
    if (ok && (hook.len < 24 || hook.len > sizeof hook.bytes)) abort();
    check(master_key_parse(&master, text, "this", &e[1]), &e[1]);
    free(text);
    return 0;
}
