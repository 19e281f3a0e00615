/* pretoken.c - see pretoken.h. */
#include "text/pretoken.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "text/pretoken_scan.h"

enum {
    PATTERN_MAX_BYTES = 16384,
    MATCH_LIMIT = 2 * 1000 * 1000, /* backtracking steps of one match: a file's pattern may be exponential */
    JIT_STACK_BYTES = 4 << 20,
};

struct split {
    scan_fn scan; /* one of these three */
    pcre2_code *code;
    char *literal;
    size_t literal_len;
    enum split_behavior behavior;
    bool invert;
};

struct pretoken {
    const struct unicode *u; /* borrowed */
    int n;
    struct split split[PRETOKEN_MAX_SPLITS];
};

bool pretoken_new(struct pretoken **out, const struct unicode *u, struct err *e)
{
    struct pretoken *p = calloc(1, sizeof *p);
    if (!p) return err_set(e, ERR_NOMEM, "no memory for a pre-tokenizer");
    p->u = u;
    *out = p;
    return true;
}

void pretoken_free(struct pretoken *p)
{
    for (int i = 0; p && i < p->n; i++) {
        pcre2_code_free(p->split[i].code);
        free(p->split[i].literal);
    }
    free(p);
}

/* PCRE2's \s has U+180E and Oniguruma's has not: say what is meant. (\S inside a class cannot be said; no published
 * pattern has it.) */
static char *translate(const char *pattern, size_t len, size_t *out_len)
{
    struct buf b = BUF_INIT(8 * PATTERN_MAX_BYTES);
    bool in_class = false;
    for (size_t i = 0; i < len; i++) {
        if (pattern[i] == '\\' && i + 1 < len) {
            char c = pattern[++i];
            if (c == 's')
                buf_puts(&b, in_class ? "\\x{9}-\\x{d}\\x{85}\\p{Z}" : "[\\x{9}-\\x{d}\\x{85}\\p{Z}]");
            else if (c == 'S' && !in_class)
                buf_puts(&b, "[^\\x{9}-\\x{d}\\x{85}\\p{Z}]");
            else
                buf_append(&b, pattern + i - 1, 2);
            continue;
        }
        if (pattern[i] == '[')
            in_class = true;
        else if (pattern[i] == ']')
            in_class = false;
        buf_putc(&b, pattern[i]);
    }
    *out_len = b.len;
    return buf_take(&b);
}

static struct split *next_split(struct pretoken *p, enum split_behavior behavior, bool invert, struct err *e)
{
    if (p->n == PRETOKEN_MAX_SPLITS) {
        err_set(e, ERR_UNSUPPORTED, "a pre-tokenizer of more than %d splits", PRETOKEN_MAX_SPLITS);
        return NULL;
    }
    struct split *s = &p->split[p->n];
    *s = (struct split){ .behavior = behavior, .invert = invert };
    return s;
}

bool pretoken_add(struct pretoken *p, const char *pattern, size_t len, enum split_behavior behavior,
                  bool invert, bool force_pcre2, struct err *e)
{
    if (len > PATTERN_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "a pre-tokenizer pattern of %zu bytes; %d are read", len,
                       PATTERN_MAX_BYTES);
    struct split *s = next_split(p, behavior, invert, e);
    if (!s) return false;
    if (!force_pcre2 && (s->scan = scan_find(pattern, len)) != NULL) return p->n++, true;

    size_t n;
    char *text = translate(pattern, len, &n);
    if (!text) return err_set(e, ERR_NOMEM, "no memory for a pre-tokenizer pattern");
    int code;
    PCRE2_SIZE at;
    s->code = pcre2_compile((PCRE2_SPTR)text, n, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    free(text);
    if (!s->code) {
        char why[120];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return err_set(e, ERR_UNSUPPORTED, "the pre-tokenizer pattern cannot be compiled: %s", why);
    }
    pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE); /* where there is no JIT, pcre2_match() interprets */
    p->n++;
    return true;
}

bool pretoken_add_literal(struct pretoken *p, const char *literal, size_t len, enum split_behavior behavior,
                          bool invert, struct err *e)
{
    struct split *s = next_split(p, behavior, invert, e);
    if (!s) return false;
    if (len == 0) return err_set(e, ERR_FORMAT, "a pre-tokenizer that splits at the empty string");
    s->literal = malloc(len);
    if (!s->literal) return err_set(e, ERR_NOMEM, "no memory for a pre-tokenizer pattern");
    memcpy(s->literal, literal, len);
    s->literal_len = len;
    p->n++;
    return true;
}

/* Mistral's: o200k without contractions, digits one by one. */
static const char pattern_tekken[] =
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"
    "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

bool pretoken_add_named(struct pretoken *p, const char *name, size_t len, struct err *e)
{
    /* Names and patterns: the table of llama.cpp's converter, for those whose pattern is one of ours. */
    static const struct {
        const char *names; /* each between spaces */
        const char *pattern[3];
    } table[] = {
        { " gpt-2 gpt2 default mpt olmo jais phi-2 trillion granite-docling exaone4 ",
          { scan_pattern_gpt2 } },
        { " llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 smaug-bpe dbrx chatglm-bpe "
          "glm4 ",
          { scan_pattern_llama3 } },
        { " qwen2 qwen3 qwen deepseek-r1-qwen stablelm2 megrez hunyuan-dense ", { scan_pattern_qwen2 } },
        { " llama4 gpt-4o ", { scan_pattern_o200k } },
        { " tekken ", { pattern_tekken } },
        { " deepseek-v3 ", { scan_pattern_numbers3, scan_pattern_cjk, scan_pattern_deepseek } },
        { " smollm starcoder refact command-r codeshell minerva-7b ",
          { scan_pattern_number, scan_pattern_gpt2 } },
    };
    char key[64];
    if (len == 0 || len > sizeof key - 3 || memchr(name, ' ', len))
        return err_set(e, ERR_FORMAT, "the file's pre-tokenizer has no usable name");
    key[0] = ' ';
    memcpy(key + 1, name, len);
    memcpy(key + 1 + len, " ", 2);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!strstr(table[i].names, key)) continue;
        for (int k = 0; k < 3 && table[i].pattern[k]; k++)
            if (!pretoken_add(p, table[i].pattern[k], strlen(table[i].pattern[k]), SPLIT_ISOLATED, false,
                              false, e))
                return false;
        return true;
    }
    return err_set(e, ERR_UNSUPPORTED, "the pre-tokenizer \"%.*s\" is not known to this build", (int)len,
                   name);
}

void pretoken_run_free(struct pretoken_run *r)
{
    pcre2_match_data_free(r->match);
    pcre2_match_context_free(r->context);
    pcre2_jit_stack_free(r->stack);
    *r = (struct pretoken_run){ 0 };
}

static bool run_init(struct pretoken_run *r, struct err *e)
{
    r->match = pcre2_match_data_create(1, NULL);
    r->context = pcre2_match_context_create(NULL);
    r->stack = pcre2_jit_stack_create(32 << 10, JIT_STACK_BYTES, NULL);
    if (!r->match || !r->context) {
        pretoken_run_free(r);
        return err_set(e, ERR_NOMEM, "no memory to run a pre-tokenizer pattern");
    }
    pcre2_set_match_limit(r->context, MATCH_LIMIT);
    if (r->stack) pcre2_jit_stack_assign(r->context, NULL, r->stack);
    return true;
}

enum found { FOUND_NONE, FOUND_ONE, FOUND_ERROR };

static enum found find_pcre2(const struct split *sp, struct pretoken_run *r, const char *s, size_t i,
                             size_t n, struct span *out, struct err *e)
{
    if (!r->match && !run_init(r, e)) return FOUND_ERROR;
    while (i < n) {
        int rc = pcre2_match(sp->code, (PCRE2_SPTR)s, n, i, PCRE2_NO_UTF_CHECK, r->match, r->context);
        if (rc == PCRE2_ERROR_NOMATCH) return FOUND_NONE;
        if (rc < 0) {
            err_set(e, ERR_LIMIT, "the pre-tokenizer pattern gave up on this text (PCRE2 error %d)", rc);
            return FOUND_ERROR;
        }
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(r->match);
        if (v[1] > v[0] && v[1] <= n) {
            *out = (struct span){ v[0], v[1] };
            return FOUND_ONE;
        }
        unsigned len; /* an empty match cuts nothing: look on after the next character */
        if (v[1] >= n) return FOUND_NONE;
        utf8_get((const unsigned char *)s + v[1], &len);
        i = v[1] + len;
    }
    return FOUND_NONE;
}

static enum found find(const struct pretoken *p, const struct split *sp, struct pretoken_run *r,
                       const char *s, size_t i, size_t n, struct span *out, struct err *e)
{
    if (sp->scan) return sp->scan(p->u, (const unsigned char *)s, i, n, out) ? FOUND_ONE : FOUND_NONE;
    if (sp->code) return find_pcre2(sp, r, s, i, n, out, e);
    const char *hit = i < n ? memmem(s + i, n - i, sp->literal, sp->literal_len) : NULL;
    if (!hit) return FOUND_NONE;
    *out = (struct span){ (size_t)(hit - s), (size_t)(hit - s) + sp->literal_len };
    return FOUND_ONE;
}

struct splitting {
    const struct pretoken *p;
    struct pretoken_run *r;
    bool (*piece)(void *arg, const char *s, size_t n, struct err *e);
    void *arg;
    struct err *e;
};

static bool apply(const struct splitting *st, int k, const char *s, size_t n);

/* The gaps and matches of one split, joined as its behaviour says. */
struct joiner {
    const struct splitting *st;
    int next; /* the split that takes the results */
    const char *s;
    struct span held; /* held back to be joined; start == end: nothing */
    bool held_match;
};

static bool emit(const struct joiner *j, struct span x)
{
    return x.end == x.start || apply(j->st, j->next, j->s + x.start, x.end - x.start);
}

static bool join(struct joiner *j, const struct split *sp, struct span x, bool is_match)
{
    if (x.start == x.end) return true;
    if (sp->invert) is_match = !is_match;
    bool ok = true;
    switch (sp->behavior) {
    case SPLIT_ISOLATED: break; /* apply_isolated() */
    case SPLIT_REMOVED: return is_match || emit(j, x);
    case SPLIT_MERGED_WITH_PREVIOUS: /* a match joins what stands before it, unless that ends in a match already */
        if (is_match && !j->held_match && j->held.end > j->held.start) {
            j->held.end = x.end;
            j->held_match = true;
            return true;
        }
        break;
    case SPLIT_MERGED_WITH_NEXT: /* a match joins what comes, unless that is a match too */
        if (!is_match && j->held_match) {
            x.start = j->held.start;
            j->held = (struct span){ 0 };
        }
        break;
    case SPLIT_CONTIGUOUS:
        if (is_match == j->held_match && j->held.end > j->held.start) {
            j->held.end = x.end;
            return true;
        }
        break;
    }
    ok = emit(j, j->held);
    j->held = x;
    j->held_match = is_match;
    return ok;
}

/* The usual behaviour, without the joiner: gaps and matches go on as they come. */
static bool apply_isolated(const struct splitting *st, int k, const char *s, size_t n)
{
    const struct split *sp = &st->p->split[k];
    bool last = k + 1 == st->p->n;
    size_t i = 0;
    struct span m;
    enum found f;
    while ((f = find(st->p, sp, st->r, s, i, n, &m, st->e)) == FOUND_ONE) {
        if (m.start > i && !apply(st, k + 1, s + i, m.start - i)) return false;
        bool ok = last ? st->piece(st->arg, s + m.start, m.end - m.start, st->e)
                       : apply(st, k + 1, s + m.start, m.end - m.start);
        if (!ok) return false;
        i = m.end;
    }
    return f == FOUND_NONE && (i == n || apply(st, k + 1, s + i, n - i));
}

static bool apply(const struct splitting *st, int k, const char *s, size_t n)
{
    if (k == st->p->n) return st->piece(st->arg, s, n, st->e);
    const struct split *sp = &st->p->split[k];
    if (sp->behavior == SPLIT_ISOLATED) return apply_isolated(st, k, s, n);
    struct joiner j = { st, k + 1, s, { 0 }, false };
    size_t i = 0;
    struct span m;
    enum found f;
    while ((f = find(st->p, sp, st->r, s, i, n, &m, st->e)) == FOUND_ONE) {
        if (!join(&j, sp, (struct span){ i, m.start }, false) || !join(&j, sp, m, true)) return false;
        i = m.end;
    }
    return f == FOUND_NONE && join(&j, sp, (struct span){ i, n }, false) && emit(&j, j.held);
}

bool pretoken_split(const struct pretoken *p, struct pretoken_run *r, const char *s, size_t n,
                    bool (*piece)(void *arg, const char *s, size_t n, struct err *e), void *arg,
                    struct err *e)
{
    struct splitting st = { p, r, piece, arg, e };
    return n == 0 || apply(&st, 0, s, n);
}
