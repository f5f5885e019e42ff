"""Cached examples: what a network makes of each span, made once, and made again only where it must be."""

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import made
import numpy as np
import pytest
import torch
from safetensors import safe_open

import tiny
from vivavoce.corpus import cache as module
from vivavoce.corpus.cache import CachedExamples
from vivavoce.corpus.cuts import Cutter
from vivavoce.corpus.shard_clips import Shards
from vivavoce.corpus.shards import write_shard
from vivavoce.errors import InputError, OutputError
from vivavoce.methods.load import load
from vivavoce.video.example import example_of

LENGTH = {"physavatar": 13, "actavatar": 9, "apoavatar": 9}
FRAMES = 9
EVERY = pytest.mark.parametrize("name", ["physavatar", "actavatar", "apoavatar"])
ROUNDING = 2.0**-11


@functools.cache
def method(name):
    torch.manual_seed(0)
    return load(tiny.method(name))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return [made.sample(folder, 21, seed, text=f"Person {seed}.") for seed in range(2)]


@pytest.fixture(scope="module")
def source(tmp_path_factory, files):
    """Two clips; nobody changes them."""
    return shards(tmp_path_factory.mktemp("shards"), files)


def shards(folder, files):
    write_shard(folder / "shard-000000.tar", [(f"{i}", sample) for i, sample in enumerate(files)])
    return Shards(folder)


def cached(folder, source, name="actavatar", *, frames=None, spans=2, network=None, make=None, **options):
    m = method(name)
    return CachedExamples(
        source,
        network or m.network,
        make or m.make,
        folder,
        frames=frames or LENGTH[name],
        spans=spans,
        **options,
    )


@pytest.fixture(scope="module")
def ready(tmp_path_factory, source):
    """A folder with ActAvatar's examples, to be copied."""
    folder = tmp_path_factory.mktemp("ready")
    cached(folder, source)
    return folder


@pytest.fixture
def copy(ready, tmp_path):
    return shutil.copytree(ready, tmp_path / "copy")


def written(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}


def tensors(example):
    kinds = {"": {"latents": example.latents, **example.conditions}, **example.given}
    return {f"{kind} {name}": value for kind, told in kinds.items() for name, value in told.items()}


@EVERY
def test_an_example_is_what_the_network_makes_of_its_span(tmp_path, source, name):
    examples, m, length = cached(tmp_path, source, name), method(name), LENGTH[name]
    assert len(examples) == 4
    cutter = Cutter.of(m.config, frames=length, spans=2)
    number = 0
    for i in range(2):
        clip = source[i]
        for cut in cutter.cuts(clip.name, len(clip)):
            scene = clip.scene(m.config, photo=cut.photo)
            frames = clip.frames(cut.first, length, size=(32, 32))
            told = example_of(m.network, m.make, scene=scene, frames=frames, name="x", first=cut.first)
            wanted = tensors(told)
            found = tensors(examples[number])
            assert found.keys() == wanted.keys()
            for key, value in found.items():
                assert value.dtype == wanted[key].dtype, key
                tolerance = {"rtol": ROUNDING, "atol": 2.0**-24}
                torch.testing.assert_close(value, wanted[key], **tolerance, msg=f"{name} {key}")
            assert examples[number].name == f"{clip.name} from frame {cut.first}"
            number += 1
    assert set(examples[0].given) == ({"before", "between"} if name == "physavatar" else {"before"})


@EVERY
def test_a_cached_example_is_trained_on(tmp_path, source, name):
    from vivavoce.train.stage import Stage
    from vivavoce.train.video_task import VideoTask

    examples = cached(tmp_path, source, name)
    stage = Stage(name="one", steps=1, rate=1e-3, batch=2, trains=("*",), given={"before": 0.5})
    task = VideoTask(load(tiny.method(name)), stage)
    generators = [torch.Generator().manual_seed(i) for i in range(4)]
    terms = task.losses(task.batch([examples[i] for i in range(4)], generators))
    for values in terms.values():
        assert values.shape == (4,)
        assert values.isfinite().all()


def test_a_later_chunk_begins_with_what_was_given(copy, source):
    """The masks by their definition, and the frames that the VAE was shown."""
    example = cached(copy, source)[0]
    assert example.conditions["image"][0].tolist() == [1, 0, 0]  # the photo
    assert example.given["before"]["image"][0].tolist() == [1, 1, 0]  # five frames are two latents
    given = example.given["before"]["given.latents"]
    torch.testing.assert_close(given[:, :, :2], example.latents[:, :, :2], rtol=2e-3, atol=2e-3)
    first = example.conditions["given.latents"][:, :, :1]
    torch.testing.assert_close(first, example.latents[:, :, :1], rtol=2e-3, atol=2e-3)


def test_drawn_poses_are_kept_exactly_as_bytes(tmp_path, source):
    examples = cached(tmp_path, source, "apoavatar")
    pose = examples[0].conditions["pose"]
    assert pose.shape == (1, 3, FRAMES, 32, 32)
    m, clip = method("apoavatar"), source[0]
    cut = Cutter.of(m.config, frames=FRAMES, spans=2).cuts(clip.name, 21)[0]
    scene = clip.scene(m.config, first=cut.first, count=FRAMES, photo=cut.photo)
    _, conditions = m.network.example(m.make, scene, clip.frames(cut.first, FRAMES, size=(32, 32)))
    assert torch.equal(pose, conditions["pose"])
    path = next(tmp_path.glob("*.safetensors"))
    with safe_open(path, "pt") as file:
        kinds = {key: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert kinds["0/conditions/pose"] == torch.uint8
    assert kinds["0/latents/latents"] == torch.float16


def test_what_half_precision_cannot_hold_stays_whole():
    for value in (torch.tensor([1e6, 1.0]), torch.tensor([65505.0])):
        assert torch.equal(module._restored(module._stored(value)), value)
    value = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    assert module._stored(value).dtype == torch.float16
    assert ((module._restored(module._stored(value)) - value).abs() <= ROUNDING * value.abs()).all()
    for whole in (torch.tensor([1, 2]), torch.tensor([True, False])):
        assert torch.equal(module._restored(module._stored(whole)), whole)
        assert module._restored(module._stored(whole)).dtype == whole.dtype
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(module._stored(levels.float() / 127.5 - 1), levels)


def test_what_is_there_is_not_made_again(ready, copy, source, monkeypatch):
    before = written(copy)
    assert len(before) == 2
    monkeypatch.setattr(module, "example_of", None)  # to be called is an error
    one, other = cached(ready, source), cached(copy, source)
    assert written(copy) == before
    assert other.fingerprint == one.fingerprint
    assert torch.equal(other[3].latents, one[3].latents)


def test_what_does_not_decide_an_example_leaves_it(copy, source, monkeypatch):
    fingerprint = cached(copy, source).fingerprint
    network = load(tiny.method("actavatar")).network
    with torch.no_grad():
        next(network.parameters()).add_(1.0)
    monkeypatch.setattr(module, "example_of", None)
    config = network.config
    for changes in (
        {"steps": 7, "dropout": 0.5},
        {"gamma": 0.0},
        {"losses": {"flow": 2.0}},
        {"name": "ablation"},
    ):
        network.config = replace(config, **changes)
        assert cached(copy, source, network=network).fingerprint == fingerprint


def test_no_order_of_a_set_decides_an_example():
    one = "pose"
    other = next(x for x in map(str, range(100)) if list(frozenset((one, x))) != list(frozenset((x, one))))
    network, make = load(tiny.method("actavatar")).network, method("actavatar").make
    digests = set()
    for modes in ((one, other), (other, one)):
        network.config = replace(network.config, modes=frozenset(modes))
        digests.add(module._digest_of(network, make))
    assert len(digests) == 1


@pytest.mark.parametrize("what", ["prompt", "vae", "text", "frames", "spans", "seed", "clip"])
def test_whatever_decides_an_example_makes_another(copy, source, files, what, tmp_path):
    one = cached(copy, source)
    m, theirs, options = load(tiny.method("actavatar")), method("actavatar").make, {}
    m.make.vae.load_state_dict(theirs.vae.state_dict())
    m.make.text_encoder.model.load_state_dict(theirs.text_encoder.model.state_dict())
    if what == "prompt":
        m.network.config = replace(m.config, prompt="Someone sings.")
    elif what in ("vae", "text"):
        model = m.make.vae if what == "vae" else m.make.text_encoder.model
        with torch.no_grad():
            list(model.parameters())[-1].view(-1)[-1] += 1e-3
    elif what == "clip":
        meta = {**json.loads(files[0]["json"]), "plan": {"base": "Another person."}}
        source = shards(tmp_path, [{**files[0], "json": json.dumps(meta).encode()}, files[1]])
    else:
        options = {"frames": {"frames": 13}, "spans": {"spans": 1}, "seed": {"seed": 1}}[what]
    other = cached(copy, source, network=m.network, make=m.make, **options)
    assert other.fingerprint != one.fingerprint
    assert len(written(copy)) == (3 if what == "clip" else 4)


def test_a_stopped_run_goes_on_where_it_was(ready, tmp_path, source, monkeypatch):
    make, calls = module.example_of, []

    def stopping(*given, **named):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return make(*given, **named)

    monkeypatch.setattr(module, "example_of", stopping)
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path / "part", source)
    assert len(written(tmp_path / "part")) == 1
    (tmp_path / "part" / ".vivavoce-12.safetensors").write_bytes(b"half")
    monkeypatch.setattr(module, "example_of", make)
    on = cached(tmp_path / "part", source)
    assert on.fingerprint == cached(ready, source).fingerprint
    contents = [{p.name: p.read_bytes() for p in folder.iterdir()} for folder in (tmp_path / "part", ready)]
    assert contents[0] == contents[1]


def test_a_damaged_file_is_made_again_or_told(copy, source):
    examples = cached(copy, source)
    path = min(copy.iterdir())
    path.write_bytes(path.read_bytes()[:-9])
    number = next(i for i in range(4) if examples._places[i].path == path)
    with pytest.raises(InputError, match=r"The example shard-000000\.tar/\d from frame \d+ cannot be read"):
        examples[number]
    with pytest.warns(UserWarning, match="is damaged and is made again"):
        again = cached(copy, source)
    assert again[number].latents.isfinite().all()


def test_a_broken_clip_is_left_out_and_told(copy, files, source, tmp_path):
    broken = shards(tmp_path, [{**files[0], "mp4": files[0]["mp4"][:2000]}, files[1]])
    found = cached(copy, broken, most_bad=0.5)
    assert list(found.bad) == ["shard-000000.tar/0"]
    assert "cut off" in found.bad["shard-000000.tar/0"]
    whole = cached(copy, source)
    assert [found[i].name for i in range(2)] == [whole[i].name for i in (2, 3)]
    with pytest.raises(InputError, match="1 of the first 1 of 2 clips are broken"):
        cached(copy, broken)
    with pytest.raises(InputError, match="has 21 frames, and 25 are needed"):
        cached(copy, source, frames=25)


def test_values_that_are_no_numbers_are_told(tmp_path, source, monkeypatch):
    m = method("actavatar")
    network = load(tiny.method("actavatar")).network
    conditions = network.conditions

    def broken(make, scene, span):
        return {**conditions(make, scene, span), "audio": torch.full((1, 2), torch.nan)}

    monkeypatch.setattr(network, "conditions", broken)
    with pytest.raises(InputError, match=r"The example .*tar/0 from frame \d+ has audio that are not finite"):
        cached(tmp_path, source, network=network, make=m.make)


def test_a_full_disk_loses_nothing(tmp_path, source, monkeypatch):
    write, calls = Path.write_bytes, []

    def full(self, data):
        calls.extend([self] if self.suffix == ".safetensors" else [])
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match="the disk is full"):
            cached(tmp_path, source)
    assert len(list(tmp_path.iterdir())) == 1
    kept = written(tmp_path)
    cached(tmp_path, source)
    assert kept.items() <= written(tmp_path).items()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        cached(tmp_path / "file" / "cache", source)


def test_a_prompt_that_is_too_long_is_the_clips_fault(tmp_path, files):
    long = {**json.loads(files[0]["json"]), "plan": {"base": "very " * 400}}
    clips = shards(tmp_path, [{**files[0], "json": json.dumps(long).encode()}, files[1]])
    found = cached(tmp_path / "out", clips, most_bad=0.5)
    assert list(found.bad) == ["shard-000000.tar/0"]
    assert len(found) == 2
    assert np.isfinite(found[0].latents).all()
