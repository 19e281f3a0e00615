#include "text/grammar/schema_keyword.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static const char *const enforced[] = {
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "format",
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "minContains",
    "maxContains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "unevaluatedItems",
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "required",
    "minProperties",
    "maxProperties",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "nullable",
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
    "$id",
    "$schema",
    "$anchor",
    "$dynamicAnchor",
    "$recursiveAnchor",
    "$defs",
    "definitions",
    "id",
};
static const char *const annotations[] = {
    "title",
    "description",
    "default",
    "example",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "$vocabulary",
    "contentMediaType",
    "contentEncoding",
    "contentSchema",
    "discriminator",
    "xml",
    "externalDocs",
    "markdownDescription",
    "enumDescriptions",
    "markdownEnumDescriptions",
    "enumNames",
    "enumTitles",
    "enumItemLabels",
    "propertyOrder",
    "propertyOrdering",
    "tsType",
    "tsEnumNames",
    "javaType",
    "deprecationMessage",
    "errorMessage",
    "defaultSnippets",
    "doNotSuggest",
    "allowComments",
    "allowTrailingCommas",
    "strict",
    "comment",
    "multiple", /* of an input's values; no multipleOf */
};
enum { LONGEST = 32 };

static bool is_listed(const char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i], name)) return true;
    return false;
}

/* Without case, underscores and hyphens; false: it is longer than any keyword. */
static bool bare(const char *name, char out[LONGEST])
{
    size_t n = 0;
    for (; *name; name++) {
        if (*name == '_' || *name == '-') continue;
        if (n + 1 == LONGEST) return false;
        out[n++] = (char)tolower((unsigned char)*name);
    }
    out[n] = 0;
    return true;
}

static int least(int a, int b) { return a < b ? a : b; }

/* Letters to add, drop, change, or change places with the next, from a to b. */
static int distance(const char *a, const char *b)
{
    int row[LONGEST + 1][LONGEST + 1];
    const int n = (int)strlen(a), m = (int)strlen(b);
    for (int i = 0; i <= n; i++) row[i][0] = i;
    for (int k = 0; k <= m; k++) row[0][k] = k;
    for (int i = 1; i <= n; i++)
        for (int k = 1; k <= m; k++) {
            const int change = row[i - 1][k - 1] + (a[i - 1] != b[k - 1]);
            row[i][k] = least(change, least(row[i - 1][k], row[i][k - 1]) + 1);
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                row[i][k] = least(row[i][k], row[i - 2][k - 2] + 1);
        }
    return row[n][m];
}

enum keyword_kind schema_keyword(const char *name, const char **meant)
{
    const size_t n_enforced = sizeof enforced / sizeof *enforced;
    char plain[LONGEST], other[LONGEST];
    if (is_listed(enforced, n_enforced, name)) return KEYWORD_ENFORCED;
    if (is_listed(annotations, sizeof annotations / sizeof *annotations, name) || *name == '_' ||
        *name == '@' || !strncmp(name, "x-", 2) || !strncmp(name, "$$", 2) || !strncmp(name, "ui:", 3))
        return KEYWORD_ANNOTATION;
    if (!bare(name, plain)) return KEYWORD_UNKNOWN;
    int nearest = LONGEST;
    for (size_t i = 0; i < n_enforced; i++) {
        const int len = (int)strlen(enforced[i]);
        if (enforced[i][0] == '$' || !strcmp(enforced[i], "definitions") || !strcmp(enforced[i], "id"))
            continue;
        bare(enforced[i], other);
        /* Short ones have neighbours that mean something else: note, them, form. */
        const int off = distance(plain, other), far = len < 5 ? 0 : len < 9 ? 1 : 2;
        if (off <= far && off < nearest) {
            *meant = enforced[i];
            nearest = off;
        }
    }
    return nearest < LONGEST ? KEYWORD_MISTAKE : KEYWORD_UNKNOWN;
}
