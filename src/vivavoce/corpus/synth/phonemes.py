"""The International Phonetic Alphabet, as espeak-ng prints it, onto the shared inventory of phones.

Each symbol goes to the label whose visible mouth is nearest by place, rounding and height. Marks of stress,
length, tone, nasality and secondary articulation do not move the lips visibly and are dropped.
"""

from __future__ import annotations

import unicodedata

from vivavoce.features.phones import PAUSE

_IPA = {
    # vowels, by height and rounding
    "i": "iy", "ɪ": "ih", "e": "e", "ɛ": "eh", "æ": "ae", "a": "a", "ɐ": "ah", "ɑ": "aa", "ʌ": "ah",
    "ə": "ax", "ɜ": "er", "ɚ": "er", "ɝ": "er", "ɘ": "ax", "ɤ": "ah", "ɨ": "ix", "ᵻ": "ih", "ɯ": "ix",
    "u": "uw", "ʊ": "uh", "ʉ": "uw", "o": "o", "ɔ": "ao", "ɒ": "ao", "y": "ue", "ʏ": "ue", "ø": "oe",
    "œ": "oe", "ɵ": "oe", "ɶ": "oe",
    # labials
    "p": "p", "b": "b", "m": "m", "ɓ": "b", "β": "bh", "ɸ": "bh", "f": "f", "v": "v", "ɱ": "v", "ʋ": "v",
    "w": "w", "ʍ": "w", "ɥ": "w",
    # coronals
    "θ": "th", "ð": "dh", "t": "t", "d": "d", "ʈ": "t", "ɖ": "d", "ɗ": "d", "n": "n", "ɳ": "n", "ɾ": "dx",
    "ɽ": "dx", "l": "l", "ɫ": "l", "ɭ": "l", "ɬ": "l", "ɮ": "l", "s": "s", "z": "z", "ʃ": "sh", "ʒ": "zh",
    "ʂ": "sh", "ʐ": "zh", "ɹ": "r", "ɻ": "r", "r": "rr",
    # palatals, dorsals, glottals
    "ɕ": "c", "ʑ": "c", "ç": "c", "ʝ": "y", "j": "y", "ɲ": "ny", "ʎ": "ny", "c": "k", "ɟ": "g", "k": "k",
    "ɡ": "g", "g": "g", "ŋ": "ng", "ɴ": "ng", "q": "k", "ɢ": "g", "x": "x", "ɣ": "x", "χ": "x", "ʁ": "rr",
    "ʀ": "rr", "ɰ": "x", "h": "hh", "ɦ": "hh", "ħ": "hh", "ʕ": "q", "ʔ": "q",
}  # fmt: skip
_AFFRICATES = {"tʃ": "ch", "dʒ": "jh", "ʈʂ": "ch", "tʂ": "ch", "ɖʐ": "jh", "dʐ": "jh"}
_BY_LANGUAGE = {"ru": {"y": "ix"}}  # espeak-ng prints the unrounded [ɨ] of Russian as y
_ASPIRATED = tuple(stop + "h" for stop in ("p", "t", "k", "ʃ", "ɕ", "s", "ʂ"))


def from_ipa(symbol: str, language: str = "en") -> tuple[str, ...]:
    """The labels of one phoneme event of espeak-ng: one, or several for diphthongs and clusters.

    An empty symbol is a pause. A symbol of marks alone, or a switch of language such as "(en)", gives no
    label. Raises KeyError for a base symbol outside the alphabet.
    """
    if not symbol.strip():
        return (PAUSE,)
    if symbol.startswith("("):
        return ()
    # only marks that stand alone are dropped: decomposition would split the cedilla of ç from its c
    base = "".join(c for c in symbol if c in _IPA or unicodedata.category(c) in ("Ll", "Lu"))
    if base.endswith(_ASPIRATED):
        base = base[:-1]
    table = _IPA | _BY_LANGUAGE.get(language, {})
    labels: list[str] = []
    while base:
        size = 2 if base[:2] in _AFFRICATES else 1
        labels.append(_AFFRICATES[base[:2]] if size == 2 else table[base[0]])
        base = base[size:]
    return tuple(labels)
