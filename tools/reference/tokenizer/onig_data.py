"""Writes src/text/tokenizer/onig_data.c: general categories, the binary properties that patterns use, and scripts, as Oniguruma in the
`tokenizers` library has them.

    python tools/reference/tokenizer/onig_data.py > src/text/tokenizer/onig_data.c

Needs `tokenizers` and `numpy`; Python's own unicodedata must be of Unicode 14, the age that PCRE2 is taken to know at least.
"""
import unicodedata

import numpy
from tokenizers import Regex, pre_tokenizers

N = 0x110000
SCALARS = numpy.array([c for c in range(N) if not 0xD800 <= c < 0xE000])
TEXT = "".join(map(chr, SCALARS))
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn".split()
FLAGS = [r"[[:alpha:]]", r"[[:upper:]]", r"[[:lower:]]", r"\w", r"\s", r"[[:punct:]]"]
# ISO 15924 code and Unicode's name. Zzzz is everything else.
SCRIPTS = """Adlm Adlam|Aghb Caucasian_Albanian|Ahom Ahom|Arab Arabic|Armi Imperial_Aramaic|Armn Armenian|Avst Avestan|Bali Balinese|
Bamu Bamum|Bass Bassa_Vah|Batk Batak|Beng Bengali|Bhks Bhaiksuki|Bopo Bopomofo|Brah Brahmi|Brai Braille|Bugi Buginese|Buhd Buhid|
Cakm Chakma|Cans Canadian_Aboriginal|Cari Carian|Cham Cham|Cher Cherokee|Chrs Chorasmian|Copt Coptic|Cpmn Cypro_Minoan|Cprt Cypriot|
Cyrl Cyrillic|Deva Devanagari|Diak Dives_Akuru|Dogr Dogra|Dsrt Deseret|Dupl Duployan|Egyp Egyptian_Hieroglyphs|Elba Elbasan|
Elym Elymaic|Ethi Ethiopic|Geor Georgian|Glag Glagolitic|Gong Gunjala_Gondi|Gonm Masaram_Gondi|Goth Gothic|Gran Grantha|Grek Greek|
Gujr Gujarati|Guru Gurmukhi|Hang Hangul|Hani Han|Hano Hanunoo|Hatr Hatran|Hebr Hebrew|Hira Hiragana|Hluw Anatolian_Hieroglyphs|
Hmng Pahawh_Hmong|Hmnp Nyiakeng_Puachue_Hmong|Hung Old_Hungarian|Ital Old_Italic|Java Javanese|Kali Kayah_Li|Kana Katakana|
Khar Kharoshthi|Khmr Khmer|Khoj Khojki|Kits Khitan_Small_Script|Knda Kannada|Kthi Kaithi|Lana Tai_Tham|Laoo Lao|Latn Latin|Lepc Lepcha|
Limb Limbu|Lina Linear_A|Linb Linear_B|Lisu Lisu|Lyci Lycian|Lydi Lydian|Mahj Mahajani|Maka Makasar|Mand Mandaic|Mani Manichaean|
Marc Marchen|Medf Medefaidrin|Mend Mende_Kikakui|Merc Meroitic_Cursive|Mero Meroitic_Hieroglyphs|Mlym Malayalam|Modi Modi|Mong Mongolian|
Mroo Mro|Mtei Meetei_Mayek|Mult Multani|Mymr Myanmar|Nand Nandinagari|Narb Old_North_Arabian|Nbat Nabataean|Newa Newa|Nkoo Nko|
Nshu Nushu|Ogam Ogham|Olck Ol_Chiki|Orkh Old_Turkic|Orya Oriya|Osge Osage|Osma Osmanya|Ougr Old_Uyghur|Palm Palmyrene|Pauc Pau_Cin_Hau|
Perm Old_Permic|Phag Phags_Pa|Phli Inscriptional_Pahlavi|Phlp Psalter_Pahlavi|Phnx Phoenician|Plrd Miao|Prti Inscriptional_Parthian|
Rjng Rejang|Rohg Hanifi_Rohingya|Runr Runic|Samr Samaritan|Sarb Old_South_Arabian|Saur Saurashtra|Sgnw SignWriting|Shaw Shavian|
Shrd Sharada|Sidd Siddham|Sind Khudawadi|Sinh Sinhala|Sogd Sogdian|Sogo Old_Sogdian|Sora Sora_Sompeng|Soyo Soyombo|Sund Sundanese|
Sylo Syloti_Nagri|Syrc Syriac|Tagb Tagbanwa|Takr Takri|Tale Tai_Le|Talu New_Tai_Lue|Taml Tamil|Tang Tangut|Tavt Tai_Viet|Telu Telugu|
Tfng Tifinagh|Tglg Tagalog|Thaa Thaana|Thai Thai|Tibt Tibetan|Tirh Tirhuta|Tnsa Tangsa|Toto Toto|Ugar Ugaritic|Vaii Vai|Vith Vithkuqi|
Wara Warang_Citi|Wcho Wancho|Xpeo Old_Persian|Xsux Cuneiform|Yezi Yezidi|Yiii Yi|Zanb Zanabazar_Square|Zinh Inherited|Zyyy Common|
Kawi Kawi|Nagm Nag_Mundari|Gara Garay|Gukh Gurung_Khema|Krai Kirat_Rai|Onao Ol_Onal|Sunu Sunuwar|Todr Todhri|Tutg Tulu_Tigalari"""


def members(pattern):
    """Every code point that matches: a Split that removes matches keeps the others."""
    split = pre_tokenizers.Split(Regex("(?:%s)+" % pattern), "removed")
    hit = numpy.ones(len(TEXT), bool)
    for base in range(0, len(TEXT), 1 << 16):
        for _, (a, b) in split.pre_tokenize_str(TEXT[base:base + (1 << 16)]):
            hit[base + a:base + b] = False
    out = numpy.zeros(N, bool)
    out[SCALARS] = hit
    return out


def runs(values, shift, name, comment):
    starts = [0] + [int(i) + 1 for i in numpy.nonzero(numpy.diff(values))[0]]
    print("/* %s */\nconst uint32_t %s[] = {" % (comment, name))
    line = "   "
    for c in starts:
        item = " 0x%x," % (c << shift | int(values[c]))
        if len(line) + len(item) > 130:
            print(line)
            line = "   "
        line += item
    print("%s\n};\nconst size_t n_%s = sizeof %s / sizeof *%s;\n" % (line, name, name, name))


def main():
    assert unicodedata.unidata_version == "14.0.0"
    bits = numpy.full(N, CATEGORIES.index("Cn"))
    for i, c in enumerate(CATEGORIES):
        if c not in ("Cs", "Cn"):
            bits[members(r"\p{%s}" % c)] = i
    bits[0xD800:0xE000] = CATEGORIES.index("Cs")
    categories = bits.copy()
    for i, f in enumerate(FLAGS):
        bits[members(f)] |= 32 << i
    scripts = numpy.zeros(N, int)
    names = [s.strip().split(" ") for s in SCRIPTS.replace("\n", "").split("|")]
    for i, (code, name) in enumerate(names):
        try:
            hit = members(r"\p{%s}" % code)
            Regex(r"\p{%s}" % name)
        except Exception:
            continue  # younger than this Oniguruma
        scripts[hit] = i + 1
    print("""/* onig_data.c - characters as the reference's regular expressions know them (onig_set.h says what the bits mean).
 * Made by tools/reference/tokenizer/onig_data.py; do not edit. */
#include "text/tokenizer/onig_set.h"

/* clang-format off */""")
    runs(bits, 11, "onig_char_runs", "(first code point << 11) | flags << 5 | general category; a run lasts until the next one begins")
    runs(scripts, 8, "onig_script_runs", "(first code point << 8) | script's place in onig_script_names + 1, or 0")
    young = numpy.array([unicodedata.category(chr(c)) == "Cn" for c in range(N)]) & (categories != CATEGORIES.index("Cn"))
    runs(young.astype(int), 1, "onig_young_runs", "(first code point << 1) | whether Unicode 14 did not have it yet")
    print("const char *const onig_script_names[][2] = {")
    for code, name in names:
        print('    { "%s", "%s" },' % (code.lower(), name.replace("_", "").lower()))
    print("};\nconst size_t n_onig_script_names = sizeof onig_script_names / sizeof *onig_script_names;\n/* clang-format on */")


main()
