"""LHM's published names, shapes and arithmetic, and HaMeR's encoder of hands."""

import pytest
import torch
from published_lhm import PLAIN, SMALL, computed, shapes, state, template

from vivavoce.errors import WeightsError
from vivavoce.splat.lhm.config import LHM_1B, LHM_500M, LHM_MINI
from vivavoce.splat.lhm.convert import load_hamer, load_lhm, published
from vivavoce.splat.lhm.network import LargeReconstruction, Tokens
from vivavoce.splat.lhm.pictures import Images


@pytest.mark.parametrize("config", [LHM_MINI, LHM_500M, LHM_1B])
def test_lhm_s_published_names_and_shapes_load_strictly_at_their_size(config):
    with torch.device("meta"):
        network = LargeReconstruction(config)
        file = {name: torch.empty(shape) for name, shape in shapes(config).items()}
    assert published(network) == shapes(config)
    load_lhm(network, file, "model.safetensors")


def test_a_file_of_lhm_computes_what_lhm_does():
    network, file, points = LargeReconstruction(PLAIN).double(), state(PLAIN), template()
    file["renderer.gs_net.out_layers.scaling.bias"] -= 3  # about the limit, so that some are above it
    load_lhm(network, {name: value.double() for name, value in file.items()}, "file")
    body, head = torch.randn(1, 6, 12).double(), torch.rand(1, 3, 16, 16).double()
    tokens = Tokens(body, torch.nn.functional.pad(network.head_encoder(head), (0, 4)))
    found = network.decoder(network.queries(tokens, points), torch.zeros(8, dtype=torch.bool))
    upright = torch.from_numpy(points.points) * torch.tensor([1, -1, -1])
    wanted = computed(file, PLAIN, upright, body=body[0], head_picture=head[0], on_head=2)
    wanted["scales"] = wanted["scales"].clamp(max=0.05)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name][0], value, atol=1e-6, rtol=1e-6)
    assert (found["scales"] < 0.0499).any()
    assert (found["scales"] > 0.0499).any()


def test_smpl_x_s_tables_sapiens_and_the_face_of_a_loss_are_left_out():
    others = ("renderer.smplx_model.skinning_weight", "fine_encoder.model.x", "id_face_net.conv1.weight")
    load_lhm(LargeReconstruction(PLAIN), state(PLAIN) | {name: torch.zeros(3) for name in others}, "file")


def test_what_lhm_does_not_have_stays_as_it_is():
    network = LargeReconstruction(SMALL)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    file = state(SMALL)
    load_lhm(network, file, "file")
    after = network.state_dict()
    stayed = {name for name in after if torch.equal(after[name], before[name])}
    own = {n for n in after if n.startswith(("hands.", "body_encoder.")) or ".hand_keys." in n}
    assert stayed - own == {"embed.basis", "head_encoder.vit.embeddings.mask_token"}
    assert own <= stayed


def test_missing_extra_and_misshapen_parameters_are_named_and_nothing_changes():
    network, file = LargeReconstruction(PLAIN), state(PLAIN)
    before = network.norm.weight.clone()
    del file["transformer.layers.0.head_dit.attn.to_q.weight"]
    file["transformer.layers.9.head_dit.attn.to_q.weight"] = torch.zeros(1)
    file["encoder.model.blocks.0.attn.qkv.bias"] = torch.zeros(8)
    with pytest.raises(WeightsError) as told:
        load_lhm(network, file, "model.safetensors")
    for part in (
        "model.safetensors was made for another model",
        "lacks: transformer.layers.0.head_dit.attn.to_q.weight;",
        "besides: transformer.layers.9.head_dit.attn.to_q.weight;",
        "encoder.model.blocks.0.attn.qkv.bias (8,), not (24,)",
    ):
        assert part in str(told.value)
    assert torch.equal(network.norm.weight, before)


def test_another_size_of_lhm_is_refused():
    with torch.device("meta"):
        file = {name: torch.empty(shape) for name, shape in shapes(LHM_MINI).items()}
        network = LargeReconstruction(LHM_500M)
    with pytest.raises(WeightsError, match=r"lacks: transformer\.layers\.1\.body_dit\.attn\.to_add_out"):
        load_lhm(network, file, "mini")


def test_hamer_s_backbone_becomes_the_encoder_of_hands():
    network = LargeReconstruction(SMALL)
    file = {"backbone.pos_embed": torch.randn(1, 5, 8), "mano_head.x": torch.zeros(1)}
    for name, shape in {
        "patch_embed.proj": (8, 3, 8, 8), "last_norm": (8,), "blocks.0.norm1": (8,), "blocks.0.norm2": (8,),
        "blocks.0.attn.qkv": (24, 8), "blocks.0.attn.proj": (8, 8), "blocks.0.mlp.fc1": (32, 8),
        "blocks.0.mlp.fc2": (8, 32),
    }.items():  # fmt: skip
        file[f"backbone.{name}.weight"], file[f"backbone.{name}.bias"] = (
            torch.randn(shape),
            torch.randn(shape[0]),
        )
    load_hamer(network, file, "hamer")
    layer = network.hands.encoder.encoder.layer[0]
    assert torch.equal(layer.attention.attention.key.weight, file["backbone.blocks.0.attn.qkv.weight"][8:16])
    assert torch.equal(layer.layernorm_after.bias, file["backbone.blocks.0.norm2.bias"])
    assert torch.equal(network.hands.encoder.layernorm.weight, file["backbone.last_norm.weight"])
    del file["backbone.pos_embed"]
    with pytest.raises(WeightsError, match=r"hamer .* lacks: backbone\.pos_embed"):
        load_hamer(network, file, "hamer")
    with pytest.raises(ValueError, match="no hands"):
        load_hamer(LargeReconstruction(PLAIN), file, "hamer")


def test_the_head_s_picture_reaches_the_network_as_lhm_fits_it():
    network = LargeReconstruction(PLAIN)
    crop = torch.rand(1, 3, 16, 16)
    images = Images(torch.rand(1, 3, 9, 7), crop, None, None)

    class Given:
        def tokens(self, pictures):
            return pictures.new_zeros(len(pictures), 4, 12)

    tokens = network.encode(images, Given())
    assert tokens.head.shape == (1, 16, 12)
    assert torch.equal(tokens.head[..., :8], network.head_encoder(crop))
    assert not tokens.head[..., 8:].any()
