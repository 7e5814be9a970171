"""Plans: pictures that are made anew, that stay, that are refused; and work that grows with the number of names."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures.fused_lists import listed, stamps
from shipped_modules import tiny_checkpoint
from written_pairs import write_noise

from refusion.config.ranges import Reading, parse_ranges
from refusion.errors import UserError
from refusion.fusing import run
from refusion.fusing.request import Request
from refusion.fusing.results import ResultOptions
from refusion.images.reading import read_image
from refusion.images.writing import write_image


def test_what_is_there_stays_and_what_is_missing_is_made(
    request_of_four: Request, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.fuse_folders(request_of_four) == 0
    before, rows = stamps(request_of_four), listed(request_of_four)
    (request_of_four.out / "two.png").unlink()
    (request_of_four.out / "one.png").write_bytes(b"")
    capsys.readouterr()
    assert run.fuse_folders(request_of_four) == 0
    assert "IVIF: 2 fused, 2 there already in" in capsys.readouterr().out
    after = stamps(request_of_four)
    assert {name for name in before if before[name] != after[name]} == {"one.png", "two.png"}
    assert listed(request_of_four).drop(columns="seconds").equals(rows.drop(columns="seconds"))
    assert run.fuse_folders(replace(request_of_four, overwrite=True)) == 0
    assert not set(stamps(request_of_four).items()) & set(after.items())


def test_a_picture_that_the_list_does_not_know_stays(request_of_four: Request) -> None:
    request_of_four.out.mkdir()
    mine = np.full((20, 24), 7, np.uint8)
    write_image(request_of_four.out / "one.png", mine)
    for _ in range(2):
        assert run.fuse_folders(request_of_four) == 0
        assert np.array_equal(read_image(request_of_four.out / "one.png"), mine)
        row = listed(request_of_four).loc["one.png"]
        assert (row["module"], row["weights_sha256"], row["state"]) == ("", "", "there already")
    assert run.fuse_folders(replace(request_of_four, overwrite=True)) == 0
    assert listed(request_of_four).loc["one.png", "state"] == "fused"


def _another_module(request: Request, folder: Path) -> Request:
    return replace(request, checkpoint=str(tiny_checkpoint(folder / "other", seed=1)))


def _another_source(request: Request, folder: Path) -> Request:
    write_image(folder / "b" / "one.png", np.eye(20, 24, dtype=np.uint8) * 255)
    return request


@pytest.mark.parametrize(
    ("change", "what", "count"),
    [
        (_another_module, "another module", 4),
        (_another_source, "other sources", 1),
        (lambda request, _: replace(request, results=ResultOptions(stretched=False)), "other settings", 4),
        (lambda request, _: replace(request, reading=Reading(parse_ranges("a=10,90"))), "another range", 4),
        (lambda request, _: replace(request, task="MIF"), "another task", 4),
        (lambda request, _: replace(request, adapt=1), "other settings", 4),
    ],
    ids=["module", "source", "stretch", "range", "task", "adapt"],
)
def test_pictures_that_were_made_otherwise_are_no_result_of_this_call(
    request_of_four: Request, tmp_path: Path, change: Callable[[Request, Path], Request], what: str, count: int
) -> None:
    assert run.fuse_folders(request_of_four) == 0
    before = stamps(request_of_four)
    asked = change(request_of_four, tmp_path)
    with pytest.raises(UserError, match=rf"{count} of the pictures there were made otherwise(.|\n)*one\.png: {what}"):
        run.fuse_folders(asked)
    assert stamps(request_of_four) == before
    assert run.fuse_folders(replace(asked, overwrite=True)) == 0
    assert run.fuse_folders(asked) == 0


def test_the_work_beside_fusing_grows_with_the_number_of_names(checkpoint: Path, tmp_path: Path) -> None:
    counts = []
    for number in (40, 80):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_noise(folder, [f"{index:05}" for index in range(number)], size=(4, 5))
        request = Request(str(checkpoint), "IVIF", folder / "a", folder / "b", folder / "out")
        assert run.fuse_folders(request) == 0
        counts.append(_calls(lambda request=request: run.fuse_folders(request)))
    assert counts[0]["open"] > 80
    assert counts[0]["stat"] > 40
    for name in counts[0]:
        # What does not depend on the number, such as loading the module, makes it less than twice as many.
        assert counts[1][name] <= 2.05 * counts[0][name], (name, counts)


def _calls(work: Callable[[], Any]) -> Counter[str]:
    """Returns the number of calls of functions in all threads, and of those that open files or look at folders."""
    found: list[str] = []

    def count(_frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            found.append("all")
            # A list's append is whole in any thread.
            if event == "c_call" and argument.__name__ in ("open", "stat", "lstat", "scandir", "listdir"):
                found.append(argument.__name__)

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        assert work() == 0
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return Counter(found)
