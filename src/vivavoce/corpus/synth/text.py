"""Things to say: sentences and pseudo-words without end, in many languages, and the sentences kept for tests."""

from __future__ import annotations

import functools
import random
import re

HARVARD = tuple(
    """The birch canoe slid on the smooth planks.|Glue the sheet to the dark blue background.
It's easy to tell the depth of a well.|These days a chicken leg is a rare dish.|Rice is often served in round bowls.
The juice of lemons makes fine punch.|The box was thrown beside the parked truck.
The hogs were fed chopped corn and garbage.|Four hours of steady work faced us.
A large size in stockings is hard to sell.|The boy was there when the sun rose.|A rod is used to catch pink salmon.
The source of the huge river is the clear spring.|Kick the ball straight and follow through.
Help the woman get back to her feet.|A pot of tea helps to pass the evening.|Smoky fires lack flame and heat.
The soft cushion broke the man's fall.|The salt breeze came across from the sea.|The girl at the booth sold fifty bonds.
The small pup gnawed a hole in the sock.|The fish twisted and turned on the bent hook.
Press the pants and sew a button on the vest.|The swan dive was far short of perfect.
The beauty of the view stunned the young boy.|Two blue fish swam in the tank.|Her purse was full of useless trash.
The colt reared and threw the tall rider.|It snowed, rained, and hailed the same morning.
Read verse out loud for pleasure.|Hoist the load to your left shoulder.|Take the winding path to reach the lake.
Note closely the size of the gas tank.|Wipe the grease off his dirty face.|Mend the coat before you go out.
The wrist was badly strained and hung limp.|The stray cat gave birth to kittens.|The young girl gave no clear response.
The meal was cooked before the bell rang.|What joy there is in living.""".replace("\n", "|").split("|")
)
"""The first four of the Harvard lists (IEEE 1969): held out, never a part of what `sentence` makes."""

_NAMES = (
    "Bob Pam Max Fiona Victor Maria Thomas Beth Mabel Philip Emma Viv Hugo Joy Paul Wendy Sam Ruth".split()
)
_NOUNS = (
    "apple bottle camera dolphin engine feather garage hammer island jumper kettle ladder mirror needle orange "
    "pepper question ribbon spoon thimble umbrella valley window yacht zebra bubble cabbage empire fever pump "
    "lamp map tube web club tribe knife wave glove roof leaf math tooth cloth brother weather shoe measure vision "
    "beach bridge judge watch church world worm bird girl nurse school moon fruit boot foot book wood wolf town "
    "house cloud owl voice coin oyster game table rain bike pie light home boat road mop cup tomb dome ham album "
    "problem symbol number member robot movie family summit moment memory piano banana tomato potato museum"
).split()
_ADJECTIVES = (
    "big small purple amber warm empty simple possible famous visible modern humble brave vivid foolish smooth "
    "rough thick thin other wooden yellow quiet rapid bitter pretty blank muddy heavy golden wide narrow early rare "
    "loose proper public personal comfortable marvellous believable upper lower inner outer good bad new old"
).split()
_VERBS = (
    "bring buy pull push move find prove believe forget follow prefer provide remember improve compare combine borrow "
    "wash watch teach reach choose measure shape pump bump climb jump wrap rub grab hope keep leave love live view "
    "thank throw breathe show share join enjoy employ throw draw warm form film paint print spell place"
).split()
_PLACES = (
    "above the pub|before breakfast|by the river|from a bus stop|under my umbrella|behind both mirrors|after supper|"
    "over the bridge|with five friends|in the bathroom|for a fair price|this very moment|at home|up north|"
    "without any problem|between them|whenever we may|next Wednesday|on the lower beam|through the open door"
).split("|")
_TEMPLATES = (
    "The {a} {n} {v}s a {m} {p}.", "{N}, please {v} my {n} and {w} the {a} {m}.", "Why would {N} {v} {p}?",
    "We {v} what you {w}, but never the {a} {n}.", "I may {v} a {m} {p}, or maybe a {b} {n}.",
    "{N} and {M} have {a} {n}s, {b} {m}s, and more.", "You should {v} both {n}s {p}.",
    "Oh! The {n} is {a}; the {m} is very {b}.", "Each {n} of the {m} was {a} and {b}.", "{v} it {p}, {N}!",
    "If they {v} my {m}, your {n} will {w} {p}.", "Five {a} {n}s, then: {m}, {n}, and a {b} {m}.",
)  # fmt: skip

_ONSETS = (
    "p b m f v w t d n s z l r k g h j y th sh ch pl pr bl br fl fr tr dr kr gr st sp sm sw tw qu".split()
)
_NUCLEI = "a e i o u ee oo ay ow oy igh ar er or aw ea".split()
_CODAS = "p b m f v t d n s z l k g th sh ch ng mp nd st ft lp lf rm".split()

WORDS = {
    "de": "Pflaume Bücher über schön Mädchen Junge Wasser fünf Brot Apfel Maus Baum Freund immer wo Vogel Fuß Wein "
    "möchten Bahn Schule zwölf Köpfe müde Kaffee bitte morgen Papa Abend",
    "fr": "bonjour peux lui beau pomme fleur voiture femme homme avec mouton poivre feu vous blanc parfum bébé vin "
    "maman rue jeune boeuf oiseau pluie chambre fromage maison jamais",
    "es": "bueno abuela pelota favor vino hombre mujer puerta fuego ventana bebida blanco pueblo mañana amigo cabeza "
    "familia pan primavera nombre libro mundo poco jamón",
    "it": "buongiorno amico bambino acqua pomodoro famiglia vino bene uomo fiume gatto mamma papà pioggia ombrello "
    "febbraio giovane chiave prima sempre",
    "pt-br": "bom mãe amigo brasileiro favor pão vinho homem mulher palavra boca filha bebida família também "
    "primavera ovo pouco samba fumo",
    "pt": "bom mãe amigo favor pão vinho homem mulher palavra boca filha bebida família também ovo pouco fumo",
    "ru": "привет мама папа бабушка мы вы пожалуйста вода берег вечер фабрика любовь весна память время буква обувь "
    "бумага вопрос книга помощь мороз фильм",
    "hi": "नमस्ते आप बहुत मेरा भाई पानी बाबा फूल मम्मी वह भारत प्रेम बिल्ली माता पिता किताब अभी मौसम फल वापस",
    "cmn-latn-pinyin": "wo3 ni3 ta1 men2 bei3 jing1 peng2 you3 ma1 ba4 fan4 shui3 mao4 yu3 bu4 hao3 feng1 po4 pu3 mi3 "
    "yue4 qu4 xue2 sheng1 zhong1 guo2 duo1 shao3 ming2 bai2 fei1 ji1 wen4",
    "pl": "dzień dobry proszę babcia pies mama woda pan być wiem może fabryka chleb brzeg Polska więcej moment powoli",
    "tr": "günaydın güzel baba anne bir ev pembe masa elma köprü büyük vapur film yumurta üzüm bebek müzik",
    "nl": "goedemorgen boom vijf mooi water vrouw man huis appel moeder vader buiten paard bloem voor familie",
    "sv": "god morgon mamma pappa bok vatten fem blomma äpple hus barn bröd sommar vinter pojke flicka båt",
    "cs": "dobrý máma táta voda pivo pes být moment jablko večer ráno prosím bílý most film dobře",
    "hu": "jó napot mama papa víz alma kép piros virág bor szoba fa fehér nap üveg ember",
    "fi": "hyvä mummo pappa vesi omena puu poika äiti kaupunki pöytä vene lumi ilma puhelin muovi",
    "ro": "bună mama tata apă măr pâine fum om vin bine primăvară pom cub familie umbrelă",
    "ko": "안녕 엄마 아빠 물 바다 나무 밥 봄 불 비 어머니 바람 무엇 친구 마음 빨리 포도",
    "el": "καλημέρα μαμά μπαμπάς νερό φίλος ψωμί βιβλίο πόλη βουνό παιδί μήλο φως άνεμος",
}
"""Everyday words of languages other than English, by the name of espeak-ng's voice; order carries no meaning."""


def sentence(rng: random.Random, language: str = "en") -> str:
    """Something to say, never one of `HARVARD`; English is half sentences, half running text and pseudo-words."""
    if language in WORDS:
        return _phrases(rng, lambda: rng.choice(WORDS[language].split()))
    kind = rng.random()
    if kind < 0.5:
        spoken = _templated(rng)
    elif kind < 0.75:
        spoken = rng.choice(_prose())
    else:
        spoken = _phrases(rng, lambda: _pseudo_word(rng))
    return sentence(rng, language) if spoken in HARVARD else spoken


def _templated(rng: random.Random) -> str:
    pools = dict(
        a=_ADJECTIVES, b=_ADJECTIVES, n=_NOUNS, m=_NOUNS, v=_VERBS, w=_VERBS, p=_PLACES, N=_NAMES, M=_NAMES
    )
    return rng.choice(_TEMPLATES).format(**{slot: rng.choice(words) for slot, words in pools.items()})


def _phrases(rng: random.Random, word) -> str:
    """Four to ten words with a comma now and then."""
    said = [word() + ("," if rng.random() < 0.12 else "") for _ in range(rng.randint(4, 10))]
    return " ".join(said).rstrip(",") + "."


def _pseudo_word(rng: random.Random) -> str:
    syllables = [
        "".join((rng.choice(_ONSETS), rng.choice(_NUCLEI))) for _ in range(rng.choice((1, 1, 2, 2, 3)))
    ]
    return "".join(syllables) + (rng.choice(_CODAS) if rng.random() < 0.6 else "")


@functools.cache
def _prose() -> tuple[str, ...]:
    """English sentences from Python's own documentation, which every Python carries."""
    from pydoc_data.topics import topics

    text = re.sub(r"\s+", " ", " ".join(topics[name] for name in sorted(topics)))
    found = {
        s
        for s in re.split(r"(?<=[.!?]) ", text)
        if 25 < len(s) < 110 and re.fullmatch(r"[A-Za-z ,.'!?-]+", s) and sum(c.isupper() for c in s) < 6
    }
    return tuple(sorted(found - set(HARVARD)))
