from __future__ import annotations

from io import StringIO

import pytest
import step_compiling
import torch
from rich.console import Console
from step_compiling import EAGER, section, steps_until_it_pays, with_loops
from step_measuring import Size

from refusion.networks.loops import loops_are_compiled
from refusion.networks.precision import narrow as narrow_again

SIZES = [Size(1, 1, 16, 8)]


def printed() -> list[str]:
    console = Console(file=StringIO(), width=140)
    for part in section(SIZES, 1, lambda _: None):
        console.print(part)
    return str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


def test_compiling_takes_time_and_changes_rounding_only() -> None:
    lines = printed()
    if lines[0].startswith("compiled loops: not measured"):
        pytest.skip(lines[0])
    row, *more = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "K = 1" in line]
    if more:
        ((_, single, narrow, both, ratios, rounding),) = more
        assert [float(one) for one in ratios.split(", ")] == pytest.approx(
            [float(single) / float(one) for one in (narrow, both)], abs=0.5
        )
        assert 1e-5 < float(rounding) < 0.1
    else:
        assert any(line.startswith("bfloat16: not measured, since ") for line in lines)
    assert narrow_again(torch.ones(1)).dtype == torch.float32
    eager, compiled, ratio, difference, to_compile, from_disk, _ = row[1:]
    assert abs(float(ratio) - float(eager) / float(compiled)) < 0.5
    assert float(difference) < 1e-3
    assert float(to_compile) > float(from_disk)
    assert any(EAGER in line for line in lines)
    assert not loops_are_compiled()


def test_without_a_compiler_there_is_a_line_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_compiling, "compile_loops", lambda *_: "no C++ compiler")
    assert printed() == ["compiled loops: not measured, since nothing can be compiled here: no C++ compiler"]


def test_without_bfloat16_there_is_a_line_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_compiling, "use_bfloat16", lambda *_: "it is no faster")
    assert step_compiling._precision(SIZES, 1, lambda _: None) == ["bfloat16: not measured, since it is no faster"]


def test_loops_are_compiled_during_the_call_only() -> None:
    seen = []
    with_loops(lambda: [seen.append(loops_are_compiled())])()  # type: ignore[list-item,func-returns-value]
    assert len(seen) == 1
    assert not loops_are_compiled()


@pytest.mark.parametrize(
    ("cost", "gain", "shown"), [(10, 0.5, "20 steps"), (10, 0.3, "34 steps"), (10, 0, "never"), (10, -1, "never")]
)
def test_the_cost_is_won_back_by_what_each_step_gains(cost: float, gain: float, shown: str) -> None:
    assert steps_until_it_pays(cost, gain) == shown
