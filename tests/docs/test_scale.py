"""The tables of docs/scale.md are what the modules, a checkpoint and the all-reduces give."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scale_table", ROOT / "docs" / "scale_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measured(program: ModuleType) -> object:
    return program.measure()


def test_the_page_has_the_tables(program: ModuleType, measured: object) -> None:
    assert program.sizes_table(measured) in PAGE
    assert program.workers_table(measured) in PAGE


def test_what_is_averaged_is_every_parameter_that_a_step_moves(measured: object) -> None:
    four_bytes = {name: 4 * count for name, count in measured.parameters.items()}  # type: ignore[attr-defined]
    reduced = {step: sum(sizes) for step, sizes in measured.all_reduces.items()}  # type: ignore[attr-defined]
    assert reduced == {"fusion update": four_bytes["F"] + four_bytes["R"], "meta-iteration": four_bytes["P"]}
    assert all(count > 0 for count in four_bytes.values())


def test_step_times_are_those_of_the_page_on_performance(program: ModuleType) -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    pairs, crop = program.PAIRS_PER_WORKER, program.CROP
    row = re.search(rf"^\| {pairs} × {crop}² \| ([\d.]+) ms \| ([\d.]+) ms \|$", text, re.MULTILINE)
    assert row is not None
    assert {"fusion update": float(row[1]), "meta-iteration": float(row[2])} == program.STEP_MS


def test_a_ring_sends_almost_twice_its_bytes_and_a_tree_fewer_messages(program: ModuleType) -> None:
    # 2 (N − 1) / N of the bytes in 2 (N − 1) messages.
    bytes_ms, messages_ms = program.ring_ms(int(program.BANDWIDTH), 4)
    assert bytes_ms == pytest.approx(1500)
    assert messages_ms == pytest.approx(6e3 * program.LATENCY)
    assert program.tree_ms(0, 512) == pytest.approx(18e3 * program.LATENCY)
