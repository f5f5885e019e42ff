"""Physical state supervision (PhysAvatar section 3.3, appendix B): a block of the backbone must know the pose.

In training a head reads the physical state of every frame off the tokens of one block, and is held to it where
the audio was hidden, so that the motion there has to be inferred from the speech around it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vivavoce.timing import FACTOR
from vivavoce.video.wan.sockets import Grid


class StateHead(nn.Module):
    """Proj_Phys: four physical state tokens for each latent frame, by a perceptron of two layers.

    The four are the latent's frames in order; those of the first latent all stand for frame 0, so that
    F = 81 frames have 84 tokens.
    """

    def __init__(self, width: int, *, state_width: int = 1024, hidden: int | None = None) -> None:
        super().__init__()
        hidden = width if hidden is None else hidden
        self.state_width = state_width
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, FACTOR * state_width),
        )

    def forward(self, tapped: Float[Tensor, "B L D"], grid: Grid) -> Float[Tensor, "B S E"]:
        """S = 4 f state tokens from a block's output, whose tokens are averaged over each latent frame.

        Tokens of reference pictures are left out. Raises ValueError for tokens that do not fill the grid.
        """
        if tapped.shape[1] != grid.frames * grid.per_frame:
            raise ValueError(
                f"{tapped.shape[1]} tokens for a grid of {grid.frames} x {grid.height} x {grid.width}"
            )
        frames = tapped.unflatten(1, (grid.frames, grid.per_frame))[:, grid.references :]
        return self.mlp(frames.mean(dim=2)).unflatten(2, (FACTOR, self.state_width)).flatten(1, 2)


def state_loss(
    predicted: Float[Tensor, "B S E"], target: Float[Tensor, "B S E"], audio_mask: Bool[Tensor, "B f"]
) -> Float[Tensor, " B"]:
    """Squared error of each example's state tokens (S = 4 f) at masked latents (PhysAvatar eq. 4), in float32.

    `audio_mask` is False at masked latents. Mean over all values of the example's masked latents; 0 where none is
    masked. Elsewhere the gradient is exactly zero, whatever the target holds there.
    Raises ValueError where there are not four tokens for each latent.
    """
    if predicted.shape[1] != FACTOR * audio_mask.shape[1]:
        raise ValueError(f"{predicted.shape[1]} state tokens for {audio_mask.shape[1]} latent frames")
    masked = ~audio_mask.repeat_interleave(FACTOR, dim=1)
    # Chosen, not multiplied by zero: a frame without a detection may hold NaN.
    difference = torch.where(masked[..., None], predicted.float() - target.float(), 0)
    count = masked.sum(dim=1) * predicted.shape[2]
    return difference.square().sum(dim=(1, 2)) / count.clamp(min=1)
