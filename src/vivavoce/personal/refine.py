"""The terms that pictures and geometry add to the loss of a personal motion model (papers 001 and 003).

Each is the mean over the frames that are drawn, so that their number moves no balance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from vivavoce.losses.keypoints import keypoint_alignment
from vivavoce.losses.photometric import image_loss
from vivavoce.losses.rigid import arap, knn_graph
from vivavoce.personal.body import keypoints
from vivavoce.personal.motion import TERMS, Guess, Term
from vivavoce.personal.objectives import Objectives
from vivavoce.personal.studio import Studio, as_floats
from vivavoce.train.moving import FACE_POINTS, places

_NEIGHBOURS = 8
_SHORTEST = 1e-3  # metres; closer points are taken for that far apart


def terms(objectives: Objectives) -> Mapping[str, Term]:
    """All terms by name; a stage takes those that it weighs."""
    drawn = {
        "score": score,
        "keypoints": aligned_keypoints,
        "pictures": partial(pictures, perceptual=objectives.perceptual),
        "rigid": rigid,
    }
    return {**TERMS, **drawn}


def score(guesses: Sequence[Guess]) -> Float[Tensor, " B"]:
    """Video score distillation by the teacher (`Teacher.score`)."""
    return torch.stack([_score(guess) for guess in guesses])


def pictures(guesses: Sequence[Guess], *, perceptual: float) -> Float[Tensor, " B"]:
    """Absolute and perceptual error against the teacher's clip (`losses.photometric`)."""
    found = []
    for guess in guesses:
        shot, drawn = guess.shot, guess.pictures
        wanted = as_floats(shot.clip.clip.pictures(shot.first + shot.begin, shot.count)).to(drawn)
        found.append(image_loss(drawn[None], wanted[None], perceptual=perceptual)[0] / shot.count)
    return torch.stack(found)


def aligned_keypoints(guesses: Sequence[Guess]) -> Float[Tensor, " B"]:
    """Dense keypoint alignment of face and hands with what a detector finds in the teacher's clip."""
    found = []
    for guess in guesses:
        studio, shot = _studio(guess), guess.shot
        joints, offsets = guess.acted
        camera = studio.subject.view.camera
        body = guess.body
        own = keypoints(
            studio.face(joints, offsets),
            places(joints, body.face + offsets[:, list(FACE_POINTS)], body),
            studio.avatar.rig.skeleton.seen,
            camera,
        )
        first = shot.first + shot.begin
        theirs = torch.from_numpy(shot.clip.keypoints[first : first + shot.count]).to(own)
        aspect = camera.height / camera.width
        found.append(keypoint_alignment(own[None], theirs[None], aspect=aspect)[0] / shot.count)
    return torch.stack(found)


def rigid(guesses: Sequence[Guess]) -> Float[Tensor, " B"]:
    """Mean squared strain of the avatar's surface (`losses.rigid.arap`)."""
    found = []
    for guess in guesses:
        studio = _studio(guess)
        rest, moved = studio.cloud, studio.moved_cloud(*guess.acted)
        near = knn_graph(rest, _NEIGHBOURS)
        lengths = (rest[near] - rest[:, None]).norm(dim=-1).clamp(min=_SHORTEST)
        found.append(arap(rest, moved, near, weights=1 / lengths.square()).mean())
    return torch.stack(found)


def _score(guess: Guess) -> Float[Tensor, ""]:
    shot = guess.shot
    generator = torch.Generator().manual_seed(shot.seed ^ 1)
    first = shot.first + shot.begin
    return _studio(guess).score(guess.pictures, shot.clip.clip, first, generator=generator)


def _studio(guess: Guess) -> Studio:
    if guess.studio is None:
        raise ValueError("nothing is compared without a studio")
    return guess.studio
