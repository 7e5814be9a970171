"""A run's own page in its folder: what it was told and where it is recorded, so that it can be resumed by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.home import refusion_home
from refusion.runtime.run_names import new_name, resumed_name, with_absolute_data
from refusion.runtime.storage import Folder
from refusion.tasks import TaskName
from refusion.tracking.store import resolve_tracking_uri

_FILE = "job.yaml"
# What a resumed run may be told anew; anything else would make it another training under the old name.
_CHANGEABLE = (
    "workers",
    "threads",
    "gpu",
    "recompute",
    "compile",
    "retries",
    "data",
    "tasks",
    "schedule.epochs",
    "checkpoints",
    "validation",
)


@dataclass(frozen=True)
class RunRequest:
    """What was asked for on the command line; None where nothing was said."""

    changes: Sequence[Mapping[str, Any]]
    run_name: str | None = None
    storage: str | None = None
    tracking_uri: str | None = None
    experiment: str | None = None
    resume: str | None = None


@dataclass
class Ledger:
    """A run's name, folder, settings and place in MLflow."""

    run_name: str
    folder: Folder
    settings: Settings
    tracking_uri: str
    experiment: str
    resumed: bool
    digests: dict[str, dict[str, str]]
    earlier_tasks: tuple[TaskName, ...] = ()

    def check_same_images(self, digests: dict[str, dict[str, str]]) -> None:
        """Refuse to resume with other images: crops are drawn by number, so that all would be others.

        Raises:
            UserError: names the task and the split.
        """
        for task, splits in self.digests.items():
            for split, digest in splits.items():
                if task in digests and digests[task][split] != digest:
                    raise UserError(
                        f"--resume {self.run_name}: the images of {task}/{split} are not those the run began with; "
                        "put them back, or start a new run"
                    )

    def save(self, settings: Settings, digests: dict[str, dict[str, str]]) -> None:
        """Write the page; from here on the run exists. Tasks that an earlier part of the run had stay its tasks."""
        tasks = dict.fromkeys((*self.earlier_tasks, *settings.tasks))
        self.settings = settings.model_copy(update={"tasks": tuple(tasks)})
        self.digests = {**self.digests, **digests}
        content = {
            "run_name": self.run_name,
            "tracking_uri": self.tracking_uri,
            "experiment": self.experiment,
            "settings": self.settings.model_dump(mode="json"),
            "digests": self.digests,
        }
        (self.folder / _FILE).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def resume_arguments(self) -> list[str]:
        """Options that resume this run, wherever they are given."""
        storage = self.folder.uri.rpartition("/")[0]
        arguments = ["--resume", self.run_name]
        return arguments if storage == default_storage().uri else [*arguments, "--storage", storage]


def default_storage() -> Folder:
    """``$REFUSION_HOME/runs``."""
    return Folder.at(refusion_home() / "runs")


def open_ledger(request: RunRequest) -> Ledger:
    """The page of a new run (not written yet), or of the one to resume.

    Raises:
        UserError: a setting is wrong; a new run's name is taken or unfit; there is no run of that name to resume, or
            it was asked to change what a resumed run cannot change.
    """
    storage = Folder.at(request.storage) if request.storage else default_storage()
    if request.resume is not None:
        return _resumed(request, storage)
    settings = with_absolute_data(check(request.changes))
    name = new_name(request.run_name, storage, "run")
    uri = resolve_tracking_uri(request.tracking_uri)
    return Ledger(name, storage / name, settings, uri, request.experiment or "refusion", False, {})


def _resumed(request: RunRequest, storage: Folder) -> Ledger:
    name = resumed_name(str(request.resume), request.run_name, storage, "run", _FILE)
    content = yaml.safe_load((storage / name / _FILE).read_text())
    before = Settings.model_validate(content["settings"])
    settings = with_absolute_data(check(request.changes, before))
    changed = [key for key in _differing(before.model_dump(), settings.model_dump()) if not _may_change(key)]
    if changed:
        listed = ", ".join(f"--{key}" for key in changed)
        raise UserError(f"--resume {name}: {listed} cannot change in a resumed run; leave it out, or start a new run")
    uri = resolve_tracking_uri(request.tracking_uri or content["tracking_uri"])
    experiment = request.experiment or content["experiment"]
    return Ledger(name, storage / name, settings, uri, experiment, True, content["digests"], before.tasks)


def _may_change(key: str) -> bool:
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in _CHANGEABLE)


def _differing(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differing(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key}")
    return found
