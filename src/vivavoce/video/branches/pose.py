"""The pose adapter (ApoAvatar, fig. 2): a drawn pose sequence, encoded and added to the video tokens."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vivavoce.errors import InputError
from vivavoce.timing import video_frames
from vivavoce.video.wan.sockets import Branch, Conditions, Grid, Moment


class PoseAdapter(Branch):
    """Pose features, element-wise onto the tokens of their place and latent frame, before the first block.

    Causal in time by the video VAE's rule: latent frame i sees the drawn frames 0 .. 4 i. There is no bias
    anywhere, so that the null pose (all zeros) adds exactly nothing, as a dropped frame does.

    Reads conditions["pose"] (B, 3, F, H, W) in [-1, 1], where the background of a drawing is -1, and
    conditions["pose_keep"] (B, f), False where audio-guided dropout took the frame's features (Bernoulli(1 - p)
    of eq. 4, on the embeddings). Without "pose" nothing is added. It stands before the branches that read the
    video tokens in their `enter`: they see the pose as well.
    """

    def __init__(self, width: int, *, stride: int, channels: int = 64) -> None:
        """`stride`: pixels a token in space, the VAE's factor times the patch, a power of two from 8 on."""
        super().__init__()
        halvings = stride.bit_length() - 1
        if stride != 2**halvings or halvings < 3:
            raise ValueError(f"a pose adapter's stride is a power of two from 8 on, not {stride}")
        self.stride = stride
        # Four pixels and two frames at once: at the video's own size a feature map would fill the memory.
        layers = _causal(3, channels, kernel=(3, 4, 4), stride=(2, 4, 4))
        for i in range(halvings - 2):
            wider = min(2 * channels, width)
            layers += _causal(channels, wider, kernel=(3, 3, 3), stride=(1 if i else 2, 2, 2))
            channels = wider
        self.encoder = nn.Sequential(*layers)
        self.project = nn.Linear(channels, width, bias=False)
        nn.init.zeros_(self.project.weight)

    def enter(
        self, tokens: Float[Tensor, "B L D"], conditions: Conditions, moment: Moment
    ) -> tuple[Float[Tensor, "B L D"], Conditions]:
        """The tokens with the pose added; those of reference pictures as they are.

        Raises InputError for a pose sequence of another length or frame size than the video's.
        """
        if "pose" not in conditions:
            return tokens, conditions
        features = self.encoded(conditions["pose"], conditions.get("pose_keep"), moment.grid)
        reference = moment.grid.references * moment.grid.per_frame
        head, video = tokens[:, :reference], tokens[:, reference:]
        return torch.cat([head, video + features.to(video.dtype)], dim=1), conditions

    def residual(self, layer: int, tokens: Float[Tensor, "B L D"], conditions: Conditions) -> None:
        """Nothing: the pose goes in once, before the blocks."""

    def encoded(
        self, pose: Float[Tensor, "B 3 F H W"], keep: Bool[Tensor, "B f"] | None, grid: Grid
    ) -> Float[Tensor, "B l D"]:
        """What is added to each of the video's tokens, in their order."""
        latents = grid.frames - grid.references
        wanted = (video_frames(latents), grid.height * self.stride, grid.width * self.stride)
        if pose.shape[2:] != wanted:
            given, right = (f"{n} frames of {w} x {h}" for n, h, w in (tuple(pose.shape[2:]), wanted))
            raise InputError(
                f"The pose sequence has {given} pixels, the video {right}: cut and scale it to that."
            )
        cells = self.encoder(pose.to(self.project.weight.dtype)).movedim(1, -1)
        if keep is not None:
            cells = cells * keep[:, :, None, None, None]
        return self.project(cells).flatten(1, 3)


def _causal(
    before: int, after: int, *, kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> list[nn.Module]:
    """A convolution that sees, in time, its own frame and those before it only."""
    rows, columns = kernel[1] - stride[1], kernel[2] - stride[2]
    pad = nn.ConstantPad3d((columns, 0, rows, 0, kernel[0] - 1, 0), 0.0)
    return [pad, nn.Conv3d(before, after, kernel, stride, bias=False), nn.SiLU()]
