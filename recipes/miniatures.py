"""Make the miniatures' weights from nothing: `python recipes/miniatures.py --work DIR [--only STEP ...]`.

A corpus of synthetic people; the shared base, as Wan was made before any method (text encoder, autoencoder, backbone,
VACE branch); then each method from it by its recipe. What is there already is kept, so that it can be done piece by
piece, and after a stop. In the end the weights lie, in half precision, in src/vivavoce/methods/weights/.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from safetensors.torch import load_file, save_file

import vivavoce.methods
from vivavoce.config import CorpusOptions
from vivavoce.corpus.shards import INDEX
from vivavoce.corpus.synth.make import synthesise
from vivavoce.corpus.synth.orders import Corpus
from vivavoce.methods.base import VACE_MINIATURE, WAN_MINIATURE, with_branch
from vivavoce.methods.load import load_backbone
from vivavoce.train.launch import Sources, launch
from vivavoce.train.machine import Machine
from vivavoce.train.recipes import find_recipe
from vivavoce.video.network import backbone_of
from vivavoce.weights import PARTS
from vivavoce.weights.parts import METADATA_KEY

PEOPLE, HOURS, SEED = 200, 1.6, 0
"""Of the corpus that the committed weights are trained on."""
METHODS = ("physavatar", "actavatar", "apoavatar")
HOME = Path(vivavoce.methods.__file__).with_name("weights")


@dataclass(frozen=True)
class Work:
    """Where everything is made."""

    folder: Path
    machine: Machine

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus"

    def train(self, name: str, *, base: Path | None = None) -> Path:
        """The result of the last stage of a recipe."""
        sources = Sources(self.corpus, base)
        return launch(find_recipe(name), sources, self.folder / name, machine=self.machine)[-1]

    def base(self, name: str, transformer: Callable[[], Any]) -> Path:
        """A folder like a release of Wan: autoencoder and text encoder as they are, and this transformer."""
        folder = self.folder / f"{name}-base"
        if not folder.is_dir():
            fresh = folder.with_suffix(".part")
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.copytree(self.train("text-miniature"), fresh)
            shutil.copytree(self.train("vae-miniature") / "vae", fresh / "vae")
            transformer().save_pretrained(fresh / "transformer")
            fresh.rename(folder)
        return folder

    def wan(self) -> Path:
        """The base with its trained backbone."""

        def begun() -> Any:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(0)
                return backbone_of(WAN_MINIATURE)

        def trained() -> Any:
            result = self.train("wan-miniature", base=self.base("begun", begun))
            return load_backbone(WAN_MINIATURE, result, torch.float32)

        return self.base("wan", trained)

    def vace(self) -> Path:
        """The same with its trained branch."""

        def begun() -> Any:
            return with_branch(load_backbone(WAN_MINIATURE, self.wan(), torch.float32))  # pyright: ignore[reportArgumentType]

        def trained() -> Any:
            result = self.train("vace-miniature", base=self.base("branched", begun))
            return load_backbone(VACE_MINIATURE, result, torch.float32)

        return self.base("vace", trained)

    def method(self, name: str) -> Path:
        """A method from its base."""
        base = self.vace() if name == "physavatar" else self.wan()
        return self.train(f"{name}-miniature", base=base)


def pack(source: Path, home: Path) -> None:
    """Weights in half precision; the files of a release beside them."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(source, home, ignore=shutil.ignore_patterns("stage.json", "README.md"))
    for path in home.rglob("*.safetensors"):
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        if path.name == PARTS:
            assert METADATA_KEY in (metadata or {})
        state = {
            name: value.half() if value.is_floating_point() else value
            for name, value in load_file(path).items()
        }
        save_file(state, path, metadata)


def main(work: Path, people: int = PEOPLE, hours: float = HOURS, cpu: bool = False, micro: int = 32) -> None:
    """Make everything.

    Args:
        work: A folder for the corpus and the runs, some gigabytes.
        people: Of the corpus.
        hours: Of the corpus.
        cpu: Train on the processor though there is a graphics card.
        micro: Examples at once.
    """
    made = Work(work, Machine(micro=micro, cpu=cpu, save_every=100))
    if not (made.corpus / INDEX).is_file():
        work.mkdir(parents=True, exist_ok=True)
        synthesise(Corpus(people, hours, 96, 96, 25.0, SEED), made.corpus, sources=CorpusOptions())
    for name, folder in (("wan-miniature", made.wan()), ("vace-miniature", made.vace())):
        pack(folder, HOME / name)
    for name in METHODS:
        pack(made.method(name), HOME / f"{name}-miniature")
    for path in sorted(HOME.rglob("*.safetensors")):
        print(f"{path.stat().st_size / 1e6:6.1f} MB  {path.relative_to(HOME)}")


if __name__ == "__main__":
    tyro.cli(main)
