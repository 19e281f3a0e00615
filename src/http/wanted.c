/* wanted.c - see wanted.h. */
#include "http/wanted.h"

#include <limits.h>
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

/* Every prompt and every choice as long as a sequence gets. */
static void worst_of_text(int64_t ctx, const struct gen_request *q, struct usage *out)
{
    const int64_t prompts = q->n_prompts > 1 ? q->n_prompts : 1,
                  choices = q->best_of > q->n ? q->best_of : q->n;
    const int64_t longest = q->max_tokens >= 0 && q->max_tokens < ctx ? q->max_tokens : ctx;
    const int64_t prompt = prompts * ctx, completion = prompts * choices * longest;
    *out = (struct usage){ .prompt_tokens = prompt < INT_MAX ? (int)prompt : INT_MAX,
                           .completion_tokens = completion < INT_MAX ? (int)completion : INT_MAX };
}

bool wanted_text(struct registry *r, struct wire_request *w, struct model **m, struct usage *worst,
                 struct fault *f)
{
    *m = NULL;
    if (!registry_find(r, w->gen.model, m, &f->err)) {
        *m = NULL;
        f->param = "model";
        return false;
    }
    suit_model(w, model_catalog(*m));
    worst_of_text(registry_ctx(r), &w->gen, worst);
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
