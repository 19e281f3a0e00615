"""Makes tests/golden/tokenizer/regex.json: how the `tokenizers` library (Oniguruma, Ruby syntax) splits texts by patterns.

    python tools/reference/tokenizer/make_regex.py                  the file of the tests
    python tools/reference/tokenizer/make_regex.py SEED N FILE      N random patterns, for build/release/text/tokenizer/onig_regex_test FILE

A list of {"pattern", "behavior" (0 isolated, 1 removed, 2 merged with previous, 3 merged with next, 4 contiguous), "invert",
"texts": [[text, [pieces]], ...]}. "refused": true where Oniguruma refuses the pattern; "may": true where hearth may.
"""
import json
import pathlib
import random
import sys

from tokenizers import Regex, pre_tokenizers

OUT = pathlib.Path(__file__).parents[3] / "tests/golden/tokenizer/regex.json"
BEHAVIORS = ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]
TEXTS = ["hello world", "hello\n\nworld\n", "नमस्ते दुनिया", "12345123 x٣½²", "aAbB'Sſ K\u212a", "日本語、テスト 한국어", " a-b_c.d[e]&^\\ \t",
         "ab\r\nc\u2028d\x85", "e\u0301café ⓐ Ⅷ", "aabbaabb aaab", "\u200d\u180e🙂\u0378", "{a}{,2}pL\x0b\x00"]

# What published files have, and each thing that the two engines read differently.
KNOWN = [
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r" ?[^(\s|[.,!?…。，、।۔،])]+", r"[^(\s|[.,!?])]+|\s", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"\A\p{Nd}{1,2}(?=\p{Nd}{3}+\z)", r"(?=(\d{3})+(?!\d))", r"\w+|[^\w\s]+", r"\b", r"\B", r"[0-9][0-9][0-9]", r"[一-龥぀-ゟ゠-ヿ]+",
    r"[\p{P}\p{S}]", r"\s?\p{L}+|\s?\p{P}+|[一-龥ࠀ-一가-퟿]+", r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",
    r"(?<=\p{Han})(?=\p{Latin})", r"(?:\r?\n)+(?!\r?\n)", r"[^\P{L}a]+", r"\p{Lu}+(?=\p{Lu}\p{Ll})|\p{Lu}?\p{Ll}+", r"\r\n|\r|\n",
    r"[\u0900-\u097f]+|\s+", r"^\s+", r"^", r"$", r"\Z", r"\z", r"\A", r"\G.", r"x*", r"", r"a|", r"()", r"(|a)+",
    r"a{,2}", r"a{2}+", r"a{3,2}", r"a{2}?", r"a{,}", r"a{", r"{a", r"a{2}{3}", r"a++", r"a?+a", r"a{2}?{2}", r"a{2,3}+a", r"a*{2}", r"a**",
    r"a+?+b", r"a??b", r"a{1,2}?", r"a{,3}?", r"(?:ab)?+", r"a(?#c)+", r"\pL", r"\p{^L}+", r"\P{^L}+", r"\p{han}", r"\p{ Han }", r"\p{Letter}",
    r"\p{Lowercase_Letter}", r"\p{LC}", r"\p{Any}", r"\p{Assigned}", r"\p{Cn}", r"\p{Zzzz}", r"\p{Alphabetic}", r"\p{punct}", r"\p{Word}+", r"[\p{Word}]+", r"[^\w]+",
    r"\p{Script=Han}", r"\p{IsHan}", r"\p{L&}", r"\p{Nope}", r"\p{", r"\p{Ideographic}", r"\N", r"\O", r"\R", r"\X", r"a\Kb", r"\v", r"\h+", r"\H",
    r"[\b]", r"\u3042", r"\x{3042}", r"\xE6\x97\xA5", r"\xe9", r"\o{101}", r"\101", r"\cA", r"\C-a", r"\x0", r"\e|\a|\f",
    r"(?i)ab|cd", r"b(?i)b|s", r"(?:a|(?i)b|c)d", r"a(?i)b|c", r"(?i:a)b", r"(?i)a(?-i)b", r"(?i)\p{Lu}", r"(?i)[\p{Lu}]", r"(?i)[^\p{Lu}]+", r"(?i)k",
    r"(?i)[^k]+", r"(?i)[a-c]+", r"(?i)'s|'t", r"(?i)[^\W]+", r"(?m).", r".", r"(?mi-x:a.)", r"(?x) a b # c", r"(?x)[ a]", r"(?x)a\ b", r"(?x)a +",
    r"(?<n>a)(b)\k<n>", r"(a)\1", r"(?<n>a)(b)\1", r"(?'n'a)\g'n'", r"(a\g<1>?b)", r"\8", r"\k<1>", r"[a[bc]]+", r"[^a[bc]]+", r"[a-z&&[^aeiou]]+",
    r"[a-z&&^aeiou]+", r"[a&&]", r"[]a]", r"[a-\d]+", r"[a-c-e]+", r"[[:alpha:]]+", r"[[:^alpha:]]+", r"[[:foo:]]", r"[[:punct:]]+", r"[[:word:]]+",
    r"[[:upper:][:digit:]]+", r"[[:graph:]]+", r"[[:print:]]+", r"[[:blank:]]+", r"[[:cntrl:]]+", r"[[:xdigit:]]+", r"[[:ascii:]]+", r"[[:alnum:]]+",
    r"[\w&&\d]", r"[^\w&&\d]+", r"[&&a]", r"[a&&b&&c]", r"[z-a]", r"[]", r"[[]", r"[a[]", r"a]", r"*a", r"^*a", r"(?=a)*b", r"(?<=a|bc)d", r"(?<!a)b",
    r"(?<![a-z])\d", r"(?>a+)a", r"(?~abc)", r"(?(1)a|b)", r"(?P<n>a)", r"(?|a)", r"(?s).", r"\d+", r"\s+", r"\S+", r"\W+", r"[\w-]+", r"[\w-a]+",
    r"[+--]+", r"[^-a]+", r"[a\]b]+", r"[\[\]]+", r"[a^]+", r"[:alpha:]+", r"[[:punct:]&&[:ascii:]]+", r"[\s\S]+", r"[^\s\S]", r"[\n-\r]+", r"a|b|",
    r"\Qa.b\E", r"(", r")", r"a)", r"[a", "\\", r"(?", r"(?<n", r"(?i", r"[^]a]", r"(?:)*a", r"(?!)", r"(?=)", r"{2}", r"a|{2}", r"+",
]
MAY = [r"(?~abc)", r"(?(1)a|b)", r"\X", r"[&&a]"]


def split(pattern, behavior, invert, text):
    return [s for s, _ in pre_tokenizers.Split(Regex(pattern), BEHAVIORS[behavior], invert).pre_tokenize_str(text)]


def case(pattern, behavior=0, invert=False, texts=TEXTS, **more):
    try:
        out = {"pattern": pattern, "texts": [[t, split(pattern, behavior, invert, t)] for t in texts], **more}
    except BaseException:  # it has been seen to give up on a text in a way of its own
        return {"pattern": pattern, "refused": True}
    if behavior:
        out["behavior"] = behavior
    if invert:
        out["invert"] = True
    return out


class Maker:
    """Random patterns out of what the translator knows."""
    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, *of):
        return self.r.choice(of)

    def item(self, depth):
        kind = self.r.random()
        if kind < 0.35:
            return self.pick("a", "b", "A", "k", "s", "1", "5", " ", "\\n", "_", "é", "語", ".", "!", "&", "^", "\\-", "\\]", "\\u0301", "\\x{212a}", "~", "(", ")", "|", "*")
        if kind < 0.5:
            return self.pick("a-c", "A-Z", "0-9", "\\u0900-\\u097f", " -~", "가-힣", "\\x00-\\x1f", "a-c-e", "\\t-\\r")
        if kind < 0.65:
            return self.pick("\\w", "\\W", "\\d", "\\D", "\\s", "\\S", "\\h", "\\H")
        if kind < 0.85:
            return self.prop()
        if kind < 0.93:
            return self.pick("[:%s%s:]") % (self.pick("", "", "^"), self.pick(*"alpha upper lower digit alnum punct space word blank cntrl graph print xdigit ascii".split()))
        return self.cls(depth + 1) if depth < 2 else "z"

    def prop(self):
        return self.pick("\\p", "\\p", "\\p", "\\P") + "{%s%s}" % (self.pick("", "", "", "^"), self.pick(
            *"L Lu Ll Lt Lm Lo M Mn Mc N Nd Nl No P Po Pc S Sm Sc So Z Zs C Cc Cf Cn Han Hiragana Latin Cyrillic Hangul Devanagari Greek Common Alphabetic Upper Any".split()))

    def cls(self, depth=0):
        parts = ["".join(self.item(depth) for _ in range(self.r.randint(1, 4)))]
        while self.r.random() < 0.2:
            parts.append("".join(self.item(depth) for _ in range(self.r.randint(1, 2))) if self.r.random() < 0.5 else self.cls(depth + 1) if depth < 2 else "a-z")
        return "[" + self.pick("", "", "^") + "&&".join(parts) + "]"

    def atom(self, depth):
        kind = self.r.random()
        if kind < 0.3:
            return self.pick("a", "b", "A", "k", " ", "x", "1", "'", "ab", "\\n", "é", "\\.", "語", "ll", "]", "}", "\\ ", "\\u0928")
        if kind < 0.45:
            return self.pick("\\w", "\\W", "\\d", "\\s", "\\S", "\\h", ".", "\\R", "\\D")
        if kind < 0.6:
            return self.prop()
        if kind < 0.78 or depth > 2:
            return self.cls()
        if kind < 0.95:
            return self.pick("(?:", "(?:", "(", "(?i:", "(?m:", "(?>", "(?i-m:") + self.alt(depth + 1) + ")"
        return self.pick("(?i)", "(?m)", "(?-i)", "(?#x)")

    def anchor(self, depth):
        return self.pick("^", "$", "\\b", "\\B", "\\A", "\\z", "\\Z", "(?=%s)" % self.alt(3), "(?!%s)" % self.alt(3), "(?<=%s)" % self.pick("a", "\\w", "\\s", "[^a]", "\\p{L}"),
                         "(?<!%s)" % self.pick("a", "\\w", "\\s", "[^a]", "\\p{N}"))

    def seq(self, depth):
        out = ""
        for _ in range(self.r.randint(1, 3)):
            if self.r.random() < 0.12:
                out += self.anchor(depth)
                continue
            a = self.atom(depth)
            out += a
            if not a.startswith(("(?i)", "(?m)", "(?-i)")) and self.r.random() < 0.45:
                out += self.pick("?", "*", "+", "+", "+", "*?", "+?", "??", "++", "*+", "{2}", "{1,3}", "{2,}", "{,2}", "{1,2}?", "{1,3}+", "{2}+", "{3,1}", "{2}?", "+{2}")
        return out

    def alt(self, depth=0):
        return "|".join(self.seq(depth) for _ in range(self.r.choice((1, 1, 1, 2, 3))))


def text(r):
    parts = ["a", "b", "A", "B", "k", "K", "s", "S", "ſ", "\u212a", "'", "1", "5", "12", "٣", "½", " ", "  ", "\n", "\r\n", "\t", "_", "-", ".", "!", "$", "é", "e\u0301", "न", "म", "स्", "ते",
             "語", "日", "か", "カ", "한", "Я", "я", "Ω", "🙂", "\u200d", "\u0378", "]", "}", "&", "^", "ll", "x", "\x00", "\x85", "\u2028", "ⓐ", "Ⅷ", "²", "ǅ"]
    return "".join(r.choice(parts) for _ in range(r.randint(1, 14)))


def main():
    if len(sys.argv) > 1:
        maker = Maker(int(sys.argv[1]))
        cases = [case(maker.alt(), maker.r.choice((0, 0, 1, 2, 3, 4)), maker.r.random() < 0.2, [text(maker.r) for _ in range(6)], may=True)
                 for _ in range(int(sys.argv[2]))]
        cases = [c for c in cases if "refused" not in c]
        pathlib.Path(sys.argv[3]).write_text(json.dumps(cases, ensure_ascii=False))
        return
    cases = [case(p, may=True) if p in MAY else case(p) for p in KNOWN]
    for p in (r"-", r"x*", r"\b", r"(?=[A-Z])", r"\s+"):
        cases += [case(p, b, i, ["the-final--countdown-", "aXxBb  c ", "hello world"]) for b in range(5) for i in (False, True)]
    maker = Maker(7)
    for _ in range(250):
        c = case(maker.alt(), maker.r.choice((0, 0, 1, 2, 3, 4)), maker.r.random() < 0.2, [text(maker.r) for _ in range(3)], may=True)
        if "refused" not in c:
            cases.append(c)
    OUT.write_text("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n")


main()
