"""Runs and sweeps as their folders tell them: state, scores, age, size, and the command that goes on with them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from refusion.config.layers import for_task
from refusion.config.presets import recorded_settings
from refusion.errors import UserError
from refusion.home import job_command
from refusion.runtime.lifetime.claims import Claim, abandoned
from refusion.runtime.lifetime.waiting import waiting_folder
from refusion.runtime.storage import Folder
from refusion.search.manifest import SweepManifest
from refusion.search.objective.objective import Objective
from refusion.search.options import read_options, with_new_names
from refusion.search.results.conclude import choose_best
from refusion.search.space.space import Space
from refusion.tracking.relocation import followed_store
from refusion.tracking.sweeps import BEST_FILE
from refusion.tracking.waiting.spool import Spool
from refusion.training.checkpoints import METRICS_FILE, STATE_FILE
from refusion.training.manifest import RunManifest
from refusion.training.record.recording import BEST
from refusion.training.reports import PAIRS
from refusion.training.task_run import FINAL

State = Literal["running", "abandoned", "finished", "stopped", "unreadable"]
"""Running: a job is at work on it. Abandoned: its job is gone without a word. Stopped: it can be resumed."""


@dataclass(frozen=True)
class TaskScore:
    """Best epoch of a task, or the best trial of a sweep, so far.

    Attributes:
        metric: that chose it.
        value: its score.
        number: of the epoch, or of the trial.
        measured: what was measured, so that scores compare: only where it is equal do they.
    """

    metric: str
    value: float
    number: int
    measured: str


@dataclass(frozen=True)
class Entry:
    """A run or a sweep.

    Attributes:
        kind: "run" or "sweep".
        name: of the run or sweep.
        folder: where it is kept.
        state: see ``State``.
        owner: in words, the job that is or was at work on it; else empty.
        scores: by task, of those that have any; a sweep's by all its tasks joined.
        tasks: all of its tasks.
        trained: there is a checkpoint, or a trial that has begun.
        at: of its newest file, seconds since 1970.
        size: bytes of its files.
        resume: words of the command that goes on with it; none where there is nothing to go on with.
        tracking_uri, experiment: its place in MLflow.
        about: of a sweep, what it searched, so that sweeps over the same compare.
        fault: why it is unreadable.
        waiting: number of writes to MLflow that wait on this machine.
    """

    kind: Literal["run", "sweep"]
    name: str
    folder: Folder
    state: State
    at: float
    size: int
    owner: str = ""
    scores: Mapping[str, TaskScore] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    trained: bool = True
    resume: list[str] = field(default_factory=list)
    tracking_uri: str = ""
    experiment: str = ""
    about: str = ""
    fault: str = ""
    waiting: int = 0

    @property
    def age(self) -> float:
        """Seconds since its newest file was written."""
        return max(0.0, time.time() - self.at)


def entries(storage: Folder, kind: Literal["run", "sweep"]) -> list[Entry]:
    """Returns the runs or sweeps of a storage, the newest first."""
    manifest: type[RunManifest | SweepManifest] = RunManifest if kind == "run" else SweepManifest
    read = _run if kind == "run" else _sweep
    names = [name for name in storage.names() if (storage / name / manifest.file).exists()]
    found = [_entry(storage / name, name, kind, manifest.file, read) for name in names]
    return sorted(found, key=lambda entry: entry.at, reverse=True)


def _entry(
    folder: Folder, name: str, kind: Literal["run", "sweep"], file: str, read: Callable[..., dict[str, Any]]
) -> Entry:
    size, at = folder.usage()
    claim = Claim.read(folder)
    gone = abandoned(folder)
    try:
        content = dict(yaml.safe_load((folder / file).read_text()))
        own = read(folder, name, content)
        uri = followed_store(str(content["tracking_uri"]), content.get("home"))
    except (UserError, yaml.YAMLError, OSError, ValueError, TypeError, KeyError) as error:
        fault = (str(error).splitlines() or [type(error).__name__])[0]
        own, uri = {"state": "unreadable", "fault": f"{file}: {fault}"}, ""
        content = {}
    state: State = own.pop("state")
    if claim is not None:
        state = "running" if gone is None else "abandoned"
    resume = own.pop("resume", [])
    return Entry(
        kind=kind,
        name=name,
        folder=folder,
        state=state,
        at=at,
        size=size,
        owner="" if claim is None else claim.owner,
        resume=resume if state in ("abandoned", "stopped") else [],
        tracking_uri=uri,
        experiment=str(content.get("experiment", "")),
        waiting=Spool(waiting_folder(folder)).waiting,
        **own,
    )


def _run(folder: Folder, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    settings = recorded_settings(content["settings"])
    manifest = RunManifest(name=name, folder=folder, tracking_uri="", experiment="", settings=settings)
    scores, ended, trained = {}, [], False
    for task in settings.tasks:
        trained = trained or any((folder / task / name / STATE_FILE).exists() for name in (folder / task).names())
        own = for_task(settings, task)
        best, last = (_numbers(folder / task / kind) for kind in (BEST, FINAL))
        ended.append(last.get("epoch", -1) >= own.schedule.epochs)
        metric = own.validation.best_by
        if metric in best:
            pairs = content["digests"].get(task, {}).get("val", "")
            measured = f"{pairs} {best.get(PAIRS, '')}"
            scores[task] = TaskScore(metric, float(best[metric]), int(best.get("epoch", 0)), measured)
    resume = [*job_command("jobs/train_all_tasks.py", "train"), *manifest.resume_arguments()]
    state = "finished" if all(ended) else "stopped"
    return {"tasks": settings.tasks, "scores": scores, "state": state, "resume": resume, "trained": trained}


def _sweep(folder: Folder, name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    options = read_options(with_new_names(content["options"]))
    base, space = recorded_settings(content["base"]), Space.read(content["space"])
    manifest = SweepManifest(
        name=name, folder=folder, tracking_uri="", experiment="", options=options, space=space, base=base
    )
    objective = Objective.parse(options.objective, options.task)
    records = manifest.journal.read()
    best = choose_best(objective, records)
    scores = {}
    if best is not None:
        goal = objective.goals[0]
        value = records[best].history[records[best].epoch].get(goal.key, float("nan"))
        scores[manifest.task] = TaskScore(goal.key, float(value), best, json.dumps(content["digests"], sort_keys=True))
    # The file is written when a sweep concludes; one that was resumed with more trials is not there yet.
    ended = (folder / BEST_FILE).exists() and all(record.ended for record in records.values())
    about = json.dumps([options.model_dump(mode="json", exclude={"trials", "max_concurrent"}), content["space"],
                        content["base"], content["digests"]], sort_keys=True, default=str)  # fmt: skip
    resume = [*job_command("jobs/sweep.py", "sweep"), *manifest.resume_arguments()]
    state = "finished" if ended else "stopped"
    return {
        "tasks": options.task,
        "scores": scores,
        "state": state,
        "resume": resume,
        "about": about,
        "trained": bool(records),
    }


def _numbers(checkpoint: Folder) -> dict[str, float]:
    file = checkpoint / METRICS_FILE
    return dict(json.loads(file.read_text())) if file.exists() else {}
