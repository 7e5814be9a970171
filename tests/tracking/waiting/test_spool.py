from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from refusion.tracking.waiting import spool as module
from refusion.tracking.waiting.spool import Spool, waiting_epochs


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "waiting")


def _add(spool: Spool, what: str, **data: object) -> Path:
    return spool.add("records", "IVIF", what, "tags", data)


def test_entries_come_back_in_their_order_with_what_they_carry(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "a.csv").write_text("EN\n")
    for number in range(12):
        _add(spool, f"number {number}", value=float("nan") if number == 3 else number)
    files = {"content": tmp_path / "tables", "one/bytes.bin": b"123"}
    carried = spool.add("pictures", "IVIF", "files", "artifact", {}, files)
    again = Spool(spool.folder)
    assert [entry.what for entry in again.entries("records")] == [f"number {number}" for number in range(12)]
    values = [entry.data["value"] for entry in again.entries("records")]
    assert values[4] == 4 and values[3] != values[3]
    assert (carried / "content" / "a.csv").read_text() == "EN\n"
    assert (carried / "one" / "bytes.bin").read_bytes() == b"123"
    assert again.waiting == 13


def test_the_order_holds_where_the_clock_is_set_back(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    _add(spool, "first")
    monkeypatch.setattr(module.time, "time_ns", lambda: 5)
    _add(spool, "second")
    assert [entry.what for entry in spool.entries("records")] == ["first", "second"]


def test_several_writers_never_take_one_number(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "time_ns", lambda: 5)
    quick = Spool(spool.folder, durable=False)

    def add(who: int) -> None:
        for number in range(20):
            quick.add("records", str(who), f"{number:02d}", "tags", {})

    threads = [threading.Thread(target=add, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = list(quick.entries("records"))
    assert len(entries) == 80
    for who in range(4):
        assert [entry.what for entry in entries if entry.run == str(who)] == [f"{number:02d}" for number in range(20)]


def test_an_entry_that_was_cut_off_is_none_and_is_tidied_away(spool: Spool) -> None:
    _add(spool, "whole")
    half = spool.folder / "records" / ".0123456789abcdef"
    half.mkdir()
    (half / "entry.json").write_text('{"token": ')
    assert spool.waiting == 1
    spool.tidy()
    assert not half.exists() and spool.waiting == 1


def test_a_damaged_entry_is_left_out_and_noted(spool: Spool) -> None:
    (_add(spool, "damaged") / "entry.json").write_text('{"token": ')
    _add(spool, "whole")
    assert [entry.what for entry in spool.entries("records")] == ["whole"]
    assert len(spool.left_out) == 1 and "cannot be read" in spool.left_out[0]
    assert spool.waiting == 1


def test_an_entry_that_cannot_be_written_leaves_nothing(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spool.add("models", "IVIF", "model", "model", {}, {"state": tmp_path / "missing"})
    assert spool.waiting == 0 and not list((spool.folder / "models").iterdir())


def test_beyond_the_limit_pictures_go_first_the_oldest_first_and_numbers_never(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=5000)
    spool.add("records", "IVIF", "numbers", "metrics", {"values": ["x" * 9000]})
    spool.add("models", "IVIF", "model", "model", {}, {"weights": bytes(1000)})
    for number in range(4):
        spool.add("pictures", "IVIF", f"picture {number}", "picture", {}, {"content": bytes(1000)})
    assert [entry.what for entry in spool.entries("pictures")] == ["picture 1", "picture 2", "picture 3"]
    assert [line.partition(":")[0] for line in spool.left_out] == ["picture 0"]
    spool.add("models", "IVIF", "larger model", "model", {}, {"weights": bytes(4500)})
    assert [entry.what for entry in spool.entries("models")] == ["larger model"]
    assert [len(spool.folders(lane)) for lane in ("records", "pictures")] == [1, 0]


def test_ids_of_runs_last_and_runs_that_wait_are_known(spool: Spool) -> None:
    assert spool.ids == {} and spool.runs() == []
    spool.add("records", "MIF", "run", "begin", {})
    spool.add_id("job", "1" * 32)
    spool.add_id("IVIF", "2" * 32)
    again = Spool(spool.folder)
    assert again.ids == {"job": "1" * 32, "IVIF": "2" * 32}
    assert again.runs() == ["job", "IVIF", "MIF"]
    assert json.loads((spool.folder / "runs.json").read_text()) == again.ids


def test_epochs_that_wait(spool: Spool) -> None:
    for run, data in (("IVIF", {"epoch": 3}), ("IVIF", {"steps": 7}), ("MIF", {"epoch": 4}), ("IVIF", {"epoch": 5})):
        spool.add("records", run, "numbers", "metrics", data)
    assert waiting_epochs(spool, "IVIF") == {3, 5}
