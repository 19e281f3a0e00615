/* tokenizer_beside.c - see tokenizer_beside.h. */
#include "text/tokenizer/tokenizer_beside.h"

#include "format/json_memory.h"

/* The ids of those contents that are pieces of the vocabulary, into `ids` (content: id). */
static bool find_pieces(const struct tokenizer_file *f, const json_t *wanted, json_t *ids, struct err *e)
{
    for (size_t k = 0; k < f->n_pieces && json_object_size(wanted); k++) {
        const struct tokenizer_piece *p = &f->piece[k];
        if (!json_object_get(wanted, p->text) || json_object_get(ids, p->text)) continue;
        if (json_object_set_new(ids, p->text, json_integer(p->id)) != 0)
            return err_set(e, ERR_NOMEM, "no memory for the added tokens");
    }
    return true;
}

/* One more added token, unless it is there with the same settings; `old` is the place of its content in the list, or -1. */
static bool put_added(json_t *list, const json_t *token, json_int_t id, json_int_t old, struct err *e)
{
    json_t *one = json_memory_copy(token);
    bool ok = one && json_object_set_new(one, "id", json_integer(id)) == 0;
    if (ok && old >= 0)
        ok = json_array_set(list, (size_t)old, one) == 0;
    else if (ok)
        ok = json_array_append(list, one) == 0;
    json_decref(one);
    return ok || err_set(e, ERR_NOMEM, "no memory for the added tokens");
}

bool tokenizer_beside_merge(const struct tokenizer_file *f, const struct special_tokens *beside, json_t **out,
                            struct err *e)
{
    json_t *list = json_array(), *place = json_object(), *wanted = json_object(), *ids = json_object();
    json_t *names = json_array(), *a;
    bool ok = list && place && wanted && ids && names;
    const char *key;
    size_t i;
    json_array_foreach(json_object_get(f->rest, "added_tokens"), i, a)
    {
        const char *text = json_string_value(json_object_get(a, "content"));
        ok = ok && json_array_append(list, a) == 0 &&
             (!text || json_object_set_new(place, text, json_integer((json_int_t)i)) == 0);
    }
    json_object_foreach(beside ? beside->names : NULL, key, a)
    {
        if (json_is_string(a)) ok = ok && json_array_append(names, a) == 0;
    }
    if (beside) ok = ok && json_array_extend(names, json_object_get(beside->names, "extra")) == 0;
    json_array_foreach(beside ? beside->added : NULL, i, a)
    {
        ok =
            ok && json_object_set(wanted, json_string_value(json_object_get(a, "content")), json_true()) == 0;
    }
    json_array_foreach(names, i, a) ok =
        ok && json_object_set(wanted, json_string_value(a), json_true()) == 0;
    json_object_foreach(place, key, a) json_object_del(wanted, key);
    if (!ok) err_set(e, ERR_NOMEM, "no memory for the added tokens");
    ok = ok && find_pieces(f, wanted, ids, e);
    json_array_foreach(beside ? beside->added : NULL, i, a)
    {
        const char *text = json_string_value(json_object_get(a, "content"));
        const json_t *at = json_object_get(place, text), *piece = json_object_get(ids, text);
        const json_t *id = at ? json_object_get(json_array_get(list, (size_t)json_integer_value(at)), "id")
                           : piece ? piece
                                   : json_object_get(a, "id");
        ok = ok && put_added(list, a, json_integer_value(id), at ? json_integer_value(at) : -1, e);
        if (ok && !at &&
            json_object_set_new(place, text, json_integer((json_int_t)json_array_size(list) - 1)) != 0)
            ok = err_set(e, ERR_NOMEM, "no memory for the added tokens");
    }
    json_array_foreach(names, i, a)
    {
        const char *text = json_string_value(a);
        const json_t *piece = json_object_get(ids, text);
        if (!ok || !piece || json_object_get(place, text)) continue;
        json_t *one = json_pack("{s:s, s:b}", "content", text, "special", 1);
        ok = one ? put_added(list, one, json_integer_value(piece), -1, e)
                 : err_set(e, ERR_NOMEM, "no memory for the added tokens");
        json_decref(one);
    }
    json_decref(place);
    json_decref(wanted);
    json_decref(ids);
    json_decref(names);
    *out = list;
    return ok;
}
