/* pretoken.c - see pretoken.h. */
#include "text/tokenizer/pretoken.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "text/tokenizer/gpt2_bytes.h"
#include "text/tokenizer/onig_regex.h"
#include "text/tokenizer/pretoken_scan.h"

#define LOW_LINE "\u2581"

enum {
    PATTERN_MAX_BYTES = 16384,
    MATCH_LIMIT = 2 * 1000 * 1000, /* backtracking steps of one match: a file's pattern may be exponential */
    JIT_STACK_BYTES = 4 << 20,
};

enum step_kind { STEP_SCAN, STEP_PCRE2, STEP_LITERAL, STEP_BYTES, STEP_LOW_LINES, STEP_SPACE, STEP_META };

struct step {
    enum step_kind kind;
    scan_fn scan;
    pcre2_code *code;
    char *literal; /* of STEP_META: how U+2581 is written */
    size_t literal_len;
    enum split_behavior behavior;
    bool invert;
    enum meta_prefix prefix;
};

struct pretoken {
    const struct unicode *u; /* borrowed */
    int n;
    /* The rewriting that the next split will see, STEP_SCAN: none. Behind the last split it would be undone at once. */
    enum step_kind pending;
    enum step_kind written; /* how pieces are written at the end */
    struct step step[PRETOKEN_MAX_STEPS];
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
        pcre2_code_free(p->step[i].code);
        free(p->step[i].literal);
    }
    free(p);
}

static struct step *next_step(struct pretoken *p, struct step s, struct err *e)
{
    if (p->n == PRETOKEN_MAX_STEPS) {
        err_set(e, ERR_UNSUPPORTED, "a pre-tokenizer of more than %d steps", PRETOKEN_MAX_STEPS);
        return NULL;
    }
    p->step[p->n] = s;
    return &p->step[p->n];
}

static bool write_pending(struct pretoken *p, struct err *e)
{
    if (p->pending == STEP_SCAN) return true;
    if (!next_step(p, (struct step){ .kind = p->pending }, e)) return false;
    p->n++;
    p->written = p->pending;
    p->pending = STEP_SCAN;
    return true;
}

static pcre2_code *compile(const char *pattern, size_t len, struct err *e)
{
    struct buf b = BUF_INIT(8 * PATTERN_MAX_BYTES);
    int code;
    PCRE2_SIZE at;
    if (!onig_regex_translate(pattern, len, &b, e)) {
        buf_free(&b);
        return NULL;
    }
    pcre2_code *c =
        pcre2_compile((PCRE2_SPTR)(b.data ? b.data : ""), b.len, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
    buf_free(&b);
    if (!c) {
        char why[120];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        err_set(e, ERR_UNSUPPORTED, "the pre-tokenizer pattern cannot be compiled: %s", why);
        return NULL;
    }
    pcre2_jit_compile(c, PCRE2_JIT_COMPLETE); /* where there is no JIT, pcre2_match() interprets */
    return c;
}

bool pretoken_add(struct pretoken *p, const char *pattern, size_t len, enum split_behavior behavior,
                  bool invert, bool force_pcre2, struct err *e)
{
    if (len > PATTERN_MAX_BYTES)
        return err_set(e, ERR_LIMIT, "a pre-tokenizer pattern of %zu bytes; %d are read", len,
                       PATTERN_MAX_BYTES);
    if (!write_pending(p, e)) return false;
    struct step *s = next_step(p, (struct step){ .behavior = behavior, .invert = invert }, e);
    if (!s) return false;
    if (!force_pcre2 && (s->scan = scan_find(pattern, len)) != NULL) return p->n++, true;
    s->kind = STEP_PCRE2;
    s->code = compile(pattern, len, e);
    return s->code && (p->n++, true);
}

static bool set_literal(struct step *s, const char *literal, size_t len, struct err *e)
{
    s->literal = malloc(len);
    if (!s->literal) return err_set(e, ERR_NOMEM, "no memory for a pre-tokenizer pattern");
    memcpy(s->literal, literal, len);
    s->literal_len = len;
    return true;
}

bool pretoken_add_literal(struct pretoken *p, const char *literal, size_t len, enum split_behavior behavior,
                          bool invert, struct err *e)
{
    if (len == 0) return err_set(e, ERR_FORMAT, "a pre-tokenizer that splits at the empty string");
    if (p->pending == STEP_LOW_LINES && len == 3 && memcmp(literal, LOW_LINE, 3) == 0) {
        literal = " "; /* the same without writing it */
        len = 1;
    } else if (!write_pending(p, e)) {
        return false;
    }
    struct step *s =
        next_step(p, (struct step){ .kind = STEP_LITERAL, .behavior = behavior, .invert = invert }, e);
    return s && set_literal(s, literal, len, e) && (p->n++, true);
}

static bool add_writing(struct pretoken *p, enum step_kind kind, struct err *e)
{
    if (p->written == kind || p->pending == kind) {
        if (kind == STEP_LOW_LINES) return true; /* none are left to be written */
        return err_set(e, ERR_UNSUPPORTED, "a pre-tokenizer that writes bytes as characters twice");
    }
    if (p->written != STEP_SCAN || p->pending != STEP_SCAN)
        return err_set(e, ERR_UNSUPPORTED, "a pre-tokenizer that writes both bytes and U+2581");
    p->pending = kind;
    return true;
}

bool pretoken_add_bytes(struct pretoken *p, struct err *e) { return add_writing(p, STEP_BYTES, e); }
bool pretoken_add_low_lines(struct pretoken *p, struct err *e) { return add_writing(p, STEP_LOW_LINES, e); }

bool pretoken_add_space(struct pretoken *p, struct err *e)
{
    if (!write_pending(p, e) || !next_step(p, (struct step){ .kind = STEP_SPACE }, e)) return false;
    return p->n++, true;
}

bool pretoken_add_meta(struct pretoken *p, enum meta_prefix prefix, const char *mark, struct err *e)
{
    if (p->written != STEP_SCAN || p->pending == STEP_BYTES)
        return err_set(e, ERR_UNSUPPORTED, "a Metaspace behind a pre-tokenizer that rewrites the text");
    struct step *s = next_step(p, (struct step){ .kind = STEP_META, .prefix = prefix }, e);
    return s && set_literal(s, mark, strlen(mark), e) && (p->n++, true);
}

bool pretoken_moves(const struct pretoken *p)
{
    for (int i = 0; i < p->n; i++)
        if (p->step[i].kind > STEP_LITERAL && (i > 0 || p->step[i].kind != STEP_META)) return true;
    return false;
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

/* The next match from i on. As the reference walks: a match may be empty, but not where the one before ended (`behind`): then the
 * search goes on a character later. */
static enum found find_pcre2(const struct step *sp, struct pretoken_run *r, const char *s, size_t i, size_t n,
                             bool behind, struct span *out, struct err *e)
{
    if (!r->match && !run_init(r, e)) return FOUND_ERROR;
    const size_t last = i;
    while (i <= n) {
        int rc = pcre2_match(sp->code, (PCRE2_SPTR)s, n, i, PCRE2_NO_UTF_CHECK, r->match, r->context);
        if (rc == PCRE2_ERROR_NOMATCH) return FOUND_NONE;
        if (rc < 0) {
            err_set(e, ERR_LIMIT, "the pre-tokenizer pattern gave up on this text (PCRE2 error %d)", rc);
            return FOUND_ERROR;
        }
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(r->match);
        if (v[1] > n || v[0] > v[1] || v[0] < last) return FOUND_NONE;
        if (v[1] > v[0] || !behind || v[1] != last) {
            *out = (struct span){ v[0], v[1] };
            return FOUND_ONE;
        }
        unsigned len;
        if (i >= n) return FOUND_NONE;
        utf8_get((const unsigned char *)s + i, &len);
        i += len;
    }
    return FOUND_NONE;
}

static enum found find(const struct pretoken *p, const struct step *sp, struct pretoken_run *r, const char *s,
                       size_t i, size_t n, bool behind, struct span *out, struct err *e)
{
    if (sp->scan) return sp->scan(p->u, (const unsigned char *)s, i, n, out) ? FOUND_ONE : FOUND_NONE;
    if (sp->code) return find_pcre2(sp, r, s, i, n, behind, out, e);
    const char *hit = i < n ? memmem(s + i, n - i, sp->literal, sp->literal_len) : NULL;
    if (!hit) return FOUND_NONE;
    *out = (struct span){ (size_t)(hit - s), (size_t)(hit - s) + sp->literal_len };
    return FOUND_ONE;
}

struct splitting {
    const struct pretoken *p;
    struct pretoken_run *r;
    const char *begin; /* of the whole text; NULL: this is none */
    bool (*piece)(void *arg, const char *s, size_t n, struct err *e);
    void *arg;
    struct err *e;
};

static bool apply(const struct splitting *st, int k, const char *s, size_t n);

/* The gaps and matches of one split, joined as its behaviour says. Gaps are never empty, matches may be. */
struct joiner {
    const struct splitting *st;
    int next; /* the step that takes the results */
    const char *s;
    bool holds;
    struct span held; /* held back to be joined */
    bool was_match;
};

static bool emit(const struct joiner *j, struct span x)
{
    return x.end == x.start || apply(j->st, j->next, j->s + x.start, x.end - x.start);
}

static bool join(struct joiner *j, const struct step *sp, struct span x, bool is_match)
{
    if (sp->invert) is_match = !is_match;
    bool joins = false, before = j->was_match;
    j->was_match = is_match;
    switch (sp->behavior) {
    case SPLIT_ISOLATED: break; /* apply_isolated() */
    case SPLIT_REMOVED: return is_match || emit(j, x);
    case SPLIT_MERGED_WITH_PREVIOUS: /* a match joins what stands before it, unless that is or ends in a match */
        joins = is_match && !before && j->holds;
        break;
    case SPLIT_MERGED_WITH_NEXT: /* a match joins what comes, unless that is a match too */
        joins = !is_match && before && j->holds;
        break;
    case SPLIT_CONTIGUOUS: joins = is_match == before && j->holds; break;
    }
    if (joins) {
        j->held.end = x.end;
        return true;
    }
    bool ok = !j->holds || emit(j, j->held);
    j->held = x;
    j->holds = true;
    return ok;
}

/* The usual behaviour, without the joiner: gaps and matches go on as they come. */
static bool apply_isolated(const struct splitting *st, int k, const char *s, size_t n)
{
    const struct step *sp = &st->p->step[k];
    bool last = k + 1 == st->p->n && st->p->written == STEP_SCAN, behind = false;
    size_t i = 0;
    struct span m;
    enum found f;
    while ((f = find(st->p, sp, st->r, s, i, n, behind, &m, st->e)) == FOUND_ONE) {
        if (m.start > i && !apply(st, k + 1, s + i, m.start - i)) return false;
        bool ok = last && m.end > m.start ? st->piece(st->arg, s + m.start, m.end - m.start, st->e)
                                          : apply(st, k + 1, s + m.start, m.end - m.start);
        if (!ok) return false;
        i = m.end;
        behind = true;
    }
    return f == FOUND_NONE && (i == n || apply(st, k + 1, s + i, n - i));
}

/* A piece as one of the rewriting steps makes it, into out. */
static bool rewrite(const struct splitting *st, const struct step *sp, const char *s, size_t n,
                    struct masked *out)
{
    const bool meta = sp->kind == STEP_META;
    const char *mark = meta ? sp->literal : LOW_LINE;
    const size_t mark_len = meta ? sp->literal_len : 3;
    if (!masked_reserve(out, (sp->kind == STEP_BYTES ? 2 * n : 3 * n) + 3, false, st->e)) return false;
    if (sp->kind == STEP_BYTES) {
        out->len = gpt2_from_bytes(s, n, out->text);
        return true;
    }
    bool spaced = s[0] == ' ' || (meta && n >= 3 && memcmp(s, LOW_LINE, 3) == 0);
    if (sp->kind == STEP_SPACE) {
        if (!spaced) masked_put(out, " ", 1, 0);
        masked_put(out, s, n, 0);
        return true;
    }
    if (meta && !spaced && (sp->prefix == META_ALWAYS || (sp->prefix == META_FIRST && s == st->begin)))
        masked_put(out, mark, mark_len, 0);
    for (size_t i = 0; i < n;) {
        if (s[i] == ' ') {
            masked_put(out, mark, mark_len, 0);
            i++;
        } else if (meta && mark_len == 1 && n - i >= 3 && memcmp(s + i, LOW_LINE, 3) == 0) {
            masked_put(out, mark, mark_len, 0);
            i += 3;
        } else {
            out->text[out->len++] = s[i++];
        }
    }
    return true;
}

/* A finished piece as the text that it stands for. */
static bool hand_out(const struct splitting *st, const char *s, size_t n)
{
    if (st->p->written == STEP_SCAN) return st->piece(st->arg, s, n, st->e);
    char few[256], *out = n <= sizeof few ? few : malloc(n);
    if (!out) return err_set(st->e, ERR_NOMEM, "no memory for a piece of %zu bytes", n);
    size_t len = 0;
    bool ok = true;
    if (st->p->written == STEP_BYTES) {
        ok = bytes_from_gpt2(s, n, out, &len) ||
             err_set(st->e, ERR_FORMAT, "a piece that is not written in bytes");
    } else {
        for (size_t i = 0; i < n;) {
            bool low = n - i >= 3 && memcmp(s + i, LOW_LINE, 3) == 0;
            out[len++] = low ? ' ' : s[i];
            i += low ? 3 : 1;
        }
    }
    ok = ok && (len == 0 || st->piece(st->arg, out, len, st->e));
    if (out != few) free(out);
    return ok;
}

static bool apply(const struct splitting *st, int k, const char *s, size_t n)
{
    if (n == 0) return true;
    if (k == st->p->n) return hand_out(st, s, n);
    const struct step *sp = &st->p->step[k];
    if (sp->kind > STEP_LITERAL) {
        struct masked text = { 0 };
        bool ok = rewrite(st, sp, s, n, &text) && apply(st, k + 1, text.text, text.len);
        masked_free(&text);
        return ok;
    }
    if (sp->behavior == SPLIT_ISOLATED) return apply_isolated(st, k, s, n);
    struct joiner j = { .st = st, .next = k + 1, .s = s };
    size_t i = 0;
    struct span m;
    enum found f;
    bool behind = false;
    while ((f = find(st->p, sp, st->r, s, i, n, behind, &m, st->e)) == FOUND_ONE) {
        if (m.start > i && !join(&j, sp, (struct span){ i, m.start }, false)) return false;
        if (!join(&j, sp, m, true)) return false;
        i = m.end;
        behind = true;
    }
    return f == FOUND_NONE && (i == n || join(&j, sp, (struct span){ i, n }, false)) &&
           (!j.holds || emit(&j, j.held));
}

bool pretoken_split(const struct pretoken *p, struct pretoken_run *r, const char *s, size_t n, bool first,
                    bool (*piece)(void *arg, const char *s, size_t n, struct err *e), void *arg,
                    struct err *e)
{
    struct splitting st = { p, r, first ? s : NULL, piece, arg, e };
    return apply(&st, 0, s, n);
}
