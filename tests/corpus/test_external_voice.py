import io
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile
from server import serving

from vivavoce.corpus.synth.external_voice import CommandVoice, HttpVoice
from vivavoce.corpus.synth.voice import Voice, synthesize
from vivavoce.errors import InputError
from vivavoce.types import SPEECH_RATE

pytest.importorskip("pocketsphinx")

TEXT = "A happy baby may open a map."
ESPEAK = "espeak-ng -v en-us+f3 -w {out}"


def test_a_program_speaks_with_phone_times():
    voice = CommandVoice(f"{ESPEAK} {{text}}")
    samples, phones = voice.speak(TEXT)
    inside, _ = synthesize(TEXT, Voice("espeak", "en-us+f3"))
    assert (voice.name, voice.paced, voice.pitched) == ("espeak-ng", False, False)
    assert len(samples) == pytest.approx(len(inside), rel=0.15)
    assert samples.dtype == np.float32
    assert 0.1 < np.abs(samples).max() <= 1
    assert phones[0].start == 0
    assert phones[-1].end == pytest.approx(len(samples) / SPEECH_RATE, abs=0.01)
    assert all(a.end == pytest.approx(b.start) for a, b in pairwise(phones))
    assert [p.label for p in phones if p.label in "pbm"] == ["p", "b", "b", "m", "p", "m", "p"]


def test_text_comes_on_standard_input_where_the_template_has_no_place_for_it():
    shown, piped = (CommandVoice(f"{ESPEAK} {how}").speak(TEXT)[0] for how in ("{text}", "--stdin"))
    assert np.array_equal(shown, piped)


def recorder(tmp_path, body='cp "$spoken" "$2"'):
    """A program that keeps its arguments, and gives a recording of `TEXT`."""
    spoken, program = tmp_path / "spoken.wav", tmp_path / "program"
    if not spoken.exists():
        samples, _ = synthesize(TEXT, Voice("flite", "slt"))
        wavfile.write(spoken, SPEECH_RATE, (samples * 32767).astype(np.int16))
    program.write_text(f'#!/bin/sh\nspoken={spoken}\nprintf "%s\\n" "$@" > {tmp_path}/arguments\n{body}\n')
    program.chmod(0o755)
    return program


def arguments(tmp_path):
    return (tmp_path / "arguments").read_text().splitlines()


def test_rate_and_pitch_are_filled_in(tmp_path):
    voice = CommandVoice(f"{recorder(tmp_path)} -o {{out}} --slow={{stretch}} '{{rate}} {{pitch}}' {{text}}")
    assert voice.paced
    assert voice.pitched
    voice.speak(TEXT, rate=1.25, pitch=0.9)
    assert arguments(tmp_path)[2:] == ["--slow=0.8000", "1.2500 0.9000", TEXT]


def test_no_text_is_taken_for_an_option_a_command_or_a_placeholder(tmp_path):
    voice = CommandVoice(f"{recorder(tmp_path)} -o {{out}} {{text}}")
    for text in ("-w /etc/passwd", "$(rm -r /) `ls`; {out} 'x' > y", "two\nlines\0"):
        with pytest.raises(InputError, match=r"has no phone times|cannot"):
            voice.speak(text + " brzzt")
        (said,) = arguments(tmp_path)[2:]
        assert said.lstrip() == " ".join((text.replace("\0", " ") + " brzzt").split())
        assert not said.startswith("-")


def test_any_format_is_read(tmp_path):
    samples, _ = synthesize(TEXT, Voice("flite", "slt"))
    stereo = np.stack([samples, samples], 1)
    wavfile.write(tmp_path / "spoken.wav", SPEECH_RATE, stereo.astype(np.float64))
    read, _ = CommandVoice(f"{recorder(tmp_path)} -o {{out}}").speak(TEXT)
    np.testing.assert_allclose(read, samples, atol=1e-4)


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("no-such-program {out}", "no-such-program cannot be started .*: install it"),
        ("sh -c 'echo bad voice >&2; exit 3' {out}", r"sh failed with exit code 3 \(bad voice\)"),
        ("false {out}", "false failed with exit code 1 .no reason given"),
        ("true {out}", "true wrote no sound for 'Good day.': check its command"),
        ("cp /etc/hostname {out}", "made no usable sound of 'Good day.' .its file is not a sound"),
        ("espeak-ng -w {out} -a 0 {text}", "made no usable sound of 'Good day.' .its file is silent"),
    ],
)
def test_a_program_that_fails_is_told_of_in_one_sentence(template, named):
    with pytest.raises(InputError, match=named) as caught:
        CommandVoice(template).speak("Good day.")
    assert "\n" not in str(caught.value)


def test_a_program_that_hangs_is_stopped():
    with pytest.raises(InputError, match=r"sh says nothing within 0\.1 s"):
        CommandVoice("sh -c 'exec sleep 20' {out}", timeout=0.1).speak("Good day.")


def test_half_a_file_is_no_utterance(tmp_path):
    program = recorder(tmp_path, body='head -c 30000 "$spoken" > "$2"')
    with pytest.raises(InputError, match=r"made no usable sound .*\(its file is cut off\)"):
        CommandVoice(f"{program} -o {{out}}").speak(TEXT)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Room 12.", r"\(the text has the figure '12'\): give English words"),
        ("Wie schön!", r"\(the text has the letter 'ö': alignment knows English only\)"),
        ("Hello brzzt.", r"lacks 'brzzt'\): give English words"),
        ("Every single word of this long text is another one than what was said before.", "cannot be found"),
    ],
)
def test_a_text_that_cannot_be_aligned_is_told_of(tmp_path, text, named):
    with pytest.raises(InputError, match=named) as caught:
        CommandVoice(f"{recorder(tmp_path)} -o {{out}}").speak(text)
    assert "--text" not in str(caught.value)


def test_a_missing_aligner_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pocketsphinx", None)
    with pytest.raises(InputError, match=r"espeak-ng needs the aligner: pip install 'vivavoce\[align\]'"):
        CommandVoice(f"{ESPEAK} {{text}}").speak(TEXT)


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("", "is empty"),
        ("say {text}", "has no {out}"),
        ("say {voice} {out}", "has the placeholder {voice}: use a program and {text}, {out}, {rate}"),
        ("say 'x {out}", "cannot be read .No closing quotation"),
    ],
)
def test_a_template_that_is_none_is_refused(template, named):
    with pytest.raises(InputError, match=named):
        CommandVoice(template)


def test_what_a_template_cannot_change_is_said():
    with pytest.raises(InputError, match=r"no {rate} or {stretch}"):
        CommandVoice(ESPEAK).speak(TEXT, rate=1.1)
    with pytest.raises(InputError, match=r"no {pitch}"):
        CommandVoice(ESPEAK).speak(TEXT, pitch=1.1)


@pytest.fixture
def server():
    with serving() as made:
        samples, _ = synthesize(TEXT, Voice("flite", "slt"))
        stored = io.BytesIO()
        wavfile.write(stored, SPEECH_RATE, np.round(samples * 32768).astype(np.int16))
        made.replies = [(200, stored.getvalue())]
        yield made


def test_a_server_speaks_with_phone_times(server):
    voice = HttpVoice(server.url, "some-tts", "alloy", key="secret")
    samples, phones = voice.speak(TEXT, rate=1.1)
    inside, _ = synthesize(TEXT, Voice("flite", "slt"))
    np.testing.assert_allclose(samples, inside, atol=1e-4)
    assert [p.label for p in phones if p.label in "pbm"] == ["p", "b", "b", "m", "p", "m", "p"]
    ((path, headers, body),) = server.requests
    assert path == "/v1/audio/speech"
    assert headers["Authorization"] == "Bearer secret"
    assert body == {
        "model": "some-tts",
        "voice": "alloy",
        "input": TEXT,
        "response_format": "wav",
        "speed": 1.1,
    }
    assert (voice.name, voice.paced, voice.pitched) == ("some-tts alloy", True, False)


def test_a_server_that_sends_no_sound_is_told_of(server):
    voice = HttpVoice(server.url, "some-tts", "alloy")
    for reply, named in (
        ((200, b""), "wrote no sound"),
        ((200, b'{"error": 1}'), "made no usable sound"),
        ((404, b"no such model"), r"The voice at .*/v1/audio/speech does not answer \(status 404"),
    ):
        server.replies = [reply]
        with pytest.raises(InputError, match=named):
            voice.speak(TEXT)
    with pytest.raises(InputError, match="cannot change its pitch"):
        voice.speak(TEXT, pitch=0.9)


def test_voices_travel_to_other_processes(tmp_path):
    voice = pickle.loads(pickle.dumps(CommandVoice(f"{recorder(tmp_path)} -o {{out}}")))
    assert len(voice.speak(TEXT)[1]) > 10
    assert pickle.loads(pickle.dumps(HttpVoice("http://x/v1", "a", "b"))).name == "a b"
    assert Path(voice.name).name == "program"
