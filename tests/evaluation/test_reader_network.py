"""The reader's network: shapes, places by soft-argmax, the closer look."""

import numpy as np
import torch

from vivavoce.evaluation.reader_network import (
    BODY_POINTS,
    HEAD_POINTS,
    LOOK,
    REACH,
    SIZE,
    ReaderNetwork,
    cells,
    expected,
    looked_at,
    with_places,
)


def _network():
    torch.manual_seed(0)
    return ReaderNetwork().eval()


def _pictures(count=2):
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def test_shapes_are_those_that_are_told():
    seen = _network()(_pictures())
    assert seen.body.points.shape == (2, len(BODY_POINTS), 2)
    assert seen.body.heat.shape == (2, len(BODY_POINTS), SIZE // 4, SIZE // 4)
    assert seen.body.seen.shape == (2, len(BODY_POINTS))
    assert seen.head.points.shape == (2, len(HEAD_POINTS), 2)
    assert seen.head.heat.shape == (2, len(HEAD_POINTS), LOOK // 2, LOOK // 2)
    assert (seen.aperture.shape, seen.angles.shape) == ((2,), (2, 3))
    torch.testing.assert_close(seen.identity.norm(dim=1), torch.ones(2))


def test_a_place_is_the_mean_of_the_softmax_over_the_cells():
    seen = _network()(_pictures(1))
    logits = seen.body.heat[0, 3].detach().numpy().astype(np.float64)
    share = np.exp(logits) / np.exp(logits).sum()
    places = [(2 * k + 1) / 24 - 1 for k in range(24)]
    x = sum(share[i, k] * places[k] for i in range(24) for k in range(24))
    y = sum(share[i, k] * places[i] for i in range(24) for k in range(24))
    np.testing.assert_allclose(seen.body.points[0, 3].detach().numpy(), [x, y], atol=1e-6)


def test_a_share_between_two_cells_is_a_place_between_them():
    share = torch.zeros(1, 1, 4, 8)
    share[0, 0, 1, 5], share[0, 0, 1, 6] = 0.75, 0.25
    x = cells(8)
    torch.testing.assert_close(
        expected(share)[0, 0], torch.stack([0.75 * x[5] + 0.25 * x[6], torch.tensor(-0.25)])
    )


def test_a_point_is_seen_as_its_place_says():
    """Visibility is that of the cells where the heatmap is."""
    network = _network()
    with torch.no_grad():
        network.body.seen.weight.zero_()
        network.body.seen.bias.fill_(1.5)
    torch.testing.assert_close(network(_pictures()).body.seen, torch.full((2, len(BODY_POINTS)), 1.5))


def test_the_closer_look_shows_the_pixels_around_its_place():
    """A picture whose colour tells x and y is looked at where the cells of the square lie."""
    places = with_places(torch.zeros(2, 3, SIZE, SIZE))[:, 3:]
    pictures = torch.cat([places, places[:, :1]], dim=1)
    centre = torch.tensor([[0.1, -0.3], [-0.2, 0.25]])
    look = looked_at(pictures, centre, REACH, LOOK)
    square = REACH * (2 * (np.arange(LOOK) + 0.5) / LOOK - 1)
    for k in range(2):
        np.testing.assert_allclose(
            look[k, 0].numpy(), np.tile(square + centre[k, 0].item(), (LOOK, 1)), atol=1e-5
        )
        np.testing.assert_allclose(look[k, 1, :, 0].numpy(), square + centre[k, 1].item(), atol=1e-5)


def test_beyond_the_picture_goes_on_what_is_at_its_edge():
    pictures = with_places(torch.zeros(1, 3, SIZE, SIZE))[:, 2:]
    look = looked_at(pictures, torch.tensor([[-1.0, 0.0]]), REACH, LOOK)
    torch.testing.assert_close(look[0, 1, :, 0], torch.full((LOOK,), 1 / SIZE - 1))


def test_the_closer_look_goes_where_the_face_is_read():
    network, pictures = _network(), _pictures()
    free = network(pictures)
    torch.testing.assert_close(free.centre, free.body.points[:, :5].mean(dim=1))
    led = network(pictures, free.centre)
    torch.testing.assert_close(led.head.points, free.head.points)
    elsewhere = network(pictures, free.centre + 0.2)
    assert not torch.allclose(elsewhere.angles, free.angles)


def test_colour_and_light_of_the_skin_open_no_mouth():
    network, pictures = _network(), _pictures()
    gains, shift = torch.tensor([0.5, 0.8, 0.3])[:, None, None], torch.tensor([0.1, -0.2, 0.3])[:, None, None]
    mouths = looked_at(pictures, torch.zeros(2, 2), 0.12, 16)
    torch.testing.assert_close(
        network.mouth(mouths * gains + shift), network.mouth(mouths), atol=1e-4, rtol=0
    )


def test_every_parameter_has_a_gradient():
    network = _network()
    seen = network(_pictures())
    parts = (seen.body.points, seen.body.seen, seen.head.points, seen.head.seen, seen.aperture, seen.angles)
    (sum(part.square().sum() for part in parts) + seen.identity[:, 0].sum()).backward()
    assert [name for name, value in network.named_parameters() if not value.grad.abs().sum()] == []
