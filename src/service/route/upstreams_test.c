/* upstreams_test.c - the file of --routes: what it comes to, and what it may not say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "service/route/upstreams.h"

static struct upstreams *parse(const char *text)
{
    struct upstreams *u = NULL;
    struct err e = { ERR_NONE, "" };
    if (!upstreams_parse(&u, "r.yaml", text, strlen(text), &e)) fail_msg("%s", e.msg);
    return u;
}

static void test_whole(void **state)
{
    (void)state;
    struct upstreams *u = parse("version: 1\n"
                                "upstreams:\n"
                                "  - name: east\n"
                                "    base_url: https://api.example.com/inference/v1/\n"
                                "    key: secret:east\n"
                                "    tries: 4\n"
                                "    between_bytes_s: 2.5\n"
                                "    models:\n"
                                "      - { name: big, theirs: x/big, input: 3, output: 4.5, context: 1000 }\n"
                                "      - { name: draw, kind: image, per_step: 0.0005, per_picture: 0.01 }\n"
                                "  - name: west\n"
                                "    base_url: http://10.0.0.1:8080\n"
                                "    models: [{ name: big }, { name: alone }]\n"
                                "routes:\n"
                                "  - model: big\n"
                                "    choice: weighted\n"
                                "    to: [{ at: west, weight: 3 }, { at: here }, { at: east }]\n"
                                "    shadow: { at: east, share: 0.25 }\n"
                                "  - model: alias\n"
                                "    to: [{ at: west, model: alone }]\n");
    assert_int_equal(u->n, 2);
    const struct upstream *east = &u->v[0], *west = &u->v[1];
    assert_string_equal(east->base_url, "https://api.example.com/inference/v1");
    assert_false(east->whole_path);
    assert_true(west->whole_path);
    assert_int_equal(east->tries, 4);
    assert_true(east->between_s == 2.5 && east->connect_s == 5);
    assert_int_equal(east->model[0].price.input, 3000000000);
    assert_int_equal(east->model[0].price.cached_input, 3000000000);
    assert_int_equal(east->model[0].price.output, 4500000000);
    assert_int_equal(east->model[0].context, 1000);
    assert_true(east->model[1].image && east->model[1].price.step == 500000);
    assert_string_equal(west->model[0].theirs, "big");

    const struct routed *big = upstreams_route(u, "big", 3);
    assert_non_null(big);
    assert_int_equal(big->choice, CHOICE_WEIGHTED);
    assert_int_equal(big->n, 3);
    assert_true(big->to[0].upstream == 1 && big->to[0].weight == 3 && big->to[1].upstream == UPSTREAM_HERE);
    assert_true(big->shadow.upstream == 0 && big->shadow_share == 0.25);
    const struct routed *alias = upstreams_route(u, "alias", 5);
    assert_string_equal(alias->to[0].model->theirs, "alone");
    /* without a route of its own: here, then whoever has it */
    const struct routed *draw = upstreams_route(u, "draw", 4);
    assert_int_equal(draw->n, 2);
    assert_true(draw->to[0].upstream == UPSTREAM_HERE && draw->to[1].upstream == 0);
    assert_int_equal(draw->shadow.upstream, UPSTREAM_NONE);
    assert_null(upstreams_route(u, "bi", 2));
    upstreams_free(u);
}

#define HEAD "version: 1\nupstreams:\n  - name: a\n    base_url: http://x\n    models: [{ name: m }]\n"

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } table[] = {
        { "version: 1\n", "upstreams" },
        { "version: 1\nupstreams: 3\n", "list of up to" },
        { "version: 1\nupstreams:\n  - name: a b\n    base_url: http://x\n    models: [{ name: m }]\n",
          "letters" },
        { "version: 1\nupstreams:\n  - name: a\n    base_url: http://u:p@x\n    models: [{ name: m }]\n",
          "base_url" },
        { "version: 1\nupstreams:\n  - name: a\n    base_url: http://x/?q=1\n    models: [{ name: m }]\n",
          "base_url" },
        { "version: 1\nupstreams:\n  - name: a\n    base_url: http://x\n    models: []\n", "list of models" },
        { "version: 1\nupstreams:\n  - name: a\n    base_url: http://x\n    models: [{ name: m }, { name: m "
          "}]\n",
          "twice" },
        { HEAD "    tries: 0\n", "tries" },
        { HEAD "    retry_share: 2\n", "retry_share" },
        { HEAD "  - name: a\n    base_url: http://y\n    models: [{ name: m }]\n", "twice" },
        { HEAD "routes:\n  - model: m\n    to: []\n", "places" },
        { HEAD "routes:\n  - model: m\n    to: [{ at: here, model: n }]\n", "own name" },
        { HEAD "routes:\n  - model: m\n    to: [{ at: a }]\n    shadow: { at: here, share: 1 }\n", "shadow" },
        { HEAD "routes:\n  - model: m\n    to: [{ at: a }]\n    shadow: { at: a, share: 1.5 }\n", "share" },
        { HEAD "routes:\n  - model: m\n    to: [{ at: a }]\n  - model: m\n    to: [{ at: a }]\n",
          "two routes" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct upstreams *u = NULL;
        struct err e = { ERR_NONE, "" };
        if (upstreams_parse(&u, "r.yaml", table[i].text, strlen(table[i].text), &e))
            fail_msg("taken:\n%s", table[i].text);
        if (!strstr(e.msg, table[i].says) || strncmp(e.msg, "r.yaml:", 7) != 0)
            fail_msg("\"%s\" of\n%s", e.msg, table[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_whole), cmocka_unit_test(test_refused) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
