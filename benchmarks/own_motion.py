"""A motion of its own for an avatar that is measured, and how far such a motion drifts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    from vivavoce.corpus.synth.motions import MovingClip
    from vivavoce.splat.avatar import Avatar

TRAINED = "audiomotion-miniature"
"""The motion model that is taken where it comes with the program."""
FPS = 25.0


def give_motion(folder: Path, recording: Path) -> str:
    """Put a motion model of miniature size into an avatar's folder; which one comes back.

    Where none comes with the program its weights are random, which takes as long. What it says is held within what
    the rules make of the recording.
    """
    from vivavoce.features.encoders import LogMelEncoder
    from vivavoce.methods.miniature import packaged
    from vivavoce.personal.folder import add_motion

    heard = {"kind": "log-mel", "name": LogMelEncoder.name, "source": None}
    told = {"teacher": "none", "clips": [0, 0], "encoder": heard, "seed": 0}
    trained = packaged(TRAINED)
    if trained is not None:
        add_motion(folder, Path(trained), told)
        return TRAINED
    with tempfile.TemporaryDirectory() as temporary:
        random_model(folder, recording, Path(temporary))
        add_motion(folder, Path(temporary), told)
    return "random weights"


def random_model(folder: Path, recording: Path, out: Path) -> None:
    """Write a motion model that moves the avatar of a folder by chance."""
    import torch

    from vivavoce.media.audio import open_speech
    from vivavoce.personal.sizes import PERSONAL_MINIATURE
    from vivavoce.splat.avatar import load_avatar
    from vivavoce.train.motion_model import MotionModel

    torch.manual_seed(0)
    model = MotionModel(PERSONAL_MINIATURE.model)
    model.fit([by_rules(load_avatar(folder), open_speech(recording).read())])
    transformer = model.diffusion.transformer
    # As built these are zero, and it says the mean motion whatever it hears.
    for layer in (transformer.motion_out, *(block.modulation for block in transformer.blocks)):
        torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    model.save(out)


def by_rules(avatar: Avatar, samples: Float32[np.ndarray, " n"]) -> MovingClip:
    """What the rules have an avatar do while it says this, as motion models are trained on it."""
    from vivavoce.corpus.synth.motions import MovingClip
    from vivavoce.features.encoders import LogMelEncoder
    from vivavoce.features.loudness import leveled
    from vivavoce.personal.body import rest_of
    from vivavoce.splat.driver import Driver
    from vivavoce.splat.skeleton import JOINT, JOINTS
    from vivavoce.splat.topology import N_FACE

    driver, rest = Driver(avatar, fps=FPS), rest_of(avatar)
    parts = [driver.push(samples), driver.finish()]
    transforms = np.concatenate([part.transforms for part in parts])
    joints, face = transforms[:, : len(JOINTS)], transforms[:, len(JOINTS) : len(JOINTS) + N_FACE]
    head, vertices = joints[:, JOINT["head"]], rest.riders[:N_FACE]
    places = np.einsum("tnab,nb->tna", face[..., :3], vertices) + face[..., 3]
    riders = np.zeros((len(joints), len(rest.riders), 3), np.float32)
    riders[:, :N_FACE] = np.einsum("tba,tnb->tna", head[..., :3], places - head[:, None, :, 3]) - vertices
    audio = LogMelEncoder().features(leveled(samples), FPS, np.arange(len(joints)))
    return MovingClip("rules", "train", FPS, (), audio, joints, riders, rest)


def drift(folder: Path, recording: Path, seconds: float) -> dict[str, float]:
    """Degrees by joint between the mean poses of the first and the last so many seconds of a recording."""
    from vivavoce.features.loudness import leveled
    from vivavoce.media.audio import open_speech
    from vivavoce.personal.drive import performance
    from vivavoce.personal.folder import read_motion
    from vivavoce.splat.avatar import load_avatar
    from vivavoce.splat.skeleton import JOINTS

    told = read_motion(folder)
    sound = leveled(open_speech(recording).read())
    motions = performance(load_avatar(folder), told.model(), told.speech_encoder(), sound, fps=FPS)
    turns = np.concatenate([motion.transforms[:, : len(JOINTS), :, :3] for motion in motions])
    return drifted(turns, round(seconds * FPS))


def drifted(turns: Float32[np.ndarray, "T 55 3 3"], frames: int) -> dict[str, float]:
    """Degrees by joint between its mean turn against its parent in the first and in the last so many frames."""
    from scipy.spatial.transform import Rotation

    from vivavoce.splat.skeleton import JOINT, PARENTS

    found = {}
    for name, parent in PARENTS.items():
        own = Rotation.from_matrix(turns[:, JOINT[name]])
        if parent is not None:
            own = Rotation.from_matrix(turns[:, JOINT[parent]]).inv() * own
        found[name] = float(np.degrees((own[:frames].mean().inv() * own[-frames:].mean()).magnitude()))
    return found
