"""Record of a run in MLflow as far as two runs of the same settings have it alike, and a server that goes and comes."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from stored.mlflow_runs import serving

from refusion.runtime.ports import free_ports

# Of the machine and the moment.
_TIMES = re.compile(r"(system|time|within)/.*|images_per_second|.*seconds.*")
_LOGGED = re.compile(r"(images/.+\+step\+\d+)\+timestamp\+.+?(\+compressed\.webp|\.png)")
_TAGS = ("task", "kind", "convention", "epochs_from", "mlflow.loggedImages")


@dataclass
class Server:
    """MLflow's server over SQLite, at a port that it keeps."""

    folder: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])

    def __post_init__(self) -> None:
        self._held = ExitStack()
        self._group = 0

    @property
    def uri(self) -> str:
        """Address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        store = f"sqlite:///{self.folder / 'mlflow.db'}"
        self._group = self._held.enter_context(serving(store, self.folder / "log.txt", self.port)).pid

    def hang(self) -> None:
        """Lets it take requests and answer none."""
        os.killpg(self._group, signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it answer again."""
        os.killpg(self._group, signal.SIGCONT)

    def kill(self) -> None:
        """Ends it at once."""
        self._held.close()


def record(uri: str, name: str) -> dict[str, Any]:
    """All that MLflow has of a run: of the job and of its one task."""
    client = MlflowClient(tracking_uri=uri)
    parent, child = runs_of(client, name)
    own: dict[str, Any] = {}
    for which, run in (("job", parent), ("task", child)):
        run_id = run.info.run_id
        points = {metric: client.get_metric_history(run_id, metric) for metric in run.data.metrics}
        own[which] = {
            "status": run.info.status,
            "params": run.data.params,
            "tags": {tag: run.data.tags.get(tag) for tag in _TAGS},
            "described": "mlflow.note.content" in run.data.tags,
            "steps": {name: sorted(point.step for point in points[name]) for name in points},
            "values": {
                name: sorted((point.step, repr(point.value)) for point in points[name])
                for name in points
                if not _TIMES.fullmatch(name)
            },
            "artifacts": files_of(client, run_id),
            "datasets": sorted(one.dataset.name for one in run.inputs.dataset_inputs),
        }
    versions = client.search_model_versions(f"name = 'refusion-IVIF' and run_id = '{child.info.run_id}'")
    own["versions"] = [version.tags["epoch"] for version in versions]
    models = client.search_logged_models([child.info.experiment_id])
    own["models"] = sorted(
        (model.tags["epoch"], str(model.status)) for model in models if model.source_run_id == child.info.run_id
    )
    return own


def history(uri: str, name: str) -> list[Metric]:
    """Points of the task's rate, of which each epoch has one, in the order of epochs."""
    client = MlflowClient(tracking_uri=uri)
    _, child = runs_of(client, name)
    return sorted(client.get_metric_history(child.info.run_id, "rate"), key=lambda point: int(point.step))


def runs_of(client: MlflowClient, name: str) -> tuple[Run, Run]:
    """The job's run of that name, and its one task's."""
    (experiment,) = [one for one in client.search_experiments() if one.name == "refusion"]
    found = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in found if run.info.run_name == name]
    (child,) = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return parent, child


def files_of(client: MlflowClient, run_id: str) -> Counter[str]:
    """Artifacts of a run, pictures without the moment that is in their names."""
    return Counter(_LOGGED.sub(r"\1\2", path) for path in _files(client, run_id, ""))


def _files(client: MlflowClient, run_id: str, folder: str) -> list[str]:
    files = []
    for entry in client.list_artifacts(run_id, folder or None):
        files += _files(client, run_id, entry.path) if entry.is_dir else [entry.path]
    return files
