"""What tells one person of the template from another, and which particles all of them have."""

from __future__ import annotations

from dataclasses import dataclass

from vivavoce.splat import topology
from vivavoce.splat.skeleton import JOINTS
from vivavoce.splat.template.clothes import Clothes, Color
from vivavoce.splat.template.face import Features
from vivavoce.splat.template.hair import Hair
from vivavoce.splat.template.joints import Build
from vivavoce.splat.template.paint import Complexion

FACE = len(JOINTS)
"""The first of the face's 468 particles, behind those of the joints; the tongue's comes after them."""
TONGUE = FACE + topology.N_FACE


@dataclass(frozen=True)
class Look:
    """One person."""

    build: Build
    features: Features
    complexion: Complexion
    hair: Hair
    clothes: Clothes
    glasses: Color | None = None
    """The colour of the frame."""
    tooth: Color = (0.86, 0.82, 0.74)
    seed: int = 0
    """Of blemishes and strands."""
