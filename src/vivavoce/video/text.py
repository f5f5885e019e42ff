"""Text as the backbone reads it: umT5's features of a prompt, and which phase each of its tokens is of.

What Wan's own pipeline gives a prompt, bit for bit: the same cleaning, one pass of umT5 under the attention mask,
zeros behind the last token. `miniature_text_encoder` is the same class, small, untrained and from no file.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ftfy
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    UMT5Config,
    UMT5EncoderModel,
)

from vivavoce.errors import WeightsError
from vivavoce.media.files import write_error
from vivavoce.video.branches.phases import PhasedTokens, tokenized
from vivavoce.video.wan.convert import text_to_transformers
from vivavoce.weights import TEXT_ENCODER, TOKENIZER, complain, mismatched, quietly, read_state

_PAD, _END = "<pad>", "</s>"
_VOCABULARY = 2048  # at most; the phrases below have fewer pieces
_PHRASES = """
A person, a man, a woman, close-up, head and shoulders, upper body in view, facing camera, turned to picture's \
right, turned to picture's left, hands in view, hands out of view, bright background, dark background, plain \
background, soft light, warm light, speaks; voice: lively intonation, even intonation, strongly accented rhythm, \
calm rhythm, frequent pauses, flowing pace. A person speaks to the camera. The person is talking, mouth and lips \
moving with the words. A person listens in silence. silence, no voice, still mood.
Phase-1 [0-2.4s]: gestures on stressed words, brows raised, leans towards camera
Phase-2 [2.4-4s]: nods on stressed words, brows raised, softer expression
Phase-3 [4-5.6s]: keeps still, small head movements
Phase-4 [5.6-7s]: small hand gestures, slight nods
Phase-5 [7-8.2s]: slight nods, lively brows
[AUDIO]: calm voice, [IMAGE]: seated person, [VIDEO]: calm breathing, gaze on camera, blinks in pauses, occasional \
blinks, mood follows voice
raises the right hand, raises the left hand, lifts both hands, lowers both hands, opens the right hand, opens the \
left hand, waves, points at the camera, points up, points down, points to the left, points to the right, folds the \
hands, spreads the arms, shrugs the shoulders, tilts the head, turns the head to the left, turns the head to the \
right, shakes the head, looks up, looks down, looks to the side, closes the eyes, blinks, frowns, smiles, laughs, \
thumbs up, counts on the fingers, touches the chin, leans forward, leans back, stands, sits, moves slowly, quickly
happy, sad, angry, surprised, calm, serious, friendly, confident, neutral, excited, gentle
young, old, wearing a red, green, blue, yellow, black, white, grey, brown shirt, suit, jacket, dress, sweater, with \
short hair, long hair, curly hair, dark hair, blond hair, glasses, beard, in an office, room, studio, street, garden
slim, average, athletic, heavy, middle-aged, very fair, light, beige, tan, dark, deepest skin, bald head, red, \
grey hair in a bun, shoulder-length, moustache, orange, purple t-shirt, hoodie, in front of a wall, brick wall, \
curtain, bookshelf, window
holds up, lifts up, turns up the palm, offers the open hand, index finger, viewer, straight ahead, shows something at, \
greets with a wave, gives, puts, lays the hand on the chest, crosses the arms, nods the head, lowers and raises, says \
yes, no, bows, bends towards, inclines
his, her, their, she, he, they, and, with, while, then, from, into, over, under, on, at, of, for, as, is, are
static, blurred, low quality, worst quality, overexposed, deformed, extra fingers, poorly drawn hands, subtitles
"""
"""What the miniature's tokenizer is trained on: the embedded planner's phrases, and words that people add."""


@dataclass(frozen=True)
class EncodedText:
    """One prompt, ready for the backbone, on the text encoder's device and in its dtype."""

    features: Float[Tensor, "1 S E"]
    """Zeros where there is padding."""
    phases: Int[Tensor, "1 S"]
    """0 for base text, special tokens and padding, 1 .. K for phases."""
    words: Bool[Tensor, "1 S"]
    """False for special tokens and padding."""


class TextEncoder:
    """umT5 and its tokenizer: blocks of text to features of fixed length."""

    def __init__(
        self, model: UMT5EncoderModel, tokenizer: PreTrainedTokenizerBase, *, length: int = 512
    ) -> None:
        """`length` is the tokens that the backbone reads. Raises WeightsError for a tokenizer of another model."""
        if len(tokenizer) > model.config.vocab_size:
            raise WeightsError(
                f"The tokenizer has {len(tokenizer)} tokens and the text encoder knows {model.config.vocab_size}: "
                "give those that belong together."
            )
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.length = length

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        config: Mapping[str, Any] | None = None,
        dtype: torch.dtype | None = None,
        length: int = 512,
    ) -> TextEncoder:
        """From a Wan folder or hub name, in diffusers' layout or as Wan was released; float32 where `dtype` is None.

        `config` holds UMT5Config's arguments, which the original release does not say.

        Raises WeightsError where the model or the tokenizer is missing or damaged, and for missing and extra
        parameters.
        """
        model, tokenizer = (piece.find(source)[0] for piece in (TEXT_ENCODER, TOKENIZER))
        return cls(_model(model, config, dtype or torch.float32), _tokenizer(tokenizer), length=length)

    def save(self, folder: Path) -> None:
        """Write what `load` reads back exactly. Raises OutputError where `folder` cannot be written."""
        try:
            self.model.save_pretrained(folder / TEXT_ENCODER.folder)
            self.tokenizer.save_pretrained(folder / TOKENIZER.folder)
        except OSError as error:
            raise write_error(folder, error) from error

    @property
    def width(self) -> int:
        """Channels of a token's features."""
        return self.model.config.d_model

    def to(self, device: str | torch.device) -> TextEncoder:
        """Move the model; `encode` then gives its features there."""
        self.model.to(device)  # pyright: ignore[reportArgumentType]  # its decorator hides `self`
        return self

    def tokens(self, blocks: Sequence[str]) -> PhasedTokens:
        """What `encode` reads. Raises InputError as it does."""
        return tokenized([_cleaned(block) for block in blocks], self.tokenizer, length=self.length)

    @torch.no_grad()
    def states(self, text: str) -> Float[Tensor, "1 P E"]:
        """Hidden states plus embeddings of a text's own tokens: what PhysAvatar eq. 5 takes of a language model.

        For networks whose planner is this encoder. Raises InputError as `encode` does.
        """
        tokens = self.tokens([text])
        ids = tokens.ids[:, : int(tokens.attention_mask.sum())].to(self.model.device)
        return self.model(ids).last_hidden_state + self.model.get_input_embeddings()(ids)

    @torch.no_grad()
    def encode(self, blocks: Sequence[str]) -> EncodedText:
        """The blocks (`prompt_blocks` of a plan, or any one text; [""] is the null prompt) as one prompt.

        Raises InputError for a prompt longer than `length`: it is never cut short.
        """
        tokens = self.tokens(blocks)
        special = torch.isin(tokens.ids, torch.tensor(self.tokenizer.all_special_ids))
        device = self.model.device
        ids, mask = tokens.ids.to(device), tokens.attention_mask.to(device)
        features = self.model(ids, mask).last_hidden_state.to(self.model.dtype)
        padding = mask == 0
        return EncodedText(
            features.masked_fill(padding[..., None], 0),
            tokens.phases.to(device),
            ~(padding | special.to(device)),
        )


def miniature_text_encoder(width: int, *, seed: int = 0, length: int = 256) -> TextEncoder:
    """umT5 of two layers, `width` wide, with random weights from `seed`, on the miniature's tokenizer.

    Untrained it still tells words and their order apart, which is all that the miniature backbone needs.
    """
    tokenizer = miniature_tokenizer()
    config = UMT5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=-(-width // 4),
        d_ff=2 * width,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs as well
        model = UMT5EncoderModel(config)
    return TextEncoder(model, tokenizer, length=length)


def miniature_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE (Sennrich et al. 2016) of the words that the project itself writes; always the same.

    Any text encodes and decodes without loss; each digit is a token, so that all times look alike; `</s>` ends a
    text, as in umT5. Special tokens written out in a text are plain characters.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    core: Any = Tokenizer(models.BPE())  # its parts are properties that no type declares
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_PAD, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([" ".join(_PHRASES.split())], trainer)  # as a prompt, on one line
    end = (_END, core.token_to_id(_END))
    core.post_processor = processors.TemplateProcessing(single=f"$A {_END}", special_tokens=[end])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=_PAD,
        eos_token=_END,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


def _cleaned(text: str) -> str:
    """As in Wan's training: broken Unicode mended, HTML entities resolved, white space to single spaces."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


def _model(path: Path, config: Mapping[str, Any] | None, dtype: torch.dtype) -> UMT5EncoderModel:
    """From transformers' own folder, or from a file in Wan's original names."""
    from safetensors import SafetensorError

    given: dict[str, Any] = {"pretrained_model_name_or_path": path, "local_files_only": True}
    if not (path / "config.json").is_file():
        if config is None:
            raise WeightsError(f"{path} does not say its sizes: give a folder with config.json.")
        state = text_to_transformers(read_state(path))
        given = {"pretrained_model_name_or_path": None, "config": UMT5Config(**config), "state_dict": state}
    try:
        with quietly():
            loaded: Any = UMT5EncoderModel.from_pretrained(
                **given, dtype=dtype, ignore_mismatched_sizes=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _unusable(path, error) from error
    model, report = loaded
    complain(str(path), report["missing_keys"], report["unexpected_keys"], mismatched(report))
    return model


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise _unusable(folder, error) from error


def _unusable(folder: Path, error: Exception) -> WeightsError:
    reason = str(error).partition("\n")[0].rstrip(".:") or type(error).__name__
    return WeightsError(f"{folder} cannot be loaded ({reason}): download it again.")
