"""Motion of particles as vectors for diffusion, and back.

A particle at rest at p moves by the rigid transform [R | t]. Its nine channels are its displacement R p + t - p in
decimetres and the first two columns of R - I (the six numbers of Zhou et al. 2019, "On the continuity of rotation
representations"). Against the logarithm in so(3) these cost three numbers more a particle; in turn they have no
jump at half a turn, which wrists in world axes do reach, they may be averaged where windows overlap, and whatever
six numbers a network says are some rotation. All channels are zero for a still person.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from vivavoce.splat.audiomotion.config import CHANNELS

UNIT = 0.1
"""Metres: displacements then vary about as much as the columns of rotations."""
FLOOR = 1e-3
"""The least deviation that a channel is divided by: 0.1 mm, or a milliradian."""


class MotionSpace(nn.Module):
    """Motion of M particles and K coefficients <-> standardised vectors of D = 9 M + K values.

    The statistics are state, and stored with the model: the particles' rest positions (metres), mean and deviation
    of each channel, and the least and greatest standardised value that it took, which bound what is sampled
    (`bounded`). As built it stands for particles at the origin, and neither scales nor bounds.
    """

    rest: Tensor
    mean: Tensor
    deviation: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, particles: int, code: int = 0) -> None:
        super().__init__()
        self.particles, self.code = particles, code
        channels = CHANNELS * particles + code
        self.register_buffer("rest", torch.zeros(particles, 3))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.register_buffer("low", torch.full((channels,), -torch.inf))
        self.register_buffer("high", torch.full((channels,), torch.inf))

    @property
    def channels(self) -> int:
        """D."""
        return len(self.mean)

    def encode(
        self, transforms: Float[Tensor, "*b M 3 4"], code: Float[Tensor, "*b K"] | None = None
    ) -> Float[Tensor, "*b D"]:
        """Standardised vectors of motion. Raises ValueError unless a code is given exactly where there is one."""
        return (self._raw(transforms, code) - self.mean) / self.deviation

    def decode(
        self, vectors: Float[Tensor, "*b D"]
    ) -> tuple[Float[Tensor, "*b M 3 4"], Float[Tensor, "*b K"]]:
        """Rigid transforms from rest (metres), and the code; differentiable.

        Any vector gives rotations: the columns are made orthonormal, the first one first (Gram-Schmidt).
        """
        raw = vectors * self.deviation + self.mean
        body, code = raw.split([CHANNELS * self.particles, self.code], dim=-1)
        moved, columns = body.unflatten(-1, (self.particles, CHANNELS)).split([3, 6], dim=-1)
        turn, rest = rotation_of(columns), self.rest.to(raw)
        shift = rest + UNIT * moved - (turn @ rest[..., None])[..., 0]
        return torch.cat([turn, shift[..., None]], dim=-1), code

    def bounded(self, vectors: Float[Tensor, "*b D"]) -> Float[Tensor, "*b D"]:
        """The vectors with every channel held within what it did in the motion of `fit`."""
        return vectors.clamp(self.low, self.high)

    def fit(
        self,
        rest: Float[Tensor, "M 3"],
        clips: Iterable[tuple[Tensor, Tensor | None]],
    ) -> None:
        """Take rest positions (metres) and statistics from clips of transforms (T, M, 3, 4) and codes (T, K) or None.

        A channel that never changes is told exactly, and gets the deviation FLOOR. Raises ValueError for no frames.
        """
        self.rest.copy_(rest)
        count, mean, squares = 0, torch.zeros(()), torch.zeros(())
        low, high = torch.tensor(torch.inf), torch.tensor(-torch.inf)
        for transforms, code in clips:
            raw = self._raw(transforms.double(), None if code is None else code.double())
            if not len(raw):
                continue
            # Chan et al. 1983: parts of a variance about means of their own
            step = raw.mean(0) - mean
            total = count + len(raw)
            squares = squares + ((raw - raw.mean(0)) ** 2).sum(0) + step**2 * (count * len(raw) / total)
            mean = mean + step * (len(raw) / total)
            low, high, count = torch.minimum(low, raw.amin(0)), torch.maximum(high, raw.amax(0)), total
        if not count:
            raise ValueError("there are no frames to take statistics from")
        self.mean.copy_(torch.where(low == high, low, mean))
        self.deviation.copy_((squares / count).sqrt().clamp(min=FLOOR))
        self.low.copy_((low - self.mean) / self.deviation)
        self.high.copy_((high - self.mean) / self.deviation)

    def _raw(self, transforms: Tensor, code: Tensor | None) -> Tensor:
        """The channels before they are standardised."""
        if (0 if code is None else code.shape[-1]) != self.code:
            raise ValueError(
                f"the motion has a code of {self.code} values, not {0 if code is None else code.shape[-1]}"
            )
        turn, shift, rest = transforms[..., :3], transforms[..., 3], self.rest.to(transforms)
        moved = (turn @ rest[..., None])[..., 0] + shift - rest
        columns = (turn - torch.eye(3).to(turn))[..., :2].transpose(-1, -2)
        body = torch.cat([moved / UNIT, columns.flatten(-2)], dim=-1).flatten(-2)
        return body if code is None else torch.cat([body, code], dim=-1)


def rotation_of(columns: Float[Tensor, "*b 6"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation whose first two columns, less those of the identity, are nearest in Gram-Schmidt's sense."""
    a, b = (columns.unflatten(-1, (2, 3)) + torch.eye(3).to(columns)[:2]).unbind(-2)
    x = normalize(a, dim=-1)
    y = normalize(b - (x * b).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)
