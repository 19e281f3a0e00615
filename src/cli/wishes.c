#include "cli/wishes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "format/json_memory.h"
#include "format/json_read.h"

enum { MAX_FILE = 8 << 20 };

/* Any file that can be read, pipes too. */
static bool read_file(const char *path, struct buf *out, struct err *e)
{
    char part[65536];
    FILE *f = fopen(path, "rbe");
    if (!f) return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    size_t n;
    bool ok = true;
    while (ok && (n = fread(part, 1, sizeof part, f)) > 0) ok = buf_append(out, part, n);
    if (!ok)
        err_set(e, ERR_LIMIT, "%s passes %d bytes", path, (int)MAX_FILE);
    else if (ferror(f))
        ok = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    fclose(f);
    return ok;
}

/* A key that is there twice is no JSON that means something. */
static bool read_json(const char *path, json_t **out, struct err *e)
{
    struct buf text = BUF_INIT(MAX_FILE);
    json_error_t why;
    bool ok = read_file(path, &text, e);
    if (ok) {
        const char *data = text.data ? text.data : "";
        *out = json_memory_load(data, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
        ok = *out != NULL;
        if (!ok && !json_read_no_memory(&why, data, text.len, e))
            err_set(e, ERR_REQUEST, "%s: line %d is not JSON: %s", path, why.line, why.text);
    }
    buf_free(&text);
    return ok;
}

/* ---- the files ----------------------------------------------------------------------------------------------------- */

static bool read_form(struct wishes *w, const struct options *o, struct err *e)
{
    const int n = (*o->schema != 0) + (*o->grammar != 0) + (*o->regex != 0);
    if (n > 1)
        return err_set(e, ERR_REQUEST,
                       "--schema, --grammar and --regex say each what the answer must be; give one");
    if (!n) return true;
    const char *from = *o->schema ? o->schema : *o->grammar ? o->grammar : "--regex";
    if (!(w->from = strdup(from))) return err_set(e, ERR_NOMEM, "out of memory");
    if (*o->schema) {
        if (!read_json(from, &w->schema, e)) return false;
        if (!json_is_object(w->schema) && !json_is_boolean(w->schema))
            return err_set(e, ERR_REQUEST, "%s: a JSON Schema is an object", from);
        w->form = FORM_SCHEMA;
        return true;
    }
    struct buf text = BUF_INIT(MAX_FILE);
    bool ok = *o->grammar ? read_file(from, &text, e) : buf_puts(&text, o->regex);
    if (ok && !text.len) ok = err_set(e, ERR_REQUEST, "%s is empty", from);
    w->form = *o->grammar ? FORM_GRAMMAR : FORM_REGEX;
    w->len = text.len;
    if (ok && !(w->text = buf_take(&text))) ok = err_set(e, ERR_NOMEM, "out of memory");
    buf_free(&text);
    return ok;
}

static bool read_choice(struct wishes *w, const char *choice, struct err *e)
{
    if (!*choice) return true;
    if (!w->tools) return err_set(e, ERR_REQUEST, "--tool-choice needs --tools");
    const bool word = !strcmp(choice, "auto") || !strcmp(choice, "none") || !strcmp(choice, "required");
    w->choice = word ? json_string(choice)
                     : json_pack("{s:s, s:{s:s}}", "type", "function", "function", "name", choice);
    return w->choice || err_set(e, ERR_REQUEST, "--tool-choice is not valid UTF-8");
}

bool wishes_read(struct wishes *w, const struct options *o, struct err *e)
{
    *w = (struct wishes){ .reasoning = o->reasoning, .tools_from = o->tools };
    bool ok = read_form(w, o, e) && (!*o->tools || read_json(o->tools, &w->tools, e));
    if (ok && w->tools && (!json_is_array(w->tools) || !json_array_size(w->tools)))
        ok = err_set(e, ERR_REQUEST,
                     "%s: tools are a JSON array of {\"type\": \"function\", \"function\": {...}}", o->tools);
    struct gen_request q;
    gen_request_init(&q);
    ok = ok && read_choice(w, o->tool_choice, e) && wishes_to_request(w, true, &q, e);
    gen_request_free(&q);
    if (!ok) wishes_free(w);
    return ok;
}

void wishes_free(struct wishes *w)
{
    json_decref(w->schema);
    json_decref(w->tools);
    json_decref(w->choice);
    free(w->text);
    free(w->from);
    *w = (struct wishes){ .reasoning = "" };
}

/* ---- into requests ------------------------------------------------------------------------------------------------- */

bool wishes_to_request(const struct wishes *w, bool choose, struct gen_request *q, struct err *e)
{
    q->answer.kind = w->form;
    q->answer.schema = json_incref(w->schema);
    q->answer.from = w->from;
    q->answer.len = w->len;
    if (w->text) {
        q->answer.text = malloc(w->len + 1);
        if (!q->answer.text) return err_set(e, ERR_NOMEM, "out of memory");
        memcpy(q->answer.text, w->text, w->len + 1);
    }
    q->thought_form = THOUGHT_SPLIT;
    if (*w->reasoning) {
        q->thinking = strcmp(w->reasoning, "none") != 0 ? THINKING_ON : THINKING_OFF;
        q->thinking_from = "--reasoning";
        if (q->thinking == THINKING_ON) snprintf(q->effort, sizeof q->effort, "%s", w->reasoning);
    }
    return !w->tools ||
           (tool_set_read(&q->tools, w->tools, w->tools_from, false, true, e) &&
            (!choose || !w->choice || tool_set_choose(&q->tools, w->choice, "--tool-choice", e)));
}

bool wishes_to_body(const struct wishes *w, bool choose, json_t *body)
{
    json_t *form = NULL;
    bool failed = false;
    if (w->form == FORM_SCHEMA)
        form = json_pack("{s:s, s:{s:s, s:O}}", "type", "json_schema", "json_schema", "name", "answer",
                         "schema", w->schema);
    if (w->form == FORM_GRAMMAR)
        form = json_pack("{s:s, s:s%}", "type", "grammar", "grammar", w->text, w->len);
    if (w->form == FORM_REGEX) form = json_pack("{s:s, s:s%}", "type", "regex", "pattern", w->text, w->len);
    if (w->form != FORM_ANY) failed = json_object_set_new(body, "response_format", form) != 0;
    if (w->tools) failed |= json_object_set(body, "tools", w->tools) != 0;
    if (choose && w->choice) failed |= json_object_set(body, "tool_choice", w->choice) != 0;
    if (*w->reasoning)
        failed |= json_object_set_new(body, "reasoning_effort", json_string(w->reasoning)) != 0;
    return !failed;
}
