#include "text/jinja/chat_template.h"

#include <stdlib.h>
#include <string.h>

#include "text/jinja/jinja_eval.h"

/* Limits of one template and one rendering. Generous beside what real templates need (a 1,000-message conversation takes
 * some 200,000 steps), small beside what a hostile one would take. */
#define MAX_SOURCE_BYTES ((size_t)1 << 20)
#define MAX_TREE_BYTES ((size_t)64 << 20)
#define MAX_STEPS 10000000u
#define MAX_RENDER_BYTES ((size_t)512 << 20)
#define MAX_OUTPUT_BYTES ((size_t)16 << 20)
#define MAX_EVAL_DEPTH 800
#define MAX_JSON_DEPTH 200

struct chat_template {
    char *src; /* line ends normalised; the tree points into it */
    struct jarena mem;
    struct node *root;
    enum chat_content content;
};

/* As jinja2 reads a source: \r\n and \r are \n, and one newline at the end goes. */
static size_t normalise(char *out, const char *src, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (src[i] == '\r') {
            out[n++] = '\n';
            if (i + 1 < len && src[i + 1] == '\n') i++;
        } else {
            out[n++] = src[i];
        }
    }
    if (n && out[n - 1] == '\n') n--;
    out[n] = '\0';
    return n;
}

bool chat_template_compile(struct chat_template **out, const char *source, size_t len, struct err *e)
{
    if (len > MAX_SOURCE_BYTES)
        return err_set(e, ERR_LIMIT, "chat template: %zu bytes, at most %zu are allowed", len,
                       MAX_SOURCE_BYTES);
    struct chat_template *t = calloc(1, sizeof *t);
    char *src = malloc(len + 1);
    if (!t || !src) {
        free(t);
        free(src);
        return err_set(e, ERR_NOMEM, "chat template: out of memory");
    }
    t->src = src;
    t->mem.max_bytes = MAX_TREE_BYTES;
    const size_t n = normalise(src, source, len);
    struct err inner = { 0 };
    t->root = jinja_parse(src, n, &t->mem, &inner);
    if (!t->root) {
        chat_template_free(t);
        return err_set(e, inner.code ? inner.code : ERR_FORMAT, "chat template, %s", inner.msg);
    }
    t->content = jinja_content(t->root);
    *out = t;
    return true;
}

enum chat_content chat_template_content(const struct chat_template *t) { return t->content; }

bool chat_template_names(const struct chat_template *t, const char *name)
{
    return jinja_names(t->root, name);
}

bool chat_template_spells(const struct chat_template *t, const char *text)
{
    return jinja_spells(t->root, text);
}

void chat_template_free(struct chat_template *t)
{
    if (!t) return;
    jarena_free(&t->mem);
    free(t->src);
    free(t);
}

/* JSON to template values. Strings are not copied: the context outlives the rendering. */
static struct jval from_json(struct jvm *vm, const json_t *j, enum jprov prov, int depth)
{
    if (depth > MAX_JSON_DEPTH) {
        vm_fail(vm, ERR_LIMIT, "the request nests deeper than %d", MAX_JSON_DEPTH);
        return j_none();
    }
    switch (json_typeof(j)) {
    case JSON_NULL: return j_none();
    case JSON_TRUE: return j_bool(true);
    case JSON_FALSE: return j_bool(false);
    case JSON_INTEGER: return j_int((int64_t)json_integer_value(j));
    case JSON_REAL: return j_float(json_real_value(j));
    case JSON_STRING: return j_str_ref(vm, json_string_value(j), json_string_length(j), prov);
    case JSON_ARRAY: {
        struct jval list = j_seq(vm, J_LIST, json_array_size(j));
        for (size_t i = 0; i < json_array_size(j) && !vm->failed; i++)
            jseq_push(vm, list, from_json(vm, json_array_get(j, i), PROV_DATA, depth + 1));
        return list;
    }
    case JSON_OBJECT: {
        struct jval d = j_dict(vm);
        const char *key;
        json_t *val;
        json_object_foreach((json_t *)j, key, val)
        {
            if (vm->failed) break;
            jdict_set(vm, d.d, j_str_ref(vm, key, strlen(key), PROV_DATA),
                      from_json(vm, val, PROV_DATA, depth + 1));
        }
        return d;
    }
    }
    return j_none();
}

static bool fail(const struct jvm *vm, struct err *e)
{
    if (vm->raised || vm->code == ERR_CANCELLED) return err_set(e, vm->code, "%s", vm->msg);
    return err_set(e, vm->code, "chat template, line %d: %s", vm->fail_line, vm->msg);
}

/* The output and its mask, into memory of their own. */
static bool take(const struct jbuf *b, struct rendered *out, struct err *e)
{
    char *text = malloc(b->len + 1);
    unsigned char *data = malloc(b->len + 1);
    if (!text || !data) {
        free(text);
        free(data);
        return err_set(e, ERR_NOMEM, "chat template: no memory for the rendered prompt");
    }
    if (b->len) {
        memcpy(text, b->p, b->len);
        memcpy(data, b->mask, b->len);
    }
    text[b->len] = '\0';
    data[b->len] = 0;
    *out = (struct rendered){ text, b->len, data, b->vm->n_steps, b->vm->mem.used_bytes };
    return true;
}

bool chat_template_render(const struct chat_template *t, const json_t *ctx, const struct render_options *o,
                          struct rendered *out, struct err *e)
{
    if (!json_is_object(ctx)) return err_set(e, ERR_REQUEST, "chat template: the context must be an object");
    struct jvm vm = { .mem.max_bytes = MAX_RENDER_BYTES,
                      .max_steps = MAX_STEPS,
                      .max_depth = MAX_EVAL_DEPTH,
                      .max_output_bytes = MAX_OUTPUT_BYTES,
                      .now_unix = o->now_unix,
                      .cancel = o->cancel };
    struct jbuf b = jbuf_new(&vm);
    b.max_bytes = MAX_OUTPUT_BYTES;
    vm.out = &b;
    struct jval context = j_dict(&vm);
    const char *key;
    json_t *val;
    json_object_foreach((json_t *)ctx, key, val) jdict_set(
        &vm, context.d, j_str_ref(&vm, key, strlen(key), PROV_TRUSTED), from_json(&vm, val, PROV_TRUSTED, 0));
    json_object_foreach((json_t *)o->vars, key, val) jdict_set(
        &vm, context.d, j_str_ref(&vm, key, strlen(key), PROV_DATA), from_json(&vm, val, PROV_DATA, 0));
    vm.context = context.d;
    vm.root = jscope_new(&vm, NULL);
    if (vm.root) jexec(&vm, vm.root, t->root->body, t->root->n_body);
    const bool ok = vm.failed ? fail(&vm, e) : take(&b, out, e);
    jarena_free(&vm.mem);
    return ok;
}
