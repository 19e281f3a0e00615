/* tokenizer_dir.c - a tokenizer out of a folder: tokenizer.json (the format of the tokenizers library), or else
 * tokenizer.model (SentencePiece) or vocab.txt (BERT), with the small files of transformers beside it, where they are. */
#include <stdlib.h>

#include "format/json_memory.h"
#include "text/tokenizer/tokenizer_config.h"
#include "text/tokenizer/tokenizer_internal.h"
#include "text/tokenizer/tokenizer_json.h"

static int32_t token_id(const struct tokenizer *t, const char *text)
{
    if (!text) return -1;
    int32_t id = tokenizer_find(t, text);
    return id >= 0 ? id : vocab_find(&t->vocab, text, strlen(text));
}

static bool set_template(struct tokenizer *t, const char *text, const char *from, struct err *e)
{
    free(t->chat_template);
    t->chat_template = strdup(text);
    t->template_from = from;
    return t->chat_template || err_set(e, ERR_NOMEM, "no memory for the chat template");
}

/* The template is a string, or a list or object of named ones of which "default" is meant. */
static bool template_of_json(struct tokenizer *t, const json_t *v, const char *from, struct err *e)
{
    if (json_is_string(v)) return set_template(t, json_string_value(v), from, e);
    const json_t *only = json_object_get(v, "default");
    if (json_is_string(only)) return set_template(t, json_string_value(only), from, e);
    size_t i;
    json_t *one;
    bool any = false;
    json_array_foreach(v, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        const char *text = json_string_value(json_object_get(one, "template"));
        if (!name || !text || (any && strcmp(name, "default") != 0)) continue;
        if (!set_template(t, text, from, e)) return false;
        any = true;
    }
    return true;
}

/* Of several places the later one counts, as transformers has it: tokenizer_config.json, the processor's chat_template.json,
 * chat_template.jinja. */
static bool read_templates(struct tokenizer *t, const char *dir, const json_t *config, struct err *e)
{
    struct filemap m;
    bool found;
    json_t *processor = NULL;
    bool ok = template_of_json(t, json_object_get(config, "chat_template"), "tokenizer_config.json", e) &&
              config_read(dir, "chat_template.json", &processor, e) &&
              template_of_json(t, json_object_get(processor, "chat_template"), "chat_template.json", e);
    if (ok && processor && !json_object_get(processor, "chat_template"))
        ok = err_set(e, ERR_FORMAT, "chat_template.json has no \"chat_template\"");
    json_decref(processor);
    if (!ok || !config_map(dir, "chat_template.jinja", &m, &found, e)) return false;
    if (!found) return true;
    char *text = memchr(m.data, 0, m.size) ? NULL : strndup((const char *)m.data, m.size);
    filemap_close(&m);
    if (!text) return err_set(e, ERR_FORMAT, "chat_template.jinja cannot be read as text");
    free(t->chat_template);
    t->chat_template = text;
    t->template_from = "chat_template.jinja";
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

/* Of the whole model, else of the language model inside a larger one. */
static const json_t *end_of(const json_t *doc)
{
    static const char *const inner[] = { "text_config", "llm_config", "language_config" };
    const json_t *eos = json_object_get(doc, "eos_token_id");
    for (size_t i = 0; (!eos || json_is_null(eos)) && i < sizeof inner / sizeof *inner; i++)
        eos = json_object_get(json_object_get(doc, inner[i]), "eos_token_id");
    return eos;
}

/* eos_token_id of generation_config.json, else of config.json: a number or a list. */
static bool read_ends(struct tokenizer *t, const char *dir, struct err *e)
{
    static const char *const files[] = { "generation_config.json", "config.json" };
    for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
        json_t *doc;
        if (!config_read(dir, files[k], &doc, e)) return false;
        const json_t *eos = end_of(doc), *one;
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

/* What goes around a text: once a file says add_bos_token or add_eos_token, the two decide alone, and what is not said is false; but a
 * SentencePiece model begins with its beginning token unless told otherwise. */
static void read_affixes(struct tokenizer *t, const json_t *config, bool json)
{
    const json_t *bos = json_object_get(config, "add_bos_token"),
                 *eos = json_object_get(config, "add_eos_token");
    if (json && !bos && !eos) return;
    tokenizer_set_affixes(t, bos || json ? json_is_true(bos) : true, json_is_true(eos));
}

static bool read_config(struct tokenizer *t, const char *dir, const json_t *config, const json_t *names,
                        bool json, struct err *e)
{
    const char *bos = json_string_value(json_object_get(names, "bos_token")),
               *eos = json_string_value(json_object_get(names, "eos_token"));
    if (bos) t->bos = token_id(t, bos);
    if (eos) t->eos = token_id(t, eos);
    read_affixes(t, config, json);
    if (!json && t->prefix != PREFIX_NONE) { /* Llama's: not legacy, no space after a special token */
        if (json_is_false(json_object_get(config, "legacy"))) t->prefix = PREFIX_FIRST;
        if (json_is_false(json_object_get(config, "add_prefix_space"))) t->prefix = PREFIX_NONE;
    }
    t->names = json_memory_copy(names);
    if (!t->names) return err_set(e, ERR_NOMEM, "no memory for the names of special tokens");
    return read_templates(t, dir, config, e) && read_ends(t, dir, e);
}

static bool load(struct tokenizer **t, const char *dir, const json_t *config, struct special_tokens *beside,
                 struct err *e)
{
    struct filemap m;
    bool json, spm = false, lines = false;
    if (!config_special_tokens(dir, config, beside, e) || !config_map(dir, "tokenizer.json", &m, &json, e))
        return false;
    if (!json && !config_map(dir, "tokenizer.model", &m, &spm, e)) return false;
    if (!json && !spm && !config_map(dir, "vocab.txt", &m, &lines, e)) return false;
    if (!json && !spm && !lines)
        return err_set(e, ERR_NOT_FOUND, "%s has no tokenizer.json, tokenizer.model or vocab.txt", dir);
    const char *text = (const char *)m.data;
    bool ok = json  ? tokenizer_from_json(t, text, m.size, beside, e)
              : spm ? tokenizer_from_spm(t, m.data, m.size, beside, e)
                    : tokenizer_from_vocab_txt(t, text, m.size, config, beside, e);
    filemap_close(&m);
    if (!ok || !read_config(*t, dir, config, beside->names, !spm, e)) return false;
    tokenizer_finish(*t);
    return true;
}

bool tokenizer_from_dir(struct tokenizer **out, const char *dir, struct err *e)
{
    struct tokenizer *t = NULL;
    struct special_tokens beside = { 0 };
    json_t *config = NULL;
    bool ok = config_read(dir, "tokenizer_config.json", &config, e) && load(&t, dir, config, &beside, e);
    json_decref(config);
    json_decref(beside.names);
    json_decref(beside.added);
    if (!ok) {
        tokenizer_free(t);
        return err_wrap(e, "%s", dir);
    }
    *out = t;
    return true;
}
