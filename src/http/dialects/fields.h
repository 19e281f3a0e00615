/* fields.h - the tables of what requests may hold, as their readers use them, for the description of the server (http/described.def). Rows begin
 * with a struct json_member, whose forms are named here where others than the reader ask for one. */
#ifndef HEARTH_HTTP_DIALECTS_FIELDS_H
#define HEARTH_HTTP_DIALECTS_FIELDS_H

#include "http/json_in.h"

enum { FIELDS_ALL = 1 };                   /* of a table with one form */
enum { FIELDS_CHAT = 1, FIELDS_TEXT = 2 }; /* chat_fields */
enum {
    FIELDS_CREATE = 1,
    FIELDS_COUNT = 2
}; /* responses_fields, anthropic_fields: to be answered, to count tokens */
enum { FIELDS_OLLAMA_CHAT = 1, FIELDS_OLLAMA_GENERATE = 2 };        /* ollama_fields */
enum { FIELDS_RECOMMEND = 1, FIELDS_PLAN = 2, FIELDS_ENHANCE = 4 }; /* advice_fields */
enum { FIELDS_OLLAMA_COPY = 1, FIELDS_OLLAMA_DELETE = 2 };          /* ollama_name_fields */
enum { FIELDS_TOKENIZE = 1, FIELDS_DETOKENIZE = 2 };                /* token_fields */

extern const struct json_table chat_fields;         /* dialects/parse.c */
extern const struct json_table responses_fields;    /* dialects/responses_parse.c */
extern const struct json_table anthropic_fields;    /* dialects/anthropic_parse.c */
extern const struct json_table rerank_fields;       /* dialects/rerank.c; form 1 */
extern const struct json_table embedding_fields;    /* dialects/embeddings.c; forms: enum embedding_form */
extern const struct json_table ollama_fields;       /* dialects/ollama_parse.c */
extern const struct json_table express_chat_fields; /* dialects/express.c */
extern const struct json_table comparison_fields;   /* dialects/comparison.c */
extern const struct json_table key_fields;          /* dialects/key_body.c */
extern const struct json_table moderation_fields;   /* dialects/moderation.c */
extern const struct json_table check_fields;        /* prompt_check.c */
extern const struct json_table advice_fields;       /* advice.c */
extern const struct json_table token_fields;        /* tokens.c */
extern const struct json_table ollama_name_fields;  /* ollama_names.c */
extern const struct json_table quote_fields;        /* quote.c */
extern const struct json_table firemoon_key_fields; /* admin_keys.c */

#endif
