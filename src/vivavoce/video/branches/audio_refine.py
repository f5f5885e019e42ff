"""The audio DiT adapter (ApoAvatar, sec. 3.3, eq. 5 and 6): audio tokens refined by the video they go with."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from vivavoce.video.branches.attention import EPS, CrossAttention
from vivavoce.video.wan.sockets import Branch, Conditions, Grid, Moment

TOKENS = "audio.tokens"


class AudioRefinement(Branch):
    """Once a denoising step, the audio window A_t of each latent frame looks at the video tokens X_t of that frame.

    With gamma, beta and s read from the embedding of the denoising time (1, 0 and 1 before training):

        A^_t = gamma * LN(A_t) + beta                                   eq. 5
        C_t  = Attn(A^_t W_q, X_t W_k, X_t W_v)                         eq. 6
        A~_t = s * (A_t + C_t)

    It stands after the audio attention, whose `enter` makes conditions["audio.tokens"] (B, f, n, D), n = 5 in
    the paper, and after the pose adapter, so that X_t holds the pose prior. The refined tokens take the place
    of the old ones, which the frame-wise audio attention (eq. 7) then reads in every block.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPS, elementwise_affine=False)
        self.attention = CrossAttention(width, width, heads=heads)
        self.modulation = nn.Linear(width, 3 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def enter(
        self, tokens: Float[Tensor, "B L D"], conditions: Conditions, moment: Moment
    ) -> tuple[Float[Tensor, "B L D"], Conditions]:
        """The tokens as they are, and the conditions with refined audio; without audio, what was given."""
        if TOKENS not in conditions:
            return tokens, conditions
        audio = conditions[TOKENS]
        video = frames_of(tokens, moment.grid)
        time = nn.functional.silu(_times(moment))
        scale, shift, gate = self.modulation(time).unsqueeze(-2).chunk(3, dim=-1)
        queries = self.norm(audio) * (1 + scale) + shift
        attended = self.attention.frame_wise(queries, video)
        return tokens, {**conditions, TOKENS: (audio + attended) * (1 + gate)}

    def residual(self, layer: int, tokens: Float[Tensor, "B L D"], conditions: Conditions) -> None:
        """Nothing: the audio attention carries the refined tokens into the blocks."""


def frames_of(tokens: Float[Tensor, "B L D"], grid: Grid) -> Float[Tensor, "B f N D"]:
    """The video's tokens by latent frame; those of reference pictures are left out."""
    return tokens.unflatten(1, (grid.frames, grid.per_frame))[:, grid.references :]


def _times(moment: Moment) -> Float[Tensor, "B f D"]:
    """The time embedding of each latent frame; (B, 1, D) where all have the same."""
    if moment.embedding.ndim == 2:
        return moment.embedding.unsqueeze(1)
    return frames_of(moment.embedding, moment.grid).mean(2)
