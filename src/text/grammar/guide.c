#include "text/grammar/guide.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum {
    MAX_MARK = 64,    /* bytes of a mark or of a text that opens a call */
    MAX_OPENS = 16,   /* such texts */
    MAX_FORCED = 256, /* bytes that are forced at once */
    MAX_GAP = 8       /* bytes of white space between a thought and an answer that is held to a constraint */
};

struct guide_plan {
    atomic_int refs;
    const struct tokenizer *tok;
    int32_t n_vocab;
    size_t words;
    char *think_open, *think_close;
    size_t n_open, n_close;
    bool inside, ignore_end, opens_first;
    int64_t budget;
    struct constraint *answer, *call;
    char *opens[MAX_OPENS];
    size_t opens_len[MAX_OPENS];
    bool behind[MAX_OPENS];  /* the constraint begins behind it */
    bool is_mark[MAX_OPENS]; /* it is a control token */
    int n_opens;
    int32_t *first; /* what stands in front of a held answer; [n_first] */
    int n_first;
    const uint32_t *ends; /* [words] end tokens; the cache's */
    uint32_t *shown;      /* [words] control tokens that are part of the text; NULL: none */
    uint32_t *
        crossing; /* [words] tokens that hold a whole mark and, behind it, what cannot come there; NULL: none */
    int32_t *close; /* the tokens that close a thought */
    int n_to_close;
};

enum phase {
    BEFORE, /* a thought may begin, or the answer */
    THOUGHT,
    GAP,  /* white space behind a thought */
    FREE, /* an answer, watched for a call */
    HELD  /* to the matcher */
};

struct guide {
    struct guide_plan *plan;
    enum phase phase;
    size_t n_open;           /* BEFORE: bytes of the opening mark so far */
    bool may_think;          /* BEFORE: they are all that was said */
    bool may_answer;         /* BEFORE: the matcher took all that was said */
    char tail[2 * MAX_MARK]; /* THOUGHT, FREE: the last bytes */
    size_t n_tail;
    bool said;       /* FREE: something other than white space */
    int64_t n_think; /* tokens of the thought, marks not counted */
    int n_thought;   /* marks counted */
    size_t n_gap;
    struct matcher *matcher;
    int32_t *forced; /* what is left of it: [at, n) */
    int at, n_forced;
    bool looked; /* HELD: for what is forced here */
    int n_front; /* HELD: tokens to come that the constraint is not about */
};

/* ---- bits ------------------------------------------------------------------------------------------------------------ */

static bool has(const uint32_t *bits, int32_t id) { return bits[id / 32] >> (id % 32) & 1; }
static void add(uint32_t *bits, int32_t id) { bits[id / 32] |= UINT32_C(1) << (id % 32); }
static void take_away(uint32_t *bits, int32_t id) { bits[id / 32] &= ~(UINT32_C(1) << (id % 32)); }

static void all_tokens(const struct guide_plan *p, uint32_t *bits)
{
    memset(bits, 0xff, p->words * sizeof *bits);
    if (p->n_vocab % 32) bits[p->words - 1] = (UINT32_C(1) << (p->n_vocab % 32)) - 1;
}

static bool is_white(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

/* What a token adds to the text. */
static const char *bytes_of(const struct guide_plan *p, int32_t id, size_t *len)
{
    *len = 0;
    if (id < 0 || id >= p->n_vocab) return "";
    if (tokenizer_is_control(p->tok, id) && !guide_shows(p, id)) return "";
    const char *s = tokenizer_bytes(p->tok, id, len);
    return s ? s : "";
}

/* ---- plans ----------------------------------------------------------------------------------------------------------- */

bool guide_shows(const struct guide_plan *p, int32_t id)
{
    return p && p->shown && id < p->n_vocab && has(p->shown, id);
}
const uint32_t *guide_shown(const struct guide_plan *p) { return p->shown; }
bool guide_is_strict(const struct guide_plan *p) { return p && p->answer; }

struct guide_plan *guide_plan_ref(struct guide_plan *p)
{
    if (p) atomic_fetch_add(&p->refs, 1);
    return p;
}

void guide_plan_unref(struct guide_plan *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1) return;
    constraint_free(p->answer);
    constraint_free(p->call);
    for (int i = 0; i < p->n_opens; i++) free(p->opens[i]);
    free(p->think_open);
    free(p->think_close);
    free(p->shown);
    free(p->crossing);
    free(p->close);
    free(p->first);
    free(p);
}

static bool no_memory(struct err *e) { return err_set(e, ERR_NOMEM, "no memory to steer an answer"); }

static bool opens(struct guide_plan *p, const char *const *texts, bool behind, struct err *e)
{
    for (int i = 0; p->call && texts && texts[i]; i++) {
        const size_t n = strlen(texts[i]);
        if (p->n_opens == MAX_OPENS || !n || n > MAX_MARK)
            return err_set(e, ERR_UNSUPPORTED, "a call opens with one of at most %d texts of 1 to %d bytes",
                           MAX_OPENS, MAX_MARK);
        if (!(p->opens[p->n_opens] = strdup(texts[i]))) return no_memory(e);
        p->opens_len[p->n_opens] = n;
        const int32_t id = tokenizer_find(p->tok, texts[i]);
        p->is_mark[p->n_opens] = id >= 0 && tokenizer_is_control(p->tok, id);
        p->behind[p->n_opens++] = behind;
    }
    return true;
}

static bool marks(struct guide_plan *p, const struct guide_spec *s, struct err *e)
{
    if (s->think_close) {
        p->think_open = strdup(s->think_open);
        p->think_close = strdup(s->think_close);
        if (!p->think_open || !p->think_close) return no_memory(e);
        p->n_open = strlen(p->think_open);
        p->n_close = strlen(p->think_close);
        if (!p->n_open || !p->n_close || p->n_open > MAX_MARK || p->n_close > MAX_MARK)
            return err_set(e, ERR_UNSUPPORTED, "the marks of a thought are of 1 to %d bytes", MAX_MARK);
    }
    return opens(p, s->opens, false, e) && opens(p, s->opens_before, true, e);
}

static bool control_tokens(struct guide_plan *p, const struct guide_spec *s, struct err *e)
{
    for (int i = 0; s->control && s->control[i]; i++) {
        const int32_t id = tokenizer_find(p->tok, s->control[i]);
        if (id < 0) continue; /* of another member of the family */
        if (!p->shown && !(p->shown = calloc(p->words, sizeof *p->shown))) return no_memory(e);
        add(p->shown, id);
    }
    return true;
}

static bool in_front(struct guide_plan *p, const struct guide_spec *s, struct err *e)
{
    struct token_list l = { 0 };
    if (!s->first || !s->answer) return true;
    const bool ok = tokenizer_encode(p->tok, s->first, strlen(s->first), NULL, true, 0, &l, e);
    p->first = l.id;
    p->n_first = ok ? (int)l.n : 0;
    return ok;
}

static bool closing(struct guide_plan *p, struct err *e)
{
    struct buf text = BUF_INIT(0);
    struct token_list l = { 0 };
    if (!p->think_close) return true;
    buf_printf(&text, "\n%s\n\n", p->think_close);
    const bool ok =
        text.failed ? no_memory(e) : tokenizer_encode(p->tok, text.data, text.len, NULL, true, 0, &l, e);
    buf_free(&text);
    p->close = l.id;
    p->n_to_close = (int)l.n;
    return ok;
}

/* ---- what may stand behind a mark --------------------------------------------------------------------------------------- */

/* Can the call go on with rest[n] behind the text that opens it? */
static bool call_takes(const struct guide_plan *p, struct matcher *m, int open, const char *rest, size_t n,
                       bool *ok, struct err *e)
{
    size_t taken, len = p->behind[open] ? 0 : p->opens_len[open];
    *ok = false;
    if (len && p->is_mark[open]) {
        if (!matcher_take_bytes(m, CONTROL_MARK, 1, &taken, e)) return false;
        if (taken < 1) return true;
    }
    if (!matcher_take_bytes(m, p->opens[open], len, &taken, e)) return false;
    if (taken < len) return true;
    if (!matcher_take_bytes(m, rest, n, &taken, e)) return false;
    *ok = taken == n;
    return true;
}

static bool call_could(const struct guide_plan *p, int open, const char *rest, size_t n, bool *ok,
                       struct err *e)
{
    struct matcher *m;
    if (!matcher_new(&m, p->call, e)) return false;
    const bool fine = call_takes(p, m, open, rest, n, ok, e);
    matcher_free(m);
    return fine;
}

static bool only_white(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_white(s[i])) return false;
    return true;
}

/* Behind a thought that an answer under a constraint follows. */
static bool only_gap(const char *s, size_t n) { return n <= MAX_GAP && only_white(s, n); }

/* Does the token, behind k bytes of mark[n], complete the mark? *rest: what of it lies behind. */
static bool completes(const char *mark, size_t n, size_t k, const char *s, size_t len, size_t *rest)
{
    if (len < n - k || memcmp(s, mark + k, n - k) != 0) return false;
    *rest = len - (n - k);
    return true;
}

/* Does the token, where nothing of the mark is there, hold all of it with something behind? The last such place. */
static bool holds(const char *mark, size_t n, const char *s, size_t len, size_t *rest)
{
    for (size_t i = len > n ? len - n : 0; i-- > 0;)
        if (!memcmp(s + i, mark, n)) {
            *rest = len - n - i;
            return true;
        }
    return false;
}

static bool cross(struct guide_plan *p, int32_t id, struct err *e)
{
    if (!p->crossing && !(p->crossing = calloc(p->words, sizeof *p->crossing))) return no_memory(e);
    add(p->crossing, id);
    return true;
}

/* Once: the tokens that hold a mark and more. Most vocabularies have none. */
static bool find_crossing(struct guide_plan *p, const struct constraint_cache *c, struct err *e)
{
    size_t len, rest, shortest = p->answer && p->think_close ? p->n_close : MAX_MARK;
    if (!p->answer && !p->n_opens) return true;
    for (int i = 0; i < p->n_opens; i++)
        if (p->opens_len[i] < shortest) shortest = p->opens_len[i];
    for (int32_t id = 0; id < p->n_vocab; id++) {
        const char *s = constraint_cache_text(c, id, &len);
        if (len <= shortest) continue;
        if (p->answer && p->think_close && holds(p->think_close, p->n_close, s, len, &rest) &&
            !only_gap(s + len - rest, rest) && !cross(p, id, e))
            return false;
        for (int i = 0; i < p->n_opens; i++) {
            bool ok = true;
            if (!holds(p->opens[i], p->opens_len[i], s, len, &rest)) continue;
            if (!call_could(p, i, s + len - rest, rest, &ok, e)) return false;
            if (!ok && !cross(p, id, e)) return false;
        }
    }
    return true;
}

bool guide_plan_new(struct guide_plan **out, const struct guide_spec *s, const struct constraint_cache *c,
                    struct err *e)
{
    struct guide_plan *p = calloc(1, sizeof *p);
    if (!p) return no_memory(e);
    atomic_init(&p->refs, 1);
    p->tok = constraint_cache_tokenizer(c);
    p->ends = constraint_cache_ends(c);
    p->n_vocab = tokenizer_n_vocab(p->tok);
    p->words = ((size_t)p->n_vocab + 31) / 32;
    p->inside = s->inside && s->think_close;
    p->ignore_end = s->ignore_end;
    p->opens_first = s->opens_first;
    p->budget = s->budget;
    p->answer = s->answer ? constraint_ref(s->answer) : NULL;
    p->call = s->call && !s->answer ? constraint_ref(s->call) : NULL;
    const bool ok = marks(p, s, e) && control_tokens(p, s, e) && in_front(p, s, e) && closing(p, e) &&
                    find_crossing(p, c, e);
    if (!ok) {
        guide_plan_unref(p);
        return false;
    }
    *out = p;
    return true;
}

/* ---- a choice ---------------------------------------------------------------------------------------------------------- */

static bool hold_to(struct guide *g, struct constraint *c, struct err *e)
{
    matcher_free(g->matcher);
    g->matcher = NULL;
    return matcher_new(&g->matcher, c, e);
}

static bool force(struct guide *g, const int32_t *ids, int n, struct err *e)
{
    int32_t *all = malloc((size_t)n * sizeof *all);
    if (!all) return no_memory(e);
    memcpy(all, ids, (size_t)n * sizeof *all);
    free(g->forced);
    g->forced = all;
    g->at = 0;
    g->n_forced = n;
    return true;
}

/* The answer begins: what is left of the tokens in front of it, from number `at` on. */
static bool put_in_front(struct guide *g, int at, struct err *e)
{
    const struct guide_plan *p = g->plan;
    g->phase = HELD;
    g->n_front = p->n_first - at;
    return g->n_front <= 0 || force(g, p->first + at, g->n_front, e);
}

bool guide_new(struct guide **out, struct guide_plan *p, struct err *e)
{
    struct guide *g = calloc(1, sizeof *g);
    if (!g) return no_memory(e);
    g->plan = guide_plan_ref(p);
    const bool may_open = p->think_open && (p->budget != 0 || !p->answer);
    g->phase = p->inside ? THOUGHT : may_open ? BEFORE : p->answer ? HELD : FREE;
    g->may_think = g->may_answer = true;
    if (p->answer && !hold_to(g, p->answer, e)) {
        guide_free(g);
        return false;
    }
    if (g->phase == HELD && !put_in_front(g, 0, e)) {
        guide_free(g);
        return false;
    }
    *out = g;
    return true;
}

void guide_free(struct guide *g)
{
    if (!g) return;
    guide_plan_unref(g->plan);
    matcher_free(g->matcher);
    free(g->forced);
    free(g);
}

bool guide_thinks(const struct guide *g)
{
    return g->phase == THOUGHT || g->phase == GAP || (g->phase == BEFORE && g->n_open > 0);
}
int guide_thought_tokens(const struct guide *g) { return g->n_thought; }

/* ---- what may come next ------------------------------------------------------------------------------------------------ */

/* How much of mark[n] the tail ends in, less than all. */
static size_t partial(const struct guide *g, const char *mark, size_t n)
{
    size_t k = g->n_tail < n - 1 ? g->n_tail : n - 1;
    while (k && memcmp(g->tail + g->n_tail - k, mark, k) != 0) k--;
    return k;
}

static bool watches(const struct guide *g)
{
    const struct guide_plan *p = g->plan;
    if (p->opens_first && g->said) { /* only what is under way */
        for (int i = 0; i < p->n_opens; i++)
            if (partial(g, p->opens[i], p->opens_len[i]) == g->n_tail && g->n_tail) return true;
        return false;
    }
    return p->n_opens > 0;
}

/* Tokens of bytes that can only come so. All but the last one, which what follows may be part of; and none where the bytes in a text of their
 * own have other tokens than in this one, or tokens that no text has. */
static bool force_bytes(struct guide *g, struct err *e)
{
    const struct guide_plan *p = g->plan;
    char text[MAX_FORCED];
    struct token_list l = { 0 };
    size_t n = 0, at = 0, len;
    int keep = 0;
    g->looked = true;
    if (!matcher_forced(g->matcher, text, sizeof text, &n, e)) return false;
    if (n < 2) return true;
    if (!tokenizer_encode(p->tok, text, n, NULL, true, 0, &l, e)) return false;
    for (size_t i = 0; i + 1 < l.n; i++, keep++) {
        const char *s = tokenizer_bytes(p->tok, l.id[i], &len);
        if (tokenizer_is_control(p->tok, l.id[i]) || !s || len > n - at || memcmp(s, text + at, len) != 0)
            break;
        at += len;
    }
    const bool ok = keep == 0 || force(g, l.id, keep, e);
    token_list_free(&l);
    return ok;
}

bool guide_next(struct guide *g, enum guide_next *next, const int32_t **ids, int *n, struct err *e)
{
    const struct guide_plan *p = g->plan;
    if (g->at == g->n_forced && g->phase == THOUGHT && p->budget >= 0 && g->n_think >= p->budget &&
        p->n_to_close && !force(g, p->close, p->n_to_close, e))
        return false;
    if (g->at == g->n_forced && g->phase == HELD && !g->looked && !force_bytes(g, e)) return false;
    if (g->at < g->n_forced) {
        *ids = g->forced + g->at;
        *n = g->n_forced - g->at;
        *next = GUIDE_FORCED;
        return true;
    }
    *next = GUIDE_ANY;
    switch (g->phase) {
    case BEFORE:
    case THOUGHT:
        if (p->answer) *next = GUIDE_MASK;
        break;
    case GAP:
    case FREE:
        if (p->answer) *next = GUIDE_MASK;
        if (!watches(g)) break;
        for (int i = 0; i < p->n_opens; i++)
            if (partial(g, p->opens[i], p->opens_len[i])) *next = GUIDE_MASK;
        if (p->crossing) *next = GUIDE_MASK;
        break;
    case HELD: *next = GUIDE_MASK; break;
    }
    return true;
}

/* ---- masks -------------------------------------------------------------------------------------------------------------- */

static void join(uint32_t *to, const uint32_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) to[i] |= from[i];
}

static void drop(uint32_t *to, const uint32_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) to[i] &= ~from[i];
}

static bool held_mask(struct guide *g, uint32_t *bits, struct err *e)
{
    const struct guide_plan *p = g->plan;
    if (!matcher_mask(g->matcher, bits, e)) return false;
    if (matcher_can_end(g->matcher) && !p->ignore_end) join(bits, p->ends, p->words);
    return true;
}

/* Tokens with which a thought begins or goes on beginning. */
static void mark_opening(const struct guide *g, uint32_t *bits)
{
    const struct guide_plan *p = g->plan;
    const char *left = p->think_open + g->n_open;
    const size_t n_left = p->n_open - g->n_open;
    for (int32_t id = 0; id < p->n_vocab; id++) {
        size_t len;
        const char *s = bytes_of(p, id, &len);
        if (len && !memcmp(s, left, len < n_left ? len : n_left) &&
            (len <= n_left || only_gap(s + n_left, len - n_left)))
            add(bits, id);
    }
}

static bool before_mask(struct guide *g, uint32_t *bits, struct err *e)
{
    const struct guide_plan *p = g->plan;
    memset(bits, 0, p->words * sizeof *bits);
    if (g->may_answer && p->n_first)
        add(bits, p->first[0]);
    else if (g->may_answer && !held_mask(g, bits, e))
        return false;
    if (g->may_think) mark_opening(g, bits);
    return true;
}

static void thought_mask(const struct guide *g, uint32_t *bits)
{
    const struct guide_plan *p = g->plan;
    const size_t k = partial(g, p->think_close, p->n_close);
    all_tokens(p, bits);
    drop(bits, p->ends, p->words);
    if (p->crossing) drop(bits, p->crossing, p->words);
    for (int32_t id = 0; k && id < p->n_vocab; id++) {
        size_t len, rest;
        const char *s = bytes_of(p, id, &len);
        if (len && completes(p->think_close, p->n_close, k, s, len, &rest) && !only_gap(s + len - rest, rest))
            take_away(bits, id);
    }
}

static bool gap_mask(struct guide *g, uint32_t *bits, struct err *e)
{
    const struct guide_plan *p = g->plan;
    memset(bits, 0, p->words * sizeof *bits);
    if (p->n_first)
        add(bits, p->first[0]);
    else if (!held_mask(g, bits, e))
        return false;
    for (int32_t id = 0; id < p->n_vocab; id++) {
        size_t len;
        const char *s = bytes_of(p, id, &len);
        if (len && only_gap(s, len) && g->n_gap + len <= MAX_GAP) add(bits, id);
    }
    return true;
}

static bool free_mask(const struct guide *g, uint32_t *bits, struct err *e)
{
    const struct guide_plan *p = g->plan;
    all_tokens(p, bits);
    if (p->crossing) drop(bits, p->crossing, p->words);
    for (int i = 0; i < p->n_opens; i++) {
        const size_t k = partial(g, p->opens[i], p->opens_len[i]);
        for (int32_t id = 0; k && id < p->n_vocab; id++) {
            size_t len, rest;
            bool ok;
            const char *s = bytes_of(p, id, &len);
            if (!len || !completes(p->opens[i], p->opens_len[i], k, s, len, &rest) || !rest) continue;
            if (!call_could(p, i, s + len - rest, rest, &ok, e)) return false;
            if (!ok) take_away(bits, id);
        }
    }
    return true;
}

static bool only_ends(const struct guide_plan *p, const uint32_t *bits)
{
    for (size_t i = 0; i < p->words; i++)
        if (bits[i] & ~p->ends[i]) return false;
    return true;
}

bool guide_mask(struct guide *g, uint32_t *bits, bool *over, struct err *e)
{
    *over = false;
    switch (g->phase) {
    case BEFORE: return before_mask(g, bits, e);
    case THOUGHT: thought_mask(g, bits); return true;
    case GAP: return g->plan->answer ? gap_mask(g, bits, e) : free_mask(g, bits, e);
    case FREE: return free_mask(g, bits, e);
    case HELD:
        if (!held_mask(g, bits, e)) return false;
        *over = only_ends(g->plan, bits);
        return true;
    }
    return false;
}

/* ---- taking ------------------------------------------------------------------------------------------------------------- */

static void remember(struct guide *g, const char *s, size_t n)
{
    if (n > MAX_MARK) {
        s += n - MAX_MARK;
        n = MAX_MARK;
    }
    if (g->n_tail + n > sizeof g->tail) {
        const size_t keep = MAX_MARK;
        memmove(g->tail, g->tail + g->n_tail - keep, keep);
        g->n_tail = keep;
    }
    memcpy(g->tail + g->n_tail, s, n);
    g->n_tail += n;
}

/* Looks for mark[n] in the tail and s[len] behind it, ending in s. *rest: bytes of s behind its first place. */
static bool seen(const struct guide *g, const char *mark, size_t n, const char *s, size_t len, size_t *rest)
{
    for (size_t k = g->n_tail < n - 1 ? g->n_tail : n - 1; k > 0; k--)
        if (!memcmp(g->tail + g->n_tail - k, mark, k) && completes(mark, n, k, s, len, rest)) return true;
    for (size_t i = 0; i + n <= len; i++)
        if (!memcmp(s + i, mark, n)) {
            *rest = len - n - i;
            return true;
        }
    return false;
}

static bool cannot(struct err *e, const char *what)
{
    return err_set(e, ERR_FORMAT, "a token was drawn that %s does not allow", what);
}

static bool held_take(struct guide *g, const char *s, size_t n, struct err *e)
{
    size_t taken;
    if (!matcher_take_bytes(g->matcher, s, n, &taken, e)) return false;
    return taken == n || cannot(e, "the answer's constraint");
}

/* s[n] is the answer's. */
static bool answer_takes(struct guide *g, const char *s, size_t n, struct err *e)
{
    const struct guide_plan *p = g->plan;
    if (g->phase == HELD) return held_take(g, s, n, e);
    size_t rest = 0, best = 0;
    int open = -1;
    if (watches(g))
        for (int i = 0; i < p->n_opens; i++)
            if (seen(g, p->opens[i], p->opens_len[i], s, n, &rest) && (open < 0 || rest > best)) {
                bool white = true; /* in front of it, in s */
                if (p->opens_first && n > rest + p->opens_len[i])
                    for (size_t k = 0; k < n - rest - p->opens_len[i]; k++) white &= is_white(s[k]);
                if (!white) continue;
                open = i;
                best = rest;
            }
    if (open >= 0) {
        bool ok;
        if (!hold_to(g, p->call, e) || !call_takes(p, g->matcher, open, s + n - best, best, &ok, e))
            return false;
        if (ok) {
            g->phase = HELD;
            return true;
        }
        /* Something that looked like a call and is none: a name that no tool has. It stays text. */
        matcher_free(g->matcher);
        g->matcher = NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if (!g->said && is_white(s[i])) continue;
        if (!g->said) g->n_tail = 0; /* nothing but what begins here can open a call first */
        g->said = true;
        remember(g, s + i, n - i);
        break;
    }
    return true;
}

static bool gap_takes(struct guide *g, const char *s, size_t n, struct err *e)
{
    const struct guide_plan *p = g->plan;
    if (only_white(s, n) && (!p->answer || g->n_gap + n <= MAX_GAP)) {
        g->n_gap += n;
        return true;
    }
    g->phase = p->answer ? HELD : FREE;
    return answer_takes(g, s, n, e);
}

static bool thought_takes(struct guide *g, const char *s, size_t n, struct err *e)
{
    const struct guide_plan *p = g->plan;
    size_t rest;
    if (seen(g, p->think_close, p->n_close, s, n, &rest)) {
        g->n_tail = 0;
        g->phase = GAP;
        return gap_takes(g, s + n - rest, rest, e);
    }
    remember(g, s, n);
    return true;
}

static bool before_takes(struct guide *g, int32_t id, const char *s, size_t n, struct err *e)
{
    const struct guide_plan *p = g->plan;
    const size_t left = p->n_open - g->n_open;
    size_t taken = 0;
    if (g->may_think && n && !memcmp(s, p->think_open + g->n_open, n < left ? n : left)) {
        g->n_thought++;
        if (n >=
            left) { /* the mark is whole; what of it the answer might have begun with was not the answer */
            g->phase = THOUGHT;
            g->n_tail = 0;
            if (p->answer && g->n_open && !hold_to(g, p->answer, e)) return false;
            return thought_takes(g, s + left, n - left, e);
        }
        g->n_open += n;
    } else {
        g->may_think = false;
    }
    if (p->answer) {
        if (p->n_first) {
            if (id == p->first[0]) return put_in_front(g, 1, e);
            return g->may_think || cannot(e, "the answer's constraint");
        }
        if (g->may_answer && !matcher_take_bytes(g->matcher, s, n, &taken, e)) return false;
        g->may_answer &= taken == n;
        if (!g->may_think && !g->may_answer) return cannot(e, "the answer's constraint");
        if (!g->may_think) g->phase = HELD;
        if (g->phase == HELD) g->n_thought = 0;
        return true;
    }
    if (g->may_think) return true;
    /* What looked like the beginning of a thought is the answer's. */
    const size_t before = g->n_open;
    g->phase = FREE;
    g->n_thought = 0;
    return (!before || answer_takes(g, p->think_open, before, e)) &&
           (g->phase == HELD ? held_take(g, s, n, e) : answer_takes(g, s, n, e));
}

bool guide_take(struct guide *g, int32_t id, struct err *e)
{
    size_t n;
    g->looked = false;
    const char *s = bytes_of(g->plan, id, &n);
    if (g->at < g->n_forced) {
        if (g->forced[g->at] != id) return cannot(e, "what is forced");
        g->at++;
    }
    switch (g->phase) {
    case BEFORE: return before_takes(g, id, s, n, e);
    case THOUGHT:
        g->n_thought++;
        g->n_think++;
        return thought_takes(g, s, n, e);
    case GAP:
        if (g->plan->n_first && id == g->plan->first[0]) return put_in_front(g, 1, e);
        return gap_takes(g, s, n, e);
    case FREE: return answer_takes(g, s, n, e);
    case HELD:
        if (g->n_front > 0) return --g->n_front, true;
        if (n && tokenizer_is_control(g->plan->tok, id) && !held_take(g, CONTROL_MARK, 1, e)) return false;
        return held_take(g, s, n, e);
    }
    return false;
}
