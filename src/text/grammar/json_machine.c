#include "text/grammar/json_machine.h"

#include <stdlib.h>
#include <string.h>

/* ---- pieces --------------------------------------------------------------------------------------------------------------- */

struct step {
    const struct schema *s;
    struct pile *pile;
    struct thread *out;
    int n, room;
    bool full;
};

static bool same(const struct thread *a, const struct thread *b)
{
    return a->place == b->place && a->up == b->up && a->q == b->q && a->literal == b->literal &&
           a->value == b->value && a->first == b->first && a->blank == b->blank && a->escape == b->escape &&
           a->n == b->n && a->code == b->code && a->hash == b->hash &&
           !memcmp(&a->read, &b->read, sizeof a->read);
}

/* Two ways to read a text that have come to the same point are one. */
static void emit(struct step *st, const struct thread *t)
{
    for (int i = st->n - 1; i >= 0; i--)
        if (same(&st->out[i], t)) return;
    if (st->n == st->room) {
        st->full = true;
        return;
    }
    st->out[st->n++] = *t;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9fb21c651e98df25u;
    return h ^ h >> 32;
}

static int words_of(const struct frame *f)
{
    return f->object ? f->object->words : f->array->choices ? f->array->choices->words : 0;
}

static struct frame *frame_copy(struct step *st, const struct frame *f)
{
    const size_t bytes = sizeof *f + (size_t)words_of(f) * sizeof f->seen[0];
    struct frame *g = pile_alloc(st->pile, bytes);
    if (g) memcpy(g, f, bytes);
    return g;
}

static bool in_set(const uint64_t *set, int i) { return set[i / 64] >> (i % 64) & 1; }

bool json_was_used(const struct frame *f, uint64_t hash)
{
    int depth = 0;
    for (const struct used *u = f->used; u; u = u->side[hash >> depth++ & 1])
        if (u->hash == hash) return true;
    return false;
}

/* A hash that is new. The tree is others', too: what changes is copied. */
static bool use(struct step *st, struct frame *f, uint64_t hash)
{
    const struct used **at = &f->used;
    for (int depth = 0; *at; depth++) {
        struct used *copy = pile_alloc(st->pile, sizeof *copy);
        if (!copy) return false;
        *copy = **at;
        *at = copy;
        at = &copy->side[hash >> depth & 1];
    }
    struct used *u = pile_alloc(st->pile, sizeof *u);
    if (!u) return false;
    *u = (struct used){ .hash = hash };
    *at = u;
    return true;
}

static const struct used *move_used(struct mover *m, const struct used *u)
{
    if (!u) return NULL;
    struct used *to = mover_find(m, u);
    if (to) return to;
    to = mover_copy(m, u, sizeof *u);
    for (int i = 0; to && i < 2; i++)
        to->side[i] = move_used(m, u->side[i]); /* no deeper than a hash has bits */
    return to;
}

const struct frame *json_move(struct mover *m, const struct frame *f)
{
    const struct frame *first = NULL, **at = &first;
    while (f) {
        struct frame *to = mover_find(m, f);
        *at = to;
        if (to) break;
        to = mover_copy(m, f, sizeof *f + (size_t)words_of(f) * sizeof f->seen[0]);
        if (!to) break;
        *at = to;
        to->used = move_used(m, f->used);
        at = &to->up;
        f = f->up;
    }
    return m->failed ? NULL : first;
}

/* Is the thread in more than `levels` arrays and objects, or just so many? */
static bool is_within(const struct thread *t, int levels)
{
    const struct frame *f = t->up;
    for (; levels > 0 && f; levels--) f = f->up;
    return levels == 0;
}

/* White space byte b behind `blank`: 0 none, 1, 2 blanks, 5 a carriage return, 6.. a line break and blanks. 255: not here. A model that goes
 * on with blanks would do so for long: there are as many as a printer indents with, up to 8 a level. */
static unsigned char blank_after(const struct thread *t, unsigned char blank, unsigned char b)
{
    enum { BLANKS = 2, BREAK = 6, INDENT = 8, MOST = 64 };
    if (b == ' ' || b == '\t') {
        if (blank < BLANKS) return (unsigned char)(blank + 1);
        const int n = blank - BREAK;
        if (n >= 0 && n < MOST && is_within(t, n / INDENT)) return (unsigned char)(blank + 1);
        return 255;
    }
    if (b == '\r') return blank < 5 ? 5 : 255;
    return blank <= 5 ? BREAK : 255;
}

static bool is_blank(unsigned char b) { return b == ' ' || b == '\n' || b == '\t' || b == '\r'; }

/* ---- arrays ---------------------------------------------------------------------------------------------------------------- */

static int item_value(const struct array_form *f, int i, unsigned mask)
{
    return i < f->n_prefix ? f->prefix[(int)mask * f->n_prefix + i] : f->rest[mask];
}

/* Can an array that has n items, of which count[] met its demands, be brought to an end? */
static bool array_can_finish(const struct array_form *f, int n, const int *count)
{
    for (int t = 0; t < f->n_track; t++) {
        if (f->track_max[t] >= 0 && count[t] > f->track_max[t]) return false;
        const int need = f->track_min[t] - count[t];
        if (need <= 0) continue;
        int places = 0;
        for (int i = n; i < f->n_prefix && (f->max < 0 || i < f->max) && places < need; i++)
            places += f->prefix[(1 << t) * f->n_prefix + i] != 0;
        if (places < need && f->rest[1 << t] != 0) {
            const int from = n > f->n_prefix ? n : f->n_prefix;
            if (f->max < 0) continue;
            places += f->max > from ? f->max - from : 0;
        }
        if (places < need) return false;
    }
    return true;
}

static bool array_can_end(const struct frame *f)
{
    if (f->n < f->array->min) return false;
    for (int t = 0; t < f->array->n_track; t++)
        if (f->count[t] < f->array->track_min[t]) return false;
    return true;
}

static bool array_can_grow(const struct frame *f)
{
    const struct array_form *a = f->array;
    if (a->max >= 0 && f->n >= a->max) return false;
    if (a->choices) {
        for (int w = 0; w < a->choices->words; w++)
            if (a->choices->reach[w] & ~f->seen[w]) return true;
        return false;
    }
    for (unsigned m = 0; m < 1u << a->n_track; m++) {
        int count[SCHEMA_TRACKS];
        if (!item_value(a, f->n, m)) continue;
        for (int t = 0; t < a->n_track; t++) count[t] = f->count[t] + (int)(m >> t & 1);
        if (array_can_finish(a, f->n + 1, count)) return true;
    }
    return false;
}

/* ---- objects --------------------------------------------------------------------------------------------------------------- */

/* missing = what is required, or brought along by what was seen, and is not there; how many. */
static int missing_of(const struct object_form *o, const uint64_t *seen, uint64_t *missing)
{
    int n = 0;
    for (int w = 0; w < o->words; w++) missing[w] = o->required[w] & ~seen[w];
    for (bool changed = o->n_depend > 0; changed;) {
        changed = false;
        for (int d = 0; d < o->n_depend; d++) {
            const int k = o->depend[d].named;
            if (!in_set(seen, k) && !in_set(missing, k)) continue;
            for (int w = 0; w < o->words; w++) {
                const uint64_t more = o->depend[d].required[w] & ~seen[w] & ~missing[w];
                missing[w] |= more;
                changed |= more != 0;
            }
        }
    }
    for (int w = 0; w < o->words; w++) n += __builtin_popcountll(missing[w]);
    return n;
}

static int unmet(const struct object_form *o, const int *count)
{
    int n = 0;
    for (int t = 0; t < o->n_track; t++) n += count[t] == 0;
    return n;
}

static bool object_can_end(const struct frame *f)
{
    const struct object_form *o = f->object;
    if (f->n < o->min || unmet(o, f->count) > 0) return false;
    for (int w = 0; w < o->words; w++)
        if (o->required[w] & ~f->seen[w]) return false;
    for (int d = 0; d < o->n_depend; d++) {
        if (!in_set(f->seen, o->depend[d].named)) continue;
        for (int w = 0; w < o->words; w++)
            if (o->depend[d].required[w] & ~f->seen[w]) return false;
    }
    return true;
}

enum { FEW_WORDS = 16 };

/* May member `named` (-1: one without a number) come next, as far as the number of members goes? */
static bool has_room_for(const struct frame *f, int named)
{
    const struct object_form *o = f->object;
    uint64_t few[2 * FEW_WORDS], *seen = few, *missing = few + FEW_WORDS;
    if (o->max < 0) return true;
    if (f->n >= o->max) return false;
    if (o->words > FEW_WORDS) {
        seen = malloc((size_t)o->words * 2 * sizeof *seen);
        if (!seen) return true;
        missing = seen + o->words;
    }
    memcpy(seen, f->seen, (size_t)o->words * sizeof *seen);
    if (named >= 0) seen[named / 64] |= UINT64_C(1) << (named % 64);
    const int n = missing_of(o, seen, missing);
    if (seen != few) free(seen);
    return f->n + 1 + n <= o->max;
}

bool json_has_room(const struct frame *f) { return has_room_for(f, -1); }

/* Can a name that begins as the keys' automaton has read it come next? */
static bool key_is_open(const struct frame *f, int32_t q)
{
    const struct object_form *o = f->object;
    const uint64_t *reach = o->reach + (size_t)q * (size_t)o->words;
    if (o->open[q] && has_room_for(f, -1)) return true;
    if (o->max < 0) {
        for (int w = 0; w < o->words; w++)
            if (reach[w] & ~f->seen[w]) return true;
        return false;
    }
    for (int i = 0; i < o->n_named; i++)
        if (in_set(reach, i) && !in_set(f->seen, i) && has_room_for(f, i)) return true;
    return false;
}

/* ---- values ---------------------------------------------------------------------------------------------------------------- */

static void step_one(struct step *st, const struct thread *t, unsigned char b);

/* A value has ended inside t->up; its hash when somebody asks. */
static void value_ended(struct step *st, const struct frame *up, uint64_t hash, struct thread *out,
                        bool *dead)
{
    *out = (struct thread){ .place = AT_AFTER, .up = up };
    *dead = false;
    if (!up) return;
    const bool unique = up->array && up->array->unique && !up->array->choices;
    if (!unique && !up->hashing) return;
    if (unique && json_was_used(up, hash)) {
        *dead = true;
        return;
    }
    struct frame *f = frame_copy(st, up);
    if (!f || (unique && !use(st, f, hash))) {
        *dead = true;
        return;
    }
    if (up->hashing) f->hash = up->object ? f->hash + mix(f->key, hash) : mix(f->hash * 31, hash);
    out->up = f;
}

static void emit_ended(struct step *st, const struct frame *up, uint64_t hash)
{
    struct thread t;
    bool dead;
    value_ended(st, up, hash, &t, &dead);
    if (!dead) emit(st, &t);
}

bool json_asks_hash(const struct frame *up)
{
    return up && (up->hashing || (up->array && up->array->unique));
}

static uint64_t number_hash(const struct thread *t)
{
    const struct number_read *r = &t->read;
    if (t->hash == 0) return 0x2545f4914f6cdd1du; /* zero */
    const int x = r->point + (r->exponent_negative ? -r->exponent : r->exponent);
    return mix(mix(t->hash, (uint64_t)(int64_t)x), 77 + r->negative);
}

static void read_number(struct thread *t, unsigned char b)
{
    struct number_read *r = &t->read;
    if (b == '-') {
        if (r->has_exponent)
            r->exponent_negative = 1;
        else
            r->negative = 1;
    } else if (b == '.') {
        r->dot = 1;
    } else if (b == 'e' || b == 'E') {
        r->has_exponent = 1;
    } else if (b >= '0' && b <= '9') {
        if (r->has_exponent) {
            if (r->exponent < 100000) r->exponent = r->exponent * 10 + (b - '0');
        } else if (b == '0' && t->hash == 0) {
            r->point -= r->dot;
        } else {
            r->point += !r->dot;
            if (b == '0') {
                r->zeros++;
            } else {
                for (; r->zeros > 0; r->zeros--) t->hash = mix(t->hash, 10);
                t->hash = mix(t->hash, (uint64_t)(b - '0'));
            }
        }
    }
}

static uint64_t literal_hash(unsigned char first) { return mix(91, first); }

static void begin_value(struct step *st, int value, const struct frame *up, unsigned char b)
{
    const struct value *v = st->s->value[value];
    struct thread t = { .up = up };
    const bool hashing = json_asks_hash(up);
    switch (b) {
    case '"':
        if (!v->string) return;
        t.place = AT_STRING;
        t.string = v->string;
        t.hash = 1;
        emit(st, &t);
        return;
    case 'n':
    case 't':
    case 'f':
        t.place = AT_LITERAL;
        t.literal = b == 'n' ? "null" : b == 't' ? "true" : "false";
        t.q = 1;
        if (up && up->array && up->array->unique && !up->array->choices && json_was_used(up, literal_hash(b)))
            return; /* once more it could not be ended */
        if (b == 'n' ? v->null : b == 't' ? v->yes : v->no) emit(st, &t);
        return;
    case '[':
        for (int i = 0; i < v->n_array; i++) {
            const int words = v->array[i]->choices ? v->array[i]->choices->words : 0;
            struct frame *f = pile_alloc(st->pile, sizeof *f + (size_t)words * sizeof f->seen[0]);
            if (!f) return;
            *f = (struct frame){ .up = up, .array = v->array[i], .hashing = hashing, .hash = 3 };
            memset(f->seen, 0, (size_t)words * sizeof f->seen[0]);
            emit(st, &(struct thread){ .place = AT_ITEM, .first = 1, .up = f });
        }
        return;
    case '{':
        for (int i = 0; i < v->n_object; i++) {
            const int words = v->object[i]->words;
            struct frame *f = pile_alloc(st->pile, sizeof *f + (size_t)words * sizeof f->seen[0]);
            if (!f) return;
            *f = (struct frame){ .up = up, .object = v->object[i], .hashing = hashing, .hash = 5 };
            memset(f->seen, 0, (size_t)words * sizeof f->seen[0]);
            emit(st, &(struct thread){ .place = AT_MEMBER, .first = 1, .up = f });
        }
        return;
    default:
        if (!v->number || (b != '-' && (b < '0' || b > '9'))) return;
        t.place = AT_NUMBER;
        t.number = v->number;
        t.q = dfa_next(v->number, 0, b);
        if (t.q < 0) return;
        if (hashing) read_number(&t, b);
        emit(st, &t);
    }
}

/* ---- texts ----------------------------------------------------------------------------------------------------------------- */

/* Strings and names are read alike: what follows asks which automaton and whether a state can still be ended. */
static bool text_lives(const struct thread *t, int32_t q, int n)
{
    if (q < 0) return false;
    if (t->place == AT_KEY) return key_is_open(t->up, q);
    const struct strings *s = t->string;
    if (!s->shortest) return true;
    if (s->max >= 0 && n + s->shortest[q] > s->max) return false;
    return s->longest[q] < 0 || n + s->longest[q] >= s->min;
}

/* Whether six-bit groups lo..hi in n continuation bytes can come behind state q. */
static bool tail_takes(const struct thread *t, const struct dfa *d, int32_t q, uint32_t lo, uint32_t hi,
                       int n)
{
    if (n == 0) return text_lives(t, q, t->n + 1);
    const uint32_t shift = 6 * (uint32_t)(n - 1), full = (UINT32_C(1) << shift) - 1;
    int32_t in_vain = -1; /* a state from which nothing can come: its neighbours are mostly the same */
    for (uint32_t g = lo >> shift; g <= hi >> shift; g++) {
        const int32_t to = dfa_next(d, q, (unsigned char)(0x80 | g));
        const uint32_t from = g == lo >> shift ? lo & full : 0, till = g == hi >> shift ? hi & full : full;
        if (to < 0 || to == in_vain) continue;
        if (tail_takes(t, d, to, from, till, n - 1)) return true;
        if (from == 0 && till == full) in_vain = to;
    }
    return false;
}

/* Whether a code point of lo..hi can come. */
static bool text_takes(const struct thread *t, uint32_t lo, uint32_t hi)
{
    static const uint32_t end[] = { 0x7f, 0x7ff, 0xffff, 0x10ffff };
    static const unsigned head[] = { 0, 0xc0, 0xe0, 0xf0 };
    const struct dfa *d = thread_automaton(t);
    for (int n = 0; n < 4 && lo <= hi; n++) {
        if (lo > end[n]) continue;
        const uint32_t last = hi < end[n] ? hi : end[n], shift = 6 * (uint32_t)n;
        const uint32_t full = (UINT32_C(1) << shift) - 1;
        int32_t in_vain = -1;
        for (uint32_t g = lo >> shift; g <= last >> shift; g++) {
            const int32_t to = dfa_next(d, t->q, (unsigned char)(head[n] | g));
            const uint32_t from = g == lo >> shift ? lo & full : 0,
                           till = g == last >> shift ? last & full : full;
            if (to < 0 || to == in_vain) continue;
            if (tail_takes(t, d, to, from, till, n)) return true;
            if (from == 0 && till == full) in_vain = to;
        }
        lo = last + 1;
    }
    return false;
}

static void text_hash(struct thread *t, uint32_t code) { t->hash = mix(t->hash, code + 1); }

static bool text_take(struct thread *t, uint32_t code)
{
    const int32_t q = dfa_after_char(thread_automaton(t), t->q, code);
    if (!text_lives(t, q, t->n + 1)) return false;
    t->q = q;
    t->n++;
    t->escape = 0;
    unsigned char u[4];
    int n = 0; /* hashed by bytes, as what is not escaped is */
    if (code < 0x80) {
        u[n++] = (unsigned char)code;
    } else if (code < 0x800) {
        u[n++] = (unsigned char)(0xc0 | code >> 6);
    } else if (code < 0x10000) {
        u[n++] = (unsigned char)(0xe0 | code >> 12);
        u[n++] = (unsigned char)(0x80 | (code >> 6 & 63));
    } else {
        u[n++] = (unsigned char)(0xf0 | code >> 18);
        u[n++] = (unsigned char)(0x80 | (code >> 12 & 63));
        u[n++] = (unsigned char)(0x80 | (code >> 6 & 63));
    }
    if (code >= 0x80) u[n++] = (unsigned char)(0x80 | (code & 63));
    for (int i = 0; i < n; i++) text_hash(t, u[i]);
    return true;
}

static int hex(unsigned char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Characters lo..hi as \\u escapes: those that a printer writes so. The other characters of ASCII stand for themselves, so that a text that is
 * known has one spelling, which can be taken without asking the model. */
static bool escape_takes(const struct thread *t, uint32_t lo, uint32_t hi)
{
    static const uint32_t range[][2] = {
        { 0, 0x1f }, { '&', '\'' }, { '<', '<' }, { '>', '>' }, { 0x7f, 0x10ffff }
    };
    for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
        const uint32_t a = lo > range[i][0] ? lo : range[i][0], z = hi < range[i][1] ? hi : range[i][1];
        if (a <= z && text_takes(t, a, z)) return true;
    }
    return false;
}

/* In an escape. 1: a backslash was read; 2..5: digits of \u; 6, 7: behind a high surrogate, before \ and u; 8..11: digits of the low
 * one. false: b cannot come. */
static bool text_escape(struct thread *t, unsigned char b)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (t->escape == 1) {
        const char *at = b ? strchr(from, b) : NULL;
        if (at) return text_take(t, (unsigned char)to[at - from]);
        if (b != 'u' || !escape_takes(t, 0, 0x10ffff)) return false;
        t->escape = 2;
        t->code = 0;
        return true;
    }
    if (t->escape == 6 || t->escape == 7) {
        if (b != (t->escape == 6 ? '\\' : 'u')) return false;
        t->escape++;
        return true;
    }
    const int h = hex(b);
    if (h < 0) return false;
    const bool low = t->escape >= 8;
    const int left = (low ? 11 : 5) - t->escape; /* digits behind this one */
    t->code = t->code << 4 | (uint32_t)h;
    if (!low) {
        const uint32_t first = t->code << (4 * left), last = first + (UINT32_C(1) << (4 * left)) - 1;
        if (left == 0) {
            if (first >= 0xdc00 && first <= 0xdfff) return false;
            if (first < 0xd800 || first > 0xdbff) return escape_takes(t, first, first) && text_take(t, first);
            const uint32_t high = 0x10000 + ((first - 0xd800) << 10);
            if (!text_takes(t, high, high + 0x3ff)) return false;
            t->code = first - 0xd800;
            t->escape = 6;
            return true;
        }
        t->escape++;
        if (escape_takes(t, first, last)) return true;
        const uint32_t a = first > 0xd800 ? first : 0xd800, z = last < 0xdbff ? last : 0xdbff;
        return a <= z &&
               text_takes(t, 0x10000 + ((a - 0xd800) << 10), 0x10000 + ((z - 0xd800) << 10) + 0x3ff);
    }
    /* code: the high half's ten bits, then what was read of the low half's sixteen */
    const int read = 4 - left;
    const uint32_t high = t->code >> (4 * read), got = t->code & ((UINT32_C(1) << (4 * read)) - 1);
    uint32_t first = got << (4 * left), last = first + (UINT32_C(1) << (4 * left)) - 1;
    if (first < 0xdc00) first = 0xdc00;
    if (last > 0xdfff) last = 0xdfff;
    if (first > last) return false;
    const uint32_t base = 0x10000 + (high << 10);
    if (left == 0) return text_take(t, base + first - 0xdc00);
    t->escape++;
    return text_takes(t, base + first - 0xdc00, base + last - 0xdc00);
}

/* Can an escape stand here? */
static bool may_escape(const struct thread *t)
{
    for (const char *s = "\"\\/\b\f\n\r\t"; *s; s++)
        if (text_takes(t, (unsigned char)*s, (unsigned char)*s)) return true;
    return escape_takes(t, 0, 0x10ffff);
}

bool json_text_byte(struct thread *t, unsigned char b)
{
    if (t->escape) return text_escape(t, b);
    if (b < 0x20) return false;
    if (b == '\\') {
        if (!may_escape(t)) return false;
        t->escape = 1;
        return true;
    }
    const int32_t q = dfa_next(thread_automaton(t), t->q, b);
    const int n = t->n + ((b & 0xc0) != 0x80);
    if (!text_lives(t, q, n)) return false;
    t->q = q;
    t->n = n;
    text_hash(t, b);
    return true;
}

static void step_string(struct step *st, const struct thread *t, unsigned char b)
{
    struct thread u = *t;
    if (b == '"' && !t->escape) {
        const struct strings *s = t->string;
        if (s->d->accepts[t->q] && t->n >= s->min) emit_ended(st, t->up, mix(t->hash, 11));
    } else if (json_text_byte(&u, b)) {
        emit(st, &u);
    }
}

static void step_key(struct step *st, const struct thread *t, unsigned char b)
{
    struct thread u = *t;
    if (b != '"' || t->escape) {
        if (json_text_byte(&u, b)) emit(st, &u);
        return;
    }
    const struct frame *f = t->up;
    const struct object_form *o = f->object;
    const int k = o->class_of[t->q];
    if (k < 0) return;
    const struct key_class *cls = &o->cls[k];
    if (cls->named >= 0 ? in_set(f->seen, cls->named) : json_was_used(f, t->hash)) return;
    if (!has_room_for(f, cls->named)) return;
    unsigned want = 0; /* demands that are still to be met */
    for (int d = 0; d < o->n_track; d++) want |= (unsigned)(f->count[d] == 0) << d;
    want &= cls->tracks;
    for (unsigned m = want;; m = (m - 1) & want) { /* every part of them */
        if (cls->value[m]) {
            struct frame *g = frame_copy(st, f);
            if (!g) return;
            g->n++;
            g->key = t->hash;
            for (int d = 0; d < o->n_track; d++) g->count[d] += (int)(m >> d & 1);
            if (cls->named >= 0)
                g->seen[cls->named / 64] |= UINT64_C(1) << (cls->named % 64);
            else if (!use(st, g, t->hash))
                return;
            emit(st, &(struct thread){ .place = AT_COLON, .value = cls->value[m], .up = g });
        }
        if (m == 0) break;
    }
}

/* ---- steps ----------------------------------------------------------------------------------------------------------------- */

static void end_frame(struct step *st, const struct frame *f)
{
    emit_ended(st, f->up, f->hashing ? mix(f->hash, 23) : 0);
}

static void step_item(struct step *st, const struct thread *t, unsigned char b)
{
    const struct frame *f = t->up;
    const struct array_form *a = f->array;
    if (b == ']') {
        if (t->first && array_can_end(f)) end_frame(st, f);
        return;
    }
    if (!array_can_grow(f)) return;
    if (a->choices) {
        const int32_t q = dfa_next(a->choices->d, 0, b);
        if (q < 0) return;
        const uint64_t *reach = a->choices->reach + (size_t)q * (size_t)a->choices->words;
        bool any = false;
        for (int w = 0; w < a->choices->words; w++) any |= (reach[w] & ~f->seen[w]) != 0;
        if (any) emit(st, &(struct thread){ .place = AT_CHOICE, .q = q, .up = f });
        return;
    }
    unsigned want = 0;
    for (int d = 0; d < a->n_track; d++)
        want |= (unsigned)(a->track_max[d] >= 0 || f->count[d] < a->track_min[d]) << d;
    for (unsigned m = want;; m = (m - 1) & want) {
        const int v = item_value(a, f->n, m);
        if (v) {
            struct frame *g = frame_copy(st, f);
            if (!g) return;
            g->n++;
            for (int d = 0; d < a->n_track; d++) g->count[d] += (int)(m >> d & 1);
            if (array_can_finish(a, g->n, g->count)) begin_value(st, v, g, b);
        }
        if (m == 0) break;
    }
}

static void step_choice(struct step *st, const struct thread *t, unsigned char b)
{
    const struct frame *f = t->up;
    const struct choices *h = f->array->choices;
    const int32_t q = dfa_next(h->d, t->q, b);
    if (q >= 0) {
        const uint64_t *reach = h->reach + (size_t)q * (size_t)h->words;
        bool any = false;
        for (int w = 0; w < h->words; w++) any |= (reach[w] & ~f->seen[w]) != 0;
        struct thread u = *t;
        u.q = q;
        if (any) emit(st, &u);
    }
    if (!h->d->accepts[t->q] || in_set(f->seen, (int)h->d->label[t->q])) return;
    struct frame *g = frame_copy(st, f);
    if (!g) return;
    const int k = (int)h->d->label[t->q];
    g->seen[k / 64] |= UINT64_C(1) << (k % 64);
    g->n++;
    if (g->hashing) g->hash = mix(g->hash * 31, (uint64_t)k + 1000);
    step_one(st, &(struct thread){ .place = AT_AFTER, .up = g }, b);
}

static void step_after(struct step *st, const struct thread *t, unsigned char b)
{
    const struct frame *f = t->up;
    if (!f) return;
    if (b == ',') {
        if (f->object ? key_is_open(f, 0) : array_can_grow(f))
            emit(st, &(struct thread){ .place = f->object ? AT_MEMBER : AT_ITEM, .up = f });
    } else if (b == '}' && f->object) {
        if (object_can_end(f)) end_frame(st, f);
    } else if (b == ']' && f->array) {
        if (array_can_end(f)) end_frame(st, f);
    }
}

static void step_one(struct step *st, const struct thread *t, unsigned char b)
{
    if (is_blank(b) && t->place != AT_STRING && t->place != AT_KEY && t->place != AT_NUMBER &&
        t->place != AT_LITERAL && t->place != AT_CHOICE) {
        struct thread u = *t;
        u.blank = blank_after(t, t->blank, b);
        if (u.blank != 255 && (t->place != AT_AFTER || t->up)) emit(st, &u);
        return;
    }
    struct thread u = *t;
    switch ((enum place)t->place) {
    case AT_VALUE: begin_value(st, t->value, t->up, b); break;
    case AT_STRING: step_string(st, t, b); break;
    case AT_KEY: step_key(st, t, b); break;
    case AT_CHOICE: step_choice(st, t, b); break;
    case AT_ITEM: step_item(st, t, b); break;
    case AT_AFTER: step_after(st, t, b); break;
    case AT_NUMBER: {
        const int32_t q = dfa_next(t->number, t->q, b);
        if (q >= 0) {
            u.q = q;
            if (json_asks_hash(t->up)) read_number(&u, b);
            emit(st, &u);
        } else if (t->number->accepts[t->q]) { /* it ended before b */
            bool dead;
            value_ended(st, t->up, json_asks_hash(t->up) ? number_hash(t) : 0, &u, &dead);
            if (!dead) step_one(st, &u, b);
        }
        break;
    }
    case AT_LITERAL:
        if ((unsigned char)t->literal[t->q] != b) break;
        u.q++;
        if (t->literal[u.q])
            emit(st, &u);
        else
            emit_ended(st, t->up, literal_hash((unsigned char)t->literal[0]));
        break;
    case AT_MEMBER:
        if (b == '"' && key_is_open(t->up, 0))
            emit(st, &(struct thread){ .place = AT_KEY, .up = t->up, .hash = 1 });
        else if (b == '}' && t->first && object_can_end(t->up))
            end_frame(st, t->up);
        break;
    case AT_COLON:
        if (b == ':') emit(st, &(struct thread){ .place = AT_VALUE, .value = t->value, .up = t->up });
        break;
    }
}

int json_key_ended(struct pile *pile, const struct thread *key, int32_t q, uint64_t hash, struct thread *out)
{
    struct step st = { .pile = pile, .out = out, .room = 1 << SCHEMA_TRACKS };
    struct thread t = *key;
    t.q = q;
    t.hash = hash;
    step_key(&st, &t, '"');
    return st.n;
}

int json_begin(const struct schema *s, struct thread *out)
{
    *out = (struct thread){ .place = AT_VALUE, .value = s->root };
    return 1;
}

int json_step(const struct schema *s, struct pile *pile, const struct thread *in, int n, unsigned char b,
              struct thread *out, int room)
{
    struct step st = { .s = s, .pile = pile, .out = out, .room = room };
    for (int i = 0; i < n; i++) step_one(&st, &in[i], b);
    return st.full ? -1 : st.n;
}
