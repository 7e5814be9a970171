from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from refusion.tracking.evaluations import Evaluation, record_evaluation
from refusion.tracking.runs import find_job_run

EVALUATION = Evaluation(
    task="IVIF",
    method="night/IVIF",
    convention="authors",
    params={"kind": "checkpoint", "metrics": ["EN", "ref_PSNR"]},
    metrics={"EN": 7.0, "EN_low": 6.5, "EN_high": 7.5, "ref_PSNR": float("nan")},
    files={"scores.csv": "name,EN\nx,7.0\n", "table.txt": "↑ 7.0\n"},
    pairs_digest="0123456789" * 6,
    source="/somewhere",
    count=3,
    split="val",
)


def test_a_run_says_what_was_measured_on_what(uri: str, experiment: str) -> None:
    assert record_evaluation(uri, experiment, EVALUATION) is None
    client = MlflowClient(tracking_uri=uri)
    run_id = find_job_run(uri, experiment, "evaluate-IVIF-night/IVIF")
    assert run_id is not None
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    expected = {
        "kind": "evaluation",
        "task": "IVIF",
        "method": "night/IVIF",
        "convention": "authors",
        "dataset_digest": "0123456789" * 6,
    }
    assert expected.items() <= run.data.tags.items()
    assert run.data.params == {"kind": "checkpoint", "metrics": '["EN", "ref_PSNR"]'}
    assert {name: run.data.metrics[name] for name in ("EN", "EN_low", "EN_high")} == {
        "EN": 7.0,
        "EN_low": 6.5,
        "EN_high": 7.5,
    }
    assert run.data.metrics["ref_PSNR"] != run.data.metrics["ref_PSNR"]
    (entry,) = run.inputs.dataset_inputs
    assert (entry.dataset.name, json.loads(entry.dataset.profile)) == ("IVIF/val", {"num_rows": 3})
    assert json.loads(entry.dataset.source) == {"uri": "/somewhere"}
    for name, text in EVALUATION.files.items():
        assert Path(client.download_artifacts(run_id, name)).read_text(encoding="utf-8") == text


def test_a_second_evaluation_is_a_second_run(uri: str, experiment: str) -> None:
    again = replace(EVALUATION, method="again")
    for _ in range(2):
        assert record_evaluation(uri, experiment, again) is None
    found = MlflowClient(tracking_uri=uri).search_runs([experiment], "tags.method = 'again'")
    assert len(found) == 2


def test_trouble_is_told_and_not_raised(uri: str, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    trouble = record_evaluation(uri, "999", EVALUATION)
    assert trouble is not None
    assert trouble.startswith("evaluate-IVIF-night/IVIF: ")
    assert "\n" not in trouble

    def away(*_arguments: object, **_named: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(MlflowClient, "log_artifact", away)
    monkeypatch.setattr("refusion.tracking.recorder.FINISH_PAUSES", ())
    assert record_evaluation(uri, experiment, EVALUATION) == "evaluate-IVIF-night/IVIF: 2 entries are missing"
