from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from refusion.errors import UserError
from refusion.tracking.models.version import Version
from refusion.tracking.registry import register_version
from refusion.tracking.retention.needed import needed_folders
from refusion.tracking.runs import start_job_run, start_task_run


def test_the_folder_of_the_job_whose_version_has_an_alias_is_needed_and_others_are_not(
    uri: str, experiment: str, checkpoint: Path, version: Callable[..., Version]
) -> None:
    client, ids = MlflowClient(tracking_uri=uri), {}
    for name, score in (("worse", 0.4), ("best", 0.6), ("late", 0.5)):
        parent = start_job_run(uri, experiment, name, {}, {"storage": f"/runs/{name}"})
        ids[name] = start_task_run(uri, experiment, parent, "IVIF", f"IVIF · {name}", {})
        number = register_version(client, checkpoint, version("IVIF", ids[name], score=score))
    assert str(client.get_model_version_by_alias("refusion-IVIF", "candidate").version) == number
    assert needed_folders(uri) == {"/runs/best"}
    client.set_registered_model_alias("refusion-IVIF", "shipped", number)
    assert needed_folders(uri) == {"/runs/best", "/runs/late"}
    client.create_model_version("refusion-IVIF", "file:///runs/worse/IVIF/best", ids["worse"])
    assert needed_folders(uri) == {"/runs/best", "/runs/late", "/runs/worse"}


def test_a_store_that_is_not_there_needs_nothing_and_is_not_made(tmp_path: Path) -> None:
    assert needed_folders(f"sqlite:///{tmp_path}/none.db") == set()
    assert not (tmp_path / "none.db").exists()


def test_a_server_that_is_away_says_so_since_nobody_knows_then() -> None:
    with pytest.raises(UserError, match=r"cannot say which runs .*nothing is deleted until it can"):
        needed_folders("http://127.0.0.1:1")
