"""A training with a loss and a reward of the user's, named by their import paths."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from refusion.config.layers import check
from refusion.errors import UserError
from refusion.meta.state import TrainingState
from refusion.training.checkpoints import load_checkpoint, save_checkpoint
from refusion.training.loop import TaskTraining
from refusion.training.reports import EpochReport

PUBLISHED = {"kind": "refusion.objectives:fusion_loss", "reward": "refusion.objectives:reconstruction_loss"}
OWN = {"kind": "foreign_objectives:squared_loss", "reward": "foreign_objectives:squared_reward"}


def told(training: TaskTraining, **objective: object) -> TaskTraining:
    return replace(training, settings=check([{"objective": objective}], training.settings))


def run(training: TaskTraining) -> tuple[TrainingState, list[EpochReport]]:
    state = TrainingState(training.settings, "IVIF")
    return state, list(training.epochs(state))


def weights(state: TrainingState) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.clone()
        for name, module in state.modules().items()
        for key, value in module.state_dict().items()
    }


def same(one: TrainingState, other: TrainingState) -> bool:
    return all(torch.equal(value, weights(other)[name]) for name, value in weights(one).items())


@pytest.mark.usefixtures("quick")
def test_the_published_functions_by_their_import_paths_train_bit_by_bit_the_same(training: TaskTraining) -> None:
    coefficients = {"alpha": 0.7, "beta": {0: 1.5, 1: 0.5}}
    terms = {"reward": "published", "gradient": "learned", "weighting": "squared", "learned": "both"}
    settings = coefficients | terms
    built_in, _ = run(told(training, **settings))
    by_path, _ = run(told(training, **settings | PUBLISHED))
    assert same(built_in, by_path)
    other_coefficients, _ = run(told(training, **settings | {"alpha": 0.6} | PUBLISHED))
    assert not same(built_in, other_coefficients)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("setting", ["kind", "reward"])
def test_each_function_is_followed(training: TaskTraining, setting: str) -> None:
    published, _ = run(training)
    own, reports = run(told(training, **{setting: OWN[setting]}))
    assert not same(published, own)
    for report in reports:
        losses = {name for name in report.numbers if name.startswith("loss/")}
        terms = {"loss/fusion_intensity", "loss/fusion_gradient"} if setting == "reward" else set()
        assert losses == {"loss/inner", "loss/outer", "loss/fusion", "loss/reconstruction"} | terms
        assert all(math.isfinite(value) for value in report.numbers.values())


@pytest.mark.usefixtures("quick")
def test_a_training_that_is_stopped_and_resumed_ends_as_one_that_is_not(training: TaskTraining, tmp_path: Path) -> None:
    training = told(training, **OWN)
    whole, _ = run(training)
    stopped = TrainingState(training.settings, "IVIF")
    next(training.epochs(stopped))
    save_checkpoint(tmp_path, stopped, training.settings, "IVIF", {})
    resumed = TrainingState(training.settings, "IVIF")
    load_checkpoint(tmp_path, resumed)
    list(training.epochs(resumed))
    assert same(whole, resumed)


def test_a_function_that_is_gone_is_told_by_its_setting(training: TaskTraining) -> None:
    with pytest.raises(UserError, match=r"--objective\.kind users_gone:loss: there is no module 'users_gone'"):
        run(told(training, kind="users_gone:loss"))
