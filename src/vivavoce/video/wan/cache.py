"""Skipping most blocks of a denoising step whose first block hardly changed.

First-block caching adds to the first block's output what the remaining blocks added at the last full step. It is
right on VACE too, because our blocks add VACE's hints inside; diffusers' own add them outside, so that a skipped
block's hint, already part of the cached residual, counts twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig

from vivavoce.errors import InputError
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone
from vivavoce.video.wan.blocks import TrunkBlock

FIRST_BLOCK = "first-block"
REFUSED = {
    "faster-cache": "it fails on Wan, whose configuration lacks a field that it reads",
    "mag-cache": "it skips by magnitude ratios, which have to be measured on the very checkpoint",
    "pyramid-attention": "it skips attention at ranges of time steps that were tuned on other models",
    "sea-cache": "it knows only the plain Wan class and silently leaves every other as slow as before",
    "taylor-seer": "it looks for modules that Wan does not have, and so silently does nothing",
    "text-kv": "it silently does nothing on Wan",
}
"""diffusers' other caches, and what is wrong with each on these backbones."""

TransformerBlockRegistry.register(TrunkBlock, TransformerBlockMetadata(return_hidden_states_index=0))


def check_cache(name: str) -> None:
    """Raise InputError unless `name` is a cache that gives right results on both backbones."""
    if name == FIRST_BLOCK:
        return
    if name in REFUSED:
        raise InputError(f"The cache {name} is refused: {REFUSED[name]}; use {FIRST_BLOCK}.")
    raise InputError(f"There is no cache {name!r}: use {FIRST_BLOCK}.")


def check_threshold(threshold: float) -> None:
    """Raise InputError unless a change can be compared with it."""
    if not 0 <= threshold <= 1:
        raise InputError(f"A cache threshold of {threshold:g} is out of bounds: give a number from 0 to 1.")


@contextmanager
def cached(model: WanBackbone | VaceBackbone, name: str, threshold: float = 0.05) -> Iterator[None]:
    """Within it, `model` skips all blocks but the first where that one's residual changed by at most `threshold`.

    The change is relative, mean |difference| / mean |residual|, between a step and the last one computed in
    full. Each guidance link is called within a `model.cache_context(link)` of its own: links are cached apart. One
    `with` serves one sampling run, since what was cached is forgotten at its end. The VACE stack itself is never
    skipped. At a skipped step taps give the tokens behind the last block, whatever their name: take them at a step
    outside.

    Raises InputError for a cache that is refused or unknown, and for a threshold outside [0, 1].
    """
    check_cache(name)
    check_threshold(threshold)
    if getattr(model, "_parallel_config", None) is not None:
        raise InputError(
            "A cache decides in each process by its own part of the tokens, and they would wait for each other for "
            "ever: leave the cache out, or draw on one device."
        )
    model.enable_cache(FirstBlockCacheConfig(threshold=threshold))
    try:
        yield
    finally:
        model.disable_cache()
