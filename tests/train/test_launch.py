"""From a recipe and a folder of clips to results on the disk: every kind of model, small and for a few steps."""

from dataclasses import replace

import pytest
import torch
from corpus_clips import files_of
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from vivavoce.config import TrainOptions
from vivavoce.corpus.shards import write_shard
from vivavoce.errors import InputError
from vivavoce.methods.load import load
from vivavoce.methods.miniature import SMALL_VAE
from vivavoce.train import command
from vivavoce.train.gaussian import GAUSSIAN
from vivavoce.train.launch import Sources, config_of, launch
from vivavoce.train.machine import Machine
from vivavoce.train.recipe import Recipe
from vivavoce.train.recipes import RECIPES, TEXT_MINIATURE, VAE_MINIATURE, WAN_MINIATURE
from vivavoce.video.text import TextEncoder
from vivavoce.video.vae import encoded, from_pictures

CPU = Machine(micro=2, cpu=True)


def brief(recipe: Recipe, *, steps: int = 2, **changes) -> Recipe:
    """The recipe with steps that a test has time for."""
    small = {"steps": steps, "batch": 2, "warmup": 0, "ema": None} | changes
    return replace(recipe, stages=tuple(replace(stage, **small) for stage in recipe.stages))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    samples = [(f"{k:04d}", files_of(k, frames=17)) for k in range(3)]
    write_shard(folder / "shard-000000.tar", samples)
    return folder


def test_an_autoencoder_is_trained_and_knows_its_latents(shards, tmp_path):
    recipe = brief(VAE_MINIATURE, frames=5, spans=1)
    results = launch(recipe, Sources(shards), tmp_path / "run", machine=CPU)
    assert [path.name for path in results] == ["1-pictures", "2-video"]
    vae = AutoencoderKLWan.from_pretrained(results[-1] / "vae")
    mean, deviation = vae.config["latents_mean"], vae.config["latents_std"]
    assert len(mean) == len(deviation) == SMALL_VAE["z_dim"]
    # What a backbone sees of the footage then has mean 0 and deviation 1 in each channel.
    from vivavoce.corpus.shard_clips import Shards

    source = Shards(shards)
    seen = torch.cat([encoded(vae, from_pictures(source[k].frames(0, 5, size=(96, 96)))) for k in range(3)])
    seen = seen.transpose(0, 1).flatten(1)
    assert seen.std(1).median().item() == pytest.approx(1.0, abs=0.5)


def test_a_text_encoder_is_trained_and_loads_again(tmp_path):
    (done,) = launch(brief(TEXT_MINIATURE, steps=3), Sources(None), tmp_path / "run", machine=CPU)
    encoder = TextEncoder.load(done, length=160)
    features = encoder.encode(["A person speaks."]).features
    assert features.shape == (1, 160, 64)
    assert features.isfinite().all()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with everything that the miniatures' base has, untrained."""
    folder = tmp_path_factory.mktemp("base")
    method = load(config_of("wan-miniature"), device="cpu")
    method.network.backbone.save_pretrained(folder / "transformer")
    method.make.vae.save_pretrained(folder / "vae")
    method.make.text_encoder.save(folder)
    return folder


def test_the_base_is_trained_from_pictures_and_captions(shards, base, tmp_path):
    recipe = brief(WAN_MINIATURE, frames=9, spans=1, given={})
    results = launch(recipe, Sources(shards, base), tmp_path / "run", machine=CPU)
    assert (results[-1] / "transformer" / "config.json").is_file()
    before = load(config_of("wan-miniature"), base=base, device="cpu").network.backbone.state_dict()
    from vivavoce.methods.load import load_backbone

    after = load_backbone(config_of("wan-miniature"), results[-1], torch.float32).state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(changed) > 0.9 * len(before)


def test_a_method_is_trained_from_the_base_and_draws_with_the_result(shards, base, tmp_path):
    recipe = brief(RECIPES["actavatar-miniature"], steps=1, frames=9, spans=1, given={})
    adapter, everything = launch(recipe, Sources(shards, base), tmp_path / "run", machine=CPU)
    assert not (adapter / "transformer").exists()  # stage 1 leaves the base alone
    assert (everything / "transformer").is_dir()
    trained = load("actavatar-miniature", base=base, weights=everything / "parts.safetensors", device="cpu")
    assert trained.untrained == ()
    again = launch(recipe, Sources(shards, base), tmp_path / "run", machine=CPU)
    assert again == [adapter, everything]


def test_a_stage_without_phases_is_told_brief_captions(shards, base, tmp_path):
    from vivavoce.train.launch import _Video

    recipe = brief(RECIPES["actavatar-miniature"], steps=1, frames=9, spans=1, given={})
    run = _Video(recipe, Sources(shards, base), tmp_path / "run", CPU)
    adapter, actions = (run.data(stage)[0].conditions for stage in recipe.stages)
    assert adapter["phases"].max() == 0
    assert actions["phases"].max() == 1  # the clip's one phase
    assert not torch.equal(adapter["text"], actions["text"])


def test_bad_requests_are_one_sentence(shards, tmp_path):
    with pytest.raises(InputError, match="There is no recipe 'nobody': choose one of actavatar"):
        command.named("nobody")
    with pytest.raises(InputError, match="No clips to train on are given: give a folder of shards"):
        launch(brief(VAE_MINIATURE), Sources(None), tmp_path / "run", machine=CPU)
    with pytest.raises(InputError, match="There is no precision 'fp16': choose no"):
        command.machine_of(TrainOptions(precision="fp16"))
    with pytest.raises(InputError, match="of the split 'nobody'"):
        launch(brief(VAE_MINIATURE, frames=5), Sources(shards, split="nobody"), tmp_path / "x", machine=CPU)
    with pytest.raises(InputError, match="takes minutes on any machine"):
        command.told("vae-miniature", TrainOptions())


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"vae-miniature", "text-miniature", *GAUSSIAN}))
def test_every_recipe_is_estimated(name):
    text = command.told(name, TrainOptions())
    for stage in RECIPES[name].stages:
        assert f"{stage.name}: {stage.steps} steps of {stage.batch} examples" in text
    assert "trains" in text
    assert "H200" in text


def test_a_recipe_in_a_file_changes_one_that_is_known(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: actavatar-miniature\nstages:\n  adapter: {steps: 7, frames: 33, warmup: 0}\n")
    recipe = command.named(str(path))
    assert recipe.method == "actavatar-miniature"
    assert (recipe.stages[0].steps, recipe.stages[0].frames) == (7, 33)
    assert recipe.stages[1] == RECIPES["actavatar-miniature"].stages[1]
