"""The package's own names: there at the first use, and free before."""

from __future__ import annotations

import subprocess
import sys

import pytest

import refusion


def test_importing_the_package_imports_nothing_large() -> None:
    names = (
        *("tasks.TASKS['IVIF'].name", "fuse.fuse_pair.__name__", "metrics.evaluate.__name__", "load_module.__name__"),
        *("networks.FusionModule.__name__", "meta.meta_gradient.__name__", "objectives.fusion_loss.__name__"),
        *("train.__name__", "fuse_pair.__name__", "evaluate.__name__", "meta_gradient.__name__"),
        *("load_pretrained.__name__", "TrainingResult.__name__"),
    )
    program = f"import refusion; print({', '.join(f'refusion.{name}' for name in names)})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found = ["IVIF", "fuse_pair", "evaluate", "load_module", "FusionModule", "meta_gradient", "fusion_loss", "train"]
    found += ["fuse_pair", "evaluate", "meta_gradient", "load_pretrained", "TrainingResult"]
    assert done.stdout.split() == found
    assert {"train", "load_module", "fuse", "metrics"} <= set(dir(refusion))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        refusion.trian  # noqa: B018
