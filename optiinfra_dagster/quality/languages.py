"""The language of a text, by its script and its commonest words.

No library: those that tell a hundred languages apart take 1 to 100 MB and guess at ten words. This knows fourteen that
are written in Latin letters, by words that every few sentences have, and those that have a script of their own. Where
it is not sure it says nothing: a short text, a language that it does not know, or names and code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_LONGEST = 4_000  # characters that are looked at
_FEWEST_LETTERS = 8  # of a script
_FEWEST_WORDS = 2  # common words that must be there, of different ones

# ISO 639-1 -> common words, of which no other language here has many.
_WORDS: Mapping[str, frozenset[str]] = {
    code: frozenset(words.split())
    for code, words in {
        "en": "the and is are was were of to in that it you your for with not this be have from they what which",
        "de": "der die das und ist sind nicht ein eine ich sie mit auf für zu den dem von im wie es wird auch oder",
        "fr": "le la les et est sont des une un du que qui pour dans vous nous pas avec sur ce cette être au",
        "es": "el la los las y es son una un del que por para con no se lo como está pero más su al",
        "it": "il lo gli e è sono una un della di che per con non si come più del nel alla questo anche",
        "pt": "o os as e é são uma um da do que por para com não se como mais na no em você está",
        "nl": "de het een en is zijn van niet dat op te met voor ik je u aan er maar ook wordt deze",
        "sv": "och är att det en ett som på inte för av med jag du till har den kan om vi",
        "da": "og er at det en et som på ikke for af med jeg du til har den kan om vi",
        "no": "og er å det en et som på ikke for av med jeg du til har den kan om vi",
        "fi": "ja on ei se että en ole hän mutta kun niin myös tai ovat voi tämä sinun minun",
        "pl": "i jest nie to się w na z do że jak są dla czy ale po od tego przez",
        "cs": "a je se na v to že s z do jsou není pro jak ale jako by také když",
        "tr": "ve bir bu için ile de da değil ne gibi daha çok var olan ama en mi olarak",
    }.items()
}

# Letters of one script -> the language, where the script is that of one language or one is by far the commonest.
_SCRIPTS: Mapping[str, re.Pattern[str]] = {
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "ko": re.compile(r"[\uac00-\ud7af]"),
    "zh": re.compile(r"[\u4e00-\u9fff]"),
    "th": re.compile(r"[\u0e00-\u0e7f]"),
    "el": re.compile(r"[\u0370-\u03ff]"),
    "he": re.compile(r"[\u0590-\u05ff]"),
    "ar": re.compile(r"[\u0600-\u06ff]"),
    "hi": re.compile(r"[\u0900-\u097f]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
}
_UKRAINIAN = re.compile(r"[іїєґ]", re.IGNORECASE)
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
_WORD = re.compile(r"[^\W\d_]+")

KNOWN = (*_WORDS, *_SCRIPTS, "uk")


def language_of(text: str) -> str:
    """The ISO 639-1 code of a text's language; "" where it is not sure."""
    text = text[:_LONGEST]
    letters = Counter({code: len(pattern.findall(text)) for code, pattern in _SCRIPTS.items()})
    latin = len(_LATIN.findall(text))
    # Japanese is written with Chinese characters, too; a few kana tell it.
    if letters["ja"] * 10 >= letters["zh"]:
        letters["ja"] += letters.pop("zh")
    code, count = letters.most_common(1)[0]
    if count > latin:
        if count < (2 if code in {"zh", "ja", "ko"} else _FEWEST_LETTERS):
            return ""
        return "uk" if code == "ru" and _UKRAINIAN.search(text) else code
    words = Counter(_WORD.findall(text.lower()))
    hits = {code: sum(words[word] for word in common) for code, common in _WORDS.items()}
    kinds = {code: sum(word in words for word in common) for code, common in _WORDS.items()}
    best, second = sorted(hits, key=lambda code: (hits[code], kinds[code]), reverse=True)[:2]
    # A fifth of a text's words are among these, in each of the languages.
    is_sure = kinds[best] >= _FEWEST_WORDS and hits[best] > hits[second] and hits[best] * 12 >= words.total()
    return best if is_sure else ""
