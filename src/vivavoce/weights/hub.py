"""Models by path or hub name; of a hub's repository only the files that are needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vivavoce.errors import WeightsError

_NAME = re.compile(r"[\w.-]+/[\w.-]+")

FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
"""Weights, configs and tokenizers: all of a model that is read."""
_BIN = "*.bin"  # torch's own format, the only one that some older models have
_COPIES = ("*.fp16.*", "*.fp32*", "*.non_ema.*")
"""The same weights in another precision, which some repositories hold besides."""


def locate(source: str | Path, kind: str = "model", *, wanted: Sequence[str] | None = None) -> Path:
    """The file or folder of a model: a path as it is; a hub name downloaded, or from the hub's cache.

    Of a hub's repository the files are fetched that `wanted` names by patterns, in which `*` stands for `/` too.
    Without it they are `FILES`, and a `.bin` where there are no safetensors; never the copies for other libraries.

    Raises WeightsError where there is none, or no network and nothing in the cache.
    """
    path = Path(source)
    if path.exists():
        return path
    name = str(source)
    if not _NAME.fullmatch(name):
        raise WeightsError(
            f"There is no {kind} at {name}: give the path of one, or a hub name like OWNER/NAME."
        )
    if wanted is not None:
        return _fetched(name, kind, wanted)
    folder = _fetched(name, kind, FILES)
    if any(folder.rglob("*.safetensors")):
        return folder
    return _fetched(name, kind, (*FILES, _BIN))


def _fetched(name: str, kind: str, wanted: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(wanted), ignore_patterns=list(_COPIES)))
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise WeightsError(
            f"The hub has no open {kind} {name!r}: check the name, or log in with `hf auth login`."
        ) from error
    except OSError as error:
        raise WeightsError(
            f"The {kind} {name} is not on this machine and the hub cannot be reached: "
            "connect to the network, or give the path of a downloaded copy."
        ) from error
