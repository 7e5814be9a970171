from __future__ import annotations

from collections.abc import Iterator

import pytest

from refusion.networks.loops import compile_loops


@pytest.fixture
def compiled_loops() -> Iterator[None]:
    """Formulas run as compiled loops; skips where there is no compiler."""
    reason = compile_loops(True)
    if reason is not None:
        pytest.skip(f"nothing can be compiled here: {reason}")
    yield
    compile_loops(False)


@pytest.fixture(params=["eager", "compiled"])
def loops(request: pytest.FixtureRequest) -> str:
    """Operation by operation, and as compiled loops."""
    if request.param == "compiled":
        request.getfixturevalue("compiled_loops")
    return str(request.param)
