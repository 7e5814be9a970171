from __future__ import annotations

from io import StringIO

import pytest
import step_compiling
import torch
from rich.console import Console
from step_compiling import section, steps_until_it_pays
from step_gradient import EAGER, OURS, switched
from step_measuring import Size

from refusion.ops import backend
from refusion.ops.backend import configure, narrow
from refusion.ops.native import library

SIZES = [Size(1, 1, 16, 8)]
SECONDS = {SIZES[0]: {EAGER: 3.0, OURS: 1.0}}


def quiet(what: str) -> None: ...


def rows() -> tuple[list[list[str]], list[str]]:
    """The rows for K = 1, and all lines."""
    console = Console(file=StringIO(), width=140)
    for part in section(SIZES, SECONDS, 1, quiet):
        console.print(part)
    lines = str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "K = 1" in line], lines


@pytest.mark.slow
@pytest.mark.usefixtures("native")
def test_compiling_takes_time_once() -> None:
    (compiling, *precision), lines = rows()
    eager, compiled, ratio, to_compile, from_disk, pays = compiling[1:]
    assert (eager, compiled, ratio) == ("3.000", "1.000", "3.00")
    assert float(to_compile) > float(from_disk)
    assert pays.endswith(" steps")
    if precision:
        ((_, single, narrow_one, gain, rounding),) = precision
        assert float(gain) == pytest.approx(float(single) / float(narrow_one), abs=0.5)
        assert 1e-5 < float(rounding) < 0.1
    else:
        assert any(line.startswith("bfloat16: not measured, since ") for line in lines)


@pytest.mark.slow
@pytest.mark.usefixtures("native")
def test_a_method_that_ran_out_of_memory_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_compiling, "_precision", lambda *_: [])
    monkeypatch.setitem(SECONDS, SIZES[0], {OURS: 1.0})
    ((_, eager, compiled, ratio, *_, pays),), _ = rows()
    assert (eager, compiled, ratio, pays) == ("–", "1.000", "–", "never")


def test_without_a_compiler_there_is_a_line_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "compiled", lambda: "no C++ compiler")
    monkeypatch.setattr(step_compiling, "_precision", lambda *_: [])
    assert rows() == (
        [],
        ["compiled code: not measured, since nothing can be compiled here: no C++ compiler"],
    )


def test_without_bfloat16_there_is_a_line_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_why_not_bfloat16", lambda _: "it is no faster")
    assert step_compiling._precision(SIZES, 1, quiet) == ["bfloat16: not measured, since it is no faster"]


@pytest.mark.usefixtures("bfloat16")
def test_maps_are_narrow_during_the_call_only() -> None:
    configure(compile=False)
    assert switched(False, "cpu", lambda: narrow(torch.ones(1)), "bfloat16")().dtype == torch.bfloat16
    assert narrow(torch.ones(1)).dtype == torch.float32


@pytest.mark.parametrize(
    ("cost", "gain", "shown"), [(10, 0.5, "20 steps"), (10, 0.3, "34 steps"), (10, 0, "never"), (10, -1, "never")]
)
def test_the_cost_is_won_back_by_what_each_step_gains(cost: float, gain: float, shown: str) -> None:
    assert steps_until_it_pays(cost, gain) == shown
