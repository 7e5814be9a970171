from __future__ import annotations

import pytest


@pytest.fixture(params=["eager", "compiled"])
def loops(request: pytest.FixtureRequest) -> str:
    """Operation by operation, and as compiled loops."""
    if request.param == "compiled":
        request.getfixturevalue("inductor")
    return str(request.param)
