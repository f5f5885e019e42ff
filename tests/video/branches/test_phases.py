"""Phase-aware text: eq. 2 of ActAvatar, and which phase each token of a prompt is of."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertTokenizerLegacy, PreTrainedTokenizerFast

from vivavoce.errors import InputError
from vivavoce.video.branches.phases import PhaseEmbedding, prompt_blocks, tokenized
from vivavoce.video.plan import Phase, Plan
from vivavoce.video.wan.backbone import WanBackbone

PLAN = Plan(
    base="A woman  speaks\nto us.",
    phases=(
        Phase(text="Opens a hand.", start=0.0, end=2.0),
        Phase(text="Zeigt über den Tisch", start=2.25, end=4.0),
    ),
)
BLOCKS = ("A woman speaks to us.", "Phase-1 [0-2s]: Opens a hand.", "Phase-2 [2.25-4s]: Zeigt über den Tisch")


def unigram() -> PreTrainedTokenizerFast:
    """Pieces with the space in front, and an end token, as umT5's."""
    letters = sorted(set(" ".join(BLOCKS)))
    pieces = ["▁", "man", "▁wo", "▁Phase", "Phase", "-1", "▁to", "▁Z", "▁us.", *letters]
    model = models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), *((p, -1.0) for p in pieces)], 2)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")


def byte_level() -> PreTrainedTokenizerFast:
    """One token a byte: characters of several bytes give several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=alphabet[0])


def test_a_plan_becomes_blocks_with_their_times():
    assert prompt_blocks(PLAN) == BLOCKS
    assert prompt_blocks(Plan(base="She speaks.")) == ("She speaks.",)


@pytest.mark.parametrize("tokenizer", [unigram(), byte_level()], ids=["unigram", "bytes"])
def test_every_token_knows_its_phase(tokenizer: PreTrainedTokenizerFast):
    tokens = tokenized(BLOCKS, tokenizer, length=160)
    assert tokens.ids.shape == tokens.attention_mask.shape == tokens.phases.shape == (1, 160)
    assert set(tokens.ids[tokens.attention_mask == 0].tolist()) == {tokenizer.pad_token_id}
    assert not tokens.phases[tokens.attention_mask == 0].any()
    for k, block in enumerate(BLOCKS):
        own = (tokens.phases[0] == k) & (tokens.attention_mask[0] == 1)
        assert tokenizer.decode(tokens.ids[0][own], skip_special_tokens=True).strip() == block
    ids = tokenizer(" ".join(BLOCKS))["input_ids"]
    assert tokens.ids[0, : len(ids)].tolist() == ids
    if tokenizer.eos_token_id is not None:
        assert tokens.phases[0, len(ids) - 1] == 0


def test_what_cannot_be_tokenized_is_refused(tmp_path):
    with pytest.raises(InputError, match="and the model reads 20: shorten"):
        tokenized(BLOCKS, byte_level(), length=20)
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n", "utf-8")
    with pytest.raises(InputError, match="use a fast tokenizer"):
        tokenized(BLOCKS, BertTokenizerLegacy(str(vocabulary)))


def test_the_embedding_is_equation_2():
    embedding = PhaseEmbedding(3, 8)
    text, phases = torch.randn(2, 5, 8), torch.tensor([[0, 1, 1, 3, 0], [0, 0, 2, 2, 2]])
    assert torch.equal(embedding(text, phases), text)
    embedding(text, phases).square().sum().backward()
    gradient = embedding.embedding.weight.grad
    assert gradient is not None
    assert gradient[1:].any(1).all()
    assert not gradient[0].any()  # base text has no embedding to learn

    with torch.no_grad():
        embedding.embedding.weight += -0.1 * gradient
        expected = text.double().clone()
        for b in range(2):
            for i in range(5):
                k = int(phases[b, i])
                if k:
                    expected[b, i] += embedding.embedding.weight[k].double()
        torch.testing.assert_close(embedding(text, phases).double(), expected)


def test_more_phases_than_were_learned_are_refused():
    with pytest.raises(InputError, match="4 phases and the weights know 3: join"):
        PhaseEmbedding(3, 8)(torch.zeros(1, 2, 8), torch.tensor([[0, 4]]))


@torch.no_grad()
def test_phases_move_the_text_attention_of_the_backbone():
    torch.manual_seed(0)
    model = WanBackbone(
        num_attention_heads=2,
        attention_head_dim=12,
        text_dim=32,
        freq_dim=16,
        ffn_dim=48,
        num_layers=2,
        rope_max_seq_len=64,
    ).eval()
    video = {"hidden_states": torch.randn(1, 16, 3, 4, 4), "timestep": torch.tensor([500.0])}
    text, embedding = torch.randn(1, 6, 32), PhaseEmbedding(2, 32)
    orders = [torch.tensor([[0, 0, 1, 1, 2, 2]]), torch.tensor([[0, 0, 2, 2, 1, 1]])]
    plain = model(**video, encoder_hidden_states=text).sample
    for phases in orders:
        assert torch.equal(model(**video, encoder_hidden_states=embedding(text, phases)).sample, plain)
    embedding.embedding.weight[1:] = torch.randn(2, 32)
    one, other = (model(**video, encoder_hidden_states=embedding(text, p)).sample for p in orders)
    assert (one - plain).abs().max() > 1e-3
    assert (one - other).abs().max() > 1e-3
