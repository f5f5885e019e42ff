"""The video family's benchmarks: operations counted right, the plain model on the same inputs, the dry run whole."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import networks
import tiny
import video
from gpu import video as card
from vivavoce.methods import METHODS
from vivavoce.methods.load import load
from vivavoce.video.flops import Load, backbone_flops, branch_flops, network_flops
from vivavoce.video.wan.sockets import Branch

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu" / "video.py"
NAMES = ("physavatar", "actavatar", "apoavatar")
EVERY = pytest.mark.parametrize("name", NAMES)


def counted(function):
    """Operations as torch counts them; attention by its formula, since the fused one for processors has no count."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def random_tiny(name, dtype=torch.float32, **changes):
    return networks.random_method(tiny.method(name, **changes), torch.device("cpu"), dtype)


@EVERY
@pytest.mark.parametrize("changes", [{}, {"chunk": 9, "width": 64}])
def test_operations_are_those_that_torch_counts(name, changes):
    method = random_tiny(name, **changes)
    both = networks.evaluations(method, networks.random_scene(method.config))
    assert counted(both["ours"]) == network_flops(method.network, plan=networks.PLAN_TOKENS)
    assert counted(both["plain"]) == backbone_flops(method.config, Load.of(method.config, plan=0, audio=0))


def test_operations_of_an_unknown_branch_are_refused():
    class Theirs(Branch):
        def residual(self, layer, tokens, conditions):
            return None

    with pytest.raises(TypeError, match="no formula for Theirs"):
        branch_flops(Theirs(), Load.of(METHODS["physavatar"], plan=0, audio=0))


@EVERY
def test_the_plain_model_is_the_network_without_its_branches(name):
    method = load(tiny.method(name))
    scene = networks.random_scene(method.config)
    both = networks.evaluations(method, scene)
    assert torch.equal(both["ours"](), both["plain"]())
    with_branches = networks.evaluations(random_tiny(name), scene)
    assert not torch.equal(with_branches["ours"](), with_branches["plain"]())


@EVERY
def test_in_half_precision_the_same_code_runs(name):
    method = random_tiny(name, torch.bfloat16)
    assert {p.dtype for p in method.network.branches.parameters()} == {torch.bfloat16}
    assert method.network.backbone.condition_embedder.time_embedder.linear_1.weight.dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32
    for evaluate in networks.evaluations(method, networks.random_scene(method.config)).values():
        assert evaluate().isfinite().all()


def test_no_branch_is_left_at_zero_where_products_are_faster():
    for parameter in random_tiny("apoavatar").network.branches.parameters():
        assert parameter.any()


def test_contestants_take_turns_and_the_order_turns_round():
    calls, now = [], [0.0]

    def contestant(name, seconds):
        def run():
            calls.append(name)
            now[0] += seconds

        return run

    both = {"a": contestant("a", 3.0), "b": contestant("b", 2.0)}
    seconds = networks.alternated(both, 3, lambda: now[0])
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert seconds == {"a": [3.0] * 3, "b": [2.0] * 3}
    assert networks.ratio({"a": [3.0, 3.0, 90.0], "b": [2.0, 1.0, 2.0]}, "a", "b") == 3.0


def test_a_step_is_timed_from_the_end_of_the_one_before():
    method = random_tiny("actavatar")
    ticks, marked = iter(range(100)), []
    sampling = video_sampling(method, steps=4)
    seconds, latents = networks.step_seconds(
        method,
        networks.random_scene(method.config),
        sampling,
        lambda: 10 * next(ticks),
        after_first=lambda: marked.append(1),
    )
    assert seconds == [10, 10, 10]
    assert marked == [1]
    assert latents.isfinite().all()


def video_sampling(method, **given):
    from vivavoce.video.method import Sampling

    return Sampling.of(method.config, **given)


def test_the_stopwatch_counts_a_generators_own_steps_alone(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(video.time, "perf_counter", lambda: now[0])

    class Work:
        def items(self):
            for i in range(3):
                now[0] += 1
                yield i

        def once(self):
            now[0] += 5
            return "done"

    watch = video.Stopwatch()
    with watch.watch("items", Work, "items"), watch.watch("once", Work, "once"):
        for _ in Work().items():
            now[0] += 100
        assert Work().once() == "done"
    assert watch.seconds == {"items": 3, "once": 5}
    assert not hasattr(Work.items, "__wrapped__")


def test_demands_are_those_of_the_issue():
    some = {"median": 1.0}
    record = {
        "overhead": {
            n: {"tokens": 1, "times_plain": 1.2, "operations_times_plain_at_full_size": 1.0} for n in NAMES
        },
        "guidance": {n: {"evaluations": 3, "times_single": 3.2} for n in NAMES},
        "cache": {"threshold": 0.1, "steps": 8, "times_faster": some, "error": some},
        "decoding": {
            "frames": 9,
            "streamed_times_whole": 1.0,
            "peak_mb": {"streamed": 1.0, "whole": 2.0},
        },
        "videos": {
            n: {"speech_s": 1.0, "seconds": 2.0, "times_real_time": 0.5, "shares": {"write": 1.0}}
            for n in NAMES
        },
    }
    missed = [f.name for f in video.figures(record) if not f.met]
    assert len(missed) == 4
    assert missed[0].startswith("PhysAvatar at its width")
    assert all("a guided step of 3 evaluations" in name for name in missed[1:])


def test_a_method_that_does_not_fit_is_told_and_the_others_are_measured(monkeypatch, capsys):
    def measure(config, device):
        if config.name.startswith("actavatar"):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nmore")
        return {"name": config.name}

    monkeypatch.setattr(card, "measure", measure)
    records = card.every_method(card.Device(dry=True))
    assert list(records) == list(NAMES)
    assert records["actavatar"]["does_not_fit"] == "CUDA out of memory."
    assert records["apoavatar"]["name"] == "apoavatar-miniature"
    assert capsys.readouterr().err == "actavatar does not fit into this card's memory\n"
    assert card.figures_of("actavatar", records["actavatar"], 1.0) == []


def test_the_prediction_is_all_steps_between_conditions_and_decode():
    record = {
        "size": "8x8", "frames": 5, "tokens": 2, "times_plain": 1.0, "evaluations": 3, "steps": 50, "flops": 4e12,
        "evaluation_s": {"median": 2.0}, "step_s": {"median": 6.0}, "conditions_s": 7.0, "encode_s": 1.0,
        "decode_s": 11.0, "peak_gb": 1.0, "decode_peak_gb": 1.0,
    }  # fmt: skip
    found = {f.name: f.value for f in card.figures_of("physavatar", record, 8e12)}
    assert found["physavatar: the chunk in 50 steps, predicted"] == 7 + 300 + 11
    assert found["physavatar: its share of the measured matrix rate"] == 0.25


def started(*arguments, code=None):
    command = [sys.executable, *(["-c", code] if code else [str(SCRIPT), *arguments])]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)


def test_the_dry_run_gives_every_figure(tmp_path):
    path = tmp_path / "figures.json"
    done = started("--dry", "--json", str(path))
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text())
    assert record["dry"] is True
    assert {"date", "card", "versions", "command"} <= set(record)
    assert [len([f for f in record["figures"] if f["name"].startswith(name)]) for name in NAMES] == [9, 9, 9]
    assert all(math.isfinite(f["value"]) and f["value"] > 0 for f in record["figures"])
    counts = {name: record["details"][name]["evaluations"] for name in NAMES}
    assert counts == {"physavatar": 3, "actavatar": 2, "apoavatar": 5}


def test_without_a_card_it_says_so_in_one_sentence():
    done = started()
    assert done.returncode == 1
    assert done.stderr == "There is no CUDA card here: --dry runs the same code on the processor.\n"


def test_it_needs_neither_mediapipe_nor_gsplat_nor_tyro():
    code = (
        "import sys; sys.modules.update(mediapipe=None, gsplat=None, tyro=None)\n"
        f"sys.path.insert(0, {str(ROOT / 'benchmarks')!r})\n"
        "from gpu.video import Device, measure, METHODS\n"
        "from dataclasses import replace\n"
        "from vivavoce.methods import find\n"
        "config = replace(find('actavatar-miniature'), chunk=5, width=32, height=32)\n"
        "print(measure(replace(config, before=1), Device(dry=True))['evaluations'])\n"
    )
    done = started(code=code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2\n"
