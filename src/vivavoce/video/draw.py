"""Chunks of a long video, one after another: what each is given, its denoising, what is kept of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from vivavoce.video.maker import Scene, Span
from vivavoce.video.method import Sampling, VideoMethod
from vivavoce.video.sample.guidance import Dropped, variants
from vivavoce.video.sample.long import Chunk, Order, loans, passes
from vivavoce.video.sample.memory import at_once
from vivavoce.video.sample.resume import Job
from vivavoce.video.sample.sampler import noise, sample
from vivavoce.video.vae import pictures
from vivavoce.video.wan.cache import FIRST_BLOCK, cached
from vivavoce.video.watch import Watch

LATENTS = "latents"
FULL: Dropped = frozenset()
"""The evaluation with every condition."""


def draw(
    method: VideoMethod,
    scene: Scene,
    sampling: Sampling,
    job: Job,
    *,
    watch: Watch | None = None,
    on_step: Callable[[Chunk], None] = lambda chunk: None,
) -> Order:
    """Draw every chunk that the job does not have yet, and keep it there; the chunks come back.

    `on_step` is told the chunk after each denoising step, for chunks that are there already at once. Chunks of one pass
    depend on none of the same pass, so any of them may be drawn first.
    """
    order = sampling.chunks(method.config, scene.frames)
    for index in (index for row in passes(order) for index in row):
        step = functools.partial(on_step, order[index])
        if job.load(index) is None:
            given = _given(order, index, job)
            kept = draw_chunk(method, scene, order[index], sampling, given=given, watch=watch, on_step=step)
            job.save(index, kept | _lent(method, order, index, kept[LATENTS]))
        else:
            for _ in range(sampling.steps):
                step()
    return order


def draw_chunk(
    method: VideoMethod,
    scene: Scene,
    chunk: Chunk,
    sampling: Sampling,
    *,
    given: Mapping[int, UInt8[np.ndarray, "n H W 3"]],
    watch: Watch | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Shaped[Tensor, "..."]]:
    """The latents of one chunk, and what `watch` saw at its last denoising step."""
    network, make = method.network, method.make
    with torch.no_grad():
        conditions = network.conditions(make, scene, Span(chunk.first, chunk.frames, given))
        nulls = {"text": make.text([method.config.negative]).features}
        start = noise(network.latent_shape(chunk.frames), sampling.seed, chunk=chunk.index).to(make.device)
        if "given" in conditions:
            conditions["given.noise"] = start
        velocity = _Guided(method, sampling, conditions, nulls, watch)
        caching = nullcontext()
        if sampling.cache is not None:
            caching = cached(network.backbone, FIRST_BLOCK, sampling.cache)
        with caching:
            latents = sample(
                velocity,
                start,
                steps=sampling.steps,
                shift=sampling.shift,
                solver=sampling.solver,
                on_step=lambda _: on_step(),
            )
    if "given" in conditions:
        mask = conditions["given"][:, None, :, None, None].bool()
        latents = torch.where(mask, conditions["given.latents"], latents)
    return {LATENTS: latents[:, :, method.config.references :], **velocity.seen}


def frames_of(
    method: VideoMethod, order: Order, job: Job, watch: Watch | None = None
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Every frame of the video in its turn, decoded as they are asked for, with what `watch` saw drawn over them."""
    for chunk in order:
        kept = job.load(chunk.index)
        assert kept is not None, f"chunk {chunk.index} was drawn before"
        decoded = enumerate(pictures(method.make.vae, kept[LATENTS].to(method.make.device)))
        for place, frame in islice(decoded, chunk.keep.start, chunk.keep.stop):
            yield frame if watch is None else watch.shown(frame, kept, place)


class _Guided:
    """The guided velocity of one chunk, as the sampler calls it: once a step."""

    def __init__(
        self,
        method: VideoMethod,
        sampling: Sampling,
        conditions: Mapping[str, Tensor],
        nulls: Mapping[str, Tensor],
        watch: Watch | None,
    ) -> None:
        self.network = method.network
        self.sampling = sampling
        self.conditions = conditions
        self.nulls = nulls
        self.watch = watch
        self.chain = sampling.chain.among(conditions)
        make, tokens = method.make, self.network.config.tokens
        beside = make.vae, make.text_encoder.model
        self.batch = at_once(self.network, tokens, self.chain.evaluations, beside=beside)
        self.steps = 0
        self.seen: dict[str, Tensor] = {}

    def __call__(
        self, x: Float[Tensor, "1 C f h w"], sigma: Float[Tensor, " 1"]
    ) -> Float[Tensor, "1 C f h w"]:
        self.steps += 1

        def evaluate(dropped: Sequence[Dropped]) -> Float[Tensor, "K 1 C f h w"]:
            # Links are cached apart: a step of one is compared with the last step of the same.
            name = " ".join("+".join(sorted(names)) or "all" for names in dropped)
            context = nullcontext()
            if self.sampling.cache is not None:
                context = self.network.backbone.cache_context(name)
            with context:
                return self._evaluated(x, sigma, dropped)

        return self.chain.guided(evaluate, at_once=self.batch)

    def _evaluated(self, x: Tensor, sigma: Tensor, dropped: Sequence[Dropped]) -> Tensor:
        """The batch's velocities; at the last step, what the one without dropped conditions lets see."""
        k = len(dropped)
        batch = x.expand(k, *x.shape[1:]), sigma.expand(k), variants(self.conditions, dropped, self.nulls)
        if self.watch is None or self.steps < self.sampling.steps or FULL not in dropped:
            return self.network(*batch).sample.unflatten(0, (k, 1))
        with self.watch.over(self.network, batch, item=dropped.index(FULL)) as watched:
            drawn = self.network(*batch, taps=self.watch.taps(self.network))
        self.seen = watched(drawn)
        return drawn.sample.unflatten(0, (k, 1))


def _given(order: Order, index: int, job: Job) -> dict[int, UInt8[np.ndarray, "n H W 3"]]:
    """What a chunk is given of its neighbours, by the place where it begins there."""
    given = {}
    for loan in loans(order, order[index]):
        source = job.load(loan.source)
        assert source is not None, f"chunk {loan.source} was drawn in an earlier pass"
        given[loan.here.start] = source[_key(loan.there)].numpy()
    return given


def _lent(method: VideoMethod, order: Order, index: int, latents: Tensor) -> dict[str, Tensor]:
    """The frames of a finished chunk that others will be given, as they will be shown."""
    wanted = [loan.there for other in order for loan in loans(order, other) if loan.source == index]
    if not wanted:
        return {}
    last = max(span.stop for span in wanted)
    frames = list(islice(pictures(method.make.vae, latents.to(method.make.device)), last))
    return {_key(span): torch.from_numpy(np.stack(frames[span.start : span.stop])) for span in wanted}


def _key(frames: range) -> str:
    return f"frames.{frames.start}-{frames.stop}"
