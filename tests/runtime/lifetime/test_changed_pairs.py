from __future__ import annotations

from pathlib import Path

from refusion.runtime.lifetime.changed_pairs import differences, read_pairs, write_pairs
from refusion.runtime.storage import Folder


def test_many_names_are_cut_short_and_equal_pairs_say_nothing() -> None:
    now = {f"p{number}": "1" for number in range(7)}
    assert differences({}, now) == "7 added (p0, p1, p2, p3, p4, …)"
    assert differences(now, now) == ""


def test_tasks_of_an_earlier_part_of_the_run_stay(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    assert read_pairs(folder) == {}
    write_pairs(folder, {"IVIF": {"val": {"a": "1"}}})
    write_pairs(folder, {"MIF": {"val": {"b": "2"}}})
    assert read_pairs(folder) == {"IVIF": {"val": {"a": "1"}}, "MIF": {"val": {"b": "2"}}}
