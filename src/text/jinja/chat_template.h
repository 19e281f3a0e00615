/* chat_template.h - the model's own Jinja text, run by our interpreter (sandboxed: bounded steps, depth, output).
 *
 * Equal to Python's jinja2 with the settings transformers uses (trim_blocks, lstrip_blocks, loop controls, tojson without
 * ASCII escapes and with Python separators, raise_exception, strftime_now, the generation tag).
 * Threads   a compiled template is read-only; any number of threads may render it. */
#ifndef HEARTH_TEXT_JINJA_CHAT_TEMPLATE_H
#define HEARTH_TEXT_JINJA_CHAT_TEMPLATE_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct chat_template;

bool chat_template_compile(struct chat_template **out, const char *source, size_t len, struct err *e);
void chat_template_free(struct chat_template *t);

/* The forms of a message's content that the template can print. */
enum chat_content {
    CONTENT_STRING, /* one string */
    CONTENT_PARTS,  /* a list of {"type": "text", "text": ...} */
    CONTENT_EITHER, /* it asks which of the two it got */
};
enum chat_content chat_template_content(const struct chat_template *t);
/* Whether the template asks for a variable of this name. */
bool chat_template_names(const struct chat_template *t, const char *name);
/* Whether this text stands in the template, in what it prints or compares with. */
bool chat_template_spells(const struct chat_template *t, const char *text);

struct rendered {
    char *text; /* NUL-terminated; free() */
    size_t len;
    unsigned char
        *data; /* one byte a byte of text: 1 where it came from the context's untrusted values; free() */
    uint64_t n_steps; /* what it cost, of the steps and of the memory that one rendering may take */
    size_t n_bytes;
};

struct render_options {
    const json_t *vars; /* more variables, all the user's and so untrusted; NULL: none */
    int64_t now_unix;   /* for strftime_now */
    const atomic_bool
        *cancel; /* read at every step: rendering ends with ERR_CANCELLED once it is set; NULL: never */
};

/* ctx: an object with messages, tools, add_generation_prompt, bos_token, ... Its top-level strings are trusted (they are the
 * server's own); every string inside an array or object is the user's, and so is what filters make of it.
 * A template's raise_exception() becomes ERR_REQUEST with its message. */
bool chat_template_render(const struct chat_template *t, const json_t *ctx, const struct render_options *o,
                          struct rendered *out, struct err *e);

#endif
