/* Any bytes as a page of keys and values on disk. The first byte says whether the sums are made to fit, so that what lies behind them is reached too. */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lm/prefix_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned char key[PREFIX_HASH] = "key", hash[PREFIX_HASH] = "hash";
    enum { PAGE = 64 };
    const void *page = NULL;
    if (size < 1) return 0;
    const bool mend = data[0] & 1;
    const size_t n = size - 1, head = prefix_file_head();
    unsigned char *file = malloc(n ? n : 1); /* of its own size: one byte too far is seen */
    if (!file) return 0;
    if (n) memcpy(file, data + 1, n);
    if (mend && n == head + PAGE)
        crypto_generichash(file + head - PREFIX_HASH, PREFIX_HASH, file + head, PAGE, NULL, 0);
    if (prefix_file_check(file, n, key, hash, PAGE, &page) &&
        (n != head + PAGE || (const unsigned char *)page != file + head || memcmp(file, "hearthp1", 8) != 0))
        abort();
    free(file);
    return 0;
}
