from __future__ import annotations

import csv
import io
import json

from rich.console import Console
from stored.runs import MakeRun, listed

from refusion.inventory.show import as_csv, as_json, as_table, notes
from refusion.runtime.lifetime.claims import Claim


def test_programs_get_the_same_in_json_and_csv(make_run: MakeRun) -> None:
    make_run("done", [0.5, 0.625])
    make_run("begun", [])
    found = list(listed().values())
    objects = {entry["name"]: entry for entry in json.loads(as_json(found))}
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(as_csv(found)))}
    assert objects["done"]["scores"] == {"MIF": {"metric": "Qabf", "score": 0.625, "best": 2}}
    assert objects["begun"]["resume"][-2:] == ["--resume", "begun"]
    for name, one in objects.items():
        row = rows[name]
        assert (row["state"], row["task"], int(row["bytes"])) == (one["state"], "MIF", one["bytes"])
        assert row["resume"].endswith(f"--resume {name}") or name == "done"
    assert float(rows["done"]["score"]) == 0.625 and rows["begun"]["score"] == ""


def test_people_see_scores_and_how_to_go_on(make_run: MakeRun, gone: Claim) -> None:
    make_run("done", [0.5, 0.625])
    make_run("lost", [0.5], owner=gone)
    found = list(listed().values())
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(as_table(found))
    text = console.export_text()
    assert "MIF Qabf 0.6250 (epoch 2)" in text and "abandoned" in text and "finished" in text
    lines = notes(found)
    assert any(f"lost: {gone.owner} is gone; --close closes it" in line for line in lines)
    assert any(line.endswith("--resume lost") for line in lines) and not any("--resume done" in line for line in lines)
