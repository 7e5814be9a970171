"""The page's table of targets is what the reports of `make gpu` say."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
REPORT: dict[str, Any] = {
    "machine": "NVIDIA H100 80GB HBM3, torch 2.11.0+cu130",
    "versions": {"python": "3.12.3", "torch": "2.11.0+cu130", "cuda": "13.0", "triton": "3.6.0", "commit": None},
    "rows": [
        {"section": "epoch", "what": "640×480, in tiles", "value": 9.0, "unit": "ms", "note": ""},
        {"section": "targets", "what": "640×480, in tiles", "value": 3.25, "unit": "ms", "note": "at most 4 ms: met"},
        {
            "section": "targets",
            "what": "fusion update, batch 4, 96×96, graph",
            "value": None,
            "unit": "ms",
            "note": "at most 4 ms: out of memory",
        },
    ],
}


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_table", ROOT / "docs" / "gpu_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_has_the_table(program: ModuleType) -> None:
    page = program.PAGE.read_text(encoding="utf-8")
    assert program.with_table(page, program.read_reports()) == page, "python docs/gpu_table.py --write"


def test_without_a_report_no_card_has_run_it(program: ModuleType, tmp_path: Path) -> None:
    rows = program.table(program.read_reports(tmp_path)).splitlines()[2:]
    assert len(rows) == len(program.TARGETS)
    assert all(row.endswith("| not run on a card |") for row in rows)


def test_a_card_has_a_column_with_its_versions(program: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "h100.json").write_text(json.dumps(REPORT))
    head, _, *rows = program.table(program.read_reports(tmp_path)).splitlines()
    assert head.endswith(
        "| NVIDIA H100 80GB HBM3: python 3.12.3, torch 2.11.0+cu130, cuda 13.0, triton 3.6.0, commit – |"
    )
    assert "| inference: 640×480, in tiles | at most 4 ms | 3.25 ms, met |" in rows
    assert "| step: fusion update, batch 4, 96×96, graph | at most 4 ms | out of memory |" in rows
    assert sum(row.endswith("not run on a card |") for row in rows) == len(rows) - 2
