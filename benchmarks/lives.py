"""Does the person live? Blinks, alignment with accents, variety, seams and silence of the rhythm model.

    python benchmarks/lives.py [--json FILE]

Speech is festival's, whose own pitch accents (syllables with a ToBI accent) are the truth for beat alignment:
nothing that the model computes itself. Needs the `festival` program.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from jaxtyping import Float32, Float64
from scipy.io import wavfile
from scipy.signal import find_peaks, resample_poly

from vivavoce.features.prosody import prosody
from vivavoce.splat.controls import RHYTHM
from vivavoce.splat.motion.rhythm import RhythmModel, rhythm
from vivavoce.types import SPEECH_RATE

FPS = 50.0
SEEDS = 6
SIGMA = 0.1
"""Seconds, of the beat alignment score."""
VOICES = ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts")
TEXTS = (
    "Good morning everyone, and thank you for coming. Today I want to tell you a story.",
    "It begins with a very small boat, and with the people who built it in an empty barn.",
    "Nobody believed that it would float! But they worked every night, for three long years.",
    "When the river froze, they dragged the boat across the ice; when it thawed, they painted the hull.",
    "Most of the neighbours laughed. Some of them, however, came back with tools, and with soup.",
    "Would you have helped? I am not sure that I would, but I like to think so.",
    "On the first of May the doors were opened, and the whole town walked down to the water.",
    "There was music, there was cake, and there was a speech that nobody could hear.",
    "Then the ropes were cut. For a moment nothing happened at all, and the crowd fell silent.",
    "Slowly, very slowly, the boat began to move, and a child in the front row started to clap.",
    "It floated. It leaked a little, on the left side, but it floated, and they sailed it to the sea.",
    "What I take from this is simple: begin before you are ready, and let other people bring soup.",
)
_SCRIPT = """
(voice_{voice})
(set! u (utt.synth (Utterance Text "{text}")))
(utt.save.wave u "{wav}" 'riff)
(define (vowel segment)
  (if segment (if (string-equal "+" (item.feat segment "ph_vc")) segment (vowel (item.next segment)))))
(set! s (utt.relation.first u 'Syllable))
(while s
  (set! v (vowel (item.daughter1 (item.relation s 'SylStructure))))
  (if (and v (not (string-equal "NONE" (item.feat s "tobi_accent"))))
      (format t "%f %f\\n" (item.feat v "segment_start") (item.feat v "segment_end")))
  (set! s (item.next s)))
"""


@dataclass(frozen=True)
class Talk:
    """Samples at SPEECH_RATE, and the middles of its accented vowels in seconds."""

    samples: Float32[np.ndarray, " n"]
    accents: Float64[np.ndarray, " A"]


def say(text: str, voice: str) -> Talk:
    """A sentence of festival's, with the accents that it was made with."""
    with tempfile.TemporaryDirectory() as folder:
        wav, script = Path(folder) / "speech.wav", Path(folder) / "speech.scm"
        script.write_text(_SCRIPT.format(voice=voice, text=text, wav=wav))
        done = subprocess.run(["festival", "-b", str(script)], capture_output=True, text=True, check=True)
        rate, pcm = wavfile.read(wav)
    samples = resample_poly(pcm / 32768, SPEECH_RATE, rate).astype(np.float32)
    return Talk(samples, np.array([line.split() for line in done.stdout.splitlines()], float).mean(axis=1))


def talks(rng: np.random.Generator) -> list[Talk]:
    """Clips of three sentences of one voice with pauses of 0.2 to 1.2 seconds between them."""
    clips = []
    for voice in VOICES:
        spoken = [say(text, voice) for text in TEXTS]
        for first in range(0, len(spoken), 3):
            samples, accents, at = [], [], 0
            for talk in spoken[first : first + 3]:
                accents.append(talk.accents + at / SPEECH_RATE)
                samples += [talk.samples, np.zeros(int(rng.uniform(0.2, 1.2) * SPEECH_RATE), np.float32)]
                at += len(samples[-2]) + len(samples[-1])
            clips.append(Talk(np.concatenate(samples), np.concatenate(accents)))
    return clips


def channel(motion: Float32[np.ndarray, "T C"], name: str) -> Float32[np.ndarray, " T"]:
    return motion[:, RHYTHM.index(name)]


def blink_times(motion: Float32[np.ndarray, "T C"]) -> Float64[np.ndarray, " B"]:
    """Seconds at which the lids close past the half."""
    shut = channel(motion, "blink") > 0.5
    return np.flatnonzero(shut[1:] & ~shut[:-1]) / FPS


def kinematic_beats(motion: Float32[np.ndarray, "T C"]) -> Float64[np.ndarray, " K"]:
    """Seconds at which the face, turned by head and torso, comes to rest or turns back.

    These are the local minima of its angular speed, slower by 3 degrees a second than what is on either side.
    """
    angles = sum(
        motion[:, [RHYTHM.index(f"{part}_{axis}") for axis in ("yaw", "pitch", "roll")]]
        for part in ("head", "torso")
    )
    speed = np.linalg.norm(np.gradient(np.degrees(angles), 1 / FPS, axis=0), axis=1)
    return (find_peaks(-speed, prominence=3)[0] + 0.5) / FPS


def alignment(of: Float64[np.ndarray, " A"], to: Float64[np.ndarray, " K"]) -> float:
    """Mean of exp(-d^2 / 2 sigma^2), d the distance of each of `of` to the nearest of `to`.

    Li et al., "AI choreographer" (ICCV 2021), the beat alignment score.
    """
    if not len(of) or not len(to):
        return 0.0
    distance = np.abs(of[:, None] - to[None]).min(axis=1)
    return float(np.exp(-(distance**2) / (2 * SIGMA**2)).mean())


def bootstrap(differences: Float64[np.ndarray, " N"], rng: np.random.Generator) -> list[float]:
    """The 95 % interval of the mean over clips."""
    draws = rng.choice(differences, (4000, len(differences))).mean(axis=1)
    return [float(v) for v in np.percentile(draws, [2.5, 97.5])]


def beat_alignment(clips: list[Talk], rng: np.random.Generator) -> dict[str, object]:
    """Accents against kinematic beats, both ways, beside the same with the accents shifted in a circle."""
    scores: dict[str, list[tuple[float, float]]] = {"accents_to_beats": [], "beats_to_accents": []}
    for clip in clips:
        duration = len(clip.samples) / SPEECH_RATE
        for seed in range(SEEDS):
            beats = kinematic_beats(rhythm(clip.samples, FPS, seed=seed))
            shifted = [(clip.accents + s) % duration for s in rng.uniform(1, duration - 1, 20)]
            scores["accents_to_beats"].append(
                (alignment(clip.accents, beats), float(np.mean([alignment(a, beats) for a in shifted])))
            )
            scores["beats_to_accents"].append(
                (alignment(beats, clip.accents), float(np.mean([alignment(beats, a) for a in shifted])))
            )
    result: dict[str, object] = {}
    for name, pairs in scores.items():
        table = np.array(pairs).reshape(len(clips), SEEDS, 2).mean(axis=1)
        gain = table[:, 0] - table[:, 1]
        result[name] = {
            "aligned": float(table[:, 0].mean()),
            "shifted": float(table[:, 1].mean()),
            "gain": float(gain.mean()),
            "gain_95": bootstrap(gain, rng),
            "clips_above": float((gain > 0).mean()),
        }
    return result


def accent_detection(clips: list[Talk]) -> dict[str, float]:
    """The detector's accents against the synthesiser's, matched within 0.1 s."""
    hits = found = true = 0
    lags: list[float] = []
    for clip in clips:
        frames = prosody(clip.samples)
        times = frames.times[frames.accent > 0]
        gaps = times[None] - clip.accents[:, None]
        nearest = gaps[np.arange(len(gaps)), np.abs(gaps).argmin(axis=1)]
        lags += [gap for gap in nearest.tolist() if abs(gap) <= 0.1]
        hits += int((np.abs(gaps).min(axis=0) <= 0.1).sum())
        found, true = found + len(times), true + len(clip.accents)
    return {
        "recall": len(lags) / true,
        "precision": hits / found,
        "median_lag_s": float(np.median(lags)),
    }


def nod_lag(clips: list[Talk]) -> dict[str, float]:
    """From the detector's accents to the nod's extreme within 0.3 s, where there is a nod of a degree or more."""
    lags = []
    for clip in clips:
        frames = prosody(clip.samples)
        pitch = np.degrees(channel(rhythm(clip.samples, 100.0), "head_pitch"))
        for time in frames.times[frames.accent > 0]:
            at = int(time * 100)
            after = pitch[at : at + 30]
            if len(after) == 30 and after.max() - pitch[at - 6] > 1 and 0 < after.argmax() < 29:
                lags.append(after.argmax() / 100)
    return {"median_s": float(np.median(lags)), "p90_s": float(np.percentile(lags, 90))}


def blinks(talk: Float32[np.ndarray, " n"]) -> dict[str, float]:
    """Blinks a minute of a long talk, over the seeds, and in every whole minute of it."""
    rates, minutes, coincident, by_seed = [], [], [], []
    for seed in range(SEEDS):
        times = blink_times(rhythm(talk, FPS, seed=seed))
        duration = len(talk) / SPEECH_RATE
        rates.append(60 * len(times) / duration)
        minutes += np.histogram(times, np.arange(0, duration, 60))[0].tolist()
        by_seed.append(times)
    for i in range(SEEDS):
        for j in range(i):
            gaps = np.abs(by_seed[i][:, None] - by_seed[j][None]).min(axis=1)
            coincident.append(float((gaps < 0.1).mean()))
    return {
        "per_minute": float(np.mean(rates)),
        "lowest_seed": min(rates),
        "highest_seed": max(rates),
        "lowest_minute": float(min(minutes)),
        "highest_minute": float(max(minutes)),
        "shared_between_seeds": float(np.mean(coincident)),
    }


def variety(talk: Float32[np.ndarray, " n"]) -> dict[str, float]:
    """Mean and largest absolute correlation of each channel between seeds."""
    motions = [rhythm(talk, FPS, seed=seed) for seed in range(SEEDS)]
    result = {}
    for name in RHYTHM:
        tracks = np.array([channel(m, name) for m in motions])
        moving = tracks[tracks.std(axis=1) > 1e-6]
        r = np.abs(np.corrcoef(moving)[np.triu_indices(len(moving), 1)])
        result[name] = float(r.mean())
    return result


def seams(talk: Float32[np.ndarray, " n"], rng: np.random.Generator) -> dict[str, float]:
    """The motion made from blocks of random length against that made at once, and its acceleration where blocks meet.

    Of the frames at seams, as of any others, one in a hundred may lie above the 99th percentile of the rest.
    """
    model, parts, at, ends = RhythmModel(FPS, 0), [], 0, []
    while at < len(talk):
        block = int(rng.integers(1, 2 * SPEECH_RATE))
        parts.append(model.push(talk[at : at + block]))
        ends.append(sum(map(len, parts)))
        at += block
    parts.append(model.finish())
    motion = np.concatenate(parts)
    acceleration = np.abs(np.diff(motion, 2, axis=0)) * FPS**2
    near = np.zeros(len(acceleration), bool)
    for end in ends[:-1]:
        near[max(0, end - 2) : end + 1] = True
    high = np.percentile(acceleration[~near], 99, axis=0)
    above = (acceleration[near] > high).mean(axis=0)
    return {
        "largest_difference": float(np.abs(motion - rhythm(talk, FPS)).max()),
        "share_of_seam_frames_above_99th_percentile": float(above.mean()),
    }


def ranges(talk: Float32[np.ndarray, " n"], expressiveness: float) -> dict[str, float]:
    """Spread, extremes and highest speeds; degrees and seconds."""
    motion = np.concatenate([rhythm(talk, 100.0, seed=s, expressiveness=expressiveness) for s in range(2)])
    result = {}
    for part in ("head", "torso"):
        for axis in ("yaw", "pitch", "roll"):
            track = np.degrees(channel(motion, f"{part}_{axis}"))
            result[f"{part}_{axis}_rms"] = float(np.sqrt((track**2).mean()))
            result[f"{part}_{axis}_most"] = float(np.abs(track).max())
            result[f"{part}_{axis}_speed"] = float(np.abs(np.diff(track[: len(track) // 2])).max() * 100)
    gaze = np.degrees(motion[:, [RHYTHM.index("gaze_x"), RHYTHM.index("gaze_y")]])
    turn = np.degrees(
        np.stack([channel(motion, f"head_{a}") + channel(motion, f"torso_{a}") for a in ("yaw", "pitch")], 1)
    )
    result["looks_at_camera"] = float((np.linalg.norm(gaze + turn, axis=1) < 2).mean())
    for name in ("brow_raise", "smile", "shoulders", "hand_left", "hand_right"):
        result[f"{name}_most"] = float(np.abs(channel(motion, name)).max())
    hands = np.maximum(channel(motion, "hand_left"), channel(motion, "hand_right"))
    result["hands_raised"] = float((hands > 0.1).mean())
    return result


def silence() -> dict[str, float]:
    """A minute of nothing: what still moves."""
    motion = rhythm(np.zeros(60 * SPEECH_RATE, np.float32), FPS)
    breath = channel(motion, "breath")
    rising = (breath[1:] > 0) & (breath[:-1] <= 0)
    head = np.degrees(motion[:, : RHYTHM.index("brow_raise")])
    return {
        "blinks_per_minute": float(len(blink_times(motion))),
        "breaths_per_minute": float(rising.sum()),
        "head_rms_degrees": float(np.sqrt((head**2).mean())),
        "head_speed_degrees": float(np.abs(np.diff(head, axis=0)).max() * FPS),
        "hands_most": float(motion[:, -2:].max()),
        "brows_most": float(np.abs(channel(motion, "brow_raise")).max()),
    }


def main(
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Print the figures, and write them to a file."""
    rng = np.random.default_rng(0)
    clips = talks(rng)
    talk = np.concatenate([clip.samples for clip in clips])
    figures = {
        "speech_seconds": len(talk) / SPEECH_RATE,
        "blinks": blinks(talk),
        "beat_alignment": beat_alignment(clips, rng),
        "accent_detection": accent_detection(clips),
        "nod_after_accent": nod_lag(clips),
        "variety": variety(talk),
        "seams": seams(talk, rng),
        "silence": silence(),
        **{f"ranges_at_{e:g}": ranges(talk, e) for e in (0.0, 1.0, 2.0)},
    }
    text = json.dumps(figures, indent=1)
    print(text)
    if json_file:
        json_file.write_text(text + "\n")


if __name__ == "__main__":
    tyro.cli(main)
