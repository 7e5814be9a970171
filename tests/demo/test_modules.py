from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from refusion.demo.modules import choose, offered
from refusion.errors import UserError
from refusion.shipped import shipped_folder


def run(home: Path, name: str, task: str, kind: str) -> Path:
    folder = home / "runs" / name / task / kind
    shutil.copytree(shipped_folder(task), folder)
    return folder


def test_runs_of_the_task_are_offered_behind_what_comes_along_and_what_was_named(home: Path) -> None:
    final, best = (run(home, "night", "IVIF", kind) for kind in ("final", "best"))
    run(home, "night", "MIF", "best")
    (home / "runs" / "begun" / "IVIF" / "best").mkdir(parents=True)
    found = offered("IVIF", {"authors": "ReFusion.pth"})
    assert list(found.items()) == [
        ("pretrained", "pretrained"),
        ("authors", "ReFusion.pth"),
        ("run night · best", str(best)),
        ("run night · final", str(final)),
    ]


def test_a_run_brings_its_loss_proposal_module_and_a_weight_file_has_none(home: Path, tmp_path: Path) -> None:
    best = run(home, "night", "IVIF", "best")
    assert choose(str(best), "IVIF").loss_proposal is not None
    (alone := tmp_path / "weights").mkdir()
    for name in ("fusion.safetensors", "settings.yaml"):
        shutil.copy2(best / name, alone)
    found = choose(str(alone), "IVIF")
    assert found.loss_proposal is None and str(alone) in found.about


def test_a_module_that_has_been_replaced_is_read_again(home: Path) -> None:
    best = run(home, "night", "IVIF", "best")
    first = choose(str(best), "IVIF").fusion
    assert choose(str(best), "IVIF").fusion is first
    (best / "fusion.safetensors").touch()
    assert choose(str(best), "IVIF").fusion is not first


def test_what_is_not_there_is_a_sentence() -> None:
    with pytest.raises(UserError, match="nowhere: there is no fusion"):
        choose("nowhere", "IVIF")
    with pytest.raises(UserError, match="choose a module"):
        choose("  ", "IVIF")
