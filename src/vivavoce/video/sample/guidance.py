"""Classifier-free guidance over several conditions: a chain, each link with its own scale.

v = v_0 + sum_i s_i (v_i - v_{i-1}): v_0 has every condition of the chain replaced by its null, and link i adds its
own to those before it (ApoAvatar, eq. 8). As one sum the weights are w_0 = 1 - s_1, w_i = s_i - s_{i+1} and w_n = s_n.
An evaluation of weight zero is never made: that merges neighbours of equal scale, and skips v_0 where s_1 = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from vivavoce.errors import InputError

Dropped = frozenset[str]
Evaluate = Callable[[Sequence[Dropped]], Float[Tensor, "K B *rest"]]
"""The network, once for each given set of dropped conditions; results in the same order."""

ORDERS: Mapping[str, tuple[str, ...]] = {
    "text_first": ("text", "image", "audio", "pose"),
    "audio_first": ("audio", "text", "image", "pose"),
}
"""Published orders by name; a model that drops fewer conditions has the rest always given.

`text_first` is ApoAvatar's, and on text and audio also OmniAvatar's and EchoMimicV3's:
v_0 + s_t (v_text - v_0) + s_a (v_full - v_text). `audio_first` is MultiTalk's and InfiniteTalk's:
v_0 + s_a (v_audio - v_0) + s_t (v_full - v_audio).
"""

_FOLLOWERS: Mapping[str, tuple[str, ...]] = {"text": ("phases", "plan")}
"""Entries that only say something about another one, and go with it."""


@dataclass(frozen=True, init=False)
class Chain:
    """Conditions and their scales, first link first. A condition that is no link is always given.

    Raises InputError for a condition that appears twice, or a scale that is no finite number.
    """

    links: tuple[tuple[str, float], ...]

    def __init__(self, links: Sequence[tuple[str, float]]) -> None:
        names = [name for name, _ in links]
        for name, scale in links:
            if names.count(name) > 1:
                raise InputError(f"Guidance by {name!r} is given twice: give each condition one scale.")
            if not math.isfinite(scale):
                raise InputError(f"The guidance scale of {name!r} is {scale}: give a finite number.")
        object.__setattr__(self, "links", tuple(links))

    @classmethod
    def ordered(cls, order: str, scales: Mapping[str, float]) -> Chain:
        """The links of `scales` in one of the published `ORDERS`.

        Raises InputError for an unknown order, or a condition that has no place in it.
        """
        if order not in ORDERS:
            raise InputError(f"There is no guidance order {order!r}: choose one of {', '.join(ORDERS)}.")
        if strangers := sorted(set(scales) - set(ORDERS[order])):
            raise InputError(
                f"The guidance order {order!r} has no place for {', '.join(strangers)}: "
                f"it takes {', '.join(ORDERS[order])}."
            )
        return cls([(name, scales[name]) for name in ORDERS[order] if name in scales])

    def among(self, names: Collection[str]) -> Chain:
        """The chain without the links whose condition is not at hand, as ApoAvatar's without a pose."""
        return Chain([link for link in self.links if link[0] in names])

    @property
    def terms(self) -> tuple[tuple[Dropped, float], ...]:
        """What to evaluate: the conditions that are dropped, and the weight; the weights sum to one."""
        names = [name for name, _ in self.links]
        scales = [1.0, *(scale for _, scale in self.links), 0.0]
        weighted = [(frozenset(names[i:]), scales[i] - scales[i + 1]) for i in range(len(names) + 1)]
        return tuple((dropped, weight) for dropped, weight in weighted if weight)

    @property
    def evaluations(self) -> int:
        """Network evaluations that one denoising step costs."""
        return len(self.terms)

    def guided(self, evaluate: Evaluate, *, at_once: int = 1) -> Float[Tensor, "B *rest"]:
        """The guided velocity, summed in float32 at least, with at most `at_once` evaluations in a batch."""
        total: Tensor | None = None
        for start in range(0, self.evaluations, at_once):
            terms = self.terms[start : start + at_once]
            velocities = evaluate([dropped for dropped, _ in terms])
            for velocity, (_, weight) in zip(velocities, terms, strict=True):
                part = weight * velocity.to(torch.promote_types(velocity.dtype, torch.float32))
                total = part if total is None else total + part
        assert total is not None  # the weights sum to one: there is always a term
        return total


def variants(
    conditions: Mapping[str, Tensor], dropped: Sequence[Dropped], nulls: Mapping[str, Tensor]
) -> dict[str, Shaped[Tensor, "..."]]:
    """Conditions (B, ...) as (K B, ...) for a batch of K evaluations, the first B for the first of them.

    A dropped condition becomes its entry in `nulls`, broadcast to its shape (text: the embedding of the empty
    prompt), and zeros where there is none. Phases and the planner's words go with the text. Raises ValueError for a
    dropped condition that is not there: `Chain.among` leaves its link out.
    """
    for name in frozenset().union(*dropped) - set(conditions):
        raise ValueError(f"{name!r} cannot be dropped, since it is not among {sorted(conditions)}")
    gone = [{*names, *(f for name in names for f in _FOLLOWERS.get(name, ()))} for names in dropped]
    return {
        key: torch.cat([_null(key, value, nulls) if key in names else value for names in gone])
        for key, value in conditions.items()
    }


def _null(key: str, value: Tensor, nulls: Mapping[str, Tensor]) -> Tensor:
    return nulls[key].to(value).expand_as(value) if key in nulls else torch.zeros_like(value)
