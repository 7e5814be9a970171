from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.search.schedulers.explore import check_explorable, explore
from refusion.search.space.space import Space
from refusion.search.space.validation import why_invalid

BASE = check([{"schedule": {"rate": {"kind": "constant", "value": 1e-3}}}])
SPACE = Space.read(
    {
        "schedule.rate.value": {"low": 1.0e-4, "high": 1.0e-2, "log": True},
        "schedule.inner_steps": {"low": 1, "high": 5},
        "objective.alpha": [0.5, 1.0, 2.0, 4.0],
    }
)


def rates(**schedule: Any) -> Settings:
    return check([{"schedule": schedule}], BASE)


def test_the_preset_can_be_mutated() -> None:
    path = Path(__file__).resolve().parents[3] / "jobs" / "presets" / "sweep-pbt.yaml"
    preset = yaml.safe_load(path.read_text(encoding="utf-8"))
    check_explorable(Space.read(preset["space"]), check([preset["base"]]))


@pytest.mark.parametrize(
    ("content", "base", "reason"),
    [
        (
            {"network.width": [8, 16]},
            BASE,
            "network.width: cannot change while a trial trains; PBT can search schedule.",
        ),
        ({"_switch": [1, 2]}, BASE, "_switch: cannot change while a trial trains"),
        (
            {"outer.ratio": [1, 2], "objective.alpha": {"choices": [1, 2], "when": {"outer.ratio": 1}}},
            BASE,
            "objective.alpha: has a condition (when)",
        ),
        ({"schedule.inner_steps": [1, {"start": 1, "end": 2}]}, BASE, "schedule.inner_steps: the choice {'start': 1"),
        (
            {"schedule.rate.value": [1e-3]},
            Settings(),
            "schedule.rate: must be constant without warm-up for PBT, cosine",
        ),
        (
            {"schedule.inner_rate.ratio": [1.0]},
            rates(rate={"warmup": 2}),
            "must be constant without warm-up for PBT, constant with a warm-up of 2 epochs was given",
        ),
        (
            {"schedule.inner_rate.ratio": [1.0], "schedule.inner_rate.value": [1.0]},
            BASE,
            "schedule.inner_rate.value: the inner rate is either a multiple of the rate or its own",
        ),
        (
            {"schedule.inner_rate.ratio": [1.0]},
            rates(inner_rate=1e-3),
            "schedule.inner_rate.ratio: needs an inner rate of kind tied, constant was given",
        ),
        ({"schedule.inner_rate.value": [1.0]}, BASE, "needs an inner rate of kind constant without warm-up, tied"),
    ],
)
def test_what_cannot_change_during_training_is_refused(content: dict[str, Any], base: Settings, reason: str) -> None:
    with pytest.raises(UserError, match=re.escape(reason)):
        check_explorable(Space.read(content), base)


def test_coefficients_change_under_any_rate() -> None:
    check_explorable(
        Space.read({"objective.alpha": [1, 2], "schedule.inner_rate.value": [0.1, 0.2]}), rates(inner_rate=0.1)
    )
    check_explorable(Space.read({"objective.alpha": [1, 2]}), Settings())


@given(st.integers(), st.integers())
def test_explored_values_stay_in_the_space_and_depend_on_the_random_state_alone(start: int, seed: int) -> None:
    values = SPACE.sample(random.Random(start))
    before = dict(values)
    explored = explore(SPACE, values, random.Random(seed))
    assert SPACE.contains(explored)
    assert values == before
    assert explore(SPACE, values, random.Random(seed)) == explored


def test_three_quarters_are_perturbed_and_the_rest_drawn_afresh() -> None:
    values = {"schedule.rate.value": 1e-3, "schedule.inner_steps": 3, "objective.alpha": 1.0}
    drawn = random.Random(0)
    explored = [explore(SPACE, values, drawn) for _ in range(4000)]
    rate = Counter(one["schedule.rate.value"] for one in explored)
    assert rate[1e-3 * 0.8] == pytest.approx(1500, abs=120)
    assert rate[1e-3 * 1.25] == pytest.approx(1500, abs=120)
    # A fresh draw is one of five (four) values, so it adds 1/5 (1/4) of a quarter to each.
    steps = Counter(one["schedule.inner_steps"] for one in explored)
    assert [steps[count] for count in range(1, 6)] == pytest.approx([200, 1700, 200, 1700, 200], abs=120)
    alpha = Counter(one["objective.alpha"] for one in explored)
    assert [alpha[choice] for choice in (0.5, 1.0, 2.0, 4.0)] == pytest.approx([1750, 250, 1750, 250], abs=120)


def test_whole_numbers_move_by_a_factor_where_that_is_more_than_one() -> None:
    space = Space.read({"schedule.inner_steps": {"low": 1, "high": 20}})
    drawn = random.Random(0)
    moved = Counter(explore(space, {"schedule.inner_steps": 12}, drawn)["schedule.inner_steps"] for _ in range(400))
    assert {value for value, _ in moved.most_common(2)} == {10, 15}
    assert all(isinstance(value, int) for value in moved)


def test_combinations_that_the_base_refuses_are_explored_again() -> None:
    space = Space.read({"objective.alpha": [0.0, 1.0], "objective.beta": [0.0, 1.0]})
    values = {"objective.alpha": 1.0, "objective.beta": 0.0}
    invalid = [
        seed for seed in range(100) if why_invalid(space, BASE, explore(space, values, random.Random(seed))) is not None
    ]
    assert invalid
    assert all(why_invalid(space, BASE, explore(space, values, random.Random(seed), BASE)) is None for seed in invalid)
