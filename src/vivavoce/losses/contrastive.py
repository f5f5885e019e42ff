"""The shared embedding of speech and motion (paper 001, App. B): paired vectors side by side, others apart.

The paper minimises the cosine distance of pairs under "a CLIP-wise objective". Alone, the distance is smallest where
every vector is the same one; the contrast between pairs, as CLIP has it (Radford et al. 2021), keeps them apart.
A vector stands for a patch of 25 frames.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize


def cosine_distance(audio: Float[Tensor, "B D"], motion: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    """1 - cos of each pair's angle, from 0 (same direction) to 2; 1 where a vector is zero."""
    return 1 - cosine_similarity(audio, motion, dim=1)


def pair_contrast(
    audio: Float[Tensor, "B D"],
    motion: Float[Tensor, "B D"],
    *,
    temperature: float | Float[Tensor, ""] = 0.07,
) -> Float[Tensor, " B"]:
    """Symmetric InfoNCE of each pair: how hard it is to find its motion among all by its audio, and the reverse.

    With s_ij = cos(audio_i, motion_j) / temperature, the mean of the two cross entropies

        -log exp(s_ii) / sum_j exp(s_ij)  and  -log exp(s_ii) / sum_j exp(s_ji),

    in nats: log B where all vectors are the same, near 0 where pairs stand apart; 0 for a single pair. CLIP starts
    from a temperature of 0.07 and learns its logarithm; it may be a tensor here.
    """
    similar = normalize(audio, dim=1) @ normalize(motion, dim=1).T / temperature
    matched = similar.diagonal()
    by_audio, by_motion = (torch.logsumexp(similar, dim=dim) - matched for dim in (1, 0))
    return 0.5 * (by_audio + by_motion)
