/* Any bytes as a question to each of the guides' functions, in both modes: an answer, or a reason. */
#include <stdint.h>
#include <stdlib.h>

#include "http/json_in.h"
#include "service/advice/guides.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(enum guide_function g, const struct catalog *c, const json_t *question)
{
    const char *param;
    struct err e = { 0 };
    json_t *answer = NULL;
    if (guide_answer(g, c, question, &answer, &param, &e) != json_is_object(answer)) abort();
    if (!answer && (e.code == ERR_NONE || !*e.msg)) abort();
    json_decref(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct catalog *catalog;
    const struct json_limits limits = { 16, 2000 };
    struct fault f = { 0 };
    json_t *question;
    if (!catalog && !catalog_load(&catalog, NULL, &f.err)) abort();
    if (!json_in_parse((const char *)data, size, &limits, &question, &f)) return 0;
    for (enum guide_function g = GUIDE_COST; g <= GUIDE_DALLE; g++) ask(g, catalog, question);
    json_decref(question);
    return 0;
}
