"""The methods of the video family by name, and those of other packages."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.metadata import entry_points

from vivavoce.errors import InputError
from vivavoce.methods.actavatar import ACTAVATAR, ACTAVATAR_MINIATURE
from vivavoce.methods.apoavatar import APOAVATAR, APOAVATAR_MINIATURE
from vivavoce.methods.physavatar import PHYSAVATAR, PHYSAVATAR_MINIATURE
from vivavoce.video.config import VideoConfig

GROUP = "vivavoce.methods"
"""Entry points of other packages, each a VideoConfig."""

METHODS: Mapping[str, VideoConfig] = {
    config.name: config
    for config in (
        PHYSAVATAR,
        PHYSAVATAR_MINIATURE,
        ACTAVATAR,
        ACTAVATAR_MINIATURE,
        APOAVATAR,
        APOAVATAR_MINIATURE,
    )
}


@functools.cache
def all_methods() -> Mapping[str, VideoConfig]:
    """METHODS, and those that installed packages offer under `GROUP`; ours win where a name is taken."""
    found = [entry.load() for entry in entry_points(group=GROUP)]
    return {config.name: config for config in found} | dict(METHODS)


def find(name: str) -> VideoConfig:
    """The method of that name. Raises InputError for another."""
    methods = all_methods()
    if name not in methods:
        raise InputError(f"There is no method {name!r}: choose one of {', '.join(sorted(methods))}.")
    return methods[name]
