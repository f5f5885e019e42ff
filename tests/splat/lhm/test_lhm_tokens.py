"""Encoders of pictures, points and hands."""

import math

import numpy as np
import pytest
import torch
from published_lhm import EYE, SMALL

from vivavoce.errors import WeightsError
from vivavoce.splat.lhm.points import PointEmbedding
from vivavoce.splat.lhm.tokens import HandTokens, PyramidEncoder, Sapiens, TokenEncoder


class Map(torch.nn.Module):
    """Means over 16 x 16 px, as a program that gives features for each."""

    def forward(self, x):
        return (torch.nn.functional.avg_pool2d(x, 16),)


class Label(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


def program(folder, module):
    torch.jit.save(torch.jit.trace(module, torch.rand(1, 3, 32, 32)), str(folder / "program.pt2"))
    return folder / "program.pt2"


def test_a_token_for_each_patch_of_a_picture_of_any_size():
    encoder = PyramidEncoder(EYE)
    assert isinstance(encoder, TokenEncoder)
    assert encoder.tokens(torch.rand(2, 3, 30, 21)).shape == (2, 16, 8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_sapiens_is_a_program_that_sees_normalised_squares(tmp_path):
    sapiens = Sapiens(program(tmp_path, Map()), side=32)
    assert isinstance(sapiens, TokenEncoder)
    picture = torch.zeros(1, 3, 32, 32)
    picture[:, 0, :16, 16:] = 0.5
    tokens = sapiens.tokens(picture)
    assert tokens.shape == (1, 4, 3)
    dark = -np.array([0.4844, 0.4570, 0.4062]) / [0.2295, 0.2236, 0.2256]
    np.testing.assert_allclose(tokens[0, 0], dark, rtol=1e-5)
    np.testing.assert_allclose(tokens[0, 1, 0], (0.5 - 0.4844) / 0.2295, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_file_that_is_not_sapiens_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"gives no map of features: give Sapiens' pretrained encoder"):
        Sapiens(program(tmp_path, Label()), side=32).tokens(torch.rand(1, 3, 32, 32))
    (tmp_path / "other.pt2").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"other\.pt2 is not a TorchScript program: give Sapiens'"):
        Sapiens(tmp_path / "other.pt2")


def test_hands_tokens_tell_left_from_right_and_which_hand_is_seen():
    hands = HandTokens(SMALL.hands)
    crop = torch.rand(1, 1, 3, 16, 16).expand(1, 2, 3, 16, 16)
    found = hands(crop, torch.tensor([[True, False]]))
    assert found.tokens.shape == (1, 8, 8)
    assert SMALL.hands.tokens == 4
    assert found.seen.tolist() == [[True] * 4 + [False] * 4]
    assert not torch.equal(found.tokens[:, :4], found.tokens[:, 4:])
    with torch.no_grad():
        hands.sides.zero_()
    alike = hands(crop, torch.tensor([[True, True]])).tokens
    torch.testing.assert_close(alike[:, :4], alike[:, 4:])


def test_a_point_is_embedded_by_octaves_of_two_metres():
    embedding = PointEmbedding(6, octaves=3).double()
    point = np.array([0.3, -0.7, 0.11])
    phases = [math.pi * 2**k * x for x in point for k in range(3)]
    features = torch.tensor([*np.sin(phases), *np.cos(phases), *point])
    wanted = embedding.norm(embedding.linear(features))
    # Its frequencies are float32, as those of the published files.
    torch.testing.assert_close(embedding(torch.tensor(point)[None])[0], wanted, atol=1e-5, rtol=1e-5)
    assert embedding.basis.shape == (3, 9)
