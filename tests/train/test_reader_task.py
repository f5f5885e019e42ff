"""Training the reader: what is known of a frame moves with its disguise, and losses are what they say."""

import functools
import json

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors import safe_open

import filmed
from vivavoce.corpus.shard_clips import Shards
from vivavoce.corpus.shards import write_shard
from vivavoce.errors import InputError
from vivavoce.evaluation.reader import HEADER, WEIGHTS, load
from vivavoce.evaluation.reader_network import BODY_POINTS, HEAD_POINTS, REACH, Located, cells
from vivavoce.train import reader
from vivavoce.train.machine import Machine
from vivavoce.train.reader import Glimpse, Glimpses, ReaderTask, Wanted, mirrored
from vivavoce.train.recipe import Recipe
from vivavoce.train.stage import Stage
from vivavoce.train.task import Examples, Task
from vivavoce.train.trainer import train

CPU = torch.device("cpu")
STAGE = Stage(name="reader", steps=2, batch=2, rate=1e-3, trains=("*",))
SIDE = {"left": 9, "right": 10}


@functools.cache
def _task():
    torch.manual_seed(0)
    return ReaderTask(STAGE, CPU, people=3, told={"made by": "a test"})


def _generators(count, seed=0):
    return [torch.Generator().manual_seed(100 * seed + k) for k in range(count)]


def _glimpse(person=1):
    """Somebody whose every read point is a white pixel of its own on black."""
    rng = np.random.default_rng(0)
    points = np.zeros((127, 3), np.float32)
    points[:, :2] = rng.uniform(-0.4, 0.4, (127, 2))
    points[:5, :2] = rng.uniform(-0.05, 0.05, (5, 2))
    points[HEAD_POINTS[5:], :2] = rng.uniform(-0.1, 0.1, (4, 2))
    points[:, 2] = 1
    frames = np.zeros((2, 96, 96, 3), np.uint8)
    return Glimpse("one", frames, points, 0.2, np.array([0.1, 0.2, 0.3], np.float32), person)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return filmed.shards(tmp_path_factory.mktemp("shards"), (0, 1), 0.6)


def test_the_task_and_its_data_are_what_the_trainer_takes(clips):
    assert isinstance(_task(), Task)
    assert isinstance(Glimpses(clips, each=2), Examples)


def test_glimpses_are_frames_of_the_clips_with_their_truth(clips):
    glimpses = Glimpses(clips, each=3, seed=1)
    assert (len(glimpses), glimpses.people) == (6, 2)
    for place in (0, 4):
        name, number = glimpses[place].name.rsplit("@", 1)
        clip, t = clips[place // 3], int(number)
        assert name == clip.name
        frames = clip.frames()
        np.testing.assert_array_equal(glimpses[place].frames, frames[[t, t + 2]])
        np.testing.assert_array_equal(glimpses[place].keypoints, clip.truth["keypoints"][t])
        assert glimpses[place].aperture == pytest.approx(clip.truth["aperture"][t])
        assert glimpses[place].person == place // 3


def test_glimpses_of_other_frames_have_another_fingerprint(clips):
    prints = {Glimpses(clips, each=each, seed=seed).fingerprint for each, seed in ((2, 0), (3, 0), (2, 1))}
    assert len(prints) == 3
    assert Glimpses(clips, each=2).fingerprint in prints


def test_clips_of_which_nothing_is_known_are_refused(tmp_path):
    bare = {name: data for name, data in filmed.files(0, 0.6).items() if name != "truth.npz"}
    write_shard(tmp_path / "shard-000000.tar", [("0", bare)])
    with pytest.raises(InputError, match="does not tell what is in its pictures"):
        Glimpses(Shards(tmp_path), each=2)


def test_a_clip_that_is_too_short_is_refused(clips):
    with pytest.raises(InputError, match="has 15 frames, and 18 are needed"):
        Glimpses(clips, each=16)


def test_frames_of_actions_are_taken_oftener(tmp_path):
    stored = dict(filmed.files(0))
    told = json.loads(stored["json"])
    told["actions"] = [{"name": "nod", "text": "nods", "start": 0.0, "end": 0.8}]
    write_shard(tmp_path / "shard-000000.tar", [("0", stored | {"json": json.dumps(told).encode()})])
    clips = Shards(tmp_path)
    numbers = [
        int(glimpse.name.rsplit("@", 1)[1])
        for seed in range(24)
        for glimpse in Glimpses(clips, each=6, seed=seed)
    ]
    assert max(numbers) <= 47
    assert len(set(numbers)) > 35
    acting = np.mean(np.array(numbers) < 20)  # 20 of 48 frames, each three times as likely
    assert 0.55 < acting < 0.78


def test_the_mirrored_left_hand_is_the_right_one():
    points = torch.from_numpy(_glimpse().keypoints)[None]
    found = mirrored(points)
    sign = torch.tensor([-1.0, 1, 1])
    for here, there in ((5, 6), (9, 10), (1, 2), (85 + 8, 106 + 8), (77, 81), (0, 0), (79, 79)):
        torch.testing.assert_close(found[0, here], points[0, there] * sign)
    torch.testing.assert_close(mirrored(found)[:, BODY_POINTS], points[:, BODY_POINTS])


def test_batches_are_alike_whatever_they_are_batched_with():
    glimpse, task = _glimpse(), _task()
    both = task.batch([glimpse, glimpse], _generators(2))
    second = task.batch([glimpse], _generators(2)[1:])
    torch.testing.assert_close(both.pictures[1:], second.pictures, atol=1e-5, rtol=0)
    torch.testing.assert_close(both.body.points[1:], second.body.points)
    assert not torch.allclose(both.body.points[0], both.body.points[1])


def test_what_is_known_moves_with_the_picture():
    """Discs drawn at three points of the body are found where the batch says that these are."""
    glimpse = _glimpse()
    y, x = np.mgrid[:96, :96]
    for channel, point in enumerate((9, 10, 5)):
        at = (glimpse.keypoints[point, :2] + 1) * 48 - 0.5
        disc = 255 * np.exp(-0.5 * ((x - at[0]) ** 2 + (y - at[1]) ** 2) / 3**2)
        glimpse.frames[..., channel] = disc.astype(np.uint8)
    batch = _task().batch([glimpse] * 12, _generators(12, seed=5))
    mirrors = 0
    for k in np.flatnonzero(batch.somebody.numpy()):
        colors = (
            batch.pictures[k].double()
            - batch.pictures[k].double().flatten(1).quantile(0.9, dim=1)[:, None, None]
        )
        tops = [divmod(int(c.argmax()), 96) for c in colors]
        tops = np.array([[2 * (column + 0.5) / 96 - 1, 2 * (row + 0.5) / 96 - 1] for row, column in tops])
        places = batch.body.points[k, [9, 10, 5]].numpy()
        swapped = batch.body.points[k, [10, 9, 6]].numpy()
        plain, mirror = np.abs(tops - places).max(), np.abs(tops - swapped).max()
        assert min(plain, mirror) < 0.08
        mirrors += mirror < plain
        sign = -1 if mirror < plain else 1
        torch.testing.assert_close(batch.angles[k], torch.tensor([0.1 * sign, 0.2, 0.3 * sign]))
    assert 2 <= mirrors <= 10


def test_points_of_the_closer_look_are_seen_from_its_centre():
    batch = _task().batch([_glimpse()] * 8, _generators(8, seed=2))
    shared = batch.head.points[:, :5] * REACH + batch.centre[:, None]
    torch.testing.assert_close(shared[batch.somebody], batch.body.points[:, :5][batch.somebody])
    away = batch.centre - batch.body.points[:, :5].mean(1)
    assert 0.01 < away[batch.somebody].abs().max() <= 0.06 + 1e-6


def test_points_that_are_cut_off_are_not_seen():
    glimpse = _glimpse()
    glimpse.keypoints[9], glimpse.keypoints[10, :2] = 0, (0.999, 0)
    batch = _task().batch([glimpse] * 40, _generators(40, seed=3))
    cut = [
        bool(seen) and float(point.abs().max()) > 1
        for points, row in zip(batch.body.points, batch.body.seen, strict=True)
        for point, seen in zip(points, row, strict=True)
    ]
    assert not any(cut)
    assert (~batch.body.seen[:, [9, 10]]).any(1).all()
    assert batch.body.seen[:, [9, 10]].any(1).float().mean() > 0.2


def test_where_nobody_is_only_visibility_counts():
    batch = _task().batch([_glimpse()] * 80, _generators(80, seed=4))
    nobody = ~batch.somebody
    assert nobody.any()
    with torch.no_grad():
        terms = _task().losses(batch)
    for name, term in terms.items():
        assert term.shape == (80,)
        assert (term[nobody] == 0).all() != name.endswith("seen")
    assert set(terms) == set(_task().weights)


def test_losses_of_points_are_those_of_the_formulas():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((1, 2, 6, 8))
    points, wanted = rng.uniform(-0.5, 0.5, (2, 1, 2, 2))
    seen = np.array([[0.3, -1.2]])
    found = Located(*(torch.from_numpy(v) for v in (points, logits, seen)))
    terms = reader._located(
        found, Wanted(torch.from_numpy(wanted), torch.tensor([[True, False]])), torch.tensor([3.0, 1.0])
    )
    x, y = cells(8).double().numpy(), cells(6).double().numpy()
    away = ((x[None] - wanted[0, 0, 0]) * 4) ** 2 + ((y[:, None] - wanted[0, 0, 1]) * 3) ** 2
    bell = np.exp(-away / (2 * 0.8**2))
    bell /= bell.sum()
    log_share = logits[0, 0] - np.log(np.exp(logits[0, 0]).sum())
    assert terms["heat"].item() == pytest.approx(-(bell * log_share).sum(), rel=1e-5)
    assert terms["points"].item() == pytest.approx(np.abs(points[0, 0] - wanted[0, 0]).sum(), rel=1e-5)
    sure = np.array([np.log1p(np.exp(-0.3)), np.log1p(np.exp(-1.2))])
    assert terms["seen"].item() == pytest.approx(sure.mean(), rel=1e-5)


def test_a_person_in_the_right_direction_costs_less():
    task, batch = _task(), _task().batch([_glimpse(1)], _generators(1))
    looks = task.module.reader(batch.pictures, batch.centre).identity.detach()
    before = task.module.people.detach().clone()
    with torch.no_grad():
        task.module.people[1] = looks[0]
        right = task.losses(batch)["identity"].item()
        task.module.people.copy_(before)
        task.module.people[0] = looks[0]
        wrong = task.losses(batch)["identity"].item()
        task.module.people.copy_(before)
    cosines = torch.nn.functional.normalize(before, dim=1) @ looks[0]
    cosines[1] = 1.0 - 0.2
    assert right == pytest.approx((16 * cosines).logsumexp(0).item() - 16 * 0.8, abs=1e-3)
    assert wrong > right + 5


def test_the_trainer_trains_it_and_its_result_can_be_read(clips, tmp_path):
    AcceleratorState._reset_state(reset_partial_state=True)
    glimpses = Glimpses(clips, each=4)

    def build(stage, device):
        torch.manual_seed(0)
        return ReaderTask(stage, device, people=glimpses.people, told={"made by": "a test"})

    (folder,) = train(
        Recipe("reader", (STAGE,)),
        build,
        data=lambda stage: glimpses,
        folder=tmp_path,
        machine=Machine(cpu=True),
    )
    network = load(folder / WEIGHTS.name)
    fresh = build(STAGE, CPU)
    before = fresh.module.reader.body.inlet.weight.detach().clone()
    fresh.load(folder)
    torch.testing.assert_close(fresh.module.reader.body.inlet.weight, network.body.inlet.weight)
    assert not torch.allclose(before, network.body.inlet.weight, atol=1e-4)
    with safe_open(folder / WEIGHTS.name, "pt") as file:
        assert json.loads(file.metadata()[HEADER]) == {"steps": 2, "batch": 2, "made by": "a test"}
