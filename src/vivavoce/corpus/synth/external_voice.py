"""Voices from outside: any program that writes a sound file, and any server that speaks OpenAI's speech protocol.

They tell no phone times, so these come from forced alignment (`features.align`), which knows English.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from vivavoce.corpus.synth.text_sources import spoken
from vivavoce.errors import InputError
from vivavoce.features.align import align
from vivavoce.features.phones import Phone
from vivavoce.media.audio import open_speech
from vivavoce.media.http import Server

_PLACEHOLDERS = ("text", "out", "rate", "stretch", "pitch")


class CommandVoice:
    """A program that speaks a text into a file, as `CommandVoice("espeak-ng -w {out} {text}")`.

    The template is split as a shell would and run without one. {out} is the file it must write, in any format that
    FFmpeg reads; {text} what to say, which comes on standard input where it is left out; {rate} and {pitch} are
    relative to the voice's own, {stretch} is 1 / rate.
    """

    def __init__(self, template: str, *, timeout: float = 60.0) -> None:
        """`timeout` in seconds, of one utterance. Raises InputError where the template is none."""
        try:
            self._parts = shlex.split(template)
        except ValueError as error:
            raise InputError(
                f"The voice command {template!r} cannot be read ({error}): check its quotes."
            ) from error
        named = re.findall(r"\{(\w+)\}", template)
        unknown = [name for name in named if name not in _PLACEHOLDERS]
        if unknown or not self._parts:
            known = ", ".join(f"{{{name}}}" for name in _PLACEHOLDERS)
            wrong = f"has the placeholder {{{unknown[0]}}}" if unknown else "is empty"
            raise InputError(f"The voice command {template!r} {wrong}: use a program and {known}.")
        if "out" not in named:
            raise InputError(
                f"The voice command {template!r} has no {{out}}: put it where the sound file is named."
            )
        self._named = set(named)
        self.timeout = timeout

    @property
    def name(self) -> str:
        """The program."""
        return self._parts[0]

    @property
    def paced(self) -> bool:
        """Whether the template has {rate} or {stretch}."""
        return not self._named.isdisjoint(("rate", "stretch"))

    @property
    def pitched(self) -> bool:
        """Whether the template has {pitch}."""
        return "pitch" in self._named

    def speak(
        self, text: str, *, rate: float = 1.0, pitch: float = 1.0
    ) -> tuple[Float32[np.ndarray, " n"], list[Phone]]:
        """As `VoiceSource.speak`.

        Raises InputError where the program is missing, fails, takes too long or writes no sound, where the
        template lacks what `rate` or `pitch` needs, or the text cannot be aligned.
        """
        if rate != 1 and not self.paced:
            raise InputError(
                f"The voice command of {self.name} has no {{rate}} or {{stretch}}: add one, or keep rate 1."
            )
        if pitch != 1 and not self.pitched:
            raise InputError(f"The voice command of {self.name} has no {{pitch}}: add it, or keep pitch 1.")
        text = spoken(text)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "speech.wav"
            self._run(self._command(text, out, rate, pitch), text, Path(folder) / "errors")
            samples = _read(out, self.name, text)
        return samples, _timed(samples, text, self.name)

    def _command(self, text: str, out: Path, rate: float, pitch: float) -> list[str]:
        values = {
            "text": f" {text}" if text.startswith("-") else text,  # or it would be taken for an option
            "out": str(out),
            "rate": f"{rate:.4f}",
            "stretch": f"{1 / rate:.4f}",
            "pitch": f"{pitch:.4f}",
        }
        return [re.sub(r"\{(\w+)\}", lambda named: values[named[1]], part) for part in self._parts]

    def _run(self, command: list[str], text: str, report: Path) -> None:
        with report.open("w+b") as errors:  # a pipe could be held open by what outlives the program
            try:
                code = subprocess.run(
                    command,
                    input=b"" if "text" in self._named else text.encode(),
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    timeout=self.timeout,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired as error:
                raise InputError(
                    f"The voice {self.name} says nothing within {self.timeout:g} s: allow more, or check its command."
                ) from error
            except OSError as error:
                raise InputError(
                    f"The voice {self.name} cannot be started ({error.strerror}): install it, or check its command."
                ) from error
            errors.seek(0)
            reason = " ".join(errors.read(500).decode("utf-8", "replace").split())
        if code:
            raise InputError(
                f"The voice {self.name} failed with exit code {code} ({reason or 'no reason given'}): "
                "check its command."
            )


class HttpVoice:
    """A voice of a server with OpenAI's `/audio/speech`, its address as `https://host/v1`; `key` its bearer token."""

    def __init__(
        self, url: str, model: str, voice: str, *, key: str | None = None, timeout: float = 120.0
    ) -> None:
        """`timeout` in seconds, of each of two tries. Raises InputError where `url` is no http or https address."""
        self.server = Server(url, "voice", key, timeout)
        self.model = model
        self.voice = voice

    @property
    def name(self) -> str:
        """The model and its voice."""
        return f"{self.model} {self.voice}"

    @property
    def paced(self) -> bool:
        """The protocol has a speed."""
        return True

    @property
    def pitched(self) -> bool:
        """The protocol has no pitch."""
        return False

    def speak(
        self, text: str, *, rate: float = 1.0, pitch: float = 1.0
    ) -> tuple[Float32[np.ndarray, " n"], list[Phone]]:
        """As `VoiceSource.speak`.

        Raises InputError where the server does not answer, refuses, or sends no sound, for any `pitch` but 1, which
        the protocol lacks, and where the text cannot be aligned.
        """
        if pitch != 1:
            raise InputError(f"The voice {self.name} cannot change its pitch: keep pitch 1.")
        body = {"model": self.model, "voice": self.voice, "input": text, "response_format": "wav"}
        reply = self.server.post("audio/speech", body | ({"speed": rate} if rate != 1 else {}))
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "speech"
            out.write_bytes(reply)
            samples = _read(out, self.name, text)
        return samples, _timed(samples, text, self.name)


def _read(path: Path, name: str, text: str) -> Float32[np.ndarray, " n"]:
    """What a voice wrote to a file."""
    if not path.exists() or not path.stat().st_size:
        raise InputError(f"The voice {name} wrote no sound for {text[:60]!r}: check its command or address.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # half an utterance is no utterance
            return open_speech(path).read()
    except (InputError, UserWarning) as error:
        reason = str(error).replace(str(path), "its file").rpartition(": ")[0]
        raise InputError(
            f"The voice {name} made no usable sound of {text[:60]!r} ({reason}): check its command or address."
        ) from error


def _timed(samples: Float32[np.ndarray, " n"], text: str, name: str) -> list[Phone]:
    """The phones of what a voice said."""
    try:
        return align(samples, text)
    except InputError as error:
        if isinstance(error.__cause__, ImportError):
            raise InputError(f"The voice {name} needs the aligner: pip install 'vivavoce[align]'.") from error
        reason = re.sub(r"(: |; )[^:;]*$", "", str(error)).replace("--text", "the text")
        raise InputError(
            f"What the voice {name} says has no phone times ({reason}): give English words that dictionaries have."
        ) from error
