"""Trainings that begin with the modules that come along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from shipped_modules import TINY, card_of, ship_tiny, tiny_checkpoint

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.meta.rehearsal import rehearse
from refusion.meta.state import TrainingState
from refusion.shipped import CARD_FILE, LOSS_PROPOSAL_FILE
from refusion.training.checkpoints import load_checkpoint


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return ship_tiny(tmp_path / "pretrained", monkeypatch, seed=5)


def settings(**given: Any) -> Settings:
    return check([TINY, {"tasks": ["IVIF"], "network": {"start": "pretrained"}}, given])


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(value, others[name]) for name, value in one.state_dict().items())


def test_f_and_p_begin_as_what_comes_along_and_r_anew(folder: Path) -> None:
    state, shipped, fresh = (TrainingState(settings(), "IVIF") for _ in range(3))
    load_checkpoint(folder, shipped)
    assert same(state.fusion, shipped.fusion)
    assert same(state.loss_proposal, shipped.loss_proposal)
    assert not same(state.reconstruction, shipped.reconstruction)
    assert same(state.reconstruction, fresh.reconstruction)


def test_p_begins_anew_where_only_f_comes_along(folder: Path) -> None:
    (folder / LOSS_PROPOSAL_FILE).unlink()
    (folder / CARD_FILE).unlink()
    (folder / CARD_FILE).write_text(card_of(folder, "IVIF").model_dump_json(), encoding="utf-8")
    state = TrainingState(settings(), "IVIF")
    fresh = TrainingState(check([TINY, {"network": {"start": "random"}}]), "IVIF")
    assert same(state.loss_proposal, fresh.loss_proposal)
    assert not same(state.fusion, fresh.fusion)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"network": {"width": 16, "blocks": 2}},
            "--network.start pretrained: the module of IVIF that comes along has other sizes; give --network.width 8 "
            "--network.blocks 1",
        ),
        (
            {"network": {"even_below": 0.5}},
            "--network.start pretrained: the module of IVIF that comes along has other sizes; give "
            "--network.even_below 0.0",
        ),
        (
            {"network": {"kind": "foreign_networks:Tiny"}},
            "--network.start pretrained: what comes along is the built-in network; leave --network.kind "
            "foreign_networks:Tiny out",
        ),
        (
            {"objective": {"gradient": "maxabs"}},
            "--network.start pretrained: loss_proposal.safetensors of IVIF does not fit these settings",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_the_training(
    folder: Path, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError) as refused:
        rehearse(settings(**given))
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


def test_a_task_without_a_module_is_refused_before_the_training(folder: Path) -> None:
    with pytest.raises(UserError, match="no trained module of MIF comes along"):
        rehearse(settings(tasks=["IVIF", "MIF"]))


def test_what_was_trained_on_from_there_is_resumed(folder: Path, tmp_path: Path) -> None:
    other = tiny_checkpoint(tmp_path / "run", seed=9)
    state = TrainingState(settings(), "IVIF")
    load_checkpoint(other, state)
    expected = TrainingState(settings(), "IVIF")
    assert not same(state.fusion, expected.fusion)
