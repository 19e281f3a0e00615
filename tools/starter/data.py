"""The data set: emoji pictures and their captions, from Debian packages.

  fonts-noto-color-emoji  136x128 colour bitmaps of the emoji
  unicode-cldr-core       their names and keywords in English and Japanese (CLDR annotations)
  unicode-data            emoji-test.txt, which sorts them into groups

A *concept* is one emoji. A *phrase* is a way to name it ("red apple", "apple fruit", "りんご"), a
*wording* is a phrase in a template ("a picture of a red apple"), and a *caption* is a wording with or
without a background colour ("a picture of a red apple on a blue background"). One wording in ten is
held out of training, with every background; no concept is held out.
"""
import collections
import hashlib
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
CLDR = "/usr/share/unicode/cldr/common/annotations/%s.xml"
EMOJI_TEST = "/usr/share/unicode/emoji/emoji-test.txt"

SIZE = 128          # pixels of a picture's side
DRAWN = 112         # pixels of the emoji's own height inside it, so that it never touches the border

# The groups whose pictures the autoencoder sees. People come in skin tones and genders, and symbols and
# flags are drawings of text: all left out, as are the 24 clock faces, which differ by the angle of a hand.
GROUPS = {"Smileys & Emotion", "Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects"}
# What the text encoders learn to tell apart, and what the transformer begins with.
WIDE_EMOJI = set(
    "😀😂😉😊😍😎🤩😴😢😭😡😱🤔🤢🥶🤠😺😻👻👽🤖💀🎃👾🤡"
    "🐶🐱🐭🐹🐰🦊🐻🐼🐨🐯🦁🐮🐷🐸🐵🐔🐧🐦🐤🦆🦅🦉🦇🐺🐗🐴🦄🐝🐛🦋🐌🐞🐜🕷🦂🐢🐍🦎🦖🦕🐙🦑🦐🦞🦀🐡🐠🐟🐬🐳🦈🐊"
    "🐅🐆🦓🦍🐘🦛🦏🐪🦒🦘🐂🐎🐖🐑🦙🐐🦌🐕🐩🐈🦃🦚🦜🦢🦩🐇🦝🐁🐿🦔🐉"
    "🌵🎄🌲🌳🌴🌱🍀🍁🍄💐🌷🌹🌺🌸🌻🌼🌍🌙⭐☀⛅🌧❄🔥💧🌊🌈⚡☃🌪🪐☂"
    "🍎🍏🍐🍊🍋🍌🍉🍇🍓🍒🍑🥭🍍🥥🥝🍅🍆🥑🥦🥒🌶🌽🥕🧄🧅🥔🥐🍞🥖🥨🧀🥚🍳🥞🧇🥓🍗🍔🍟🍕🌭🥪🌮🌯🥗🍝🍜🍣🍱🥟🍤🍙🍚"
    "🍩🍪🎂🍰🧁🍫🍬🍭🍮🍯🍦🍿☕🍵🍺🍷🍸🍹🥛"
    "🚗🚕🚙🚌🏎🚓🚑🚒🚚🚜🏍🚲🛴✈🚀🛸🚁⛵🚢⚓🚂🚆🚄🏠🏢🏥🏭🏰🗼🗽⛪⛩⛺🌋🗻🏝"
    "⚽🏀🏈⚾🎾🏐🎱🏓🎸🎹🎺🎻🥁🎮🎲🧩🎁🎈🏆🎨📷📺💻📱☎⌚💡🔦📚📕✏✂🔑🔒🔨🔧⚙🧲🔬🔭💊💎👑🎩👓👟👕👗🪑🛏🚪🧸💰✉📦❤💔")

# What the transformer goes on with, and the judge tells apart.
JUDGED_EMOJI = set(
    "😀😍😎😢😡😱🤠👻👽🤖💀🎃🐶🐱🐭🐰🦊🐻🐼🐨🦁🐮🐷🐸🐵🐔🐧🦆🦉🐴🦄🐝🦋🐌🐞🐢🐍🐙🦀🐠🐳🐘🦒🐈🐕"
    "🌵🎄🌲🌴🍀🍁🍄🌹🌸🌻🌷🌍🌙⭐☀🌈⚡🔥❄☂☃🍎🍐🍊🍋🍌🍉🍇🍓🍒🍑🍍🥝🍅🍆🥑🥕🌽🍞🧀🍳🍔🍟🍕🍣🍙🍩🍪🎂🍭🍦☕🍺🍵"
    "🚗🚌🚑🚒🚜🚲✈🚀🛸🚁⛵🚂🏠🏰🗼⚽🏀🎾🎸🎹🎺🎁🎈🏆🎨📷📺💻📱💡📕✏✂🔑💎👑🎩👓👟❤")

# What it ends with and the model promises to draw: as many as its training time was enough for.
DRAWN_EMOJI = set("🍎🍌🍓🍉🍕🍩🎂☕🐱🐶🐼🐸🐠🐘🦋🐝🌻🌹🌲🍄⭐🌈🔥❤🚗🚀⛵🏠⚽🎸🎈😀")

# Background colours: English name, Japanese attributive form, Japanese noun, RGB. White comes first: it
# is also what a caption without a background means.
COLOURS = [
    ("white", "白い", "白", (255, 255, 255)),
    ("black", "黒い", "黒", (24, 24, 24)),
    ("gray", "灰色の", "灰色", (150, 150, 150)),
    ("red", "赤い", "赤", (214, 48, 49)),
    ("orange", "オレンジ色の", "オレンジ色", (243, 146, 55)),
    ("yellow", "黄色い", "黄色", (250, 220, 90)),
    ("green", "緑の", "緑", (70, 165, 85)),
    ("blue", "青い", "青", (50, 105, 210)),
    ("light blue", "水色の", "水色", (160, 212, 240)),
    ("purple", "紫の", "紫", (135, 80, 180)),
    ("pink", "ピンクの", "ピンク", (250, 175, 200)),
    ("brown", "茶色の", "茶色", (130, 85, 55)),
]

TEMPLATES = {
    "en": ["{p}", "a {p}", "the {p}", "one {p}", "a picture of a {p}", "a photo of a {p}", "an emoji of a {p}",
           "a drawing of a {p}", "an icon of a {p}", "{p} emoji", "{p} icon", "draw a {p}", "a cute {p}", "a small {p}"],
    "ja": ["{p}", "{p}の絵", "{p}の絵文字", "{p}のイラスト", "{p}の写真", "{p}を描いて", "かわいい{p}", "{p}のアイコン"],
}
BACKGROUNDS = {
    "en": ["{t} on a {c} background", "{t} on {c}", "{t}, {c} background", "{t} with a {c} background",
           "{t} in front of a {c} background", "{c} background, {t}"],
    "ja": ["{a}背景の{t}", "{t}、{a}背景", "{t}、背景は{c}", "{a}背景に{t}", "{c}の背景と{t}"],
}


@dataclass
class Concept:
    emoji: str
    name: str                                     # the English name; unique
    phrases: dict = field(default_factory=dict)   # language -> list of phrases, the name first


def emoji_of_groups(chosen):
    """The single code point emoji of GROUPS, or those of `chosen`, in the order of emoji-test.txt."""
    group = subgroup = None
    for line in open(EMOJI_TEST, encoding="utf-8"):
        if line.startswith("# group:"):
            group = line.split(":")[1].strip()
        elif line.startswith("# subgroup:"):
            subgroup = line.split(":")[1].strip()
        elif "; fully-qualified" in line and group in GROUPS:
            points = [p for p in line.split(";")[0].split() if p != "FE0F"]
            clock_face = subgroup == "time" and 0x1F550 <= int(points[0], 16) <= 0x1F567
            if len(points) == 1 and not clock_face and (not chosen or chr(int(points[0], 16)) in chosen):
                yield chr(int(points[0], 16))


def annotations(language):
    """CLDR's names and keywords: emoji -> name, emoji -> keywords."""
    names, keywords = {}, {}
    for node in ET.parse(CLDR % language).getroot().iter("annotation"):
        text = unicodedata.normalize("NFKC", node.text or "")
        if node.get("type") == "tts":
            names[node.get("cp")] = text.strip()
        else:
            keywords[node.get("cp")] = [k.strip() for k in text.split("|")]
    return names, keywords


def concepts(chosen=WIDE_EMOJI):
    """The concepts of `chosen`, or of all GROUPS if None, that have a bitmap and a name in both languages."""
    font = ImageFont.truetype(FONT, 109)
    chosen = [e for e in emoji_of_groups(chosen) if font.getmask(e, mode="RGBA").getbbox()]
    cldr = {lang: annotations(lang) for lang in ("en", "ja")}
    chosen = [e for e in chosen if all(e in cldr[lang][0] and e in cldr[lang][1] for lang in cldr)]
    out = [Concept(e, cldr["en"][0][e]) for e in chosen]
    for lang, (names, keywords) in cldr.items():
        # A keyword or a pair of keywords names a concept only if it names no other.
        single, pairs = collections.Counter(), collections.Counter()
        for e in chosen:
            words = sorted(set(keywords[e]))
            single.update(words)
            pairs.update((a, b) for i, a in enumerate(words) for b in words[i + 1:])
        taken = {names[e] for e in chosen}
        join = " " if lang == "en" else "の"
        for c in out:
            name, words = names[c.emoji], sorted(set(keywords[c.emoji]))
            unique = [w for w in words if single[w] == 1 and w not in taken]
            two = [a + join + b for i, a in enumerate(words) for b in words[i + 1:]
                   if pairs[a, b] == 1 and single[a] > 1 and single[b] > 1 and a not in b and b not in a]
            named = [name + (", " if lang == "en" else "、") + w for w in words if w not in name and name not in w]
            c.phrases[lang] = list(dict.fromkeys([name] + unique + named[:4] + two[:6]))
    return out


def numbers(all_concepts, chosen):
    """The places of the chosen emoji among the concepts."""
    return [i for i, c in enumerate(all_concepts) if c.emoji in chosen]


def held_out(wording):
    """One wording in ten, chosen by its own text, so that the choice never depends on order."""
    return hashlib.md5(wording.encode()).digest()[0] * 10 // 256 == 0


def article(text):
    """"a apple" -> "an apple": the templates only know "a"."""
    words = text.split(" ")
    for i in range(len(words) - 1):
        if words[i] == "a" and words[i + 1][:1] in "aeio":
            words[i] = "an"
    return " ".join(words)


def wordings(concept, lang):
    """(wording, is_name) for every phrase in every template."""
    for i, phrase in enumerate(concept.phrases[lang]):
        for template in TEMPLATES[lang]:
            wording = template.format(p=phrase)
            yield (article(wording) if lang == "en" else wording), i == 0


def with_background(wording, lang, colour, form):
    en, attributive, noun, _ = COLOURS[colour]
    if lang == "en":
        return article(BACKGROUNDS["en"][form].format(t=wording, c=en))
    return BACKGROUNDS["ja"][form].format(t=wording, a=attributive, c=noun)


class Captions:
    """Draws captions. Half name the concept by its name, half by keywords; a third are Japanese."""

    def __init__(self, all_concepts, holdout=False):
        self.table = []
        for c in all_concepts:
            row = {}
            for lang in ("en", "ja"):
                kept = [(w, n) for w, n in wordings(c, lang) if held_out(w) == holdout]
                row[lang] = [w for w, n in kept if n], [w for w, n in kept if not n]
            self.table.append(row)

    def has(self, concept):
        """Whether the concept has a wording at all on this side of the split."""
        return any(pool for pools in self.table[concept].values() for pool in pools)

    def draw(self, rng, concept, colour):
        """One caption of (concept, colour). Colour 0, white, is left unsaid three times in four."""
        lang = "ja" if rng.random() < 1 / 3 else "en"
        by_name, by_keyword = self.table[concept][lang]
        pool = by_name if (rng.random() < 0.6 and by_name) or not by_keyword else by_keyword
        if not pool:        # everything of this kind is on the other side of the split
            pool = by_name or sum(self.table[concept]["ja" if lang == "en" else "en"], [])
            lang = lang if by_name else "ja" if lang == "en" else "en"
        text = pool[rng.integers(len(pool))]
        if colour or rng.random() < 0.25:
            text = with_background(text, lang, colour, rng.integers(len(BACKGROUNDS[lang])))
        if rng.random() < 0.15:
            text = text[:1].upper() + text[1:]
        if rng.random() < 0.05:
            text += "." if lang == "en" else "。"
        return text


def pictures(all_concepts):
    """uint8 [n, SIZE, SIZE, 4]: each emoji on a transparent square, alpha not premultiplied."""
    font = ImageFont.truetype(FONT, 109)      # the one size the font has
    out = np.zeros((len(all_concepts), SIZE, SIZE, 4), np.uint8)
    width = round(136 * DRAWN / 128)
    for i, c in enumerate(all_concepts):
        cell = Image.new("RGBA", (136, 128))
        ImageDraw.Draw(cell).text((0, 0), c.emoji, font=font, embedded_color=True, anchor="lt")
        # Scale with premultiplied alpha, or the transparent black around it darkens the border.
        cell = cell.convert("RGBa").resize((width, DRAWN), Image.LANCZOS).convert("RGBA")
        square = Image.new("RGBA", (SIZE, SIZE))
        square.paste(cell, ((SIZE - width) // 2, (SIZE - DRAWN) // 2))
        out[i] = np.asarray(square)
    return out


def on_background(rgba, rgb):
    """Pictures [..., 4] uint8 over a colour, as float32 in [0, 255]."""
    a = rgba[..., 3:].astype(np.float32) / 255
    return rgba[..., :3] * a + np.asarray(rgb, np.float32) * (1 - a)


if __name__ == "__main__":
    cs = concepts()
    rng = np.random.default_rng(0)
    train, test = Captions(cs), Captions(cs, holdout=True)
    print(len(cs), "concepts;", sum(len(a) + len(b) for r in train.table for a, b in r.values()), "wordings to train on,",
          sum(len(a) + len(b) for r in test.table for a, b in r.values()), "held out")
    for _ in range(20):
        c, k = int(rng.integers(len(cs))), int(rng.integers(len(COLOURS)))
        print(cs[c].emoji, COLOURS[k][0], "|", train.draw(rng, c, k), "|", test.draw(rng, c, k))
    sheet = np.concatenate([np.concatenate(list(r), 1) for r in
                            on_background(pictures(cs[::40][:24]), COLOURS[8][3]).reshape(3, 8, SIZE, SIZE, 3)], 0)
    Image.fromarray(sheet.round().astype(np.uint8)).save("sheet.png")
