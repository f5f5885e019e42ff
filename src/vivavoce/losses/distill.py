"""Video score distillation (paper 003, eq. 8): a teacher that draws videos pulls rendered ones to where it is at home.

Eq. 8 noises the rendered video, x = alpha z + sigma eps, lets the teacher guess the noise and hands

    w(sigma) alpha (eps_hat - eps)

back as the gradient by z, without the teacher's own Jacobian. Here z are latents of the teacher's autoencoder,
through whose encoder the gradient goes on to the pixels; on the path of `flow` alpha = 1 - sigma, and a teacher's
velocity v_hat tells its noise by eps_hat = x + (1 - sigma) v_hat. With v = eps - z that leaves

    eps_hat - eps = (1 - sigma) (v_hat - v) = (1 - sigma) / sigma (z - z_hat),

where z_hat = x - sigma v_hat are the clean latents that the teacher sees in x.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from vivavoce.flow import shifted, velocity

Weight = Callable[[Tensor], Tensor]
"""w(sigma), value by value. The papers do not say which."""


def constant(sigma: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """w = 1: the noise's error counts the same at every noise level."""
    return torch.ones_like(sigma)


def variance(sigma: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """w = sigma^2, as score distillation was proposed (Poole et al. 2022, DreamFusion), and the default here.

    Near sigma = 0 a teacher cannot tell the noise from detail: its error there is nearly the drawn noise itself, of
    size 1 whatever was rendered, which a constant weight would make the largest gradient of all.
    """
    return sigma.square()


def estimate(sigma: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """w = sigma / (1 - sigma)^2, for sigma < 1: the gradient is z - z_hat, in the latents' own unit at every level."""
    return sigma / (1 - sigma).square()


def score_gradient(
    latents: Float[Tensor, "B *rest"],
    drawn_velocity: Float[Tensor, "B *rest"],
    *,
    noise: Float[Tensor, "B *rest"],
    sigma: Float[Tensor, "..."],
    weight: Weight = variance,
) -> Float[Tensor, "B *rest"]:
    """Eq. 8 by the latents: w(sigma) (1 - sigma) (eps_hat - eps), detached, in float32 at least.

    `drawn_velocity` is what the teacher predicts, guidance included, at `flow.noised(latents, noise, sigma)`. Sigma in
    [0, 1] is (B,), or (B, 1, f, 1, 1) for latents (B, C, f, h, w): a frame that the teacher was given is at 0, where
    `variance` and `estimate` ask nothing of it.
    """
    wide = torch.promote_types(latents.dtype, torch.float32)
    z, eps, v_hat = (value.detach().to(wide) for value in (latents, noise, drawn_velocity))
    level = sigma.detach().to(wide).reshape(sigma.shape + (1,) * (latents.ndim - sigma.ndim))
    return weight(level) * (1 - level).square() * (v_hat - velocity(z, eps))


def score_distillation(
    latents: Float[Tensor, "B *rest"],
    drawn_velocity: Float[Tensor, "B *rest"],
    *,
    noise: Float[Tensor, "B *rest"],
    sigma: Float[Tensor, "..."],
    weight: Weight = variance,
) -> Float[Tensor, " B"]:
    """A loss whose gradient by each example's latents is exactly `score_gradient`; arguments as there.

    Its value is half the gradient's squared length, summed over the example's latents: 0 where the teacher guesses
    the very noise that was drawn. Being a sum, its size goes with the number of latents.
    """
    gradient = score_gradient(latents, drawn_velocity, noise=noise, sigma=sigma, weight=weight)
    rendered = latents.to(gradient.dtype)
    pulled = rendered.detach() - gradient
    return 0.5 * (rendered - pulled).square().flatten(1).sum(dim=1)


def draw_sigma(
    count: int, generator: torch.Generator, *, low: float = 0.02, high: float = 0.98, shift: float = 1.0
) -> Float[Tensor, " B"]:
    """`count` noise levels in [low, high], spread as the teacher's schedule of this `shift` spreads its steps.

    Uniform where the shift is 1. The default range leaves out the ends, as DreamFusion does: at 1 nothing is left of
    what was rendered, at 0 there is nothing to guess. On the generator's device.
    Raises ValueError for a range outside [0, 1] or a shift that is not positive.
    """
    if not 0 <= low < high <= 1:
        raise ValueError(f"noise levels lie between 0 and 1, low before high, not {low} to {high}")
    if shift <= 0:
        raise ValueError(f"a shift is positive, not {shift}")
    # A shift by 1 / shift is the inverse of a shift, so the ends of the range stay where they were asked for.
    first, last = shifted(torch.tensor([low, high], device=generator.device), 1 / shift)
    uniform = torch.rand(count, generator=generator, device=generator.device)
    return shifted(first + (last - first) * uniform, shift).clamp(low, high)
