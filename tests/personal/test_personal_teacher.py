"""A teacher draws from a photo, and pulls rendered frames to where it is at home."""

from dataclasses import replace

import numpy as np
import pytest
import taught
import torch

from vivavoce.errors import InputError
from vivavoce.features.loudness import leveled
from vivavoce.flow import noised
from vivavoce.losses.distill import draw_sigma
from vivavoce.personal.teacher import Teacher, encoded_with_gradient, teacher_named
from vivavoce.video.maker import Scene, Span
from vivavoce.video.plan import Plan
from vivavoce.video.sample.guidance import variants
from vivavoce.video.vae import encoded

pytestmark = pytest.mark.filterwarnings("ignore:.*untrained weights")
FRAMES = 9


@pytest.fixture(scope="module")
def teacher():
    return Teacher(taught.TEACHER, device="cpu")


@pytest.fixture(scope="module")
def scene():
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    sound = random.normal(0, 0.1, 16_000).astype(np.float32)
    return Scene(picture, leveled(sound), Plan(base="Somebody speaks."), 25, 25.0)


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(FRAMES, 32, 32, 3, generator=generator).requires_grad_(True)


def test_latents_with_their_gradient_are_those_without(teacher, pictures):
    vae = teacher.method.make.vae
    frames = pictures.movedim(-1, 0)[None] * 2 - 1
    latents = encoded_with_gradient(vae, frames)
    assert torch.equal(latents.detach(), encoded(vae, frames.detach()))
    generator = torch.Generator().manual_seed(2)
    weights, way = (
        torch.randn(latents.shape, generator=generator),
        torch.randn(frames.shape, generator=generator),
    )
    (gradient,) = torch.autograd.grad((latents * weights).sum(), frames)
    near = [((encoded(vae, frames.detach() + h * way) * weights).double().sum()) for h in (1e-3, -1e-3)]
    along = float((gradient * way).sum())
    assert along == pytest.approx(float(near[0] - near[1]) / 2e-3, rel=2e-2)
    assert all(gradient[:, :, t].abs().max() > 0 for t in range(FRAMES))


@pytest.mark.parametrize("first", [0, 8])
def test_the_score_is_equation_8_with_the_teachers_own_guidance(teacher, scene, pictures, first):
    method = teacher.method
    given = (
        (255 * pictures.detach()[:5]).to(torch.uint8).numpy() if first else np.zeros((0, 32, 32, 3), np.uint8)
    )
    found = teacher.score(
        pictures, scene, first=first, given=given, generator=torch.Generator().manual_seed(3)
    )
    (gradient,) = torch.autograd.grad(found, pictures)

    z = encoded_with_gradient(method.make.vae, pictures.movedim(-1, 0)[None] * 2 - 1)
    photo = torch.from_numpy(scene.photo).float().permute(2, 0, 1)[None, :, None] / 127.5 - 1
    whole = torch.cat([encoded(method.make.vae, photo), z.detach()], dim=2)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(whole.shape, generator=generator)
    sigma = draw_sigma(1, generator, shift=taught.TEACHER.shift)
    with torch.no_grad():
        told = method.network.conditions(method.make, scene, Span(first, FRAMES, {0: given} if first else {}))
        nulls = {"text": method.make.text([taught.TEACHER.negative]).features}
        x = noised(whole, noise, sigma)
        nothing, text, full = (
            method.network(x, sigma, variants(told, [frozenset(gone)], nulls)).sample
            for gone in ({"text", "audio"}, {"audio"}, set())
        )
    scales = taught.TEACHER.scales
    velocity = nothing + scales["text"] * (text - nothing) + scales["audio"] * (full - text)
    error = (velocity - (noise - whole))[:, :, 1:]
    pull = sigma**2 * (1 - sigma) ** 2 * error / z.numel()
    (wanted,) = torch.autograd.grad(z, pictures, pull)
    torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-9)
    assert gradient.abs().max() > 0


def test_frames_that_are_given_without_noise_are_not_pulled(scene, pictures):
    teacher = Teacher(taught.tiny.method("actavatar"), device="cpu")
    given = (255 * pictures.detach()[:5]).to(torch.uint8).numpy()
    found = teacher.score(pictures, scene, first=8, given=given, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad(found, pictures)
    assert gradient[5:].abs().max() > 0
    z = encoded_with_gradient(teacher.method.make.vae, pictures.movedim(-1, 0)[None] * 2 - 1)
    (of_last,) = torch.autograd.grad(z[:, :, 2:].sum(), pictures)
    # The latent of the last frames sees the first ones; nothing else leads to them.
    assert (gradient[:5].abs().amax(dim=(1, 2, 3)) > 0).tolist() == (
        of_last[:5].abs().amax(dim=(1, 2, 3)) > 0
    ).tolist()


def test_the_open_domain_model_is_the_backbone_alone(teacher):
    alone = teacher.open_domain
    network = alone.method.network
    assert not network.parts
    assert dict(alone.config.scales) == {"text": taught.TEACHER.scales["text"]}
    assert alone.config.encoder.kind == "log-mel"
    ours, theirs = (m.state_dict() for m in (network.backbone, teacher.method.network.backbone))
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (None, "Who teaches the avatar is not said: give one of "),
        ("splat", "'splat' is no method of the video family, as a teacher must be: give one of "),
        ("nobody", "'nobody' is no method of the video family"),
    ],
)
def test_who_is_no_teacher_is_told_in_one_sentence(name, told):
    with pytest.raises(InputError, match=told) as error:
        teacher_named(name)
    assert "physavatar-miniature" in str(error.value)


def test_a_method_that_draws_nobody_from_a_photo_is_refused(monkeypatch):
    blind = replace(taught.TEACHER, name="blind", modes=frozenset())
    monkeypatch.setattr("vivavoce.personal.teacher.all_methods", lambda: {"blind": blind})
    monkeypatch.setattr("vivavoce.methods.all_methods", lambda: {"blind": blind})
    with pytest.raises(InputError, match="blind draws nobody from a photo"):
        teacher_named("blind")
