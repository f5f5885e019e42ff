"""The backbones against diffusers' own classes, bit for bit; sockets, taps, times and offsets."""

import pytest
import torch
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel
from torch import Tensor, nn

from tiny import VACE, WAN
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone
from vivavoce.video.wan.sockets import Branch, Conditions

FRAMES, TOKENS = 5, 5 * 4 * 4


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "hidden_states": torch.randn(2, 16, FRAMES, 8, 8),
        "timestep": torch.tensor([700.0, 100.0]),
        "encoder_hidden_states": torch.randn(2, 12, 32),
    }


@pytest.fixture(scope="module", params=["wan", "vace"])
def pair(request, tmp_path_factory, inputs):
    """A plain model, our class loaded from its folder, and the inputs both take."""
    torch.manual_seed(1)
    plain_class, own_class, config = {
        "wan": (WanTransformer3DModel, WanBackbone, WAN),
        "vace": (WanVACETransformer3DModel, VaceBackbone, VACE),
    }[request.param]
    plain = plain_class(**config).eval()
    folder = tmp_path_factory.mktemp(request.param)
    plain.save_pretrained(folder)
    own, report = own_class.from_pretrained(folder, output_loading_info=True)
    assert not any(report[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    extra = {}
    if request.param == "vace":
        extra = {
            "control_hidden_states": torch.randn(2, 96, FRAMES, 8, 8),
            "control_hidden_states_scale": torch.tensor([1.1, 0.7]),
        }
    return plain, own.eval(), inputs | extra


class Adding(Branch):
    """Adds a constant vector times a condition's mean, at one place."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(width))
        self.seen: list[int] = []

    def residual(self, layer: int, tokens: Tensor, conditions: Conditions) -> Tensor:
        self.seen.append(layer)
        return self.vector * conditions["sound"].mean()


class InVace(Adding):
    stack = "vace"
    place = "after_block"


@torch.no_grad()
def test_a_plain_checkpoint_gives_the_plain_output_bit_for_bit(pair):
    plain, own, given = pair
    assert set(own.state_dict()) == set(plain.state_dict())
    expected = plain(**given, return_dict=False)[0]
    assert torch.equal(own(**given).sample, expected)
    conditions = {"sound": torch.ones(1)}
    assert torch.equal(own(**given, branches=[Adding()], conditions=conditions).sample, expected)


@torch.no_grad()
def test_with_lora_as_well(pair):
    from peft import LoraConfig

    plain, own, given = pair
    lora = LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    outputs = []
    for model in (plain, own):
        torch.manual_seed(5)
        model.add_adapter(lora, adapter_name="test")
        out = model(**given, attention_kwargs={"scale": 0.5})
        outputs.append(out.sample)
        model.delete_adapters("test")
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], plain(**given).sample)


@torch.no_grad()
def test_a_branch_is_called_once_in_every_block_and_changes_the_output_once_trained(pair):
    _, own, given = pair
    branch, before = Adding(), own(**given).sample
    own(**given, branches=[branch], conditions={"sound": torch.ones(3)})
    assert branch.seen == [0, 1, 2, 3]
    branch.vector.data.copy_(torch.linspace(-1, 1, 24))
    after = own(**given, branches=[branch], conditions={"sound": torch.ones(3)}).sample
    assert (after - before).abs().max() > 1e-3


@torch.no_grad()
def test_branches_of_the_other_stack_are_left_alone(pair):
    _, own, given = pair
    branch = InVace()
    branch.vector.data.copy_(torch.linspace(-1, 1, 24))
    after = own(**given, branches=[branch], conditions={"sound": torch.ones(3)}).sample
    vace = isinstance(own, VaceBackbone)
    assert branch.seen == ([0, 1] if vace else [])
    assert torch.equal(after, own(**given).sample) != vace


@torch.no_grad()
def test_one_time_for_each_token_equals_one_time_for_all(pair):
    _, own, given = pair
    each = given | {"timestep": given["timestep"][:, None].expand(2, TOKENS)}
    torch.testing.assert_close(own(**each).sample, own(**given).sample, rtol=1e-4, atol=1e-5)
    clean_first = each["timestep"].clone()
    clean_first[:, :16] = 0
    assert (own(**given | {"timestep": clean_first}).sample - own(**given).sample).abs().max() > 1e-3


@torch.no_grad()
def test_a_tap_is_what_the_named_block_gave(pair):
    _, own, given = pair
    seen = {}
    handle = own.blocks[2].register_forward_hook(lambda m, i, o: seen.update(out=o))
    drawn = own(**given, taps=["blocks.2"])
    handle.remove()
    assert set(drawn.taps) == {"blocks.2"}
    assert torch.equal(drawn.taps["blocks.2"], seen["out"])
    with pytest.raises(ValueError, match=r"blocks\.99"):
        own(**given, taps=["blocks.99"])


@torch.no_grad()
def test_positions_begin_at_the_offset(pair):
    _, own, given = pair
    latents = given["hidden_states"]
    assert torch.equal(own.rope(latents, 0)[0], own.rope(latents)[0])
    longer = torch.cat([latents, latents], 2)
    whole = own.rope(longer)
    later = own.rope(latents, FRAMES)
    for part, all_of_them in zip(later, whole, strict=True):
        assert torch.equal(part, all_of_them[:, TOKENS:])
    with pytest.raises(ValueError, match="positions"):
        own(**given, first=60)


def test_gradient_checkpointing_gives_the_same_gradients(pair):
    _, own, given = pair
    branch = Adding()
    gradients = []
    for checkpointing in (False, True):
        own.gradient_checkpointing = False
        if checkpointing:
            own.enable_gradient_checkpointing()
        branch.zero_grad()
        own(**given, branches=[branch], conditions={"sound": torch.ones(3)}).sample.square().mean().backward()
        gradients.append(branch.vector.grad.clone())
    own.disable_gradient_checkpointing()
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-8)


@torch.no_grad()
def test_a_scale_of_its_own_weighs_every_hint(inputs):
    torch.manual_seed(2)
    model = VaceBackbone(**VACE).eval()
    control = torch.randn(2, 96, FRAMES, 8, 8)
    full, none, one = (
        model(**inputs, control_hidden_states=control, control_hidden_states_scale=torch.tensor(s)).sample
        for s in ([1.0, 1.0], [0.0, 0.0], [1.0, 0.0])
    )
    other = model(
        **inputs, control_hidden_states=control + 1, control_hidden_states_scale=torch.zeros(2)
    ).sample
    assert torch.equal(none, other)
    assert not torch.equal(full, one)
    with pytest.raises(ValueError, match="control latents"):
        model(**inputs)
