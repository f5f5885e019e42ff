"""Training the large reconstruction: its losses against formulas, that they fall, and what a run is made of."""

import json
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
import torch
from safetensors import safe_open

from vivavoce.corpus.synth.views import Sittings, subjects
from vivavoce.errors import InputError, WeightsError
from vivavoce.features.focus import focus_of
from vivavoce.losses.photometric import oriented_structure
from vivavoce.splat.deform import deform
from vivavoce.splat.lhm.config import MINIATURE, DecoderConfig, HandsConfig, PyramidConfig
from vivavoce.splat.lhm.network import LargeReconstruction
from vivavoce.splat.lhm.template import PersonTemplate
from vivavoce.splat.rasterize import covariance_from_quats_scales, rasterize
from vivavoce.train.randomness import generator
from vivavoce.train.reconstruction import (
    HEADER,
    LHM_MINIATURE,
    LHM_PERSONAL,
    NETWORK,
    WEIGHTS,
    Reconstruction,
    ReconstructionTask,
    load_network,
    new_network,
    personal,
    views_of,
)

EYE = PyramidConfig(width=16, layers=1, heads=2, patch=8, trained=32, side=32, taps=(0,), out=16)
TINY = replace(
    MINIATURE,
    layers=2,
    points=256,
    width=32,
    heads=2,
    condition=16,
    frequencies=4,
    head=EYE,
    body=EYE,
    hands=HandsConfig(width=16, layers=1, heads=2, patch=8, crop=(16, 16)),
    decoder=DecoderConfig(
        hidden=32, largest=0.1, largest_above=0.08, initial_scale=-3.2, initial_opacity=0.6
    ),
)


@pytest.fixture(scope="module")
def sittings():
    return Sittings(subjects(4, 0)[0], each=1, photo=64, size=48, detail=12.0, drawn=96)


@pytest.fixture(scope="module")
def template():
    return PersonTemplate().sample(TINY.points)


def task_of(template, config=TINY, seed=0):
    return ReconstructionTask(new_network(config, seed), template)


def batch_of(task, sittings):
    return task.batch([sittings[k] for k in range(2)], [generator(0, 0, 0, k) for k in range(2)])


def drawn_anew(found, template, sitting):
    """Pictures and alpha by the kernels that avatars are drawn with."""
    g = {name: value.detach().numpy() for name, value in found.items()}
    covariances = covariance_from_quats_scales(g["quats"], g["scales"])
    images, alphas = [], []
    for view in sitting.views:
        means, moved = deform(g["means"], covariances, template.binding, view.pose)
        R, t = view.extrinsics[:, :3].astype(float), view.extrinsics[:, 3]
        full = R @ moved[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3) @ R.T
        rows, columns = np.triu_indices(3)
        drawing = rasterize(
            (means @ R.T + t).astype(np.float32), full[:, rows, columns].astype(np.float32),
            g["opacities"], g["colors"], sitting.camera,
            background=np.ones(3, np.float32), backend="cpu", eps2d=1 / 12,
        )  # fmt: skip
        images.append(drawing.image)
        alphas.append(drawing.alpha)
    return np.stack(images).astype(float), np.stack(alphas).astype(float)


def test_the_losses_are_their_formulas(sittings, template):
    task = task_of(template)
    with torch.no_grad():
        for parameter in task.module.decoder.parameters():  # which is the same everywhere at the start
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        batch = batch_of(task, sittings)
        terms = {name: term.tolist() for name, term in task.losses(batch).items()}
        gaussians = task.module(batch.photos, template)
    for k in range(2):
        found = {name: value[k] for name, value in gaussians.items()}
        image, alpha = drawn_anew(found, template, sittings[k])
        views = sittings[k].views
        wanted = np.stack([view.image for view in views]) / 255
        focus = focus_of(np.stack([view.keypoints for view in views]), 48, 48).astype(float)
        error = np.abs(image - wanted).mean(-1)
        by_view = (error * focus).sum((1, 2)) / focus.sum((1, 2))
        assert terms["pixels"][k] == pytest.approx(by_view.mean(), rel=1e-3)
        covered = np.stack([view.alpha for view in views]) / 255
        assert terms["alpha"][k] == pytest.approx(np.abs(alpha - covered).mean(), rel=1e-3)
        ours, theirs = (
            oriented_structure(torch.from_numpy(part).permute(0, 3, 1, 2).float()) for part in (image, wanted)
        )
        total = 0.0
        for a, b in zip(ours, theirs, strict=True):
            shape = (a.shape[-1], a.shape[-2])
            small = np.stack([cv2.resize(one, shape, interpolation=cv2.INTER_AREA) for one in focus])
            square = (a - b).square().mean(1).numpy()
            total += ((square * small).sum((1, 2)) / small.sum((1, 2))).mean()
        assert terms["structure"][k] == pytest.approx(total, rel=2e-3)
        scales, offsets = found["scales"].double().numpy(), found["offsets"].double().numpy()
        ratio = scales.max(1) / (scales.min(1) + 1e-6)
        assert terms["asap"][k] == pytest.approx(np.maximum(ratio - 5, 0).mean(), abs=1e-6)
        far = np.maximum(np.linalg.norm(offsets, axis=1) - 1.8 / 32, 0)
        assert terms["acap"][k] == pytest.approx(far.mean(), rel=1e-4)
        assert far.mean() > 0


def test_two_people_are_learnt(sittings, template):
    task = task_of(template)
    batch = batch_of(task, sittings)
    optimizer = torch.optim.AdamW(task.module.parameters(), 5e-3)
    seen = []
    for _ in range(30):
        terms = task.losses(batch)
        assert set(terms) == set(WEIGHTS)
        loss = sum(WEIGHTS[name] * term for name, term in terms.items())
        seen.append({name: term.mean().item() for name, term in terms.items()})
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
    for name in ("pixels", "alpha", "structure"):
        assert seen[-1][name] < 0.8 * seen[0][name], name


def test_every_part_gets_a_gradient(sittings, template):
    task = task_of(template)
    batch = batch_of(task, sittings)
    assert batch.photos.seen is not None
    assert batch.photos.seen.any()
    with torch.no_grad():
        for parameter in task.module.parameters():  # values that start at zero hide what lies before them
            parameter.add_(0.02 * torch.randn(parameter.shape))
    sum(term.sum() for term in task.losses(batch).values()).backward()
    named = dict(task.module.named_parameters())
    for name in ("decoder.heads.scale.weight", "hands.sides", "blocks.0.body.hand_keys.value.weight"):
        assert named[name].grad.abs().sum() > 0, name
    for part in ("head_encoder", "body_encoder", "embed", "condition", "modulation", "blocks.1.head"):
        gradients = [p.grad for n, p in named.items() if n.startswith(part) and p.grad is not None]
        assert sum(g.abs().sum() for g in gradients) > 0, part


def test_views_are_what_the_losses_saw(sittings, template):
    task = task_of(template)
    found = views_of(task.module, template, sittings[0])
    with torch.no_grad():
        gaussians = task.module(batch_of(task, sittings).photos, template)
    image, _ = drawn_anew({name: value[0] for name, value in gaussians.items()}, template, sittings[0])
    assert found.shape == (4, 48, 48, 3)
    assert np.abs(found - image * 255).max() < 2


def test_a_result_is_taken_over_and_no_other(template, sittings, tmp_path):
    task, other = task_of(template), task_of(template, seed=1)
    task.save(tmp_path)
    other.load(tmp_path)
    for name, value in task.module.state_dict().items():
        assert torch.equal(value, other.module.state_dict()[name]), name
    with safe_open(tmp_path / NETWORK, "pt") as file:
        assert json.loads(file.metadata()[HEADER]) == json.loads(json.dumps(asdict(TINY)))
    with pytest.raises(WeightsError, match="hand"):
        load_network(LargeReconstruction(replace(TINY, hands=None)), tmp_path)


def test_a_sample_shows_photo_truth_and_drawing(template, sittings, tmp_path):
    task = ReconstructionTask(new_network(TINY, 0), template, shown=sittings)
    task.sample(None)
    task.sample(tmp_path / "samples")
    picture = cv2.imread(str(tmp_path / "samples/0.png"))[..., ::-1]
    assert picture.shape == (96, 5 * 48, 3)
    assert np.array_equal(picture[:48, 48:96], sittings[0].views[0].image)
    assert np.array_equal(picture[48:, 48:96], views_of(task.module, template, sittings[0])[0])


def test_a_run_begins_the_same_or_with_what_was_trained(sittings, template, tmp_path):
    recipe = replace(LHM_MINIATURE, seed=3)
    run = Reconstruction(recipe, sittings, config=TINY)
    stage, device = recipe.stages[0], torch.device("cpu")
    one, other = run.build(stage, device), run.build(stage, device)
    weights = one.module.state_dict()
    assert all(torch.equal(value, other.module.state_dict()[name]) for name, value in weights.items())
    assert not torch.equal(new_network(TINY, 4).condition.weight, weights["condition.weight"])
    assert run.data(stage) is sittings
    task_of(template, seed=9).save(tmp_path)
    begun = Reconstruction(recipe, sittings, config=TINY, begun=tmp_path).build(stage, device)
    assert torch.equal(begun.module.condition.weight, new_network(TINY, 9).condition.weight)


@pytest.mark.parametrize("config", [TINY, replace(TINY, hands=None)])
def test_for_one_person_the_decoder_is_trained_and_how_hands_join(config):
    (stage,) = personal(LHM_PERSONAL, config).stages
    trained = set(stage.freeze(LargeReconstruction(config)))
    own = {name for name in trained if name.startswith("decoder.")}
    assert own == {f"decoder.{name}" for name, _ in LargeReconstruction(config).decoder.named_parameters()}
    rest = {part for name in trained - own for part in ("hands", "hand_keys") if part in name.split(".")}
    assert rest == ({"hands", "hand_keys"} if config.hands else set())
    assert not any("encoder" in name for name in trained)


def test_a_network_without_hands_refuses_the_recipe_with_them():
    with pytest.raises(InputError, match="hand_keys"):
        LHM_PERSONAL.stages[0].freeze(LargeReconstruction(replace(TINY, hands=None)))
