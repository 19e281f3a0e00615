/* moe.h - routed experts: which experts a token goes to, and with what weight.
 *
 * Router logits, softmax and choice are f32. Ties go to the lower expert, so the choice does not depend on anything
 * but the logits. Experts of a row come out in ascending order, the order op_moe() adds them in. */
#ifndef HEARTH_LM_MOE_H
#define HEARTH_LM_MOE_H

#include <stdbool.h>
#include <stdint.h>

/* logits [n, n_expert] (overwritten with probabilities) -> expert [n, k], weight [n, k]. Softmax over all experts, the k
 * largest kept; renorm: their weights are divided by their sum. */
void moe_route_softmax(float *logits, int64_t n, int n_expert, int k, bool renorm, int32_t *expert,
                       float *weight);

#endif
