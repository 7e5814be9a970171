"""Manifest of a training run: its settings, and which of them a resumed run may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from refusion.config.layers import PER_TASK, check, for_task
from refusion.config.presets import recorded_settings
from refusion.config.settings import Settings
from refusion.images.dataset import tasks_of
from refusion.runtime.foreign_code import named_code, refuse_unnamed_code
from refusion.runtime.lifetime.changed_pairs import Digests, write_pairs
from refusion.runtime.manifest import JobRequest, Manifest, changed_settings
from refusion.runtime.run_names import with_absolute_data
from refusion.tasks import TaskName
from refusion.tracking.relocation import followed_store
from refusion.tracking.store import resolve_tracking_uri

# Anything else would make a resumed run another training under the old name.
_CHANGEABLE = (
    "workers",
    "threads",
    "gpu",
    "recompute",
    "compile",
    "graphs",
    "retries",
    "data",
    "tasks",
    "schedule.epochs",
    "schedule.max_skipped",
    "checkpoints",
    "validation",
)


@dataclass(frozen=True)
class RunRequest(JobRequest):
    """Request of a run, as its command line says; ``changes`` are settings, each laid over what came before."""

    changes: Sequence[Mapping[str, Any]]


@dataclass(kw_only=True)
class RunManifest(Manifest):
    """Manifest of a run.

    Attributes:
        earlier_tasks: those that it had before it was resumed.
        lacking: tasks that nobody has named and the data does not have, so that they are not trained.
    """

    kind: ClassVar[Literal["run", "sweep"]] = "run"
    file: ClassVar[str] = "job.yaml"

    settings: Settings
    earlier_tasks: tuple[TaskName, ...] = ()
    lacking: tuple[TaskName, ...] = ()

    def save(self, settings: Settings, digests: Mapping[str, dict[str, str]], pairs: Digests | None = None) -> None:
        """Write the file, and that of pairs' digests; from here on the run exists.

        Tasks that an earlier part of the run had stay its tasks.
        """
        tasks = dict.fromkeys((*self.earlier_tasks, *settings.tasks))
        self.settings = settings.model_copy(update={"tasks": tuple(tasks)})
        self.digests = {**self.digests, **digests}
        if pairs:
            write_pairs(self.folder, pairs)
        self.write({"run_name": self.name, "settings": self.settings.model_dump(mode="json")})

    def resume_arguments(self) -> list[str]:
        """Options that resume this run, with the code of the user's own that it runs."""
        return [*super().resume_arguments(), *named_code(self.settings)]


def open_manifest(request: RunRequest) -> RunManifest:
    """Returns the manifest of a new run (not written yet), or of the one to resume.

    Raises:
        UserError: a setting is wrong; a new run's name is taken or unfit; there is no run of that name to resume, or
            it was asked to change what a resumed run cannot change.
    """
    if request.resume is None:
        asked = with_absolute_data(check(request.changes))
        settings = asked if any("tasks" in change for change in request.changes) else _of_the_data(asked)
        lacking = tuple(task for task in asked.tasks if task not in settings.tasks)
        uri = resolve_tracking_uri(request.tracking_uri)
        return RunManifest.begin(request, uri, settings=settings, lacking=lacking)
    content = RunManifest.read(request)
    before = recorded_settings(content["settings"])
    refuse_unnamed_code(request.resume, before, request.changes)
    settings = with_absolute_data(check(request.changes, before))
    changed = _changed(before, settings)
    RunManifest.refuse_changes(request.resume, changed)
    uri = resolve_tracking_uri(request.tracking_uri or followed_store(content["tracking_uri"], content.get("home")))
    return RunManifest.resume(request, content, uri, settings=settings, earlier_tasks=before.tasks)


def _of_the_data(settings: Settings) -> Settings:
    """Returns the settings for the tasks that the data has, where nobody has named any.

    Raises:
        UserError: there is no such folder, or it has none.
    """
    return settings.model_copy(update={"tasks": tuple(tasks_of(settings.data))})


def _changed(before: Settings, after: Settings) -> list[str]:
    """Returns the names of settings that differ and may not; those that differ for a task alone with ``per_task.``."""

    def changed(old: Settings, new: Settings) -> list[str]:
        return changed_settings(old.model_dump(exclude={PER_TASK}), new.model_dump(exclude={PER_TASK}), _CHANGEABLE)

    common = changed(before, after)
    own = {
        task: changed(for_task(before, task), for_task(after, task)) for task in {**before.per_task, **after.per_task}
    }
    return common + [f"per_task.{task}.{name}" for task, names in own.items() for name in names if name not in common]
