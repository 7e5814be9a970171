"""Precision in which trained modules run, on its own so that command lines need not import PyTorch."""

from __future__ import annotations

from typing import Literal

InferencePrecision = Literal["float32", "tf32"]
"""float32 is exact on a GPU, too. Whole pictures know no bfloat16: they are fused in the parameters' type."""
