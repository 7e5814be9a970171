from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient
from stored.runs import MakeRun, listed

from refusion.inventory.pruning import close, folders_needed
from refusion.runtime.lifetime.claims import CLAIM_FILE, Claim
from refusion.tracking.runs import start_job_run, start_task_run
from refusion.tracking.store import open_store


def test_what_a_job_that_is_gone_has_left_open_is_closed_and_can_be_resumed(
    make_run: MakeRun, home: Path, gone: Claim
) -> None:
    folders = {name: make_run(name, [0.5], owner=owner) for name, owner in (("lost", gone), ("alive", Claim.mine()))}
    uri = listed()["lost"].tracking_uri
    experiment = open_store(uri, "study")
    parents = {
        name: start_job_run(uri, experiment, name, {}, {"storage": str(folder)}) for name, folder in folders.items()
    }
    task = start_task_run(uri, experiment, parents["lost"], "MIF", "MIF · lost", {})
    said: list[str] = []
    close([entry for entry in listed().values() if entry.state == "abandoned"], said.append)
    client = MlflowClient(tracking_uri=uri)
    states = {name: client.get_run(run).info.status for name, run in {**parents, "task": task}.items()}
    assert states == {"lost": "KILLED", "task": "KILLED", "alive": "RUNNING"}
    assert said == [f"run lost: closed; {gone.owner} is gone"]
    assert not (folders["lost"] / CLAIM_FILE).exists() and (folders["alive"] / CLAIM_FILE).exists()
    assert listed()["lost"].state == "stopped" and listed()["lost"].resume
    assert folders_needed(listed().values()) == set()
