"""What a person of the template wears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Color = tuple[float, float, float]
"""RGB in [0, 1], without light."""


@dataclass(frozen=True)
class Clothes:
    """Garments and their cut."""

    top: Color
    trousers: Color
    sleeves: Literal["none", "short", "long"] = "long"
    neckline: Literal["crew", "v", "collar"] = "crew"
    pattern: Literal["plain", "stripes", "open", "buttons", "cords"] = "plain"
    """In the second colour: stripes, what is worn under an open jacket, buttons, or the cords of a hood."""
    second: Color = (0.9, 0.9, 0.9)
