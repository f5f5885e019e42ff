"""Real clips from a list in VideoX-Fun's format, taken as it is:

    [{"file_path": "videos/0001.mp4", "audio_path": "wavs/0001.wav", "text": "A woman speaks.", "type": "video"}, ...]

What the list does not have is found: the sound in the video itself, keypoints in its pictures where a method is
trained on them. Those are kept on the disk, since finding them takes long.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from vivavoce.corpus.clips import TrainingClip
from vivavoce.errors import InputError
from vivavoce.features.loudness import Speech, leveled
from vivavoce.media.audio import open_speech
from vivavoce.media.files import check_readable, file_sha256
from vivavoce.media.footage import Footage

if TYPE_CHECKING:
    from vivavoce.video.plan import Plan

_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class MetadataClips:
    """The videos of a list; pictures in it are left out with a warning, since nobody speaks in them."""

    def __init__(
        self, path: Path, *, root: Path | None = None, fps: float | None = None, poses: Path | None = None
    ) -> None:
        """`root` is the folder that the list's paths start from, its own where None; `fps` brings all to one rate.

        Keypoints that are found are kept in the folder `poses`, beside each video where None.

        Raises InputError where the list cannot be read, an entry names no file, or no video is left. A video that is
        not there is told when it is used.
        """
        entries = _entries(path)
        videos = [entry for entry in entries if _kind(entry) == "video"]
        if len(videos) < len(entries):
            warnings.warn(
                f"{len(entries) - len(videos)} of {len(entries)} entries in {path} are pictures and are left out.",
                stacklevel=2,
            )
        if not videos:
            raise InputError(f"{path} names no videos: give entries of the type 'video'.")
        self._entries, self._root = videos, root or path.parent
        self._fps, self._poses = fps, poses

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> FileClip:
        entry = self._entries[index]
        sound = entry.get("audio_path")
        return FileClip(
            entry["file_path"],
            self._root / entry["file_path"],
            self._root / (sound or entry["file_path"]),
            entry.get("text") or "",
            fps=self._fps,
            poses=self._poses,
        )


class FileClip(TrainingClip):
    """A video file, its sound and a text."""

    def __init__(
        self,
        name: str,
        video: Path,
        sound: Path,
        text: str,
        *,
        fps: float | None = None,
        poses: Path | None = None,
    ) -> None:
        """`sound` may be the video itself; `poses` is where keypoints are kept, beside the video where None."""
        super().__init__(name, fps)
        self._path = video
        self._sound_path = sound
        self._text = text
        self._poses = poses or video.parent

    @property
    def digest(self) -> str:
        with self._told():
            shas = [self._sha256, self._text]
            if self._sound_path != self._path:
                check_readable(self._sound_path, "recording")
                shas.append(file_sha256(self._sound_path))
        return hashlib.sha256("\n".join(shas).encode()).hexdigest()

    @cached_property
    def _sha256(self) -> str:
        check_readable(self._path, "video")
        return file_sha256(self._path)

    def _video(self) -> Footage:
        check_readable(self._path, "video")
        return Footage(self._path, str(self._path))

    def _sound(self) -> Speech:
        return leveled(open_speech(self._sound_path).read())

    def _script(self) -> Plan:
        from vivavoce.video.plan import Plan

        if not self._text.strip():
            raise InputError("it has no text: write what is seen into its `text`.")
        return Plan(base=self._text)

    def _points(self) -> Float32[np.ndarray, "N 127 3"]:
        """Read from the pictures once, and from then on from a file that the video's digest names."""
        from vivavoce.features.pose import read_pose, write_pose

        clip = {"fps": self.footage.fps, "frames": len(self.footage)}
        kept = self._poses / f"{self._path.stem}.{self._sha256[:12]}.pose.npz"
        if kept.is_file():
            return read_pose(kept, **clip)
        found = read_pose(self._path, **clip)
        write_pose(kept, found, self.footage.fps)
        return found

    def _tokens(self) -> None:
        """The landmark encoder's, of the keypoints."""
        return


def _entries(path: Path) -> list[Mapping[str, Any]]:
    check_readable(path, "list of clips")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}): mend it there.") from error
    if not isinstance(found, list) or not found:
        raise InputError(f"{path} is no list of clips: write [{{file_path, text, type}}, ...].")
    for i, entry in enumerate(found):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise InputError(f"Entry {i} of {path} has no file_path: write the name of a video there.")
        for name in ("audio_path", "text"):
            if not isinstance(entry.get(name) or "", str):
                raise InputError(f"The {name} of entry {i} of {path} is no text: mend it there.")
        if _kind(entry) not in ("video", "image"):
            raise InputError(
                f"Entry {i} of {path} is of the type {entry['type']!r}: write 'video' or 'image'."
            )
    return found


def _kind(entry: Mapping[str, Any]) -> str:
    guessed = "image" if Path(entry["file_path"]).suffix.lower() in _PICTURES else "video"
    return entry.get("type", guessed)
