"""The fast CPU backend against the torch twin in float64."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from vivavoce.errors import InputError
from vivavoce.splat.rasterize import rasterize
from vivavoce.splat.rasterize.cpu import CpuRasterizer
from vivavoce.splat.rasterize.reference import rasterize_reference


def in_float64(scene, background=None):
    return rasterize_reference(
        *(torch.from_numpy(a.astype(np.float64)) for a in scene.gaussians),
        scene.camera,
        background=None if background is None else torch.from_numpy(background.astype(np.float64)),
    )


def test_matches_the_twin(scene):
    image, alpha, depth = (t.numpy() for t in in_float64(scene, scene.background))
    drawn = rasterize(*scene.gaussians, scene.camera, background=scene.background, backend="cpu")
    error = np.abs(drawn.image - image)
    assert error.max() <= 0.1 / 255
    assert error.mean() <= 1e-5
    assert np.abs(drawn.alpha - alpha).max() <= 2e-4
    assert np.isfinite(drawn.depth).all()
    solid = alpha > 0.1
    assert np.abs(drawn.depth - depth)[solid].max(initial=0) <= 1e-2 * depth.max(initial=1)


def gradients_of_the_twin(scene, image_gradient):
    """By opacities and colours, of the scalar product of the picture with `image_gradient`."""
    tensors = [torch.from_numpy(a.astype(np.float64)) for a in scene.gaussians]
    for tensor in tensors[2:]:
        tensor.requires_grad_()
    image, _, _ = rasterize_reference(
        *tensors, scene.camera, background=torch.from_numpy(scene.background.astype(np.float64))
    )
    (image * torch.from_numpy(image_gradient)).sum().backward()
    return tensors[2].grad.numpy(), tensors[3].grad.numpy()


def placed(scene) -> CpuRasterizer:
    rasterizer = CpuRasterizer(scene.camera, len(scene.means))
    rasterizer(*scene.gaussians)
    return rasterizer


def noise(scene, seed=0):
    shape = (scene.camera.height, scene.camera.width, 3)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_color_gradient_is_the_adjoint_of_blend(cloud):
    rasterizer = placed(cloud)
    colors, image_gradient = np.random.default_rng(1).normal(size=cloud.colors.shape), noise(cloud)
    colors = colors.astype(np.float32)
    image, _ = rasterizer.blend(colors)
    forth = np.vdot(image.astype(np.float64), image_gradient)
    back = np.vdot(colors.astype(np.float64), rasterizer.color_gradient(image_gradient))
    assert forth == pytest.approx(back, rel=1e-4)
    _, by_color = gradients_of_the_twin(cloud, image_gradient)
    assert by_color == pytest.approx(rasterizer.color_gradient(image_gradient), abs=1e-3)


def test_visible_weights_add_up_to_alpha(cloud):
    rasterizer = placed(cloud)
    _, alpha, _ = in_float64(cloud)
    weights = rasterizer.visible_weight()
    assert weights.sum() == pytest.approx(alpha.sum().item(), rel=1e-5)
    _, by_color = gradients_of_the_twin(cloud, np.ones((*alpha.shape, 3)))
    assert weights == pytest.approx(by_color[:, 0], abs=1e-3)


def test_blend_in_other_colors_is_a_new_call(cloud):
    rasterizer = placed(cloud)
    colors = cloud.colors[::-1]
    again = rasterizer.blend(colors)[0].copy()
    fresh, _ = CpuRasterizer(cloud.camera, 1000)(*cloud.gaussians[:3], colors)
    assert (again == fresh).all()


def test_presorted_gaussians_are_drawn_in_the_order_given(cloud):
    rasterizer = CpuRasterizer(cloud.camera, len(cloud.means))
    order = np.argsort(cloud.means[:, 2], kind="stable")
    sorted_, _ = rasterizer(*(a[order] for a in cloud.gaussians))
    expected = sorted_.copy()
    rasterizer.place(*(a[order] for a in cloud.gaussians[:3]), presorted=True)
    assert (rasterizer.blend(cloud.colors[order])[0] == expected).all()

    back_to_front = order[::-1]
    rasterizer.place(*(a[back_to_front] for a in cloud.gaussians[:3]), presorted=True)
    assert np.abs(rasterizer.blend(cloud.colors[back_to_front])[0] - expected).max() > 0.1


def test_one_object_draws_scenes_of_different_length(cloud):
    rasterizer = CpuRasterizer(cloud.camera, len(cloud.means))
    first = rasterizer(*cloud.gaussians)[0].copy()
    few, transmittance = rasterizer(*(a[:0] for a in cloud.gaussians))
    assert not few.any()
    assert (transmittance == 1).all()
    assert (rasterizer(*cloud.gaussians)[0] == first).all()


def test_more_than_capacity_is_refused(cloud):
    with pytest.raises(InputError, match=f"capacity={len(cloud.means)}"):
        CpuRasterizer(cloud.camera, 3)(*cloud.gaussians)


def test_threads_draw_side_by_side(cloud):
    """Each thread has its own object; pictures are those of one thread."""
    scales = np.linspace(0.5, 1.5, 8, dtype=np.float32)
    alone = CpuRasterizer(cloud.camera, 1000)
    expected = [alone(s * cloud.means, *cloud.gaussians[1:])[0].copy() for s in scales]
    drawn: dict[int, np.ndarray] = {}

    def work(first):
        rasterizer = CpuRasterizer(cloud.camera, 1000)
        for i in range(first, len(scales), 2):
            drawn[i] = rasterizer(scales[i] * cloud.means, *cloud.gaussians[1:])[0].copy()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((drawn[i] == expected[i]).all() for i in range(len(scales)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_drawn(cloud, bad):
    """A mean, covariance or opacity out of numbers costs that Gaussian only."""
    clean = rasterize(*(a[3:] for a in cloud.gaussians), cloud.camera, backend="cpu").image
    means, covariances, opacities, colors = (a.copy() for a in cloud.gaussians)
    means[0, 0], covariances[1, 0], means[2, 2] = bad, bad, bad
    if bad != np.inf:
        opacities[0] = bad
    image = rasterize(means, covariances, opacities, colors, cloud.camera, backend="cpu").image
    assert np.abs(image - clean).max() < 1e-6


def test_read_only_and_strided_arrays_are_taken(cloud):
    twice = [np.repeat(a, 2, axis=0)[::2] for a in cloud.gaussians]
    for array in twice:
        array.flags.writeable = False
    expected = rasterize(*cloud.gaussians, cloud.camera, backend="cpu").image
    assert (rasterize(*twice, cloud.camera, backend="cpu").image == expected).all()
