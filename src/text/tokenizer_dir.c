/* tokenizer_dir.c - a tokenizer out of a folder: tokenizer.json (the format of the tokenizers library) or else
 * tokenizer.model (SentencePiece), with tokenizer_config.json, chat_template.jinja and generation_config.json where
 * they are. */
#include <stdlib.h>

#include "text/tokenizer_config.h"
#include "text/tokenizer_internal.h"
#include "text/tokenizer_json.h"

static int32_t token_id(const struct tokenizer *t, const char *text)
{
    if (!text) return -1;
    int32_t id = tokenizer_find(t, text);
    return id >= 0 ? id : vocab_find(&t->vocab, text, strlen(text));
}

static bool set_template(struct tokenizer *t, const char *text, struct err *e)
{
    free(t->chat_template);
    t->chat_template = strdup(text);
    return t->chat_template || err_set(e, ERR_NOMEM, "no memory for the chat template");
}

/* The template is a string, or a list of named ones of which "default" is meant. */
static bool template_of_config(struct tokenizer *t, const json_t *v, struct err *e)
{
    if (json_is_string(v)) return set_template(t, json_string_value(v), e);
    size_t i;
    json_t *one;
    json_array_foreach(v, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        const char *text = json_string_value(json_object_get(one, "template"));
        if (name && text && (strcmp(name, "default") == 0 || !t->chat_template) && !set_template(t, text, e))
            return false;
    }
    return true;
}

static bool template_of_file(struct tokenizer *t, const char *dir, struct err *e)
{
    struct filemap m;
    bool found;
    if (!config_map(dir, "chat_template.jinja", &m, &found, e)) return false;
    if (!found) return true;
    char *text = memchr(m.data, 0, m.size) ? NULL : strndup((const char *)m.data, m.size);
    filemap_close(&m);
    if (!text) return err_set(e, ERR_FORMAT, "chat_template.jinja cannot be read as text");
    free(t->chat_template);
    t->chat_template = text;
    return true;
}

/* A number that is a token's id, or -1. */
static int32_t id_of(const struct tokenizer *t, const json_t *id)
{
    double v = json_is_number(id) ? json_number_value(id) : -1;
    return v >= 0 && v < t->vocab.n ? (int32_t)v : -1;
}

static void add_end(struct tokenizer *t, const json_t *id)
{
    if (id_of(t, id) >= 0) t->flag[id_of(t, id)] |= TOKEN_END;
}

/* eos_token_id of generation_config.json, else of config.json: a number or a list. */
static bool read_ends(struct tokenizer *t, const char *dir, struct err *e)
{
    static const char *const files[] = { "generation_config.json", "config.json" };
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        json_t *doc;
        if (!config_read(dir, files[k], &doc, e)) return false;
        const json_t *eos = json_object_get(doc, "eos_token_id"), *one;
        size_t i;
        add_end(t, eos);
        json_array_foreach(eos, i, one) add_end(t, one);
        if (t->eos < 0) t->eos = id_of(t, eos);
        bool found = eos && !json_is_null(eos);
        json_decref(doc);
        if (found) break;
    }
    return true;
}

static bool read_config(struct tokenizer *t, const char *dir, struct err *e)
{
    json_t *c;
    if (!config_read(dir, "tokenizer_config.json", &c, e)) return false;
    const char *bos = config_token(json_object_get(c, "bos_token")),
               *eos = config_token(json_object_get(c, "eos_token"));
    if (bos) t->bos = token_id(t, bos);
    if (eos) t->eos = token_id(t, eos);
    const json_t *add = json_object_get(c, "add_bos_token");
    if (json_is_boolean(add)) t->add_bos = json_is_true(add);
    bool ok = template_of_config(t, json_object_get(c, "chat_template"), e);
    json_decref(c);
    return ok && template_of_file(t, dir, e) && read_ends(t, dir, e);
}

bool tokenizer_from_dir(struct tokenizer **out, const char *dir, struct err *e)
{
    struct filemap m;
    struct tokenizer *t = NULL;
    bool json, found;
    if (!config_map(dir, "tokenizer.json", &m, &json, e)) return false;
    if (!json && !config_map(dir, "tokenizer.model", &m, &found, e)) return false;
    if (!json && !found)
        return err_set(e, ERR_NOT_FOUND, "%s has neither tokenizer.json nor tokenizer.model", dir);
    bool ok = json ? tokenizer_from_json(&t, (const char *)m.data, m.size, e)
                   : tokenizer_from_spm(&t, m.data, m.size, e);
    filemap_close(&m);
    if (!ok || !read_config(t, dir, e)) {
        tokenizer_free(t);
        return err_wrap(e, "%s", dir);
    }
    tokenizer_finish(t);
    *out = t;
    return true;
}
