#include "text/grammar/number.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXP_LOW = -5, EXP_HIGH = 16, EXP_END = 400, MAX_STATES = 40000 };

/* ---- decimals -------------------------------------------------------------------------------------------------------- */

bool decimal_read(struct decimal *d, const char *s)
{
    *d = (struct decimal){ 0 };
    int point = 0;
    bool dot = false;
    if (*s == '-') d->negative = true, s++;
    for (; (*s >= '0' && *s <= '9') || *s == '.'; s++) {
        if (*s == '.') {
            dot = true;
            continue;
        }
        if (*s == '0' && d->n == 0) { /* leading */
            point -= dot;
            continue;
        }
        point += !dot;
        if (d->n == (int)sizeof d->digit) {
            if (*s != '0') return false;
            continue;
        }
        d->digit[d->n++] = *s;
    }
    if (*s == 'e' || *s == 'E') {
        const long x = strtol(s + 1, NULL, 10);
        if (x > 100000 || x < -100000) return false;
        point += (int)x;
    }
    while (d->n > 0 && d->digit[d->n - 1] == '0') d->n--;
    d->point = d->n ? point : 0;
    if (!d->n) d->negative = false;
    return true;
}

void decimal_of(struct decimal *d, double v)
{
    char text[40];
    for (int n = 15; n <= 17; n++) {
        snprintf(text, sizeof text, "%.*e", n - 1, v);
        if (strtod(text, NULL) == v) break;
    }
    decimal_read(d, text);
}

static bool decimal_is_integer(const struct decimal *d) { return d->n <= d->point || d->n == 0; }

/* ---- pieces ---------------------------------------------------------------------------------------------------------- */

static rx byte(struct rx_pool *p, char c) { return rx_range(p, (unsigned char)c, (unsigned char)c); }
static rx digit(struct rx_pool *p, int first, int last)
{
    return first > last ? RX_NONE : rx_range(p, '0' + (unsigned)first, '0' + (unsigned)last);
}
static rx digits(struct rx_pool *p, int min) { return rx_repeat(p, digit(p, 0, 9), min, -1); }
static rx cat3(struct rx_pool *p, rx a, rx b, rx c) { return rx_cat(p, a, rx_cat(p, b, c)); }
static rx maybe(struct rx_pool *p, rx a) { return rx_or(p, a, RX_EMPTY); }

static rx fraction(struct rx_pool *p) { return rx_cat(p, byte(p, '.'), digits(p, 1)); }
static rx some_nonzero(struct rx_pool *p) { return cat3(p, digits(p, 0), digit(p, 1, 9), digits(p, 0)); }
static rx integer(struct rx_pool *p)
{
    return rx_or(p, byte(p, '0'), rx_cat(p, digit(p, 1, 9), digits(p, 0)));
}

/* Numbers lo..hi of n digits, leading zeros written. */
static rx same_length(struct rx_pool *p, int lo, int hi, int n)
{
    int unit = 1;
    if (n == 0) return RX_EMPTY;
    for (int k = 1; k < n; k++) unit *= 10;
    const int a = lo / unit, b = hi / unit;
    if (a == b) return rx_cat(p, digit(p, a, a), same_length(p, lo % unit, hi % unit, n - 1));
    const rx low = rx_cat(p, digit(p, a, a), same_length(p, lo % unit, unit - 1, n - 1));
    const rx high = rx_cat(p, digit(p, b, b), same_length(p, 0, hi % unit, n - 1));
    const rx mid = rx_cat(p, digit(p, a + 1, b - 1), rx_repeat(p, digit(p, 0, 9), n - 1, n - 1));
    return rx_or(p, rx_or(p, low, high), mid);
}

/* Whole numbers lo..hi above 0, without leading zeros. */
static rx between(struct rx_pool *p, int lo, int hi)
{
    rx r = RX_NONE;
    for (int n = 1, first = 1; first <= hi; n++, first *= 10) {
        const int last = first * 10 - 1;
        if (lo > last) continue;
        r = rx_or(p, r, same_length(p, lo > first ? lo : first, hi < last ? hi : last, n));
    }
    return r;
}

/* e and its number, for exponents first..last that are written so. */
static rx exponent(struct rx_pool *p, int first, int last)
{
    if (first < -EXP_END) first = -EXP_END;
    if (last > EXP_END) last = EXP_END;
    rx r = RX_NONE;
    if (last >= EXP_HIGH) {
        const rx up = between(p, first > EXP_HIGH ? first : EXP_HIGH, last);
        r = rx_cat(p, maybe(p, byte(p, '+')), up);
    }
    if (first <= EXP_LOW) {
        const int lo = last < EXP_LOW ? -last : -EXP_LOW, hi = -first;
        rx down = between(p, lo, hi);
        if (lo < 10) down = rx_or(p, down, rx_cat(p, byte(p, '0'), between(p, lo, hi < 9 ? hi : 9)));
        r = rx_or(p, r, rx_cat(p, byte(p, '-'), down));
    }
    return rx_cat(p, rx_or(p, byte(p, 'e'), byte(p, 'E')), r);
}

static rx mantissa(struct rx_pool *p) { return rx_cat(p, digit(p, 1, 9), maybe(p, fraction(p))); }

/* Magnitudes, zero too. */
static rx magnitudes(struct rx_pool *p)
{
    return rx_or(p, rx_cat(p, integer(p), maybe(p, fraction(p))),
                 rx_cat(p, mantissa(p), exponent(p, -EXP_END, EXP_END)));
}

static rx zero(struct rx_pool *p)
{
    return rx_cat(p, byte(p, '0'), maybe(p, rx_cat(p, byte(p, '.'), rx_repeat(p, byte(p, '0'), 1, -1))));
}

static rx nonzero(struct rx_pool *p) { return rx_and(p, magnitudes(p), rx_not(p, zero(p))); }

static rx with_minus(struct rx_pool *p, rx a) { return rx_cat(p, byte(p, '-'), a); }

/* Fractions, with their point or absent, that are at least .f (f[n], no trailing zeros); more than it. */
static rx fraction_up(struct rx_pool *p, const char *f, int n, bool strictly)
{
    if (n == 0) return strictly ? rx_cat(p, byte(p, '.'), some_nonzero(p)) : maybe(p, fraction(p));
    rx r = strictly ? some_nonzero(p) : digits(p, 0);
    for (int k = n - 1; k >= 0; k--) {
        const int d = f[k] - '0';
        r = rx_or(p, rx_cat(p, digit(p, d + 1, 9), digits(p, 0)), rx_cat(p, digit(p, d, d), r));
    }
    return rx_cat(p, byte(p, '.'), r);
}

/* At most .f; less than it. */
static rx fraction_down(struct rx_pool *p, const char *f, int n, bool strictly)
{
    const rx zeros = rx_repeat(p, byte(p, '0'), 0, -1);
    if (n == 0) return strictly ? RX_NONE : maybe(p, cat3(p, byte(p, '.'), byte(p, '0'), zeros));
    rx r = strictly ? RX_NONE : zeros;
    for (int k = n - 1; k >= 0; k--) {
        const int d = f[k] - '0';
        r = rx_or(p, rx_cat(p, digit(p, 0, d - 1), digits(p, 0)), rx_cat(p, digit(p, d, d), r));
        if (k > 0) r = maybe(p, r); /* the shorter one is less */
    }
    return maybe(p, rx_cat(p, byte(p, '.'), r));
}

/* Integers, as digits, greater than i[n]. */
static rx integer_above(struct rx_pool *p, const char *i, int n)
{
    if (n == 1 && i[0] == '0') return rx_cat(p, digit(p, 1, 9), digits(p, 0));
    rx r = RX_NONE;
    for (int k = n - 1; k >= 0; k--) {
        const int d = i[k] - '0';
        r = rx_or(p, rx_cat(p, digit(p, d + 1, 9), rx_repeat(p, digit(p, 0, 9), n - 1 - k, n - 1 - k)),
                  rx_cat(p, digit(p, d, d), r));
    }
    return rx_or(p, r, rx_cat(p, digit(p, 1, 9), digits(p, n)));
}

static rx integer_below(struct rx_pool *p, const char *i, int n)
{
    rx r = RX_NONE;
    for (int k = n - 1; k >= 0; k--) {
        const int d = i[k] - '0';
        r = rx_or(p,
                  rx_cat(p, digit(p, k == 0 && n > 1 ? 1 : 0, d - 1),
                         rx_repeat(p, digit(p, 0, 9), n - 1 - k, n - 1 - k)),
                  rx_cat(p, digit(p, d, d), r));
    }
    if (n == 1) return r;
    return rx_or(p, r,
                 rx_or(p, byte(p, '0'), rx_cat(p, digit(p, 1, 9), rx_repeat(p, digit(p, 0, 9), 0, n - 2))));
}

/* The digits before and behind the point. i has room for 400. */
static int split(const struct decimal *d, char *i, char *f, int *n_f)
{
    int n = 0;
    *n_f = 0;
    if (d->point <= 0) {
        i[n++] = '0';
        for (int k = 0; k < -d->point; k++) f[(*n_f)++] = '0';
        for (int k = 0; k < d->n; k++) f[(*n_f)++] = d->digit[k];
        return n;
    }
    for (int k = 0; k < d->point; k++) i[n++] = k < d->n ? d->digit[k] : '0';
    for (int k = d->point; k < d->n; k++) f[(*n_f)++] = d->digit[k];
    return n;
}

enum { ROOM = 2 * EXP_END };

/* Magnitudes at least (up), or at most, that of d, which is not zero. */
static rx bounded(struct rx_pool *p, const struct decimal *d, bool up, bool strictly)
{
    char i[ROOM], f[ROOM];
    const int x = d->point - 1; /* its exponent */
    if (x > EXP_END - 50) return up ? RX_NONE : magnitudes(p);
    if (x < -EXP_END + 50) return up ? nonzero(p) : zero(p);
    int n_f;
    const int n_i = split(d, i, f, &n_f);
    const rx at = rx_cat(p, rx_text(p, i, (size_t)n_i),
                         up ? fraction_up(p, f, n_f, strictly) : fraction_down(p, f, n_f, strictly));
    const rx beyond =
        rx_cat(p, up ? integer_above(p, i, n_i) : integer_below(p, i, n_i), maybe(p, fraction(p)));
    const int first = d->digit[0] - '0';
    const rx m_at = rx_cat(p, digit(p, first, first),
                           up ? fraction_up(p, d->digit + 1, d->n - 1, strictly)
                              : fraction_down(p, d->digit + 1, d->n - 1, strictly));
    const rx m_beyond =
        rx_cat(p, up ? digit(p, first + 1, 9) : digit(p, 1, first - 1), maybe(p, fraction(p)));
    const rx same = rx_cat(p, rx_or(p, m_at, m_beyond), exponent(p, x, x));
    const rx other = rx_cat(p, mantissa(p), up ? exponent(p, x + 1, EXP_END) : exponent(p, -EXP_END, x - 1));
    return rx_or(p, rx_or(p, at, beyond), rx_or(p, same, other));
}

/* ---- the sets -------------------------------------------------------------------------------------------------------- */

rx number_any(struct rx_pool *p)
{
    const rx sign = maybe(p, rx_or(p, byte(p, '+'), byte(p, '-')));
    const rx exp = cat3(p, rx_or(p, byte(p, 'e'), byte(p, 'E')), sign, digits(p, 1));
    return rx_cat(p, maybe(p, byte(p, '-')), cat3(p, integer(p), maybe(p, fraction(p)), maybe(p, exp)));
}

rx number_texts(struct rx_pool *p) { return rx_or(p, magnitudes(p), with_minus(p, nonzero(p))); }

rx number_integers(struct rx_pool *p, bool point)
{
    const rx positive = rx_cat(p, digit(p, 1, 9), digits(p, 0));
    const rx all = rx_or(p, byte(p, '0'), rx_cat(p, maybe(p, byte(p, '-')), positive));
    return point ? rx_cat(p, all, maybe(p, rx_text(p, ".0", 2))) : all;
}

rx number_integral(struct rx_pool *p)
{
    const rx zeros = maybe(p, rx_cat(p, byte(p, '.'), rx_repeat(p, byte(p, '0'), 1, -1)));
    const rx large = rx_cat(p, mantissa(p), exponent(p, EXP_HIGH, EXP_END));
    return rx_or(p, rx_cat(p, number_integers(p, false), zeros), rx_cat(p, maybe(p, byte(p, '-')), large));
}

rx number_at_least(struct rx_pool *p, const struct decimal *d, bool strictly)
{
    if (d->n == 0) return strictly ? nonzero(p) : magnitudes(p);
    if (!d->negative) return bounded(p, d, true, strictly);
    const rx below = rx_and(p, bounded(p, d, false, strictly), nonzero(p));
    return rx_or(p, magnitudes(p), with_minus(p, below));
}

rx number_at_most(struct rx_pool *p, const struct decimal *d, bool strictly)
{
    if (d->n == 0) return rx_or(p, with_minus(p, nonzero(p)), strictly ? RX_NONE : zero(p));
    if (!d->negative) return rx_or(p, with_minus(p, nonzero(p)), bounded(p, d, false, strictly));
    return with_minus(p, bounded(p, d, true, strictly));
}

rx number_equal(struct rx_pool *p, const struct decimal *d)
{
    return rx_and(p, number_at_least(p, d, false), number_at_most(p, d, false));
}

rx number_written(struct rx_pool *p, const struct decimal *d, bool real)
{
    char i[ROOM], f[ROOM];
    int n_f;
    const rx point = real ? maybe(p, rx_text(p, ".0", 2)) : RX_EMPTY;
    if (d->n == 0) return rx_cat(p, byte(p, '0'), point);
    const int x = d->point - 1;
    rx r;
    /* Integers of 64 bits are written out. */
    if (x > EXP_LOW && (x < EXP_HIGH || (x < 20 && decimal_is_integer(d)))) {
        const int n_i = split(d, i, f, &n_f);
        r = rx_text(p, i, (size_t)n_i);
        r = n_f > 0 ? cat3(p, r, byte(p, '.'), rx_text(p, f, (size_t)n_f)) : rx_cat(p, r, point);
    } else {
        r = rx_text(p, d->digit, 1);
        if (d->n > 1) r = cat3(p, r, byte(p, '.'), rx_text(p, d->digit + 1, (size_t)d->n - 1));
        r = rx_cat(p, r, exponent(p, x, x));
    }
    return d->negative ? with_minus(p, r) : r;
}

/* ---- multiples ------------------------------------------------------------------------------------------------------- */

/* The digits read so far, as a whole number, modulo m; a multiple has `places` digits behind the point at most, but for zeros. */
bool number_multiples(struct rx_pool *p, const struct decimal *d, rx *out, struct err *e)
{
    int64_t m = 0;
    const int places = d->n > d->point ? d->n - d->point : 0;
    bool fits = d->n > 0 && places <= 12 && d->point <= 12;
    for (int k = 0; fits && (k < d->n || k < d->point); k++) m = m * 10 + (k < d->n ? d->digit[k] - '0' : 0);
    /* Before the point: m states; behind it: m for each place, and one for zeros. Four more for the beginning. */
    if (!fits || m > MAX_STATES / (places + 2))
        return err_set(e, ERR_LIMIT, "multipleOf needs an automaton of more than %d states", MAX_STATES);
    enum { START, MINUS, ZERO, TAIL, DOT0, FIRST };
    enum { C_MINUS = 10, C_DOT, C_OTHER, N_CLASS };
    const int n = FIRST + (int)m * (places + 2);
    struct rx_table t = { .n = n, .n_class = N_CLASS };
    int32_t *next = malloc((size_t)n * N_CLASS * sizeof *next);
    uint8_t *accepts = calloc((size_t)n, 1);
    if (!next || !accepts) {
        free(next);
        free(accepts);
        return err_set(e, ERR_NOMEM, "no memory for an automaton");
    }
    for (int b = 0; b < 256; b++)
        t.class_of[b] = (uint8_t)(b >= '0' && b <= '9' ? b - '0'
                                  : b == '-'           ? C_MINUS
                                  : b == '.'           ? C_DOT
                                                       : C_OTHER);
    for (int i = 0; i < n * N_CLASS; i++) next[i] = -1;
#define TO(s, c) next[(s)*N_CLASS + (c)]
#define AT(place, r) (FIRST + (int32_t)(place) * (int32_t)m + (int32_t)(r)) /* place 0: before the point */
    int64_t scale = 1;
    for (int k = 0; k < places; k++) scale *= 10;
    for (int c = 0; c < 10; c++) {
        TO(START, c) = c == 0 ? ZERO : AT(0, c % m);
        if (c > 0) TO(MINUS, c) = AT(0, c % m);
    }
    TO(START, C_MINUS) = MINUS;
    accepts[ZERO] = accepts[TAIL] = 1;
    TO(ZERO, C_DOT) = DOT0;
    TO(TAIL, 0) = TAIL;
    /* "0." and what follows: as any other, with a remainder of zero. */
    int64_t left = scale;
    for (int place = 0; place <= places; place++) {
        for (int64_t r = 0; r < m; r++) {
            const int32_t s = AT(place, r);
            accepts[s] = r * left % m == 0;
            if (place == 0) {
                for (int c = 0; c < 10; c++) TO(s, c) = AT(0, (r * 10 + c) % m);
                TO(s, C_DOT) = AT(places + 1, r);
            } else if (place < places) {
                for (int c = 0; c < 10; c++) TO(s, c) = AT(place + 1, (r * 10 + c) % m);
            } else if (r == 0) {
                TO(s, 0) = TAIL;
            }
        }
        left /= 10;
    }
    for (int64_t r = 0; r < m; r++) { /* just behind the point: a digit has to come */
        const int32_t s = AT(places + 1, r);
        if (places == 0) {
            if (r == 0) TO(s, 0) = TAIL;
        } else {
            for (int c = 0; c < 10; c++) TO(s, c) = AT(1, (r * 10 + c) % m);
        }
    }
    for (int c = 0; c < 10; c++) TO(DOT0, c) = TO(AT(places + 1, 0), c);
#undef TO
#undef AT
    t.next = next;
    t.accepts = accepts;
    const int table = rx_table(p, &t);
    free(next);
    free(accepts);
    if (!rx_ok(p, e)) return false;
    /* "-0.5" begins with a zero behind the minus; "-0" and "-0.0" are not written. */
    const rx all = rx_state(p, table, START), rest = rx_state(p, table, ZERO);
    const rx negative = rx_cat(p, byte(p, '-'), rx_and(p, rx_cat(p, byte(p, '0'), rest), rx_not(p, zero(p))));
    *out = rx_or(p, all, negative);
    return rx_ok(p, e);
}
