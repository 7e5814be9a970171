from __future__ import annotations

import pytest


@pytest.fixture(params=["eager", "inductor"])
def eager_and_inductor(request: pytest.FixtureRequest) -> str:
    """Operation by operation, and as kernels of PyTorch's Inductor."""
    if request.param == "inductor":
        request.getfixturevalue("inductor")
    return str(request.param)
