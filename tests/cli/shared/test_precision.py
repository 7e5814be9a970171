"""Option ``--precision`` of the commands that run trained modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from refusion.cli.audit import _parser as audit
from refusion.cli.evaluate import _parser as evaluate
from refusion.cli.fuse import fuse
from refusion.cli.shared.precision import check_precision
from refusion.errors import UserError


def test_it_is_float32_unless_said(tmp_path: Path) -> None:
    common = ["--task", "IVIF", "--data", str(tmp_path), "--out", str(tmp_path / "x.csv")]
    for parser in (audit(""), evaluate("")):
        assert parser.parse_args(common).precision == "float32"
        assert parser.parse_args([*common, "--precision", "tf32"]).precision == "tf32"


def test_tf32_of_a_cpu_is_refused(tmp_path: Path) -> None:
    request = ["--task", "IVIF", "--a", str(tmp_path), "--b", str(tmp_path), "--out", str(tmp_path / "o")]
    with pytest.raises(UserError, match="--precision tf32: a CPU has no TF32; add --device cuda, or leave"):
        fuse([*request, "--precision", "tf32"], "")
    check_precision("tf32", True, "--gpu")
    check_precision("float32", False, "--gpu")
