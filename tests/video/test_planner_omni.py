"""Tiny random Qwen thinkers as planners: loading, inputs, answers, and eq. 5 against generation's own states."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from vivavoce.errors import WeightsError
from vivavoce.video.planner import Question
from vivavoce.video.planner_omni import OmniThinker

SPECIAL = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
TEXT = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
}
QUESTION = Question(
    "What happens?",
    np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8),
    np.random.default_rng(1).normal(0, 0.1, 12000).astype(np.float32),
)


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    chat = ["<|im_start|>", "<|im_end|>", *SPECIAL.values()]
    made.add_special_tokens([AddedToken(token, special=True) for token in chat])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, extra_special_tokens=SPECIAL)


def lively(model: torch.nn.Module) -> torch.nn.Module:
    """Weights so far from zero that what goes in is seen in what comes out."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    return model


def thinker(family: str, words: transformers.PreTrainedTokenizerFast):
    torch.manual_seed(0)
    ids = {
        f"{kind}_token_{'index' if family == '2.5' else 'id'}": words.convert_tokens_to_ids(
            SPECIAL[f"{kind}_token"]
        )
        for kind in ("image", "audio", "video")
    }
    starts = {
        "vision_start_token_id": words.convert_tokens_to_ids("<|vision_bos|>"),
        "vision_end_token_id": words.convert_tokens_to_ids("<|vision_eos|>"),
        "audio_start_token_id": words.convert_tokens_to_ids("<|audio_bos|>"),
        "audio_end_token_id": words.convert_tokens_to_ids("<|audio_eos|>"),
    }
    audio = {
        "num_mel_bins": 16,
        "d_model": 32,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 48,
        "output_dim": 32,
        "n_window": 50,
        "max_source_positions": 100,
    }
    vision = {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "out_hidden_size": 32}
    if family == "2.5":
        config = transformers.Qwen2_5OmniThinkerConfig(
            audio_config=audio,
            vision_config=vision | {"fullatt_block_indexes": [0]},
            text_config=TEXT,
            **ids,
            **starts,
        )
        return transformers.Qwen2_5OmniThinkerForConditionalGeneration(config)
    experts = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32}
    config = transformers.Qwen3OmniMoeThinkerConfig(
        audio_config=audio | {"downsample_hidden_size": 8, "n_window_infer": 100, "conv_chunksize": 100},
        vision_config=vision
        | {"patch_size": 14, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]},
        text_config=TEXT | experts,
        **ids,
        **starts,
    )
    return transformers.Qwen3OmniMoeThinkerForConditionalGeneration(config)


@pytest.fixture(scope="module", params=["2.5", "3"])
def folder(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("thinker")
    words = tokenizer()
    lively(thinker(request.param, words)).save_pretrained(path)
    words.save_pretrained(path)
    # One file holds the settings of eye and ear, as in the published folders.
    image = transformers.Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=8 * 28 * 28)
    both = {**image.to_dict(), **transformers.WhisperFeatureExtractor(feature_size=16).to_dict()}
    transformers.WhisperFeatureExtractor(**both).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def planner(folder: Path) -> OmniThinker:
    made = OmniThinker.load(folder)
    made.thinker.generation_config.eos_token_id = None
    return made


def test_every_feature_has_one_token_in_the_order_of_the_conversation(planner: OmniThinker):
    inputs = planner._inputs(QUESTION)
    words, ids = planner.tokenizer, inputs["input_ids"][0]
    text = words.decode(ids)
    image, audio = (
        int((ids == words.convert_tokens_to_ids(SPECIAL[k])).sum()) for k in ("image_token", "audio_token")
    )
    assert image == inputs["image_grid_thw"].prod() // 4 > 1
    assert audio in (10, 19)  # 0.75 s at 13 and at 25 a second
    places = [
        "system",
        "<|vision_bos|>",
        "<|vision_eos|><|audio_bos|>",
        "<|audio_eos|>What happens?",
        "assistant",
    ]
    assert [text.find(p) for p in places] == sorted(text.find(p) for p in places)
    assert min(text.find(p) for p in places) > 0


@torch.no_grad()
def test_the_embeddings_are_the_sum_that_generation_sees_at_each_token(planner: OmniThinker):
    inputs = planner._inputs(QUESTION)
    out = planner.thinker.generate(
        **inputs,
        max_new_tokens=6,
        do_sample=False,
        return_dict_in_generate=True,
        output_hidden_states=True,
        suppress_tokens=list(range(94, 300)),  # what is left are printable ASCII, which encode to themselves
    )
    written = out.sequences[0, inputs["input_ids"].shape[1] :]
    answer = planner.tokenizer.decode(written)
    assert planner.tokenizer(answer)["input_ids"] == written.tolist()
    # Qwen-Omni's own sum for its talker: of step k, the states of the layers at the token of step k - 1.
    expected = torch.cat([states[-1] + states[0] for states in out.hidden_states[1:]], dim=1)
    embeddings = planner.embeddings(QUESTION, answer)
    assert embeddings.shape == (1, 6, 32)
    torch.testing.assert_close(embeddings[:, :5], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_picture_sound_and_prompt_all_reach_the_plan(planner: OmniThinker):
    plain = planner.embeddings(QUESTION, "She nods.")
    others = [
        Question("What else?", QUESTION.image, QUESTION.speech),
        Question(QUESTION.prompt, 255 - QUESTION.image, QUESTION.speech),
        Question(QUESTION.prompt, QUESTION.image, QUESTION.speech[::-1].copy()),
    ]
    for other in others:
        assert (planner.embeddings(other, "She nods.") - plain).abs().max() > 1e-3


def test_the_same_question_has_the_same_answer(planner: OmniThinker, monkeypatch):
    monkeypatch.setattr("vivavoce.video.planner_omni._ANSWER_TOKENS", 5)
    answer = planner.answer(QUESTION)
    assert isinstance(answer, str)
    assert "What happens?" not in answer
    assert planner.answer(QUESTION) == answer


def test_what_is_no_thinker_is_refused(tmp_path: Path):
    with pytest.raises(WeightsError, match="No planner can be loaded from"):
        OmniThinker.load(tmp_path)
    transformers.T5Config().save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"is a t5 model: give a Qwen2\.5-Omni or Qwen3-Omni"):
        OmniThinker.load(tmp_path)
