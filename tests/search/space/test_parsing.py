from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from refusion.errors import UserError
from refusion.search.space.parsing import needed, read_parameters

SPACE = """
schedule.rate.every: {low: 1, high: 5, when: {schedule.rate.kind: step}}
schedule.rate.kind: [constant, step, cosine]
schedule.rate.value: {low: 1e-4, high: 5.0e-3, log: true, points: 4}
objective.alpha: {low: 1, high: 2.5}
images.batch: {choices: [1, 2], when: {schedule.rate.kind: [step, cosine], schedule.rate.every: 3}}
schedule.inner_steps: [1, {0: 1, 4: 3}]
"""


def test_what_a_file_says_becomes_parameters() -> None:
    by_name = {one.name: one for one in read_parameters(yaml.safe_load(SPACE))}
    rate = by_name["schedule.rate.value"]
    assert (rate.kind, rate.low, rate.high, rate.log, rate.points, rate.when) == ("float", 1e-4, 5e-3, True, 4, ())
    every = by_name["schedule.rate.every"]
    assert (every.kind, every.low, every.high, every.log) == ("int", 1, 5, False)
    assert every.when == (("schedule.rate.kind", ("step",)),)
    assert by_name["objective.alpha"].kind == "float"
    assert by_name["images.batch"].when == (
        ("schedule.rate.every", (3,)),
        ("schedule.rate.kind", ("step", "cosine")),
    )
    # Values travel as JSON, where the keys of mappings are text.
    assert by_name["schedule.inner_steps"].choices == (1, {"0": 1, "4": 3})


def test_parameters_come_after_those_they_depend_on() -> None:
    names = [one.name for one in read_parameters(yaml.safe_load(SPACE))]
    assert names.index("schedule.rate.kind") < names.index("schedule.rate.every") < names.index("images.batch")


def test_what_makes_a_parameter_active_reaches_back_to_the_first() -> None:
    parameters = read_parameters(yaml.safe_load(SPACE))
    batch = next(one for one in parameters if one.name == "images.batch")
    assert needed(parameters, batch) == {"schedule.rate.kind": ("step",), "schedule.rate.every": (3,)}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"low": 2, "high": 2}, "schedule.rate.value: low (2) must lie below high (2)"),
        ({"low": 0.0, "high": 1.0, "log": True}, "schedule.rate.value: a logarithmic range must begin above 0"),
        ({"low": 0.1, "high": 1.0, "log": "yes"}, "schedule.rate.value: log must be true or false (it is 'yes')"),
        ({"low": 0.1}, "schedule.rate.value: high is missing"),
        ({"low": "a", "high": 1.0}, "schedule.rate.value: low must be a number (it is 'a')"),
        ({"low": 0.1, "high": float("inf")}, "schedule.rate.value: high must be a number (it is inf)"),
        ({"low": True, "high": 3}, "schedule.rate.value: low must be a number (it is True)"),
        ({"low": 0.1, "high": 1.0, "points": 1}, "schedule.rate.value: points must be a whole number of at least 2"),
        (
            {"low": 0.1, "hihg": 1.0},
            "schedule.rate.value: there is no key 'hihg'; there are low, high, log, points and when",
        ),
        ({"choices": [1], "log": True}, "there is no key 'log'; there are choices and when"),
        ([], "schedule.rate.value: choices must be a list of at least one value (it is [])"),
        ({"choices": 3}, "schedule.rate.value: choices must be a list"),
        ([1, 2, 1], "schedule.rate.value: the choice 1 stands there twice"),
        ([{1, 2}], "schedule.rate.value: {1, 2} is neither number, text"),
        (0.3, "schedule.rate.value: must be a list of choices, {choices: […]} or {low: …, high: …}, not 0.3"),
        ({"low": 0.1, "high": 1.0, "when": "step"}, "schedule.rate.value: when must be a mapping"),
        ({"low": 0.1, "high": 1.0, "when": {"_kid": 1}}, "its condition is on _kid, which is no parameter"),
        ({"low": 0.1, "high": 1.0, "when": {"_kind": "c"}}, "_kind is never 'c' (choose from ['a', 'b'])"),
        ({"low": 0.1, "high": 1.0, "when": {"_kind": []}}, "its condition on _kind names no value"),
        ({"low": 0.1, "high": 1.0, "when": {"outer.ratio": 1}}, "on outer.ratio, a range of floats"),
    ],
)
def test_misuse_is_named(said: Any, reason: str) -> None:
    content = {"_kind": ["a", "b"], "outer.ratio": {"low": 0.5, "high": 2}, "schedule.rate.value": said}
    with pytest.raises(UserError, match=re.escape(reason)):
        read_parameters(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (["a"], "must be a mapping (setting: values), not list"),
        ({3: [1]}, "3: a parameter is a setting's dotted name"),
        ({"schedule..rate": [1]}, "'schedule..rate': a parameter is a setting's dotted name"),
        ({"_switch": {"low": 1, "high": 2}}, "_switch: is a switch, so it needs a list of choices"),
        ({"schedule": {"rate": [1]}}, "schedule: there is no key 'rate'"),
        (
            {"_a": {"choices": [1], "when": {"_b": 1}}, "_b": {"choices": [1], "when": {"_a": 1}}},
            "_a: its conditions form a circle (_a, _b)",
        ),
        (
            {
                "_a": [1, 2],
                "_b": {"choices": [1], "when": {"_a": 1}},
                "images.crop": {"choices": [32], "when": {"_a": 2, "_b": 1}},
            },
            "images.crop: can never be active, its conditions on _a contradict one another",
        ),
        (
            {"schedule.inner_steps": [1, 2], "schedule.inner_steps.start": {"low": 1, "high": 3}},
            "schedule.inner_steps.start: lies inside schedule.inner_steps, which is searched too",
        ),
    ],
)
def test_misuse_of_the_whole_is_named(content: Any, reason: str) -> None:
    with pytest.raises(UserError, match=re.escape(reason)):
        read_parameters(content)


def test_a_setting_and_its_parts_may_be_searched_under_different_conditions() -> None:
    content = {
        "_steps": ["same", "line"],
        "schedule.inner_steps": {"low": 1, "high": 5, "when": {"_steps": "same"}},
        "schedule.inner_steps.start": {"low": 1, "high": 5, "when": {"_steps": "line"}},
        "schedule.inner_rate": [{"kind": "constant"}, {"kind": "step"}],
        "schedule.inner_rate.value": {"low": 0.1, "high": 0.2},
    }
    assert len(read_parameters(content)) == 5
