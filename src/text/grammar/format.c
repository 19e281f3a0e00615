#include "text/grammar/format.h"

#include <string.h>

#include "base/buf.h"
#include "text/grammar/ecma.h"

/* clang-format off */
#define DAYS28  "(?:0[1-9]|1[0-9]|2[0-8])"
#define MONTHS  "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-" DAYS28 ")"
#define LEAP    "(?:[0-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
#define DATE    "(?:[0-9]{4}-" MONTHS "|" LEAP "-02-29)"
#define HOUR    "(?:[01][0-9]|2[0-3])"
#define SIXTY   "[0-5][0-9]"
#define OFFSET  "(?:Z|[+-]" HOUR ":" SIXTY ")"
#define TIME    HOUR ":" SIXTY ":" SIXTY "(?:\\.[0-9]{1,20})?" OFFSET
#define TIME_ANY  HOUR ":" SIXTY ":(?:" SIXTY "|60)(?:\\.[0-9]+)?(?:[Zz]|[+-]" HOUR ":" SIXTY ")"
/* RFC 3339, appendix A */
#define D_TIME  "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
#define D_DATE  "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
#define DURATION "P(?:[0-9]+W|" D_DATE "(?:" D_TIME ")?|" D_TIME ")"
/* RFC 1123 */
#define LABEL   "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HOST    LABEL "(?:\\." LABEL ")*"
/* RFC 5890: letters whose form in ASCII is short enough, of scripts without rules of their own */
#define ILETTER "[a-z0-9\\u00df-\\u00f6\\u00f8-\\u00ff\\u03ac-\\u03ce\\u0430-\\u045f\\u3041-\\u3093\\u30a1-\\u30f6\\u4e00-\\u9fa5\\uac00-\\ud7a3]"
#define IHOST   "(?:" HOST "|" ILETTER "{1,14}(?:\\." ILETTER "{1,14}){0,3})"
/* RFC 5321 */
#define ATEXT   "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
#define LOCAL   ATEXT "+(?:\\." ATEXT "+)*"
#define IATEXT  "(?:" ATEXT "|" ILETTER ")"
/* RFC 2673, 4291 */
#define OCTET   "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4    OCTET "(?:\\." OCTET "){3}"
#define H16     "[0-9A-Fa-f]{1,4}"
#define LS32    "(?:" H16 ":" H16 "|" IPV4 ")"
#define IPV6    "(?:(?:" H16 ":){6}" LS32 \
                "|::(?:" H16 ":){5}" LS32 \
                "|(?:" H16 ")?::(?:" H16 ":){4}" LS32 \
                "|(?:(?:" H16 ":){0,1}" H16 ")?::(?:" H16 ":){3}" LS32 \
                "|(?:(?:" H16 ":){0,2}" H16 ")?::(?:" H16 ":){2}" LS32 \
                "|(?:(?:" H16 ":){0,3}" H16 ")?::" H16 ":" LS32 \
                "|(?:(?:" H16 ":){0,4}" H16 ")?::" LS32 \
                "|(?:(?:" H16 ":){0,5}" H16 ")?::" H16 \
                "|(?:(?:" H16 ":){0,6}" H16 ")?::)"
/* RFC 3986 and 3987: CHAR is what stands unescaped in a path's part */
#define PCT     "%[0-9A-Fa-f]{2}"
#define UNRES   "A-Za-z0-9._~\\-"
#define SUB     "!$&'()*+,;="
#define UCS     "\\u00a0-\\ud7ff\\uf900-\\ufdcf\\ufdf0-\\uffef\\u{10000}-\\u{1fffd}\\u{20000}-\\u{2fffd}\\u{30000}-\\u{3fffd}"
#define PCHAR(x) "(?:[" UNRES SUB ":@" x "]|" PCT ")"
#define PCHARNC(x) "(?:[" UNRES SUB "@" x "]|" PCT ")"
#define AUTH(x)  "(?:(?:[" UNRES SUB ":" x "]|" PCT ")*@)?(?:\\[(?:" IPV6 "|v[0-9A-Fa-f]+\\.[" UNRES SUB ":]+)\\]|(?:[" UNRES SUB x "]|" PCT ")*)(?::[0-9]*)?"
#define ABEMPTY(x) "(?:/" PCHAR(x) "*)*"
#define TAIL(x)  "(?:\\?(?:" PCHAR(x) "|[/?])*)?(?:#(?:" PCHAR(x) "|[/?])*)?"
#define HIER(x)  "(?://" AUTH(x) ABEMPTY(x) "|/(?:" PCHAR(x) "+" ABEMPTY(x) ")?|" PCHAR(x) "+" ABEMPTY(x) "|)"
#define RELPART(x) "(?://" AUTH(x) ABEMPTY(x) "|/(?:" PCHAR(x) "+" ABEMPTY(x) ")?|" PCHARNC(x) "+" ABEMPTY(x) "|)"
#define URI(x)   "[A-Za-z][A-Za-z0-9+.-]*:" HIER(x) TAIL(x)
#define REFERENCE(x) "(?:" URI(x) "|" RELPART(x) TAIL(x) ")"
/* RFC 6570 */
#define VARCHAR "(?:[A-Za-z0-9_]|" PCT ")"
#define VARNAME VARCHAR "(?:\\.?" VARCHAR ")*"
#define VARSPEC VARNAME "(?::[1-9][0-9]{0,3}|\\*)?"
#define TEMPLATE "(?:[!#$&(-;=?-\\[\\]_a-z~\\u00a0-\\ud7ff\\ue000-\\ufdcf\\ufdf0-\\uffef]|" PCT "|\\{[+#./;?&]?" VARSPEC "(?:," VARSPEC ")*\\})*"
/* RFC 6901 */
#define POINTER "(?:/(?:[^/~]|~[01])*)*"
#define UUID    "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
/* clang-format on */

static const struct format {
    const char *name;
    const char *sure; /* NULL: made below */
    const char *all;  /* NULL: the same */
    int max_len;
} formats[] = {
    { "date-time", DATE "T" TIME, DATE "[Tt ]" TIME_ANY, -1 },
    { "date", DATE, NULL, -1 },
    { "time", TIME, TIME_ANY, -1 },
    { "duration", DURATION, NULL, -1 },
    { "email", LOCAL "@" HOST, "[^@]*@[^]*", 254 },
    { "idn-email", IATEXT "+@" IHOST, "[^@]*@[^]*", 254 },
    { "hostname", HOST, "[^]*", 253 },
    { "idn-hostname", IHOST, "[^]*", 253 },
    { "ipv4", IPV4, NULL, -1 },
    { "ipv6", IPV6, IPV6 "(?:%[^]*)?", -1 },
    { "uri", URI(""), "[^]*:[^]*", -1 },
    { "uri-reference", REFERENCE(""), "[^]*", -1 },
    { "iri", URI(UCS), "[^]*:[^]*", -1 },
    { "iri-reference", REFERENCE(UCS), "[^]*", -1 },
    { "uuid", UUID, NULL, -1 },
    { "uri-template", TEMPLATE, "[^]*", -1 },
    { "json-pointer", POINTER, NULL, -1 },
    { "relative-json-pointer", "(?:0|[1-9][0-9]*)(?:#|" POINTER ")", NULL, -1 },
    { "regex", NULL, "[^]*", -1 },
};

static const struct format *find(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(formats[i].name, name)) return &formats[i];
    return NULL;
}

bool format_known(const char *name) { return find(name) != NULL; }

/* Regular expressions with groups up to `depth` deep, without back references and lookbehind: a regular part of what is valid. */
static bool expressions(struct rx_pool *p, int depth, rx *out, struct err *e)
{
    static const char one[] =
        "(?:[^\\\\^$.*+?()\\[\\]{}|]|\\.|\\\\[dDwWsSbBtnrfv^$\\\\.*+?()\\[\\]{}|/"
        "-]|\\\\x[0-9A-Fa-f]{2}|\\\\u[0-9A-Fa-f]{4}"
        "|\\[\\^?(?:[^\\\\\\]\\[-]|\\\\[dDwWsStnrfv^$\\\\.*+?()\\[\\]{}|/-]|[0-9]-9|[a-z]-z|[A-Z]-Z)+-?\\])";
    static const char quantifier[] = "(?:(?:[*+?]|\\{[0-9]{1,3},?\\})[?]?)?", anchor[] = "[$^]";
    rx a, q, z;
    if (!ecma_whole(p, one, sizeof one - 1, &a, e) ||
        !ecma_whole(p, quantifier, sizeof quantifier - 1, &q, e) ||
        !ecma_whole(p, anchor, sizeof anchor - 1, &z, e))
        return false;
    rx r = RX_NONE;
    for (int d = 0; d <= depth; d++) {
        rx unit = a;
        if (d > 0) {
            const rx open = rx_cat(p, rx_text(p, "(", 1), rx_or(p, RX_EMPTY, rx_text(p, "?:", 2)));
            unit = rx_or(p, unit, rx_cat(p, open, rx_cat(p, r, rx_text(p, ")", 1))));
        }
        const rx sequence = rx_repeat(p, rx_or(p, rx_cat(p, unit, q), z), 0, -1);
        r = rx_cat(p, sequence, rx_repeat(p, rx_cat(p, rx_text(p, "|", 1), sequence), 0, -1));
    }
    *out = r;
    return rx_ok(p, e);
}

bool format_texts(struct rx_pool *p, const char *name, bool all, rx *out, int *max_len, struct err *e)
{
    const struct format *f = find(name);
    *max_len = all ? -1 : f->max_len;
    const char *pattern = all && f->all ? f->all : f->sure;
    if (pattern) return ecma_whole(p, pattern, strlen(pattern), out, e) || err_wrap(e, "format %s", name);
    return expressions(p, 3, out, e);
}
