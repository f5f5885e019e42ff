"""The three networks: what they tell their backbones, their losses by the formula, and what training drops."""

import functools
from dataclasses import replace
from math import floor

import numpy as np
import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
from torch import nn

import tiny
from test_methods import EVERY, FRAMES, batch_of, clip, scene
from vivavoce.features.physical_state import WIDTH as STATE
from vivavoce.methods.load import add_lora, load
from vivavoce.video.batch import TrainingBatch
from vivavoce.video.branches.audio import AudioAttention
from vivavoce.video.config import LoraConfig
from vivavoce.video.maker import Span
from vivavoce.video.network import AvatarNetwork, flow_loss
from vivavoce.video.vae import encoded, from_pictures
from vivavoce.video.wan.backbone import Drawn
from vivavoce.video.wan.sockets import Grid, Moment

LATENTS = 5
PATCHES = 4  # tokens of a latent frame of 32 pixels by 8 a latent and 2 a patch
SIGMA = torch.tensor([0.4])
LOW = torch.tensor([0.1])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grown(name: str, **changes: object) -> AvatarNetwork:
    """A tiny network whose own parts are no identity any more."""
    network = load(tiny.method(name, **changes)).network
    torch.manual_seed(5)
    for part in network.parts.values():
        for parameter in part.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.3)
    return network


@functools.cache
def example(name: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A clip's latents and conditions; nobody changes them."""
    method = load(tiny.method(name))
    return method.network.example(method.make, scene(), clip())


def noise_like(latents: torch.Tensor) -> torch.Tensor:
    return torch.randn(latents.shape, generator=seeded(9))


def losses(network, latents, conditions, *, seed=4, sigma=SIGMA):
    """Of one example, its masks drawn and nothing dropped."""
    return network.losses(
        batch_of(network, latents, conditions, sigma=sigma, noise=noise_like(latents), seed=seed)
    )


def overheard(network: AvatarNetwork) -> list[dict]:
    """What the backbone is told from now on, one entry a call."""
    told: list[dict] = []
    network.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: told.append(kwargs), with_kwargs=True
    )
    return told


def ratio(seed: int) -> float:
    """p of Alg. 1 at a noise level of 0.1: the generator's first number is U(0, 1)."""
    return torch.rand(1, dtype=torch.float64, generator=seeded(seed)).item() * (1 - float(np.float32(0.1)))


def hiding(count: int) -> int:
    """A seed with which Alg. 1 hides that many latent frames there."""
    return next(seed for seed in range(99) if floor(LATENTS * ratio(seed)) == count)


def straight(name: str, network: AvatarNetwork, latents, conditions, noise) -> dict:
    """The backbone's arguments at SIGMA, put together anew."""
    x = (1 - SIGMA) * latents + SIGMA * noise
    timestep, text = SIGMA * 1000, conditions["text"]
    given = {}
    if name == "physavatar":
        given = {"control_hidden_states": conditions["control"], "references": 1}
    else:  # the photo is the first frame, clean and at time 0
        x = torch.cat([conditions["given.latents"][:, :, :1], x[:, :, 1:]], dim=2)
        timestep = torch.cat([torch.zeros(1, PATCHES), timestep.expand(1, (LATENTS - 1) * PATCHES)], dim=1)
    if name == "actavatar":
        text = text + network.extras["phases"].embedding.weight[conditions["phases"]]
    read = {key: conditions[key] for key in ("audio", "plan", "pose") if key in conditions}
    return given | {
        "hidden_states": x,
        "timestep": timestep,
        "encoder_hidden_states": text,
        "branches": list(network.branches.values()),
        "conditions": read,
    }


def evaluated(name: str, network: AvatarNetwork) -> tuple[torch.Tensor, dict]:
    """What the network draws of the example at SIGMA, and what its backbone should have been told."""
    latents, conditions = example(name)
    noise = noise_like(latents)
    x = (1 - SIGMA) * latents + SIGMA * noise
    with torch.no_grad():
        drawn = network(x, SIGMA, {**conditions, "given.noise": noise})
    return drawn.sample, straight(name, network, latents, conditions, noise)


@EVERY
def test_the_network_is_its_backbone_on_the_right_inputs_bit_for_bit(name):
    network = grown(name, vace_scale=1.0)
    got, told = evaluated(name, network)
    with torch.no_grad():
        assert torch.equal(got, network.backbone(**told).sample)


@EVERY
@pytest.mark.parametrize("lora", [False, True])
def test_a_fresh_method_is_its_pretrained_backbone_bit_for_bit(name, lora):
    """diffusers' own class on the same weights, which knows of no branch, and of LoRA only without."""
    config = tiny.method(name, lora=LoraConfig(4, 2), vace_scale=1.0)
    network = load(config).network
    plain = (WanVACETransformer3DModel if name == "physavatar" else WanTransformer3DModel)(
        **config.transformer
    )
    plain.load_state_dict(network.backbone.state_dict())
    if lora:
        assert add_lora(network)
        assert any("lora_B" in key for key in network.backbone.state_dict())
    got, told = evaluated(name, network)
    theirs = {key: told[key] for key in told if key not in ("branches", "conditions", "references")}
    with torch.no_grad():
        assert torch.equal(got, plain(**theirs, return_dict=False)[0])


def test_the_hints_weigh_one_in_training_and_what_the_method_says_in_sampling():
    network, (latents, conditions) = grown("physavatar"), example("physavatar")
    told = overheard(network)
    with torch.no_grad():
        drawn = [network.train(training)(latents, SIGMA, conditions).sample for training in (True, False)]
    assert [kwargs["control_hidden_states_scale"].tolist() for kwargs in told] == [
        [1.0, 1.0],
        pytest.approx([1.1, 1.1]),
    ]
    assert not torch.equal(*drawn)


def test_the_flow_loss_is_each_examples_mean_square_over_frames_that_are_not_given():
    """Item 0 has its first two frames given; item 1 had its picture dropped, and must draw all."""
    draw = np.random.default_rng(0)
    sample, latents, noise = draw.standard_normal((3, 2, 4, 3, 2, 5)).astype(np.float32)
    image = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    square = (sample.astype(np.float64) - (noise.astype(np.float64) - latents)) ** 2
    drawn = Drawn(torch.from_numpy(sample).requires_grad_())

    def loss(conditions):
        tensors = torch.from_numpy(latents), conditions, torch.ones(2), torch.from_numpy(noise)
        return flow_loss(drawn, TrainingBatch(*tensors))

    given = loss({"image": image})
    wanted = [square[0, :, 2].mean(), square[1].mean()]
    assert given.tolist() == pytest.approx(wanted, rel=1e-6)
    assert loss({}).tolist() == pytest.approx(square.mean(axis=(1, 2, 3, 4)), rel=1e-6)

    (gradient,) = torch.autograd.grad(given.sum(), drawn.sample)
    assert torch.equal(gradient[0, :, :2], torch.zeros(4, 2, 2, 5))
    assert gradient[0, :, 2].abs().min() > 0
    assert gradient[1].abs().min() > 0
    assert loss({"image": torch.ones(2, 3)}).tolist() == [0, 0]

    focus = draw.uniform(1, 6, (2, 1, 3, 2, 5))
    weighed = (square.mean(axis=1) * focus[:, 0]).sum(axis=(2, 3)) / focus[:, 0].sum(axis=(2, 3))
    told = {"focus": torch.from_numpy(focus).float(), "image": image}
    assert loss(told).tolist() == pytest.approx([weighed[0, 2], weighed[1].mean()], rel=1e-6)


@EVERY
def test_the_flow_loss_of_a_network_is_the_formula_on_what_it_draws(name):
    network, (latents, conditions) = grown(name), example(name)
    told, seen = overheard(network), []
    network.backbone.register_forward_hook(lambda module, args, drawn: seen.append(drawn.sample))
    loss = losses(network, latents, conditions)["flow"]
    error = (seen[0] - (noise_like(latents) - latents)).double().square()
    kept = error if name == "physavatar" else error[:, :, 1:]  # the photo is given
    assert loss.item() == pytest.approx(kept.mean().item(), rel=1e-5)
    assert "audio" in told[0]["conditions"]
    assert not {"states", "pose_drop", "control", "given", "image"} & set(told[0]["conditions"])


def test_the_mask_of_algorithm_1_hides_audio_in_training():
    """n = floor(f p), p ~ U(0, 1 - sigma), by the generator's first number; f leaves the reference out."""
    network, (latents, conditions) = grown("physavatar"), example("physavatar")
    told, shown, branch = overheard(network), [], network.branches["audio"]
    assert isinstance(branch, AudioAttention)
    assert branch.mask is not None
    branch.mask.register_forward_hook(lambda module, args, tokens: shown.append((args[0], tokens)))
    counts = []
    for seed in range(20):
        losses(network, latents, conditions, seed=seed, sigma=LOW)
        keep = told[-1]["conditions"]["audio_mask"]
        assert keep.shape == (1, LATENTS)
        assert (~keep).sum().item() == floor(LATENTS * ratio(seed))
        before, after = shown[-1]
        for t in range(LATENTS):
            token = before[0, t] if keep[0, t] else branch.mask.embedding.expand(1, -1)
            assert torch.equal(after[0, t], token)
        counts.append((~keep).sum().item())
    assert set(counts) == {0, 1, 2, 3, 4}


def test_the_state_loss_is_that_of_masked_latents_of_one_block_and_teaches_no_other():
    network, (latents, conditions) = grown("physavatar"), example("physavatar")
    told, tapped = overheard(network.requires_grad_(True)), []
    network.backbone.blocks[1].register_forward_hook(lambda module, args, tokens: tapped.append(tokens))
    state = losses(network, latents, conditions, seed=hiding(2), sigma=LOW)["state"]
    hidden = ~told[0]["conditions"]["audio_mask"][0]
    blocks = dict(network.backbone.blocks.named_parameters())
    gradient, *others = torch.autograd.grad(state, [tapped[0], *blocks.values()], allow_unused=True)
    by_frame = gradient.unflatten(1, (1 + LATENTS, PATCHES))
    assert torch.equal(by_frame[:, 0], torch.zeros_like(by_frame[:, 0]))  # the reference picture
    for t, masked in enumerate(hidden.tolist(), 1):
        assert bool(by_frame[:, t].any()) == masked, t
    trained = {name[0] for name, found in zip(blocks, others, strict=True) if found is not None}
    assert trained == {"0", "1"}  # J_phys is the second block here

    mlp, squares = network.extras["state"].double().mlp, []
    for t in hidden.nonzero().flatten().tolist():
        mean = tapped[0][0].double()[(1 + t) * PATCHES : (2 + t) * PATCHES].mean(0)
        wanted = conditions["states"][0, 4 * t : 4 * t + 4].double()
        squares.append((mlp(mean).unflatten(0, (4, STATE)) - wanted).square().mean().item())
    assert len(squares) == 2
    assert state.item() == pytest.approx(np.mean(squares), rel=1e-4)


@EVERY
def test_an_examples_losses_do_not_depend_on_its_batch(name):
    """Three noise levels in one batch are what they are one by one, and in float64 what the formula says."""
    network, (latents, conditions) = grown(name).double(), example(name)

    def double(value):
        return value.double() if value.is_floating_point() else value

    items = []
    for seed, level in ((hiding(2), 0.1), (hiding(0), 0.5), (hiding(4), 0.2)):
        sigma, noise = torch.tensor([level]), torch.randn(latents.shape, generator=seeded(seed))
        one = batch_of(network, latents, conditions, sigma=sigma, noise=noise, seed=seed)
        told = {key: double(value) for key, value in one.conditions.items()}
        items.append(TrainingBatch(double(one.latents), told, double(one.sigma), double(one.noise)))
    with torch.no_grad():
        together = network.losses(TrainingBatch.cat(items))
        alone = [network.losses(item) for item in items]
    for term, values in together.items():
        assert values.shape == (3,)
        assert values.tolist() == pytest.approx([one[term].item() for one in alone], rel=1e-6), term
    assert len(set(together["flow"].tolist())) == 3
    if name == "physavatar":
        assert together["state"][1] == 0  # nothing was hidden there
        assert together["state"][[0, 2]].min() > 0


def test_examples_of_other_shapes_are_no_batch():
    item = TrainingBatch(
        torch.zeros(1, 2, 3, 4, 4), {"text": torch.zeros(1, 5, 6)}, SIGMA, torch.zeros(1, 2, 3, 4, 4)
    )
    longer = replace(item, conditions={"text": torch.zeros(1, 7, 6)})
    assert item.form != longer.form
    assert TrainingBatch.cat([item, item]).form == item.form
    with pytest.raises(ValueError, match="same names and shapes"):
        TrainingBatch.cat([item, longer])


def test_without_states_nothing_is_hidden_and_no_state_is_told():
    """The first row of PhysAvatar's table 2: flow matching alone."""
    network, (latents, conditions) = grown("physavatar"), example("physavatar")
    bare = {key: value for key, value in conditions.items() if key != "states"}
    told = overheard(network)
    terms = losses(network, latents, bare, seed=hiding(3), sigma=LOW)
    assert set(terms) == {"flow"}
    assert "audio_mask" not in told[0]["conditions"]


def test_pose_is_dropped_frame_by_frame_with_its_probability():
    network, items = grown("apoavatar", dropout=0.0), 20_000
    drop = torch.tensor([0.0, 0.05, 0.5, 0.9, 1.0])
    conditions = {
        "text": torch.zeros(1, 1, 1),
        "pose": torch.zeros(1, 1),
        "pose_drop": drop.expand(items, -1),
    }

    def kept(seed):
        found = network.randomised(conditions, SIGMA, nulls=conditions, generator=seeded(seed))
        return found["pose_keep"]

    keep = kept(0)
    assert keep.dtype == torch.bool
    share = keep.double().mean(0)
    assert torch.equal(share[[0, 4]], torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert (share - (1 - drop)).abs().max() < 5 * (0.25 / items) ** 0.5
    together = (keep[:, 2] & keep[:, 1]).double().mean()
    assert abs(together - 0.5 * 0.95) < 5 * (0.25 / items) ** 0.5  # frames are drawn apart
    assert torch.equal(keep, kept(0))
    assert not torch.equal(keep, kept(1))


def test_a_pose_that_is_dropped_whole_is_no_pose_bit_for_bit():
    network, (latents, conditions) = grown("apoavatar"), example("apoavatar")
    without = {key: value for key, value in conditions.items() if key not in ("pose", "pose_drop")}
    with torch.no_grad():
        none = losses(network, latents, without)["flow"]
        dropped = losses(network, latents, conditions | {"pose_drop": torch.ones(1, LATENTS)})["flow"]
        kept = losses(network, latents, conditions | {"pose_drop": torch.zeros(1, LATENTS)})["flow"]
        sampled = losses(network, latents, without | {"pose": conditions["pose"]})["flow"]
    assert torch.equal(dropped, none)
    assert torch.equal(kept, sampled)  # without probabilities, as a given pose in sampling, it stays whole
    assert not torch.equal(kept, none)


def test_a_phases_embedding_changes_the_tokens_of_that_phase_alone():
    network, (_, conditions) = load(tiny.method("actavatar")).network, example("actavatar")
    text, phases = conditions["text"], conditions["phases"]
    assert set(phases.unique().tolist()) == {0, 1}
    with torch.no_grad():
        assert torch.equal(network.text(conditions), text)
        network.extras["phases"].embedding.weight[2] = 1.0
        assert torch.equal(network.text(conditions), text)  # the plan has no second phase
        network.extras["phases"].embedding.weight[1] = torch.arange(text.shape[2]) / 7
        changed = network.text(conditions)
    assert torch.equal(changed[phases == 0], text[phases == 0])
    torch.testing.assert_close(
        (changed - text)[phases == 1], (torch.arange(text.shape[2]) / 7).expand((phases == 1).sum(), -1)
    )


def test_actavatars_audio_grows_with_depth_to_the_power_of_three_halves():
    """The same attention in every block, on the same tokens: only (l / L)^1.5 is left."""
    network, (_, conditions) = grown("actavatar"), example("actavatar")
    branch = network.branches["audio"]
    first = branch.attentions["0"].state_dict()
    for attention in branch.attentions.values():
        attention.load_state_dict(first)
    tokens = torch.randn(1, LATENTS * PATCHES, 24, generator=seeded(1))
    with torch.no_grad():
        _, prepared = branch.enter(tokens, conditions, Moment(SIGMA, tokens[:, 0], Grid(LATENTS, 2, 2)))
        residuals = [branch.residual(layer, tokens, prepared).double() for layer in range(4)]
    for layer, residual in enumerate(residuals, 1):
        torch.testing.assert_close(residual, residuals[3] * (layer / 4) ** 1.5, rtol=1e-5, atol=1e-8)


def ones_of(name: str) -> dict[str, torch.Tensor]:
    """A condition for every link, two that follow the text, and two that are always there."""
    followers = {"phases": torch.ones(1, 2, dtype=torch.long), "plan": torch.ones(1, 1, 2)}
    kept = {"words": torch.ones(1, 2, dtype=torch.bool), "given": torch.ones(1, 1)}
    return {link: torch.ones(1, 2, 3) for link in tiny.method(name).scales} | followers | kept


@EVERY
def test_training_keeps_the_first_links_of_the_chain_a_random_number_of_them(name):
    network, items = load(tiny.method(name, dropout=0.15)).network, 3000
    conditions, nulls = ones_of(name), {"text": torch.full((1, 2, 3), -1.0)}
    chain = [link for link, _ in network.chain.links]
    assert chain == [link for link in ("text", "image", "audio", "pose") if link in network.config.scales]
    generator, counts = seeded(0), []
    for _ in range(items):
        found = network.randomised(conditions, SIGMA, nulls=nulls, generator=generator)
        assert found.keys() == conditions.keys()
        kept = [bool((found[link] == 1).all()) for link in chain]
        for link, there in zip(chain, kept, strict=True):
            assert there or (found[link] == (-1.0 if link == "text" else 0.0)).all()
        assert kept == sorted(kept, reverse=True)  # none without all before it
        assert all(bool(found[follower].all()) == kept[0] for follower in ("phases", "plan"))
        assert all(bool(found[follower].any()) == kept[0] for follower in ("phases", "plan"))
        assert all(torch.equal(found[always], conditions[always]) for always in ("words", "given"))
        counts.append(sum(kept))
    share = torch.bincount(torch.tensor(counts), minlength=len(chain) + 1) / items
    wanted = torch.tensor([0.15] * len(chain) + [1 - 0.15 * len(chain)])
    assert (share - wanted).abs().max() < 5 * (0.25 / items) ** 0.5


@EVERY
def test_without_dropout_training_keeps_everything_and_absent_links_are_no_links(name):
    conditions, nulls = ones_of(name), {"text": torch.zeros(1, 2, 3)}
    network, generator = load(tiny.method(name, dropout=0.0)).network, seeded(0)
    for _ in range(50):
        found = network.dropped(conditions, nulls, generator)
        assert all(torch.equal(found[key], conditions[key]) for key in conditions)
    bare = {link: conditions[link] for link in ("text", "audio")}
    network = load(tiny.method(name, dropout=0.5)).network
    halved = [network.dropped(bare, nulls, generator) for _ in range(50)]
    assert not any(found["audio"].any() for found in halved)
    assert {bool(found["text"].any()) for found in halved} == {True, False}
    # half keep nothing, half the text; of two links none is left for both


@EVERY
def test_dropped_conditions_can_be_trained_on(name):
    network, (latents, conditions) = grown(name, dropout=0.2), example(name)
    for seed, level in enumerate(torch.linspace(0.1, 0.9, 6)):
        told = network.randomised(
            conditions, level[None], nulls={"text": torch.zeros(1, 1, 64)}, generator=seeded(seed)
        )
        terms = network.losses(TrainingBatch(latents, told, level[None], noise_like(latents)))
        assert all(term.isfinite().all() for term in terms.values())


@EVERY
def test_an_example_is_the_clip_in_latents_behind_its_reference(name):
    method = load(tiny.method(name))
    latents, conditions = example(name)
    references = int(name == "physavatar")
    assert latents.shape == method.network.latent_shape(FRAMES)
    assert latents.shape[2] * PATCHES == method.config.tokens
    assert torch.equal(latents[:, :, references:], encoded(method.make.vae, from_pictures(clip())))
    if references:
        assert torch.equal(latents[:, :, :1], encoded(method.make.vae, from_pictures(scene().photo[None])))
    told = method.network.conditions(method.make, scene(), Span(0, FRAMES))
    extra = {"physavatar": {"states"}, "actavatar": set(), "apoavatar": {"pose_drop"}}[name]
    assert set(conditions) - set(told) == extra
    assert all(torch.equal(conditions[key], value) for key, value in told.items())


def test_81_frames_have_84_state_tokens_the_first_frame_four_times():
    method, long = load(tiny.method("physavatar", chunk=81)), scene(frames=81)
    _, conditions = method.network.example(method.make, long, np.zeros((81, 32, 32, 3), np.uint8))
    states = conditions["states"][0].numpy()
    assert states.shape == (84, STATE)
    wanted = [long.states[0]] * 4 + [long.states[t] for t in range(1, 81)]
    assert np.array_equal(states, np.stack(wanted))
