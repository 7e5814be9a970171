from __future__ import annotations

import pytest


# Inductor compiles for seconds: what it compiles is tested where everything is.
@pytest.fixture(params=["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def eager_and_inductor(request: pytest.FixtureRequest) -> str:
    """Operation by operation, and as kernels of PyTorch's Inductor."""
    if request.param == "inductor":
        request.getfixturevalue("inductor")
    return str(request.param)
