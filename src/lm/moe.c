#include "lm/moe.h"

#include <math.h>

static void route_row(float *p, int n_expert, int k, bool renorm, int32_t *expert, float *weight)
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

void moe_route_softmax(float *logits, int64_t n, int n_expert, int k, bool renorm, int32_t *expert,
                       float *weight)
{
    for (int64_t r = 0; r < n; r++)
        route_row(logits + r * n_expert, n_expert, k, renorm, expert + r * k, weight + r * k);
}
