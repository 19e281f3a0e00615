/* journal.h - what a server has under way, kept where kill -9 does not reach it: rows that are not in the ledger yet.
 *
 * A folder with a file for each running server, which holds a lock on it; a place in it for each request, written when the request begins,
 * again when it has ended, and emptied when its row is in the ledger. A file that nobody holds is a killed server's: the next start puts
 * what is in it into the ledger. A row of the same uid that is there already stays as it is, so no order of the two can go wrong.
 *
 * Durable  a place survives the process, not a power cut: nothing waits for the disk here. The store is what does.
 * Threads  any, but journal_open() and journal_close(). */
#ifndef HEARTH_SERVICE_ACCOUNT_JOURNAL_H
#define HEARTH_SERVICE_ACCOUNT_JOURNAL_H

#include "service/account/ledger.h"

struct journal;

/* Rows of servers that are no more. False keeps their file, and ends journal_open(). */
typedef bool journal_found(void *arg, const struct ledger_row *rows, int n, struct err *e);

/* store: number of the store that rows belong to; files of another one in the same folder are left alone. The folder is made. */
bool journal_open(struct journal **out, const char *folder, int64_t store, journal_found *found, void *arg,
                  struct err *e);
/* The file goes unless rows are left in it: then a line in the log says how many. */
void journal_close(struct journal *j);

/* Writes a row into a place, or into a new one (place < 0), and returns the place; -1 when the file could not be written, which the log has
 * once. */
int journal_put(struct journal *j, int place, const struct ledger_row *row);
void journal_clear(struct journal *j, int place); /* place < 0: nothing */

/* For the fuzzer: the rows in a file's bytes, damaged places left out. Returns how many; *damaged of them were not. rows NULL: only counts. */
int journal_read(const unsigned char *bytes, size_t len, int64_t store, struct ledger_row *rows,
                 int *damaged);

#endif
