"""The proofs are scripts that import each other by name; `made` makes small clips, here with actions and phones."""

import functools
import json
import sys
from pathlib import Path

import pytest

sys.path[:0] = [
    str(Path(__file__).parents[2] / "recipes" / "proofs"),
    str(Path(__file__).parents[1] / "corpus"),
]

import made  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from vivavoce.corpus.shards import write_shard  # noqa: E402
from vivavoce.corpus.synth.orders import BOTH, TRAIN  # noqa: E402

ACTIONS = [
    {"name": "raise_left_hand", "text": "raises her left hand", "start": 0.1, "end": 0.5},
    {"name": "nod", "text": "nods", "start": 0.7, "end": 1.1},
    {"name": "shrug", "text": "shrugs", "start": 0.9, "end": 1.2},
]
PHONES = [["m", 0.0, 0.2], ["aa", 0.2, 0.5], ["m", 0.5, 0.7], ["aa", 0.7, 1.3]]


def sample(folder, seed, *, split, person):
    files = made.sample(folder, 33, seed, split=split)
    meta = json.loads(files["json"]) | {"actions": ACTIONS, "phones": PHONES, "person": person}
    meta["plan"]["phases"] = [{key: action[key] for key in ("text", "start", "end")} for action in ACTIONS]
    return files | {"json": json.dumps(meta).encode()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    splits = [TRAIN, TRAIN, TRAIN, BOTH, BOTH, BOTH]
    clips = [(f"{i:04d}", sample(folder, i, split=s, person=i // 2)) for i, s in enumerate(splits)]
    write_shard(folder / "shard-000000.tar", clips)
    return folder


@pytest.fixture(scope="module")
def eye(tmp_path_factory):
    """The real reader with random weights."""
    from vivavoce.evaluation.reader import read
    from vivavoce.evaluation.reader_network import ReaderNetwork

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("eye") / "reader.safetensors"
    save_file(ReaderNetwork().state_dict(), path)
    return functools.partial(read, weights=path)
