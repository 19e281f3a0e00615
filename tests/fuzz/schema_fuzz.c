/* Any JSON as a schema: it compiles or is refused; and along any text that it allows, the mask says of every token what its bytes say. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar/matcher.h"

static const char *const pieces[] = { "{",   "}",      "[",     "]",    ":",     ",",   "\"",     " ",
                                      "\n",  "0",      "1",     "10",   "-",     ".",   "e",      "tr",
                                      "ue",  "nul",    "l",     "a",    "ab",    "\"a", "\"a\":", "\": \"",
                                      "\"}", "\", \"", "{\"",   "\\",   "\\u00", "e9",  "\xc3",   "\xa9",
                                      "b",   "true",   "false", "null", "\"b\"", "x" };
enum { N = sizeof pieces / sizeof *pieces };

static struct free_masks *masks;
static uint32_t len[N];

static void prepare(void)
{
    static struct vocab_trie *trie;
    struct err e;
    for (int i = 0; i < N; i++) len[i] = (uint32_t)strlen(pieces[i]);
    if (!vocab_trie_new(&trie, pieces, len, N, &e) || !free_masks_new(&masks, trie, &e)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct schema_limits small = { .max_states = 2000,
                                                .max_nodes = 50000,
                                                .max_values = 2000,
                                                .max_clauses = 256,
                                                .steps = 300000,
                                                .bytes = 16 << 20 };
    json_error_t why;
    struct schema *s;
    struct constraint *c;
    struct matcher *m;
    struct err e;
    if (size < 2) return 0;
    if (!masks) prepare();
    const size_t n_choice = data[0] < size - 1 ? data[0] : size - 1; /* the last bytes choose tokens */
    json_t *j = json_loadb((const char *)data + 1, size - 1 - n_choice, JSON_DECODE_ANY, &why);
    if (!j) return 0;
    if (schema_compile(&s, j, &small, &e)) {
        if (!constraint_of_schema(&c, s, masks, &e) || !matcher_new(&m, c, &e)) abort();
        for (size_t i = 0; i < n_choice && i < 40; i++) {
            uint32_t bits[(N + 31) / 32];
            if (!matcher_mask(m, bits, &e)) break;
            int allowed = 0;
            for (int t = 0; t < N; t++) allowed += bits[t / 32] >> (t % 32) & 1;
            const int pick = allowed ? data[size - 1 - i] % allowed : 0;
            int at = 0, take = -1;
            for (int t = 0; t < N; t++)
                if ((bits[t / 32] >> (t % 32) & 1) && at++ == pick) take = t;
            for (int t = 0; t < N; t++) { /* a token that is not allowed is not taken, and changes nothing */
                bool ok;
                if (bits[t / 32] >> (t % 32) & 1) continue;
                if (!matcher_take(m, t, &ok, &e)) goto done;
                if (ok) abort();
            }
            bool ok;
            if (take < 0) break;
            if (!matcher_take(m, take, &ok, &e)) break;
            if (!ok) abort();
        }
    done:
        matcher_free(m);
        constraint_free(c);
    }
    json_decref(j);
    return 0;
}
