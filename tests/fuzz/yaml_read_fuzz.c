/* Any bytes as a YAML file, and as a struct by a table: what is refused says why, what is taken keeps to the limits. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/yaml_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct thing {
    char *name;
    struct str_list tags;
    int64_t whole;
    double number;
    bool on;
    unsigned word;
};
#define F(f) offsetof(struct thing, f)
static const struct yaml_row within[] = { { .key = "whole", .type = YAML_WHOLE, .offset = F(whole) },
                                          { .key = "on", .type = YAML_BOOL, .offset = F(on) },
                                          { .key = NULL } };
static const struct yaml_row rows[] = {
    { .key = "name", .type = YAML_STR, .offset = F(name), .needed = true },
    { .key = "tags", .type = YAML_STRS, .offset = F(tags) },
    { .key = "number", .type = YAML_NUMBER, .offset = F(number) },
    { .key = "word", .type = YAML_WORD, .offset = F(word), .words = "red|green" },
    { .key = "within", .type = YAML_WITHIN, .within = within },
    { .key = NULL },
};

static void check(const struct yaml_tree *t, int depth)
{
    if (depth > YAML_READ_DEPTH + 1 || t->line < 1 || t->column < 1) abort();
    if ((t->kind == YAML_KIND_TEXT) != (t->text != NULL) || t->kind == YAML_KIND_NONE) abort();
    for (int i = 0; i < t->n; i++) {
        if ((t->kind == YAML_KIND_MAP) != (t->item[i].key != NULL)) abort();
        if (t->item[i].key && yaml_member(t, t->item[i].key) != &t->item[i]) abort();
        check(&t->item[i], depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct yaml_doc d = { 0 };
    struct thing t = { 0 };
    struct err e = { ERR_NONE, "" };
    if (!yaml_read_text(&d, "f", (const char *)data, size, &e)) {
        if (e.code != ERR_FORMAT || strncmp(e.msg, "f:", 2) != 0) abort();
        return 0;
    }
    if (d.root.kind != YAML_KIND_NONE) check(&d.root, 1);
    if (yaml_fill(&d, &d.root, rows, &t, &e)) {
        if (!t.name || t.word > 1 || t.number < 0 || t.whole < 0) abort();
    } else if (e.code != ERR_FORMAT || strncmp(e.msg, "f:", 2) != 0) {
        abort();
    }
    yaml_fill_free(rows, &t);
    yaml_doc_free(&d);
    return 0;
}
