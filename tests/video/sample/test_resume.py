"""A killed job goes on; what was changed, damaged or half-written is never taken for its own."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open

from vivavoce.errors import InputError, OutputError
from vivavoce.video.sample.resume import Job

SETTINGS = {"photo": "ab12", "seed": 3, "steps": 50, "guidance": [["text", 5.0], ["audio", 5.0]]}


def tensors(seed=0):
    torch.manual_seed(seed)
    return {
        "latents": torch.randn(1, 16, 3, 4, 4).transpose(3, 4),
        "half": torch.randn(5, dtype=torch.bfloat16),
        "tail": torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8),
    }


def test_a_later_process_finds_what_was_finished(tmp_path):
    Job(tmp_path / "a" / "job", SETTINGS).save(7, tensors())
    again = Job(tmp_path / "a" / "job", SETTINGS | {"guidance": (("text", 5.0), ("audio", 5.0))})
    assert again.load(6) is None
    found = again.load(7)
    assert set(found) == set(tensors())
    for name, tensor in tensors().items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_a_file_is_what_others_can_read(tmp_path):
    job = Job(tmp_path, SETTINGS)
    job.save(0, tensors())
    with safe_open(tmp_path / "chunk-0000.safetensors", "pt") as file:
        assert file.metadata()["fingerprint"] == job.fingerprint
        assert torch.equal(file.get_tensor("latents"), tensors()["latents"])
    assert json.loads((tmp_path / "job.json").read_text())["seed"] == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seed": 4}, r"seed \(3, now 4\)"),
        ({"guidance": [["text", 5.0], ["audio", 4.0]]}, "guidance"),
        ({"pose": "cd34"}, r"pose \(None, now 'cd34'\)"),
    ],
)
def test_changed_settings_are_named(tmp_path, change, told):
    Job(tmp_path, SETTINGS)
    with pytest.raises(InputError, match=told):
        Job(tmp_path, SETTINGS | change)


def test_another_version_of_torch_is_another_job(tmp_path, monkeypatch):
    Job(tmp_path, SETTINGS)
    record = tmp_path / "job.json"
    record.write_text(record.read_text().replace(torch.__version__.split("+", maxsplit=1)[0], "1.0.0"))
    with pytest.raises(InputError, match=r"software .*1\.0\.0"):
        Job(tmp_path, SETTINGS)


def test_a_missing_setting_is_a_change_too(tmp_path):
    Job(tmp_path, SETTINGS | {"pose": "cd34"})
    with pytest.raises(InputError, match="pose"):
        Job(tmp_path, SETTINGS)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_an_unreadable_record_is_no_job(tmp_path, text):
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(InputError, match=r"job\.json cannot be read"):
        Job(tmp_path, SETTINGS)


def cut(data):
    return data[:-9]


def flip(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def header(data):
    return b"\xff" * 16 + data[16:]


@pytest.mark.parametrize("damage", [cut, flip, header, lambda data: b"", lambda data: data[:5]])
def test_a_damaged_chunk_is_drawn_again(tmp_path, damage):
    job = Job(tmp_path, SETTINGS)
    job.save(1, tensors())
    path = tmp_path / "chunk-0001.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="chunk 1 is drawn again"):
        assert job.load(1) is None
    job.save(1, tensors())
    assert torch.equal(job.load(1)["half"], tensors()["half"])


def test_a_chunk_of_another_job_or_place_is_not_taken(tmp_path):
    mine, other = Job(tmp_path / "a", SETTINGS), Job(tmp_path / "b", SETTINGS | {"seed": 4})
    other.save(0, tensors())
    (tmp_path / "b" / "chunk-0000.safetensors").rename(tmp_path / "a" / "chunk-0000.safetensors")
    with pytest.warns(UserWarning, match="another job"):
        assert mine.load(0) is None
    mine.save(1, tensors())
    (tmp_path / "a" / "chunk-0001.safetensors").rename(tmp_path / "a" / "chunk-0002.safetensors")
    with pytest.warns(UserWarning, match="chunk 2"):
        assert mine.load(2) is None


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path, monkeypatch):
    job = Job(tmp_path, SETTINGS)
    job.save(0, tensors(1))

    def full(self, data):
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(OutputError, match="the disk is full"):
            job.save(0, tensors(2))
    assert torch.equal(job.load(0)["latents"], tensors(1)["latents"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chunk-0000.safetensors", "job.json"]


def test_a_process_killed_while_it_writes_leaves_only_whole_chunks(tmp_path):
    """It is killed between the bytes of its second chunk, then the job goes on."""
    code = f"""
import os, signal, sys, torch
from pathlib import Path
from vivavoce.video.sample.resume import Job
job = Job(Path({str(tmp_path)!r}), {SETTINGS!r})
job.save(0, {{"latents": torch.arange(6.0)}})
def die(self, data):
    with self.open("wb") as file:
        file.write(data[:50])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
Path.write_bytes = die
job.save(1, {{"latents": torch.arange(7.0)}})
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=os.environ)
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()
    job = Job(tmp_path, SETTINGS)
    assert torch.equal(job.load(0)["latents"], torch.arange(6.0))
    assert job.load(1) is None
    job.clear()
    assert not tmp_path.exists()


def test_clearing_leaves_what_is_not_the_jobs(tmp_path):
    job = Job(tmp_path, SETTINGS)
    job.save(0, tensors())
    (tmp_path / "notes.txt").write_text("mine")
    job.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "job").write_text("a file")
    with pytest.raises(OutputError, match="cannot be made"):
        Job(tmp_path / "job", SETTINGS)
