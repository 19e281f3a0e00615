/* route.c - which experts a row goes to. Logits, softmax and choice are f32; the choice depends on the row's logits alone. */
#include <math.h>

#include "device/cpu/cpu_internal.h"

static void route_softmax(float *p, int n_expert, int k, bool renorm, int32_t *expert, float *weight)
{
    float max = p[0], sum = 0, kept = 0;
    for (int i = 1; i < n_expert; i++) max = p[i] > max ? p[i] : max;
    for (int i = 0; i < n_expert; i++) sum += p[i] = expf(p[i] - max);
    for (int j = 0; j < k; j++) {
        int best = 0;
        for (int i = 1; i < n_expert; i++)
            if (p[i] > p[best]) best = i;
        const float w = p[best] / sum;
        p[best] = -1; /* taken */
        kept += w;
        int at = j; /* insert in ascending expert order */
        for (; at > 0 && expert[at - 1] > best; at--)
            expert[at] = expert[at - 1], weight[at] = weight[at - 1];
        expert[at] = best;
        weight[at] = w;
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
        }
    }
}
