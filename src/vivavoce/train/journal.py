"""What a run tells while it trains: losses.jsonl, TensorBoard, and a line on the terminal."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from vivavoce.errors import extra
from vivavoce.media.files import replacing, write_error


class Journal:
    """The records of a stage from step `begun` on; use as a context manager.

    Each step is one line of losses.jsonl, in which a run that goes on continues as if it had never stopped: what was
    written of the stage after `begun` is taken out. Raises OutputError where it cannot be written.
    """

    def __init__(self, folder: Path, stage: str, *, begun: int) -> None:
        with extra("train"):
            from torch.utils.tensorboard.writer import SummaryWriter

        self.stage = stage
        self.path = folder / "losses.jsonl"
        self._cut(begun)
        self.file = self.path.open("a", encoding="utf-8", buffering=1)
        self.board: Any = SummaryWriter(folder / "tensorboard" / stage, purge_step=begun + 1)
        self.since, self.first = time.monotonic(), begun

    def write(self, step: int, record: Mapping[str, float]) -> str:
        """Keep the losses, the rate and so on of a finished step; what a person is told of it comes back."""
        try:
            self.file.write(json.dumps({"stage": self.stage, "step": step, **record}) + "\n")
            for name, value in record.items():
                self.board.add_scalar(name, value, step)
        except OSError as error:
            raise write_error(self.path, error) from error
        seconds = (time.monotonic() - self.since) / (step - self.first)
        speed = f"{1 / seconds:.1f} steps/s" if seconds < 1 else f"{seconds:.1f} s/step"
        return f"{self.stage}: step {step}, loss {record['loss']:.4f}, {speed}"

    def _cut(self, begun: int) -> None:
        """Leave out the stage's lines after step `begun`, and a last one that is not whole."""
        if not self.path.exists():
            return
        lines = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                break
            if record["stage"] != self.stage or record["step"] <= begun:
                lines.append(line + "\n")
        with replacing(self.path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # on a full disk, which was told before
            self.file.close()
            self.board.close()
