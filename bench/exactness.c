/* exactness.c - logits of a text, for tools that compare them.
 *
 *     build/release/bench/exactness MODEL KV_TYPE TEXT_FILE N_TOKENS OUT
 *
 * Reads the first N_TOKENS tokens of the text through the engine's door and writes OUT: int32 n, int32 n_vocab, the n ids,
 * then the n * n_vocab logits as f32. KV_TYPE is f16 or q8_0, as --kv-type. Without arguments: prints the device, as HEARTH_ISA
 * allows it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "lm/lm.h"

static char *read_all(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *text = malloc(1 << 20);
    *len = f && text ? fread(text, 1, 1 << 20, f) : 0;
    if (f) fclose(f);
    return text;
}

int main(int argc, char **argv)
{
    struct err e = { 0 };
    struct pool *pool;
    struct device *dev;
    struct lm *lm;
    if (!pool_new(&pool, 0, &e) || !device_cpu_open(&dev, pool, ~0u, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    if (argc == 1) {
        printf("%s\n", device_name(dev));
        return 0;
    }
    if (argc != 6) {
        fprintf(stderr, "usage: %s MODEL KV_TYPE TEXT_FILE N_TOKENS OUT\n", argv[0]);
        return 2;
    }
    const int want = atoi(argv[4]);
    const struct lm_options o = { .n_ctx = want + 8,
                                  .max_batch = 1,
                                  .kv_type = strcmp(argv[2], "q8_0") ? KV_F16 : KV_Q8_0 };
    if (strcmp(argv[2], "f16") && strcmp(argv[2], "q8_0")) {
        fprintf(stderr, "no such type of cache: %s\n", argv[2]);
        return 2;
    }
    if (!lm_load(&lm, argv[1], &o, dev, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    size_t len;
    char *text = read_all(argv[3], &len);
    struct token_list list = { 0 };
    if (!text || !tokenizer_encode(lm_tokenizer(lm), text, len, NULL, false, 0, &list, &e)) {
        fprintf(stderr, "%s: %s\n", argv[3], e.msg);
        return 1;
    }
    const int32_t *ids = list.id;
    const int32_t n = list.n < (size_t)want ? (int32_t)list.n : want, n_vocab = lm_info(lm)->n_vocab;
    float *logits = mem_aligned((size_t)n * (size_t)n_vocab, sizeof *logits, false);
    if (!logits || n < 2 || !lm_logits(lm, ids, n, logits, &e)) {
        fprintf(stderr, "%s: %s\n", argv[3], e.msg);
        return 1;
    }
    FILE *f = fopen(argv[5], "wb");
    const bool ok =
        f && fwrite(&n, sizeof n, 1, f) && fwrite(&n_vocab, sizeof n_vocab, 1, f) &&
        fwrite(ids, sizeof *ids, (size_t)n, f) == (size_t)n &&
        fwrite(logits, sizeof *logits, (size_t)n * (size_t)n_vocab, f) == (size_t)n * (size_t)n_vocab;
    if (!f || fclose(f) || !ok) {
        fprintf(stderr, "%s: cannot be written\n", argv[5]);
        return 1;
    }
    printf("%s\n", device_name(dev));
    return 0;
}
