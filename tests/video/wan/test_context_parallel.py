"""Two processes that share one video's tokens against one process that has them all."""

import pytest
import torch
from diffusers import ContextParallelConfig

from scenes import LATENTS, scene
from vivavoce.errors import InputError
from vivavoce.video.wan.context_parallel import Share
from vivavoce.video.wan.sockets import Grid

CASES = {
    "wan": {"kind": "wan", "frame_wise": False},
    "wan frame-wise": {"kind": "wan"},
    "wan, a time for each token": {"kind": "wan", "own_times": True},
    "wan after blocks, behind two pictures": {
        "kind": "wan",
        "frame_wise": False,
        "place": "after_block",
        "references": 2,
    },
    "wan, nine tokens a frame": {"kind": "wan", "references": 1, "rows": 3},
    "vace": {"kind": "vace", "frame_wise": False},
    "vace, a time for each token, behind a picture": {"kind": "vace", "own_times": True, "references": 1},
    "vace after blocks": {"kind": "vace", "place": "after_block", "references": 1},
}


def anything(options: dict) -> bool:
    """Whether the tokens of a frame, three to a row, do not divide by two."""
    return options.get("rows", 2) % 2 == 1


@torch.no_grad()
def work(rank: int, folder: str) -> None:
    """One of two processes: every case alone, and then together with the other."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    torch.accelerator.device_count = lambda: 1  # 0 without an accelerator, by which diffusers divides
    results = {}
    for name, options in CASES.items():
        model, given = scene(**options)
        given["taps"] = ["blocks.2"] + ["vace_blocks.1"] * (options["kind"] == "vace")
        alone = model(**given)
        config = ContextParallelConfig(ulysses_degree=2, ulysses_anything=anything(options))
        model.enable_parallelism(config=config)
        seen = []
        model.blocks[1].register_forward_hook(lambda module, args, out, seen=seen: seen.append(out.shape[1]))
        shared = model(**given)
        outputs = [{"sample": drawn.sample, **drawn.taps} for drawn in (alone, shared)]
        plain = model(**given | {"branches": ()}).sample
        results[name] = {"outputs": outputs, "seen": seen[0], "plain": plain}
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_draw_what_one_does(results, name):
    for of_rank in results:
        alone, shared = of_rank[name]["outputs"]
        assert set(shared) == set(alone) >= {"sample", "blocks.2"}
        for key, expected in alone.items():
            torch.testing.assert_close(shared[key], expected, rtol=1e-5, atol=1e-5)
        assert (of_rank[name]["plain"] - alone["sample"]).abs().max() > 1e-2
    assert torch.equal(*(of_rank[name]["outputs"][1]["sample"] for of_rank in results))


@pytest.mark.parametrize("name", CASES)
def test_a_process_works_on_its_share_of_every_frame(results, name):
    cells = [5, 4] if anything(CASES[name]) else [3, 3]
    frames = LATENTS + CASES[name].get("references", 0)
    assert [of_rank[name]["seen"] for of_rank in results] == [frames * n for n in cells]


def test_what_does_not_divide_is_refused_with_the_way_out():
    four = ContextParallelConfig(ulysses_degree=4)
    Share.of(four, Grid(3, 2, 6), heads=8)
    with pytest.raises(InputError, match=r"The 9 tokens of a frame .* among 4 processes.*ulysses_anything"):
        Share.of(four, Grid(4, 3, 3), heads=8)
    with pytest.raises(InputError, match=r"The 6 attention heads .* among 4 processes"):
        Share.of(four, Grid(4, 4, 3), heads=6)
    Share.of(ContextParallelConfig(ring_degree=4), Grid(4, 4, 3), heads=6)
    Share.of(ContextParallelConfig(ulysses_degree=4, ulysses_anything=True), Grid(4, 3, 3), heads=6)


def test_alone_a_process_has_everything():
    share = Share.of(None, Grid(3, 3, 3), heads=5)
    tokens = torch.randn(2, 27, 4)
    assert share.part(tokens) is tokens
    assert share.whole(tokens) is tokens
