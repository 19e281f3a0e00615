/* backend_route.h - the case of op_route(): every choice by its formula. Included by backend_test.c only. */
#ifndef HEARTH_DEVICE_BACKEND_ROUTE_H
#define HEARTH_DEVICE_BACKEND_ROUTE_H

#include <math.h>

#include "device/backend_case.h"

/* The k experts that a row is routed to, by counting those that are better. */
static inline int chosen(const float *merit, int n, int k, int32_t *id)
{
    int at = 0;
    for (int i = 0; i < n; i++) {
        int above = 0;
        for (int j = 0; j < n; j++) above += merit[j] > merit[i] || (merit[j] == merit[i] && j < i);
        if (above < k) id[at++] = i;
    }
    return at;
}

/* Sets merit of all but the `used` best groups to -INFINITY. */
static inline void shut_groups(float *merit, int n_expert, int n_group, int used, int best)
{
    const int size = n_expert / n_group;
    float of[4];
    int32_t id[40];
    for (int g = 0; g < n_group; g++) {
        const int n = chosen(merit + g * size, size, best, id);
        of[g] = 0;
        for (int i = 0; i < n; i++) of[g] += merit[g * size + id[i]];
    }
    const int n = chosen(of, n_group, used, id);
    for (int g = 0; g < n_group; g++) {
        bool open = false;
        for (int i = 0; i < n; i++) open |= id[i] == g;
        for (int i = 0; !open && i < size; i++) merit[g * size + i] = -INFINITY;
    }
}

static inline void case_route(struct ctx *c)
{
    const bool sigmoid = pick(c, 0, 1), biased = pick(c, 0, 1), renorm = pick(c, 0, 1);
    const int n_group = pick(c, 0, 1) ? 4 : 1, used = n_group == 4 ? 2 : 1, best = pick(c, 1, 2);
    const int n_expert = n_group * pick(c, 4, 10), k = pick(c, 1, 4);
    const int64_t n = pick(c, 1, 9);
    const float *logits = values(c, n * n_expert), *bias = values(c, n_expert),
                scale = pick(c, 0, 1) ? 2.5f : 0;
    struct err e = { 0 };
    dev_int *expert = device_ints(c->d, (size_t)(n * k), &e);
    assert_non_null(expert);
    c->piece[c->n_piece++] = expert;
    dev_float *weight = put_random(c, n * k), *x = put(c, values(c, 32), 32),
              *rows = put_random(c, n * k * 1);
    op_route(c->d, &(struct route_args){ .kind = sigmoid ? ROUTE_SIGMOID : ROUTE_SOFTMAX,
                                         .logits = put(c, logits, n * n_expert),
                                         .n = n,
                                         .n_expert = n_expert,
                                         .k = k,
                                         .bias = biased ? put(c, bias, n_expert) : NULL,
                                         .n_group = n_group,
                                         .n_group_used = used,
                                         .group_best = best,
                                         .renorm = renorm,
                                         .scale = scale,
                                         .expert = expert,
                                         .weight = weight });
    result(c, weight, n * k);
    float *want = host(c, (size_t)(n * k) * sizeof *want), *ids = host(c, (size_t)(n * k) * sizeof *ids);
    for (int64_t r = 0; r < n; r++) {
        const float *row = logits + r * n_expert;
        float merit[40];
        int32_t id[40];
        double sum = 0, all = 0;
        for (int i = 0; i < n_expert; i++) all += exp(row[i]);
        for (int i = 0; i < n_expert; i++) {
            merit[i] = (float)(sigmoid ? 1 / (1 + exp(-row[i])) : exp(row[i]) / all);
            merit[i] += biased ? bias[i] : 0;
        }
        if (n_group > 1) shut_groups(merit, n_expert, n_group, used, best);
        assert_int_equal(chosen(merit, n_expert, k, id), k);
        for (int j = 0; j < k; j++) {
            const double score = sigmoid ? 1 / (1 + exp(-row[id[j]])) : exp(row[id[j]]) / all;
            ids[r * k + j] = (float)id[j];
            want[r * k + j] = (float)(score * (scale ? scale : 1));
            sum += score;
        }
        for (int j = 0; renorm && j < k; j++) want[r * k + j] /= (float)sum;
    }
    expect(c, want, n * k);
    /* The choice, seen through a gather of a table of numbers 0, 1, 2 ... */
    float *count = host(c, (size_t)n_expert * sizeof *count);
    for (int i = 0; i < n_expert; i++) count[i] = (float)i;
    x = put(c, count, n_expert);
    op_gather(c->d, rows, 1, x, 1, expert, n * k, 1);
    result(c, rows, n * k);
    expect(c, ids, n * k);
}

#endif
