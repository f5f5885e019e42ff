"""How much a personal avatar is taught, as data: lengths, networks, and the stages of its training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vivavoce.personal.field import FieldConfig
from vivavoce.personal.objectives import Objectives
from vivavoce.splat.audiomotion.config import AUDIOAVATAR, MINIATURE, MotionDiffusionConfig
from vivavoce.train.moving import GROUPS
from vivavoce.train.stage import Stage
from vivavoce.video.config import VideoConfig

_LARGE = 8192
"""Tokens of a clip from which on a teacher is of real size."""
_MOTION = ("diffusion.*",)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Everything about the making of a personal avatar but its person, its teacher, and how many clips."""

    model: MotionDiffusionConfig
    embedding: Stage
    motion: tuple[Stage, ...]
    """Of the diffusion, by motion alone."""
    refined: Stage
    objectives: Objectives = field(default_factory=Objectives)
    """Of the last stage."""
    fitting: FieldConfig = field(default_factory=FieldConfig)
    drawn: int = 17
    """Frames of a window that are drawn in a step of refinement: 1, 5, 9, ..., the given ones among them."""

    @property
    def frames(self) -> int:
        """Of a clip: one window of the motion model."""
        return self.model.layout.length


PERSONAL = Sizes(
    model=replace(AUDIOAVATAR, code=64),
    embedding=Stage(
        name="embedding",
        steps=4000,
        batch=64,
        rate=1e-5,
        trains=("diffusion.audio_encoder.*", "diffusion.motion_encoder.*"),
    ),
    motion=(
        Stage(name="simple", steps=40_000, batch=32, rate=1e-5, trains=_MOTION, ema=0.9995),
        Stage(
            name="full",
            steps=10_000,
            batch=32,
            rate=1e-5,
            trains=_MOTION,
            losses={**GROUPS, "contrast": 0.1},
            ema=0.9995,
        ),
    ),
    refined=Stage(name="refined", steps=2000, batch=4, rate=1e-5, trains=("diffusion.transformer.*",)),
)
"""Appendix B of paper 001: AdamW at 1e-5, the plain loss first. It does not tell how many steps and what batch."""

PERSONAL_MINIATURE = replace(
    PERSONAL,
    model=replace(MINIATURE, code=16),
    embedding=replace(PERSONAL.embedding, steps=60, batch=8, rate=1e-3, warmup=10),
    motion=(
        replace(PERSONAL.motion[0], steps=400, batch=8, rate=1e-3, warmup=40, ema=0.99),
        replace(PERSONAL.motion[1], steps=100, batch=8, rate=4e-4, warmup=10, ema=0.98),
    ),
    refined=replace(PERSONAL.refined, steps=40, batch=2, rate=1e-4, warmup=4),
)
"""The same for a processor, within tens of minutes."""


def sizes_for(teacher: VideoConfig) -> Sizes:
    """What fits a teacher: its speech encoder and frame rate, and no more work than its own size is worth."""
    sizes = PERSONAL if teacher.tokens >= _LARGE else PERSONAL_MINIATURE
    heard = teacher.encoder
    return replace(sizes, model=replace(sizes.model, encoder=heard.name, audio=heard.width, fps=teacher.fps))
