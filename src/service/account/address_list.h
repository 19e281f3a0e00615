/* address_list.h - where a key may be used from: "10.0.0.0/8, 2001:db8::/32, 192.0.2.7". */
#ifndef HEARTH_SERVICE_ACCOUNT_ADDRESS_LIST_H
#define HEARTH_SERVICE_ACCOUNT_ADDRESS_LIST_H

#include <stdbool.h>

#include "base/err.h"

enum { ADDRESS_LIST_MAX = 32 };

/* IPv4 addresses are kept as IPv6 has them (::ffff:a.b.c.d), so that a server that listens on both knows them. */
struct address_list {
    struct network {
        unsigned char address[16];
        int bits; /* that count */
    } v[ADDRESS_LIST_MAX];
    int n; /* 0: everywhere */
};

/* ERR_REQUEST names the item that is none, also one with bits behind its mask: somebody meant another network. */
bool address_list_parse(struct address_list *l, const char *text, struct err *e);
/* An address without its port, as "10.1.2.3" or "2001:db8::1"; one that is not understood is in no list but the empty one. */
bool address_list_has(const struct address_list *l, const char *address);

#endif
