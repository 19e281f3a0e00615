/* hearth.h - the engines of hearth as a C library: load, tokenise, generate, draw, cancel.
 *
 * Errors     functions that can fail return 1 when it is done and 0 when not; *e (or NULL) then says why, and no output was written.
 * Ownership  what a function makes has a function that frees it; what it is given is copied, or used only until it returns. Models are
 *            freed before their engine. What is freed may be NULL.
 * Threads    an engine and its models may be used from any thread; hearth_generate() and hearth_draw() block their caller, and several
 *            at once are served together. Callbacks run on the caller's own thread.
 * Promise    the same model, request and seed give the same bytes, whatever else runs.
 * ABI        the library is libhearth.so.1, its symbols have the version HEARTH_1. Structs begin with their size, which HEARTH_INIT fills in:
 *            fields are added at the end alone, and what a caller does not know of is as if it were zero. */
#ifndef HEARTH_H
#define HEARTH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hearth_error {
    int code; /* 0 none, 1 memory, 2 the system, 3 a file's format, 4 a limit, 5 the request, 6 not found, 7 unsupported, 8 the context is full,
               * 9 busy, 10 cancelled */
    char message[400];
};

const char *hearth_library_version(void);

/* ---- the machine ---- */

struct hearth_engine;
/* threads 0: one for each core. */
int hearth_engine_open(struct hearth_engine **out, int threads, struct hearth_error *e);
void hearth_engine_close(struct hearth_engine *g);

/* Ends a generation or a drawing from another thread, or before it begins; one for each at a time. */
struct hearth_stop;
struct hearth_stop *hearth_stop_new(void); /* NULL: no memory */
void hearth_stop_now(struct hearth_stop *s);
void hearth_stop_free(struct hearth_stop *s); /* when what it was given to has returned */

/* ---- text ---- */

struct hearth_text;
/* A GGUF file or a Hugging Face folder. context 0: the model's own, at most 8192 tokens. */
int hearth_text_load(struct hearth_text **out, struct hearth_engine *g, const char *path, int context, struct hearth_error *e);
void hearth_text_free(struct hearth_text *t);
int hearth_text_context(const struct hearth_text *t);

/* ids: malloc'ed, freed with hearth_free(). Text of control tokens in it is text. */
int hearth_tokenize(struct hearth_text *t, const char *text, size_t len, int32_t **ids, size_t *n, struct hearth_error *e);
/* text: malloc'ed and NUL-terminated, freed with hearth_free(). */
int hearth_detokenize(struct hearth_text *t, const int32_t *ids, size_t n, char **text, size_t *len, struct hearth_error *e);
void hearth_free(void *p);

struct hearth_message {
    const char *role, *content; /* "system", "user", "assistant"; UTF-8 */
};

struct hearth_generate {
    size_t size;
    const char *prompt;                    /* continued as it stands; or NULL, and */
    const struct hearth_message *messages; /* a conversation, by the model's own template */
    size_t n_messages;
    int max_tokens;    /* 0: until the model ends or the context is full */
    float temperature; /* 0: always the likeliest token */
    float top_p;       /* 0: off */
    int top_k;         /* 0: off */
    uint64_t seed;
    struct hearth_stop *stop;       /* or NULL */
    const char *const *stop_strings; /* [n_stop_strings]: the text ends in front of one */
    size_t n_stop_strings;
};

struct hearth_used {
    size_t size;
    int prompt_tokens, generated_tokens;
    int finish; /* 0 the model ended or a stop string came, 1 max_tokens or the context, 2 cancelled */
};

/* piece: whole characters, not NUL-terminated. Returns 0 to cancel. */
typedef int (*hearth_piece_fn)(void *arg, const char *piece, size_t len);
/* used may be NULL. What was cancelled is done, with finish 2. */
int hearth_generate(struct hearth_text *t, const struct hearth_generate *g, hearth_piece_fn fn, void *arg, struct hearth_used *used,
                    struct hearth_error *e);

/* ---- pictures ---- */

struct hearth_image;
/* A diffusers folder, or a single file as src/image/image.h of the sources says. */
int hearth_image_load(struct hearth_image **out, struct hearth_engine *g, const char *path, struct hearth_error *e);
void hearth_image_free(struct hearth_image *m);

struct hearth_draw {
    size_t size;
    const char *prompt, *negative; /* negative NULL: none */
    int width, height, steps;      /* 0: the model's own */
    float guidance;                /* below 0: the model's own */
    uint64_t seed;
    struct hearth_stop *stop; /* or NULL */
};

struct hearth_picture {
    int width, height;
    unsigned char *rgb; /* [height, width, 3], malloc'ed, freed with hearth_free() */
};

/* Returns 0 to cancel. */
typedef int (*hearth_step_fn)(void *arg, int step, int steps);
/* fn may be NULL. What was cancelled is an error with code 10. */
int hearth_draw(struct hearth_image *m, const struct hearth_draw *d, hearth_step_fn fn, void *arg, struct hearth_picture *out, struct hearth_error *e);

#ifdef __cplusplus
}
#endif

/* A zeroed struct that says its size: struct hearth_generate g = HEARTH_INIT(struct hearth_generate); */
#ifdef __cplusplus
template <class T> static inline T hearth_init() { T t{}; t.size = sizeof t; return t; }
#define HEARTH_INIT(type) hearth_init<type>()
#else
#define HEARTH_INIT(type) ((type){ .size = sizeof(type) })
#endif

#endif
