"""A bar for those who look on, nothing for those who do not."""

import os
import pty
import sys

from vivavoce.progress import track


def test_items_pass_and_nothing_is_printed_without_a_terminal(capfd):
    assert list(track(iter("abc"), "Drawing", total=3)) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")


def test_a_terminal_sees_how_far_it_is(monkeypatch):
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        seen = list(track(range(4), "Drawing"))
        terminal.flush()
        shown = os.read(reader, 100_000).decode()
    os.close(reader)
    assert seen == [0, 1, 2, 3]
    assert "Drawing" in shown
    assert "100%" in shown
