/* route.c - which experts a row goes to. Logits, softmax and choice are f32; the choice depends on the row's logits alone. */
#include <math.h>

#include "device/cpu/cpu_internal.h"

/* expert [j] and weight [j] are in ascending order of expert: one more. */
static void insert(int32_t *expert, float *weight, int j, int32_t id, float w)
{
    for (; j > 0 && expert[j - 1] > id; j--) expert[j] = expert[j - 1], weight[j] = weight[j - 1];
    expert[j] = id;
    weight[j] = w;
}

static int largest(const float *p, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (p[i] > p[best]) best = i;
    return best;
}

/* Chosen by the logit itself: sigmoids of large ones are equal. */
static void route_sigmoid(float *p, int n_expert, int k, int32_t *expert, float *weight)
{
    for (int j = 0; j < k; j++) {
        const int best = largest(p, n_expert);
        insert(expert, weight, j, best, 1 / (1 + expf(-p[best])));
        p[best] = -INFINITY; /* taken */
    }
}

static void route_softmax(float *p, int n_expert, int k, bool renorm, int32_t *expert, float *weight)
{
    float max = p[0], sum = 0, kept = 0;
    for (int i = 1; i < n_expert; i++) max = p[i] > max ? p[i] : max;
    for (int i = 0; i < n_expert; i++) sum += p[i] = expf(p[i] - max);
    for (int j = 0; j < k; j++) {
        const int best = largest(p, n_expert);
        const float w = p[best] / sum;
        p[best] = -1; /* taken */
        kept += w;
        insert(expert, weight, j, best, w);
    }
    if (renorm)
        for (int j = 0; j < k; j++) weight[j] /= kept;
}

void cpu_route(struct device *d, const struct route_args *a)
{
    (void)d;
    for (int64_t r = 0; r < a->n; r++) {
        float *logits = a->logits + r * a->n_expert;
        switch (a->kind) {
        case ROUTE_SOFTMAX:
            route_softmax(logits, a->n_expert, a->k, a->renorm, a->expert + r * a->k, a->weight + r * a->k);
            break;
        case ROUTE_SIGMOID:
            route_sigmoid(logits, a->n_expert, a->k, a->expert + r * a->k, a->weight + r * a->k);
            break;
        }
    }
}
