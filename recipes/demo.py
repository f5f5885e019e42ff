"""The whole product on a picture and a sentence that everyone has: `make demo`.

    python recipes/demo.py [FOLDER]

The portrait is scikit-image's astronaut (NASA, public domain), the sentence is spoken by flite. Leaves the video, the
avatar, both inputs, and a contact sheet: one frame for each kind of phone, with a close view of the mouth.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

SENTENCE = (
    "Hello! From one photo and my voice, Vivavoce makes this moving picture. "
    "Both of my lips meet for every P, B and M, and the show goes on for as long as you choose to speak."
)
PER_ROW, ROWS, TILE = 8, 4, 176


def main(folder: Path) -> None:
    """Make everything in `folder`."""
    from scipy.io import wavfile
    from skimage.data import astronaut

    import vivavoce
    from vivavoce.corpus.synth.voice import Voice, synthesize
    from vivavoce.types import SPEECH_RATE

    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(astronaut()).save(folder / "photo.png")
    samples, phones = synthesize(SENTENCE, Voice("flite", "slt"))
    wavfile.write(folder / "speech.wav", SPEECH_RATE, samples)
    vivavoce.create(folder / "photo.png", folder / "avatar")
    vivavoce.generate(folder / "avatar", folder / "speech.wav", folder / "demo.mp4")
    sheet = contact_sheet(folder / "demo.mp4", folder / "avatar", phones)
    Image.fromarray(sheet).save(folder / "contact_sheet.png")
    for made in ("demo.mp4", "contact_sheet.png"):
        print(folder / made)


def contact_sheet(video: Path, avatar: Path, phones: list) -> np.ndarray:
    """One frame in the middle of the longest phone of each kind, and the mouth below it: uint8 (H, W, 3)."""
    from PIL import ImageDraw

    from vivavoce.splat.avatar import load_avatar

    longest = {}
    for phone in phones:
        if phone.end - phone.start > longest.get(phone.label, (0.0, 0.0))[1]:
            longest[phone.label] = ((phone.start + phone.end) / 2, phone.end - phone.start)
    longest = dict(list(longest.items())[: PER_ROW * ROWS])
    frames = read_frames(video, [at for at, _ in longest.values()])
    person = load_avatar(avatar)
    face, scale = person.rig.frame, frames[0].shape[1] / person.lift.camera.width
    mouth = (face.mouth[:2] - person.lift.pad) * scale
    head = mouth - [0, 0.35 * face.height * scale]
    tiles = []
    for (label, (at, _)), frame in zip(longest.items(), frames, strict=True):
        top = _view(frame, head, 0.95 * face.height * scale, (TILE, TILE))
        ImageDraw.Draw(top).text((6, 4), f"/{label}/  {at:.2f} s", fill=(255, 255, 0))
        low = _view(frame, mouth, 0.9 * face.mouth_width * scale, (TILE, TILE * 5 // 8))
        tiles.append(np.concatenate([np.asarray(top), np.asarray(low)]))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % PER_ROW)
    return np.concatenate([np.concatenate(tiles[i : i + PER_ROW], 1) for i in range(0, len(tiles), PER_ROW)])


def _view(frame: np.ndarray, centre: np.ndarray, reach: float, size: tuple[int, int]) -> Image.Image:
    """The square of half side `reach` pixels around `centre`, cut to the shape of `size` and scaled to it."""
    high = reach * size[1] / size[0]
    box = (centre[0] - reach, centre[1] - high, centre[0] + reach, centre[1] + high)
    return Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC, box=_inside(box, frame.shape))


def _inside(box: tuple[float, ...], shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """The box moved so that it lies in a picture of `shape`."""
    x0, y0, x1, y1 = box
    dx = max(0.0, -x0) - max(0.0, x1 - shape[1])
    dy = max(0.0, -y0) - max(0.0, y1 - shape[0])
    return max(0.0, x0 + dx), max(0.0, y0 + dy), min(shape[1], x1 + dx), min(shape[0], y1 + dy)


def read_frames(video: Path, times: list[float]) -> list[np.ndarray]:
    """The frames of a video that are shown at the given times, in their order."""
    import av

    with av.open(str(video)) as container:
        fps = float(container.streams.video[0].average_rate)
        wanted = {int(at * fps) for at in times}
        found = {
            i: f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(video=0)) if i in wanted
        }
    last = max(found)
    return [found[min(int(at * fps), last)] for at in times]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
