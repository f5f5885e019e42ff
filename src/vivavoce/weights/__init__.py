"""Where weights come from, strict loading, and what is stored with a method's own parts.

A base model is a diffusers folder, a hub name, or Wan's original release. A method's own parts (its branches,
projectors and LoRA) are one safetensors file, whose header says for which base, frame rate, frame size and speech
encoder they were trained; loading them into anything else is an error.
"""

from vivavoce.weights.files import complain, load_strictly, mismatched, quietly, read_state, written
from vivavoce.weights.hub import locate
from vivavoce.weights.kinds import describe
from vivavoce.weights.parts import (
    PARTS,
    Base,
    Header,
    check_header,
    load_method,
    parts_of,
    read_header,
    save_method,
)
from vivavoce.weights.pretrained import (
    TEXT_ENCODER,
    TOKENIZER,
    TRANSFORMER,
    VAE,
    Piece,
    load_base,
    to_precision,
)

__all__ = [
    "PARTS",
    "TEXT_ENCODER",
    "TOKENIZER",
    "TRANSFORMER",
    "VAE",
    "Base",
    "Header",
    "Piece",
    "check_header",
    "complain",
    "describe",
    "load_base",
    "load_method",
    "load_strictly",
    "locate",
    "mismatched",
    "parts_of",
    "quietly",
    "read_header",
    "read_state",
    "save_method",
    "to_precision",
    "written",
]
