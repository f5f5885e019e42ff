"""Production of shards: the same bytes whatever happens on the way, and nothing that is finished is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import makers
import pytest

from vivavoce.corpus.produce import produce
from vivavoce.corpus.shards import check, read_index, read_shard
from vivavoce.errors import InputError, OutputError

SETTINGS = {"seed": 1, "size": [96, 96]}
TASKS = {f"{i:04d}": i for i in range(14)}
SCRIPT = """
import sys, makers
from pathlib import Path
from vivavoce.corpus.produce import produce
if __name__ == "__main__":
    tasks = {f"{i:04d}": i for i in range(14)}
    settings = {"seed": 1, "size": [96, 96]}
    produce(tasks, makers.slow_sample, Path(sys.argv[1]), per_shard=4, workers=2, settings=settings)
"""


def made(out, make=makers.sample, tasks=TASKS, *, per_shard=4, workers=1, settings=SETTINGS):
    return produce(tasks, make, out, per_shard=per_shard, workers=workers, settings=settings)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder that was made in one go by one process; nobody changes it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    made(out)
    return out


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_every_task_is_a_sample_in_its_order(whole):
    shards = sorted(whole.glob("*.tar"))
    assert [shard.name for shard in shards] == [f"shard-{i:06d}.tar" for i in range(4)]
    found = [sample for shard in shards for sample in read_shard(shard)]
    assert found == [(key, makers.sample(task)) for key, task in TASKS.items()]
    assert read_index(whole).settings["seed"] == 1
    assert check(whole) == {}
    assert {path.suffix for path in whole.iterdir()} == {".tar", ".json"}
    assert len(list(whole.iterdir())) == 5


def test_two_processes_make_the_same_bytes(whole, tmp_path):
    made(tmp_path / "out", workers=2)
    assert contents(tmp_path / "out") == contents(whole)


def started(out, pids):
    pids.mkdir()
    found = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = os.environ | {"PYTHONPATH": found, "PIDS": str(pids)}
    script = out.parent / "run.py"
    script.write_text(SCRIPT)
    run = subprocess.Popen(
        [sys.executable, str(script), str(out)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    limit = time.monotonic() + 60
    while not list(out.glob("shard-*.json")):
        assert run.poll() is None, run.stderr.read()
        assert time.monotonic() < limit
        time.sleep(0.02)
    return run


def gone(pids, seconds=10):
    """Whether all processes of these numbers end in time."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if not any(Path(f"/proc/{path.name}").exists() for path in pids.iterdir()):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_leaves_no_process_and_goes_on_to_the_same_bytes(whole, tmp_path, how):
    out, pids = tmp_path / "out", tmp_path / "pids"
    run = started(out, pids)
    if how == signal.SIGINT:
        os.killpg(run.pid, how)  # as a terminal does
    else:
        run.send_signal(how)
    run.wait(30)
    assert run.returncode != 0
    assert list(pids.iterdir())
    assert gone(pids)
    assert not (out / "index.json").exists()
    finished = {path.name for path in out.glob("shard-*.json")}
    assert 1 <= len(finished) < 4
    if how == signal.SIGINT:
        said = run.stderr.read()
        assert said.rstrip().endswith("KeyboardInterrupt")
        assert said.count("Traceback") == 1  # the processes have nothing to say to it
        assert not list(out.glob(".vivavoce-*"))
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    with pytest.warns(UserWarning, match=f"{len(finished)} of 4 shards in .* are kept"):
        made(out)
    for record in finished:
        name = record.replace(".json", ".tar")
        assert (out / name).stat().st_mtime_ns == kept[name]
    assert contents(out) == contents(whole)


def test_what_is_finished_is_not_made_again(copy):
    with pytest.warns(UserWarning, match="4 of 4 shards"):
        index = made(copy, makers.no_sample)
    assert index.samples == 14


def test_what_a_killed_run_was_writing_is_removed(whole, copy):
    (copy / ".vivavoce-0123.tar").write_bytes(b"half a shard")
    with pytest.warns(UserWarning, match="4 of 4 shards"):
        made(copy)
    assert contents(copy) == contents(whole)


def test_a_shard_that_was_damaged_is_made_again(whole, copy):
    shard = copy / "shard-000001.tar"
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    shard.write_bytes(data)
    with (
        pytest.warns(UserWarning, match=r"shard-000001\.tar is damaged .*, and is made again\.$"),
        pytest.warns(UserWarning, match="3 of 4 shards"),
    ):
        made(copy)
    assert contents(copy) == contents(whole)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"settings": {"seed": 2, "size": [96, 96]}}, r"seed \(1, now 2\)"),
        ({"per_shard": 5}, r"per_shard \(4, now 5\)"),
        ({"tasks": {f"x{i}": i for i in range(14)}}, "keys"),
        ({"settings": {"seed": 1, "size": [96, 96], "fps": 25}}, r"fps \(None, now 25\)"),
    ],
)
def test_other_settings_in_a_folder_are_refused(copy, changed, named):
    with pytest.raises(InputError, match=f"begun with other settings: .*{named}"):
        made(copy, **changed)


def test_unfinished_folders_refuse_other_settings_as_well(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="sample 0005 failed: KeyError"):
        made(out, makers.mistaken_sample)
    assert [path.name for path in out.glob("shard-*")]
    with pytest.raises(InputError, match=r"seed \(1, now 2\)"):
        made(out, settings={"seed": 2, "size": [96, 96]})


def test_a_folder_with_shards_of_others_is_left_alone(tmp_path):
    (tmp_path / "shard-000000.tar").write_bytes(b"theirs")
    with pytest.raises(OutputError, match="holds shards of which nothing is known"):
        made(tmp_path)
    assert contents(tmp_path) == {"shard-000000.tar": b"theirs"}


def test_a_task_that_fails_moves_no_other(tmp_path):
    results = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        with pytest.warns(
            UserWarning, match=r"5 of 14 samples could not be made: 0001: Task 1 has no voice.* and 2"
        ):
            index = made(out, makers.picky_sample, workers=workers)
        results.append(contents(out))
    assert results[0] == results[1]
    assert list(index.failed) == [f"{i:04d}" for i in range(14) if i % 3 == 1]
    assert index.failed["0004"] == "Task 4 has no voice: choose another."
    assert [shard.keys for shard in index.shards][1] == ("0005", "0006")
    record = json.loads((out / "index.json").read_text())
    assert record["shards"][0]["failed"] == {"0001": "Task 1 has no voice: choose another."}


def test_when_nothing_can_be_made_it_is_not_the_tasks(tmp_path, whole):
    with pytest.raises(InputError, match=r"None of the first 10 samples can be made: flite is not installed"):
        made(tmp_path / "out", makers.no_sample)
    few = {key: TASKS[key] for key in list(TASKS)[:3]}
    with pytest.raises(InputError, match="None of the first 3 samples"):
        made(tmp_path / "few", makers.no_sample, few, per_shard=2)
    made(tmp_path / "out")  # flite was installed
    assert contents(tmp_path / "out") == contents(whole)


def test_a_process_that_dies_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="was killed, probably for want of memory"):
        made(tmp_path / "out", makers.dying_sample)
    assert (tmp_path / "out" / "shard-000000.tar").exists()


def test_a_disk_that_is_full_for_a_process_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match=r"/scratch/x\.wav could not be written \(the disk is full\)"):
        made(tmp_path / "out", makers.full_sample)
    assert (tmp_path / "out" / "shard-000000.tar").exists()


def test_a_disk_that_fills_up_loses_nothing(tmp_path, monkeypatch, whole):
    from vivavoce.corpus import produce as module

    out, write, written = tmp_path / "out", module.write_shard, []

    def limited(path, samples):
        if len(written) == 2:
            monkeypatch.setattr(Path, "replace", full)
        written.append(path)
        return write(path, samples)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_shard", limited)
        monkeypatch.setattr(Path, "replace", Path.replace)  # to be undone
        with pytest.raises(OutputError, match=r"shard-000002\.tar could not be written \(the disk is full\)"):
            made(out)
    monkeypatch.undo()
    assert {path.name for path in out.glob("*.tar")} == {"shard-000000.tar", "shard-000001.tar"}
    with pytest.warns(UserWarning, match="2 of 4 shards"):
        made(out)
    assert contents(out) == contents(whole)


def test_too_small_a_disk_is_known_after_the_first_shard(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        OutputError, match=r"The 10 samples that are left need about .* GB and .* 0\.00 GB free"
    ):
        made(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.tar")] == ["shard-000000.tar"]
    with (
        pytest.warns(UserWarning, match="1 of 4"),
        pytest.raises(OutputError, match="10 samples that are left"),
    ):
        made(tmp_path / "out", makers.no_sample)  # told before anything more is made


def test_processes_have_one_thread_each_and_nothing_at_random(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    orders = set()
    for run in ("a", "b"):
        made(tmp_path / run, makers.told_sample, {"a": 0}, per_shard=1)
        ((_, files),) = read_shard(tmp_path / run / "shard-000000.tar")
        orders.add(files["json"])
    assert len(orders) == 1
    assert orders.pop().startswith(b"['1', '1', '1', True]")  # and Ctrl-C is not their business
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "NUMBA_NUM_THREADS" not in os.environ


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        made(tmp_path / "file" / "out")
    with pytest.raises(ValueError, match="nothing is made of 0 tasks"):
        made(tmp_path / "out", tasks={})
