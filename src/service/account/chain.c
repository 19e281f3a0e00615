/* chain.c - see chain.h. */
#include "service/account/chain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HASH_BYTES = 32 };

void chain_text(struct chain *c, const char *text)
{
    char length[24];
    const int n = snprintf(length, sizeof length, "%zu:", strlen(text));
    crypto_generichash_update(&c->h, (const unsigned char *)length, (size_t)n);
    crypto_generichash_update(&c->h, (const unsigned char *)text, strlen(text));
}

void chain_number(struct chain *c, int64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, number);
    chain_text(c, text);
}

void chain_begin(struct chain *c, const char *before, int64_t seq)
{
    crypto_generichash_init(&c->h, NULL, 0, HASH_BYTES);
    chain_text(c, before);
    chain_number(c, seq);
}

void chain_end(struct chain *c, char out[CHAIN_HASH])
{
    unsigned char bytes[HASH_BYTES];
    crypto_generichash_final(&c->h, bytes, sizeof bytes);
    sodium_bin2hex(out, CHAIN_HASH, bytes, sizeof bytes);
}

bool chain_head_row(void *arg, const struct store_row *r, struct err *e)
{
    struct chain_head *h = arg;
    (void)e;
    h->seq = r->v[0].number;
    snprintf(h->hash, sizeof h->hash, "%s", r->v[1].text);
    return true;
}

bool chain_head_parse(const char *text, struct chain_head *out, struct err *e)
{
    char *end;
    if (!*text) return true;
    const long long seq = strtoll(text, &end, 10);
    if (seq < 1 || *end != ':' || strlen(end + 1) != CHAIN_HASH - 1)
        return err_set(e, ERR_REQUEST, "\"%.80s\" is no head: SEQ:HASH as verify prints it", text);
    out->seq = seq;
    memcpy(out->hash, end + 1, CHAIN_HASH);
    return true;
}
