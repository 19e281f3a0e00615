/* usage_query.h - what is asked of /organization/usage/... and /organization/costs, as OpenAI spells it. */
#ifndef HEARTH_HTTP_DIALECTS_USAGE_QUERY_H
#define HEARTH_HTTP_DIALECTS_USAGE_QUERY_H

#include <stdint.h>

#include "base/str_list.h"
#include "service/request.h"

enum usage_kind { USAGE_OF_TEXT, USAGE_OF_PICTURES, USAGE_OF_MONEY };

/* What rows are told apart by, and chosen by. */
enum usage_by_what { BY_PROJECT, BY_KEY, BY_MODEL, BY_SOURCE, N_BY };

struct usage_query {
    enum usage_kind kind;
    int64_t start_s, end_s; /* Unix; end_s not included */
    int64_t width_s, limit; /* of a bucket; buckets in a page */
    int64_t page_s;         /* where the page begins; 0: at start_s */
    unsigned by;            /* 1 << enum usage_by_what */
    struct str_list only[N_BY];
};

void usage_query_init(struct usage_query *q, enum usage_kind kind);
void usage_query_free(struct usage_query *q);
/* One parameter; those that are lists may come several times, with or without "[]" behind their names. */
bool usage_query_take(struct usage_query *q, const char *name, const char *value, struct fault *f);
/* When all have been taken. */
bool usage_query_whole(struct usage_query *q, int64_t now_s, struct fault *f);
/* Whether rows with this value are wanted. */
bool usage_query_wants(const struct usage_query *q, enum usage_by_what what, const char *value);

#endif
