"""How a method samples: its own way, what may be changed of it, in which chunks, and which weights it has."""

from dataclasses import replace

import pytest
import torch

import tiny
from vivavoce.errors import InputError
from vivavoce.methods import METHODS
from vivavoce.methods.load import load
from vivavoce.video.method import Sampling, VideoMethod

PHYS, ACT, APO = (METHODS[name] for name in ("physavatar", "actavatar", "apoavatar"))


def test_a_methods_own_way_is_its_papers():
    phys, act, apo = (Sampling.of(config) for config in (PHYS, ACT, APO))
    assert (phys.steps, phys.shift, phys.solver, phys.order) == (50, 3.0, "unipc", "interleaved")
    assert (act.steps, act.shift, act.order, apo.steps, apo.order) == (
        40,
        5.0,
        "autoregressive",
        50,
        "autoregressive",
    )
    assert phys.chain.links == (("text", 5.0), ("audio", 2.0))
    assert act.chain.links == (("text", 5.0), ("audio", 5.0))
    assert [name for name, _ in apo.chain.links] == ["text", "image", "audio", "pose"]
    assert {s.seed for s in (phys, act, apo)} == {0}
    assert {s.cache for s in (phys, act, apo)} == {None}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"steps": 4}, {"steps": 4}),
        ({"solver": "euler"}, {"solver": "euler"}),
        ({"order": "autoregressive"}, {"order": "autoregressive"}),
        ({"seed": 7}, {"seed": 7}),
        ({"cache": 0.1}, {"cache": 0.1}),
    ],
)
def test_what_is_given_is_changed_and_the_rest_stays(given, found):
    plain, changed = Sampling.of(PHYS), Sampling.of(PHYS, **given)
    assert vars(changed) == vars(plain) | found
    assert changed != plain


def test_scales_are_changed_one_by_one_and_keep_their_place():
    changed = Sampling.of(APO, scales={"audio": 1.5})
    own = dict(Sampling.of(APO).chain.links)
    assert changed.chain.links == tuple((own | {"audio": 1.5}).items())
    assert dict(APO.scales)["audio"] != 1.5
    turned = Sampling.of(PHYS, guidance="audio_first", scales={"text": 3.0})
    assert turned.chain.links == (("audio", 2.0), ("text", 3.0))


def test_zero_is_a_seed_and_a_scale_and_no_number_of_steps():
    assert Sampling.of(PHYS, seed=0).seed == 0
    assert Sampling.of(PHYS, scales={"audio": 0.0}).chain.links[1] == ("audio", 0.0)
    with pytest.raises(InputError, match="0 denoising steps make no video: take at least one"):
        Sampling.of(PHYS, steps=0)


@pytest.mark.parametrize(
    ("config", "given", "sentence"),
    [
        (PHYS, {"scales": {"pose": 2.0}}, "physavatar has no guidance by pose: it takes text, audio"),
        (ACT, {"scales": {"smell": 1.0, "pose": 1.0}}, "no guidance by pose, smell: it takes text, audio"),
        (
            ACT,
            {"order": "interleaved"},
            "actavatar cannot draw chunks between others.* take --order autoregressive",
        ),
        (APO, {"order": "interleaved"}, "apoavatar cannot draw chunks between others"),
        (
            PHYS,
            {"order": "backwards"},
            "order of chunks 'backwards': choose one of interleaved, autoregressive",
        ),
        (PHYS, {"solver": "heun"}, "no solver 'heun': choose one of unipc, euler"),
        (
            PHYS,
            {"guidance": "image_first"},
            "no guidance order 'image_first': choose one of text_first, audio_first",
        ),
        (PHYS, {"scales": {"text": float("nan")}}, "scale of 'text' is nan: give a finite number"),
        (replace(PHYS, shift=0.0), {}, "sigma shift of 0.0 has no meaning"),
    ],
)
def test_what_has_no_meaning_is_one_sentence(config, given, sentence):
    with pytest.raises(InputError, match=sentence):
        Sampling.of(config, **given)


def chunks(config, frames, **given):
    """Of every chunk the first frame, how many it draws, the kept ones, and those given before and after."""
    order = Sampling.of(config, **given).chunks(config, frames)
    return [(c.first, c.frames, c.kept.start, c.kept.stop, c.before, c.after) for c in order]


def test_physavatars_even_chunks_lie_between_odd_ones():
    """Chunks of 81 by hand: 5 and 4 frames are given, 72 are new (figure 3); the rest is whole latents."""
    assert chunks(PHYS, 250) == [
        (0, 81, 0, 81, 0, 0),
        (76, 81, 81, 153, 5, 4),
        (153, 81, 153, 234, 0, 0),
        (229, 21, 234, 250, 5, 0),
    ]


def test_the_ablation_goes_on_in_one_direction():
    assert chunks(PHYS, 250, order="autoregressive") == [
        (0, 81, 0, 81, 0, 0),
        (76, 81, 81, 157, 5, 0),
        (152, 81, 157, 233, 5, 0),
        (228, 25, 233, 250, 5, 0),
    ]


def test_chunks_are_as_long_as_the_method_says():
    assert chunks(ACT, 300) == [
        (0, 125, 0, 125, 0, 0),
        (120, 125, 125, 245, 5, 0),
        (240, 61, 245, 300, 5, 0),
    ]
    own = replace(tiny.method("physavatar"), chunk=13, before=1, after=3)
    assert chunks(own, 24) == [(0, 13, 0, 13, 0, 0), (12, 13, 13, 24, 1, 0)]
    assert chunks(own, 27)[1:] == [(12, 13, 13, 22, 1, 3), (22, 5, 22, 27, 0, 0)]


@pytest.fixture(scope="module")
def method() -> VideoMethod:
    return load(tiny.method("physavatar"))


def test_the_same_weights_have_the_same_fingerprint(method):
    """The base of a miniature is the same at every load; its own parts are given the same values here."""
    again = load(tiny.method("physavatar"))
    again.network.load_state_dict(method.network.state_dict())
    mark = method.fingerprint()
    assert again.fingerprint() == mark == method.fingerprint()
    assert len(mark) == 16
    assert int(mark, 16) >= 0


def largest(module: torch.nn.Module) -> torch.nn.Parameter:
    return max(module.parameters(), key=torch.numel)


@pytest.mark.parametrize("kind", ["backbone", "branch", "extra", "vae", "text encoder"])
@pytest.mark.parametrize("place", ["first", "later"])
def test_one_sampled_value_of_any_model_is_another_fingerprint(method, kind, place):
    module = {
        "backbone": method.network.backbone,
        "branch": method.network.branches["planner"],
        "extra": method.network.extras["state"],
        "vae": method.make.vae,
        "text encoder": method.make.text_encoder.model,
    }[kind]
    before, parameter = method.fingerprint(), largest(module)
    values = parameter.data.view(-1)
    index = 0 if place == "first" else 100 * (values.numel() // 256)
    kept = values[index].item()
    values[index] = torch.nextafter(values[index], torch.tensor(9.0))
    assert method.fingerprint() != before
    values[index] = kept
    assert method.fingerprint() == before


def test_another_precision_is_another_fingerprint(method):
    half = load(tiny.method("physavatar"))
    half.network.load_state_dict(method.network.state_dict())
    half.network.to(torch.bfloat16)
    assert half.fingerprint() != method.fingerprint()
