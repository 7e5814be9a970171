from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from refusion.cli.options import parse_dotted
from refusion.config.layers import check
from refusion.config.presets import read_preset
from refusion.errors import UserError
from refusion.search.space.fixed import FixedSpace, fix_given
from refusion.search.space.space import Space
from refusion.search.suggest.samplers import suggest_random

SPACE = yaml.safe_load(
    """
    schedule.rate.kind: [constant, step, cosine]
    schedule.rate.value: {low: 1.0e-4, high: 5.0e-3, log: true}
    schedule.rate.every: {low: 1, high: 5, when: {schedule.rate.kind: step}}
    schedule.rate.end: {low: 1.0e-6, high: 1.0e-4, when: {schedule.rate.kind: cosine}}
    _steps: [constant, piecewise]
    schedule.inner_steps: {low: 1, high: 5, when: {_steps: constant}}
    schedule.inner_steps.0: {low: 1, high: 5, when: {_steps: piecewise}}
    schedule.inner_steps.3: {low: 1, high: 5, when: {_steps: piecewise}}
    objective.alpha: {low: 0.25, high: 4.0}
    """
)
ALL = set(SPACE)
RATE, STEPS = {n for n in ALL if ".rate." in n}, {n for n in ALL if "steps" in n}


def fixed_by(*arguments: str, space: Mapping[str, Any] = SPACE) -> FixedSpace:
    given = parse_dotted(arguments)
    return fix_given(Space.read(space), given, check([read_preset("published"), *given]))


def searched(found: FixedSpace) -> set[str]:
    return {parameter.name for parameter in found.space.parameters}


@pytest.mark.parametrize(
    ("arguments", "fixed", "gone"),
    [
        ([], {}, set()),
        (["--images.crop", "32"], {}, set()),
        (["--objective.alpha", "2"], {"objective.alpha": 2.0}, {"objective.alpha"}),
        (["--schedule.rate.value", "1e-3"], {"schedule.rate.value": 1e-3}, {"schedule.rate.value"}),
        (
            ["--schedule.rate.kind", "cosine"],
            {"schedule.rate.kind": "cosine"},
            {"schedule.rate.kind", "schedule.rate.every"},
        ),
        (
            ["--schedule.rate", "2e-4"],
            {"schedule.rate.kind": "step", "schedule.rate.value": 2e-4, "schedule.rate.every": 10},
            RATE,
        ),
        (
            ["--schedule.rate", "{kind: piecewise, values: {0: 1e-3, 2: 1e-4}}"],
            {"schedule.rate.kind": "piecewise"},
            RATE,
        ),
        (["--per_task.IVIF.objective.alpha", "2"], {"objective.alpha": 1.0}, {"objective.alpha"}),
        (["--schedule.inner_steps", "2"], {"schedule.inner_steps": 2}, STEPS),
        (["--schedule.inner_steps", "{start: 1, end: 2}"], {"schedule.inner_steps": {"start": 1, "end": 2}}, STEPS),
    ],
)
def test_what_is_given_is_not_searched_nor_what_would_replace_it(
    arguments: list[str], fixed: dict[str, Any], gone: set[str]
) -> None:
    found = fixed_by(*arguments)
    assert found.fixed == fixed
    assert searched(found) == ALL - gone


def test_a_condition_on_what_is_fixed_is_decided() -> None:
    found = fixed_by("--schedule.rate.kind", "cosine")
    assert found.space["schedule.rate.end"].when == ()
    assert found.fallen == ("schedule.rate.every",)
    assert found.sentence() == (
        "fixed by the command line, not searched: schedule.rate.kind cosine; with that, these are not searched either: "
        "schedule.rate.every"
    )


def test_no_trial_has_another_value_than_the_one_given() -> None:
    given = parse_dotted(["--schedule.rate", "2e-4", "--schedule.inner_steps", "2"])
    base = check([read_preset("published"), *given])
    space = fix_given(Space.read(SPACE), given, base).space
    for number in range(1, 20):
        settings = check([space.settings(suggest_random(space, base, 0, number))], base)
        assert settings.schedule == base.schedule
        assert settings.objective.alpha != 1.0


def test_a_choice_of_whole_schedules_does_not_replace_a_part_that_is_given() -> None:
    space = {"schedule.rate": [{"kind": "constant", "value": 1e-3}, 2e-3], "objective.alpha": [1.0, 2.0]}
    found = fixed_by("--schedule.rate.value", "1e-4", space=space)
    assert searched(found) == {"objective.alpha"}
    assert set(found.fixed) == {"schedule.rate"}


def test_nothing_left_to_search_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        fixed_by("--objective.alpha", "2", space={"objective.alpha": [1.0, 3.0]})
    assert str(caught.value).startswith("the command line fixes all that is searched (--objective.alpha): leave one")


def test_a_space_that_nothing_is_taken_from_stays_as_it_is() -> None:
    space = Space.read(SPACE)
    found = fix_given(space, [], check([]))
    assert found.space == space and found.sentence() == ""
