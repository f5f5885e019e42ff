"""The video family in training: examples, what a stage tells of them, and every method's recipe from end to end."""

import functools
from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState
from toys import MACHINE, lines

import tiny
from test_methods import EVERY, FRAMES, clip, scene
from vivavoce.errors import InputError
from vivavoce.media.provenance import read_provenance
from vivavoce.methods.load import load
from vivavoce.train.randomness import generator
from vivavoce.train.recipe import Recipe
from vivavoce.train.recipes import RECIPES
from vivavoce.train.trainer import train
from vivavoce.train.video_task import VideoTask
from vivavoce.video.example import Example, example_of


@functools.cache
def examples(name: str) -> tuple[Example, ...]:
    """Three clips; the second has no pose. Nobody changes them."""
    method = load(tiny.method(name))
    scenes = [scene(seed) for seed in range(3)]
    scenes[1] = replace(scenes[1], pose=None)
    return tuple(
        example_of(method.network, method.make, scene=s, frames=clip(i), name=f"clip-{i}")
        for i, s in enumerate(scenes)
    )


class Data:
    fingerprint = "three clips"

    def __init__(self, name: str, *, broken: int | None = None) -> None:
        self.items, self.left = examples(name), broken

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Example:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise InputError("This clip is broken.")
        return self.items[index]


def small(name: str, **changes: object) -> Recipe:
    """The method's own recipe with three steps of two examples a stage."""
    recipe = RECIPES[f"{name}-miniature"]
    numbers = {"steps": 3, "batch": 2, "warmup": 0, "rate": 1e-3, "decay": 0.0}
    return replace(recipe, stages=tuple(replace(stage, **numbers | changes) for stage in recipe.stages))


def trained(name, folder, recipe, *, data=None, scenes=(), **machine):
    AcceleratorState._reset_state(reset_partial_state=True)
    return train(
        recipe,
        lambda stage, device: VideoTask(load(tiny.method(name), device=device), stage, scenes=scenes),
        data=lambda stage: data or Data(name),
        folder=folder,
        machine=replace(MACHINE, **machine),
    )


def task(name, **changes) -> VideoTask:
    stage = replace(RECIPES[f"{name}-miniature"].stages[0], **changes)
    return VideoTask(load(tiny.method(name)), stage)


def generators(count: int) -> list[torch.Generator]:
    return [generator(0, 0, 0, place) for place in range(count)]


@EVERY
def test_an_example_is_what_its_generator_makes_of_it_in_whatever_batch(name):
    one = task(name)
    together = one.batch(examples(name), generators(3))
    places = [place for found, _ in together for place in found]
    assert sorted(places) == [0, 1, 2]
    assert len(together) == (2 if name == "apoavatar" else 1)  # a clip without a pose is of another form
    alone = [
        one.batch([example], [g])[0][1] for example, g in zip(examples(name), generators(3), strict=True)
    ]
    losses = one.losses(together)
    for place in range(3):
        group, row = next((g, found.index(place)) for found, g in together if place in found)
        assert torch.equal(group.sigma[row : row + 1], alone[place].sigma)
        assert torch.equal(group.noise[row : row + 1], alone[place].noise)
        for key, value in alone[place].conditions.items():
            assert torch.equal(group.conditions[key][row : row + 1], value), key
        for term, values in one.losses([([0], alone[place])]).items():
            assert losses[term][place].item() == pytest.approx(values.item(), rel=1e-4, abs=1e-6)
    assert len({float(batch.sigma) for batch in alone}) == 3


def test_noise_levels_are_uniform_ones_shifted_and_noise_is_normal():
    one = task("actavatar", dropout=0.0)
    shift = one.module.config.shift
    example = replace(
        examples("actavatar")[0],
        conditions={"text": torch.zeros(1, 1, 64)},
        latents=torch.zeros(1, 1, 1, 2, 2),
    )
    items = [one.batch([example], [generator(0, 0, step, 0)])[0][1] for step in range(3000)]
    sigma = torch.cat([item.sigma for item in items]).double()
    uniform = sigma / (shift - (shift - 1) * sigma)  # the inverse of flow.shifted
    assert shift == 3
    assert sigma.min() > 0
    assert sigma.max() <= 1
    histogram = torch.histc(uniform, 10, 0, 1) / 3000
    assert (histogram - 0.1).abs().max() < 5 * (0.09 / 3000) ** 0.5
    noise = torch.cat([item.noise for item in items])
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05


def test_a_share_of_the_examples_is_given_frames_as_later_chunks_are():
    two = examples("physavatar")[0]
    assert set(two.given) == {"before", "between"}
    assert set(two.given["between"]) == {"control"}
    one = task("physavatar", given={"before": 0.3, "between": 0.5}, dropout=0.0)
    controls = {
        "free": two.conditions["control"],
        **{kind: conditions["control"] for kind, conditions in two.given.items()},
    }
    counts = dict.fromkeys(controls, 0)
    for step in range(400):
        found = one.batch([two], [generator(1, 0, step, 0)])[0][1].conditions["control"]
        (kind,) = [name for name, control in controls.items() if torch.equal(control, found)]
        counts[kind] += 1
    for kind, share in {"before": 0.3, "between": 0.5, "free": 0.2}.items():
        assert abs(counts[kind] / 400 - share) < 5 * (0.25 / 400) ** 0.5
    assert set(examples("actavatar")[0].given) == {
        "before"
    }  # chunks of Wan begin with frames, and end with none
    with pytest.raises(InputError, match="Example clip-0 was not prepared to be given frames between"):
        task("actavatar", given={"between": 1.0}).batch(examples("actavatar")[:1], generators(1))


def test_what_a_stage_leaves_out_is_not_told():
    conditions = (
        task("actavatar", without=(), dropout=0.0)
        .batch(examples("actavatar")[:1], generators(1))[0][1]
        .conditions
    )
    bare = task("actavatar", dropout=0.0).batch(examples("actavatar")[:1], generators(1))[0][1].conditions
    assert set(conditions) - set(bare) == {"image", "given", "given.latents"}
    assert conditions["phases"].any()
    assert not bare["phases"].any()
    assert torch.equal(conditions["text"], bare["text"])
    states = task("physavatar", without=("states",)).batch(examples("physavatar"), generators(3))[0][1]
    assert not {"states", "audio_mask"} & set(states.conditions)
    with pytest.raises(InputError, match="Stage 'lora' leaves out sound: it can leave out audio, image, "):
        task("physavatar", without=("sound",))


def test_dropout_is_the_stages_own_where_it_has_one():
    assert task("apoavatar").module.config.dropout == tiny.method("apoavatar").dropout == 0.1
    never, always = (
        task("apoavatar", dropout=p).batch(examples("apoavatar")[:1], generators(1)) for p in (0.0, 1.0)
    )
    assert always[0][1].conditions["audio"].any().item() is False
    assert never[0][1].conditions["audio"].any().item() is True


def test_lora_is_for_methods_that_have_it():
    with pytest.raises(InputError, match="has lora, but apoavatar-miniature is trained without it"):
        task("apoavatar", lora=True)


@EVERY
def test_checkpointing_changes_no_gradient(name):
    found = []
    for checkpointing in (False, True):
        one = task(name, checkpointing=checkpointing)
        one.stage.freeze(one.module)
        one.module.train()
        torch.manual_seed(1)
        with torch.no_grad():
            for value in one.module.parameters():
                value.add_(0.05 * torch.randn_like(value))
        sum(term.sum() for term in one.losses(one.batch(examples(name), generators(3))).values()).backward()
        found.append({n: p.grad for n, p in one.module.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for key, gradient in found[0].items():
        torch.testing.assert_close(found[1][key], gradient, rtol=1e-4, atol=1e-6, msg=key)


def pretrained(name: str) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in load(tiny.method(name)).network.state_dict().items()}


def result(name, folder, stage):
    """The network as a stage left it."""
    one = VideoTask(load(tiny.method(name)), stage)
    one.load(folder)
    return one.module.state_dict()


def test_physavatar_trains_its_parts_and_lora_and_not_a_number_of_its_base(tmp_path):
    recipe, before = small("physavatar"), pretrained("physavatar")
    (folder,) = trained("physavatar", tmp_path, recipe)
    assert sorted(path.name for path in folder.iterdir()) == ["parts.safetensors", "stage.json"]
    after = result("physavatar", folder, recipe.stages[0])
    for key, value in after.items():
        if "lora_" not in key:
            plain = key.replace(".base_layer.", ".")
            assert torch.equal(value, before[plain]) == key.startswith("backbone."), key
    assert all(value.any() for key, value in after.items() if "lora_B" in key and "blocks.0.attn1" in key)
    drawing = load(tiny.method("physavatar"), weights=folder / "parts.safetensors")  # as a user would
    assert drawing.untrained == ("base",)
    assert all(torch.equal(value, after[key]) for key, value in drawing.network.state_dict().items())


def test_actavatar_trains_the_adapter_alone_and_then_everything(tmp_path):
    recipe, before = small("actavatar"), pretrained("actavatar")
    adapter, actions = trained("actavatar", tmp_path, recipe)
    assert sorted(path.name for path in adapter.iterdir()) == ["parts.safetensors", "stage.json"]
    one = result("actavatar", adapter, recipe.stages[0])
    two = result("actavatar", actions, recipe.stages[1])
    untouched = {key for key, value in one.items() if torch.equal(value, before[key])}
    assert untouched == {key for key in before if not key.startswith("branches.audio.")}
    same = {key for key, value in two.items() if torch.equal(value, one[key])}
    assert not same
    assert (actions / "transformer" / "config.json").is_file()


def test_apoavatars_second_stage_begins_with_the_pretrained_branches(tmp_path):
    """Its second stage here trains the pose alone, so that what it found is still there when it ends."""
    recipe, before = small("apoavatar"), pretrained("apoavatar")
    second = replace(recipe.stages[1], trains=("branches.pose.*",))
    first, last = trained("apoavatar", tmp_path, replace(recipe, stages=(recipe.stages[0], second)))
    one, two = result("apoavatar", first, recipe.stages[0]), result("apoavatar", last, second)
    for key in before:
        assert not torch.equal(one[key], before[key]), key
        if key.startswith("backbone."):
            assert torch.equal(two[key], before[key]), key
        elif not key.startswith("branches.pose."):
            assert torch.equal(two[key], one[key]), key
        else:
            assert not torch.equal(two[key], one[key]), key


@EVERY
def test_a_run_that_breaks_goes_on_to_the_same_weights(name, tmp_path):
    recipe = small(name)
    whole = trained(name, tmp_path / "whole", recipe)
    with pytest.raises(InputError, match="broken"):
        trained(name, tmp_path / "broken", recipe, data=Data(name, broken=5), save_every=1)
    again = trained(name, tmp_path / "broken", recipe)
    assert (tmp_path / "whole/losses.jsonl").read_bytes() == (tmp_path / "broken/losses.jsonl").read_bytes()
    for one, other, stage in zip(whole, again, recipe.stages, strict=True):
        a, b = result(name, one, stage), result(name, other, stage)
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_training_learns_and_shows_what_it_learned(tmp_path):
    recipe = small("physavatar", steps=30, rate=1e-2, dropout=0.0, given={})
    trained("physavatar", tmp_path, recipe, scenes=[scene()], sample_every=30)
    losses = [line["loss"] for line in lines(tmp_path)]
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])
    path = tmp_path / "samples" / "lora-000030" / "0.mp4"
    import av

    with av.open(str(path)) as video:
        assert sum(1 for _ in video.decode(video=0)) == FRAMES
        assert video.streams.audio
    record = read_provenance(path)
    assert record is not None
    assert record.method == "physavatar-miniature"
