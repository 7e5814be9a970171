"""`--compile`: rows on a CPU unless told otherwise, loops elsewhere if told so; one reason where it cannot be."""

from __future__ import annotations

import pytest
import torch

from refusion.ops import compiling
from refusion.ops.compiling import use_compiled_code

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def switched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """What was switched, and how; nothing can be compiled."""
    calls: list[tuple[str, bool]] = []

    def by_rows(wanted: bool) -> str | None:
        calls.append(("rows", wanted))
        return "no compiler" if wanted else None

    def loops(wanted: bool, _: torch.device | None) -> str | None:
        calls.append(("loops", wanted))
        return "no Triton" if wanted else None

    monkeypatch.setattr(compiling, "use_by_rows", by_rows)
    monkeypatch.setattr(compiling, "compile_loops", loops)
    return calls


@pytest.mark.parametrize(
    ("wanted", "device", "rows", "loops", "reason"),
    [
        (None, CPU, True, False, "no compiler"),
        (None, None, True, False, "no compiler"),
        (True, CPU, True, False, "no compiler"),
        (False, CPU, False, False, None),
        (None, GPU, False, False, None),
        (True, GPU, False, True, "no Triton"),
        (False, GPU, False, False, None),
    ],
)
def test_what_is_compiled_where(
    switched: list[tuple[str, bool]],
    wanted: bool | None,
    device: torch.device | None,
    rows: bool,
    loops: bool,
    reason: str | None,
) -> None:
    assert use_compiled_code(wanted, device) == reason
    assert dict(switched) == {"rows": rows, "loops": loops}
