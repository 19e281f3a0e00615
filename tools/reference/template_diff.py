#!/usr/bin/env python3
"""Random templates from a grammar, rendered by jinja2 and by us, until they differ or time is up.

    python tools/reference/template_diff.py build/release/text/jinja/chat_template_test [--seconds 60] [--seed 1]
    python tools/reference/template_diff.py PROGRAM --templates FILE...    whole templates over the golden conversations

Differences are printed with their seed. What is known to differ is not generated: integers beyond 64 bits, addresses in
the printed form of generators and functions, entities beyond the common ones that markup is unescaped of, slices of
constants that cannot be sliced (jinja2 folds those to undefined), and a context's name that inner scopes read before the
outer scope sets it for the first time (undefined in jinja2, the context's value with us).
"""
import argparse
import json
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.dirname(__file__))
import template  # noqa: E402
import template_families  # noqa: E402

NAMES = ["n", "f", "t", "s", "u", "nothing", "empty", "words", "nums", "nested", "d", "multi", "users", "q", "missing", "x", "y"]
LITERALS = ["0", "1", "2", "-1", "7", "2.5", "'a'", "''", "'b c'", "' x '", "'\\n'", "\"q'\"", "true", "false", "none", "[]", "{}", "()", "'é'", "10", "'1'", "'k'"]
KEYS = ["a", "b", "name", "age", "tags", "items", "zzz", "upper", "get", "keys", "index", "x"]
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]


def parens(e):
    """A filter or an operator binds weaker than what may be put behind it."""
    return f"({e})" if "|" in e or " " in e or e.startswith("-") else e


class Grammar:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.wild = self.r.choice([0, 0, 0, 0.03, 0.3])
        self.loops = 0
        self.marks = self.r.choice([0, 0.1, 0.4])

    def pick(self, *options):
        return self.r.choice(options)()

    def one(self, options):
        return self.r.choice(options)

    # Most expressions are made to fit, or nearly every template would be an error.
    def str_(self, d):
        return parens(self.str_inner(d))

    def str_inner(self, d):
        if d > 3 or self.r.random() < 0.3:
            return self.one(["s", "u", "multi", "q", "empty", "'a b'", "'x,y'", "' pad '", "'\\n'", "words[0]", "users[1].name", "d.a", "'<é>'"])
        d += 1
        if self.r.random() < self.marks:
            return self.markup(d)
        return self.pick(
            lambda: f"({self.str_(d)} + {self.str_(d)})", lambda: f"({self.any_(d)} ~ {self.any_(d)})", lambda: f"({self.str_(d)} * {self.one(['0', '2', '3'])})",
            lambda: f"{self.str_(d)}[{self.bound(9)}:{self.bound(9)}]", lambda: f"{self.str_(d)}[{self.bound(9)}:{self.bound(9)}:{self.one(['1', '-1', '2', '-2'])}]",
            lambda: f"{self.str_(d)}.{self.one(['upper', 'lower', 'title', 'capitalize', 'strip', 'lstrip', 'rstrip', 'swapcase'])}()",
            lambda: f"{self.str_(d)}.{self.one(['strip', 'lstrip', 'rstrip', 'removeprefix', 'removesuffix'])}({self.str_(d)})",
            lambda: f"{self.str_(d)}.replace({self.str_(d)}, {self.str_(d)})", lambda: f"{self.str_(d)}.join({self.list_(d)}|map('string'))",
            lambda: f"{self.list_(d)}|join({self.str_(d)})", lambda: f"{self.any_(d)}|string", lambda: f"{self.json_(d)}|tojson{self.one(['', '(indent=2)', '(sort_keys=false)'])}",
            lambda: f"{self.str_(d)}|{self.one(['trim', 'upper', 'lower', 'title', 'capitalize', 'indent(2)', 'indent(1, true)', 'reverse', 'urlencode', 'center(9)', 'truncate(6)'])}",
            lambda: f"({self.str_(d)} if {self.any_(d)} else {self.str_(d)})", lambda: f"'%s|%5s|%r' % ({self.any_(d)}, {self.num(d)}, {self.str_(d)})",
            lambda: f"'{{}}-{{:>6}}-{{!r}}'.format({self.num(d)}, {self.str_(d)}, {self.str_(d)})", lambda: f"({self.str_(d)}|default({self.str_(d)}, true))",
            lambda: f"({self.str_(d)}).split({self.one(['', repr(' '), repr('x')])})|first|string", lambda: f"'%.3f' % {self.num(d)}", lambda: f"'%05d' % {self.num(d)}")

    def markup(self, d):
        """What is marked as HTML, and what is made of it."""
        m = lambda: f"({self.str_(d)}|{self.one(['safe', 'escape', 'e', 'forceescape'])})"
        s = lambda: self.pick(m, lambda: self.str_(d))
        return self.pick(
            m, lambda: f"({m()} + {s()})", lambda: f"({s()} + {m()})", lambda: f"({m()} ~ {s()})", lambda: f"({m()} * 2)", lambda: f"{m()}[{self.bound(9)}:{self.bound(9)}]", lambda: f"{m()}[1]",
            lambda: f"({m()} % {self.one(['', '(' + s() + ',)', s(), '{' + repr('a') + ': ' + s() + '}'])}1)" if self.wild else f"('<%s|%r>'|safe % ({s()}, {self.any_(d)}))",
            lambda: f"('<%(a)s>'|safe % {{'a': {s()}}})", lambda: f"('%s|%d|%5.1f'|safe % ({s()}, {self.num(d)}, {self.num(d)}))", lambda: f"('<%s>' % {m()})",
            lambda: f"('<{{}}{{:>5}}{{!r}}>'|safe).format({s()}, {self.str_(d)}, {s()})", lambda: f"'<{{}}>'.format({m()})", lambda: f"('{{a}}'|safe).format(a={self.any_(d)})",
            lambda: f"{m()}.join([{s()}, {s()}, {self.any_(d)}])", lambda: f"'<'.join([{s()}, {m()}])", lambda: f"[{s()}, {m()}, {s()}]|join({self.one(['', s()])})", lambda: f"[{s()}, {s()}]|join({m()})",
            lambda: f"{m()}.{self.one(['upper', 'lower', 'title', 'capitalize', 'strip', 'swapcase', 'casefold', 'striptags', 'unescape', 'zzz'])}()", lambda: f"{m()}.replace({s()}, {s()})",
            lambda: f"{s()}|replace({s()}, {s()})", lambda: f"{m()}.{self.one(['ljust', 'rjust', 'center'])}({self.one(['9', '9, ' + repr('<'), '40'])})", lambda: f"{m()}.zfill(9)",
            lambda: f"{m()}.{self.one(['split', 'rsplit', 'splitlines', 'partition', 'rpartition'])}({self.one(['', repr(' '), repr('x')])})", lambda: f"{m()}.{self.one(['removeprefix', 'removesuffix'])}({s()})",
            lambda: f"{s()}|{self.one(['trim', 'upper', 'lower', 'title', 'capitalize', 'indent(2)', 'indent(1, true)', 'indent(2, true, true)', 'reverse', 'urlencode', 'center(9)', 'truncate(6)', 'truncate(9, true)', 'striptags', 'string', 'tojson', 'first', 'last', 'list', 'format', 'length', 'default', 'safe', 'e'])}",
            lambda: f"{s()}|indent({m()}, {self.one(['true', 'false'])}, {self.one(['true', 'false'])})", lambda: f"{s()}|truncate(7, true, {m()})", lambda: f"[{m()}]|string", lambda: f"{{{m()}: {m()}}}",
            lambda: f"({s()} is escaped)", lambda: f"({m()} == {s()})", lambda: f"({s()} in {m()})", lambda: f"[{s()}, {m()}]|map('{self.one(['upper', 'string', 'escape', 'striptags', 'safe'])}')|list",
            lambda: f"[{s()}, {m()}]|{self.one(['sort', 'unique', 'min', 'max', 'first'])}|string", lambda: f"{m()}.escape({s()})", lambda: f"{s()}|format({s()})")

    def num(self, d):
        return parens(self.numinner(d))

    def numinner(self, d):
        if d > 3 or self.r.random() < 0.3:
            return self.one(["n", "f", "0", "1", "-3", "10", "2.5", "true", "nums[0]", "users[0].age", "0.1"])
        d += 1
        return self.pick(
            lambda: f"({self.num(d)} {self.one(['+', '-', '*', '/', '//', '%'])} {self.num(d)})", lambda: f"(-{self.num(d)})", lambda: f"{self.list_(d)}|length", lambda: f"{self.str_(d)}|length",
            lambda: f"({self.num(d)}|{self.one(['abs', 'int', 'float', 'round', 'round(1)', 'string|int'])})", lambda: f"{self.str_(d)}.{self.one(['find', 'rfind', 'count'])}({self.str_(d)})",
            lambda: "([1, 2, 3]|sum)", lambda: f"([{self.num(d)}, {self.num(d)}]|{self.one(['max', 'min', 'sum', 'first', 'last'])})", lambda: f"{self.str_(d)}|{self.one(['int', 'float', 'wordcount'])}")

    def list_(self, d):
        return parens(self.list_inner(d))

    def list_inner(self, d):
        if d > 3 or self.r.random() < 0.3:
            return self.one(["words", "nums", "nested", "users", "[]", "(1, 2)", "range(4)", "['b', 'a']", "d", "d.items()"])
        d += 1
        return self.pick(
            lambda: "[" + ", ".join(self.any_(d) for _ in range(self.r.randrange(4))) + "]", lambda: f"{self.str_(d)}.split({self.one(['', self.one(list(map(repr, 'abx,'))), 'none, 1'])})",
            lambda: f"{self.str_(d)}.splitlines()", lambda: f"({self.list_(d)}|list)[{self.bound(9)}:{self.bound(9)}:{self.one(['1', '-1', '2'])}]", lambda: f"({self.list_(d)}|list + {self.list_(d)}|list)",
            lambda: f"({self.list_(d)}|map({self.one([repr('string'), repr('upper'), repr('default'), repr('tojson')])})|list)" if self.r.random() < .5 else f"({self.list_(d)}|map('string')|map('length')|list)",
            lambda: f"({self.list_(d)}|map('string')|{self.one(['sort', 'unique', 'sort(reverse=true)', 'reverse', 'sort(true, true)'])}|list)",
            lambda: f"({self.list_(d)}|{self.one(['select', 'reject'])}({self.one(['', repr('string'), repr('number'), repr('defined'), repr('mapping'), repr('in') + ', words', repr('eq') + ', 1'])})|list)",
            lambda: f"(users|{self.one(['selectattr', 'rejectattr'])}({self.one([repr('tags'), repr('on') + ', ' + repr('defined'), repr('age') + ', ' + repr('gt') + ', 10'])})|list)",
            lambda: f"(users|map(attribute='{self.one(['name', 'age', 'tags', 'tags.0'])}')|list)", lambda: "(users|groupby('age')|list)", lambda: f"({self.list_(d)}|batch(2)|list)",
            lambda: f"({self.list_(d)}|slice(2)|list)", lambda: f"(dict(a={self.any_(d)}, b=1)|dictsort(by='key'))", lambda: f"(dict(a={self.any_(d)})|items|list)")

    def json_(self, d):
        return self.pick(lambda: self.list_(4) + "|list", lambda: self.str_(d), lambda: self.num(d), lambda: "users", lambda: "d", lambda: f"{{'k': {self.num(d)}, 'l': [{self.str_(d)}]}}", lambda: "none")

    def any_(self, d):
        return self.pick(lambda: self.str_(d), lambda: self.str_(d), lambda: self.num(d), lambda: self.list_(d), lambda: self.bool_(d), lambda: self.one(["none", "missing", "d", "empty", "d.zz", "true"]))

    def bool_(self, d):
        if d > 3:
            return self.one(["t", "false", "missing", "s", "[]"])
        d += 1
        return self.pick(
            lambda: f"({self.num(d)} {self.one(['<', '<=', '>', '==', '!='])} {self.num(d)})", lambda: f"({self.str_(d)} {self.one(['<', '==', 'in', 'not in'])} {self.str_(d)})", lambda: f"({self.any_(d)} in {self.list_(d)}|list)",
            lambda: f"({self.any_(d)} is {self.one(['', 'not '])}{self.one(['defined', 'none', 'string', 'number', 'mapping', 'iterable', 'sequence', 'true', 'integer', 'float', 'boolean'])})",
            lambda: f"(not {self.any_(d)})", lambda: f"({self.bool_(d)} {self.one(['and', 'or'])} {self.any_(d)})", lambda: f"{self.str_(d)}.{self.one(['startswith', 'endswith'])}({self.str_(d)})",
            lambda: f"{self.str_(d)}.{self.one(['isdigit', 'isalpha', 'isupper', 'islower', 'isspace', 'isalnum', 'istitle'])}()", lambda: f"({self.num(d)} < {self.num(d)} < {self.num(d)})", lambda: f"({self.any_(d)} == {self.any_(d)})")

    def expr(self, depth=0):
        if self.r.random() < self.wild:
            return self.wild_expr(depth)
        return self.any_(depth)

    def wild_expr(self, depth=0):
        r = self.r
        if depth > 3 or r.random() < 0.25:
            return self.one(NAMES) if r.random() < 0.6 else self.one(LITERALS)
        d = depth + 1
        return self.pick(
            lambda: f"{self.expr(d)} {self.one(BINARY)} {self.expr(d)}",
            lambda: f"({self.expr(d)})",
            lambda: f"not {self.expr(d)}",
            lambda: f"-{self.expr(d)}",
            lambda: f"{self.expr(d)}.{self.one(KEYS)}",
            lambda: f"{self.expr(d)}[{self.expr(d)}]",
            lambda: f"{self.expr(d)}[{self.bound(d)}:{self.bound(d)}]",
            lambda: f"{self.expr(d)}[{self.bound(d)}:{self.bound(d)}:{self.bound(d)}]",
            lambda: f"{self.expr(d)}|{self.filter(d)}",
            lambda: f"{self.expr(d)}|{self.filter(d)}|{self.filter(d)}",
            lambda: f"{self.expr(d)} is {self.one(['', 'not '])}{self.test(d)}",
            lambda: f"{self.expr(d)} if {self.expr(d)} else {self.expr(d)}",
            lambda: f"{self.expr(d)} if {self.expr(d)}",
            lambda: f"{self.expr(d)}.{self.method(d)}",
            lambda: f"{self.expr(d)}.{self.method(d)}",
            lambda: "[" + ", ".join(self.expr(d) for _ in range(r.randrange(4))) + "]",
            lambda: "(" + ", ".join(self.expr(d) for _ in range(2)) + ")",
            lambda: "{" + ", ".join(f"{self.expr(3)}: {self.expr(d)}" for _ in range(r.randrange(3))) + "}",
            lambda: f"range({r.randrange(-3, 9)}, {r.randrange(-3, 9)}, {self.one(['1', '2', '-1'])})",
            lambda: f"{self.expr(d)} % {self.expr(d)}",
            lambda: f"dict(a={self.expr(d)}, b={self.expr(d)})",
            lambda: f"namespace(a={self.expr(d)}).a",
        )

    def bound(self, d):
        return self.one(["", "", "1", "-1", "2", "-3", "0", "none", "n"]) if self.r.random() < 0.95 else self.expr(d)

    def filter(self, d):
        if self.r.random() > max(self.wild, 0.05):
            return self.one(["upper", "lower", "trim", "title", "capitalize", "indent(1)", "indent(2, true)", "replace('a', 'b')", "reverse", "string", "center(5)", "truncate(9)", "default('x')", "escape|string"])
        name, args = self.one([(k, v) for k, v in template.FILTERS.items() if k != "nope"])
        a = self.one(args)
        if self.r.random() < 0.2 and a.startswith("(") and "|" not in a:
            return f"{name}({self.expr(d)})"
        return name + a

    def test(self, d):
        t = self.one([t for t in template.TESTS if t != "nope"])
        return t if self.r.random() < 0.8 else f"eq({self.expr(d)})"

    def method(self, d):
        name, args = self.one([(k, v) for k, v in template.METHODS.items() if k != "__class__"])
        if self.r.random() < 0.15:
            return self.one(["items()", "keys()", "values()", "get('a')", "get('zz', 1)", "index(1)", "count(1)", "copy()", "append(1)", "get(n)"])
        if self.r.random() < 0.15:
            return f"{name}({self.expr(d)})"
        return f"{name}({self.one(args)})"

    def sign(self):
        return self.one(["", "", "", "-", "-", "+"])

    def tag(self, text):
        return "{%" + self.sign() + " " + text + " " + self.sign() + "%}"

    def text(self):
        return self.one(["", "a", "\n", "  ", "\n  ", " b\n", "{" if self.wild else "{ ", "} ", "\t", "\n\n", "x\n  y", "é ", "%}"])

    def body(self, depth):
        return "".join(self.text() + self.statement(depth) for _ in range(self.r.randrange(1, 4))) + self.text()

    def statement(self, depth=0):
        r = self.r
        if depth > 3 or r.random() < 0.35:
            minus = self.one(["", "", "-"])
            return "{{" + minus + " " + self.expr() + " " + minus + "}}"
        d = depth + 1

        def for_():
            self.loops += 1
            target, it = self.one([("x", self.expr(2)), ("x", self.one(["nums", "words", "users", "u", "d", "range(3)", "nested"])),
                                   ("x, y", self.one(["d.items()", "nested|list", "[[1, 2], [3, 4]]", "d|items", "dict(a=1, b=n)|dictsort"]))])
            if self.r.random() > max(self.wild, 0.05) and target == "x":
                it = self.list_(2)
            cond = f" if {self.expr(2)}" if r.random() < 0.25 else ""
            out = self.tag(f"for {target} in {it}{cond}") + self.body(d)
            if r.random() < 0.5:
                out += "{{ loop." + self.one(["index", "index0", "first", "last", "length", "revindex", "revindex0", "previtem", "nextitem", "depth", "cycle('p', 'q')", "changed(x)"]) + " }}"
            if r.random() < 0.2:
                out += self.tag(f"if {self.expr(2)}") + self.tag(self.one(["break", "continue"])) + self.tag("endif")
            self.loops -= 1
            if r.random() < 0.3:
                out += self.tag("else") + self.body(d)
            return out + self.tag("endfor")

        def if_():
            out = self.tag(f"if {self.expr(1)}") + self.body(d)
            for _ in range(r.randrange(2)):
                out += self.tag(f"elif {self.expr(1)}") + self.body(d)
            if r.random() < 0.5:
                out += self.tag("else") + self.body(d)
            return out + self.tag("endif")

        def macro():
            name = self.one(["m1", "m2"])
            call = self.one([f"{name}()", f"{name}({self.expr(2)})", f"{name}(b={self.expr(2)})", f"{name}(1, 2)", f"{name}(a=1)"] + ([f"{name}(1, 2, 3)", f"{name}(c=1)"] if self.wild else []))
            out = self.tag(f"macro {name}(a, b={self.expr(2)})") + self.body(d) + "{{ a }}{{ b }}" + self.one(["", "{{ varargs }}", "{{ kwargs }}"]) + self.tag("endmacro")
            return out + "{{ " + call + " }}"

        return self.pick(
            for_, for_, if_, if_, macro,
            lambda: self.tag(f"set {self.one(['x', 'y'])} = {self.expr(1)}"),
            lambda: self.tag(f"set x, y = {self.expr(2)}, {self.expr(2)}"),
            lambda: self.tag("set x") + self.body(d) + self.tag("endset") + "{{ x }}",
            lambda: self.tag(f"set x | {self.filter(2)}") + self.body(d) + self.tag("endset") + "{{ x }}",
            lambda: self.tag("set ns = namespace(a=0)") + self.tag("for i in nums") + self.tag(f"set ns.a = {self.one(['ns.a + i', self.expr(2)])}") + self.tag("endfor") + "{{ ns.a }}",
            lambda: self.tag(f"with x = {self.expr(2)}") + self.body(d) + self.tag("endwith"),
            lambda: self.tag(f"autoescape {self.one(['true', 'true', 'false', 't', 'nothing', self.expr(3)])}") + self.body(d) + self.tag("endautoescape") if self.marks else "",
            lambda: self.tag(f"filter {self.filter(2)}") + self.body(d) + self.tag("endfilter"),
            lambda: "{#" + self.sign() + " c {{ x }} " + self.sign() + "#}",
            lambda: "{% raw " + self.one(["", "-"]) + "%}" + self.one(["{{ x }}", " {% if %} ", "\n"]) + self.tag("endraw"),
            lambda: self.tag("generation") + self.body(d) + self.tag("endgeneration"),
            lambda: self.tag("macro m3()") + "[{{ caller() }}]" + self.tag("endmacro") + self.tag("call m3()") + self.body(d) + self.tag("endcall"),
        )


def uncomparable(kind, text):
    return kind == "output" and re.search(r"0x[0-9a-f]{6}|object at|<class|<function|<built-in|sync_do|[0-9]{18}|Markup|OBJECT|Object|object|inf|e\+[0-9]", text)


def random_templates(ours, seconds, seed):
    end, n, same, bad, failed = time.time() + seconds, 0, 0, 0, 0
    while time.time() < end and bad < 20:
        t = Grammar(seed).body(0)
        kind, text = template.run(t, template.CONTEXT)
        got = ours.run(t, template.CONTEXT)
        n += 1
        failed += kind != "output"
        if uncomparable(kind, text) or re.search("too large|cannot be sliced|slice indices", got[1]) or (kind != "output" and text in ("OverflowError", "MemoryError", "RecursionError", "AssertionError")):
            pass
        elif template.differs((kind, text), got):
            bad += 1
            print(f"seed {seed}: {t[:3000]!r}\n   jinja2: {kind} {text[:300]!r}\n   ours:   {got[0]} {got[1][:300]!r}")
        else:
            same += 1
        seed += 1
    print(f"{n} templates ({failed} of them errors), {same} the same, {bad} differ; next seed {seed}")
    return bad


def whole_templates(ours, files):
    bad = total = 0
    for path in files:
        with open(path) as f:
            sources = [(path, f.read())] if not path.endswith(".json") else [(p, t) for p, t in json.load(f)]
        for name, source in sources:
            outputs = 0
            for conversation, ctx in template_families.CONVERSATIONS.items():
                context = {**ctx, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
                want, got = template.run(source, context), ours.run(source, context)
                total += 1
                outputs += want[0] == "output"
                if template.differs(want, got):
                    bad += 1
                    print(f"{name} ({len(source)}), {conversation}\n   jinja2: {want[0]} {want[1][-300:]!r}\n   ours:   {got[0]} {got[1][-300:]!r}")
            print(f"{name}: {outputs} render")
    print(f"{total} renderings, {bad} differ")
    return bad


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("program")
    ap.add_argument("--seconds", type=float, default=60)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--templates", nargs="*")
    a = ap.parse_args()
    ours = template.Ours(a.program)
    return bool(whole_templates(ours, a.templates) if a.templates else random_templates(ours, a.seconds, a.seed))


if __name__ == "__main__":
    sys.exit(main())
