/* paths_test.c - what is left of a message once the folders of this machine are out of it. */
#include "base/paths.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_messages(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *msg, *left;
    } cases[] = {
        { "/data/models", "/data/models/tiny/config.json: no such file", "tiny/config.json: no such file" },
        { "/data/models/", "/data/models//tiny: is not read", "tiny: is not read" },
        { "/data/models", "cannot open '/data/models/a.gguf' (/data/models/b)", "cannot open 'a.gguf' (b)" },
        { "/data/models", "/data/models: Permission denied", "models: Permission denied" },
        { "/data/models", "/data/models-old/x, /x/data/models/y, /data/models.d",
          "/data/models-old/x, /x/data/models/y, /data/models.d" },
        { "build/models", "accounts/build/models/x and build/models/y", "accounts/build/models/x and y" },
        { "models", "models/x and accounts/local/models/y", "models/x and accounts/local/models/y" },
        { "/", "GET /v1/models lists them", "GET /v1/models lists them" },
        { ".", "./a", "./a" },
        { "/v1", "GET /v1/models", "GET models" }, /* whoever calls a folder that gets that */
        { "/data/models", "", "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char msg[200];
        snprintf(msg, sizeof msg, "%s", cases[i].msg);
        paths_hide(msg, cases[i].folder);
        assert_string_equal(msg, cases[i].left);
    }
}

static void test_cut_off_messages(void **state)
{
    (void)state;
    const char *whole = "shard /data/secret/models/x is not /data/secret/models/y";
    for (size_t cap = 8; cap <= strlen(whole) + 1; cap++) {
        char msg[100];
        snprintf(msg, cap, "%s", whole);
        paths_hide(msg, "/data/secret/models");
        if (strstr(msg, "/d") || strstr(msg, "data")) fail_msg("cut at %zu: %s", cap, msg);
    }
}

static void test_the_folder_as_it_resolves(void **state)
{
    (void)state;
    char msg[] = "/usr/bin/env and /usr/lib/../bin/env";
    paths_hide(msg, "/usr/lib/../bin");
    assert_string_equal(msg, "env and env");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_messages),
                                        cmocka_unit_test(test_cut_off_messages),
                                        cmocka_unit_test(test_the_folder_as_it_resolves) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
