"""Conclusion of a sweep: the best trial, its settings as a file, its comparison with the defaults, its model."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from rich.console import Console

from refusion.config.layers import check
from refusion.config.settings import BUILTIN, Settings
from refusion.metrics import METRICS
from refusion.metrics.lookup import DEFAULT_CONVENTION
from refusion.runtime.storage import Folder
from refusion.search.objective.objective import Objective, best_trial
from refusion.search.options import PBT_KINDS
from refusion.search.results.comparison import Comparison, compare
from refusion.search.results.held_out import Scores, TaskVal, score_all
from refusion.search.results.replay import Change, replayed
from refusion.search.state import SweepState
from refusion.search.trials.records import TrialRecord, chain
from refusion.tracking.comparison.files import scores_file
from refusion.tracking.comparison.scores import TRAINED, scores_text, with_facts
from refusion.tracking.models.version import Version
from refusion.tracking.sweeps import BEST_FILE, COMPARISON_FILE, log_sweep_results

# Settings that say where and how a trial ran, not what was found.
_NOT_IN_FILE = ("data", "workers", "threads", "gpu", "retries", "skip_bad_pairs", "checkpoints")


@dataclass(frozen=True)
class Outcome:
    """The best trial, the file with its settings, and how it compares with trial 0 (None where that cannot be told)."""

    best: int
    best_file: str
    comparison: Comparison | None
    why_none: str = ""


def choose_best(objective: Objective, records: Mapping[int, TrialRecord]) -> int | None:
    """The best of the trials that were measured furthest; None while none has been."""
    histories = {number: record.history for number, record in records.items()}
    epochs = sorted({epoch for history in histories.values() for epoch in history}, reverse=True)
    found = (best_trial(objective, histories, epoch) for epoch in epochs)
    return next((best for best in found if best is not None), None)


def settings_of(state: SweepState, number: int) -> Settings:
    """Settings with which one training repeats a trial, with all that PBT changed on its way."""
    manifest = state.manifest
    if manifest.options.scheduler in PBT_KINDS and number != 0:
        # What it copied after its last epoch has not been trained.
        until = max(state.records[number].epoch, 1)
        changes = [Change(entry["epoch"], entry["values"]) for entry in chain(state.records, number, until)]
        return check([replayed(manifest.space, manifest.base, changes)], manifest.base)
    return check([manifest.space.settings(state.records[number].values)], manifest.base)


def best_text(state: SweepState, number: int) -> str:
    """The settings as a file for ``jobs/train_all_tasks.py --config``; what changes while training is piecewise."""
    content = settings_of(state, number).model_dump(mode="json")
    for name in _NOT_IN_FILE:
        content.pop(name)
    head = (
        f"# Trial {number} of sweep {state.manifest.name} (objective {state.manifest.options.objective}).\n"
        "# python jobs/train_all_tasks.py --config best.yaml --data DATA\n"
        "# repeats it at the sweep's budget; for a longer training lay --schedule.epochs and the like over it.\n"
    )
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def conclude(
    state: SweepState,
    val: Mapping[str, TaskVal],
    digests: Mapping[str, str],
    threads: int,
    console: Console,
    data_folder: str | None = None,
) -> Outcome | None:
    """Compare the best trial with the defaults, write the files, and record all of it; None where no trial has results.

    Args:
        val: each task's val pairs.
        digests: of all val pairs, by task.
        threads: CPUs per pair that is measured.
        data_folder: of the pairs, made on machines that lack it; None where all have it.
    """
    best = choose_best(state.scoreboard.objective, state.records)
    if best is None:
        return None
    scores, why = _measure(state, best, val, threads, console, data_folder)
    comparison = None if why else compare(state.scoreboard.objective, *_held_out(scores, best), seed=_seed(state))
    text = best_text(state, best)
    folder = state.manifest.folder
    (folder / BEST_FILE).write_text(text)
    plain = comparison.plain() if comparison else None
    if plain is not None:
        (folder / COMPARISON_FILE).write_text(json.dumps(plain, indent=1))
    if best in scores:
        register(state, best, scores[best], digests)
    trouble = log_sweep_results(state.manifest.tracking_uri, state.parent, best, text, plain)
    if trouble:
        console.print(f"warning: the results could not be written to MLflow ({trouble})", markup=False)
    return Outcome(best, (folder / BEST_FILE).uri, comparison, why)


def _seed(state: SweepState) -> int:
    return state.manifest.base.seed % 2**32


def _measure(
    state: SweepState,
    best: int,
    val: Mapping[str, TaskVal],
    threads: int,
    console: Console,
    data_folder: str | None,
) -> tuple[dict[int, Scores], str]:
    """The best trial on all val pairs and trial 0 on those held out; and why they cannot be compared, if so."""
    records = state.records
    held = sum(len(of_task.held_out) for of_task in val.values())
    why = ""
    if best == 0:
        why = "no trial is better than trial 0, the base settings"
    elif not held:
        why = "no val pairs were held out (--held-out 0, or too few pairs)"
    elif 0 not in records or records[0].epoch != records[best].epoch:
        why = "trial 0, the base settings, was not trained as far as the best trial"
    places = {number: state.checkpoint_of(number) for number in ((best,) if why else (best, 0))}
    gone = [number for number, place in places.items() if not place or not Folder(place).exists()]
    if gone:
        why = f"the checkpoint of trial {gone[0]} is not there any more"
    if best in gone:
        return {}, why
    console.print(f"measuring trial {best} on all val pairs" + ("" if why else f", trial 0 on the {held} held out"))
    wanted = [(best, places[best], {task: of_task.all for task, of_task in val.items()})]
    if not why:
        wanted.append((0, places[0], {task: of_task.held_out for task, of_task in val.items()}))
    source = None if data_folder is None else (state.manifest.base.data, data_folder)
    return score_all(wanted, threads, console, source), why


def _held_out(scores: Mapping[int, Scores], best: int) -> tuple[Scores, Scores]:
    """(best trial's, default settings') scores of the held-out pairs."""
    return {name: scores[best][name] for name in scores[0]}, scores[0]


def register(state: SweepState, best: int, scores: Scores, digests: Mapping[str, str]) -> None:
    """Register the best trial's fusion modules, one per task, with their scores over all val pairs, so that they
    compare with those of whole trainings."""
    record, manifest = state.records[best], state.manifest
    metric = manifest.base.validation.best_by
    data: Literal["builtin", "folder"] = "builtin" if manifest.base.data == BUILTIN else "folder"
    recorder = state.recorder(best)
    if recorder is None:
        return
    for task in manifest.options.task:
        prefix = "" if len(manifest.options.task) == 1 else f"{task}/"
        of_task = {
            pair.removeprefix(prefix): {name: numbers[prefix + name] for name in METRICS}
            for pair, numbers in scores.items()
            if prefix + metric in numbers
        }
        means = {name: math.fsum(numbers[name] for numbers in of_task.values()) / len(of_task) for name in METRICS}
        table = with_facts(scores_text({TRAINED: of_task}, DEFAULT_CONVENTION), record.epoch, digests[task])
        recorder.text(table, scores_file(task, "best"))
        with tempfile.TemporaryDirectory() as place:
            local = Path(place) / task
            Folder(str(local)).replace_by(Folder(state.checkpoint_of(best)) / task)
            measured = (means, DEFAULT_CONVENTION, digests[task], len(of_task), data)
            version = Version(task, recorder.run_id, record.epoch, metric, *measured)
            recorder.model(local, version)
    recorder.finish("FINISHED")
