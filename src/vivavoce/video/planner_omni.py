"""Qwen2.5-Omni and Qwen3-Omni thinkers as planners, through transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from vivavoce.errors import WeightsError
from vivavoce.types import SPEECH_RATE
from vivavoce.video.planner import OmniModel, Question

_THINKERS = {
    "qwen2_5_omni": "Qwen2_5OmniThinkerForConditionalGeneration",
    "qwen3_omni_moe": "Qwen3OmniMoeThinkerForConditionalGeneration",
}
_ANSWER_TOKENS = 512  # a brief has 80 words, a plan of four phases about 200 tokens
_SYSTEM = (
    "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving auditory \
and visual inputs, as well as generating text and speech."
)


class OmniThinker(OmniModel):
    """A thinker that sees the photo, hears the speech and writes; its talker is not loaded.

    transformers' own processor wants torchvision for its video part, so the inputs are put together here from
    its feature extractor, image processor and tokenizer, in the order system, image, audio, prompt.
    """

    def __init__(
        self, thinker: Any, tokenizer: PreTrainedTokenizerBase, image_processor: Any, ear: Any
    ) -> None:
        """`thinker` is a `Qwen...ThinkerForConditionalGeneration`, `ear` the `WhisperFeatureExtractor` beside it."""
        self.thinker = thinker.eval()
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.ear = ear

    @classmethod
    def load(cls, source: str | Path, *, device: str | torch.device = "cpu") -> OmniThinker:
        """From a folder or hub name of Qwen2.5-Omni or Qwen3-Omni, in the precision it was stored in.

        Raises WeightsError where there is none, or one of another architecture.
        """
        import transformers

        try:
            config = transformers.AutoConfig.from_pretrained(source)
            family = config.model_type.removesuffix("_thinker")
            if family not in _THINKERS:
                raise WeightsError(
                    f"{source} is a {family} model: give a Qwen2.5-Omni or Qwen3-Omni as planner."
                )
            thinker = getattr(transformers, _THINKERS[family]).from_pretrained(source, dtype="auto")
            return cls(
                thinker.to(device),
                transformers.AutoTokenizer.from_pretrained(source),
                transformers.Qwen2VLImageProcessorPil.from_pretrained(source),
                transformers.WhisperFeatureExtractor.from_pretrained(source),
            )
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise WeightsError(
                f"No planner can be loaded from {source} ({reason}): give its folder."
            ) from error

    @torch.no_grad()
    def answer(self, question: Question) -> str:
        """The most probable answer, without sampling: the same question has the same plan."""
        inputs = self._inputs(question)
        ids = self.thinker.generate(**inputs, max_new_tokens=_ANSWER_TOKENS, do_sample=False)
        written = ids[:, inputs["input_ids"].shape[1] :]
        return self.tokenizer.batch_decode(written, skip_special_tokens=True)[0]

    @torch.no_grad()
    def embeddings(self, question: Question, answer: str) -> Float[Tensor, "1 P E"]:
        """The last hidden states of the answer's tokens plus their embeddings, e_con + e_tok of PhysAvatar eq. 5.

        Each token's state is the one at its own position, as in the sum that Qwen-Omni gives its talker. The
        answer is read, not generated, so an edited plan has its embeddings as well.
        """
        inputs = self._inputs(question)
        written = self._tokens(answer)
        asked = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], written], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        states = self.thinker(**inputs, output_hidden_states=True).hidden_states[-1]
        return states[:, asked:] + self.thinker.get_input_embeddings()(written)

    def _inputs(self, question: Question) -> dict[str, Tensor]:
        """What the thinker reads: one token of text for each feature of the image and of the sound."""
        seen = self.image_processor(question.image, return_tensors="pt")
        heard = self.ear(
            question.speech,
            sampling_rate=SPEECH_RATE,
            padding=True,
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        features: dict[str, Tensor] = {
            "pixel_values": seen["pixel_values"].to(self.thinker.dtype),
            "image_grid_thw": seen["image_grid_thw"],
            "input_features": heard["input_features"].to(self.thinker.dtype),
            "feature_attention_mask": heard["attention_mask"],
        }
        features = {name: value.to(self.thinker.device) for name, value in features.items()}
        ids = self._tokens(self._conversation(question.prompt, features))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **features}

    def _conversation(self, prompt: str, features: dict[str, Tensor]) -> str:
        t: Any = self.tokenizer  # names its special tokens as attributes that no type declares
        image = t.image_token * int(features["image_grid_thw"].prod() // self.image_processor.merge_size**2)
        encoded = self.thinker.get_audio_features(
            features["input_features"], feature_attention_mask=features["feature_attention_mask"]
        )
        audio = t.audio_token * len(encoded.last_hidden_state)
        return (
            f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n"
            f"{t.vision_bos_token}{image}{t.vision_eos_token}{t.audio_bos_token}{audio}{t.audio_eos_token}"
            f"{prompt}<|im_end|>\n<|im_start|>assistant\n"
        )

    def _tokens(self, text: str) -> Int[Tensor, "1 P"]:
        return self.tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"].to(
            self.thinker.device
        )
