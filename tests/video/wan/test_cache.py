"""First-block caching against its definition, written out by hand on a model without any cache."""

import pytest
import torch
from diffusers import WanVACETransformer3DModel
from diffusers.hooks import FirstBlockCacheConfig
from torch import Tensor

from tiny import VACE, WAN
from vivavoce.errors import InputError
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone
from vivavoce.video.wan.cache import FIRST_BLOCK, REFUSED, cached, check_cache
from vivavoce.video.wan.sockets import Branch, Conditions

THRESHOLD = 0.1


class Humming(Branch):
    """Adds the sound to every block's tokens."""

    def residual(self, layer: int, tokens: Tensor, conditions: Conditions) -> Tensor:
        return conditions["sound"] * torch.linspace(-1, 1, tokens.shape[-1])


def model_of(kind: str):
    torch.manual_seed(3)
    return (WanBackbone(**WAN) if kind == "wan" else VaceBackbone(**VACE)).eval()


def steps(kind: str) -> list[dict]:
    """Six denoising steps: slow changes, but a jump before the fourth."""
    torch.manual_seed(0)
    start, drift = torch.randn(2, 1, 16, 5, 8, 8)
    text, control = torch.randn(1, 12, 32), torch.randn(1, 96, 5, 8, 8)
    given = []
    for i, offset in enumerate((0.0, 0.02, 0.04, 1.5, 1.52, 1.54)):
        step = {
            "hidden_states": start + offset * drift,
            "timestep": torch.tensor([900.0 - i]),
            "encoder_hidden_states": text,
            "branches": [Humming()],
            "conditions": {"sound": torch.tensor(0.1 + 0.01 * i)},
        }
        given.append(step | ({"control_hidden_states": control} if kind == "vace" else {}))
    return given


def by_hand(model, given: list[dict]) -> tuple[list[Tensor], list[bool]]:
    """What first-block caching means, by its definition."""
    samples, skips, last = [], [], {}
    for step in given:
        seen = {}
        before = model.blocks[0].register_forward_pre_hook(lambda m, i, s=seen: s.update(entered=i[0]))
        drawn = model(**step, taps=["blocks.0", "blocks.3"])
        before.remove()
        head, tail = drawn.taps["blocks.0"], drawn.taps["blocks.3"]
        residual = head - seen["entered"]
        skip = False
        if last:
            change = (residual - last["residual"]).abs().mean() / last["residual"].abs().mean()
            skip = bool(change <= THRESHOLD)
        if skip:
            instead = head + last["rest"]
            handle = model.blocks[3].register_forward_hook(lambda m, i, o, t=instead: t)
            drawn = model(**step)
            handle.remove()
        else:
            last = {"residual": residual, "rest": tail - head}
        samples.append(drawn.sample)
        skips.append(skip)
    return samples, skips


@pytest.mark.parametrize("kind", ["wan", "vace"])
@torch.no_grad()
def test_the_cache_does_what_its_definition_says(kind):
    model, given = model_of(kind), steps(kind)
    expected, skips = by_hand(model, given)
    assert skips == [False, True, True, False, True, True]
    plain = [model(**step).sample for step in given]
    seen = []
    with cached(model, FIRST_BLOCK, THRESHOLD):
        attention = model.blocks[2].attn1
        counting = attention.register_forward_hook(lambda m, i, o: seen.append(1))
        for step, sample, exact, skipped in zip(given, expected, plain, skips, strict=True):
            seen.clear()
            with model.cache_context("all"):
                drawn = model(**step).sample
            torch.testing.assert_close(drawn, sample, rtol=1e-5, atol=1e-6)
            assert bool(seen) != skipped
            error = (drawn - exact).norm() / exact.norm()
            assert error < 0.06
            assert (error == 0) != skipped
        counting.remove()
    again = [model(**step).sample for step in given]
    assert all(torch.equal(a, b) for a, b in zip(again, plain, strict=True))


@torch.no_grad()
def test_on_vace_diffusers_own_blocks_count_the_hints_twice():
    own = model_of("vace")
    plain = WanVACETransformer3DModel(**VACE).eval()
    plain.load_state_dict(own.state_dict())
    given = [{k: v for k, v in s.items() if k not in ("branches", "conditions")} for s in steps("vace")[:2]]
    exact = own(**given[1]).sample

    def error(model, *, cache) -> float:
        with cache:
            for step in given:
                with model.cache_context("all"):
                    drawn = model(**step)
        sample = drawn.sample
        return float((sample - exact).norm() / exact.norm())

    ours = error(own, cache=cached(own, FIRST_BLOCK, THRESHOLD))
    plain.enable_cache(FirstBlockCacheConfig(threshold=THRESHOLD))
    theirs = error(plain, cache=torch.no_grad())
    assert 0 < ours < 0.02
    assert theirs > 5 * ours


@torch.no_grad()
def test_links_are_cached_apart_and_runs_do_not_know_each_other():
    model, (step, *_) = model_of("vace"), steps("vace")
    other = step | {"encoder_hidden_states": torch.zeros(1, 12, 32)}
    expected = [model(**step).sample, model(**other).sample]
    for _ in range(2):
        with cached(model, FIRST_BLOCK, 1.0):
            for name, given, sample in zip(("text", "none"), (step, other), expected, strict=True):
                with model.cache_context(name):
                    assert torch.equal(model(**given).sample, sample)


@pytest.mark.parametrize("name", REFUSED)
def test_other_caches_are_refused_with_the_reason(name):
    with pytest.raises(InputError, match=rf"{name} is refused: it .*; use first-block"):
        check_cache(name)


def test_what_cannot_be_is_said():
    with pytest.raises(InputError, match="'teacache'"), cached(model_of("wan"), "teacache"):
        pass
    with pytest.raises(InputError, match=r"1\.5"), cached(model_of("wan"), FIRST_BLOCK, 1.5):
        pass
