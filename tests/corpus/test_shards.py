"""WebDataset shards: the same bytes, read by plain webdataset and by us, and damage told by name."""

import hashlib
import io
import json
import tarfile

import pytest

from vivavoce.corpus.shards import (
    BEGUN,
    Index,
    check,
    read_index,
    read_shard,
    table,
    write_index,
    write_shard,
)
from vivavoce.errors import InputError, OutputError

SAMPLES = [
    ("a-0", {"wav": b"sound" * 300, "json": b"{}", "truth.npz": b"\x00\x01"}),
    ("b_1", {"json": b'{"b": 1}', "mp4": bytes(range(256)) * 9}),
    ("c", {"json": b""}),
]


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "shard-000000.tar"
    write_shard(path, SAMPLES)
    return path


def test_what_is_written_is_read(shard):
    assert list(read_shard(shard)) == [(key, dict(files)) for key, files in SAMPLES]


def test_plain_webdataset_reads_it(shard):
    webdataset = pytest.importorskip("webdataset")
    found = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [sample["__key__"] for sample in found] == [key for key, _ in SAMPLES]
    for sample, (_, files) in zip(found, SAMPLES, strict=True):
        assert {name: sample[name] for name in files} == files


def test_a_shard_that_webdataset_wrote_is_read(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    path = tmp_path / "theirs.tar"
    with webdataset.TarWriter(str(path), encoder=False) as writer:
        for key, files in SAMPLES:
            writer.write({"__key__": key, **files})
    assert list(read_shard(path)) == [(key, dict(files)) for key, files in SAMPLES]


def test_the_bytes_depend_on_the_samples_alone(tmp_path, monkeypatch, shard):
    again = tmp_path / "again.tar"
    monkeypatch.setattr("time.time", lambda: 4e9)
    monkeypatch.setattr("os.getuid", lambda: 77)
    turned = [(key, dict(reversed(files.items()))) for key, files in SAMPLES]
    record = write_shard(again, turned)
    assert again.read_bytes() == shard.read_bytes()
    assert record.sha256 == hashlib.sha256(shard.read_bytes()).hexdigest()
    assert (record.size, record.keys) == (shard.stat().st_size, ("a-0", "b_1", "c"))
    with tarfile.open(again) as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}


def test_the_table_tells_where_each_file_lies(shard):
    data = shard.read_bytes()
    for key, files in SAMPLES:
        for extension, content in files.items():
            place = table(shard)[key][extension]
            assert data[place.offset : place.offset + place.size] == content


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "a b", "ü"])
def test_a_key_that_webdataset_would_split_is_refused(tmp_path, key):
    with pytest.raises(ValueError, match="letters"):
        write_shard(tmp_path / "x.tar", [(key, {"json": b""})])
    assert not list(tmp_path.iterdir())


def test_a_key_comes_once(tmp_path):
    with pytest.raises(ValueError, match="comes once: not 'a'"):
        write_shard(tmp_path / "x.tar", [("a", {"json": b""}), ("a", {"json": b""})])


def test_a_shard_that_is_cut_anywhere_is_told_by_name(tmp_path, shard):
    data = shard.read_bytes()
    content = max(place.offset + place.size for files in table(shard).values() for place in files.values())
    lengths = [*range(1, content + 512, 173), *range(512, content + 512, 512)]
    cut = tmp_path / "cut.tar"
    for length in lengths:
        cut.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"shard .*cut\.tar is cut off or damaged"):
            list(read_shard(cut))


def test_a_broken_header_in_the_middle_does_not_pass_for_the_end(shard):
    data = bytearray(shard.read_bytes())
    header = table(shard)["b_1"]["json"].offset - 512
    data[header + 20] ^= 1
    shard.write_bytes(data)
    with tarfile.open(shard) as tar:
        assert len(tar.getnames()) < 6  # tarfile says nothing
    with pytest.raises(InputError, match="cut off or damaged"):
        table(shard)


def test_a_file_that_is_no_tar_is_told(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(InputError, match=r"x\.tar is cut off or damaged"):
        table(tmp_path / "x.tar")
    with pytest.raises(InputError, match="There is no shard at"):
        table(tmp_path / "y.tar")


def indexed(folder):
    shards = tuple(write_shard(folder / f"shard-{i:06d}.tar", SAMPLES) for i in range(3))
    write_index(folder, Index(shards, {"seed": 3}))
    return folder


def test_the_index_is_read_back(tmp_path):
    index = read_index(indexed(tmp_path))
    assert [shard.name for shard in index.shards] == [f"shard-{i:06d}.tar" for i in range(3)]
    assert (index.samples, index.settings, index.failed) == (9, {"seed": 3}, {})
    record = json.loads((tmp_path / "index.json").read_text())
    assert record["samples"] == 9
    assert record["version"] == 1
    assert record["settings"]["seed"] == 3
    assert record["shards"][0]["keys"] == ["a-0", "b_1", "c"]


def test_check_names_each_bad_shard(tmp_path):
    assert check(indexed(tmp_path)) == {}
    first, second, third = sorted(tmp_path.glob("*.tar"))
    data = first.read_bytes()
    first.write_bytes(data[:-1])
    flipped = bytearray(data)
    flipped[700] ^= 1
    second.write_bytes(flipped)
    third.unlink()
    wrong = check(tmp_path)
    assert list(wrong) == [first.name, second.name, third.name]
    assert "is cut off" in wrong[first.name]
    assert "is damaged" in wrong[second.name]
    assert "is missing" in wrong[third.name]


def test_an_index_that_cannot_be_used_is_told(tmp_path):
    with pytest.raises(InputError, match="no index of shards"):
        read_index(tmp_path)
    (tmp_path / BEGUN).write_text("{}")
    with pytest.raises(InputError, match="are unfinished"):
        read_index(tmp_path)
    for text, why in (
        ("{", "damaged"),
        ('{"version": 9}', "no index of version 1"),
        ('{"version": 1}', "damaged"),
    ):
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(InputError, match=why):
            read_index(tmp_path)
    (tmp_path / "index.json").write_text('{"version": 1, "settings": {}, "shards": [{"name": "x"}]}')
    with pytest.raises(InputError, match="damaged"):
        read_index(tmp_path)


def test_a_full_disk_leaves_no_half_shard(tmp_path, monkeypatch, shard):
    before = shard.read_bytes()

    class Full(io.BytesIO):
        def read(self, *_):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("vivavoce.corpus.shards.io.BytesIO", Full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_shard(shard, SAMPLES)
    assert shard.read_bytes() == before
    assert list(tmp_path.iterdir()) == [shard]
