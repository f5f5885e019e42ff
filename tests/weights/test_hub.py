"""What is fetched of a hub's repository: all that is read of a model, and none of its copies."""

from pathlib import Path

import pytest
from huggingface_hub.utils import filter_repo_objects

from vivavoce.errors import WeightsError
from vivavoce.weights import TEXT_ENCODER, TOKENIZER, TRANSFORMER, VAE, locate

SHARDS = [f"diffusion_pytorch_model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
TOKENS = ["special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer_config.json"]
REPOSITORIES = {
    "Wan-AI/Wan2.2-TI2V-5B": [
        ".gitattributes", "README.md", "assets/logo.png", "configuration.json", "config.json", *SHARDS,
        "diffusion_pytorch_model.safetensors.index.json", "Wan2.2_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth",
        *(f"google/umt5-xxl/{name}" for name in TOKENS),
    ],
    "Wan-AI/Wan2.2-TI2V-5B-Diffusers": [
        "README.md", "model_index.json", "scheduler/scheduler_config.json",
        "transformer/config.json", *(f"transformer/{name}" for name in SHARDS),
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "vae/config.json", "vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/config.json", "text_encoder/model.safetensors", "text_encoder/model.safetensors.index.json",
        *(f"tokenizer/{name}" for name in TOKENS),
    ],
    "openai/whisper-large-v3": [
        "README.md", "config.json", "preprocessor_config.json", "merges.txt", "vocab.json", "tokenizer.json",
        "model.safetensors", "model.fp32-00001-of-00002.safetensors", "model.safetensors.index.fp32.json",
        "pytorch_model.bin", "pytorch_model.fp32-00001-of-00002.bin", "flax_model.msgpack", "tf_model.h5",
    ],
    "somebody/wav2vec2": [
        "README.md", "config.json", "preprocessor_config.json", "pytorch_model.bin", "flax_model.msgpack",
        "chinese-wav2vec2-base-fairseq-ckpt.pt",
    ],
}  # fmt: skip

CONFIG = '{"_class_name": "WanModel", "_diffusers_version": "0.30.0"}'
"""As in the root of Wan's original release: no class of diffusers'."""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with these repositories, of empty files; the filter of names is the hub's own."""

    def snapshot_download(name: str, *, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        for file in filter_repo_objects(
            REPOSITORIES[name], allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        ):
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(CONFIG if file == "config.json" else "")
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("hub")
def test_of_wans_original_release_each_piece_is_fetched_alone():
    name = "Wan-AI/Wan2.2-TI2V-5B"
    root = locate(name, wanted=["config.json"])
    assert files(root) == {"config.json"}
    assert [path.name for path in VAE.find(name)] == ["Wan2.2_VAE.pth"]
    assert files(root) == {"config.json", "Wan2.2_VAE.pth"}
    assert TOKENIZER.find(name) == [root / "google" / "umt5-xxl"]
    assert files(root / "google" / "umt5-xxl") == set(TOKENS)
    assert [path.name for path in TEXT_ENCODER.find(name)] == ["models_t5_umt5-xxl-enc-bf16.pth"]
    assert not list(root.glob("*.safetensors"))
    assert [path.name for path in TRANSFORMER.find(name)] == SHARDS
    assert not (root / "README.md").exists()


@pytest.mark.usefixtures("hub")
def test_of_a_diffusers_folder_each_piece_is_fetched_alone():
    name = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
    [folder] = VAE.find(name)
    root = folder.parent
    assert files(root) == {"vae/config.json", "vae/diffusion_pytorch_model.safetensors"}
    for piece in (TRANSFORMER, TEXT_ENCODER, TOKENIZER):
        assert piece.find(name) == [root / piece.folder]
    left = set(REPOSITORIES[name]) - files(root)
    assert left == {
        "README.md", "model_index.json", "scheduler/scheduler_config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    }  # fmt: skip


@pytest.mark.usefixtures("hub")
def test_of_other_models_the_copies_for_other_libraries_and_precisions_are_left():
    assert files(locate("openai/whisper-large-v3", "speech encoder")) == {
        "config.json", "preprocessor_config.json", "merges.txt", "vocab.json", "tokenizer.json",
        "model.safetensors",
    }  # fmt: skip
    assert files(locate("somebody/wav2vec2", "speech encoder")) == {
        "config.json", "preprocessor_config.json", "pytorch_model.bin",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["speech encoder", "planner", "model"])
def test_what_is_not_there_is_told_by_its_kind(kind, tmp_path, monkeypatch):
    with pytest.raises(
        WeightsError, match=f"^There is no {kind} at /none: give the path of one, or a hub name like"
    ):
        locate("/none", kind)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        WeightsError, match=f"^The {kind} some/body is not on this machine and the hub"
    ) as caught:
        locate("some/body", kind)
    assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match=f"^The hub has no open {kind} 'some/bo..dy': check the name"):
        locate("some/bo..dy", kind)
    assert locate(tmp_path, kind) == tmp_path
