"""One HTML file that plays a talking avatar: no server, no network, nothing beside it."""

from __future__ import annotations

import base64
import html
import re
from fractions import Fraction
from pathlib import Path

from vivavoce.media.files import check_readable, check_target, replacing
from vivavoce.media.provenance import Provenance
from vivavoce.splat.avatar import Avatar
from vivavoce.splat.export.payload import payload
from vivavoce.splat.export.sound import browser_sound
from vivavoce.timing import frame_rate
from vivavoce.types import Motion

VIEWER = Path(__file__).parent / "viewer"
"""The page's template and the bundled script; `npm ci && npm run build` in it makes the script."""


def write_page(
    path: Path, avatar: Avatar, motion: Motion, *, sound: Path, title: str, provenance: Provenance
) -> None:
    """Write an .html that plays `motion` with the sound of the recording `sound`, to be looked at from around.

    Frame k is shown from k / fps seconds on; the sound ends where the frames do. The page plays in browsers
    with WebGL 2. Raises OutputError if it cannot be written, InputError if there is no sound.
    """
    check_target(path, (".html",))
    seconds = Fraction(len(motion.transforms)) / frame_rate(motion.fps)
    parts = {
        "title": html.escape(title),
        # As JSON may, so that the page holds nothing that looks like an address, nor an end of its element.
        "provenance": provenance.to_json().replace("/", r"\/"),
        "avatar": base64.b64encode(payload(avatar, motion)).decode(),
        "sound": base64.b64encode(browser_sound(sound, seconds)).decode(),
        "viewer": (VIEWER / "viewer.js").read_text(encoding="utf-8"),
    }
    page = (VIEWER / "page.html").read_text(encoding="utf-8")
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def read_page_provenance(path: Path) -> Provenance | None:
    """The record in a page, or None if it carries none of ours. Raises InputError where it cannot be read."""
    check_readable(path, "file")
    text = path.read_text(encoding="utf-8", errors="replace")
    found = re.search(r'<script type="application/json" id="provenance">(.*?)</script>', text)
    return Provenance.from_json(found[1]) if found else None
