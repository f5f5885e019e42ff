"""The proofs are scripts that import each other by name; `made` makes small clips."""

import sys
from pathlib import Path

sys.path[:0] = [
    str(Path(__file__).parents[2] / "recipes" / "proofs"),
    str(Path(__file__).parents[1] / "corpus"),
]
