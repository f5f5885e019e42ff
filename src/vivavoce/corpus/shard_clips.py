"""Clips out of WebDataset shards, by number: each is found by the tar files' headers and read when it is used."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from vivavoce.corpus.clips import ClipError, TrainingClip
from vivavoce.corpus.shards import BEGUN, Place, read_at, read_index, table
from vivavoce.errors import InputError
from vivavoce.features.loudness import Speech, leveled
from vivavoce.media.audio import open_speech
from vivavoce.media.footage import Footage

if TYPE_CHECKING:
    from vivavoce.video.config import VideoConfig
    from vivavoce.video.plan import Plan

_SOUNDS = ("wav", "flac")


class Shards:
    """The clips of a folder of shards, or of those that a pattern as `folder/shard-*.tar` names."""

    def __init__(self, path: Path, *, split: str | None = None, fps: float | None = None) -> None:
        """`split` takes the clips of that part of the corpus alone, `fps` brings all to one rate.

        Raises InputError where there are no shards, one of them is cut off, production is unfinished, or no clip is
        of `split`.
        """
        if (path / BEGUN).is_file():
            read_index(path)  # which is not there yet, and says so
        shards = sorted(path.glob("*.tar") if path.is_dir() else path.parent.glob(path.name))
        if not shards:
            raise InputError(f"There are no shards at {path}: give a folder that holds .tar files.")
        clips = [ShardClip(shard, key, files, fps) for shard in shards for key, files in table(shard).items()]
        if split is not None:
            clips = _of_split(clips, split, path)
        self._clips = clips

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> ShardClip:
        return self._clips[index].fresh()


def _of_split(clips: list[ShardClip], split: str, path: Path) -> list[ShardClip]:
    """Those of a split, and those that cannot tell theirs: they come to light when they are used."""
    splits: dict[str | None, list[ShardClip]] = {}
    for clip in clips:
        try:
            splits.setdefault(clip.fresh().split, []).append(clip)  # what it reads is let go
        except ClipError:
            splits.setdefault(None, []).append(clip)
    if split not in splits:
        known = ", ".join(sorted(filter(None, splits))) or "none"
        raise InputError(f"No clip in {path} is of the split {split!r}: there is {known}.")
    chosen = {id(clip) for name in (split, None) for clip in splits.get(name, ())}
    return [clip for clip in clips if id(clip) in chosen]


class ShardClip(TrainingClip):
    """A sample: KEY.mp4, KEY.wav or KEY.flac, KEY.json, and with luck KEY.truth.npz and KEY.features.npz."""

    def __init__(self, shard: Path, key: str, files: Mapping[str, Place], fps: float | None) -> None:
        super().__init__(f"{shard.name}/{key}", fps)
        self.shard = shard
        self.key = key
        self._files = files

    def fresh(self) -> ShardClip:
        """The same, with nothing read yet."""
        return ShardClip(self.shard, self.key, self._files, self._fps)

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What is written of the clip: attributes, text, voice, phones, actions, plan, split, as it is."""
        with self._told():
            try:
                found = json.loads(self._read("json"))
            except ValueError as error:
                raise InputError(f"its .json is damaged ({error}): make it again.") from error
            if not isinstance(found, dict):
                raise InputError("its .json is no table: make it again.")
            return found

    @property
    def split(self) -> str | None:
        """The part of the corpus that it belongs to."""
        return self.meta.get("split") if "json" in self._files else None

    @cached_property
    def truth(self) -> dict[str, np.ndarray]:
        """What is known of the clip, by name; what is of each picture is of each frame here."""
        return self._by_frame(self._arrays("truth.npz"))

    @cached_property
    def features(self) -> dict[str, np.ndarray]:
        """What was computed ahead, by name, as `truth`."""
        return self._by_frame(self._arrays("features.npz"))

    @property
    def digest(self) -> str:
        digest = hashlib.sha256()
        for extension in sorted(self._files):
            digest.update(f"{extension} {self._files[extension].size}\n".encode() + self._read(extension))
        return digest.hexdigest()

    def check(self, config: VideoConfig | None = None, *, frames: int = 1) -> None:
        """Also of everything that is stored with the clip, whether or not the method reads it."""
        super().check(config, frames=frames)
        _ = self._source_points, self._source_tokens

    def _video(self) -> Footage:
        return Footage(self._read("mp4"), "its .mp4")

    def _sound(self) -> Speech:
        extension = next((e for e in _SOUNDS if e in self._files), _SOUNDS[0])
        with tempfile.TemporaryDirectory(prefix="vivavoce-") as folder:
            path = Path(folder) / f"{self.key}.{extension}"
            path.write_bytes(self._read(extension))
            try:
                return leveled(open_speech(path).read())
            except InputError as error:
                raise InputError(str(error).replace(str(path), path.name)) from error

    def _script(self) -> Plan:
        from pydantic import ValidationError

        from vivavoce.video.plan import Plan

        try:
            return Plan.model_validate(self.meta["plan"])
        except (KeyError, ValidationError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"its .json has no plan that can be used ({reason}): make it again.") from error

    def _points(self) -> Float[np.ndarray, "..."] | None:
        return self._arrays("truth.npz").get("keypoints")

    def _tokens(self) -> Float[np.ndarray, "..."] | None:
        return self._arrays("features.npz").get("states")

    def _arrays(self, extension: str) -> dict[str, np.ndarray]:
        """The arrays of an .npz; none where the sample has no such file."""
        if extension not in self._files:
            return {}
        with self._told():
            try:
                with np.load(io.BytesIO(self._read(extension)), allow_pickle=False) as arrays:
                    found = {name: np.asarray(arrays[name]) for name in arrays.files}
            except Exception as error:  # a damaged archive raises whatever its reader stumbles over
                raise InputError(f"its .{extension} is damaged: make it again.") from error
            for name, values in found.items():
                if values.dtype.kind == "f" and not np.isfinite(values).all():
                    raise InputError(
                        f"its {name} in .{extension} are not all finite (NaN or infinite): make them again."
                    )
            return found

    def _by_frame(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        pictures = len(self.footage)
        return {
            name: values[self.shown] if values.shape[:1] == (pictures,) else values
            for name, values in arrays.items()
        }

    def _read(self, extension: str) -> bytes:
        if extension not in self._files:
            raise InputError(f"it has no .{extension}: make it again.")
        try:
            with self.shard.open("rb") as file:
                return read_at(file, self._files[extension])
        except OSError as error:
            raise InputError(f"its shard cannot be read ({error.strerror}): put it back.") from error
