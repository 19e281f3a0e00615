/* file_folder.h - the bytes of files that clients sent or batches made: a folder with one file for each id.
 *
 * A file is written under a name of its own first ("ID.part"), and takes its id's name once it is whole and on the disk. Whoever writes holds a
 * lock on it, which goes with the process, so that halves of a killed one are found and removed by the next who opens the folder.
 *
 * Threads  any. Everything waits for the disk. */
#ifndef HEARTH_SERVICE_BATCH_FILE_FOLDER_H
#define HEARTH_SERVICE_BATCH_FILE_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { FILE_ID = 40 /* with its 0 */ };

struct file_folder;

/* The folder is made. */
bool file_folder_open(struct file_folder **out, const char *path, struct err *e);
void file_folder_close(struct file_folder *f);

/* PREFIX and 24 random hexadecimal digits. */
void file_folder_id(const char *prefix, char id[FILE_ID]);
/* Small letters, digits, '-' and '_': what may be asked for as a file of the folder. */
bool file_folder_id_ok(const char *id);

/* A new file for this id, the caller's descriptor, to be ended by one of the two behind it; -1 with *e. */
int file_folder_new(struct file_folder *f, const char *id, struct err *e);
/* All of it, or *e: ERR_BUSY when the disk is full. */
bool file_folder_write(int fd, const void *bytes, size_t n, struct err *e);
/* Whole: on the disk under its id when this returns true. fd is closed either way; on failure nothing is left of it. */
bool file_folder_keep(struct file_folder *f, int fd, const char *id, struct err *e);
void file_folder_drop(struct file_folder *f, int fd, const char *id);

/* An open descriptor, the caller's, and the bytes; -1 with *e (ERR_NOT_FOUND). */
int file_folder_get(struct file_folder *f, const char *id, int64_t *bytes, struct err *e);
void file_folder_remove(struct file_folder *f, const char *id);
/* Calls fn with the id of each whole file that is older than an hour: what no row knows then, a killed process left. */
void file_folder_each_old(struct file_folder *f, void (*fn)(void *arg, const char *id), void *arg);

/* Whether this process is the one that works on the folder's batches; the first that asks is, until it ends. */
bool file_folder_claim(struct file_folder *f);

#endif
