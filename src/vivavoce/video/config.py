"""What a method of the video family is, as data: backbone, sizes, rates, sampling. A preset is one of these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from vivavoce.timing import latent_frames

if TYPE_CHECKING:
    from vivavoce.video.network import AvatarNetwork
    from vivavoce.video.planner import Form
    from vivavoce.video.wan.backbone import VaceBackbone, WanBackbone

Mode = Literal["photo", "pose", "reference-free", "keypoints", "attention"]
"""What a method can do beyond a photo that speaks."""


@dataclass(frozen=True)
class EncoderConfig:
    """The speech encoder that a method's parts were trained with."""

    kind: Literal["whisper", "wav2vec2", "log-mel"]
    name: str
    """The encoder's own `name`, which is stored with the weights and compared."""
    width: int
    source: str | None = None
    """Hub name of its weights; None where it has none."""


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters on every linear layer of the pretrained blocks (Hu et al. 2022)."""

    rank: int
    alpha: int


@dataclass(frozen=True, kw_only=True)
class VideoConfig(ABC):
    """Everything about a method but its weights. Variants are made by `dataclasses.replace`."""

    name: str
    paper: str
    """What it implements."""
    backbone: Literal["wan", "vace"]
    transformer: Mapping[str, Any]
    """Constructor arguments of the backbone."""
    vae: Mapping[str, Any]
    """Constructor arguments of AutoencoderKLWan."""
    text: Mapping[str, Any]
    """Arguments of UMT5Config, for a text encoder in the base's original release, which does not say them."""
    base: str | None
    """Hub name or folder of the pretrained base; None for a base that is built here, untrained."""
    own: str | None = None
    """The method's own parts, where they come with the program: as --weights takes them."""
    encoder: EncoderConfig
    text_length: int = 512
    """Tokens of text that the backbone reads."""
    width: int
    height: int
    """Pixels of a frame."""
    fps: float
    chunk: int
    """Frames that are drawn in one go."""
    before: int = 5
    """Frames that a chunk is given of the one before it."""
    after: int = 4
    """Frames that a chunk is given of the one behind it, where the order of chunks has one there already."""
    order: str
    """Of chunks, by its name in `sample.long.ORDERS`."""
    steps: int
    shift: float
    """Of the noise levels, in training and sampling."""
    solver: str = "unipc"
    scales: Mapping[str, float]
    """Guidance scale of each condition."""
    vace_scale: float = 1.0
    """Weight of the VACE stack's hints in sampling."""
    guidance: str = "text_first"
    """Order of guidance, by its name in `sample.guidance.ORDERS`."""
    losses: Mapping[str, float] = field(default_factory=lambda: {"flow": 1.0})
    """Weight of each loss in training."""
    focus: bool = False
    """Whether, in training, errors on faces and hands count more than others, where it is known where they are."""
    dropout: float = 0.1
    """Probability, in training, of each link of the guidance chain to be the first that is dropped."""
    prompt: str
    """What is said of every video, before what its plan says."""
    negative: str = ""
    """The prompt in the place of a dropped one."""
    modes: frozenset[Mode] = field(default_factory=frozenset)
    lora: LoraConfig | None = None

    @abstractmethod
    def build(self, backbone: WanBackbone | VaceBackbone | None = None) -> AvatarNetwork:
        """The method's network: its own parts at random, on this backbone or on one at random too."""

    @property
    @abstractmethod
    def form(self) -> Form:
        """The kind of plan that the method reads."""

    @property
    def brief(self) -> VideoConfig:
        """The same where captions are brief and tell of no phases, as a stage `without` them is trained."""
        return self

    @property
    def heads(self) -> int:
        """Attention heads of the backbone."""
        return self.transformer["num_attention_heads"]

    @property
    def hidden(self) -> int:
        """Width of the backbone's tokens."""
        return self.heads * self.transformer["attention_head_dim"]

    @property
    def stride(self) -> int:
        """Pixels a latent, in space."""
        return self.vae.get("scale_factor_spatial", 8)

    @property
    def references(self) -> int:
        """Latent frames with reference pictures before those of the video."""
        return 1 if self.backbone == "vace" else 0

    @property
    def tokens(self) -> int:
        """Tokens that the backbone works on for a whole chunk."""
        patch = 2 * self.stride
        frames = self.references + latent_frames(self.chunk)
        return frames * (self.height // patch) * (self.width // patch)

    @property
    def latents(self) -> str:
        """The VAE's rule from frames to latents, as it is stored with weights."""
        return f"4x{self.stride}x{self.stride}, {self.transformer['in_channels']} channels"
