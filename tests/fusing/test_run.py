"""Folders that are fused in this process; tests/jobs/test_fuse.py covers workers and signals."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures.fused_lists import listed, stamps
from written_pairs import write_noise

from refusion.checksums import sha256
from refusion.errors import UserError
from refusion.fuse import fuse_pair, load_module
from refusion.fusing import maker, run
from refusion.fusing.request import Request
from refusion.images.pairs import Checked
from refusion.images.reading import read_image
from refusion.images.writing import write_image


def test_the_list_says_what_was_made_of_what(request_of_four: Request, checkpoint: Path, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(7000, 7600, (20, 24)).astype(np.uint16)
    write_image(tmp_path / "a" / "one.png", deep)
    assert run.fuse_folders(request_of_four) == 0
    rows = listed(request_of_four)
    assert list(rows.index) == ["four.png", "one.png", "three.png", "two.png"]
    one = rows.loc["one.png"]
    assert (one["a"], one["b"]) == (str(tmp_path / "a" / "one.png"), str(tmp_path / "b" / "one.png"))
    assert (one["width"], one["height"], one["kind_a"]) == ("24", "20", "PNG, 16 bits")
    low, high = map(float, one["range_a"].split(","))
    assert 6990 < low < high < 7610
    assert (one["range_b"], one["task"], one["state"]) == ("full", "IVIF", "fused")
    assert str(checkpoint) in one["module"]
    assert one["weights_sha256"] == sha256(checkpoint / "fusion.safetensors")
    assert json.loads(one["settings"]) == {"depth": 8, "grey": False, "stretch": True}
    assert float(one["seconds"]) > 0
    sources = [read_image(tmp_path / side / "two.png") for side in "ab"]
    assert np.array_equal(read_image(request_of_four.out / "two.png"), fuse_pair(load_module(checkpoint), *sources))


def test_a_bad_pair_leaves_the_others_be(request_of_four: Request, tmp_path: Path) -> None:
    (tmp_path / "a" / "one.png").write_text("no picture")
    write_image(tmp_path / "b" / "two.png", np.eye(9, 24, dtype=np.uint8) * 255)
    (tmp_path / "b" / "four.png").unlink()
    with pytest.raises(UserError, match=r"^3 pairs are bad, all others are fused") as told:
        run.fuse_folders(request_of_four)
    for reason in ("a/one.png: ", "a/two.png: sizes differ", "a/four.png: has no partner"):
        assert reason in str(told.value)
    assert list(stamps(request_of_four)) == ["three.png"]
    rows = listed(request_of_four)
    assert rows.loc["three.png", "state"] == "fused"
    assert rows.loc["two.png", "state"].startswith(f"bad: {tmp_path / 'a' / 'two.png'}: sizes differ")
    assert tuple(rows.loc["four.png", ["a", "b", "width"]]) == (str(tmp_path / "a" / "four.png"), "", "")
    assert run.fuse_folders(replace(request_of_four, skip_bad_pairs=True)) == 0
    write_noise(tmp_path, ["four", "one", "two"])
    assert run.fuse_folders(request_of_four) == 0
    assert set(listed(request_of_four)["state"]) == {"fused"}


def test_nothing_is_fused_where_the_check_is_to_stop_it(request_of_four: Request, tmp_path: Path) -> None:
    (tmp_path / "a" / "one.png").write_text("no picture")
    with pytest.raises(UserError, match="found 1 problem in the image pairs"):
        run.fuse_folders(replace(request_of_four, stop_at_first_bad=True))
    assert not request_of_four.out.exists()
    for name in ("four", "three", "two"):
        (tmp_path / "a" / f"{name}.png").unlink()
    with pytest.raises(UserError, match="found 4 problems in the image pairs"):
        run.fuse_folders(request_of_four)


@pytest.fixture
def lost_after_the_check(request_of_four: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    """a/one.png is gone once all pairs have been checked."""
    check = run.check_sources

    def check_and_lose(*args: Any, **options: Any) -> Checked:
        checked = check(*args, **options)
        (request_of_four.a / "one.png").unlink(missing_ok=True)
        return checked

    monkeypatch.setattr(run, "check_sources", check_and_lose)


@pytest.mark.usefixtures("lost_after_the_check")
def test_a_pair_that_turns_out_bad_leaves_the_others_be(request_of_four: Request) -> None:
    with pytest.raises(UserError, match=r"^1 pair is bad, all others are fused(.|\n)*a/one\.png: cannot be read"):
        run.fuse_folders(request_of_four)
    assert sorted(stamps(request_of_four)) == ["four.png", "three.png", "two.png"]
    assert listed(request_of_four).loc["one.png", "state"].startswith("bad: ")


@pytest.mark.usefixtures("lost_after_the_check")
def test_a_pair_that_turns_out_bad_stops_where_it_is_to(request_of_four: Request) -> None:
    with pytest.raises(UserError, match=r"a/one\.png: cannot be read .*by --stop-at-first-bad"):
        run.fuse_folders(replace(request_of_four, stop_at_first_bad=True))
    assert sorted(stamps(request_of_four)) == ["four.png"]
    assert list(listed(request_of_four).index) == ["four.png", "one.png"]


def test_an_older_picture_keeps_its_row_when_its_sources_go_bad(request_of_four: Request, tmp_path: Path) -> None:
    assert run.fuse_folders(request_of_four) == 0
    (tmp_path / "a" / "one.png").write_text("no picture")
    with pytest.raises(UserError, match="1 pair is bad"):
        run.fuse_folders(request_of_four)
    assert listed(request_of_four).loc["one.png", "state"] == "fused"


def test_memory_that_lacks_for_one_pair_leaves_the_others_be(
    request_of_four: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuse, calls = maker.fuse_to_depth, []

    def lacking(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return fuse(*args, **options)

    monkeypatch.setattr(maker, "fuse_to_depth", lacking)
    with pytest.raises(UserError, match=r"a/one\.png: .*can't allocate memory"):
        run.fuse_folders(request_of_four)
    assert len(stamps(request_of_four)) == 3


def test_a_full_disk_ends_all_at_once(request_of_four: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if self.name.startswith("..one"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match=r"out/one\.png: cannot be written \(No space left on device\)"):
            run.fuse_folders(request_of_four)
    assert list(listed(request_of_four).index) == ["four.png"]
    assert run.fuse_folders(request_of_four) == 0
    assert len(stamps(request_of_four)) == 4


def test_an_interrupted_job_goes_on_where_it_was(
    request_of_four: Request, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put, done = run._put, []

    def interrupted(item: maker.WorkItem) -> None:
        done.append(item)
        if len(done) == 3:
            raise KeyboardInterrupt
        put(item)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run, "_put", interrupted)
        run.fuse_folders(request_of_four)
    assert "the same command goes on from there" in capsys.readouterr().out
    # It was listed, but had not been put in its place.
    assert list(listed(request_of_four).index) == ["four.png", "one.png", "three.png"]
    before = stamps(request_of_four)
    assert sorted(before) == ["four.png", "one.png"]
    # As a job leaves it that is killed while it writes.
    (request_of_four.out / "..three.part.png-123.part").write_bytes(b"half")
    assert run.fuse_folders(request_of_four) == 0
    assert before.items() < stamps(request_of_four).items()
    assert sorted(path.name for path in request_of_four.out.iterdir()) == [
        "four.png", "fused.csv", "one.png", "three.png", "two.png",
    ]  # fmt: skip


def test_adapting_to_all_pairs_is_the_same_when_it_goes_on(request_of_four: Request) -> None:
    asked = replace(request_of_four, adapt=2, adapt_rate=1e-2)
    assert run.fuse_folders(asked) == 0
    whole = (asked.out / "two.png").read_bytes()
    (asked.out / "two.png").unlink()
    assert run.fuse_folders(asked) == 0
    assert (asked.out / "two.png").read_bytes() == whole


@pytest.mark.parametrize(
    ("workers", "address", "spread"), [(None, None, False), (None, "a:1", True), (1, "a:1", False), (2, None, True)]
)
def test_ray_is_asked_for_by_workers_or_by_a_cluster_that_is_named(
    request_of_four: Request, monkeypatch: pytest.MonkeyPatch, workers: int | None, address: str | None, spread: bool
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    asked: list[int | None] = []

    def find_places(workers: int | None, _count: int, **_options: Any) -> tuple[int, float]:
        asked.append(workers)
        raise UserError("the cluster is asked for")

    monkeypatch.setattr("refusion.runtime.spread.find_places", find_places)
    request = replace(request_of_four, workers=workers)
    if spread:
        with pytest.raises(UserError, match="the cluster is asked for"):
            run.fuse_folders(request)
        assert asked == [workers]
        # One pair is not worth it.
        for name in ("four", "three", "two"):
            (request.a / f"{name}.png").unlink()
            (request.b / f"{name}.png").unlink()
    assert run.fuse_folders(request) == 0
    assert asked == ([workers] if spread else [])


def test_workers_take_no_gpu_by_its_number(request_of_four: Request) -> None:
    with pytest.raises(UserError, match="--device cuda:1: workers take the GPUs that Ray gives them"):
        run.fuse_folders(replace(request_of_four, workers=2, device="cuda:1"))
