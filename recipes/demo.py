"""The whole product on a picture and a sentence that everyone has: `make demo`.

    python recipes/demo.py [FOLDER]

The portrait is scikit-image's astronaut (NASA, public domain), the sentence is spoken by flite. Leaves the video, the
avatar, both inputs, and a contact sheet: one frame for each kind of phone, with a close view of the mouth.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SENTENCE = (
    "Hello! From one photo and my voice, Vivavoce makes this moving picture. "
    "Both of my lips meet for every P, B and M, and the show goes on for as long as you choose to speak."
)
PER_ROW = 6
CLOSE = 2.0  # side of the mouth's view, in widths of the mouth


def main(folder: Path) -> None:
    """Make everything in `folder`."""
    from PIL import Image
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
    from PIL import Image, ImageDraw

    from vivavoce.splat.avatar import load_avatar

    longest = {}
    for phone in phones:
        if phone.end - phone.start > longest.get(phone.label, (0.0, 0.0))[1]:
            longest[phone.label] = ((phone.start + phone.end) / 2, phone.end - phone.start)
    _, frames = read_frames(video, [at for at, _ in longest.values()])
    person = load_avatar(avatar)
    rig, pad = person.rig.frame, person.lift.pad
    scale = frames[0].shape[1] / person.lift.camera.width
    x, y = (rig.mouth[:2] - pad) * scale
    reach = CLOSE / 2 * rig.mouth_width * scale
    tiles = []
    for (label, (at, _)), frame in zip(longest.items(), frames, strict=True):
        whole = Image.fromarray(frame).resize(
            (256, round(256 * frame.shape[0] / frame.shape[1])), Image.Resampling.LANCZOS
        )
        mouth = Image.fromarray(frame).crop(
            (int(x - reach), int(y - reach * 0.6), int(x + reach), int(y + reach * 0.7))
        )
        mouth = mouth.resize((256, 166), Image.Resampling.BICUBIC)
        ImageDraw.Draw(whole).text((6, 4), f"/{label}/  {at:.2f} s", fill=(255, 255, 0))
        tiles.append(np.concatenate([np.asarray(whole), np.asarray(mouth)]))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % PER_ROW)
    return np.concatenate([np.concatenate(tiles[i : i + PER_ROW], 1) for i in range(0, len(tiles), PER_ROW)])


def read_frames(video: Path, times: list[float]) -> tuple[float, list[np.ndarray]]:
    """The frames per second of a video, and its frames shown at the given times, in their order."""
    import av

    with av.open(str(video)) as container:
        fps = float(container.streams.video[0].average_rate)
        wanted = {int(at * fps) for at in times}
        found = {
            i: f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(video=0)) if i in wanted
        }
    last = max(found)
    return fps, [found[min(int(at * fps), last)] for at in times]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
