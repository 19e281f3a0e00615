/* Any bytes as the file that a killed server left: what is read of it are rows that can be written down, and what is not is counted. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "service/account/journal.h"
#include "service/account/row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int damaged, again;
    struct ledger_row r, back;
    char bytes[ROW_PACKED], again_bytes[ROW_PACKED];
    int64_t store = 0;
    if (size >= 16) memcpy(&store, data + 8, sizeof store);
    const int n = journal_read(data, size, store, NULL, &damaged);
    struct ledger_row *rows = calloc((size_t)n + 1, sizeof *rows);
    if (!rows) return 0;
    if (journal_read(data, size, store, rows, &again) != n || again != damaged || n < 0) abort();
    free(rows);
    if (!row_unpack(&r, (const char *)data, size)) return 0;
    /* What was taken comes back as it was. */
    const size_t packed = row_pack(&r, bytes);
    if (!row_unpack(&back, bytes, packed) || row_pack(&back, again_bytes) != packed) abort();
    if (memcmp(bytes, again_bytes, packed) != 0) abort();
    return 0;
}
