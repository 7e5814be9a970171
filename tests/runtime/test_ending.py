from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from refusion.home import job_command
from refusion.runtime.ending import CLUSTER_ENDS, described, local_path, next_steps, same_form

JOB = ("jobs/train_all_tasks.py", "train")


def submitted(**runtime_env: str) -> dict[str, str]:
    """The environment that Ray's job server gives a job."""
    config = {"runtime_env": runtime_env, "metadata": {"job_submission_id": "raysubmit_1"}}
    return {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(config)}


def test_a_job_that_was_submitted_is_called_again_by_submitting_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/code/jobs/train_all_tasks.py", "--gpu"])
    submit = ["ray", "job", "submit"]
    assert same_form(*JOB, submitted()) == [*submit, "--", "python", "/code/jobs/train_all_tasks.py"]
    monkeypatch.setattr(sys, "argv", ["jobs/train_all_tasks.py"])
    uploaded = submitted(working_dir="gcs://_ray_pkg_1.zip")
    assert same_form(*JOB, uploaded) == [*submit, "--working-dir", ".", "--", "python", "jobs/train_all_tasks.py"]


def test_others_are_called_as_they_are_and_so_are_those_whose_cluster_ends() -> None:
    assert same_form(*JOB, {}) == job_command(*JOB)
    assert same_form(*JOB, submitted() | {CLUSTER_ENDS: "1"}) == job_command(*JOB)


def test_only_steps_that_there_are_are_named_and_words_are_quoted() -> None:
    lines = next_steps({"page": "mlflow ui\nhttp://x/#/1", "resume": None, "fuse": ["python", "fuse.py", "my file"]})
    assert lines == ["page:", "  mlflow ui", "  http://x/#/1", "fuse:", "  python fuse.py 'my file'"]


@pytest.mark.parametrize(
    ("uri", "path"), [("/runs/ü", "/runs/ü"), ("file:///runs/%C3%BC", "/runs/ü"), ("s3://bucket/runs", None)]
)
def test_folders_of_this_machine_have_a_path(uri: str, path: str | None) -> None:
    assert local_path(uri) == (None if path is None else Path(path))


def test_a_description_has_the_command_the_scores_and_the_next_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["jobs/train_all_tasks.py", "--run-name", "one night"])
    text = described([{"task": "IVIF", "Qabf": 0.51234}], ["pictures:", "  /runs/night"])
    assert "jobs/train_all_tasks.py --run-name 'one night'" in text
    assert "| IVIF   | 0.5123 |" in text
    assert text.count("```") == 4
    assert "/runs/night" in text
    assert "|" not in described([], ["pictures:"])
