"""Training examples whose plans are told in another way: their pictures need not be encoded again for it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from vivavoce.corpus.cache import CachedExamples
from vivavoce.corpus.clips import ClipSource
from vivavoce.corpus.cuts import Cutter
from vivavoce.video.example import Example
from vivavoce.video.maker import Scene, Span
from vivavoce.video.method import VideoMethod


class Retold:
    """`examples` with the text that `method` tells of the plans of `source`, from which they were cut by `cutter`."""

    def __init__(
        self, examples: CachedExamples, source: ClipSource, method: VideoMethod, cutter: Cutter
    ) -> None:
        self._examples = examples
        self._texts = {}
        digest = hashlib.sha256(examples.fingerprint.encode())
        for clip in (source[i] for i in range(len(source))):
            if clip.name in examples.bad:
                continue
            scene = Scene(None, clip.speech, clip.plan, len(clip), clip.fps)
            for cut in cutter.cuts(clip.name, len(clip)):
                blocks = method.network.blocks(scene, Span(cut.first, cutter.frames))
                digest.update("\n".join(blocks).encode())
                text = method.make.text(blocks)
                told = {"text": text.features, "phases": text.phases, "words": text.words}
                name = f"{clip.name} from frame {cut.first}"
                self._texts[name] = {key: value.cpu() for key, value in told.items()}
        self.fingerprint = digest.hexdigest()
        """Of all examples and their texts."""

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        example = self._examples[index]
        return replace(example, conditions={**example.conditions, **self._texts[example.name]})
