/* wanted.c - see wanted.h. */
#include "http/wanted.h"

#include <string.h>

#include "service/tools/tool_format.h"

enum {
    UNKNOWN_STEPS =
        100 /* for what a model may cost whose usual number the catalog does not have: more than any uses */
};

/* ---- text ---------------------------------------------------------------------------------------------------------- */

/* What the request leaves to the model; c NULL: the catalog does not know it. */
static void suit_model(struct wire_request *w, const struct catalog_model *c)
{
    struct gen_request *q = &w->gen;
    if (c && catalog_calls_format(c)) q->tool_format = tool_format_named(catalog_calls_format(c));
    if (q->thought_form != THOUGHT_AS_SET) return;
    const bool inside = w->style->thoughts_in_text && !(c && c->reasoning == THOUGHTS_SPLIT);
    q->thought_form = inside ? THOUGHT_INLINE : THOUGHT_SPLIT;
}

bool wanted_text(struct registry *r, struct wire_request *w, struct model **m, struct fault *f)
{
    *m = NULL;
    if (!registry_find(r, w->gen.model, m, &f->err)) {
        *m = NULL;
        f->param = "model";
        return false;
    }
    suit_model(w, model_catalog(*m));
    return true;
}

/* ---- pictures ------------------------------------------------------------------------------------------------------ */

/* `wanted` NULL, or a model that is OpenAI's own and elsewhere: the first of ours stands for it. */
static bool find_picture_model(struct registry *r, const char *wanted, struct model **m, struct fault *f)
{
    static const char *const theirs[] = { "dall-e-", "gpt-image-", "chatgpt-image-" };
    for (size_t i = 0; wanted && i < sizeof theirs / sizeof *theirs; i++)
        if (!strncmp(wanted, theirs[i], strlen(theirs[i]))) wanted = NULL;
    if (registry_find_image(r, wanted, m, &f->err)) return true;
    *m = NULL;
    f->param = "model";
    return false;
}

bool wanted_pictures(struct registry *r, struct picture_wire *w, const char *model, struct model **m,
                     struct usage *worst, struct fault *f)
{
    *m = NULL;
    if (!find_picture_model(r, model ? model : w->q.model, m, f) || !picture_wire_resolve(w, *m, f))
        return false;
    const struct catalog_model *known = model_catalog(*m);
    const int64_t steps = w->q.steps ? w->q.steps : known ? known->steps : UNKNOWN_STEPS;
    *worst = (struct usage){ .pictures = (int)w->q.n, .steps = (int)(w->q.n * steps) };
    return true;
}

bool wanted_draws(struct registry *r, const struct catalog *c, const char *name)
{
    struct model *m;
    struct err none = { 0 };
    const struct catalog_model *known = catalog_find(c, name);
    return known ? known->kind == MODEL_IMAGE : registry_find_image(r, name, &m, &none);
}
