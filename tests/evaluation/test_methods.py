from __future__ import annotations

from pathlib import Path

import pytest

from refusion.errors import UserError
from refusion.evaluation.methods import Method, find_methods


def test_order_names_and_values_are_those_of_the_command_line() -> None:
    given = [("baseline", "laplacian"), ("fused", "theirs=/some/results"), ("checkpoint", "ReFusion_IVIF.pth")]
    assert find_methods(given) == [  # type: ignore[arg-type]
        Method("laplacian", "baseline", "laplacian"),
        Method("theirs", "fused", "/some/results"),
        Method("ReFusion_IVIF", "checkpoint", "ReFusion_IVIF.pth"),
    ]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("/runs/night/IVIF/final", "night/IVIF"),
        ("/runs/night/IVIF/final/fusion.safetensors", "night/IVIF"),
        ("/runs/night/MIF/epoch_00012/", "night/MIF/epoch_00012"),
        ("/some/where/copied", "copied"),
        ("models:/refusion-IVIF@best", "refusion-IVIF@best"),
        ("runs:/0123abcd", "0123abcd"),
        ("pretrained", "pretrained"),
        ("ours=pretrained", "ours"),
    ],
)
def test_a_checkpoint_is_called_by_its_run_and_task(value: str, name: str) -> None:
    assert find_methods([("checkpoint", value)])[0].name == name


def test_a_folder_is_called_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert [find_methods([("fused", value)])[0].name for value in (".", "a/b/", "../mine")] == ["mine", "b", "mine"]


def test_a_path_with_an_equals_sign_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rate=1e-3").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_methods([("fused", "rate=1e-3")]) == [Method("rate=1e-3", "fused", "rate=1e-3")]
    assert find_methods([("fused", "no/rate=1e-3")])[0].value == "no/rate=1e-3"
    assert find_methods([("fused", "mine=no/rate=1e-3")]) == [Method("mine", "fused", "no/rate=1e-3")]


def test_equal_names_are_refused() -> None:
    with pytest.raises(UserError, match=r"2 methods are called 'results'.*NAME=VALUE"):
        find_methods([("fused", "x/results"), ("fused", "y/results")])
    with pytest.raises(UserError, match="called 'night-IVIF'"):
        find_methods([("checkpoint", "/runs/night/IVIF/final"), ("fused", "night-IVIF")])


@pytest.mark.parametrize("text", ["", "name=", "=value", "..=value"])
def test_missing_names_and_values_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--baseline"):
        find_methods([("baseline", text)])


def test_at_least_one_method_is_needed() -> None:
    with pytest.raises(UserError, match="--fused DIR, --checkpoint C and --baseline NAME"):
        find_methods([])
