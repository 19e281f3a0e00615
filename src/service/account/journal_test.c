/* journal_test.c - what a server had under way is found by the next one, whole, once, and by nobody while the first one lives. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "service/account/journal.h"
#include "service/account/row.h"

enum { STORE = 77 };

static struct ledger_row make(int i)
{
    struct ledger_row r = { .ended_ms = INT64_C(1750000000000) + i, .prompt = i, .cost = -i, .status = 200 };
    snprintf(r.uid, sizeof r.uid, "%032d", i);
    snprintf(r.path, sizeof r.path, "/v1/x'\"\xc3\xa9");
    strcpy(r.how, "lost");
    return r;
}

/* Every field at its longest. */
static struct ledger_row longest(void)
{
    struct ledger_row r;
    memset(&r, 0, sizeof r);
    for (int i = 0; i < n_row_fields; i++) {
        const struct row_field *f = &row_fields[i];
        char text[500];
        memset(text, 'x', sizeof text);
        text[f->size ? f->size - 1 : 0] = 0;
        row_take(&r, f, &(struct store_value){ .text = f->size ? text : NULL, .number = INT64_MIN });
    }
    return r;
}

static void same_row(const struct ledger_row *a, const struct ledger_row *b)
{
    for (int i = 0; i < n_row_fields; i++) {
        const struct store_value x = row_value(a, &row_fields[i]), y = row_value(b, &row_fields[i]);
        if (x.text)
            assert_string_equal(x.text, y.text);
        else
            assert_int_equal(x.number, y.number);
    }
}

static void test_packed(void **state)
{
    (void)state;
    const struct ledger_row rows[] = { make(1), longest() };
    for (size_t i = 0; i < 2; i++) {
        struct ledger_row back;
        char bytes[ROW_PACKED];
        const size_t n = row_pack(&rows[i], bytes);
        assert_in_range(n, 1, sizeof bytes);
        assert_true(row_unpack(&back, bytes, n));
        same_row(&rows[i], &back);
        for (size_t k = 0; k < n; k++) { /* cut anywhere: refused, or fewer fields */
            char *cut = malloc(k + 1);
            assert_non_null(cut);
            memcpy(cut, bytes, k);
            row_unpack(&back, cut, k);
            free(cut);
        }
    }
    struct ledger_row r;
#define UID                                                                                                  \
    "uid\0"                                                                                                  \
    "0123456789abcdef0123456789abcdef\0"
#define READS(text) row_unpack(&r, text, sizeof(text) - 1)
    assert_true(READS(UID));
    assert_true(READS(UID "of_a_later_version\0x\0prompt\0"
                          "7\0"));
    assert_int_equal(r.prompt, 7);
    assert_false(READS("")); /* no uid */
    assert_false(READS("uid\0"
                       "0123\0"));          /* not a whole one */
    assert_false(READS(UID "prompt\0x\0")); /* no number */
    assert_false(READS(UID "prompt\0\0"));
    assert_false(READS(UID "prompt\0"
                           "99999999999999999999\0"));
    assert_false(READS(UID "how\0longer than there is room for\0"));
    assert_false(READS(UID "how\0\xff\0"));
    assert_false(READS(UID "how\0done")); /* no end */
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        size_t cap;
    } cases[] = {
        { "abc", "abc", 4 },
        { "abc", "ab", 3 },
        { "a\xc3\xa9", "a", 3 },
        { "a\xc3\xa9", "a\xc3\xa9", 4 },
        { "a\xff\xc3z", "a??z", 9 },
        { "\xed\xa0\x80", "???", 9 },
        { "", "", 1 },
        { "x", "", 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char out[16];
        row_text(out, cases[i].cap, cases[i].in);
        assert_string_equal(out, cases[i].out);
    }
}

/* ---- files --------------------------------------------------------------------------------------------------------- */

struct found {
    int seen[500], n, calls;
    bool refuse;
};

static bool take(void *arg, const struct ledger_row *rows, int n, struct err *e)
{
    struct found *f = arg;
    f->calls++;
    if (f->refuse) return err_set(e, ERR_BUSY, "not now");
    for (int i = 0; i < n; i++) {
        const struct ledger_row want = make((int)rows[i].prompt);
        same_row(&rows[i], &want);
        f->seen[rows[i].prompt]++;
        f->n++;
    }
    return true;
}

static int n_files(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *f; (f = readdir(d));) n += f->d_name[0] != '.';
    closedir(d);
    return n;
}

static struct journal *opened(const char *dir, int64_t store, struct found *f)
{
    struct journal *j;
    struct err e = { ERR_NONE, "" };
    *f = (struct found){ .n = 0 };
    if (!journal_open(&j, dir, store, take, f, &e)) fail_msg("%s", e.msg);
    return j;
}

/* A server that writes `n` rows, takes out every third and is killed. */
static void killed(const char *dir, int from, int n)
{
    const pid_t pid = fork();
    if (!pid) {
        struct found f = { .n = 0 };
        struct journal *j;
        struct err e;
        if (!journal_open(&j, dir, STORE, take, &f, &e)) _exit(3);
        for (int i = from; i < from + n; i++) {
            struct ledger_row r = make(i), before = make(i);
            before.prompt = 0;
            const int place = journal_put(j, -1, &before);
            if (place < 0 || journal_put(j, place, &r) != place) _exit(4);
            if (i % 3 == 0) journal_clear(j, place);
        }
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
}

static void new_dir(char dir[64])
{
    strcpy(dir, "/tmp/hearth-journal-XXXXXX");
    assert_non_null(mkdtemp(dir));
    strcat(dir, "/journal"); /* is made */
}

static void remove_dir(const char *dir)
{
    char path[400];
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *f; (f = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        unlink(path);
    }
    closedir(d);
    assert_int_equal(rmdir(dir), 0);
    snprintf(path, sizeof path, "%.*s", (int)(strrchr(dir, '/') - dir), dir);
    assert_int_equal(rmdir(path), 0);
}

static void test_killed(void **state)
{
    (void)state;
    char dir[64];
    struct found f, other;
    new_dir(dir);
    killed(dir, 1, 200);
    struct journal *elsewhere = opened(dir, STORE + 1, &other); /* of another store: leaves it alone */
    assert_int_equal(other.calls, 0);
    struct journal *j;
    struct err e = { ERR_NONE, "" };
    f = (struct found){ .refuse = true };
    assert_false(journal_open(&j, dir, STORE, take, &f, &e)); /* keeps it as well */
    assert_int_equal(e.code, ERR_BUSY);
    assert_non_null(strstr(e.msg, dir));
    j = opened(dir, STORE, &f);
    assert_int_equal(f.n, 134);
    for (int i = 1; i <= 200; i++) assert_int_equal(f.seen[i], i % 3 != 0);
    /* While it lives nobody takes what is in its file, and places are used again. */
    const struct ledger_row one = make(1), two = make(2);
    const int a = journal_put(j, -1, &one), b = journal_put(j, -1, &two);
    assert_int_not_equal(a, b);
    journal_clear(j, a);
    assert_int_equal(journal_put(j, -1, &one), a);
    journal_clear(j, -1);
    struct journal *k = opened(dir, STORE, &f);
    assert_int_equal(f.calls, 0);
    assert_int_equal(n_files(dir), 3);
    journal_close(k); /* it was empty, and is gone */
    assert_int_equal(n_files(dir), 2);
    journal_close(j); /* it was not: what it has is kept */
    j = opened(dir, STORE, &f);
    assert_int_equal(f.n, 2);
    journal_close(j);
    journal_close(elsewhere);
    journal_close(NULL);
    assert_int_equal(n_files(dir), 0);
    remove_dir(dir);
}

static void write_file(const char *path, const unsigned char *bytes, size_t n)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
}

/* A place of a journal with the right length and hash (journal.c). */
static void place_of(unsigned char *at, const char *bytes, uint32_t len)
{
    memcpy(at, &len, 4);
    memcpy(at + 20, bytes, len);
    crypto_generichash(at + 4, 16, at + 20, len, NULL, 0);
}

/* Bytes that somebody else changed: the places that are whole are read, the others counted. */
static void test_damaged(void **state)
{
    (void)state;
    char dir[64], path[400] = "";
    static unsigned char bytes[1 << 20];
    new_dir(dir);
    killed(dir, 1, 2);
    DIR *d = opendir(dir);
    for (const struct dirent *f; (f = readdir(d));)
        if (f->d_name[0] != '.') snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
    closedir(d);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    const size_t n = fread(bytes, 1, sizeof bytes, in);
    fclose(in);
    int damaged;
    struct ledger_row rows[3];
    assert_int_equal(journal_read(bytes, n, STORE, rows, &damaged), 2);
    assert_int_equal(damaged, 0);
    assert_int_equal(rows[1].prompt, 2);
    assert_int_equal(journal_read(bytes, n, STORE + 1, NULL, &damaged), 0);
    assert_int_equal(journal_read(bytes, 4, STORE, NULL, &damaged), 0);
    bytes[0] ^= 1; /* no journal of ours, or of another version: it is left alone */
    assert_int_equal(journal_read(bytes, n, STORE, NULL, &damaged), 0);
    write_file(path, bytes, n);
    struct found f;
    struct journal *j = opened(dir, STORE, &f);
    assert_int_equal(f.calls, 0);
    journal_close(j);
    assert_int_equal(n_files(dir), 1);
    bytes[0] ^= 1;
    bytes[2048 + 40] ^= 1;
    assert_int_equal(journal_read(bytes, n, STORE, rows, &damaged), 1);
    assert_int_equal(damaged, 1);
    memset(bytes + 2048, 0xff, 4); /* a length that there is no room for */
    assert_int_equal(journal_read(bytes, n, STORE, rows, &damaged), 1);
    write_file(path, bytes, n);
    j = opened(dir, STORE, &f);
    assert_int_equal(f.n, 1);
    journal_close(j);
    /* Whole bytes that are no row: what a program with a fault would have written. */
    place_of(bytes + 2048, "no row", 6);
    assert_int_equal(journal_read(bytes, n, STORE, rows, &damaged), 1);
    assert_int_equal(damaged, 1);
    remove_dir(dir);
}

/* A disk without room: requests go on without a place, and get one when there is room again. */
static void test_full(void **state)
{
    (void)state;
    char dir[64];
    struct found f;
    struct err e;
    new_dir(dir);
    struct journal *j = opened(dir, STORE, &f), *none;
    struct rlimit was, small = { 4096, RLIM_INFINITY };
    getrlimit(RLIMIT_FSIZE, &was);
    small.rlim_max = was.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    const struct ledger_row r = make(1);
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(journal_put(j, -1, &r), -1);
    assert_int_equal(journal_put(j, -1, &r), -1);
    setrlimit(RLIMIT_FSIZE, &was);
    const int place = journal_put(j, -1, &r);
    assert_int_equal(place, 0);
    journal_clear(j, place);
    journal_close(j);
    assert_false(journal_open(&none, "/dev/null/x", STORE, take, &f, &e));
    assert_non_null(strstr(e.msg, "--journal"));
    assert_false(journal_open(&none, "/dev/null", STORE, take, &f, &e));
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed),  cmocka_unit_test(test_texts), cmocka_unit_test(test_killed),
        cmocka_unit_test(test_damaged), cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
