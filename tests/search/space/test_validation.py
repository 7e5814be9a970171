from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.search.space.space import Space
from refusion.search.space.validation import check_space, draw_valid, why_invalid

PRESETS = Path(__file__).resolve().parents[3] / "jobs" / "presets"


@pytest.mark.parametrize("name", ["sweep-schedules.yaml", "sweep-quick.yaml", "sweep-pbt.yaml"])
def test_the_presets_can_be_searched(name: str) -> None:
    preset = yaml.safe_load((PRESETS / name).read_text(encoding="utf-8"))
    assert {"base", "space"} <= set(preset) <= {"base", "space", "sweep"}
    space, base = Space.read(preset["space"]), check([preset["base"]])
    check_space(space, base)
    drawn = random.Random(0)
    assert all(why_invalid(space, base, space.sample(drawn)) is None for _ in range(200))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            {"schedule.rat.value": [1]},
            "schedule.rat.value: there is no such setting to search; did you mean schedule.rate",
        ),
        ({"schedule": [1]}, "schedule: there is no such setting to search"),
        ({"zzz.qqq": [1]}, "the settings of schedule, outer, objective, images, network can be searched"),
        ({"schedule.epochs": [3, 4]}, "schedule.epochs: cannot be searched: it is the budget that all trials share"),
        ({"tasks": [["IVIF"]]}, "tasks: cannot be searched: all trials must train the same tasks"),
        ({"validation.best_by": ["VIF"]}, "validation.best_by: cannot be searched: all trials must be measured alike"),
        ({"checkpoints.keep": [1]}, "checkpoints.keep: cannot be searched"),
        ({"seed": [1]}, "seed: cannot be searched"),
        ({"workers": [1]}, "workers: cannot be searched"),
        ({"images.batch": [2, 0]}, "images.batch: 0 is never valid: --images.batch must be at least 1"),
        ({"schedule.rate.evry": [2]}, "schedule.rate.evry: 2 is never valid: there is no setting --schedule.rate.evry"),
        ({"objective.alpha": {"low": -1.0, "high": 1.0}}, "objective.alpha: -1.0 is never valid: --objective.alpha"),
        ({"network.width": {"low": 8, "high": 9}}, "network.width: 9 is never valid: --network: width (9) must be a"),
        ({"schedule.inner_steps": {"low": 1, "high": 21}}, "schedule.inner_steps: 21 is never valid"),
        ({"schedule.inner_steps.4": [2]}, "schedule.inner_steps.4: 2 is never valid"),
    ],
)
def test_what_cannot_be_searched_is_refused(content: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=re.escape(reason)):
        check_space(Space.read(content), Settings())


def test_only_the_sections_asked_for_can_be_searched() -> None:
    space = Space.read({"network.width": [8, 16]})
    check_space(space, Settings())
    with pytest.raises(UserError, match=r"network\.width: there is no such setting to search"):
        check_space(space, Settings(), sections=("schedule",))


def test_the_reason_comes_with_the_combination() -> None:
    """A step size belongs to the kind step alone, so its condition must not name cosine."""
    space = Space.read(
        {
            "schedule.rate.kind": ["step", "cosine"],
            "schedule.rate.every": {"low": 1, "high": 5, "when": {"schedule.rate.kind": "cosine"}},
        }
    )
    with pytest.raises(UserError) as caught:
        check_space(space, Settings())
    said = str(caught.value)
    assert said.startswith(
        "schedule.rate.kind: 'cosine' is never valid: there is no setting --schedule.rate.every here"
    )
    assert "schedule.rate.every=" in said


def test_what_is_valid_in_some_combinations_may_be_searched() -> None:
    """Width 9 needs heads 1 or 3, the end of a cosine must lie below its value: draws of both can clash."""
    space = Space.read(
        {
            "network.heads": [1, 2, 3],
            "network.width": [9, 10, 12],
            "network.reconstruction_width": [12],
            "schedule.rate.kind": ["cosine"],
            "schedule.rate.value": {"low": 1.0e-4, "high": 1.0e-2, "log": True},
            "schedule.rate.end": {"low": 1.0e-5, "high": 1.0e-3, "log": True},
        }
    )
    check_space(space, Settings())
    drawn = random.Random(0)
    assert any(why_invalid(space, Settings(), space.sample(drawn)) for _ in range(50))
    for seed in range(50):
        assert why_invalid(space, Settings(), draw_valid(space, Settings(), random.Random(seed))) is None


def test_draws_that_are_never_valid_end_with_the_reason() -> None:
    space = Space.read({"network.width": [9, 10]})
    with pytest.raises(
        UserError, match=r"100 draws .* all invalid; the last one because --network: width \((9|10)\) must be"
    ):
        draw_valid(space, Settings(), random.Random(0))


def test_draws_depend_on_the_random_state_alone() -> None:
    space = Space.read({"network.width": {"low": 8, "high": 64}, "outer.ratio": {"low": 0.1, "high": 2.0}})
    assert draw_valid(space, Settings(), random.Random("a")) == draw_valid(space, Settings(), random.Random("a"))


def test_even_a_big_space_that_fails_at_its_end_is_checked_quickly() -> None:
    content: dict[str, Any] = {"_case": list(range(120))}
    for case in range(120):
        content[f"schedule.inner_steps.{case}"] = {"low": 1, "high": 5, "when": {"_case": list(range(case, 120))}}
    content["images.batch"] = [1, 0]
    with pytest.raises(UserError, match=r"images\.batch: 0 is never valid"):
        check_space(Space.read(content), Settings())
