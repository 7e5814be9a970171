"""The loss and the reward that settings name: the published ones, or functions of a module of the user's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from refusion.config.layers import check
from refusion.config.objective import ObjectiveSettings
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.meta.objective import check_objective, loss_at, reward_of
from refusion.objectives import FusionLoss, FusionWeights, reconstruction_loss

Write = Callable[[str], str]

GOOD = """
import torch
import torch.nn.functional as F

def loss(fused, sources, weights):
    return (weights.intensity * (sources - fused).abs().sqrt()).mean()

def weighed(fused, sources, weights, *, beta, alpha=5.0):
    return (weights.intensity * (sources - fused).square()).mean() * alpha + beta

def reward(rebuilt, sources):
    return F.smooth_l1_loss(rebuilt, sources)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module into the working directory and returns its name; it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(content: str) -> str:
        (tmp_path / "users_losses.py").write_text(content)
        return "users_losses"

    yield write
    sys.modules.pop("users_losses", None)


def told(objective: dict[str, Any], **schedule: Any) -> Settings:
    return check([{"objective": objective, "schedule": schedule}])


def arguments() -> tuple[torch.Tensor, torch.Tensor, FusionWeights]:
    torch.manual_seed(3)
    return torch.rand(1, 1, 4, 4), torch.rand(1, 2, 4, 4), FusionWeights(torch.rand(1, 2, 4, 4), None)


def test_the_published_loss_has_the_coefficients_of_its_epoch() -> None:
    objective = ObjectiveSettings.model_validate(
        {"alpha": {0: 1.0, 2: 0.5}, "beta": 2.0, "beta_ramp": "linear", "gradient": "maxabs"}
    )
    assert [loss_at(objective, epoch, 4) for epoch in range(4)] == [
        FusionLoss(1.0, 0.5, "maxabs", "linear"),
        FusionLoss(1.0, 1.0, "maxabs", "linear"),
        FusionLoss(0.5, 1.5, "maxabs", "linear"),
        FusionLoss(0.5, 2.0, "maxabs", "linear"),
    ]
    assert reward_of(ObjectiveSettings(reward="published")) is reconstruction_loss


def test_a_function_of_the_users_is_called_with_what_its_signature_has(module: Write) -> None:
    name = module(GOOD)
    fused, sources, weights = arguments()
    plain = loss_at(told({"kind": f"{name}:loss"}).objective, 0, 4)
    expected = (weights.intensity * (sources - fused).abs().sqrt()).mean()
    torch.testing.assert_close(plain(fused, sources, weights), expected)
    weighed = loss_at(
        told({"kind": f"{name}:weighed", "alpha": 3.0, "beta": 2.0, "beta_ramp": "linear"}).objective, 1, 4
    )
    expected = (weights.intensity * (sources - fused).square()).mean() * 3.0 + 1.0
    torch.testing.assert_close(weighed(fused, sources, weights), expected)
    reward = reward_of(told({"reward": f"{name}:reward"}).objective)
    assert float(reward(sources, sources)) == 0.0


@pytest.mark.parametrize(
    "objective", [{"kind": ":loss"}, {"kind": ":weighed", "gradient": "maxabs"}, {"reward": ":reward"}]
)
def test_good_functions_pass_the_check(module: Write, objective: dict[str, str]) -> None:
    name = module(GOOD)
    check_objective(told({key: name + value if value[0] == ":" else value for key, value in objective.items()}))


def test_the_published_objective_passes_without_being_called() -> None:
    check_objective(Settings())


LOSSES = {
    "return 0.5": "returns float",
    "return (fused - sources).square()": "returns a tensor of shape (2, 2, 16, 16)",
    "return (weights.intensity * fused).mean() / 0.0": "returns inf",
    "return (weights.intensity * fused).mean() * torch.nan": "returns nan",
    "return (weights.intensity * sources).mean()": "does not depend on the fused image",
    "return torch.tensor(float((weights.intensity * fused).detach().mean()))": "does not depend on the fused image",
    "return (weights.intensity * (sources - sources.detach() + 0 * fused).abs().sqrt()).mean()": "is not finite",
    "return (fused - sources).square().mean()": "does not depend on the weights",
    "return fused.mean() + weights.intensity.mean()": "does not depend on the weights",
    "return weights.detail.mean()": "AttributeError: 'FusionWeights' object has no attribute 'detail'",
    "return torch.pdist((weights.intensity * fused).flatten(1)).mean()": "cannot be differentiated twice",
}


@pytest.mark.parametrize("body", LOSSES)
def test_a_loss_that_cannot_be_trained_with_is_refused_with_the_reason(module: Write, body: str) -> None:
    name = module(f"import torch\n\ndef loss(fused, sources, weights):\n    {body}\n")
    with pytest.raises(UserError) as caught:
        check_objective(told({"kind": f"{name}:loss"}))
    assert str(caught.value).startswith(f"--objective.kind {name}:loss: ")
    assert LOSSES[body] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loss_without_weights_will_do_where_nothing_is_meta_learned(module: Write) -> None:
    name = module("def loss(fused, sources, weights):\n    return (fused - sources).square().mean()\n")
    check_objective(told({"kind": f"{name}:loss"}, meta_iterations=0))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("return (rebuilt - sources).abs()", "returns a tensor of shape (2, 2, 16, 16)"),
        ("return sources.mean()", "does not depend on the rebuilt sources"),
        ("return rebuilt.mean(axes=3)", "fails for rebuilt and sources, each (2, 2, 16, 16) with TypeError"),
        ("return (rebuilt * 0).log().mean()", "returns -inf"),
    ],
)
def test_a_reward_that_cannot_be_trained_with_is_refused_with_the_reason(module: Write, body: str, what: str) -> None:
    name = module(f"def reward(rebuilt, sources):\n    {body}\n")
    with pytest.raises(UserError) as caught:
        check_objective(told({"reward": f"{name}:reward"}))
    assert str(caught.value).startswith(f"--objective.reward {name}:reward: ")
    assert what in str(caught.value)
    if "fails" in what:
        assert f"{name}.py, line 2" in str(caught.value)


@pytest.mark.parametrize("setting", ["kind", "reward"])
def test_what_cannot_be_found_is_named_by_its_setting(module: Write, setting: str) -> None:
    name = module(GOOD)
    with pytest.raises(UserError, match=f"--objective.{setting} {name}:rewrad: module"):
        check_objective(told({setting: f"{name}:rewrad"}))


@pytest.mark.parametrize("setting", ["kind", "reward"])
@pytest.mark.parametrize("wrong", ["learned", "losses.py:loss:", "", "my loss:f"])
def test_other_names_are_refused_before_anything_is_imported(setting: str, wrong: str) -> None:
    with pytest.raises(
        UserError, match=rf"--objective.{setting}: must be 'published'(, 'salient', 'detail')?, or the import path"
    ):
        told({setting: wrong})


def test_settings_that_name_a_module_import_nothing(module: Write) -> None:
    name = module("raise SystemExit('imported')")
    settings = told({"kind": f"{name}:loss", "reward": f"{name}:reward"})
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings
    assert name not in sys.modules


def test_the_rule_about_learned_terms_is_the_published_losss_own() -> None:
    assert told({"kind": "users_losses:loss", "alpha": 0, "beta": 0}).objective.alpha == 0
