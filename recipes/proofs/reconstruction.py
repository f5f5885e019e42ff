"""A person from one picture, in miniature: reconstruction against the lift from the photo, hands and one's own decoder.

    python recipes/proofs/reconstruction.py

The paper's numbers (paper 003, table 3), of whole avatars that speak, on its own test set:

    variant                           HKC    SSIM   PSNR
    without the decoder fine-tuned   0.890  0.720  17.60
    without hand enhancement         0.870  0.735  18.10
    all                              0.897  0.742  18.30

    RUNS/trained/ROW-.../            a run of the trainer; for one person, PERSON in it
    RUNS/drawn/ROW-.../PERSON.png    the views as a row draws them
    OUT/reconstruction.json, .md, .png, and reconstruction-people.png

Names end in the seed and a digest of all that decides what is in them: what is there already is taken.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import UInt8
from report import Table, plain, write_report
from seen_sides import VIEWS, Eye, Views, hkc, lifted, measured, seen_hands, sheet, truth_of

from vivavoce.corpus.synth.sitter import Subject
from vivavoce.corpus.synth.views import Sitting, Sittings, sides, subjects
from vivavoce.errors import InputError, OutputError
from vivavoce.evaluation.ablation import Claim, Measure
from vivavoce.media.files import replacing
from vivavoce.progress import track
from vivavoce.splat.lhm.config import MINIATURE, LhmConfig
from vivavoce.splat.lhm.template import PersonTemplate
from vivavoce.train.machine import Machine
from vivavoce.train.recipe import Recipe
from vivavoce.train.reconstruction import (
    LHM_MINIATURE,
    LHM_PERSONAL,
    PEOPLE,
    SEED,
    Reconstruction,
    load_network,
    new_network,
    personal,
    personal_sittings,
    training_sittings,
    views_of,
)
from vivavoce.train.trainer import train

PHOTO = 768  # px of photos that are judged by
DETAIL = 3.0  # mm between the Gaussians of those who sit for them
SEEN = 288  # px of photos as the network was trained on
SAVE_EVERY = 50  # steps


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the proof is made from."""

    runs: Path = Path("build/proofs")
    """Where everything is kept on the way."""
    out: Path = Path("docs/proofs")
    """Where the table goes."""
    seeds: int = 2
    steps: int | None = None
    """Of training, over all stages; None for the recipe's own number."""
    personal_steps: int | None = None
    """The same for one person."""
    people: int = 10
    """Held-out people to judge by, at most."""
    corpus: int = PEOPLE
    """People altogether."""
    workers: int = 0
    """Processes that draw people meanwhile."""
    only: str | None = None
    """One row alone; the table is then of what is there."""


@dataclass(frozen=True)
class Untrained:
    """What needs no training."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    name: str
    title: str
    recipe: Recipe | Untrained
    config: LhmConfig | None = None
    """None for the lift."""
    begun: str | None = None
    """The row whose network is trained further, for each person alone."""
    sampling: Mapping[str, Any] = field(default_factory=dict)


def table(
    config: LhmConfig = MINIATURE, *, steps: int | None = None, personal_steps: int | None = None
) -> Table:
    """The four rows."""
    recipe, own = shortened(LHM_MINIATURE, steps), shortened(LHM_PERSONAL, personal_steps)
    plain_config = replace(config, hands=None)
    at = {"front": "0", "right": "+20", "left": "-20"}
    quality = [f"{kind}_{view}" for kind in ("psnr", "ssim") for view in VIEWS]
    paper = {"psnr": "18.30 against 17.60", "ssim": "0.742 against 0.720"}
    return Table(
        name="reconstruction",
        title="A person from one picture",
        paper="paper 003, table 3",
        variants=(
            Row("lift", "lift from the photo", Untrained()),
            Row("plain", "reconstruction", recipe, plain_config),
            Row("hands", "reconstruction, Hand++", recipe, config),
            Row("personal", "the same, fine-tuned for the person", personal(own, config), config, "hands"),
        ),
        measures=(
            *(Measure(f"psnr_{view}", f"PSNR at {at[view]}°, dB", "high", digits=2) for view in VIEWS),
            *(Measure(f"ssim_{view}", f"SSIM at {at[view]}°", "high") for view in VIEWS),
            Measure("hand", "PSNR of hands, dB", "high", digits=2),
            Measure("hkc", "HKC", "high"),
        ),
        claims=(
            *(Claim(name, "hands", "lift", "") for name in quality),
            *(Claim(name, "personal", "hands", paper[name[:4]]) for name in quality),
            Claim("hand", "hands", "plain", ""),
            Claim("hkc", "hands", "plain", "0.897 against 0.870"),
        ),
        notes=_NOTES,
    )


_NOTES = (
    "People of the synthetic corpus who were held out, one photo of each, lips shut, before white. All pictures are "
    "judged at 96 px on white, which is most of each; their true ones are drawn at 768 px and averaged down.",
    "The reconstruction sees the photo at 288 px and is told joints, face and pose as they are, as LHM is told those "
    "of SMPL-X; how thick the body is, clothes, hair and all colours it has from the photo.",
    "The lift is told nothing but the photo, at 768 px with its true matte, and works at 512 px. It stands as in the "
    "photo, which its colours are fitted to. For the sides it is turned about the vertical axis at the depth behind "
    "the face, of 13 up to 24 cm, that gives it the best PSNR.",
    "Fine-tuned on the photo and 60 frontal views of the person in other poses, as a teacher's clips would show; "
    "never from the side. The paper's PSNR and SSIM are of whole clips.",
    "PSNR of hands: over the outlines of both hands' keypoints and 3 px around, all three views together. HKC: mean "
    "probability that the hands' points within the picture are seen, by this project's reader in place of DWPose.",
)


def shortened(recipe: Recipe, steps: int | None) -> Recipe:
    """With about so many steps, shared among the stages as before; None for the recipe as it is."""
    if steps is None:
        return recipe
    total = sum(stage.steps for stage in recipe.stages)
    counts = [max(1, round(stage.steps * steps / total)) for stage in recipe.stages]
    stages = [
        replace(stage, steps=count, warmup=min(stage.warmup, count // 10))
        for stage, count in zip(recipe.stages, counts, strict=True)
    ]
    return replace(recipe, stages=tuple(stages))


def prove(given: Table, options: Options, *, eye: Eye) -> dict[str, Any]:
    """Train and draw what is not there yet, and write the table; its record comes back.

    Raises InputError for a row that there is none of, and as the trainer does.
    """
    names = [row.name for row in given.variants]
    if options.only is not None and options.only not in names:
        raise InputError(f"{given.name} has no row {options.only!r}: choose one of {', '.join(names)}.")
    bench = Bench(given, options)
    drawn: dict[str, dict[int, dict[str, Views]]] = {name: {} for name in names}
    for row in given.variants:
        for seed in range(options.seeds):
            found = bench.views(row, seed, make=options.only in (None, row.name))
            if found is not None:
                drawn[row.name][seed] = found
    results = {
        name: {
            seed: {s.name: plain(measured(s, views.get(s.name), eye)) for s in bench.held}
            for seed, views in by_seed.items()
        }
        for name, by_seed in drawn.items()
    }
    truth = {s.name: {"hkc": hkc(s, truth_of(s), eye)} for s in bench.held}
    keys = [s.name for s in bench.held]
    record = write_report(given, results, truth, clips=keys, out=options.out, settings=bench.settings)
    first = [by_seed[0] for by_seed in drawn.values() if 0 in by_seed]
    _write(sheet(bench.held[:4], first), options.out / f"{given.name}-people.png")
    return record


class Bench:
    """Where networks are trained, and held-out people drawn."""

    def __init__(self, given: Table, options: Options) -> None:
        self._rows = {row.name: row for row in given.variants}
        self._options = options
        away = subjects(options.corpus, SEED)[1]
        places = np.linspace(0, len(away) - 1, min(options.people, len(away))).round().astype(int)
        self.people = [away[place] for place in places]
        sittings = Sittings(self.people, each=1, plan=sides, photo=PHOTO, detail=DETAIL, drawn=PHOTO)
        self._held = sittings.fingerprint
        self.held = [sittings[i] for i in track(range(len(sittings)), "Drawing held-out people")]
        self._training = training_sittings(options.corpus)
        self._template = functools.cache(PersonTemplate().sample)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the table, as a reader of it wants to know it."""
        recipes = {row.name: row.recipe for row in self._rows.values() if isinstance(row.recipe, Recipe)}
        return {
            "people trained on": len(subjects(self._options.corpus, SEED)[0]),
            "held-out people": len(self.held),
            "steps": sum(stage.steps for stage in recipes["hands"].stages),
            "steps for one person": sum(stage.steps for stage in recipes["personal"].stages),
        }

    def views(self, row: Row, seed: int, *, make: bool) -> dict[str, Views] | None:
        """The held-out people as a row draws them, by name; None where they are not there and not to be made.

        Of those whom the lift finds no face of there is nothing.
        """
        name = self._name(row.name, seed, [self._training_of(row, seed), self._held])
        folder = self._options.runs / "drawn" / name
        done = folder / "done"
        if not done.is_file():
            if not make:
                return None
            for subject, sitting in zip(self.people, self.held, strict=True):
                path = folder / f"{sitting.name}.png"
                views = None if path.is_file() else self._drawn(row, seed, subject, sitting)
                if views is not None:
                    _write(np.concatenate(list(views), axis=1), path)
            _make(folder)
            done.touch()
        paths = {sitting.name: folder / f"{sitting.name}.png" for sitting in self.held}
        return {key: _read(path) for key, path in paths.items() if path.is_file()}

    def _drawn(self, row: Row, seed: int, subject: Subject, sitting: Sitting) -> Views | None:
        if row.config is None:
            return lifted(sitting)
        network = new_network(row.config, seed)
        load_network(network, self._trained(row, seed, subject))
        return views_of(network.eval(), self._template(row.config.points), as_seen(sitting))

    def _trained(self, row: Row, seed: int, subject: Subject) -> Path:
        """The result of a row's last stage, for one person where it is so."""
        assert row.config is not None
        assert isinstance(row.recipe, Recipe)
        recipe = replace(row.recipe, seed=seed)
        folder = self._options.runs / "trained" / self._name(row.name, seed, self._training_of(row, seed))
        begun, sittings = None, self._training
        if row.begun is not None:
            begun = self._trained(self._rows[row.begun], seed, subject)
            folder, sittings = folder / subject.name, personal_sittings(subject)
        _make(folder)
        run = Reconstruction(recipe, sittings, config=row.config, begun=begun)
        micro = max(stage.batch for stage in recipe.stages)
        machine = Machine(micro=micro, save_every=SAVE_EVERY, workers=self._options.workers)
        return train(recipe, run.build, data=run.data, folder=folder, machine=machine)[-1]

    def _training_of(self, row: Row, seed: int) -> list[Any]:
        """All that decides a row's weights."""
        begun = None if row.begun is None else self._training_of(self._rows[row.begun], seed)
        config = None if row.config is None else asdict(row.config)
        return [asdict(row.recipe), config, self._training.fingerprint, begun]

    @staticmethod
    def _name(row: str, seed: int, decided_by: Any) -> str:
        record = json.dumps(decided_by, sort_keys=True)
        return f"{row}-{seed}-{hashlib.sha256(record.encode()).hexdigest()[:12]}"


def as_seen(sitting: Sitting) -> Sitting:
    """With the photo as large as those that the network was trained on."""
    import cv2

    photo = sitting.photo
    image, alpha = (
        cv2.resize(part, (SEEN, SEEN), interpolation=cv2.INTER_AREA) for part in (photo.image, photo.alpha)
    )
    return replace(sitting, photo=replace(photo, image=image, alpha=alpha))


def _read(path: Path) -> Views:
    import cv2

    picture = cv2.imread(str(path))
    if picture is None:
        raise InputError(f"{path} is damaged: delete it, and it is drawn again.")
    return np.stack(np.split(picture[..., ::-1], len(VIEWS), axis=1))


def _write(picture: UInt8[np.ndarray, "H W 3"], path: Path) -> None:
    import cv2

    _make(path.parent)
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({error.strerror}): choose another."
        ) from error


def main(options: Options) -> None:
    """Make the table."""
    given = table(steps=options.steps, personal_steps=options.personal_steps)
    prove(given, options, eye=seen_hands)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
