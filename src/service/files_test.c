/* Files come back as they were put, for their time and within the folder's size; no other name opens anything. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>
#include <cmocka.h>

#include "service/files.h"

static char dir[64];

static int fresh(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/hearth-files-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_all(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static bool there(struct blobs *f, const char *name)
{
    int64_t size, mtime;
    struct err e;
    int fd = blobs_get(f, name, &size, &mtime, &e);
    if (fd < 0) assert_int_equal(e.code, ERR_NOT_FOUND);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

static void age(const char *name, int seconds)
{
    char path[160];
    struct utimbuf t = { time(NULL) - seconds, time(NULL) - seconds };
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(utime(path, &t), 0);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct blobs *f;
    char name[BLOBS_NAME], other[BLOBS_NAME], back[16];
    int64_t size, mtime;
    assert_true(blobs_open(&f, dir, &(struct blobs_options){ .retention_s = 60, .max_bytes = 1000 }, &e));
    assert_true(files_put(f, "0123456789", 10, "png", name, &e));
    assert_true(files_put(f, "x", 1, "jpg", other, &e));
    assert_string_not_equal(name, other);
    int fd = blobs_get(f, name, &size, &mtime, &e);
    assert_true(fd >= 0);
    assert_int_equal(size, 10);
    assert_int_equal(read(fd, back, sizeof back), 10);
    assert_memory_equal(back, "0123456789", 10);
    close(fd);
    static const char *const bad[] = { "",
                                       ".",
                                       "..",
                                       "../secret",
                                       "0123456789abcdef0123456789abcdef",
                                       "/etc/passwd",
                                       "0123456789abcdef0123456789abcdef.png/../x",
                                       "0123456789ABCDEF0123456789ABCDEF.png" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(there(f, bad[i]));
    blobs_close(f);
}

static void test_limits(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct blobs *f;
    char a[BLOBS_NAME], b[BLOBS_NAME], c[BLOBS_NAME], block[400] = { 0 };
    assert_true(blobs_open(&f, dir, &(struct blobs_options){ .retention_s = 60, .max_bytes = 1000 }, &e));
    assert_true(files_put(f, block, 400, "png", a, &e));
    age(a, 30);
    assert_true(files_put(f, block, 400, "png", b, &e));
    assert_true(there(f, a) && there(f, b));
    assert_true(files_put(f, block, 400, "png", c, &e)); /* the oldest makes room */
    assert_false(there(f, a));
    assert_true(there(f, b) && there(f, c));
    age(b, 61);
    assert_false(there(f, b)); /* its time is over */
    char big[1001];
    memset(big, 1, sizeof big);
    assert_false(files_put(f, big, sizeof big, "png", a, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    blobs_close(f);
}

static int entries(const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

/* A process that is killed while it writes leaves a part: it is never served, and goes when the next one starts. */
static void test_killed_while_writing(void **state)
{
    (void)state;
    static const char whole[] = "0123456789abcdef0123456789abcdef.png",
                      part[] = ".0123456789abcdef0123456789abcdef.png.part",
                      live[] = ".ffffffffffffffff0123456789abcdef.png.part", theirs[] = ".notes.part";
    const char *const all[] = { part, live, theirs };
    struct err e = { 0 };
    struct blobs *f;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/%s", dir, all[i]);
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        fputs("half", out);
        fclose(out);
        if (i != 1) age(all[i], 100);
    }
    assert_true(blobs_open(&f, dir, &(struct blobs_options){ .retention_s = 3600, .max_bytes = 1000 }, &e));
    assert_false(there(f, whole) || there(f, part) || there(f, live));
    assert_false(entries(part));
    assert_true(entries(live) && entries(theirs)); /* another server's, still at it; and what is not ours */
    blobs_close(f);
}

/* A disk that is full, here by the limit of a process: one error, nothing left, and the next picture that fits is kept. */
static void test_full_disk(void **state)
{
    (void)state;
    struct err e = { 0 };
    struct blobs *f;
    struct rlimit old, small;
    char name[BLOBS_NAME], block[400] = { 0 }, command[200];
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){ 300, old.rlim_max };
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_true(blobs_open(&f, dir, &(struct blobs_options){ .retention_s = 60, .max_bytes = 1000 }, &e));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool kept = files_put(f, block, 400, "png", name, &e);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    assert_false(kept);
    assert_int_equal(e.code, ERR_IO);
    assert_non_null(strstr(e.msg, "File too large"));
    snprintf(command, sizeof command, "test -z \"$(ls -A '%s')\"", dir);
    assert_int_equal(system(command), 0);
    assert_true(files_put(f, block, 400, "png", name, &e));
    assert_true(there(f, name));
    blobs_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, fresh, remove_all),
        cmocka_unit_test_setup_teardown(test_limits, fresh, remove_all),
        cmocka_unit_test_setup_teardown(test_killed_while_writing, fresh, remove_all),
        cmocka_unit_test_setup_teardown(test_full_disk, fresh, remove_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
