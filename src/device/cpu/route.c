/* route.c - which experts a row goes to. Logits, scores and choice are f32; the choice depends on the row's logits alone. */
#include <math.h>

#include "device/cpu/cpu_internal.h"

/* Of experts, and of groups of them, that are taken or cannot be. */
#define NEVER (-INFINITY)

static void softmax(float *p, int n)
{
    float max = p[0], sum = 0;
    for (int i = 1; i < n; i++) max = p[i] > max ? p[i] : max;
    for (int i = 0; i < n; i++) sum += p[i] = expf(p[i] - max);
    for (int i = 0; i < n; i++) p[i] /= sum;
}

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }

struct row {
    const struct route_args *a;
    const float *score; /* [n_expert], or logits of sigmoids */
    bool late;          /* logits: a sigmoid follows the choice */
    bool *shut;         /* [n_expert] these cannot be chosen (any more) */
};

/* What expert i counts for in the choice. */
static float merit(const struct row *r, int i)
{
    if (r->shut[i]) return NEVER;
    return r->a->bias ? r->score[i] + r->a->bias[i] : r->score[i];
}

/* The best of experts [lo, hi) that are not shut; lo where none is better than nothing. */
static int best_of(const struct row *r, int lo, int hi)
{
    int best = lo;
    for (int i = lo + 1; i < hi; i++)
        if (merit(r, i) > merit(r, best) || (r->shut[best] && !r->shut[i])) best = i;
    return best;
}

/* The sum of the highest in experts [lo, hi), which are left as they were. */
static float worth(const struct row *r, int lo, int hi)
{
    int taken[ROUTE_GROUP_BEST], k = 0;
    const int wanted = r->a->group_best, n = wanted < hi - lo ? wanted : hi - lo;
    float sum = 0;
    for (; k < n && k < ROUTE_GROUP_BEST; k++) {
        taken[k] = best_of(r, lo, hi);
        sum += merit(r, taken[k]);
        r->shut[taken[k]] = true;
    }
    while (k) r->shut[taken[--k]] = false;
    return sum;
}

/* Shuts all but the best groups. */
static void choose_groups(const struct row *r)
{
    const struct route_args *a = r->a;
    const int size = a->n_expert / a->n_group;
    float of[ROUTE_GROUPS];
    for (int g = 0; g < a->n_group; g++) of[g] = worth(r, g * size, (g + 1) * size);
    for (int g = 0; g < a->n_group; g++) {
        int above = 0;
        for (int o = 0; o < a->n_group; o++) above += of[o] > of[g] || (of[o] == of[g] && o < g);
        for (int i = 0; above >= a->n_group_used && i < size; i++) r->shut[g * size + i] = true;
    }
}

static void route(const struct row *r, int32_t *expert, float *weight)
{
    const struct route_args *a = r->a;
    const float scale = a->scale == 0 ? 1 : a->scale;
    float kept = 0;
    for (int i = 0; i < a->n_expert; i++) r->shut[i] = false;
    if (a->n_group > 1) choose_groups(r);
    for (int j = 0; j < a->k; j++) {
        const int best = best_of(r, 0, a->n_expert);
        const float w = r->late ? sigmoid(r->score[best]) : r->score[best];
        r->shut[best] = true;
        kept += w;
        int at = j; /* insert in ascending expert order */
        for (; at > 0 && expert[at - 1] > best; at--)
            expert[at] = expert[at - 1], weight[at] = weight[at - 1];
        expert[at] = best;
        weight[at] = w;
    }
    for (int j = 0; a->renorm && j < a->k; j++) weight[j] /= kept + 1e-20f; /* sigmoids may all be 0 */
    for (int j = 0; j < a->k; j++) weight[j] *= scale;
}

void cpu_route(struct device *d, const struct route_args *a)
{
    (void)d;
    const bool late = a->kind == ROUTE_SIGMOID && !a->bias && a->n_group <= 1;
    bool shut[ROUTE_EXPERTS];
    for (int64_t r = 0; r < a->n; r++) {
        float *score = a->logits + r * a->n_expert;
        const struct row row = { a, score, late, shut };
        if (a->kind == ROUTE_SOFTMAX) softmax(score, a->n_expert);
        for (int i = 0; a->kind == ROUTE_SIGMOID && !late && i < a->n_expert; i++)
            score[i] = sigmoid(score[i]);
        route(&row, a->expert + r * a->k, a->weight + r * a->k);
    }
}
