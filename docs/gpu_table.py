"""Makes the table of targets in docs/performance.md from the reports that `make gpu` left, a column for each card.

python docs/gpu_table.py             prints it; a test compares it with the page
python docs/gpu_table.py --write     puts it into the page
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "analysis" / "benchmarks"))

from gpu.targets import NOT_RUN, TARGETS  # noqa: E402 - found by the line above

PAGE = ROOT / "docs" / "performance.md"
REPORTS = ROOT / "analysis" / "results" / "gpu"
_HEAD = "| target for an H100 | at most, at least |"
_VERSIONS = ("python", "torch", "cuda", "triton", "commit")


def read_reports(folder: Path = REPORTS) -> list[dict[str, Any]]:
    """Returns the reports of cards, by the names of their files; none where no card has run."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]


def table(reports: Sequence[Mapping[str, Any]]) -> str:
    """Returns the table: each target's number and verdict on each card, or that no card has run it."""
    columns = [_column(report) for report in reports] or [("card and versions", {})]
    lines = [f"{_HEAD} {' | '.join(head for head, _ in columns)} |", f"| --- | --- |{' --- |' * len(columns)}"]
    for target in TARGETS:
        cells = (found.get(target.name, NOT_RUN) for _, found in columns)
        lines.append(f"| {target.section}: {target.name} | {target.bound} | {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(page: str, reports: Sequence[Mapping[str, Any]]) -> str:
    """Returns the page's text with the table in the place of its own."""
    found, count = re.subn(
        rf"^{re.escape(_HEAD)}.*\n(?:\|.*(?:\n|\Z))*", lambda _: table(reports) + "\n", page, flags=re.M
    )
    assert count == 1, f"{PAGE}: there is no one table that begins with {_HEAD}"
    return found


def _column(report: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """A card's name with its versions, and by target what it reached."""
    versions = (f"{name} {report['versions'].get(name) or '–'}" for name in _VERSIONS)
    card = report["machine"].partition(", torch ")[0]
    return f"{card}: {', '.join(versions)}", {
        row["what"]: row["note"].partition(": ")[2]
        if row["value"] is None
        else f"{row['value']:.4g} {row['unit']}, {row['note'].partition(': ')[2]}"
        for row in report["rows"]
        if row["section"] == "targets"
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    if parser.parse_args().write:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), read_reports()), encoding="utf-8")
    else:
        print(table(read_reports()))
