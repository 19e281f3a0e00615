/* jinja_methods.c - the methods of str, dict, list and tuple that the immutable sandbox allows. */
#include <string.h>
#include <unictype.h>

#include "text/jinja/jinja_eval.h"

#define METHOD(name) static struct jval name(struct jvm *vm, struct jval self, const struct jargs *args)

/* --- str: trimming and case ---------------------------------------------------------------------------------------- */

static struct jval strip(struct jvm *vm, struct jval self, const struct jargs *args, int sides)
{
    struct jval chars;
    if (!jbind(vm, "strip", args, "/ chars?", &chars)) return j_none();
    if (chars.t == J_MISSING || chars.t == J_NONE) return jstr_strip(vm, self.s, NULL, sides);
    const struct jstr *c = jarg_str(vm, "strip", chars);
    return c ? jstr_strip(vm, self.s, c, sides) : j_none();
}
METHOD(m_strip) { return strip(vm, self, args, STRIP_LEFT | STRIP_RIGHT); }
METHOD(m_lstrip) { return strip(vm, self, args, STRIP_LEFT); }
METHOD(m_rstrip) { return strip(vm, self, args, STRIP_RIGHT); }

static bool no_args(struct jvm *vm, const char *what, const struct jargs *args)
{
    struct jval none[1];
    return jbind(vm, what, args, "", none);
}
METHOD(m_upper) { return no_args(vm, "upper", args) ? jstr_upper(vm, self.s) : j_none(); }
METHOD(m_lower) { return no_args(vm, "lower", args) ? jstr_lower(vm, self.s) : j_none(); }
METHOD(m_title) { return no_args(vm, "title", args) ? jstr_title(vm, self.s) : j_none(); }
METHOD(m_capitalize) { return no_args(vm, "capitalize", args) ? jstr_capitalize(vm, self.s) : j_none(); }
METHOD(m_swapcase) { return no_args(vm, "swapcase", args) ? jstr_swapcase(vm, self.s) : j_none(); }
METHOD(m_casefold) { return no_args(vm, "casefold", args) ? jstr_casefold(vm, self.s) : j_none(); }
METHOD(m_islower) { return j_bool(no_args(vm, "islower", args) && jstr_is_cased(vm, self.s, false)); }
METHOD(m_isupper) { return j_bool(no_args(vm, "isupper", args) && jstr_is_cased(vm, self.s, true)); }

/* True when the string is not empty and all its characters pass. */
static struct jval all_chars(struct jvm *vm, struct jval self, const struct jargs *args, const char *what,
                             bool (*pass)(uint32_t c))
{
    if (!no_args(vm, what, args) || !self.s->len) return j_bool(false);
    for (size_t i = 0; i < self.s->len && vm_step(vm, 1);) {
        int n;
        if (!pass(utf8_at(self.s->p + i, self.s->len - i, &n))) return j_bool(false);
        i += (size_t)n;
    }
    return j_bool(true);
}
static bool is_decimal(uint32_t c) { return uc_decimal_value(c) >= 0; }
static bool is_digit(uint32_t c) { return uc_digit_value(c) >= 0; }
static bool is_numeric(uint32_t c) { return uc_numeric_value(c).denominator != 0; }
static bool is_alnum(uint32_t c) { return uni_is_alpha(c) || is_numeric(c); }
static bool is_ascii(uint32_t c) { return c < 0x80; }
METHOD(m_isspace) { return all_chars(vm, self, args, "isspace", uni_is_space); }
METHOD(m_isdigit) { return all_chars(vm, self, args, "isdigit", is_digit); }
METHOD(m_isdecimal) { return all_chars(vm, self, args, "isdecimal", is_decimal); }
METHOD(m_isnumeric) { return all_chars(vm, self, args, "isnumeric", is_numeric); }
METHOD(m_isalpha) { return all_chars(vm, self, args, "isalpha", uni_is_alpha); }
METHOD(m_isalnum) { return all_chars(vm, self, args, "isalnum", is_alnum); }
METHOD(m_isascii) { return self.s->len ? all_chars(vm, self, args, "isascii", is_ascii) : j_bool(true); }
METHOD(m_isprintable)
{
    return self.s->len ? all_chars(vm, self, args, "isprintable", uni_is_printable) : j_bool(true);
}

METHOD(m_istitle)
{
    if (!no_args(vm, "istitle", args)) return j_none();
    bool in_word = false, any = false;
    for (size_t i = 0; i < self.s->len && vm_step(vm, 1);) {
        int n;
        const uint32_t c = utf8_at(self.s->p + i, self.s->len - i, &n);
        const bool up = uni_is_upper(c), low = uc_is_property_lowercase(c);
        if ((up && in_word) || (low && !in_word)) return j_bool(false);
        in_word = up || low;
        any |= in_word;
        i += (size_t)n;
    }
    return j_bool(any);
}

/* --- str: searching ----------------------------------------------------------------------------------------------------- */

/* The part [from, to) of the string in bytes that optional start and end arguments name; false when start lies behind
 * the end, where not even an empty string is found. */
static bool window(struct jvm *vm, struct jstr *s, struct jval start, struct jval end, size_t *from,
                   size_t *to)
{
    if ((start.t == J_MISSING || start.t == J_NONE) && (end.t == J_MISSING || end.t == J_NONE)) {
        *from = 0;
        *to = s->len;
        return !vm->failed;
    }
    const int64_t n = jstr_chars(vm, s);
    int64_t a = start.t == J_NONE ? 0 : jarg_int(vm, "str", start, 0),
            b = end.t == J_NONE ? n : jarg_int(vm, "str", end, n);
    if (a < 0) a = a + n < 0 ? 0 : a + n;
    if (b < 0) b = b + n < 0 ? 0 : b + n;
    if (b > n) b = n;
    if (a > b || vm->failed) return false;
    *from = jstr_offset(vm, s, a);
    *to = jstr_offset(vm, s, b);
    return !vm->failed;
}

/* Text turned round, so that a search from the right is one from the left, with its linear cost. */
struct turned {
    char *text, *what;
    size_t len, n_what;
};

static char *turn(struct jvm *vm, const char *p, size_t n)
{
    char *t = vm_alloc(vm, n + 1, 1);
    for (size_t i = 0; t && i < n; i++) t[i] = p[n - 1 - i];
    return t;
}

/* False when there is no memory for it. */
static bool turn_both(struct jvm *vm, const char *p, size_t len, const struct jstr *what, struct turned *out)
{
    *out = (struct turned){ turn(vm, p, len), turn(vm, what->p, what->len), len, what->len };
    return out->text && out->what;
}

/* Where the last hit that ends at or before byte `to` begins; SIZE_MAX: nowhere. */
static size_t find_last(const struct turned *t, size_t to)
{
    const char *from = t->text + (t->len - to);
    const char *hit = t->n_what ? memmem(from, to, t->what, t->n_what) : from;
    return hit ? t->len - (size_t)(hit - t->text) - t->n_what : SIZE_MAX;
}

static int64_t find(struct jvm *vm, struct jval self, const struct jargs *args, const char *what, bool last)
{
    struct jval a[3];
    size_t from, to;
    if (!jbind(vm, what, args, "/ sub start? end?", a)) return -1;
    const struct jstr *sub = jarg_str(vm, what, a[0]);
    if (!sub || !window(vm, self.s, a[1], a[2], &from, &to)) return -1;
    const char *const p = self.s->len ? self.s->p : "";
    if (!vm_text(vm, 2 * (to - from) + sub->len)) return -1;
    const char *hit = sub->len ? memmem(p + from, to - from, sub->p, sub->len) : p + from;
    if (!hit) return -1;
    if (last) {
        struct turned t;
        if (!turn_both(vm, p + from, to - from, sub, &t)) return -1;
        hit = p + from + find_last(&t, to - from);
    }
    int64_t at = 0;
    for (const char *c = p; c < hit; c++) at += ((unsigned char)*c & 0xC0) != 0x80;
    return at;
}
METHOD(m_find) { return j_int(find(vm, self, args, "find", false)); }
METHOD(m_rfind) { return j_int(find(vm, self, args, "rfind", true)); }

static struct jval index_of(struct jvm *vm, struct jval self, const struct jargs *args, bool last)
{
    const int64_t at = find(vm, self, args, "index", last);
    if (at < 0) vm_type_error(vm, "substring not found");
    return j_int(at);
}
METHOD(m_index) { return index_of(vm, self, args, false); }
METHOD(m_rindex) { return index_of(vm, self, args, true); }

METHOD(m_count)
{
    struct jval a[3];
    size_t from, to;
    int64_t n = 0;
    if (!jbind(vm, "count", args, "/ sub start? end?", a)) return j_none();
    const struct jstr *sub = jarg_str(vm, "count", a[0]);
    if (!sub || !window(vm, self.s, a[1], a[2], &from, &to)) return j_int(0);
    if (!vm_text(vm, to - from + sub->len)) return j_int(0);
    if (!sub->len) {
        for (size_t i = from; i < to; i++) n += ((unsigned char)self.s->p[i] & 0xC0) != 0x80;
        return j_int(n + 1);
    }
    while (from < to && vm_step(vm, 1)) {
        const char *hit = memmem(self.s->p + from, to - from, sub->p, sub->len);
        if (!hit) break;
        n++;
        from = (size_t)(hit - self.s->p) + sub->len;
    }
    return j_int(n);
}

static bool affix_matches(const struct jstr *s, size_t from, size_t to, const struct jstr *affix, bool end)
{
    if (affix->len > to - from) return false;
    return affix->len == 0 || memcmp(s->p + (end ? to - affix->len : from), affix->p, affix->len) == 0;
}

static struct jval has_affix(struct jvm *vm, struct jval self, const struct jargs *args, const char *what,
                             bool end)
{
    struct jval a[3];
    size_t from, to;
    if (!jbind(vm, what, args, "/ affix start? end?", a)) return j_none();
    if (a[0].t != J_STR && a[0].t != J_TUPLE) {
        vm_type_error(vm, "%s: first argument must be a string or a tuple of strings, not %s", what,
                      j_type_name(a[0]));
        return j_none();
    }
    if (!window(vm, self.s, a[1], a[2], &from, &to)) return j_bool(false);
    if (a[0].t == J_STR)
        return j_bool(vm_text(vm, a[0].s->len) && affix_matches(self.s, from, to, a[0].s, end));
    for (size_t i = 0; i < a[0].seq->n; i++) {
        const struct jstr *affix = jarg_str(vm, what, a[0].seq->v[i]);
        if (!affix || !vm_step(vm, 1 + affix->len / 16)) return j_none();
        if (affix_matches(self.s, from, to, affix, end)) return j_bool(true);
    }
    return j_bool(false);
}
METHOD(m_startswith) { return has_affix(vm, self, args, "startswith", false); }
METHOD(m_endswith) { return has_affix(vm, self, args, "endswith", true); }

static struct jval remove_affix(struct jvm *vm, struct jval self, const struct jargs *args, bool end)
{
    struct jval a;
    if (!jbind(vm, "removeprefix", args, "/ affix", &a)) return j_none();
    const struct jstr *affix = jarg_str(vm, "removeprefix", a), *s = self.s;
    if (!affix || !vm_text(vm, affix->len)) return j_none();
    const size_t cut = affix_matches(s, 0, s->len, affix, end) ? affix->len : 0;
    return j_str_sub(vm, s, end ? 0 : cut, s->len - cut);
}
METHOD(m_removeprefix) { return remove_affix(vm, self, args, false); }
METHOD(m_removesuffix) { return remove_affix(vm, self, args, true); }

/* --- str: cutting and joining ----------------------------------------------------------------------------------------------- */

/* Split at runs of white space. From the right the pieces come out backwards and are turned round at the end. */
static struct jval split_space(struct jvm *vm, const struct jstr *s, int64_t max, bool right)
{
    struct jval list = j_seq(vm, J_LIST, 0);
    struct jval rest = jstr_strip(vm, s, NULL, right ? STRIP_RIGHT : STRIP_LEFT);
    while (!vm->failed && rest.s->len) {
        const struct jstr *r = rest.s;
        if (max-- == 0) {
            jseq_push(vm, list, jstr_strip(vm, r, NULL, right ? STRIP_LEFT | STRIP_RIGHT : STRIP_LEFT));
            break;
        }
        int n;
        size_t word = 0;
        if (!right) {
            while (word < r->len && !uni_is_space(utf8_at(r->p + word, r->len - word, &n))) word += (size_t)n;
            jseq_push(vm, list, j_str_sub(vm, r, 0, word));
            rest = jstr_strip(vm, j_str_sub(vm, r, word, r->len - word).s, NULL, STRIP_LEFT);
            continue;
        }
        size_t from = r->len;
        while (from > 0) {
            size_t k = from - 1;
            while (k > 0 && ((unsigned char)r->p[k] & 0xC0) == 0x80) k--;
            if (uni_is_space(utf8_at(r->p + k, r->len - k, &n))) break;
            from = k;
        }
        jseq_push(vm, list, j_str_sub(vm, r, from, r->len - from));
        rest = jstr_strip(vm, j_str_sub(vm, r, 0, from).s, NULL, STRIP_RIGHT);
    }
    return list;
}

static void reverse_list(struct jseq *s)
{
    for (size_t i = 0; i + 1 < s->n - i; i++) {
        const struct jval t = s->v[i];
        s->v[i] = s->v[s->n - 1 - i];
        s->v[s->n - 1 - i] = t;
    }
}

static struct jval split(struct jvm *vm, struct jval self, const struct jargs *args, bool right)
{
    struct jval a[2];
    const struct jstr *s = self.s;
    if (!jbind(vm, "split", args, "sep? maxsplit?", a)) return j_none();
    int64_t max = jarg_int(vm, "split", a[1], -1);
    if (max < 0) max = INT64_MAX;
    if (!vm_text(vm, s->len)) return j_none();
    struct jval list;
    if (a[0].t == J_MISSING || a[0].t == J_NONE) {
        list = split_space(vm, s, max, right);
    } else {
        const struct jstr *sep = jarg_str(vm, "split", a[0]);
        if (!sep) return j_none();
        if (!sep->len) {
            vm_type_error(vm, "empty separator");
            return j_none();
        }
        list = j_seq(vm, J_LIST, 0);
        size_t from = 0, to = s->len;
        struct turned turned;
        if (!vm_text(vm, sep->len) || (right && !turn_both(vm, s->p, s->len, sep, &turned))) return j_none();
        while (max-- > 0 && to > from && vm_step(vm, 1)) {
            const char *hit = right ? NULL : memmem(s->p + from, to - from, sep->p, sep->len);
            const size_t at = right ? find_last(&turned, to) : hit ? (size_t)(hit - s->p) : SIZE_MAX;
            if (at == SIZE_MAX) break;
            if (right) {
                jseq_push(vm, list, j_str_sub(vm, s, at + sep->len, to - at - sep->len));
                to = at;
            } else {
                jseq_push(vm, list, j_str_sub(vm, s, from, at - from));
                from = at + sep->len;
            }
        }
        jseq_push(vm, list, j_str_sub(vm, s, from, to - from));
    }
    if (right && list.seq->n && !vm->failed) reverse_list(list.seq);
    return list;
}
METHOD(m_split) { return split(vm, self, args, false); }
METHOD(m_rsplit) { return split(vm, self, args, true); }

static struct jval partition(struct jvm *vm, struct jval self, const struct jargs *args, bool right)
{
    struct jval a, t = j_seq(vm, J_TUPLE, 3);
    const struct jstr *s = self.s;
    if (!jbind(vm, "partition", args, "/ sep", &a)) return j_none();
    const struct jstr *sep = jarg_str(vm, "partition", a);
    if (sep && !sep->len) vm_type_error(vm, "empty separator");
    if (!sep || !vm_text(vm, s->len + sep->len)) return j_none();
    const char *hit = s->len ? memmem(s->p, s->len, sep->p, sep->len) : NULL;
    if (hit && right) {
        struct turned turned;
        if (!turn_both(vm, s->p, s->len, sep, &turned)) return j_none();
        hit = s->p + find_last(&turned, s->len);
    }
    const size_t at = hit ? (size_t)(hit - s->p) : right ? 0 : s->len, n = hit ? sep->len : 0;
    jseq_push(vm, t, j_str_sub(vm, s, 0, at));
    jseq_push(vm, t, j_str_sub(vm, s, at, n));
    jseq_push(vm, t, j_str_sub(vm, s, at + n, s->len - at - n));
    return t;
}
METHOD(m_partition) { return partition(vm, self, args, false); }
METHOD(m_rpartition) { return partition(vm, self, args, true); }

METHOD(m_splitlines)
{
    struct jval keep;
    if (!jbind(vm, "splitlines", args, "keepends?", &keep)) return j_none();
    const bool keeps = jarg_int(vm, "splitlines", keep, 0) != 0;
    return vm->failed ? j_none() : jstr_splitlines(vm, self.s, keeps);
}

METHOD(m_replace)
{
    struct jval a[3];
    if (!jbind(vm, "replace", args, "/ old new count?", a)) return j_none();
    const int64_t max = jarg_int(vm, "replace", a[2], -1);
    if (self.s->markup) a[1] = j_escape(vm, a[1]); /* of whatever type */
    const struct jstr *old = jarg_str(vm, "replace", a[0]), *by = jarg_str(vm, "replace", a[1]);
    return old && by && !vm->failed ? jstr_replace(vm, self.s, old, by, max) : j_none();
}

METHOD(m_join)
{
    struct jval list;
    if (!jbind(vm, "join", args, "/ iterable", &list)) return j_none();
    list = j_items(vm, list);
    if (vm->failed) return j_none();
    return self.s->markup ? j_markup_join(vm, self.s, list) : jstr_join(vm, self.s, list, false);
}

METHOD(m_format) { return j_format(vm, self.s, args); }

static struct jval pad(struct jvm *vm, struct jval self, const struct jargs *args, const char *what,
                       int where)
{
    struct jval a[2];
    if (!jbind(vm, what, args, "/ width fillchar?", a)) return j_none();
    const int64_t width = jarg_int(vm, what, a[0], 0), n = jstr_chars(vm, self.s);
    struct jval fill = a[1].t == J_MISSING ? j_cstr(vm, " ") : a[1];
    if (self.s->markup) fill = j_escape(vm, fill); /* of whatever type */
    if (fill.t != J_STR || jstr_chars(vm, fill.s) != 1) {
        vm_type_error(vm, "%s: the fill character must be exactly one character long", what);
        return j_none();
    }
    if (width <= n) return self;
    const int64_t room = width - n;
    const int64_t left = where < 0 ? 0 : where > 0 ? room : room / 2 + (room & width & 1);
    struct jbuf b = jbuf_new(vm);
    for (int64_t i = 0; i < left && vm_step(vm, 1); i++) jbuf_str(&b, fill.s);
    jbuf_str(&b, self.s);
    for (int64_t i = left; i < room && vm_step(vm, 1); i++) jbuf_str(&b, fill.s);
    return j_like(vm, self.s, jbuf_take(&b));
}
METHOD(m_ljust) { return pad(vm, self, args, "ljust", -1); }
METHOD(m_rjust) { return pad(vm, self, args, "rjust", 1); }
METHOD(m_center) { return pad(vm, self, args, "center", 0); }

METHOD(m_zfill)
{
    struct jval a;
    if (!jbind(vm, "zfill", args, "/ width", &a)) return j_none();
    const int64_t width = jarg_int(vm, "zfill", a, 0), n_chars = jstr_chars(vm, self.s);
    if (width <= n_chars) return self;
    const int64_t room = width - n_chars;
    const size_t sign = self.s->len && (self.s->p[0] == '-' || self.s->p[0] == '+');
    struct jbuf b = jbuf_new(vm);
    jbuf_sub(&b, self.s, 0, sign);
    jbuf_pad(&b, '0', room);
    jbuf_sub(&b, self.s, sign, self.s->len - sign);
    return j_like(vm, self.s, jbuf_take(&b));
}

/* --- dict, list, tuple ---------------------------------------------------------------------------------------------------------- */

static struct jval view(struct jvm *vm, struct jval self, const struct jargs *args, enum jview_kind kind)
{
    struct jview *v = no_args(vm, "dict method", args) ? vm_new(vm, struct jview, 1) : NULL;
    if (!v) return j_none();
    *v = (struct jview){ self.d, kind };
    return (struct jval){ .t = J_VIEW, .view = v };
}
METHOD(m_keys) { return view(vm, self, args, VIEW_KEYS); }
METHOD(m_values) { return view(vm, self, args, VIEW_VALUES); }
METHOD(m_items) { return view(vm, self, args, VIEW_ITEMS); }

METHOD(m_get)
{
    struct jval a[2];
    if (!jbind(vm, "get", args, "/ key default?", a)) return j_none();
    if (!j_hashable(vm, a[0])) {
        vm_type_error(vm, "unhashable type: '%s'", j_type_name(a[0]));
        return j_none();
    }
    const struct jval *v = jdict_get(vm, self.d, a[0]);
    return v ? *v : a[1].t == J_MISSING ? j_none() : a[1];
}

METHOD(m_dict_copy)
{
    struct jval d = j_dict(vm);
    if (!no_args(vm, "copy", args)) return j_none();
    for (size_t i = 0; i < self.d->n && vm_step(vm, 1); i++)
        jdict_set(vm, d.d, self.d->e[i].key, self.d->e[i].val);
    return d;
}

METHOD(m_list_copy)
{
    struct jval l = j_seq(vm, J_LIST, self.seq->n);
    if (!no_args(vm, "copy", args)) return j_none();
    for (size_t i = 0; i < self.seq->n && vm_step(vm, 1); i++) jseq_push(vm, l, self.seq->v[i]);
    return l;
}

METHOD(m_list_count)
{
    struct jval x;
    int64_t n = 0;
    if (!jbind(vm, "count", args, "/ value", &x)) return j_none();
    for (size_t i = 0; i < self.seq->n && vm_step(vm, 1); i++) n += j_eq(vm, self.seq->v[i], x);
    return j_int(n);
}

METHOD(m_list_index)
{
    struct jval a[3];
    if (!jbind(vm, "index", args, "/ value start? stop?", a)) return j_none();
    const int64_t n = (int64_t)self.seq->n;
    int64_t from = jarg_int(vm, "index", a[1], 0), to = jarg_int(vm, "index", a[2], n);
    if (from < 0) from = from + n < 0 ? 0 : from + n;
    if (to < 0) to += n;
    if (to > n) to = n;
    for (int64_t i = from; i < to && vm_step(vm, 1); i++)
        if (j_eq(vm, self.seq->v[i], a[0])) return j_int(i);
    vm_type_error(vm, "the value is not in the list");
    return j_none();
}

static const struct jmethod_def str_methods[] = {
    { "capitalize", m_capitalize },
    { "casefold", m_casefold },
    { "center", m_center },
    { "count", m_count },
    { "endswith", m_endswith },
    { "find", m_find },
    { "format", m_format },
    { "index", m_index },
    { "isalnum", m_isalnum },
    { "isalpha", m_isalpha },
    { "isascii", m_isascii },
    { "isdecimal", m_isdecimal },
    { "isdigit", m_isdigit },
    { "islower", m_islower },
    { "isnumeric", m_isnumeric },
    { "isprintable", m_isprintable },
    { "isspace", m_isspace },
    { "istitle", m_istitle },
    { "isupper", m_isupper },
    { "join", m_join },
    { "ljust", m_ljust },
    { "lower", m_lower },
    { "lstrip", m_lstrip },
    { "partition", m_partition },
    { "removeprefix", m_removeprefix },
    { "removesuffix", m_removesuffix },
    { "replace", m_replace },
    { "rfind", m_rfind },
    { "rindex", m_rindex },
    { "rjust", m_rjust },
    { "rpartition", m_rpartition },
    { "rsplit", m_rsplit },
    { "rstrip", m_rstrip },
    { "split", m_split },
    { "splitlines", m_splitlines },
    { "startswith", m_startswith },
    { "strip", m_strip },
    { "swapcase", m_swapcase },
    { "title", m_title },
    { "upper", m_upper },
    { "zfill", m_zfill },
    { NULL, NULL },
};
static const struct jmethod_def dict_methods[] = { { "copy", m_dict_copy }, { "get", m_get },
                                                   { "items", m_items },    { "keys", m_keys },
                                                   { "values", m_values },  { NULL, NULL } };
static const struct jmethod_def list_methods[] = {
    { "copy", m_list_copy }, { "count", m_list_count }, { "index", m_list_index }, { NULL, NULL }
};
static const struct jmethod_def tuple_methods[] = { { "count", m_list_count },
                                                    { "index", m_list_index },
                                                    { NULL, NULL } };

const struct jmethod_def *jmethod_find(enum jtype type, const struct jstr *name)
{
    const struct jmethod_def *m = type == J_STR     ? str_methods
                                  : type == J_DICT  ? dict_methods
                                  : type == J_LIST  ? list_methods
                                  : type == J_TUPLE ? tuple_methods
                                                    : NULL;
    if (type == J_CYCLER) return jcycler_method(name);
    for (; m && m->name; m++)
        if (jstr_is(name, m->name)) return m;
    return NULL;
}

bool jmethod_is_unsafe(enum jtype type, const struct jstr *name)
{
    static const char *const of_dict[] = { "clear", "pop", "popitem", "setdefault", "update", NULL };
    static const char *const of_list[] = { "append", "clear",  "pop",    "reverse", "insert",
                                           "sort",   "extend", "remove", NULL };
    const char *const *u = type == J_DICT ? of_dict : type == J_LIST ? of_list : NULL;
    for (; u && *u; u++)
        if (jstr_is(name, *u)) return true;
    return false;
}
