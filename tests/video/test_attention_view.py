"""Shares of text attention against a computation of their own in double precision, and the picture of them."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tiny import VACE, WAN
from vivavoce.errors import InputError, OutputError
from vivavoce.video import attention_view
from vivavoce.video.attention_view import PhaseAttention, plot
from vivavoce.video.plan import Phase, Plan
from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone

FRAMES, CELLS, TEXT = 4, 6, 10
PHASES = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2, 0, 0], [0, 2, 2, 2, 3, 1, 1, 1, 1, 0]])
MASK = torch.tensor([[1] * 8 + [0] * 2, [1, 1, 1, 0, 1, 1, 1, 1, 1, 0]]).bool()


@pytest.fixture(scope="module", params=["wan", "vace"])
def backbone(request) -> WanBackbone | VaceBackbone:
    torch.manual_seed(1)
    model = WanBackbone(**WAN) if request.param == "wan" else VaceBackbone(**VACE)
    for block in model.blocks:  # attention that is far from uniform, and norms that matter
        for part in (block.attn2.to_q, block.attn2.to_k):
            torch.nn.init.normal_(part.weight, std=0.5)
        torch.nn.init.uniform_(block.attn2.norm_q.weight, 0.5, 2)
        torch.nn.init.uniform_(block.attn2.norm_k.weight, 0.5, 2)
    return model.eval()


@pytest.fixture
def inputs(backbone) -> dict[str, Tensor]:
    torch.manual_seed(0)
    given = {
        "hidden_states": torch.randn(2, 16, FRAMES, 4, 6),
        "timestep": torch.tensor([700.0, 100.0]),
        "encoder_hidden_states": torch.randn(2, TEXT, 32),
    }
    if isinstance(backbone, VaceBackbone):
        given["control_hidden_states"] = torch.randn(2, 96, FRAMES, 4, 6)
    return given


def normed(values: np.ndarray, module: torch.nn.Module) -> np.ndarray:
    weight = module.weight.detach().double().numpy()
    return values / np.sqrt((values**2).mean(-1, keepdims=True) + module.eps) * weight


def linear(values: np.ndarray, module: torch.nn.Module) -> np.ndarray:
    return values @ module.weight.detach().double().numpy().T + module.bias.detach().double().numpy()


def expected(attention: torch.nn.Module, seen: tuple[Tensor, Tensor], item: int) -> np.ndarray:
    """Token by token and head by head: softmax over the words, sums by phase, means. Shape (f, P)."""
    tokens, text = (states[item].double().numpy() for states in seen)
    queries = normed(linear(tokens, attention.to_q), attention.norm_q)
    keys = normed(linear(text, attention.to_k), attention.norm_k)
    phases, mask = PHASES[item].tolist(), MASK[item].tolist()
    width = queries.shape[-1] // attention.heads
    shares = np.zeros((FRAMES, 1 + max(phases)))
    for token, query in enumerate(queries):
        for head in range(attention.heads):
            own = slice(head * width, (head + 1) * width)
            weights = [math.exp(query[own] @ key[own] / math.sqrt(width)) for key in keys]
            total = sum(w for w, word in zip(weights, mask, strict=True) if word)
            for w, word, phase in zip(weights, mask, phases, strict=True):
                shares[token // CELLS, phase] += word * w / total / attention.heads / CELLS
    return shares


@torch.no_grad()
@pytest.mark.parametrize("item", [0, 1])
@pytest.mark.parametrize("block", [0, 3])
def test_shares_are_attention_summed_by_phase(backbone, inputs, block: int, item: int):
    attention, seen = backbone.blocks[block].attn2, []
    handle = attention.register_forward_pre_hook(lambda module, args: seen.append(args[:2]))
    with PhaseAttention(backbone, block, phases=PHASES, mask=MASK, item=item) as view:
        backbone(**inputs)
    handle.remove()
    truth = expected(attention, seen[0], item)
    assert view.shares.dtype == np.float32
    np.testing.assert_allclose(view.shares, truth, atol=1e-5)
    np.testing.assert_allclose(view.shares.sum(1), 1, atol=1e-5)
    assert truth.std(0).max() > 1e-3  # frames differ, so their order is checked


@torch.no_grad()
def test_large_inputs_are_taken_piece_by_piece(backbone, inputs, monkeypatch):
    shares = []
    for rows in (1024, 5):  # five tokens: pieces that end inside a frame
        monkeypatch.setattr(attention_view, "_ROWS", rows)
        with PhaseAttention(backbone, 1, phases=PHASES, mask=MASK) as view:
            backbone(**inputs)
        shares.append(view.shares)
    np.testing.assert_allclose(shares[1], shares[0], atol=1e-6)


@torch.no_grad()
def test_reference_frames_are_left_out(backbone, inputs):
    shares = []
    for references in (0, 2):
        with PhaseAttention(backbone, 2, phases=PHASES, mask=MASK) as view:
            backbone(**inputs, references=references)
        shares.append(view.shares)
    assert np.array_equal(shares[1], shares[0][2:])


@torch.no_grad()
def test_the_backbone_neither_changes_nor_keeps_anything(backbone, inputs):
    before = backbone(**inputs).sample
    positional = [inputs[name] for name in ("hidden_states", "timestep", "encoder_hidden_states")]
    rest = {name: value for name, value in inputs.items() if name.startswith("control")}
    with PhaseAttention(backbone, 1, phases=PHASES, mask=MASK) as view:
        assert torch.equal(backbone(*positional, **rest).sample, before)
    with pytest.raises(RuntimeError), PhaseAttention(backbone, 1, phases=PHASES, mask=MASK):
        backbone(*positional[:2], torch.randn(2, TEXT, 31), **rest)
    assert not any(module._forward_pre_hooks for module in backbone.modules())
    shares = view.shares
    backbone(**inputs)
    assert np.array_equal(view.shares, shares)


@torch.no_grad()
def test_an_images_tokens_in_front_of_the_text_are_no_words():
    torch.manual_seed(2)
    image = {"image_dim": 32, "added_kv_proj_dim": 24}
    model = WanBackbone(**WAN | image).eval()
    video = torch.randn(1, 16, 2, 4, 4), torch.tensor([500.0])
    text, shares = torch.randn(1, 512, 32), []
    phases = torch.arange(512)[None] // 256
    for count in (257, 3):
        with PhaseAttention(model, 0, phases=phases, mask=torch.ones(1, 512).bool()) as view:
            model(*video, text, torch.ones(1, count, 32))
        shares.append(view.shares)
    np.testing.assert_allclose(shares[0], shares[1], atol=1e-6)


@torch.no_grad()
def test_misuse_is_told(backbone, inputs):
    with pytest.raises(ValueError, match="blocks 0 to 3, and no 4"):
        PhaseAttention(backbone, 4, phases=PHASES, mask=MASK)
    with pytest.raises(ValueError, match="without words"):
        PhaseAttention(backbone, 0, phases=PHASES, mask=torch.zeros_like(MASK))
    with PhaseAttention(backbone, 0, phases=PHASES, mask=MASK) as view:
        with pytest.raises(ValueError, match="block 0 ran 0 times"):
            _ = view.shares
        backbone(**inputs)
        backbone(**inputs)
    with pytest.raises(ValueError, match="block 0 ran 2 times: watch one"):
        _ = view.shares


# the picture

PLAN = Plan(
    base="A woman speaks.",
    phases=(
        Phase(text="opens a hand", start=0.0, end=2.0),
        Phase(text="costs $5 and $6, counted on all the fingers of both of her hands", start=2.0, end=4.0),
    ),
)


def rising(frames: int) -> np.ndarray:
    """Attention that moves from phase 1 to phase 2 half way."""
    late = 1 / (1 + np.exp(-(np.arange(frames) - frames / 2) * 26 / frames))
    return np.stack([np.full(frames, 0.4), 0.6 * (1 - late), 0.6 * late], 1).astype(np.float32)


def coloured(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels of this colour, but for rounding."""
    return np.argwhere((np.abs(picture.astype(int) - colour) <= 1).all(-1))


def test_the_picture_shows_each_phase_in_its_window(tmp_path: Path):
    path = tmp_path / "view.png"
    plot(rising(101), PLAN, fps=25.0, path=path, total=4.04)
    assert [p.name for p in tmp_path.iterdir()] == ["view.png"]
    picture = np.asarray(Image.open(path).convert("RGB"))
    first, second = (tuple(round(255 + 0.13 * (c - 255)) for c in rgb) for rgb in BLUE_ORANGE)
    blue, orange = coloured(picture, first), coloured(picture, second)
    assert min(len(blue), len(orange)) > 1000
    assert blue[:, 1].max() <= orange[:, 1].min() + 1  # windows side by side
    widths = [np.ptp(window[:, 1]) for window in (blue, orange)]
    assert abs(widths[0] - widths[1]) <= 4
    lines = [coloured(picture, rgb) for rgb in BLUE_ORANGE]
    plot_area = slice(blue[:, 0].min(), blue[:, 0].max())
    heights = [line[(line[:, 0] >= plot_area.start) & (line[:, 0] <= plot_area.stop)] for line in lines]
    for line, falls in zip(heights, (True, False), strict=True):
        start = line[line[:, 1] < blue[:, 1].mean(), 0].mean()
        end = line[line[:, 1] > orange[:, 1].mean(), 0].mean()
        assert (end > start) == falls  # rows count downwards


BLUE_ORANGE = ((31, 119, 180), (255, 127, 14))
"""The first two of Tableau's ten colours."""


def test_a_share_stands_at_the_middle_of_its_frame(tmp_path: Path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    original = Axes.plot

    def spy(axes, x, y, **style):
        drawn.append((np.asarray(x), np.asarray(y), style["label"]))
        return original(axes, x, y, **style)

    monkeypatch.setattr(Axes, "plot", spy)
    shares = rising(3)
    plot(shares, PLAN, fps=25.0, path=tmp_path / "view.png", total=4.0)
    for k, (seconds, values, _) in enumerate(drawn):
        np.testing.assert_allclose(seconds, [0.02, 0.06, 0.1])
        assert np.array_equal(values, shares[:, k])
    labels = [label.replace("\\$", "$") for *_, label in drawn]
    assert labels == ["base text", "1: opens a hand", "2: costs $5 and $6, counted on all the fingers…"]


def test_what_cannot_be_drawn_is_told(tmp_path: Path):
    path = tmp_path / "view.png"
    with pytest.raises(InputError, match="no phases whose attention"):
        plot(np.ones((3, 1), np.float32), Plan(base="She speaks."), fps=25.0, path=path, total=4.0)
    with pytest.raises(ValueError, match="shares of 2 phases for a plan of 1"):
        plot(rising(3), Plan(base="She.", phases=PLAN.phases[:1]), fps=25.0, path=path, total=4.0)
    with pytest.raises(InputError, match=r"reaches beyond the clip of 3\.50 s"):
        plot(rising(3), PLAN, fps=25.0, path=path, total=3.5)
    with pytest.raises(OutputError, match=r"choose one of \.png"):
        plot(rising(3), PLAN, fps=25.0, path=tmp_path / "view.jpg", total=4.0)
    with pytest.raises(OutputError, match="does not exist"):
        plot(rising(3), PLAN, fps=25.0, path=tmp_path / "no" / "view.png", total=4.0)
    assert not list(tmp_path.iterdir())
