"""Meta-trains image-fusion networks on a Ray cluster (ReFusion, Bai et al., IJCV 2024).

`train` trains, `load_module` loads what was trained, `load_pretrained` a module that comes along, `fuse_pair` and
`fuse_stack` fuse with it, `evaluate` scores, and `meta_gradient` is the gradient of the learned loss. Pictures are
0–255 everywhere. Each is imported at its first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_FUNCTIONS = {
    "train": "refusion.training.api",
    "load_module": "refusion.tracking.loading",
    "load_pretrained": "refusion.fuse",
    "fuse_pair": "refusion.fuse",
    "fuse_stack": "refusion.stacks",
    "evaluate": "refusion.metrics",
    "meta_gradient": "refusion.meta",
    "TrainingResult": "refusion.training.api",
}
_MODULES = ("fuse", "meta", "metrics", "networks", "objectives", "tasks")


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"refusion.{name}")
    raise AttributeError(f"module 'refusion' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FUNCTIONS, *_MODULES})
