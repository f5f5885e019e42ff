"""What a user can get wrong, told in one sentence: what is wrong, and the way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class VivavoceError(Exception):
    """A mistake the user can mend. The command line prints its one sentence and exits with code 2."""


class InputError(VivavoceError):
    """A photo, sound, avatar or option that cannot be used as it is."""


class OutputError(VivavoceError):
    """A result that cannot be written where it was asked for."""


class WeightsError(VivavoceError):
    """A weight file that is missing, damaged or made for something else."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of packages that only the extra `name` brings: one that is missing becomes an InputError."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "vivavoce":
            raise
        raise InputError(
            f"This needs packages that are not installed ({package}): run pip install 'vivavoce[{name}]'."
        ) from error
