/* Any text as a regular expression: it is taken or refused; along what it allows masks, copies and forced bytes agree with feeding bytes. */
#include "mask_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct constraint *c;
    struct err e;
    if (size < 2) return 0;
    const size_t n_choice = data[0] < size - 1 ? data[0] : size - 1; /* the last bytes choose tokens */
    if (constraint_of_regex(&c, (const char *)data + 1, size - 1 - n_choice, walk_masks(), &e))
        walk_constraint(c, data + size - n_choice, n_choice, NULL, NULL);
    return 0;
}
