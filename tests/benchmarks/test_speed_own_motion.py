"""The benchmark of a motion of one's own: drift in degrees that are known, a motion by chance, who is timed in turn."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import wavfile
from scipy.spatial.transform import Rotation

import own_motion
import speed
from likeness import likeness
from syllables import talk
from vivavoce.media.audio import open_speech
from vivavoce.personal.folder import has_motion, read_motion
from vivavoce.splat.avatar import load_avatar, save_avatar
from vivavoce.splat.driver import Driver
from vivavoce.splat.skeleton import JOINTS, PARENTS
from vivavoce.splat.topology import N_FACE


def chained(own: dict[str, np.ndarray], frames: int) -> np.ndarray:
    """Turns of all joints where some turn against their parents by rotation vectors (T, 3), radians."""
    turns: dict[str | None, Rotation] = {None: Rotation.from_rotvec(np.zeros((frames, 3)))}
    for name, parent in PARENTS.items():
        turns[name] = turns[parent] * Rotation.from_rotvec(own.get(name, np.zeros((frames, 3))))
    return np.stack([turns[name].as_matrix() for name in JOINTS], axis=1).astype(np.float32)


def test_drift_is_told_in_degrees_of_the_joint_that_drifts() -> None:
    sway = 0.2 * np.sin(np.arange(300) * 2 * np.pi / 50)[:, None]  # whole periods in a tenth
    bent = np.radians(2.0) * (np.arange(300)[:, None] >= 150)
    found = own_motion.drifted(
        chained({"head": sway * [0, 1, 0], "spine2": bent * [1, 0, 0] + sway * [1, 0, 0]}, 300), 100
    )
    assert found["spine2"] == pytest.approx(2.0, abs=1e-3)
    assert max(degrees for name, degrees in found.items() if name != "spine2") < 0.05


def test_what_comes_and_goes_is_no_drift() -> None:
    there_and_back = 0.5 * np.sin(np.arange(300) * np.pi / 299)[:, None]  # the same forwards and backwards
    found = own_motion.drifted(chained({"pelvis": there_and_back * [0, 0, 1]}, 300), 60)
    assert set(found) == set(JOINTS)
    assert max(found.values()) < 0.05


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An avatar and what it is to say."""
    folder = tmp_path_factory.mktemp("spoken")
    (folder / "ada").mkdir()
    save_avatar(likeness(), folder / "ada")
    samples = talk(4.0).samples[: 4 * 16_000]
    wavfile.write(folder / "a.wav", 16_000, (samples * 32767).astype(np.int16))
    return folder / "ada", folder / "a.wav"


def test_motion_by_rules_is_what_the_driver_does(spoken: tuple[Path, Path]) -> None:
    avatar, samples = load_avatar(spoken[0]), open_speech(spoken[1]).read()
    clip = own_motion.by_rules(avatar, samples)
    driver = Driver(avatar, fps=25.0)
    wanted = np.concatenate([part.transforms for part in (driver.push(samples), driver.finish())])
    assert np.array_equal(clip.joints, wanted[:, : len(JOINTS)])
    face, rest = slice(len(JOINTS), len(JOINTS) + N_FACE), clip.rest.riders[:N_FACE]

    def places(transforms: np.ndarray) -> np.ndarray:
        return (transforms[..., :3] @ rest[..., None])[..., 0] + transforms[..., 3]

    np.testing.assert_allclose(places(clip.transforms[:, face]), places(wanted[:, face]), atol=1e-5)
    assert np.abs(clip.riders).max() > 2e-3
    assert clip.audio.std() > 0.1


def test_a_motion_by_chance_moves_within_what_the_rules_do(spoken: tuple[Path, Path]) -> None:
    folder, recording = spoken
    assert own_motion.give_motion(folder, recording) in {"random weights", own_motion.TRAINED}
    assert has_motion(folder)
    assert read_motion(folder).model().diffusion.config.layout.length == 125
    found = own_motion.drift(folder, recording, 1.0)
    assert set(found) == set(JOINTS)
    assert 0.01 < max(found.values()) < 40
    assert found["left_knee"] < 0.05


def test_its_own_motion_and_the_rules_are_timed_in_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "avatar").mkdir()
    (tmp_path / "avatar" / "avatar.json").write_text("{}")
    said, asked = [], []

    def child(*arguments: str | Path, cache: Path | None = None) -> SimpleNamespace:
        said.append(tuple(map(str, arguments)))
        return SimpleNamespace(wait=lambda: speed.Run(float(len(said)), 1.0, 100.0))

    def apart(function: object, *arguments: object) -> object:
        asked.append((function, *arguments))
        return {"head": 0.5} if function is own_motion.drift else "random weights"

    monkeypatch.setattr(speed, "Child", child)
    monkeypatch.setattr(speed, "apart", apart)
    found = speed.measure_own(speed.Bench(tmp_path, 2, 600.0))
    own, speech = str(tmp_path / "own"), str(tmp_path / "125.wav")
    assert (tmp_path / "own" / "avatar.json").exists()
    assert all(words[:2] == ("generate", own) and "512" in words for words in said)
    assert [words[2] for words in said[:6]] == [speech] * 6
    assert ["splat" in words for words in said] == [False, True] * 3 + [False, False]
    assert found["125 frames, own: seconds"] == {"median": 4.0, "least": 3.0, "most": 5.0, "runs": 2}
    assert found["125 frames, rules: seconds"]["median"] == 5.0
    assert asked == [
        (own_motion.give_motion, tmp_path / "own", tmp_path / "short.wav"),
        (own_motion.drift, tmp_path / "own", tmp_path / "long.wav", 60.0),
    ]
    assert all(figure.name for figure in speed.own_figures(found))


def test_figures_of_its_own_motion_are_held_to_the_demands() -> None:
    def measured(seconds: float, peak: float, degrees: float) -> dict:
        given = {
            "125 frames, own: seconds": seconds,
            "125 frames, rules: seconds": 2.0,
            "part, own: peak_mb": 500.0,
            "long, own: peak_mb": peak,
            "long, own: seconds": 300.0,
        }
        told = {name: {"median": value} for name, value in given.items()}
        return told | {"long speech: seconds": 600.0, "drift: degrees": {"head": degrees, "jaw": 0.1}}

    good = speed.own_figures(measured(5.0, 550.0, 1.0))
    assert all(figure.met for figure in good)
    assert [figure.value for figure in good] == [5.0, 2.5, 2.0, 500.0, 550.0, 1.1, 1.0]
    bad = speed.own_figures(measured(5.01, 551.0, 1.01))
    missed = {f.name for f in bad if not f.met}
    assert missed == {good[0].name, good[5].name, good[6].name}
    assert [dataclasses.replace(f, value=0.0) for f in bad] == [
        dataclasses.replace(f, value=0.0) for f in good
    ]
