/* tokenizer.c - speed of encoding, as JSON lines: megabytes of text a second on one core.
 *
 *     build/release/bench/tokenizer MODEL TEXT...      MODEL: a GGUF file or a folder with tokenizer.json
 *
 * Every file is encoded whole, as one prompt; the best of five passes over all of them counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "format/weights.h"
#include "text/tokenizer/tokenizer.h"

struct text {
    char *bytes;
    size_t n;
};

static bool read_file(const char *path, struct text *t)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    *t = (struct text){ NULL, 0 };
    if (!f || fstat(fileno(f), &st) || !S_ISREG(st.st_mode)) goto fail;
    t->n = (size_t)st.st_size;
    t->bytes = malloc(t->n + 1);
    if (!t->bytes || fread(t->bytes, 1, t->n, f) != t->n) goto fail;
    fclose(f);
    return true;
fail:
    if (f) fclose(f);
    fprintf(stderr, "tokenizer: %s cannot be read\n", path);
    return false;
}

/* *w: the GGUF file that the tokenizer reads from, NULL for a folder. */
static bool load(struct tokenizer **t, struct weights **w, const char *path, struct err *e)
{
    struct stat st;
    *w = NULL;
    if (!stat(path, &st) && S_ISDIR(st.st_mode)) return tokenizer_from_dir(t, path, e);
    return weights_open(w, path, e) && tokenizer_from_gguf(t, weights_gguf(*w), e);
}

int main(int argc, char **argv)
{
    struct err e = { 0 };
    struct tokenizer *t;
    struct weights *w;
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL TEXT...\n", argv[0]);
        return 2;
    }
    const int n = argc - 2;
    struct text *texts = calloc((size_t)n, sizeof *texts);
    size_t bytes = 0, tokens = 0;
    for (int i = 0; i < n; i++) {
        if (!texts || !read_file(argv[2 + i], &texts[i])) return 1;
        bytes += texts[i].n;
    }
    if (!load(&t, &w, argv[1], &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    double best = 1e30;
    for (int pass = 0; pass < 5; pass++) {
        const double begin = clock_seconds();
        tokens = 0;
        for (int i = 0; i < n; i++) {
            struct token_list ids = { 0 };
            if (!tokenizer_encode(t, texts[i].bytes, texts[i].n, NULL, true, TOK_BOS, &ids, &e)) {
                fprintf(stderr, "%s: %s\n", argv[2 + i], e.msg);
                return 1;
            }
            tokens += ids.n;
            token_list_free(&ids);
        }
        const double s = clock_seconds() - begin;
        if (s < best) best = s;
    }
    printf("{\"test\":\"tokenizer\",\"bytes\":%zu,\"tokens\":%zu,\"mb_per_s\":%.1f}\n", bytes, tokens,
           (double)bytes / best / 1e6);
    for (int i = 0; i < n; i++) free(texts[i].bytes);
    free(texts);
    tokenizer_free(t);
    if (w) weights_close(w);
    return 0;
}
