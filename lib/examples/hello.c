/* hello.c - text and a picture out of libhearth:
 *
 *   cc -o hello lib/examples/hello.c $(pkg-config --cflags --libs hearth)
 *   ./hello TEXT-MODEL "a prompt" [IMAGE-MODEL picture.ppm] */
#include <hearth.h>
#include <stdio.h>
#include <string.h>

static int print_piece(void *arg, const char *piece, size_t len)
{
    (void)arg;
    return fwrite(piece, 1, len, stdout) == len; /* whoever reads it has left: cancel */
}

static int show_step(void *arg, int step, int steps)
{
    (void)arg;
    fprintf(stderr, "\rstep %d of %d", step, steps);
    return 1;
}

static int draw(struct hearth_engine *g, const char *path, const char *prompt, const char *file, struct hearth_error *e)
{
    struct hearth_image *m = NULL;
    struct hearth_picture p;
    struct hearth_draw d = HEARTH_INIT(struct hearth_draw);
    d.prompt = prompt;
    d.guidance = -1;
    d.width = d.height = 128;
    d.steps = 2;
    d.seed = 1;
    int ok = hearth_image_load(&m, g, path, e) && hearth_draw(m, &d, show_step, NULL, &p, e);
    FILE *f = ok ? fopen(file, "wb") : NULL;
    if (f) {
        fprintf(f, "P6 %d %d 255\n", p.width, p.height);
        fwrite(p.rgb, 3, (size_t)p.width * (size_t)p.height, f);
        ok = fclose(f) == 0;
    }
    if (ok) hearth_free(p.rgb);
    hearth_image_free(m);
    return ok;
}

int main(int argc, char **argv)
{
    struct hearth_error e = { 0 };
    struct hearth_engine *g = NULL;
    struct hearth_text *t = NULL;
    if (argc != 3 && argc != 5) {
        fprintf(stderr, "usage: hello TEXT-MODEL PROMPT [IMAGE-MODEL PICTURE]\n");
        return 2;
    }
    struct hearth_generate ask = HEARTH_INIT(struct hearth_generate);
    struct hearth_used used = HEARTH_INIT(struct hearth_used);
    ask.prompt = argv[2];
    ask.max_tokens = 8;
    ask.seed = 1;
    int ok = hearth_engine_open(&g, 0, &e) && hearth_text_load(&t, g, argv[1], 0, &e) &&
             hearth_generate(t, &ask, print_piece, NULL, &used, &e);
    if (ok) printf("\n%d tokens behind %d\n", used.generated_tokens, used.prompt_tokens);
    ok = ok && (argc < 5 || draw(g, argv[3], argv[2], argv[4], &e));
    if (!ok) fprintf(stderr, "hello: %s\n", e.message);
    hearth_text_free(t);
    hearth_engine_close(g);
    return ok ? 0 : 1;
}
