"""The page is one file that asks for nothing, plays the recording, and says what it is."""

import base64
import io
import re
import shutil
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest
from scipy.io import wavfile

from vivavoce.errors import InputError, OutputError
from vivavoce.media.provenance import Provenance
from vivavoce.splat.animate import motion_of
from vivavoce.splat.export.page import VIEWER, read_page_provenance, write_page
from vivavoce.splat.export.sound import browser_sound

MADE = Provenance("splat", 7, {"photo": ("</script><b>.png", "0" * 64)})
BUILT = VIEWER / "node_modules" / "esbuild"


@pytest.fixture
def recording(tmp_path):
    t = np.arange(16_000) / 16_000
    wavfile.write(tmp_path / "a.wav", 16_000, (9000 * np.sin(2 * np.pi * 300 * t)).astype(np.int16))
    return tmp_path / "a.wav"


@pytest.fixture
def page(avatar, pose, recording, tmp_path):
    motion = motion_of(avatar, pose(open=np.linspace(0, 1, 20)), 25.0)
    path = tmp_path / "a.html"
    write_page(path, avatar, motion, sound=recording, title="Ada <b>&</b>", provenance=MADE)
    return path


def element(text: str, name: str) -> str:
    (found,) = re.findall(rf'<script type="[^"]+" id="{name}">(.*?)</script>', text, re.S)
    return found


def test_the_page_holds_no_address(page):
    text = page.read_text()
    assert "://" not in text
    assert not re.search(r"""(src|href)\s*=\s*["']?/""", text)
    assert "default-src 'none'" in text
    assert "{{" not in text[: text.index('id="avatar"')]


def test_the_page_says_how_it_was_made_and_that_it_was(page):
    assert read_page_provenance(page) == MADE
    text = page.read_text()
    assert "AI-generated" in text
    assert "<title>Ada &lt;b&gt;&amp;&lt;/b&gt;</title>" in text


def test_another_page_carries_no_record_of_ours(tmp_path):
    (tmp_path / "a.html").write_bytes(b"<html>\xff</html>")
    assert read_page_provenance(tmp_path / "a.html") is None


def test_the_sound_is_the_recordings_and_ends_with_the_frames(page):
    sound = base64.b64decode(element(page.read_text(), "sound"))
    with av.open(io.BytesIO(sound)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert abs(len(samples) / 16_000 - 0.8) < 0.07  # whole packets of AAC
    spectrum = np.abs(np.fft.rfft(samples[2000:10_000]))
    assert spectrum.argmax() * 16_000 / 8000 == pytest.approx(300, abs=4)


def test_the_licence_of_the_engine_is_in_the_page_and_beside_it(page):
    text = page.read_text()
    engine = text[text.index("Contains the PlayCanvas Engine") :]
    assert "Permission is hereby granted" in engine[:1500]
    assert "Permission is hereby granted" in (VIEWER / "LICENSE.playcanvas").read_text()


def test_a_recording_without_sound_is_told(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match=r"a\.wav"):
        browser_sound(tmp_path / "a.wav", Fraction(1))


def test_another_suffix_is_told(avatar, pose, recording, tmp_path):
    motion = motion_of(avatar, pose(), 25.0)
    with pytest.raises(OutputError, match=r"\.html"):
        write_page(tmp_path / "a.txt", avatar, motion, sound=recording, title="", provenance=MADE)


@pytest.mark.skipif(
    not (shutil.which("node") and BUILT.exists()), reason=f"needs node, and `npm ci` in {VIEWER}"
)
def test_the_script_is_built_from_the_sources_beside_it(tmp_path):
    for name in ("src", "node_modules"):
        (tmp_path / name).symlink_to(VIEWER / name)
    shutil.copy(VIEWER / "build.mjs", tmp_path)
    shutil.copy(VIEWER / "package.json", tmp_path)
    subprocess.run(["node", "build.mjs"], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "viewer.js").read_bytes() == (VIEWER / "viewer.js").read_bytes()


def test_a_page_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="no file at"):
        read_page_provenance(tmp_path / "a.html")
