"""Context parallelism: one video's tokens shared among processes, each with the same cells of every frame.

diffusers' plans give every process a run of consecutive tokens. Attention takes tokens in any order, since their
rotary positions go with them; and where every process has a part of every frame, what works frame by frame
(branches, reference pictures) need not know of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.hooks.context_parallel import EquipartitionSharder, PartitionAnythingSharder
from diffusers.models._modeling_parallel import ContextParallelConfig
from jaxtyping import Shaped
from torch import Tensor, nn

from vivavoce.errors import InputError
from vivavoce.video.wan.sockets import Grid


@dataclass(frozen=True)
class Share:
    """What a process has of the tokens of a video: all of them where there is no `config`."""

    grid: Grid
    config: ContextParallelConfig | None

    @classmethod
    def of(cls, config: ContextParallelConfig | None, grid: Grid, heads: int) -> Share:
        """This process's share of the tokens of `grid`.

        Raises InputError where the cells of a frame, or the attention heads, which Ulysses shares out in turn
        (Jacobs et al. 2023), do not divide by the processes, unless `config` says that anything goes.
        """
        if config is not None and not (config.ulysses_anything or config.ring_anything):
            ring, ulysses = config.mesh_shape
            for name, count, processes in (
                ("tokens of a frame", grid.per_frame, ring * ulysses),
                ("attention heads", heads, ulysses),
            ):
                if count % processes:
                    raise InputError(
                        f"The {count} {name} cannot be shared evenly among {processes} processes: take a number of "
                        "processes that divides them, or ContextParallelConfig(ulysses_anything=True)."
                    )
        return cls(grid, config)

    def part(self, tokens: Shaped[Tensor, "B L ..."]) -> Shaped[Tensor, "B l ..."]:
        """This process's tokens, or what belongs to them, out of those of the whole video."""
        if self.config is None:
            return tokens
        cells = tokens.unflatten(1, (self.grid.frames, -1))
        return PartitionAnythingSharder.shard_anything(cells, 2, self.config._flattened_mesh).flatten(1, 2)

    def whole(self, tokens: Shaped[Tensor, "B l D"]) -> Shaped[Tensor, "B L D"]:
        """The tokens of the whole video out of every process's own: all processes have to ask for it."""
        if self.config is None:
            return tokens
        mesh = self.config._flattened_mesh
        counts = [len(own) for own in torch.arange(self.grid.per_frame).tensor_split(mesh.size())]
        cells = tokens.unflatten(1, (self.grid.frames, -1))
        # Filled up to the same size: not every backend gathers tensors of different ones.
        filled = nn.functional.pad(cells, (0, 0, 0, counts[0] - cells.shape[2]))
        gathered = EquipartitionSharder.unshard(filled, 2, mesh).chunk(mesh.size(), dim=2)
        every = [own[:, :, :count] for own, count in zip(gathered, counts, strict=True)]
        return torch.cat(every, dim=2).flatten(1, 2)
