/* ids.c - the ids that hearth gives to a file, for compare.py: ids MODEL plain|special FILE > ids as int32.
 * MODEL is a folder with a tokenizer.json, or a GGUF file. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "format/filemap.h"
#include "format/weights.h"
#include "text/tokenizer/tokenizer.h"

int main(int argc, char **argv)
{
    struct tokenizer *t = NULL;
    struct weights *w = NULL;
    struct err e = { 0 };
    struct filemap m;
    struct token_list l = { 0 };
    if (argc != 4) return fprintf(stderr, "usage: ids MODEL plain|special FILE\n"), 2;
    double t0 = clock_seconds();
    size_t n = strlen(argv[1]);
    bool gguf = n > 5 && strcmp(argv[1] + n - 5, ".gguf") == 0;
    bool ok = gguf ? weights_open(&w, argv[1], &e) && tokenizer_from_gguf(&t, weights_gguf(w), &e)
                   : tokenizer_from_dir(&t, argv[1], &e);
    double t1 = clock_seconds();
    ok = ok && filemap_open(&m, argv[3], &e);
    double best = 1e9;
    for (int i = 0; ok && i < 3; i++) { /* the best of three says how fast it is; the first warms up */
        double t2 = clock_seconds();
        l.n = 0;
        ok = tokenizer_encode(t, (const char *)m.data, m.size, NULL, strcmp(argv[2], "special") == 0, 0, &l,
                              &e);
        double d = clock_seconds() - t2;
        if (d < best) best = d;
    }
    if (!ok) return fprintf(stderr, "ids: %s\n", e.msg), 1;
    fprintf(stderr, "loaded in %.0f ms, encoded at %.1f MB/s\n", (t1 - t0) * 1e3,
            (double)m.size / best / 1e6);
    return fwrite(l.id, sizeof *l.id, l.n, stdout) == l.n ? 0 : 1;
}
