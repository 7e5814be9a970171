"""Signature and example of a logged model, which MLflow's page shows and its server checks."""

from __future__ import annotations

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

_EXAMPLE_SIDE = 32


def signature() -> ModelSignature:
    """Returns the signature: inputs ``a`` and ``b``, and a fused image.

    Its type is that of any array, since none of MLflow's can say that an image is (H, W) or (H, W, 3).
    """
    anything = np.dtype("O")
    inputs = Schema([TensorSpec(anything, (-1,), name) for name in ("a", "b")])
    outputs = Schema([TensorSpec(anything, (-1,), "fused: uint8, (H, W) or (H, W, 3)")])
    return ModelSignature(inputs, outputs)


def example() -> dict[str, NDArray[np.uint8]]:
    """Returns a small pair: a ramp from left to right, and one from top to bottom."""
    ramp = np.linspace(0, 255, _EXAMPLE_SIDE).round().astype(np.uint8)
    across = np.tile(ramp, (_EXAMPLE_SIDE, 1))
    return {"a": across, "b": np.ascontiguousarray(across.T)}
