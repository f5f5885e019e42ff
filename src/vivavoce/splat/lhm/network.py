"""The large reconstruction network: pictures and template points in, Gaussians in template space out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn.functional import pad

from vivavoce.errors import InputError
from vivavoce.splat.lhm.blocks import BodyHeadBlock
from vivavoce.splat.lhm.config import LhmConfig
from vivavoce.splat.lhm.heads import GaussianDecoder
from vivavoce.splat.lhm.pictures import Images, look_at
from vivavoce.splat.lhm.points import PointEmbedding
from vivavoce.splat.lhm.template import TemplatePoints
from vivavoce.splat.lhm.tokens import Hands, HandTokens, PyramidEncoder, TokenEncoder
from vivavoce.types import Gaussians

PERSONAL = ("decoder.*",)
"""What is trained for one person (paper 003, section 3.1), as patterns for `train.Stage.trains`."""
PERSONAL_HANDS = (*PERSONAL, "*.hand_keys.*", "hands.sides", "hands.norm.*")
"""The same of a network with Hand++, whose pretrained encoder stays as it is."""


@dataclass(frozen=True)
class Tokens:
    """What the pictures of B people say."""

    body: Float[Tensor, "B L C"]
    head: Float[Tensor, "B K C"]
    hands: Hands | None = None


class LargeReconstruction(nn.Module):
    """LHM (arXiv:2503.10625), with the hands of paper 003 where the config has them.

    Inside, as in SMPL-X, y is up and z towards the viewer; template space has y down and z away.
    """

    def __init__(self, config: LhmConfig) -> None:
        super().__init__()
        self.config = config
        width, hands = config.width, config.hands
        self.head_encoder = PyramidEncoder(config.head)
        self.body_encoder = None if config.body is None else PyramidEncoder(config.body)
        self.hands = None if hands is None else HandTokens(hands)
        self.embed = PointEmbedding(width, config.frequencies)
        self.condition = nn.Linear(config.condition, width)
        self.modulation = nn.Sequential(
            nn.Linear(config.condition, config.condition // 2),
            nn.SiLU(),
            nn.Linear(config.condition // 2, 2 * width),
        )
        self.blocks = nn.ModuleList(
            BodyHeadBlock(
                width,
                config.heads,
                last=index == config.layers - 1,
                hand_width=None if hands is None else hands.width,
            )
            for index in range(config.layers)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder = GaussianDecoder(width, config.decoder)

    def encode(self, images: Images, body: TokenEncoder | None = None) -> Tokens:
        """Tokens of pictures; `body` is Sapiens where the network has no encoder of whole pictures itself.

        Raises InputError where neither is there.
        """
        encoder = self.body_encoder if body is None else body
        if encoder is None:
            raise InputError(
                "This network sees whole pictures through Sapiens-1B, which is not given: "
                "give the TorchScript file of its release."
            )
        head = self.head_encoder(images.head)
        hands = None
        if self.hands is not None and images.hands is not None and images.seen is not None:
            # Without any hand the attention is LHM's own, to the bit.
            hands = self.hands(images.hands, images.seen) if images.seen.any() else None
        return Tokens(
            body=encoder.tokens(images.body),
            head=pad(head, (0, self.config.condition - head.shape[-1])),
            hands=hands,
        )

    def queries(self, tokens: Tokens, template: TemplatePoints) -> Float[Tensor, "B N D"]:
        """The query tokens of the template's points after the last block: what the Gaussians are decoded from."""
        points = torch.from_numpy(template.points).to(tokens.body) * _axes(tokens.body)
        x = self.embed(points).expand(len(tokens.body), -1, -1)
        on_body, on_head = self.modulation(tokens.body.mean(dim=1)).chunk(2, dim=-1)
        images = (self.condition(tokens.body), self.condition(tokens.head))
        for block in self.blocks:
            x, images = block(x, images, (on_body, on_head), on_head=template.on_head, hands=tokens.hands)
        return self.norm(x)

    def decode(
        self, queries: Float[Tensor, "B N D"], template: TemplatePoints
    ) -> dict[str, Float[Tensor, "B N *c"]]:
        """Gaussians in template space, as `forward` gives them."""
        found = self.decoder(queries, torch.from_numpy(template.above).to(queries.device))
        axes = _axes(queries)
        w, x, y, z = found["quats"].unbind(-1)
        offsets = found["offsets"] * axes
        return found | {
            "offsets": offsets,
            "means": torch.from_numpy(template.points).to(queries) + offsets,
            # Half a turn about x, after the rotation: what `axes` does to offsets.
            "quats": torch.stack([-x, w, -z, y], dim=-1),
        }

    def forward(
        self, images: Images, template: TemplatePoints, body: TokenEncoder | None = None
    ) -> dict[str, Float[Tensor, "B N *c"]]:
        """`means`, `offsets` from the template's points and `scales` (each B, N, 3) in metres of template space,
        `quats` (B, N, 4; w first), `opacities` (B, N) and `colors` (B, N, 3) in [0, 1].
        """
        return self.decode(self.queries(self.encode(images, body), template), template)


def reconstruct(
    image: Float32[np.ndarray, "H W 3"],
    keypoints: Float32[np.ndarray, "127 3"],
    template: TemplatePoints,
    network: LargeReconstruction,
    body: TokenEncoder | None = None,
) -> Gaussians:
    """The person of one picture, in the template's rest pose and space (metres); they hang on `template.binding`.

    `image` is RGB in [0, 1], what is not the person white; `keypoints` are those of `features.physical_state`.
    """
    weight = network.condition.weight
    picture = torch.from_numpy(image).permute(2, 0, 1)[None].to(weight)
    with torch.inference_mode():
        found = network(look_at(picture, keypoints[None], network.config), template, body)
    means, quats, scales, opacities, colors = (
        np.ascontiguousarray(found[name][0].float().cpu().numpy())
        for name in ("means", "quats", "scales", "opacities", "colors")
    )
    return Gaussians(means, quats, scales, opacities, colors)


def _axes(like: Tensor) -> Tensor:
    return like.new_tensor([1.0, -1.0, -1.0])
