"""The miniatures' base: a VACE branch that begins as nothing, and weights that come with the program."""

from dataclasses import replace

import pytest
import torch

from vivavoce.errors import WeightsError
from vivavoce.methods import METHODS
from vivavoce.methods.base import BASES, VACE_MINIATURE, WAN_MINIATURE, with_branch
from vivavoce.methods.load import load, save_parts
from vivavoce.methods.miniature import SMALL_VACE, SMALL_WAN
from vivavoce.video.network import backbone_of


def test_a_new_branch_says_nothing_and_begins_as_the_blocks_that_it_was_copied_from():
    torch.manual_seed(1)
    trunk = backbone_of(WAN_MINIATURE)
    vace = with_branch(trunk)
    state, given = vace.state_dict(), trunk.state_dict()
    assert all(torch.equal(state[key], value) for key, value in given.items())
    for i, layer in enumerate(VACE_MINIATURE.transformer["vace_layers"]):
        key = "attn1.to_q.weight"
        assert torch.equal(state[f"vace_blocks.{i}.{key}"], given[f"blocks.{layer}.{key}"])
    x, text = torch.randn(1, SMALL_WAN["in_channels"], 3, 12, 12), torch.randn(1, 7, 64)
    told = {"timestep": torch.tensor([500.0]), "encoder_hidden_states": text}
    with torch.no_grad():
        plain = trunk(x, **told, branches=(), conditions={}, references=0, taps=()).sample
        hinted = vace(
            x,
            **told,
            control_hidden_states=torch.randn(1, SMALL_VACE["vace_in_channels"], 3, 12, 12),
            control_hidden_states_scale=torch.ones(4),
            branches=(),
            conditions={},
            references=0,
            taps=(),
        ).sample
    torch.testing.assert_close(plain, hinted, rtol=1e-4, atol=1e-5)


def test_a_base_has_no_parts_of_its_own():
    for config in BASES.values():
        network = config.build()
        assert network.parts == {}
        assert config.name not in METHODS


def test_the_folder_of_a_finished_stage_is_taken_for_weights(tmp_path):
    plain = replace(METHODS["actavatar-miniature"], base=None, own=None)
    first = load(plain, device="cpu")
    base, stage = tmp_path / "base", tmp_path / "2-actions"
    first.network.backbone.save_pretrained(base / "transformer")
    first.make.vae.save_pretrained(base / "vae")
    first.make.text_encoder.save(base)
    with torch.no_grad():
        for value in first.network.backbone.parameters():
            value.add_(0.01)
    stage.mkdir()
    save_parts(first.network, stage / "parts.safetensors")
    first.network.backbone.save_pretrained(stage / "transformer")

    again = load(plain, base=base, weights=stage, device="cpu")
    trained, found = first.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(trained[key], found[key]) for key in trained)
    assert again.untrained == ()
    # What comes with the program is taken without being asked for; another base is told nothing of it.
    packed = replace(plain, base=str(base), own=str(stage))
    assert load(packed, device="cpu").untrained == ()
    assert load(packed, base=base, device="cpu").untrained == ("the method's own parts",)
    with pytest.raises(WeightsError):
        load(plain, base=base, weights=tmp_path / "nothing", device="cpu")
