/* Prefixes that survive: the same bytes from pages of an earlier run, and nothing worse than no cache whatever became of the files. */
#include "lm/test_engine.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lm/prefix_store.h"

#define MODEL "tests/golden/lm/chat"
enum { PROMPT = 300, WHOLE = PROMPT / 32 * 32 /* tokens in whole pages */ };

struct folder {
    char path[64];
};

static struct folder folder_new(void)
{
    struct folder f = { "/tmp/hearth-prefix-XXXXXX" };
    assert_non_null(mkdtemp(f.path));
    return f;
}

/* Calls fn, or nothing, for each file below; their number. */
static int each_file(const char *dir, void (*fn)(const char *path))
{
    int n = 0;
    DIR *d = opendir(dir);
    const struct dirent *f;
    while (d && (f = readdir(d)) != NULL) {
        char path[400];
        struct stat st;
        if (f->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            n += each_file(path, fn);
            continue;
        }
        n++;
        if (fn) fn(path);
    }
    if (d) closedir(d);
    return n;
}

static void forget_file(const char *path) { unlink(path); }

static void folder_free(struct folder *f)
{
    each_file(f->path, forget_file);
    DIR *d = opendir(f->path);
    const struct dirent *e;
    while (d && (e = readdir(d)) != NULL) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", f->path, e->d_name);
        if (e->d_name[0] != '.') rmdir(path);
    }
    if (d) closedir(d);
    rmdir(f->path);
}

/* One start of the model with the folder; what a request says, and how many of its prompt's tokens were not computed. */
static char *start_and_ask(const struct lm_options *o, unsigned char space, int *cached)
{
    struct engine g;
    struct seen s;
    int32_t prompt[PROMPT];
    start_model(&g, MODEL, 2, o);
    prompt_of(prompt, PROMPT, 3);
    struct lm_request r = request(prompt, PROMPT, 30);
    r.space[0] = space;
    collect(submit(&g, &r), &s);
    assert_int_equal(s.error.code, ERR_NONE);
    assert_int_equal(s.usage.completion_tokens, 30);
    char *said = strdup(s.out[0].data);
    *cached = s.usage.cached_tokens;
    seen_free(&s);
    stop(&g);
    return said;
}

static void says(const struct lm_options *o, unsigned char space, const char *want, int cached)
{
    int got;
    char *said = start_and_ask(o, space, &got);
    assert_string_equal(said, want);
    if (got != cached) fail_msg("%d tokens were found, not %d", got, cached);
    free(said);
}

static void flip(const char *path)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -7, SEEK_END), 0);
    const int c = fgetc(f);
    assert_int_equal(fseek(f, -7, SEEK_END), 0);
    fputc(c ^ 0x10, f);
    fclose(f);
}

static void cut(const char *path) { assert_int_equal(truncate(path, 100), 0); }

static void swap_names(const char *path) /* every file becomes the content of the first one that is seen */
{
    static char first[400];
    char command[1000];
    if (!*first) {
        snprintf(first, sizeof first, "%s", path);
        return;
    }
    snprintf(command, sizeof command, "cp '%s' '%s'", first, path);
    assert_int_equal(system(command), 0);
}

static void test_a_second_start_finds_the_prefix(void **state)
{
    (void)state;
    struct folder f = folder_new();
    int cached;
    const struct lm_options none = { .kv_bytes = 64 << 20 };
    struct lm_options o = none;
    o.cache_dir = f.path;
    char *want = start_and_ask(&none, 0, &cached);
    says(&o, 0, want, 0);
    const int n = each_file(f.path, NULL);
    assert_in_range(n, WHOLE / 32, WHOLE / 32 + 1); /* the answer fills a page more */
    says(&o, 0, want, WHOLE);
    assert_int_equal(each_file(f.path, NULL), n);
    says(&o, 1, want, 0); /* another's space: its own pages */
    assert_int_equal(each_file(f.path, NULL), 2 * n);
    says(&o, 1, want, WHOLE);
    o.kv_type = KV_Q8_0; /* another cache: other pages */
    char *rounded = start_and_ask(&o, 0, &cached);
    assert_int_equal(cached, 0);
    says(&o, 0, rounded, WHOLE);
    free(rounded);
    o.kv_type = KV_F16;
    o.n_ctx = 1000; /* ... as of another context */
    says(&o, 0, want, 0);
    free(want);
    folder_free(&f);
}

static void test_damage_is_a_miss(void **state)
{
    (void)state;
    void (*damage[])(const char *) = { flip, cut, swap_names, forget_file };
    struct folder f = folder_new();
    int cached;
    const struct lm_options o = { .kv_bytes = 64 << 20, .cache_dir = f.path };
    char *want = start_and_ask(&o, 0, &cached);
    const int n = each_file(f.path, NULL);
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        says(&o, 0, want, WHOLE);
        each_file(f.path, damage[i]);
        int got;
        char *said = start_and_ask(&o, 0, &got);
        assert_string_equal(said, want);
        assert_true(got <= 32); /* one file was its own content still when names were swapped */
        free(said);
        assert_int_equal(each_file(f.path, NULL), n); /* written anew */
    }
    free(want);
    folder_free(&f);
}

static void test_a_folder_that_cannot_be_had_is_none(void **state)
{
    (void)state;
    struct folder f = folder_new();
    int cached;
    struct lm_options o = { .kv_bytes = 64 << 20 };
    char *want = start_and_ask(&o, 0, &cached);
    o.cache_dir = f.path;
    assert_int_equal(chmod(f.path, 0777), 0); /* others may write there */
    says(&o, 0, want, 0);
    assert_int_equal(each_file(f.path, NULL), 0);
    assert_int_equal(chmod(f.path, 0700), 0);
    o.cache_dir = MODEL "/config.json"; /* no folder */
    says(&o, 0, want, 0);
    o.cache_dir = "/proc/nowhere"; /* where none can be made */
    says(&o, 0, want, 0);
    o.cache_dir = f.path;
    o.cache_bytes = 1; /* no page fits */
    says(&o, 0, want, 0);
    assert_int_equal(each_file(f.path, NULL), 0);
    free(want);
    folder_free(&f);
}

static void test_evicted_pages_come_back(void **state)
{
    (void)state;
    struct folder f = folder_new();
    struct engine g;
    struct seen s;
    int32_t prompt[PROMPT], other[PROMPT];
    char *want = NULL;
    /* Room for little more than one sequence: each prompt drives out the one before. */
    start_model(&g, MODEL, 1, &(struct lm_options){ .n_ctx = 512, .kv_bytes = 1 << 19, .cache_dir = f.path });
    prompt_of(prompt, PROMPT, 3);
    for (int round = 0; round < 2; round++) {
        struct lm_request r = request(prompt, PROMPT, 20);
        collect(submit(&g, &r), &s);
        if (!want) want = strdup(s.out[0].data);
        assert_string_equal(s.out[0].data, want);
        assert_int_equal(s.usage.cached_tokens >= WHOLE, round == 1);
        seen_free(&s);
        for (int k = 0; k < 12 && round == 0; k++) {
            prompt_of(other, PROMPT, 50 + (uint64_t)k);
            struct lm_request q = request(other, PROMPT, 2);
            collect(submit(&g, &q), &s);
            seen_free(&s);
        }
        /* They are written in the order in which they left: the first prompt's are when so many are there. */
        for (int i = 0; i < 12000 && round == 0 && each_file(f.path, NULL) < 2 * WHOLE / 32 + 2; i++)
            usleep(10000);
    }
    free(want);
    stop(&g);
    folder_free(&f);
}

/* ---- the store alone ------------------------------------------------------------------------------------------------- */

enum { PAGE = 1000 };

static void hash_for(unsigned char hash[PREFIX_HASH], int i)
{
    const int32_t token[2] = { i, 7 };
    unsigned char begin[PREFIX_HASH];
    prefix_hash_begin(begin, (const unsigned char *)"space", 5);
    prefix_hash_page(hash, begin, token, 2);
}

static void put_page(struct prefix_store *s, int i)
{
    unsigned char hash[PREFIX_HASH];
    hash_for(hash, i);
    void *room = prefix_store_room(s, hash, true);
    if (!room) return;
    memset(room, i, PAGE);
    prefix_store_write(s, hash, room);
}

static bool has_page(struct prefix_store *s, int i)
{
    unsigned char hash[PREFIX_HASH], want[PAGE];
    hash_for(hash, i);
    memset(want, i, PAGE);
    const void *page = prefix_store_read(s, hash);
    if (page) assert_memory_equal(page, want, PAGE);
    return page != NULL;
}

static struct prefix_store *open_store(const struct folder *f, size_t limit)
{
    static const unsigned char key[PREFIX_HASH] = "key";
    struct prefix_store *s;
    struct err e;
    if (!prefix_store_open(&s, f->path, key, PAGE, limit, &e)) fail_msg("%s", e.msg);
    return s;
}

static void test_two_servers_share_a_bounded_folder(void **state)
{
    (void)state;
    struct folder f = folder_new();
    const size_t limit = 50 * (PAGE + prefix_file_head());
    struct prefix_store *a = open_store(&f, limit), *b = open_store(&f, limit);
    for (int i = 0; i < 200; i++) {
        put_page(a, i);
        if (i % 2) put_page(b, i);
    }
    prefix_store_close(a);
    prefix_store_close(b);
    assert_int_equal(each_file(f.path, NULL), 50);
    a = open_store(&f, limit);
    int found = 0;
    for (int i = 0; i < 200; i++) found += has_page(a, i);
    assert_int_equal(found, 50);
    /* What the other one removes is a miss. */
    each_file(f.path, forget_file);
    for (int i = 0; i < 200; i++) assert_false(has_page(a, i));
    prefix_store_close(a);
    folder_free(&f);
}

/* Writing ends when it fails, once and for all, and reading goes on. */
static void test_a_disk_that_takes_nothing(void **state)
{
    (void)state;
    struct folder f = folder_new();
    struct prefix_store *s = open_store(&f, SIZE_MAX);
    folder_free(&f); /* under its feet */
    for (int i = 0; i < 300; i++) put_page(s, i);
    for (int i = 0; i < 300; i++) assert_false(has_page(s, i));
    prefix_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_second_start_finds_the_prefix),
        cmocka_unit_test(test_damage_is_a_miss),
        cmocka_unit_test(test_a_folder_that_cannot_be_had_is_none),
        cmocka_unit_test(test_evicted_pages_come_back),
        cmocka_unit_test(test_two_servers_share_a_bounded_folder),
        cmocka_unit_test(test_a_disk_that_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
