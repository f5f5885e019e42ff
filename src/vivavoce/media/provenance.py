"""What a file says of its own making: that it was generated, by what, and from which inputs.

The record is JSON in the `comment` tag of a video and in the `Comment` text of a PNG. The label that other
software looks for, IPTC's digital source type, stands beside it as XMP where the container has room for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vivavoce import __version__
from vivavoce.media.files import check_readable

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_XMP_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
_NOTICE = "AI-generated: this was made by a computer from a photo and a recording; it was not filmed."


@dataclass(frozen=True)
class Provenance:
    """How a picture or video came about. `inputs` maps a role, as "speech", to (file name, SHA-256)."""

    method: str
    seed: int
    inputs: Mapping[str, tuple[str, str]]
    settings: Mapping[str, str | float | int | None] = field(default_factory=dict)
    """The options that shaped the result, by name."""
    version: str = __version__

    def to_json(self) -> str:
        """The record as it stands in a file."""
        record = {
            "notice": _NOTICE,
            "digitalSourceType": SOURCE_TYPE,
            "generator": "vivavoce",
            "version": self.version,
            "method": self.method,
            "seed": self.seed,
            "inputs": {role: {"file": name, "sha256": sha} for role, (name, sha) in self.inputs.items()},
            "settings": dict(self.settings),
        }
        return json.dumps(record, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> Provenance | None:
        """The record in `text`, or None if it is not one of ours."""
        try:
            record = json.loads(text)
            if record["generator"] != "vivavoce":
                return None
            inputs = {role: (item["file"], item["sha256"]) for role, item in record["inputs"].items()}
            return Provenance(
                method=record["method"],
                seed=record["seed"],
                inputs=inputs,
                settings=record["settings"],
                version=record["version"],
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def describe(self) -> str:
        """The record for people to read, a line each."""
        lines = [
            _NOTICE,
            f"source type    {SOURCE_TYPE}",
            f"made by        vivavoce {self.version}, method {self.method}, seed {self.seed}",
        ]
        lines += [f"{role:<14} {name}  sha256 {sha}" for role, (name, sha) in self.inputs.items()]
        lines += [f"{name:<14} {value}" for name, value in self.settings.items() if value is not None]
        return "\n".join(lines)


def xmp_packet() -> str:
    """IPTC's digital source type as an XMP packet (XMP Specification Part 1, 7.4)."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def append_xmp_box(path: Path) -> None:
    """Put the XMP packet into the `uuid` box that mp4 and mov have for it (XMP Specification Part 3)."""
    packet = xmp_packet().encode()
    with path.open("ab") as file:
        file.write((24 + len(packet)).to_bytes(4, "big") + b"uuid" + _XMP_UUID + packet)


def read_provenance(path: Path) -> Provenance | None:
    """The record in a picture or video, or None if it carries none of ours.

    Raises InputError if there is no such file, or it cannot be read.
    """
    check_readable(path, "file")
    for tags in (_picture_tags(path), _container_tags(path)):
        for name, text in tags.items():
            if name.lower() == "comment" and isinstance(text, str) and (found := Provenance.from_json(text)):
                return found
    return None


def _picture_tags(path: Path) -> Mapping[Any, Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("PNG",)) as picture:
            picture.load()  # text may stand after the pixels
            return {name: text for name, text in picture.info.items() if isinstance(name, str)}
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return {}


def _container_tags(path: Path) -> Mapping[str, str]:
    import av
    from av.error import FFmpegError

    try:
        with av.open(
            f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace"
        ) as container:
            return dict(container.metadata)
    except (FFmpegError, OSError, ValueError):
        return {}
