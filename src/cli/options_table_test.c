/* The table of options: every row can be read, kept and printed. */
#include "cli/options_table.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/isa.h"
#include "base/words.h"
#include "cli/options.h"

static int parse(struct options *o, enum command_bit command, const char *flag)
{
    char name[] = "test", *copy = flag ? strdup(flag) : NULL, *argv[] = { name, copy, NULL };
    int rc = options_parse(o, command, flag ? 2 : 1, argv);
    free(copy);
    return rc;
}

/* A field must be able to keep what the row lets through. */
static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        print_message("%s\n", s->name);
        assert_true(s->commands && !(s->commands & ~(uint64_t)CMD_ALL));
        assert_int_equal(s->type == OPT_BOOL, s->value == NULL);
        for (size_t k = 0; k < i; k++) assert_string_not_equal(s->name, options_table[k].name);
        for (size_t k = 0; k < i; k++) assert_true(s->field != options_table[k].field);
        switch (s->type) {
        case OPT_STR: assert_int_equal(s->store, STORE_STR); break;
        case OPT_SECRET: assert_true(s->store == STORE_STR || s->store == STORE_LIST); break;
        case OPT_LIST: assert_int_equal(s->store, STORE_LIST); break;
        case OPT_BOOL: assert_int_equal(s->store, STORE_BOOL); break;
        case OPT_NUM:
        case OPT_SECONDS: assert_int_equal(s->store, STORE_DOUBLE); break;
        case OPT_MEMORY: assert_int_equal(s->store, STORE_SIZE); break;
        case OPT_WORD:
            assert_non_null(strchr(s->value, '|'));
            assert_true(s->store == STORE_STR || s->store == STORE_UNSIGNED || s->store == STORE_BOOL);
            if (s->store == STORE_BOOL) assert_ptr_equal(strchr(s->value, '|'), strrchr(s->value, '|'));
            break;
        case OPT_INT:
        case OPT_BYTES:
            assert_true(s->store == STORE_INT || s->store == STORE_LONG || s->store == STORE_SIZE);
            if (s->store == STORE_INT) assert_true(s->min >= INT_MIN && s->max <= INT_MAX);
            if (s->store == STORE_SIZE) assert_true(s->min >= 0);
            break;
        }
    }
}

/* Defaults come from the rows, and the ends of a range are in it. */
static void test_values(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(parse(&o, CMD_SERVE, NULL), -1);
    assert_int_equal(o.registry.lm.max_batch, LM_DEFAULT_BATCH);
    assert_int_equal(o.registry.lm.kv_type, KV_F16);
    assert_false(o.server.share_prefixes);
    assert_int_equal(o.server.max_body, 32 << 20);
    assert_true(o.server.strict_fields);
    assert_int_equal(o.log_level, LOG_INFO);
    options_free(&o);
    char most[40], beyond[40];
    snprintf(most, sizeof most, "--max-batch=%d", LM_MAX_BATCH);
    snprintf(beyond, sizeof beyond, "--max-batch=%d", LM_MAX_BATCH + 1);
    assert_int_equal(parse(&o, CMD_SERVE, most), -1);
    assert_int_equal(o.registry.lm.max_batch, LM_MAX_BATCH);
    options_free(&o);
    assert_int_equal(parse(&o, CMD_SERVE, beyond), 2);
    options_free(&o);
    assert_int_equal(parse(&o, CMD_SERVE, "--kv-type=q8_0"), -1);
    assert_int_equal(o.registry.lm.kv_type, KV_Q8_0);
    options_free(&o);
    assert_int_equal(parse(&o, CMD_SERVE, "--prefix-sharing=all"), -1);
    assert_true(o.server.share_prefixes);
    options_free(&o);
    assert_int_equal(parse(&o, CMD_SERVE, "--kv-type=q9"), 2);
    options_free(&o);
}

/* --isa knows the instruction sets that there are, those of other processors besides. */
static void test_isa(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_options_table; i++) {
        const struct option_spec *s = &options_table[i];
        for (int k = 0; !strcmp(s->name, "isa") && k < ISA_LEVELS; k++)
            assert_true(words_have(s->value, isa_level[k].name, NULL));
    }
}

/* What the environment says of another command's option is checked, and changes nothing here. */
static void test_other_commands(void **state)
{
    (void)state;
    struct options o;
    setenv("HEARTH_MEMORY_LIMIT", "1M", 1);
    assert_int_equal(parse(&o, CMD_SERVE, NULL), -1);
    assert_int_equal(o.registry.memory_limit, 1 << 20);
    options_free(&o);
    assert_int_equal(parse(&o, CMD_CHAT, NULL), -1);
    assert_int_equal(o.registry.memory_limit, 0);
    options_free(&o);
    setenv("HEARTH_MEMORY_LIMIT", "much", 1);
    assert_int_equal(parse(&o, CMD_CHAT, NULL), 2);
    options_free(&o);
    unsetenv("HEARTH_MEMORY_LIMIT");
}

/* Every command is found by its name and by what else is typed, and no word means two. */
static void test_commands(void **state)
{
    (void)state;
    assert_int_equal(CMD_ALL & CMD_VERSION, CMD_VERSION);
    for (int i = 0; i < N_COMMANDS; i++) {
        assert_int_equal(commands[i].bit, 1LL << i);
        assert_ptr_equal(cli_find(commands[i].name), &commands[i]);
        for (int k = 0; k < N_COMMANDS; k++)
            assert_false(words_have(commands[k].also, commands[i].name, NULL));
    }
    assert_string_equal(cli_find("ls")->name, "models");
    assert_string_equal(cli_find("-V")->name, "version");
    assert_null(cli_find("l"));
    assert_null(cli_find(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),           cmocka_unit_test(test_values),   cmocka_unit_test(test_isa),
        cmocka_unit_test(test_other_commands), cmocka_unit_test(test_commands),
    };
    unsetenv("HEARTH_CONFIG");
    setenv("XDG_CONFIG_HOME", "/dev/null/none", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
