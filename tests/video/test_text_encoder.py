"""Text features against Wan's own pipeline, the miniature's tokenizer, and folders that are not whole."""

import ast
import hashlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from release import original_text, text_config
from vivavoce.errors import InputError, OutputError, WeightsError
from vivavoce.video import planner_embedded
from vivavoce.video.branches.phases import prompt_blocks
from vivavoce.video.plan import Phase, Plan
from vivavoce.video.planner_embedded import MAX_PHASES
from vivavoce.video.text import TextEncoder, miniature_text_encoder, miniature_tokenizer

BLOCKS = ("A woman speaks.", "Phase-1 [0-2s]: waves", "Phase-2 [2.25-4s]: zeigt über den Tisch")
NASTY = " He says &amp;quot;hi&amp;quot; &lt;b&gt;\n\tto\xa0the cafÃ©\u3000\u201cnow\u201d\r\n … \x1c \u2028 end \x85"


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return miniature_text_encoder(32, length=64)


def of_wan(encoder: TextEncoder, prompt: str) -> torch.Tensor:
    """What Wan's pipeline makes of a prompt with the same model and tokenizer."""
    from diffusers import WanPipeline

    pipeline = SimpleNamespace(
        text_encoder=encoder.model, tokenizer=encoder.tokenizer, _execution_device=torch.device("cpu")
    )
    with torch.no_grad():
        return WanPipeline._get_t5_prompt_embeds(pipeline, prompt, max_sequence_length=encoder.length)


@pytest.mark.parametrize("prompt", ["A woman speaks.", "", NASTY], ids=["plain", "null", "to clean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_prompt_is_what_wans_own_pipeline_makes_of_it(prompt: str, dtype: torch.dtype):
    encoder = miniature_text_encoder(32, length=80)
    encoder.model.to(dtype)
    got = encoder.encode([prompt])
    assert got.features.dtype == dtype
    assert got.features.shape == (1, 80, encoder.width)
    assert torch.equal(got.features, of_wan(encoder, prompt))
    assert got.features[0, 0].any()


def test_blocks_are_one_prompt_whose_tokens_know_their_phase(encoder: TextEncoder):
    got = encoder.encode(BLOCKS)
    assert torch.equal(got.features, of_wan(encoder, " ".join(BLOCKS)))
    ids = encoder.tokenizer(" ".join(BLOCKS))["input_ids"]
    assert got.words[0].tolist() == [True] * (len(ids) - 1) + [False] * (64 - len(ids) + 1)
    for k, block in enumerate(BLOCKS):
        own = (got.phases[0] == k) & got.words[0]
        tokens = [token for token, ours in zip(ids, own, strict=False) if ours]
        assert encoder.tokenizer.decode(tokens).strip() == block


def test_padding_is_zero_and_changes_nothing(encoder: TextEncoder):
    short, long = encoder.encode(BLOCKS), miniature_text_encoder(32, length=100).encode(BLOCKS)
    count = int(short.words.sum()) + 1  # the end token has features too
    assert short.features[0, :count].any(-1).all()
    assert not short.features[0, count:].any()
    torch.testing.assert_close(long.features[:, :count], short.features[:, :count], rtol=1e-4, atol=1e-5)


def test_a_long_prompt_is_refused_not_cut(encoder: TextEncoder):
    with pytest.raises(InputError, match="and the model reads 64: shorten"):
        encoder.encode(["word " * 64])


def test_a_tokenizer_of_another_model_is_refused():
    model = UMT5EncoderModel(UMT5Config(vocab_size=100, d_model=8, d_kv=2, d_ff=8, num_layers=1, num_heads=2))
    with pytest.raises(WeightsError, match="knows 100: give those that belong together"):
        TextEncoder(model, miniature_tokenizer())


def test_to_moves_the_model_and_what_it_is_given():
    encoder = miniature_text_encoder(8)
    devices = []
    encoder.model.register_forward_pre_hook(lambda module, args: devices.extend(a.device.type for a in args))
    assert encoder.to("meta") is encoder
    with pytest.raises(RuntimeError, match="meta"):  # which has no numbers to go on with
        encoder.encode([""])
    assert devices == ["meta", "meta"]


# the miniature


@pytest.mark.parametrize(
    "text",
    [
        "A person speaks.",
        "naïve café — 日本語 🙂 x\u0301",
        "tabs\tand\n\nlines  ",
        "</s> and <pad> in words",
        "12.375",
    ],
)
def test_any_text_is_encoded_without_loss_and_its_tokens_know_their_characters(text: str):
    tokenizer = miniature_tokenizer()
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in ids[:-1]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    spelt = [raw(piece) for piece in tokenizer.convert_ids_to_tokens(ids[:-1])]
    assert b"".join(spelt) == text.encode()
    for own, (first, last) in zip(spelt, offsets[:-1], strict=True):
        characters = text[first:last].encode()
        assert characters == own if characters.isascii() else (last - first == 1 and own in characters)


def raw(piece: str) -> bytes:
    """The bytes of a piece of byte-level BPE: printable Latin-1 stands for itself, the rest is shifted (GPT-2)."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in own}
    letters |= {chr(256 + i): byte for i, byte in enumerate(b for b in range(256) if b not in own)}
    return bytes(letters[letter] for letter in piece)


def test_every_build_is_the_same_in_every_process():
    code = (
        "import hashlib; from vivavoce.video.text import miniature_tokenizer; "
        "print(hashlib.sha256(miniature_tokenizer().backend_tokenizer.to_str().encode()).hexdigest())"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    for _ in range(5):
        here = miniature_tokenizer().backend_tokenizer.to_str()
        assert hashlib.sha256(here.encode()).hexdigest() == elsewhere.strip()


def test_the_miniatures_tokenizer_is_small_and_made_as_umt5s():
    tokenizer = miniature_tokenizer()
    assert tokenizer.is_fast
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)
    assert 258 < len(tokenizer) <= 2048
    digits = tokenizer.convert_tokens_to_ids(tokenizer.tokenize("0123456789"))
    assert len(set(digits)) == 10


def test_six_embedded_phases_fit_the_miniature():
    """The longest phrases of the embedded planner, read from its source so that new ones are counted too."""
    source = ast.parse(Path(planner_embedded.__file__).read_text("utf-8"))
    action = next(n for n in source.body if isinstance(n, ast.FunctionDef) and n.name == "_action")
    texts = [
        str(n.value) for n in ast.walk(action) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]
    endings = [text for text in texts if text.startswith(", ")]
    longest = max((t for t in texts if ", " in t and t not in endings), key=len) + max(endings, key=len)
    assert longest == "gestures on stressed words, brows raised, leans towards camera"
    base = (
        "A person head and shoulders, turned to picture's right, hands out of view, bright background, speaks; "
        "voice: lively intonation, strongly accented rhythm, frequent pauses."
    )
    phases = (Phase(text=longest, start=12.37 + 3.11 * k, end=14.92 + 3.11 * k) for k in range(MAX_PHASES))
    blocks = prompt_blocks(Plan(base=base, phases=tuple(phases)))
    assert int(miniature_text_encoder(8).encode(blocks).words.sum()) < 210
    words = " ".join([base, longest]).replace(",", " ,").split()
    assert len(miniature_tokenizer().tokenize(" ".join([base, longest]))) <= 1.3 * len(words)


def test_the_miniature_follows_its_seed_and_leaves_torchs_own_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, same, other = (miniature_text_encoder(20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    features = [made.encode(BLOCKS).features for made in (one, same, other)]
    assert torch.equal(features[0], features[1])
    assert not torch.allclose(features[0], features[2])
    assert (one.width, one.length) == (20, 256)
    assert not one.model.training


def test_the_miniature_tells_words_and_their_order_apart(encoder: TextEncoder):
    left, right, turned = (
        encoder.encode([text]).features[0]
        for text in ("raises the left hand", "raises the right hand", "hand the left raises")
    )
    assert (left - right).norm() > 0.1 * left.norm()
    assert (left.sum(0) - turned.sum(0)).norm() > 0.01 * left.sum(0).norm()


# folders


def test_what_was_saved_is_loaded_exactly(encoder: TextEncoder, tmp_path: Path):
    encoder.save(tmp_path / "made" / "here")
    back = TextEncoder.load(tmp_path / "made" / "here", length=64)
    for text in (*BLOCKS, "", NASTY):
        assert torch.equal(back.encode([text]).features, encoder.encode([text]).features)
    given = "</s> 12 über"
    assert back.tokenizer(given)["input_ids"] == encoder.tokenizer(given)["input_ids"]
    half = TextEncoder.load(tmp_path / "made" / "here", dtype=torch.bfloat16)
    assert half.length == 512
    assert half.encode([""]).features.dtype == torch.bfloat16


@pytest.mark.parametrize("named", ["T5TokenizerFast", "T5Tokenizer"])
def test_a_folder_like_wans_is_read(tmp_path: Path, named: str):
    """One table of embeddings under either of its names, and a Unigram tokenizer called T5's."""
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", -9.0),
        ("▁", -2.0),
        *((p, -3.0) for p in ("▁wave", "s", "a", "▁she")),
    ]
    core = Tokenizer(models.Unigram(pieces, 2))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    model = miniature_text_encoder(16).model
    TextEncoder(model, made).save(tmp_path)
    config = tmp_path / "tokenizer" / "tokenizer_config.json"
    config.write_text(config.read_text("utf-8").replace("TokenizersBackend", named), "utf-8")
    assert f'"{named}"' in config.read_text("utf-8")
    weights = tmp_path / "text_encoder" / "model.safetensors"
    state = load_file(weights)
    expected = TextEncoder(model, made).encode(["she waves"])
    assert int(expected.words.sum()) == 3
    for name in ("shared.weight", "encoder.embed_tokens.weight"):
        renamed = {name if key == "shared.weight" else key: value for key, value in state.items()}
        save_file(renamed, weights, {"format": "pt"})
        got = TextEncoder.load(tmp_path).encode(["she waves"])
        assert torch.equal(got.features, expected.features)
        assert torch.equal(got.words, expected.words)


def test_parameters_that_do_not_fit_are_named(encoder: TextEncoder, tmp_path: Path):
    encoder.save(tmp_path)
    weights = tmp_path / "text_encoder" / "model.safetensors"
    state = load_file(weights)
    name = "encoder.block.1.layer.0.SelfAttention.k.weight"
    save_file({key: value for key, value in state.items() if key != name}, weights, {"format": "pt"})
    with pytest.raises(WeightsError, match=rf"it lacks: {name}\): give the one that fits"):
        TextEncoder.load(tmp_path)
    save_file(state | {"lm_head.weight": torch.zeros(2)}, weights, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"it has besides: lm_head\.weight"):
        TextEncoder.load(tmp_path)
    save_file(state | {name: torch.zeros(3, 3)}, weights, {"format": "pt"})
    with pytest.raises(WeightsError, match=f"shapes differ: {name}"):
        TextEncoder.load(tmp_path)
    save_file({"some.weight": torch.zeros(3, 3)}, weights, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"it lacks: .* and \d+ more.*: give the one that fits") as caught:
        TextEncoder.load(tmp_path)
    assert len(str(caught.value)) < 900


@pytest.mark.parametrize(
    ("broken", "content", "message"),
    [
        (
            "text_encoder/model.safetensors",
            b"nonsense" * 9,
            "text_encoder cannot be loaded .*: download it again",
        ),
        ("text_encoder/model.safetensors", None, "text_encoder cannot be loaded .*: download it again"),
        ("text_encoder/config.json", b"{", "text_encoder cannot be loaded .*: download it again"),
        ("tokenizer/tokenizer.json", b"{", "tokenizer cannot be loaded .*: download it again"),
        ("tokenizer/tokenizer.json", None, "tokenizer cannot be loaded .*: download it again"),
    ],
)
def test_what_is_damaged_or_missing_is_told_in_a_sentence(
    encoder: TextEncoder, tmp_path: Path, broken: str, content: bytes | None, message: str
):
    encoder.save(tmp_path)
    (tmp_path / broken).write_bytes(content) if content else (tmp_path / broken).unlink()
    with pytest.raises(WeightsError, match=message) as caught:
        TextEncoder.load(tmp_path)
    assert "\n" not in str(caught.value)


def released(encoder: TextEncoder, folder: Path) -> Path:
    """The text encoder as Wan's original release holds it; returns its file of weights."""
    encoder.tokenizer.save_pretrained(folder / "google" / "umt5-xxl")
    path = folder / "models_t5_umt5-xxl-enc-bf16.pth"
    torch.save(original_text(encoder), path)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_wans_original_file_is_the_same_encoder(encoder: TextEncoder, tmp_path: Path, dtype: torch.dtype):
    encoder.save(tmp_path / "diffusers")
    released(encoder, tmp_path / "original")
    one, other = (
        TextEncoder.load(tmp_path / kind, config=text_config(encoder), dtype=dtype, length=64)
        for kind in ("diffusers", "original")
    )
    theirs = other.model.state_dict()
    assert one.model.state_dict().keys() == theirs.keys()
    for name, value in one.model.state_dict().items():
        assert value.dtype == theirs[name].dtype
        assert torch.equal(value, theirs[name])
    assert theirs["shared.weight"].data_ptr() == theirs["encoder.embed_tokens.weight"].data_ptr()
    for text in (*BLOCKS, "", NASTY):
        assert torch.equal(one.encode([text]).features, other.encode([text]).features)
        assert not other.model.training


def test_an_original_file_that_does_not_fit_is_told_and_nothing_else(
    encoder: TextEncoder, tmp_path: Path, caplog
):
    path, config = released(encoder, tmp_path), text_config(encoder)
    with pytest.raises(
        WeightsError, match=r"bf16\.pth does not say its sizes: give a folder with config\.json"
    ):
        TextEncoder.load(tmp_path)
    with pytest.raises(WeightsError, match=r"it lacks: encoder\.block\.2\..* and 5 more\)"):
        TextEncoder.load(tmp_path, config=config | {"num_layers": 3})
    with pytest.raises(
        WeightsError, match=r"shapes differ: .*DenseReluDense\.wi_0\.weight \(64, 32\), not \(80, 32\)"
    ):
        TextEncoder.load(tmp_path, config=config | {"d_ff": 80})
    torch.save(original_text(encoder) | {"head.weight": torch.ones(2)}, path)
    with pytest.raises(WeightsError, match=r"it has besides: head\.weight"):
        TextEncoder.load(tmp_path, config=config)
    path.write_bytes(b"nonsense" * 9)
    with pytest.raises(WeightsError, match=r"bf16\.pth .*: "):
        TextEncoder.load(tmp_path, config=config)
    assert not caplog.records  # transformers has tables of its own for such files


def test_no_folder_and_half_a_folder_are_told(encoder: TextEncoder, tmp_path: Path):
    with pytest.raises(WeightsError, match="There is no model at"):
        TextEncoder.load(tmp_path / "nothing")
    (tmp_path / "text_encoder").mkdir()
    with pytest.raises(
        WeightsError, match=r"has no tokenizer \(neither a folder 'tokenizer' nor google/umt5-xxl\)"
    ):
        TextEncoder.load(tmp_path)
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError, match="could not be written"):
        encoder.save(tmp_path / "file")
