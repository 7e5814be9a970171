from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import NamedTuple

import pytest
import step_compiling
import step_gradient
import training_step
from step_gradient import EAGER, METHODS, TEXTBOOK

pytestmark = pytest.mark.slow

TINY = ["--batch", "1", "--crop", "16", "--width", "8", "--repeats", "1", "--threads", "1"]
UNMEASURABLE = "by autograd, our networks"


class Printed(NamedTuple):
    status: int
    lines: list[str]

    def rows(self, first: str, after: str) -> list[list[str]]:
        """The cells of the rows that begin so, below the line that begins so."""
        start = next(i for i, line in enumerate(self.lines) if line.startswith(after))
        table = [line for line in self.lines[start:] if "│" in line]
        cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in table]
        return [row for row in cells if row[0].startswith(first)]


@pytest.fixture(scope="module")
def printed() -> Printed:
    """A whole run; peaks are made up, since a fresh process each would take most of the time."""

    def peak(prepare: Callable[..., object], name: str, size: object, *, threads: int, device: str) -> float:
        return {TEXTBOOK: 8e6, UNMEASURABLE: math.nan}.get(name, 2e6)

    out = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.setattr(step_gradient, "peak_in_a_fresh_process", peak)
        # Tested by itself; compiling takes long.
        patch.setattr(step_compiling, "section", lambda sizes, seconds, *_: [f"compiled: {list(seconds) == sizes}"])
        status = training_step.main([*TINY, "--inner-steps", "1"])
    return Printed(status, out.getvalue().splitlines())


def test_a_missed_target_is_no_failure(printed: Printed) -> None:
    assert printed.status == 0
    targets = [line for line in printed.lines if "target at" in line]
    # Speed and memory of the meta-gradient, and the epoch.
    assert len(targets) == 3
    assert all(line.endswith("met") or "missed by" in line for line in targets)


def test_what_compiling_costs_is_measured(printed: Printed) -> None:
    (line,) = [line for line in printed.lines if line.startswith("compiled: ")]
    assert line == "compiled: True"


def test_the_meta_gradients_agree_and_the_outcomes_follow_from_the_table(printed: Printed) -> None:
    title = "The meta-gradient: K = 1, batch 1, 16×16, width 8"
    found = {row[0]: row for row in printed.rows("", title)[: len(METHODS)]}
    rows = [found[name] for name in METHODS]
    ours, _, theirs, unmeasured, _ = rows
    assert unmeasured[1:] == ["–", "–", "out of memory", "–", "–"]
    assert all(float(row[-1]) < 1e-3 for row in rows if row is not unmeasured)
    assert (ours[3], theirs[3], theirs[4]) == ("2", "8", "4.00")
    speed, memory = [line for line in printed.lines if line.startswith("K = 1: ")]
    assert speed.startswith(f"K = 1: {theirs[2]} times as fast as {TEXTBOOK}; target at least 4: ")
    assert speed.endswith("met") == (float(theirs[2]) >= 4)
    assert memory == "K = 1: 0.250 of its peak memory; target at most 0.333: met"


def test_all_loops_train_to_the_same_parameters(printed: Printed) -> None:
    title = "One epoch, 2 meta-iterations and 6 fusion updates: K = 1, batch 1, 16×16, width 8"
    (ours, eager), (theirs, restricted) = (printed.rows(name, title)[:2] for name in ("our", "text"))
    assert eager[0].endswith("not compiled")
    for _, meta, fusion, whole, _, difference in (ours, eager, theirs, restricted):
        assert float(meta) + float(fusion) == pytest.approx(float(whole), abs=0.0021)
        assert float(difference) < 1e-2
    outcome = next(line for line in printed.lines if line.startswith("one epoch: "))
    assert outcome.startswith(f"one epoch: {theirs[4]} times as fast as the textbook; target at least 3: ")


def test_phases_add_up(printed: Printed) -> None:
    rows = printed.rows("", "Where the time goes, one profiled call each: batch 1, 16×16, width 8")
    rows = rows[: next(i for i, row in enumerate(rows) if row[0].startswith(EAGER))]
    wholes = [i for i, row in enumerate(rows) if row[2] == "100.0%" and row[0] != "rest"]
    assert [rows[i][0] for i in wholes] == ["meta-iteration, K = 1", "fusion update"]
    for start, end in zip(wholes, [*wholes[1:], len(rows)], strict=True):
        whole, *parts = rows[start:end]
        assert parts[-1][0] == "rest"
        assert sum(float(part[1]) for part in parts) == pytest.approx(float(whole[1]), abs=1e-3 * len(parts))


def test_traffic_is_a_share_of_what_a_copy_moves(printed: Printed) -> None:
    title = "Memory traffic if nothing stayed in a cache; a large copy moves "
    limit = float(next(line for line in printed.lines if line.startswith(title)).removeprefix(title).split()[0])
    for name in (EAGER, TEXTBOOK):
        ((_, moved, rate, share),) = printed.rows(f"{name}, K = 1", title)
        assert float(moved) > 0.01
        assert float(share.rstrip("%")) == pytest.approx(100 * float(rate) / limit, rel=0.05, abs=0.1)


def test_the_cost_of_each_size(printed: Printed) -> None:
    title = "Cost of the meta-gradient around K = 1, batch 1, 16×16, width 8"
    rows = printed.rows("", title)
    assert [row[0] for row in rows] == [
        *("8×8", "16×16", "24×24"),
        *("batch 1", "batch 2", "batch 4", "batch 8"),
        *("K = 1", "K = 2", "K = 3", "K = 4"),
    ]
    # The same peak everywhere, so that it grows less than what is varied.
    assert [row[5] for row in rows] == [
        *("1.00", "0.25", "0.11"),
        *("1.00", "0.50", "0.25", "0.12"),
        *("1.00", "0.50", "0.33", "0.25"),
    ]
    assert all(float(row[1]) > 0 for row in rows)


def test_the_last_line_names_the_machine(printed: Printed) -> None:
    assert ", 1 threads, torch " in printed.lines[-1]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--inner-steps", "0"], "--inner-steps must be at least 1"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--crop", "1"], "--crop must be at least 2"),
        (["--width", "12"], "--width must be a multiple of 8"),
        (["--device", "tpu"], "--device"),
    ],
)
def test_a_wrong_option_is_named(options: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        training_step.main(options)
    assert stopped.value.code == 2
    assert named in capsys.readouterr().err


def test_parts_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for name in ("step_epoch", "step_phases", "step_compiling", "step_traffic", "step_sweep"):
        monkeypatch.setattr(getattr(training_step, name), "section", lambda *_, name=name: called.append(name) or [])
    monkeypatch.setattr(step_gradient, "section", lambda *_: ([], {}))
    monkeypatch.setattr(step_gradient, "peak", lambda *told: called.append(f"K = {told[1].inner_steps}") or 1.0)
    training_step.main([*TINY, "--no-sweep", "--no-epoch"])
    peaks = ["K = 1"] * len(METHODS) + ["K = 3"] * len(METHODS)
    assert called == [*peaks, "step_phases", "step_compiling", "step_traffic"]
    called.clear()
    training_step.main([*TINY, "--inner-steps", "2", "--inner-steps", "2", "--no-sweep", "--no-compile"])
    assert called == [*["K = 2"] * len(METHODS), "step_epoch", "step_phases", "step_traffic"]
