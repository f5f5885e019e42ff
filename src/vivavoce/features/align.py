"""Where each phone of a known English text lies in a recording: forced alignment with PocketSphinx."""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Float32

from vivavoce.errors import InputError
from vivavoce.features.phones import PAUSE, Phone, from_arpabet, spread
from vivavoce.types import SPEECH_RATE

_FRAME = 0.01  # seconds of one PocketSphinx frame
_LATE = 0.0085  # its frame i looks at 25.6 ms from i * 10 ms on: what it puts there is heard this much later
_LOUDEST = (
    0.7  # of full scale, what the recording is brought to: quiet sound loses precision as 16-bit integers
)


def words_of(text: str) -> list[str]:
    """The words of a text as a pronouncing dictionary has them: lower case, inner apostrophes kept."""
    return re.findall(r"[a-z]+(?:'[a-z]+)*", text.lower().replace("’", "'"))


def align(samples: Float32[np.ndarray, " n"], text: str) -> list[Phone]:
    """The phones of `text` as spoken in `samples` (16 kHz), end to end, with pauses.

    Boundaries are good to about 10 ms on clean English speech. Raises InputError where the extra is not
    installed, the text has no words, a figure or a word is not in the dictionary, or the text is not what
    is spoken.
    """
    words = _checked(text)
    decoder = _decoder()
    unknown = [word for word in dict.fromkeys(words) if decoder.lookup_word(word) is None]
    if unknown:
        raise InputError(
            f"The aligner's English dictionary lacks {', '.join(map(repr, unknown[:8]))}: "
            "spell the words as they sound, or leave out --text."
        )
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    pcm = np.round(samples * (_LOUDEST / max(peak, 1e-4)) * 32767).astype(np.int16).tobytes()
    try:
        decoder.set_align_text(" ".join(words))
        _decode(decoder, pcm)
        decoder.set_alignment()
        _decode(decoder, pcm)
        alignment = decoder.get_alignment()
    except RuntimeError as failure:
        raise _mismatch(text) from failure
    if alignment is None:
        raise _mismatch(text)
    return _phones(alignment, len(samples) / SPEECH_RATE)


def _checked(text: str) -> list[str]:
    figure = re.search(r"\d+", text)
    if figure:
        raise InputError(f"--text has the figure {figure[0]!r}: write it as it is spoken, in words.")
    foreign = re.search(r"[^\W\d_a-zA-Z]", text)
    if foreign:
        raise InputError(
            f"--text has the letter {foreign[0]!r}: alignment knows English only; leave --text out."
        )
    words = words_of(text)
    if not words:
        raise InputError(f"--text {text[:40]!r} has no words; give what is spoken, or leave it out.")
    return words


def _decoder():
    try:
        from pocketsphinx import Decoder
    except ImportError as missing:
        raise InputError("--text needs the aligner: pip install 'vivavoce[align]'.") from missing
    # a second pass over the word lattice would move the words that the alignment has just placed
    return Decoder(samprate=SPEECH_RATE, loglevel="FATAL", bestpath=False)


def _decode(decoder, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()


def _mismatch(text: str) -> InputError:
    return InputError(
        f"The text {text[:60]!r} cannot be found in the recording: "
        "give exactly what is spoken, or leave out --text."
    )


def _phones(alignment, duration: float) -> list[Phone]:
    """The aligner's phones with diphthongs split, holes and the end filled with pauses."""
    phones: list[Phone] = []
    for word in alignment:
        for segment in word:
            start = segment.start * _FRAME + _LATE if segment.start else 0.0
            end = min((segment.start + segment.duration) * _FRAME + _LATE, duration)
            if end <= start:
                continue
            labels = (PAUSE,) if segment.name.startswith(("SIL", "+")) else from_arpabet(segment.name)
            phones += spread(labels, start, end)
    if phones and phones[-1].end < duration:
        phones.append(Phone(PAUSE, phones[-1].end, duration))
    return phones
