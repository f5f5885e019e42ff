"""One contract for every method of the video family: generate, train, save and load; and the table of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny
from vivavoce.errors import InputError, WeightsError
from vivavoce.features.loudness import leveled
from vivavoce.features.physical_state import WIDTH
from vivavoce.methods import METHODS, find
from vivavoce.methods.load import add_lora, load, save_parts
from vivavoce.methods.table import sizes, table
from vivavoce.video.batch import TrainingBatch
from vivavoce.video.draw import draw, frames_of
from vivavoce.video.maker import Scene
from vivavoce.video.method import Sampling
from vivavoce.video.plan import Phase, Plan
from vivavoce.video.sample.resume import Job

NAMES = ("physavatar", "actavatar", "apoavatar")
EVERY = pytest.mark.parametrize("name", NAMES)
FRAMES = 17
PLAN = Plan(base="A person speaks.", phases=(Phase(text="raises a hand", start=0.1, end=0.5),))


def scene(seed: int = 0, frames: int = FRAMES) -> Scene:
    """Random, but the same again: a photo, a speech, a pose and its state."""
    noise = np.random.default_rng(seed)
    count = int(frames * 640)
    speech = 0.2 * noise.standard_normal(count) * np.abs(np.sin(np.arange(count) / 2000))
    return Scene(
        photo=noise.integers(0, 256, (32, 32, 3), np.uint8),
        speech=leveled(speech.astype(np.float32)),
        plan=PLAN,
        frames=frames,
        fps=25.0,
        pose=noise.uniform(-1, 1, (frames, 127, 3)).astype(np.float32),
        states=noise.standard_normal((frames, WIDTH)).astype(np.float32),
    )


def clip(seed: int = 0) -> np.ndarray:
    """Frames that change slowly, the first of them the scene's photo."""
    first = scene(seed).photo.astype(np.float32)
    drift = np.linspace(0, 60, FRAMES)[:, None, None, None]
    return (first[None] + drift * np.sin(first[None] / 20)).clip(0, 255).astype(np.uint8)


def drawn(method, job, s=None, **sampling):
    s = s or scene()
    order = draw(method, s, Sampling.of(method.config, **sampling), job)
    return np.stack(list(frames_of(method, order, job)))


def batch_of(network, latents, conditions, *, sigma, noise, seed):
    """One example for training, with its masks, nothing dropped."""
    whole = replace(network.config, dropout=0.0)
    network.config, config = whole, network.config
    seeded = torch.Generator().manual_seed(seed)
    told = network.randomised(conditions, sigma, nulls={"text": torch.zeros(1, 1, 1)}, generator=seeded)
    network.config = config
    return TrainingBatch(latents, told, sigma, noise)


def trained(name, steps, *, rate=3e-3, seed=0, weights=None, **changes):
    """A tiny method after some steps on one clip with fixed noise and times, and its losses."""
    torch.manual_seed(seed)
    method = load(tiny.method(name, **changes), weights=weights)
    network = method.network.train().requires_grad_(True)
    latents, conditions = network.example(method.make, scene(), clip())
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(latents.shape, generator=generator)
    sigma = torch.tensor([0.7])
    batch = batch_of(network, latents, conditions, sigma=sigma, noise=noise, seed=2)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        terms = network.losses(batch)
        loss = torch.stack(
            [network.config.losses[term] * value.mean() for term, value in terms.items()]
        ).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    network.eval().requires_grad_(False)
    return method, losses


@EVERY
def test_the_contract(name, tmp_path):
    method = load(tiny.method(name))
    assert method.untrained == ("base", "the method's own parts")
    before = drawn(method, Job(tmp_path / "before", {}))
    assert before.shape == (FRAMES, 32, 32, 3)
    assert before.dtype == np.uint8

    method, losses = trained(name, 2)
    assert len(losses) == 2
    assert all(np.isfinite(losses))
    assert losses[1] < losses[0]
    after = drawn(method, Job(tmp_path / "after", {}))
    assert not np.array_equal(before, after)

    method.network.backbone.load_state_dict(load(tiny.method(name)).network.backbone.state_dict())
    path = tmp_path / "parts.safetensors"
    save_parts(method.network, path)
    if method.config.lora is not None:  # without an adapter the file lacks what its method wants
        with pytest.raises(WeightsError, match="it lacks: lora"):
            load(tiny.method(name), weights=path)
        add_lora(method.network)
        save_parts(method.network, path)
    again = load(tiny.method(name), weights=path)
    assert again.untrained == ("base",)
    for key, value in method.network.parts.items():
        for inner, tensor in value.state_dict().items():
            assert torch.equal(tensor, again.network.parts[key].state_dict()[inner]), f"{key}.{inner}"
    one, other = (drawn(m, Job(tmp_path / str(i), {})) for i, m in enumerate((method, again)))
    assert np.array_equal(one, other)


@EVERY
def test_one_clip_is_learned_by_heart(name):
    _, losses = trained(name, 160, rate=1e-2)
    assert min(losses) < losses[0] / 10, (losses[0], losses[-1])


BRANCHES = [(name, part) for name in NAMES for part in find(f"{name}-miniature").build().parts]


@pytest.mark.parametrize(("name", "part"), BRANCHES)
def test_every_part_matters_once_it_is_trained(name, part):
    method, _ = trained(name, 8)
    network = method.network
    latents, conditions = network.example(method.make, scene(), clip())
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(3))
    batch = batch_of(network, latents, conditions, sigma=torch.tensor([0.5]), noise=noise, seed=4)

    def told():
        with torch.no_grad():
            return network.losses(batch)

    whole = told()
    if part in network.branches:
        del network.branches[part]
    else:
        with torch.no_grad():
            for value in network.extras[part].parameters():
                value.zero_()
    rest = told()
    assert any(not torch.equal(whole[key], rest[key]) for key in whole)


@pytest.mark.parametrize(
    ("name", "base", "vace"),
    [("physavatar", 2.154e9, True), ("actavatar", 5.0e9, False), ("apoavatar", 5.0e9, False)],
)
def test_sizes_are_those_of_the_papers(name, base, vace):
    found = sizes(METHODS[name])
    assert found.base == pytest.approx(base, rel=3e-4)
    assert min(found.parts.values()) > 0
    assert (found.lora > 0) == vace


def test_the_table_names_every_method_with_its_parameters():
    text = table()
    for name, config in METHODS.items():
        assert f"\n{name}\n" in f"\n{text}"
        assert f"{config.width}x{config.height}" in text
    assert "2.154 B" in text
    assert "5.000 B" in text


def test_a_miniature_is_its_method_but_for_numbers():
    for name in NAMES:
        full, small = METHODS[name], METHODS[f"{name}-miniature"]
        assert type(full) is type(small)
        assert (full.scales, full.guidance, full.order, full.modes) == (
            small.scales,
            small.guidance,
            small.order,
            small.modes,
        )


def test_an_unknown_method_is_told_the_known_ones():
    with pytest.raises(InputError, match="no method 'sadtalker': choose one of actavatar, "):
        find("sadtalker")


def test_a_method_of_another_package_is_found(monkeypatch):
    from vivavoce import methods

    class Entry:
        def load(self):
            return replace(METHODS["actavatar-miniature"], name="theirs")

    monkeypatch.setattr(
        methods, "entry_points", lambda group: [Entry()] if group == "vivavoce.methods" else []
    )
    methods.all_methods.cache_clear()
    assert find("theirs").name == "theirs"
    monkeypatch.undo()
    methods.all_methods.cache_clear()


def test_weights_of_another_method_size_or_rate_are_refused(tmp_path):
    path = tmp_path / "parts.safetensors"
    save_parts(load(tiny.method("actavatar")).network, path)
    with pytest.raises(WeightsError, match="method 'actavatar-miniature', not 'apoavatar-miniature'"):
        load(tiny.method("apoavatar"), weights=path)
    with pytest.raises(WeightsError, match="fps 25, not 30"):
        load(tiny.method("actavatar", fps=30.0), weights=path)
    with pytest.raises(WeightsError, match="frames of 32x32, not 48x32"):
        load(tiny.method("actavatar", width=48), weights=path)


def test_full_size_without_weights_or_network_is_one_sentence(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="facebook/wav2vec2-base-960h is not on this machine"):
        load("actavatar", device="cpu")
