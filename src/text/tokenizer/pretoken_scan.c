/* pretoken_scan.c - see pretoken_scan.h. Each function follows its pattern alternative by alternative. */
#include "text/tokenizer/pretoken_scan.h"

#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define O200K_UP "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define O200K_LOW "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

const char scan_pattern_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char scan_pattern_llama3[] =
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" SPACES;
const char scan_pattern_qwen2[] =
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" SPACES;
const char scan_pattern_o200k[] = "[^\\r\\n\\p{L}\\p{N}]?" O200K_UP "*" O200K_LOW "+" CONTRACTIONS "?"
                                  "|[^\\r\\n\\p{L}\\p{N}]?" O200K_UP "+" O200K_LOW "*" CONTRACTIONS "?"
                                  "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES;
const char scan_pattern_deepseek[] = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
                                     "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                                     "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
const char scan_pattern_clip[] =
    "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+";
const char scan_pattern_numbers3[] = "\\p{N}{1,3}";
const char scan_pattern_number[] = "\\p{N}";
const char scan_pattern_cjk[] = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+";

/* Class and length of the character at s[i]; 0 and length 0 at the end. */
static inline unsigned class_at(const struct unicode *u, const unsigned char *s, size_t i, size_t n,
                                unsigned *len)
{
    if (i >= n) return *len = 0, 0;
    if (s[i] < 0x80) return *len = 1, u->cell[s[i]]; /* page 0 is the table's first */
    return unicode_class(u, utf8_get(s + i, len));
}

/* End of the longest run from i of characters that have one of the bits in `want`. */
static inline size_t run_of(const struct unicode *u, const unsigned char *s, size_t i, size_t n,
                            unsigned want)
{
    unsigned len;
    while (class_at(u, s, i, n, &len) & want) i += len;
    return i;
}

/* The same for characters that have none of the bits. */
static inline size_t run_without(const struct unicode *u, const unsigned char *s, size_t i, size_t n,
                                 unsigned unwanted)
{
    unsigned len;
    while (i < n && !(class_at(u, s, i, n, &len) & unwanted)) i += len;
    return i;
}

static inline bool is_newline(unsigned char c) { return c == '\r' || c == '\n'; }

static inline size_t newlines(const unsigned char *s, size_t i, size_t n)
{
    while (i < n && is_newline(s[i])) i++;
    return i;
}

/* "\s+(?!\S)|\s+" at i, where a space is: a run of several gives its last one to the word that follows. With
 * `line_ends`, "\s*[\r\n]+" comes first: the run up to its last line end. */
static size_t spaces(const struct unicode *u, const unsigned char *s, size_t i, size_t n, bool line_ends)
{
    size_t e = i, last = i, line = 0;
    for (unsigned len; class_at(u, s, e, n, &len) & UC_SPACE; e += len) {
        last = e;
        if (line_ends && is_newline(s[e])) line = e + 1;
    }
    if (line) return line;
    return e < n && last > i ? last : e;
}

/* After an apostrophe at i: the end of 's 't 're 've 'm 'll 'd, or i. */
static size_t contraction(const unsigned char *s, size_t i, size_t n, bool any_case)
{
    if (i + 1 >= n || s[i] != '\'') return i;
    unsigned char fold = any_case ? 0x20 : 0;
    unsigned char a = s[i + 1] | fold, b = i + 2 < n ? (s[i + 2] | fold) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return i + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return i + 3;
    if (any_case && i + 2 < n && s[i + 1] == 0xc5 && s[i + 2] == 0xbf) return i + 3; /* U+017F folds to s */
    return i;
}

static bool scan_gpt2(const struct unicode *u, const unsigned char *s, size_t i, size_t n, struct span *out)
{
    if (i >= n) return false;
    out->start = i;
    unsigned len;
    size_t j = contraction(s, i, n, false);
    if (j > i) return out->end = j, true;
    size_t k = i + (s[i] == ' ');
    unsigned c = class_at(u, s, k, n, &len);
    if (c & UC_LETTER)
        out->end = run_of(u, s, k + len, n, UC_LETTER);
    else if (c & UC_NUMBER)
        out->end = run_of(u, s, k + len, n, UC_NUMBER);
    else if (k < n && !(c & UC_SPACE))
        out->end = run_without(u, s, k + len, n, UC_SPACE | UC_LETTER | UC_NUMBER);
    else
        out->end = spaces(u, s, i, n, false);
    return true;
}

/* Up to `most` numbers from i. */
static size_t numbers(const struct unicode *u, const unsigned char *s, size_t i, size_t n, int most)
{
    unsigned len;
    while (most-- > 0 && (class_at(u, s, i, n, &len) & UC_NUMBER)) i += len;
    return i;
}

static inline bool scan_llama(const struct unicode *u, const unsigned char *s, size_t i, size_t n, int digits,
                              struct span *out)
{
    if (i >= n) return false;
    out->start = i;
    unsigned len, next_len;
    size_t j = contraction(s, i, n, true);
    if (j > i) return out->end = j, true;
    unsigned c = class_at(u, s, i, n, &len);
    if (c & UC_LETTER) return out->end = run_of(u, s, i + len, n, UC_LETTER), true;
    if (c & UC_NUMBER) return out->end = numbers(u, s, i, n, digits), true;
    unsigned next = class_at(u, s, i + len, n, &next_len);
    if ((next & UC_LETTER) && !is_newline(s[i])) return out->end = run_of(u, s, i + len, n, UC_LETTER), true;
    bool space = c & UC_SPACE;
    if (!space || (s[i] == ' ' && next_len && !(next & (UC_SPACE | UC_NUMBER)))) {
        j = run_without(u, s, i + len, n, UC_SPACE | UC_LETTER | UC_NUMBER);
        return out->end = newlines(s, j, n), true;
    }
    out->end = spaces(u, s, i, n, true);
    return true;
}

static bool scan_llama3(const struct unicode *u, const unsigned char *s, size_t i, size_t n, struct span *out)
{
    return scan_llama(u, s, i, n, 3, out);
}

static bool scan_qwen2(const struct unicode *u, const unsigned char *s, size_t i, size_t n, struct span *out)
{
    return scan_llama(u, s, i, n, 1, out);
}

/* o200k's words. UP and LOW share the letters without case and the marks, so "UP*LOW+" has to give back. */
enum { UP = UC_UPPER | UC_CASELESS | UC_MARK, LOW = UC_LOWER | UC_CASELESS | UC_MARK };

/* "UP*LOW+" at i: its end, or i when it fails. UP* takes all it can; when no LOW follows, it gives back up to the last
 * character that is both. */
static size_t word_lower(const struct unicode *u, const unsigned char *s, size_t i, size_t n)
{
    unsigned len, c;
    size_t p = i, both_end = i;
    for (; (c = class_at(u, s, p, n, &len)) & UP; p += len)
        if (c & LOW) both_end = p + len;
    if (c & LOW) return run_of(u, s, p, n, LOW);
    return both_end;
}

static bool scan_o200k(const struct unicode *u, const unsigned char *s, size_t i, size_t n, struct span *out)
{
    if (i >= n) return false;
    out->start = i;
    unsigned len;
    unsigned c = class_at(u, s, i, n, &len);
    bool lead = !(c & (UC_LETTER | UC_NUMBER)) && !is_newline(s[i]); /* may stand in front of a word */
    size_t after = i + len, end = i, q;
    if (lead && (q = word_lower(u, s, after, n)) > after)
        end = q;
    else if ((q = word_lower(u, s, i, n)) > i)
        end = q;
    else if (lead && (q = run_of(u, s, after, n, UP)) > after)
        end = run_of(u, s, q, n, LOW);
    else if ((q = run_of(u, s, i, n, UP)) > i)
        end = run_of(u, s, q, n, LOW);
    if (end > i) {
        out->end = contraction(s, end, n, true);
        return true;
    }
    if (c & UC_NUMBER) return out->end = numbers(u, s, i, n, 3), true;
    unsigned next_len, next = class_at(u, s, after, n, &next_len);
    if (!(c & UC_SPACE) || (s[i] == ' ' && next_len && !(next & (UC_SPACE | UC_LETTER | UC_NUMBER)))) {
        q = run_without(u, s, after, n, UC_SPACE | UC_LETTER | UC_NUMBER);
        while (q < n && (is_newline(s[q]) || s[q] == '/')) q++;
        return out->end = q, true;
    }
    out->end = spaces(u, s, i, n, true);
    return true;
}

static bool scan_clip(const struct unicode *u, const unsigned char *s, size_t i, size_t n, struct span *out)
{
    static const char *const special[] = { "<|startoftext|>", "<|endoftext|>" };
    unsigned len = 0, c = 0;
    for (; i < n && ((c = class_at(u, s, i, n, &len)) & UC_SPACE); i += len) {
    }
    if (i == n) return false;
    out->start = i;
    for (int k = 0; k < 2; k++) {
        size_t size = strlen(special[k]);
        if (n - i >= size && memcmp(s + i, special[k], size) == 0) return out->end = i + size, true;
    }
    size_t j = contraction(s, i, n, false);
    if (j > i)
        out->end = j;
    else if (c & UC_LETTER)
        out->end = run_of(u, s, i, n, UC_LETTER);
    else if (c & UC_NUMBER)
        out->end = i + len;
    else
        out->end = run_without(u, s, i, n, UC_SPACE | UC_LETTER | UC_NUMBER);
    return true;
}

static inline bool ascii_letter(unsigned char c) { return (unsigned char)((c | 0x20) - 'a') < 26; }

static bool scan_deepseek(const struct unicode *u, const unsigned char *s, size_t i, size_t n,
                          struct span *out)
{
    for (unsigned len; i < n; i += len) {
        unsigned c = class_at(u, s, i, n, &len), next_len;
        out->start = i;
        size_t j = i + len;
        if (c & (UC_LETTER | UC_MARK)) return out->end = run_of(u, s, j, n, UC_LETTER | UC_MARK), true;
        if (s[i] < 0x80 && (c & (UC_PUNCT | UC_SYMBOL)) && j < n && ascii_letter(s[j])) {
            while (j < n && ascii_letter(s[j])) j++;
            return out->end = j, true;
        }
        unsigned next = class_at(u, s, j, n, &next_len);
        bool sign = c & (UC_PUNCT | UC_SYMBOL);
        if (!sign && !is_newline(s[i]) && (next & (UC_LETTER | UC_MARK)))
            return out->end = run_of(u, s, j, n, UC_LETTER | UC_MARK), true;
        if (sign || (s[i] == ' ' && (next & (UC_PUNCT | UC_SYMBOL)))) {
            j = run_of(u, s, j, n, UC_PUNCT | UC_SYMBOL);
            return out->end = newlines(s, j, n), true;
        }
        if (c & UC_SPACE) return out->end = spaces(u, s, i, n, true), true;
    }
    return false;
}

static bool scan_some_numbers(const struct unicode *u, const unsigned char *s, size_t i, size_t n, int most,
                              struct span *out)
{
    for (unsigned len; i < n; i += len) {
        while (i < n && s[i] < 0x80 && (unsigned char)(s[i] - '0') > 9) i++; /* most text is this */
        if (!(class_at(u, s, i, n, &len) & UC_NUMBER)) continue;
        *out = (struct span){ i, numbers(u, s, i, n, most) };
        return true;
    }
    return false;
}

static bool scan_numbers3(const struct unicode *u, const unsigned char *s, size_t i, size_t n,
                          struct span *out)
{
    return scan_some_numbers(u, s, i, n, 3, out);
}

static bool scan_number(const struct unicode *u, const unsigned char *s, size_t i, size_t n, struct span *out)
{
    return scan_some_numbers(u, s, i, n, 1, out);
}

static bool cjk_at(const unsigned char *s, size_t i, size_t n)
{
    if (i + 2 >= n || s[i] < 0xe3 || s[i] > 0xe9) return false;
    unsigned len;
    uint32_t c = utf8_get(s + i, &len);
    return (c >= 0x4e00 && c <= 0x9fa5) || (c >= 0x3040 && c <= 0x30ff);
}

static bool scan_cjk(const struct unicode *u, const unsigned char *s, size_t i, size_t n, struct span *out)
{
    (void)u;
    for (; i < n; i++) {
        if (s[i] < 0xe3 || !cjk_at(s, i, n)) continue;
        size_t j = i;
        while (cjk_at(s, j, n)) j += 3;
        *out = (struct span){ i, j };
        return true;
    }
    return false;
}

scan_fn scan_find(const char *pattern, size_t len)
{
    static const struct {
        const char *pattern;
        scan_fn scan;
    } known[] = {
        { scan_pattern_gpt2, scan_gpt2 },         { scan_pattern_llama3, scan_llama3 },
        { scan_pattern_qwen2, scan_qwen2 },       { scan_pattern_o200k, scan_o200k },
        { scan_pattern_deepseek, scan_deepseek }, { scan_pattern_numbers3, scan_numbers3 },
        { scan_pattern_number, scan_number },     { scan_pattern_cjk, scan_cjk },
        { scan_pattern_clip, scan_clip },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].pattern) == len && memcmp(known[i].pattern, pattern, len) == 0)
            return known[i].scan;
    return NULL;
}
