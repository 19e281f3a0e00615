"""Makes tests/golden/tokenizer/pre_names.json: how the pre-tokenizers that GGUF files name cut texts, by the `tokenizers` library with the
steps of the tokenizer.json files that models of each name were published with.

    python tools/reference/tokenizer/make_pre_names.py

{name: [[bytes of each piece], ...]}, a list for each of "texts".
"""
import json
import pathlib

from tokenizers import Regex, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Punctuation, Sequence, Split

OUT = pathlib.Path(__file__).parents[3] / "tests/golden/tokenizer/pre_names.json"
TEXTS = ["Hello, world! don't DON'T I'll", "  The year is 2024, not 12345.\n\n  x", "1234567 12 1 ١٢٣٤ ½²", "x = foo(bar[1]);\r\n\treturn 0;\n",
         "東京都は2024年の首都です。テスト 한국어 เป็น", "नमस्ते दुनिया, e\u0301café", "CamelCaseHTTPServer2 αβΓ ПриВет", "a|b (c) … 「d」、 ！？", "<sentinel:12>IMGIMGABZ    t  \t\n",
         " \n \n", "   ", "ǅa ƻ ʔ \u2028\u3000。", "12345123", "日本語English混在123", "a b c d e f", "\u201cquoted\u201d — it's ’s", "x" + " " * 21 + "y" + " " * 600 + "z"]
C = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
S = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + S
QWEN2 = C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + S
UP, LOW = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
F = r"[^\r\n\p{L}\p{N}]?"
O200K = F + f"[{UP}]*[{LOW}]+{C}?|" + F + f"[{UP}]+[{LOW}]*{C}?" + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + S
NH = r"&&[^\p{Han}]"
KIMI = r"[\p{Han}]+|" + F + f"[{UP}{NH}]*[{LOW}{NH}]+{C}?|" + F + f"[{UP}{NH}]+[{LOW}{NH}]*{C}?" + r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + S
DEEPSEEK3 = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*" + S
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
# letters that have case, of one version of Unicode
CASED = "".join("-".join("\\x{%s}" % c for c in r.split("-")) for r in (
    "41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A 38C 38E-3A1 3A3-3F5 "
    "3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 "
    "1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC "
    "1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D "
    "212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D A680-A69B "
    "A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 104D8-104FB "
    "10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943 ").split())
ASIAN = r"[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"


def s(pattern):
    return Split(Regex(pattern), "isolated")


GPT2 = ByteLevel(add_prefix_space=False)
END = ByteLevel(add_prefix_space=False, use_regex=False)
ONE = Digits(individual_digits=True)
CHAINS = {
    ("gpt-2", "mpt", "olmo", "jais", "phi-2", "trillion", "exaone4", "granite-docling", "gigachat", "mellum", "modern-bert"): [GPT2],
    ("llama-bpe", "llama3", "dbrx", "smaug-bpe", "chatglm-bpe", "glm4", "falcon3", "pixtral", "lfm2"): [s(LLAMA3), END],
    ("qwen2", "stablelm2", "deepseek-r1-qwen", "megrez", "hunyuan", "grok-2", "solar-open"): [s(QWEN2), END],
    ("qwen35",): [s(C + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + S), END],
    ("ufakzeka",): [s(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + S), END],
    ("laguna",): [s(r"[^\n]+|[\n]+"), s(QWEN2), END],
    ("gpt-4o", "llama4", "minimax-m2"): [s(O200K), END],
    ("tiny_aya", "cohere2moe"): [s(r"\d{1,3}(?=(?:\d{3})*\b)"), s(O200K), END],
    ("tekken",): [s(F + f"[{UP}]*[{LOW}]+|" + F + f"[{UP}]+[{LOW}]*" + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + S), END],
    ("youtu",): [s(r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+"),
                 s(F + f"[{UP}]*[{LOW}]+{C}?|" + F + f"[{UP}]+[{LOW}]*{C}?" + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + S), END],
    ("deepseek-v3", "hunyuan-dense", "joyai-llm"): [s(r"\p{N}{1,3}"), s("[一-龥぀-ゟ゠-ヿ]+"), s(DEEPSEEK3), END],
    ("deepseek-llm",): [s("[\r\n]"), s(r"\s?[" + CASED + "]+"), s(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), s(r"\s+$"), s("[一-龥ࠀ-一가-퟿]+"), ONE, END],
    ("deepseek-coder",): [s("[\r\n]"), s(r"\s?\p{L}+"), s(r"\s?\p{P}+"), s("[一-龥ࠀ-一가-퟿]+"), ONE, END],
    ("falcon",): [Punctuation("contiguous"), GPT2, Digits(individual_digits=False), s("[0-9][0-9][0-9]")],
    ("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"): [ONE, GPT2],
    ("bloom", "poro-chat", "gpt3-finnish"): [s(BLOOM), END],
    ("viking",): [s(BLOOM), ONE, END],
    ("chameleon",): [s("<sentinel:[0-9]+>"), s("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"), s("([\\t\\n]|    |  )"), ONE, Punctuation("isolated"), GPT2],
    ("kimi-k2",): [s(KIMI), END],
    ("superbpe",): [s(r"\p{N}+"), s(r"(?=(\d{3})+(?!\d))"), END],
    ("bailingmoe", "llada-moe"): [s(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"), END],
    ("seed-coder",): [s(C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}" + "\r\n" + r"]+|\s*[" + "\r\n" + r"]+|\s+(?!\S)|\s+"), END],
    ("afmoe",): [s(r"\p{Nd}+"), s(r"\A\p{Nd}{1,2}(?=\p{Nd}{3}+\z)"), s(r"\p{Nd}{3}"), s(ASIAN), s(DEEPSEEK3), END],
    ("exaone-moe",): [s(C + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"), END],
    ("minicpm5",): [s(r"\p{N}{1,3}"), s(C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*" + S), END],
    ("spark2_5",): [s(r"\p{N}{1,3}"), s("[一-龥぀-ゟ゠-ヿ]+"), s(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                                                          r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"), ONE, END],
    ("jais-2",): [s(C + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                    + "".join(r"|\s{%d}(?!\S)" % n for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}"), END],
}

out = {"texts": TEXTS}
for names, chain in CHAINS.items():
    pre = Sequence(chain)
    rows = [[len(piece) for piece, _ in pre.pre_tokenize_str(t)] for t in TEXTS]  # a character of that alphabet is a byte
    assert all(sum(r) == len(t.encode()) for r, t in zip(rows, TEXTS)), names
    for name in names:
        out[name] = rows
OUT.write_text("{\n" + ",\n".join("%s: %s" % (json.dumps(k), json.dumps(v, ensure_ascii=False, separators=(",", ":"))) for k, v in out.items()) + "\n}\n")
