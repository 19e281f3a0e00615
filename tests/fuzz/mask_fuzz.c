/* A grammar in which names stand for JSON that meets schemas, {"grammar": "...", "schemas": {...}}, or a schema alone: along what it
 * allows masks, copies and forced bytes agree with feeding bytes, across all borders. */
#include <jansson.h>

#include "mask_walk.h"
#include "text/grammar/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct grammar_limits small = {
        .text = { .max_bytes = 4096, .max_rules = 100, .max_nodes = 1000, .max_depth = 20, .max_count = 50 },
        .max_parts = 5000,
        .max_states = 1000,
        .max_table = 100000,
        .work = 200000,
    };
    json_error_t why;
    struct constraint *c = NULL;
    struct schema *s;
    struct err e;
    if (size < 2) return 0;
    const size_t n_choice = data[0] < size - 1 ? data[0] : size - 1; /* the last bytes choose tokens */
    json_t *j = json_loadb((const char *)data + 1, size - 1 - n_choice, JSON_DECODE_ANY, &why);
    if (!j) return 0;
    const json_t *g = json_object_get(j, "grammar");
    if (json_is_string(g)) {
        if (!constraint_of_grammar(&c, json_string_value(g), json_string_length(g),
                                   json_object_get(j, "schemas"), &small, walk_masks(), &e))
            c = NULL;
    } else if (schema_compile(&s, j, NULL, &e)) {
        if (!constraint_of_schema(&c, s, walk_masks(), &e)) abort();
    }
    if (c) walk_constraint(c, data + size - n_choice, n_choice, NULL, NULL);
    json_decref(j);
    return 0;
}
