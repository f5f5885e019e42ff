"""Where a mechanism may be attached to the backbone, and what it is given there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float, Shaped
from torch import Tensor, nn

Stack = Literal["trunk", "vace"]
Place = Literal["after_text", "after_block"]
Conditions = Mapping[str, Tensor]


@dataclass(frozen=True)
class Grid:
    """Tokens in their order: latent frames, then rows, then columns, after patching."""

    frames: int
    height: int
    width: int
    first: int = 0
    """Latent time of the first frame: where a later chunk of a long video continues."""
    references: int = 0
    """How many leading frames are reference pictures and no part of the video."""

    @property
    def per_frame(self) -> int:
        """Tokens a latent frame."""
        return self.height * self.width


@dataclass(frozen=True)
class Moment:
    """The denoising step: what branches that depend on the noise level need."""

    timestep: Shaped[Tensor, "..."]
    """(B,), or (B, L) where every token has its own."""
    embedding: Float[Tensor, "..."]
    """(B, D) or (B, L, D)."""
    grid: Grid


class Branch(nn.Module, ABC):
    """One mechanism beside the pretrained blocks. It is the identity until it is trained.

    The backbone calls `enter` once a denoising step and `residual` once a block. Nothing is kept on the
    branch between the two: what `enter` prepares goes into the conditions that it returns.
    """

    stack: ClassVar[Stack] = "trunk"
    place: ClassVar[Place] = "after_text"

    def enter(
        self, tokens: Float[Tensor, "B L D"], conditions: Conditions, moment: Moment
    ) -> tuple[Float[Tensor, "B L D"], Conditions]:
        """The tokens that the first block gets, and the conditions that `residual` gets."""
        return tokens, conditions

    @abstractmethod
    def residual(
        self, layer: int, tokens: Float[Tensor, "B L D"], conditions: Conditions
    ) -> Float[Tensor, "B L D"] | None:
        """What to add to the tokens at block `layer` of the stack, None for nothing.

        The tokens are the same cells of every frame, reference pictures first: all cells, as in `enter`, but under
        context parallelism only this process's own.
        """


@dataclass(frozen=True)
class Sockets:
    """The branches of one stack as one of its blocks sees them."""

    layer: int
    branches: tuple[Branch, ...]
    conditions: Conditions

    def add(self, place: Place, tokens: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """The tokens with the residuals of all branches at this place, one after another."""
        for branch in self.branches:
            if branch.place == place:
                residual = branch.residual(self.layer, tokens, self.conditions)
                tokens = tokens if residual is None else tokens + residual
        return tokens


def enter_all(
    branches: Sequence[Branch], tokens: Float[Tensor, "B L D"], conditions: Conditions, moment: Moment
) -> tuple[Float[Tensor, "B L D"], Conditions]:
    """All branches' `enter`, each on what the one before it returned."""
    for branch in branches:
        tokens, conditions = branch.enter(tokens, conditions, moment)
    return tokens, conditions


def of_stack(stack: Stack, layer: int, branches: Sequence[Branch], conditions: Conditions) -> Sockets | None:
    """The sockets of a block, None where no branch is attached to its stack."""
    here = tuple(branch for branch in branches if branch.stack == stack)
    return Sockets(layer, here, conditions) if here else None
