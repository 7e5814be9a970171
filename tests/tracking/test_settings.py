from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.utils.validation import _validate_metric_name

from refusion.tracking.settings import PARAM_LIMIT, flatten, log_settings, safe_name, truncate


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
    assert (data.params["schedule.epochs"], data.params["new"]) == ("5", "1")
    assert data.tags["resumed.schedule.epochs"] == "9"
    assert "resumed.workers" not in data.tags

    log_settings(client, run_id, settings)
    assert client.get_run(run_id).data.tags["resumed.schedule.epochs"] == "5"


def test_more_params_than_one_batch_takes(uri: str, experiment: str) -> None:
    client = MlflowClient(tracking_uri=uri)
    run_id = client.create_run(experiment).info.run_id
    log_settings(client, run_id, {f"p{number}": number for number in range(230)})
    assert len(client.get_run(run_id).data.params) == 230
