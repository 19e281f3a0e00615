/* file_rows.h - what is known of each file that clients sent or batches made: its row in the store. The bytes are file_folder.h's. */
#ifndef HEARTH_SERVICE_BATCH_FILE_ROWS_H
#define HEARTH_SERVICE_BATCH_FILE_ROWS_H

#include <stdbool.h>
#include <stdint.h>

#include "service/batch/file_folder.h"
#include "store/store.h"

enum { FILE_OWNER = 260, FILE_NAME = 256, FILE_PURPOSE = 32, FILE_PAGE = 10000 };

struct principal;

struct file_row {
    char id[FILE_ID], owner[FILE_OWNER], name[FILE_NAME], purpose[FILE_PURPOSE];
    int64_t bytes, start; /* of the content, and where it begins in what is kept */
    int64_t made_ms, expires_ms /* 0: never */;
};

/* Whose a file is: of the key's project, else of the key, else of whoever knows the same key of the server's own. */
void file_owner(const struct principal *who, char owner[FILE_OWNER]);

/* ERR_LIMIT: its owner's files would have more than `most` bytes together. */
bool file_rows_add(struct store *s, const struct file_row *r, int64_t most, struct err *e);
/* The same inside a transaction and without a limit; one that is there stays as it is. */
bool file_rows_put(struct session *c, const struct file_row *r, struct err *e);
/* ERR_NOT_FOUND: there is none such of this owner (NULL: of anyone), or its time is over. */
bool file_rows_get(struct store *s, const char *owner, const char *id, int64_t now_ms, struct file_row *out,
                   struct err *e);
/* ERR_NOT_FOUND; ERR_REQUEST while a batch reads it. */
bool file_rows_remove(struct store *s, const char *owner, const char *id, struct err *e);

struct file_page {
    const char *owner, *purpose /* "": any */, *after /* an id; "": from the first */;
    bool ascending;
    int limit;
    int64_t now_ms;
};
/* Calls fn with up to limit rows in the order in which they were made. ERR_NOT_FOUND: `after` is none of this owner's. */
bool file_rows_list(struct store *s, const struct file_page *p,
                    void (*fn)(void *arg, const struct file_row *r), void *arg, bool *more, struct err *e);

/* Removes the rows whose time is over, and calls fn with each id before the next. */
bool file_rows_expire(struct store *s, int64_t now_ms, void (*fn)(void *arg, const char *id), void *arg,
                      struct err *e);
bool file_rows_known(struct store *s, const char *id, bool *known, struct err *e);

#endif
