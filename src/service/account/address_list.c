/* address_list.c - see address_list.h. */
#include "service/account/address_list.h"

#include <arpa/inet.h>
#include <string.h>

#include "service/account/items.h"

enum { MAPPED = 96 }; /* bits in front of an IPv4 address */

static bool parse_address(const char *text, unsigned char out[16], bool *v4)
{
    static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
    *v4 = inet_pton(AF_INET, text, out + 12) == 1;
    if (*v4) memcpy(out, mapped, sizeof mapped);
    return *v4 || inet_pton(AF_INET6, text, out) == 1;
}

static bool bit(const unsigned char a[16], int i) { return a[i / 8] >> (7 - i % 8) & 1; }

static bool parse_network(struct network *w, char *item, struct err *e)
{
    bool v4;
    long long bits = 0;
    char *slash = strchr(item, '/');
    if (slash) *slash = 0;
    bool ok = parse_address(item, w->address, &v4);
    if (slash) {
        ok = ok && (!strcmp(slash + 1, "0") || items_number(slash + 1, v4 ? 32 : 128, &bits));
        *slash = '/';
    }
    if (!ok)
        return err_set(e, ERR_REQUEST, "\"%.80s\" is no address and no network such as 10.0.0.0/8", item);
    w->bits = !slash ? 128 : (int)bits + (v4 ? MAPPED : 0);
    for (int i = w->bits; i < 128; i++)
        if (bit(w->address, i))
            return err_set(
                e, ERR_REQUEST,
                "\"%.80s\": the address has bits behind the first %lld, which the network leaves open", item,
                bits);
    return true;
}

bool address_list_parse(struct address_list *l, const char *text, struct err *e)
{
    char item[ITEM_MAX];
    bool bad;
    struct address_list new = { .n = 0 };
    while (items_next(&text, item, &bad, e)) {
        if (new.n == ADDRESS_LIST_MAX)
            return err_set(e, ERR_REQUEST, "a key can have at most %d addresses", ADDRESS_LIST_MAX);
        if (!parse_network(&new.v[new.n], item, e)) return false;
        new.n++;
    }
    if (bad) return false;
    *l = new;
    return true;
}

bool address_list_has(const struct address_list *l, const char *address)
{
    unsigned char a[16];
    bool v4;
    if (!l->n) return true;
    if (!parse_address(address, a, &v4)) return false;
    for (int k = 0; k < l->n; k++) {
        int i = 0;
        while (i < l->v[k].bits && bit(a, i) == bit(l->v[k].address, i)) i++;
        if (i == l->v[k].bits) return true;
    }
    return false;
}
