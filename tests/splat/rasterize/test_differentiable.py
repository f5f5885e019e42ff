"""Gradients of pictures against the torch twin in float64, finite differences and closed forms."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from vivavoce.errors import InputError
from vivavoce.splat.rasterize.cpu import CpuRasterizer
from vivavoce.splat.rasterize.differentiable import rasterize_differentiable
from vivavoce.types import Camera

NAMES = ("means", "covariances", "opacities", "colors", "background")


@pytest.fixture
def threads():
    """`threads(n)` lets torch, and so the rasteriser, use n of them."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def leaves(scene, dtype=torch.float32) -> list[torch.Tensor]:
    return [torch.tensor(a, dtype=dtype, requires_grad=True) for a in (*scene.gaussians, scene.background)]


def noise(shape, seed) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(scene, backend, *, of=(0, 1, 2), dtype=torch.float32):
    """Of noise . image + noise . alpha + noise . depth, those named in `of`, and the least transmittance."""
    tensors = leaves(scene, dtype)
    drawn = rasterize_differentiable(
        *tensors[:4], scene.camera, background=tensors[4], backend=backend, with_depth=True
    )
    loss = sum((drawn[i].double() * noise(drawn[i].shape, i)).sum() for i in of)
    found = torch.autograd.grad(loss, tensors, materialize_grads=True)
    return dict(zip(NAMES, (g.double() for g in found), strict=True)), (1 - drawn[1]).min().item()


def twin(scene, **options):
    return gradients(scene, "reference", dtype=torch.float64, **options)


def largest(tensor: torch.Tensor) -> float:
    return tensor.abs().max().item() if tensor.numel() else 0.0


def test_gradients_match_the_twin(scene):
    """All kinds of scenes, image, alpha and depth together; from 1.5e-4 on a pixel may have ended early."""
    truth, light = twin(scene)
    ours, _ = gradients(scene, "cpu")
    tolerance = 1e-4 if light > 1.5e-4 else 1e-3
    for name in NAMES:
        scale = 5 if name == "background" else largest(truth[name])  # the noise goes up to five
        assert largest(ours[name] - truth[name]) <= tolerance * scale, name


@pytest.mark.parametrize("scene", [6, 24, 44], indirect=True)
@pytest.mark.parametrize("output", [0, 1, 2], ids=["image", "alpha", "depth"])
def test_each_output_alone_matches_the_twin(scene, output):
    truth, _ = twin(scene, of=(output,))
    ours, _ = gradients(scene, "cpu", of=(output,))
    for name in NAMES[:4]:
        assert largest(ours[name] - truth[name]) <= 2e-5 * largest(truth[name]), name
    assert (largest(truth["colors"]) > 0) == (output == 0)


def test_a_saturated_picture_ends_early_in_both_directions():
    """200 veils, each wider than the picture: kernels stop after the nearest 64, the first chunk of a tile."""
    rng, camera = np.random.default_rng(0), Camera(32, 16, 20.0, 16.0, 8.0)
    z = np.linspace(1, 2, 200)
    veils = [
        np.stack([rng.uniform(-0.1, 0.1, 200), rng.uniform(-0.1, 0.1, 200), z], 1),
        np.tile([2.0, 0.1, 0, 2, 0, 0.1], (200, 1)),
        rng.uniform(0.3, 0.6, 200),
        rng.uniform(0, 1, (200, 3)),
    ]
    results = []
    for backend, dtype in (("cpu", torch.float32), ("reference", torch.float64)):
        tensors = [torch.tensor(a, dtype=dtype, requires_grad=True) for a in veils]
        image, _, _ = rasterize_differentiable(*tensors, camera, backend=backend)
        results.append(torch.autograd.grad((image.double() * noise(image.shape, 0)).sum(), tensors))
    for ours, truth in zip(*results, strict=True):
        assert (ours[:64] != 0).any()
        assert not ours[64:].any()
        assert 0 < largest(truth[64:]) < 1e-4 * largest(truth)
        assert largest(ours - truth) <= 1e-4 * largest(truth)


def test_gradients_match_central_differences():
    """Of the twin in float64, one number of each Gaussian at a time; alphas lie between cut-off and clamp."""
    generator = np.random.default_rng(0)
    camera = Camera(4, 3, 20.0, 2.2, 1.4)
    root = generator.uniform(-0.05, 0.05, (5, 3, 3)) + 0.3 * np.eye(3)
    covariances = (root @ root.transpose(0, 2, 1))[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    means = np.concatenate([generator.uniform(-0.1, 0.1, (5, 2)), generator.uniform(0.8, 1.5, (5, 1))], 1)
    inputs = [means, covariances, generator.uniform(0.2, 0.8, 5), generator.uniform(0, 1, (5, 3))]
    inputs.append(generator.uniform(0, 1, (3, 4, 3)))

    def loss(arrays, backend, **kind):
        tensors = [torch.tensor(a, requires_grad=True, **kind) for a in arrays]
        drawn = rasterize_differentiable(
            *tensors[:4], camera, background=tensors[4], backend=backend, with_depth=True
        )
        value = sum((d.double() * noise(d.shape, i)).sum() for i, d in enumerate(drawn))
        return value, tensors

    value, tensors = loss(inputs, "cpu", dtype=torch.float32)
    ours = torch.autograd.grad(value, tensors)
    for which, array in enumerate(inputs):
        for at in range(0, array.size, 1 if which < 4 else 7):
            step = np.zeros(array.size)
            step[at] = 1e-6
            sides = []
            for sign in (1, -1):
                moved = [*inputs]
                moved[which] = array + sign * step.reshape(array.shape)
                sides.append(loss(moved, "reference", dtype=torch.float64)[0].item())
            assert ours[which].flatten()[at].item() == pytest.approx(
                (sides[0] - sides[1]) / 2e-6, rel=1e-4, abs=1e-4
            )


def one_gaussian(mean, opacity=0.8, covariance=(0.01, 0, 0, 0.01, 0, 0.01)):
    arrays = [[mean], [covariance], [opacity], [[0.9, 0.5, 0.1]]]
    return [torch.tensor(a, dtype=torch.float32, requires_grad=True) for a in arrays]


def test_a_clamped_alpha_moves_with_nothing_but_its_color():
    gaussian = one_gaussian([0.0, 0, 1], 1.0)
    image, alpha, _ = rasterize_differentiable(*gaussian, Camera(1, 1, 10.0, 0.5, 0.5))
    means, covariances, opacities, colors = torch.autograd.grad(image.sum() + alpha.sum(), gaussian)
    assert not means.any()
    assert not covariances.any()
    assert not opacities.any()
    assert colors[0].tolist() == pytest.approx([0.99] * 3)


def test_of_a_wide_clamped_splat_the_rim_moves():
    """Next to the clamped pixel alpha is below 0.99, and its gradient by opacity is alpha over opacity."""
    gaussian = one_gaussian([0.0, 0, 1], 1.0)
    _, alpha, _ = rasterize_differentiable(*gaussian, Camera(3, 1, 10.0, 1.5, 0.5))
    (by_opacity,) = torch.autograd.grad(alpha.sum(), gaussian[2])
    assert by_opacity.item() == pytest.approx(2 * math.exp(-0.5 / 1.3), rel=1e-5)


@pytest.mark.parametrize(
    ("mean", "opacity"),
    [
        ([0.0, 0, -1], 0.8),
        ([0.0, 0, 0.0099], 0.8),
        ([0.0, 0, math.nan], 0.8),
        ([0.0, math.inf, 1], 0.8),
        ([50.0, 0, 1], 0.8),
        ([0.0, 0, 1], 1 / 256),
    ],
    ids=["behind", "too near", "not a number", "infinite", "outside", "faint"],
)
def test_what_is_not_drawn_has_no_gradient_and_changes_no_other(mean, opacity):
    camera = Camera(21, 19, 20.0, 10.0, 9.5)
    seen, unseen = one_gaussian([0.1, 0, 1]), one_gaussian(mean, opacity)

    def all_gradients(gaussians):
        image, alpha, depth = rasterize_differentiable(*gaussians, camera, with_depth=True)
        return torch.autograd.grad((image**2).sum() + (alpha**3).sum() + depth.sum(), gaussians)

    alone = all_gradients(seen)
    both = all_gradients([torch.cat([u, s]) for u, s in zip(unseen, seen, strict=True)])
    for one, two in zip(alone, both, strict=True):
        assert not two[0].any()
        assert (two[1] == one[0]).all()
        assert one.any()


@pytest.mark.parametrize("x", [0.3, 0.49, 0.6, math.tan(math.radians(80))])
def test_partly_outside_and_where_the_jacobian_is_held(x):
    """Thin along the axis and slanted, so that the Jacobian's last column, held from 0.65 on, matters most."""
    camera = Camera(10, 13, 10.0, 5.0, 5.0)
    results = []
    for backend, dtype in (("cpu", torch.float32), ("reference", torch.float64)):
        gaussian = one_gaussian([x, 0.1, 1], 0.9, (0.02, 0.003, 0.1, 0.03, -0.05, 40.0))
        tensors = [t.detach().to(dtype).requires_grad_() for t in gaussian]
        image, alpha, _ = rasterize_differentiable(*tensors, camera, backend=backend)
        loss = (image.double() ** 2).sum() + (alpha.double() * noise(alpha.shape, 0)).sum()
        results.append(torch.autograd.grad(loss, tensors))
    for ours, truth in zip(*results, strict=True):
        assert largest(truth) > 0
        assert largest(ours - truth) <= 2e-5 * largest(truth)


def test_the_background_of_one_color_gets_the_sum_over_pixels(cloud):
    color = torch.tensor([0.2, 0.4, 0.6], requires_grad=True)
    gaussians = leaves(cloud)[:4]
    image, alpha, _ = rasterize_differentiable(*gaussians, cloud.camera, background=color)
    weights = noise(image.shape, 0).float()
    by_color, *by_gaussians = torch.autograd.grad((image * weights).sum(), [color, *gaussians])
    expected = ((1 - alpha)[..., None] * weights).sum((0, 1))
    assert by_color.tolist() == pytest.approx(expected.tolist(), rel=1e-5)

    picture = color.detach().expand_as(image)
    image, _, _ = rasterize_differentiable(*gaussians, cloud.camera, background=picture)
    for one, other in zip(by_gaussians, torch.autograd.grad((image * weights).sum(), gaussians), strict=True):
        assert (one == other).all()


def test_a_batch_is_its_frames(cloud, threads):
    """Two persons of two frames, the colours shared by all: their gradient is the sum."""
    threads(2)
    scales = torch.tensor([0.6, 0.9, 1.1, 1.4]).reshape(2, 2, 1, 1)
    means, covariances, opacities, colors, background = leaves(cloud)
    weights = noise((2, 2, *background.shape), 0).float()

    def shared(tensor):
        return tensor.expand(2, 2, *tensor.shape)

    image, alpha, depth = rasterize_differentiable(
        scales * means,
        shared(covariances),
        shared(opacities),
        shared(colors),
        cloud.camera,
        background=background,
        with_depth=True,
    )
    at_once = torch.autograd.grad((image * weights).sum(), [means, colors, background])
    total = [torch.zeros_like(g) for g in at_once]
    for i, j in np.ndindex(2, 2):
        one = rasterize_differentiable(
            scales[i, j] * means,
            covariances,
            opacities,
            colors,
            cloud.camera,
            background=background,
            with_depth=True,
        )
        assert (one[0] == image[i, j]).all()
        assert (one[1] == alpha[i, j]).all()
        assert (one[2] == depth[i, j]).all()
        found = torch.autograd.grad((one[0] * weights[i, j]).sum(), [means, colors, background])
        total = [t + g for t, g in zip(total, found, strict=True)]
    for one, other in zip(at_once, total, strict=True):
        assert largest(one - other) <= 1e-5 * largest(other)


@pytest.mark.parametrize("batch", [(0,), (2, 0)])
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_batch_of_nothing_is_empty(batch, backend):
    camera = Camera(7, 5, 10.0, 3.5, 2.5)
    shapes = ((3, 3), (3, 6), (3,), (3, 3))
    drawn = rasterize_differentiable(
        *(torch.zeros(*batch, *s) for s in shapes), camera, backend=backend, with_depth=True
    )
    assert [d.shape for d in drawn] == [(*batch, 5, 7, 3), (*batch, 5, 7), (*batch, 5, 7)]


@pytest.mark.parametrize("scene", [20], indirect=True, ids=["many tiles"])
@pytest.mark.parametrize("frames", [1, 3])
def test_any_number_of_threads_gives_the_same_bits(scene, threads, frames):
    results = []
    for count in (1, 2, 3, 7):
        threads(count)
        tensors = leaves(scene)
        stacked = [torch.stack([t * (1 + 0.01 * f) for f in range(frames)]) for t in tensors]
        image, _, _ = rasterize_differentiable(*stacked[:4], scene.camera, background=stacked[4])
        results.append(torch.autograd.grad((image * noise(image.shape, 0).float()).sum(), tensors))
    for other in results[1:]:
        assert all((a == b).all() for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("asked", range(5), ids=NAMES)
def test_one_gradient_alone_is_the_same_as_among_all(cloud, asked):
    every, _ = gradients(cloud, "cpu", of=(0,))
    tensors = [t.detach() for t in leaves(cloud)]
    tensors[asked].requires_grad_()
    image, _, _ = rasterize_differentiable(*tensors[:4], cloud.camera, background=tensors[4])
    (image * noise(image.shape, 0)).sum().backward()
    assert [t.grad is not None for t in tensors] == [i == asked for i in range(5)]
    alone = tensors[asked].grad.double()
    assert largest(alone - every[NAMES[asked]]) <= 1e-6 * largest(alone)


def test_nothing_is_worked_out_that_is_not_asked_for(cloud, monkeypatch):
    """Colours alone go through the adjoint of blending, a background through no kernel at all."""

    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setattr(CpuRasterizer, "gradients", refuse)
    *gaussians, background = (t.detach() for t in leaves(cloud))
    gaussians[3].requires_grad_()
    image, _, _ = rasterize_differentiable(*gaussians, cloud.camera)
    image.sum().backward()
    assert gaussians[3].grad.any()

    monkeypatch.setattr(CpuRasterizer, "color_gradient", refuse)
    gaussians[3].requires_grad_(False)
    image, _, _ = rasterize_differentiable(*gaussians, cloud.camera, background=background.requires_grad_())
    image.sum().backward()
    assert background.grad.any()
    assert not rasterize_differentiable(*gaussians, cloud.camera)[0].requires_grad


def test_memory_is_far_below_pixels_times_gaussians(cloud):
    """The twin keeps several numbers for each pixel and Gaussian; here no array is of that size."""
    tensors = [t.detach().repeat(20, *[1] * (t.dim() - 1)).requires_grad_() for t in leaves(cloud)[:4]]
    products = 4 * len(tensors[0]) * cloud.camera.width * cloud.camera.height
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    tracemalloc.start()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        image, alpha, _ = rasterize_differentiable(*tensors, cloud.camera)
    (image.sum() + alpha.sum()).backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < products / 5
    assert sum(t.numel() for t in kept) <= sum(t.numel() for t in [*tensors, image, alpha])


def test_float64_goes_through_the_kernels_and_back(cloud):
    tensors = leaves(cloud, torch.float64)
    image, _, _ = rasterize_differentiable(*tensors[:4], cloud.camera, background=tensors[4])
    assert image.dtype == torch.float32
    image.sum().backward()
    assert {t.grad.dtype for t in tensors} == {torch.float64}
    reference, _, depth = rasterize_differentiable(*tensors[:4], cloud.camera, backend="reference")
    assert reference.dtype == torch.float64
    assert depth is None


def test_a_second_derivative_is_refused(cloud):
    tensors = leaves(cloud)[:4]
    image, _, _ = rasterize_differentiable(*tensors, cloud.camera)
    first = torch.autograd.grad((image**2).sum(), tensors, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first[0].sum().backward()


def test_descent_brings_a_gaussian_onto_its_picture():
    """BFGS moves mean and opacity from the axis to those that the target was drawn with."""
    camera, truth = Camera(40, 24, 40.0, 20.0, 12.0), [0.12, -0.05, 1.2, 0.7]
    target, _, _ = rasterize_differentiable(*one_gaussian(truth[:3], truth[3]), camera)
    _, covariances, _, colors = one_gaussian([0.0, 0, 1])

    def loss(x):
        numbers = torch.tensor(x, dtype=torch.float32, requires_grad=True)
        image, _, _ = rasterize_differentiable(numbers[None, :3], covariances, numbers[3:], colors, camera)
        value = (image - target.detach()).square().sum()
        return value.item(), torch.autograd.grad(value, numbers)[0].double().numpy()

    found = minimize(loss, [0, 0, 1, 0.3], jac=True, method="BFGS")
    assert found.x == pytest.approx(truth, abs=1e-3)
    assert loss([0, 0, 1, 0.3])[0] > 1


def test_backends_that_cannot_be_are_refused(cloud):
    gaussians = leaves(cloud)[:4]
    with pytest.raises(InputError, match="vulkan"):
        rasterize_differentiable(*gaussians, cloud.camera, backend="vulkan")
    with pytest.raises(InputError, match=r"'meta'.*'auto'"):
        rasterize_differentiable(*(t.to("meta") for t in gaussians), cloud.camera)
    with pytest.raises(InputError, match="cuda"):
        rasterize_differentiable(*gaussians, cloud.camera, backend="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gsplat_has_the_twins_gradients(cloud):
    pytest.importorskip("gsplat")
    truth, _ = twin(cloud)
    tensors = [t.detach().cuda().requires_grad_() for t in leaves(cloud)]
    drawn = rasterize_differentiable(*tensors[:4], cloud.camera, background=tensors[4], with_depth=True)
    loss = sum((d.double() * noise(d.shape, i).cuda()).sum() for i, d in enumerate(drawn))
    for name, found in zip(NAMES, torch.autograd.grad(loss, tensors), strict=True):
        assert largest(found.cpu() - truth[name]) <= 5e-3 * largest(truth[name]), name
