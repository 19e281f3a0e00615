/* Mapped files that are cut, written to, replaced or left alone while they are mapped. */
#include "format/filemap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = 5 };

static size_t page(void) { return (size_t)sysconf(_SC_PAGESIZE); }

struct files {
    char dir[64], one[80], other[80];
};

static void fill(const char *path, char c)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < PAGES * page(); i++) fputc(c, f);
    assert_int_equal(fclose(f), 0);
    static const struct timespec long_ago[2] = { { 1000000000, 0 }, { 1000000000, 0 } };
    assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0),
                     0); /* so that any write shows, however coarse the clock */
}

static int setup(void **state)
{
    struct files *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->dir, "/tmp/filemap_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->one, sizeof f->one, "%s/one", f->dir);
    snprintf(f->other, sizeof f->other, "%s/other", f->dir);
    fill(f->one, 'a');
    fill(f->other, 'b');
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct files *f = *state;
    unlink(f->one);
    unlink(f->other);
    rmdir(f->dir);
    free(f);
    return 0;
}

static struct filemap map(const char *path)
{
    struct filemap m;
    struct err e;
    if (!filemap_open(&m, path, &e)) fail_msg("%s", e.msg);
    assert_int_equal(m.size, PAGES * page());
    assert_false(filemap_changed(&m));
    return m;
}

static void test_cut_file_reads_as_zeros(void **state)
{
    struct files *f = *state;
    struct filemap one = map(f->one), other = map(f->other);
    assert_int_equal(truncate(f->one, (off_t)(2 * page())), 0);
    assert_int_equal(one.data[2 * page() - 1], 'a');
    assert_int_equal(one.data[4 * page() + 1], 0); /* the last page first, */
    assert_int_equal(one.data[2 * page()], 0);     /* then one before it */
    assert_int_equal(one.data[0], 'a');
    assert_true(filemap_changed(&one));
    assert_int_equal(other.data[4 * page()], 'b');
    assert_false(filemap_changed(&other));
    /* What was missing once stays said, though the file is whole again. */
    fill(f->one, 'a');
    assert_true(filemap_changed(&one));
    filemap_close(&one);
    filemap_close(&other);
    one = map(f->one); /* mapped anew it is as good as any */
    assert_int_equal(one.data[4 * page()], 'a');
    assert_false(filemap_changed(&one));
    filemap_close(&one);
}

static void test_overwritten_file_is_noticed(void **state)
{
    struct files *f = *state;
    struct filemap one = map(f->one);
    const int fd = open(f->one, O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, 10), 1);
    close(fd);
    assert_true(filemap_changed(&one));
    filemap_close(&one);
}

static void test_renaming_over_it_changes_nothing(void **state)
{
    struct files *f = *state;
    struct filemap one = map(f->one);
    assert_int_equal(rename(f->other, f->one), 0);
    assert_false(filemap_changed(&one));
    for (size_t i = 0; i < PAGES; i++) assert_int_equal(one.data[i * page()], 'a');
    struct filemap new = map(f->one);
    assert_int_equal(new.data[0], 'b');
    assert_int_equal(truncate(f->one, 0), 0); /* the new one */
    assert_false(filemap_changed(&one));
    assert_true(filemap_changed(&new));
    filemap_close(&one);
    filemap_close(&new);
}

/* A fault in memory that is nobody's model is what it always was. */
static void test_other_faults_still_kill(void **state)
{
    struct files *f = *state;
    struct filemap one = map(f->one);
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
        signal(SIGBUS, SIG_DFL); /* in place of the test program's own; what is mapped next comes before it */
        struct filemap other;
        if (!filemap_open(&other, f->other, NULL)) _exit(2);
        const int fd = open(f->other, O_RDWR);
        volatile const char *raw = mmap(NULL, PAGES * page(), PROT_READ, MAP_SHARED, fd, 0);
        if (fd < 0 || raw == MAP_FAILED || ftruncate(fd, 0) != 0) _exit(2);
        _exit(raw[0] ? 3 : 4);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    filemap_close(&one);
}

/* Records are used again: many short mappings do not add up. */
static void test_many_short_mappings(void **state)
{
    struct files *f = *state;
    struct filemap m[50];
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 50; i++) m[i] = map(f->one);
        for (int i = 0; i < 50; i++) filemap_close(&m[i]);
    }
    struct filemap last = map(f->one);
    assert_int_equal(truncate(f->one, 0), 0);
    assert_int_equal(last.data[0], 0);
    assert_true(filemap_changed(&last));
    filemap_close(&last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cut_file_reads_as_zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overwritten_file_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_renaming_over_it_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_faults_still_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_short_mappings, setup, teardown),
    };
    return cmocka_run_group_tests_name("filemap", tests, NULL, NULL);
}
