from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric_name

from refusion.config.layers import check
from refusion.tracking.settings import (
    MOST_PARAMS,
    PARAM_LIMIT,
    flatten,
    json_tag,
    log_settings,
    read_json_tag,
    recorded_settings_of,
    safe_name,
    shown_params,
    truncate,
)


def test_nested_settings_become_dotted_params() -> None:
    settings = {"schedule": {"epochs": 50, "rate": {"value": 1e-4}}, "tasks": ["IVIF", "MIF"], "gpu": False, "x": {}}
    assert flatten(settings) == {
        "schedule.epochs": "50",
        "schedule.rate.value": "0.0001",
        "tasks": '["IVIF", "MIF"]',
        "gpu": "False",
        "x": "{}",
    }


def test_long_values_are_cut_to_what_mlflow_takes() -> None:
    value = flatten({"list": list(range(5000))})["list"]
    assert len(value) == PARAM_LIMIT
    assert value.endswith("…")
    assert truncate("short", 5) == "short"


@pytest.mark.parametrize("name", ["fused/scene 01.a-b_c", "IVIF/Qabf", "EN"])
def test_good_names_stay(name: str) -> None:
    assert safe_name(name) == name


@given(st.text(max_size=300))
def test_any_name_becomes_one_that_mlflow_takes(name: str) -> None:
    safe = safe_name(name)
    _validate_metric_name(safe)
    assert len(safe) <= 120
    assert not any(part in ("", ".", "..") for part in safe.split("/"))


def test_names_that_differ_in_odd_characters_only_stay_apart() -> None:
    assert safe_name("fused/é") != safe_name("fused/è")
    assert safe_name("x" * 200) != safe_name("x" * 201)


def test_params_keep_their_first_value_and_changes_become_tags(uri: str, experiment: str) -> None:
    client = MlflowClient(tracking_uri=uri)
    run_id = client.create_run(experiment).info.run_id
    settings = {"schedule": {"epochs": 5}, "workers": 2, "empty": "", "none": None}
    log_settings(client, run_id, settings)
    log_settings(client, run_id, settings)
    data = client.get_run(run_id).data
    assert data.params == {"schedule.epochs": "5", "workers": "2", "empty": "", "none": "None"}
    assert not any(tag.startswith("resumed.") for tag in data.tags)

    log_settings(client, run_id, {"schedule": {"epochs": 9}, "workers": 2, "new": 1})
    data = client.get_run(run_id).data
    recorded = recorded_settings_of(data.params, data.tags)
    assert (data.params["schedule.epochs"], recorded["schedule.epochs"], recorded["new"]) == ("5", "5", "1")
    assert data.tags["resumed.schedule.epochs"] == "9"
    assert "resumed.workers" not in data.tags

    log_settings(client, run_id, settings)
    assert client.get_run(run_id).data.tags["resumed.schedule.epochs"] == "5"


def test_all_settings_are_a_tag_however_many(uri: str, experiment: str) -> None:
    client = MlflowClient(tracking_uri=uri)
    run_id = client.create_run(experiment).info.run_id
    settings = {f"p{number}": "x" * 50 for number in range(230)}
    log_settings(client, run_id, settings)
    data = client.get_run(run_id).data
    assert recorded_settings_of(data.params, data.tags) == settings
    assert len(data.params) <= MOST_PARAMS


def test_a_run_of_an_earlier_version_has_its_settings_as_params() -> None:
    assert recorded_settings_of({"schedule.epochs": "5"}, {}) == {"schedule.epochs": "5"}


def test_a_shorter_text_takes_the_place_of_a_longer_one() -> None:
    tags = json_tag("x", ["a" * 20000]) | json_tag("x", ["b"])
    assert read_json_tag(tags, "x", None) == ["b"]
    assert read_json_tag({}, "x", 3) == 3


def test_params_are_those_that_differ_then_those_that_people_compare() -> None:
    settings = flatten(check([{"objective": {"alpha": 0.7}, "workers": 2}]).model_dump(mode="json"))
    assert shown_params(settings) == {
        "objective.alpha": "0.7",
        "schedule.epochs": settings["schedule.epochs"],
        "schedule.rate.value": settings["schedule.rate.value"],
        "images.crop": settings["images.crop"],
        "images.batch": settings["images.batch"],
    }


def test_what_a_study_varies_comes_first_and_six_are_the_most() -> None:
    changes = {
        "schedule": {"epochs": 3, "meta_iterations": 4, "fusion_steps": 5},
        "images": {"crop": 32, "batch": 1},
        "objective": {"alpha": 0.7},
    }
    shown = shown_params(flatten(check([changes]).model_dump(mode="json")), ["network.width"])
    assert next(iter(shown)) == "network.width"
    assert len(shown) == MOST_PARAMS
