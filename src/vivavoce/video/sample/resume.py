"""A job folder that keeps what each chunk of a long video has become, so that a killed job can go on.

    job.json                  every setting that decides the chunks
    chunk-0000.safetensors    tensors of a finished chunk, with the settings' fingerprint and the tensors' own digest

Files are written beside their place and moved there whole. What a crash of the machine leaves half-written all the
same is found by its digest, and drawn again.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import vivavoce
from vivavoce.errors import InputError, OutputError
from vivavoce.media.files import check_folder, replacing


class Job:
    """The chunks of one video under way, in a folder of its own that may hold some of them already."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Begin in `folder`, which is made if need be, or go on there.

        `settings` are JSON values by name and must be everything that decides a chunk: digests of the photo, the
        speech and the weights, plan, seed, steps, scales, sizes, order of chunks. Versions of the libraries are added.

        Raises InputError if the folder holds a job of other settings (it names them) or an unreadable `job.json`,
        OutputError if nothing can be written there.
        """
        software = {"vivavoce": vivavoce.__version__} | {
            name: version(name) for name in ("torch", "diffusers")
        }
        text = json.dumps({**settings, "software": software}, sort_keys=True, indent=1, allow_nan=False)
        self.folder = folder
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The job folder {folder} cannot be made ({error.strerror}): choose another place."
            ) from error
        check_folder(folder)
        record = folder / "job.json"
        if record.exists():
            _compare(record, json.loads(text))
        else:
            with replacing(record) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def load(self, chunk: int) -> dict[str, Shaped[Tensor, "..."]] | None:
        """The tensors of a finished chunk on the CPU, or None if it is still to be drawn.

        A file that is damaged, or not of this job, counts as not there, with a warning.
        """
        path = self._path(chunk)
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        except (SafetensorError, OSError):
            metadata, tensors = {}, {}
        if metadata == self._metadata(chunk, tensors):
            return tensors
        warnings.warn(f"{path} is damaged or of another job: chunk {chunk} is drawn again.", stacklevel=2)
        return None

    def save(self, chunk: int, tensors: Mapping[str, Shaped[Tensor, "..."]]) -> None:
        """Keep a finished chunk: its latents, and whatever other chunks are given of it.

        Raises OutputError where it cannot be written, as on a full disk; an earlier file of the chunk stays then.
        """
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        with replacing(self._path(chunk)) as temporary:
            temporary.write_bytes(save(kept, metadata=self._metadata(chunk, kept)))

    def clear(self) -> None:
        """Remove the job's files, also what was left unfinished, and the folder if nothing else is in it."""
        for pattern in ("chunk-*.safetensors", ".vivavoce-*.safetensors", ".vivavoce-*.json", "job.json"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _path(self, chunk: int) -> Path:
        return self.folder / f"chunk-{chunk:04d}.safetensors"

    def _metadata(self, chunk: int, tensors: Mapping[str, Tensor]) -> dict[str, str]:
        return {"fingerprint": self.fingerprint, "chunk": str(chunk), "sha256": _digest(tensors)}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes: safetensors itself checks only lengths."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _compare(record: Path, settings: Mapping[str, Any]) -> None:
    """Raise InputError unless the folder's job has these settings."""
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
        changed = [name for name in sorted({*before, *settings}) if before.get(name) != settings.get(name)]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{record} cannot be read: remove the folder and begin again.") from error
    if changed:
        what = ", ".join(f"{name} ({before.get(name)!r}, now {settings.get(name)!r})" for name in changed)
        raise InputError(
            f"The job in {record.parent} was begun with other settings: {what}. "
            "Give the same ones again, or another folder."
        )
