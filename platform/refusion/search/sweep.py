"""A sweep from its request to its result: check everything first, search, record, compare, and tell how it ended."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass

from rich.console import Console

from refusion.home import job_command
from refusion.images.dataset import TaskPairs, digests
from refusion.meta.rehearsal import rehearse
from refusion.metrics import METRICS
from refusion.metrics.listing import metric_tags
from refusion.runtime import cluster
from refusion.runtime.ending import same_form
from refusion.runtime.lifetime.claims import abandoned
from refusion.runtime.lifetime.interruption import terminated_is_interrupted
from refusion.runtime.progress_board import start_progress_board
from refusion.runtime.storage import Folder
from refusion.search.display import Standing, View, result_table
from refusion.search.manifest import SweepManifest, SweepRequest, open_manifest
from refusion.search.notes import notes
from refusion.search.objective.objective import Objective
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.options import PAUSING, PBT_KINDS
from refusion.search.results.conclude import Outcome, conclude
from refusion.search.results.held_out import TaskVal, split_val
from refusion.search.schedulers.factory import rungs
from refusion.search.state import SweepState
from refusion.search.suggest.earlier import known_trials
from refusion.search.suggest.queue import SuggestionQueue, trial_count
from refusion.search.trials.placement import Placement, find_placement
from refusion.search.trials.records import take_ended, to_go_on
from refusion.search.trials.sound import forget_damaged
from refusion.search.trials.trainable import rows_of
from refusion.search.trials.training import TrialPlan
from refusion.search.tuning import tune_trials
from refusion.tracking.database import upgrade_database
from refusion.tracking.failures import warn_of
from refusion.tracking.recorder import TaskRecorder, closed_on_failure
from refusion.tracking.runs import Status, close_abandoned
from refusion.tracking.store import open_store
from refusion.tracking.sweeps import start_sweep_run
from refusion.tracking.views.write import pages, write_views
from refusion.training.display.beginning import check_and_tell
from refusion.training.display.report import Ended, Report, written


@terminated_is_interrupted()
def run_sweep(request: SweepRequest, console: Console, report: Report | None = None) -> int:
    """Run a sweep, new or resumed; at the end ``report`` writes a page beside it.

    Returns:
        Exit status: 0, or 1 if no trial gave a result.

    Raises:
        UserError: the request or the data is at fault, or no trial fits on the cluster; nothing has been trained then.
    """
    manifest = open_manifest(request)
    with ExitStack() as held:
        return _run(request, manifest, console, held, report)


def _run(
    request: SweepRequest, manifest: SweepManifest, console: Console, held: ExitStack, report: Report | None
) -> int:
    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    if manifest.resumed:
        held.enter_context(manifest.claimed(say))
    objective = Objective.parse(manifest.options.objective, manifest.options.task)
    for note in rehearse(manifest.base):
        say(note)
    pairs = check_and_tell(manifest.base, console)
    found = {task.task: digests(task) for task in pairs}
    manifest.check_same_images(found)
    manifest.require_storage()
    if request.upgrade_store:
        console.print(upgrade_database(manifest.tracking_uri), markup=False, soft_wrap=True)
    experiment_id = open_store(manifest.tracking_uri, manifest.experiment)
    earlier = known_trials(manifest)
    trials = trial_count(manifest)
    placement = find_placement(cluster.connect(), manifest.options, manifest.base)
    base, share = manifest.base, manifest.options.held_out
    val = {task.task: split_val(task.val, share, base.validation, base.schedule.epochs) for task in pairs}

    if not manifest.resumed:
        # After all that may be refused, since the claim makes the folder.
        held.enter_context(manifest.claimed(say))
    for name in close_abandoned(manifest.tracking_uri, experiment_id, lambda uri: bool(abandoned(Folder(uri)))):
        say(f"run {name}: its job is gone; it is closed as killed in MLflow")
    parent = _parent_run(manifest, experiment_id, placement, trials)
    with closed_on_failure(manifest.tracking_uri, parent):
        manifest.save(found)
        state = SweepState(manifest, Scoreboard(objective), parent, experiment_id)
        varied = state.varied(manifest.base.model_dump(mode="json"))
        failed = write_views(manifest.tracking_uri, experiment_id, varied=varied, tags=metric_tags(METRICS))
        warn_of("the views", failed, say)
        state.records = manifest.journal.read() if manifest.resumed else {}
        interval = manifest.options.interval if manifest.options.scheduler in PBT_KINDS else None
        for line in forget_damaged(state.records, interval, manifest.options.task):
            say(line)
        going_on = to_go_on(state.records, interval)
        state.records |= going_on
        for record in take_ended(going_on, state.epochs):
            manifest.journal.write(record)
        for number, record in state.records.items():
            for epoch, numbers in record.history.items():
                state.scoreboard.add(number, epoch, numbers)
        if manifest.resumed:
            state.make_up()
        plan = _plan(manifest, pairs, val, placement)
        console.print(
            f"sweep {manifest.name}: {trials} trials and trial 0, {placement}, in {manifest.folder.uri}",
            markup=False,
            soft_wrap=True,
        )
        for note in [] if manifest.resumed else notes(manifest, val):
            say(note)
        if manifest.resumed:
            ended = sum(1 for record in state.records.values() if record.ended)
            console.print(f"{ended} trials have ended before, {len(going_on)} go on from their checkpoints")
        queue = SuggestionQueue(state, going_on, earlier, placement.concurrent)
        sweep = _Sweep(state, plan, placement, queue, trials, console, report)
        try:
            sweep.search()
            val_digests = {task: of_task["val"] for task, of_task in found.items()}
            outcome = conclude(state, val, val_digests, placement.threads, console, plan.data_folder)
        except KeyboardInterrupt:
            sweep.close("KILLED")
            # Where nobody listens any more, as after SIGHUP.
            with suppress(OSError):
                sweep.say_next()
            raise
        except BaseException:
            sweep.close("FAILED")
            raise
        return sweep.tell(outcome)


def _plan(
    manifest: SweepManifest, pairs: Sequence[TaskPairs], val: dict[str, TaskVal], placement: Placement
) -> TrialPlan:
    return TrialPlan(
        manifest.base.model_dump(mode="json"),
        manifest.space.plain(),
        {
            task.task: ([asdict(pair) for pair in task.train], [asdict(pair) for pair in val[task.task].seen])
            for task in pairs
        },
        pairs[0].folder,
        placement.threads,
    )


def _parent_run(manifest: SweepManifest, experiment_id: str, placement: Placement, trials: int) -> str:
    options = manifest.options
    base = manifest.base.model_dump(mode="json")
    searcher = options.search if options.search != "optuna" else f"optuna-{options.sampler}"
    epochs = manifest.base.schedule.epochs
    spec = {
        "name": manifest.name,
        "tasks": list(options.task),
        "trials": trials,
        "epochs": epochs,
        "space": manifest.space.plain(),
        "fixed": manifest.fixed,
        "base": base,
        "objective": options.objective,
        "searcher": searcher,
        "scheduler": options.scheduler,
        "seed": manifest.base.seed,
        "concurrency": placement.concurrent,
        "rungs": rungs(options.scheduler, epochs, options.grace, options.reduction),
        "options": options.model_dump(mode="json"),
    }
    tags = {
        "task": manifest.task,
        "searcher": searcher,
        "scheduler": options.scheduler,
        "objective": options.objective,
        "storage": manifest.folder.uri,
    }
    uri = manifest.tracking_uri
    return start_sweep_run(uri, experiment_id, manifest.name, base, tags, spec, resumed=manifest.resumed)


@dataclass
class _Sweep:
    state: SweepState
    plan: TrialPlan
    placement: Placement
    queue: SuggestionQueue
    trials: int
    console: Console
    report: Report | None

    def search(self) -> None:
        """Run all trials that have not ended."""
        if not self.queue.waiting and not self.queue.coming:
            return
        # It logs the loss of a process as an error with a traceback; that is said in a line.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        progress_board = start_progress_board()
        started = time.monotonic()

        def look() -> Standing:
            records, running = self.state.snapshot()
            rows = rows_of(progress_board) if self.console.is_terminal else {}
            gone = time.monotonic() - started
            return Standing(records, frozenset(running), rows, self.state.epochs, self.trials + 1, gone)

        with View(self.console, look, self.state.scoreboard.objective) as view:
            tune_trials(self.state, self.plan, self.placement, self.queue, progress_board, view)

    def tell(self, outcome: Outcome | None) -> int:
        """Record and print the results and what can be done next; the exit status."""
        records = list(self.state.records.values())
        failed = [record for record in records if record.ended.startswith("failed")]
        if outcome is not None:
            self.console.print(result_table(records, self.state.scoreboard.objective, outcome.best))
        for record in failed:
            self._line(f"trial {record.number}: {record.ended}")
        self._costs()
        if outcome is None:
            self._line("no trial has finished an epoch")
        elif outcome.comparison is not None:
            self._line(outcome.comparison.sentence(f"trial {outcome.best}"))
        else:
            self._line(f"trial {outcome.best} is the best; no comparison with trial 0: {outcome.why_none}")
        self.close("FINISHED" if outcome is not None else "FAILED")
        page = written(self.report, Ended.of(self.state.manifest, self.state.parent), self.console)
        self.say_next(outcome, page)
        return 0 if outcome is not None else 1

    def _costs(self) -> None:
        """Print the seconds that trials took besides their training: starting, checkpoints, waiting for Tune."""
        fresh = self.state.fresh
        first = [cost for number, cost in self.state.overheads.items() if number in fresh]
        later = [cost for number, cost in self.state.overheads.items() if number not in fresh]
        if self.state.manifest.options.scheduler in PAUSING or not later:
            return
        started = f"; the first {len(first)}, which started their processes, {max(first):.1f} s" if first else ""
        mean = sum(later) / len(later)
        self._line(f"a trial cost {mean:.1f} s beyond its training (at most {max(later):.1f} s){started}")

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def say_next(self, outcome: Outcome | None = None, page: str | None = None) -> None:
        """The last lines: how to look at the results, use them, and go on; ``page`` is the report, if there is one."""
        manifest = self.state.manifest
        data = [] if manifest.base.data == "builtin" else ["--data", manifest.base.data]
        where = [] if manifest.experiment == "refusion" else ["--experiment", manifest.experiment]
        report = [
            *job_command("analysis/sweep_report.py", "report"),
            "--sweep",
            manifest.name,
            *where,
            "--out",
            f"{manifest.name}-report",
        ]
        look = pages(manifest.tracking_uri, self.state.experiment_id, ["sweep"]).replace("\n", "\n  ")
        lines = [("look at it in MLflow", look), ("report", page or shlex.join(report))]
        if outcome is not None:
            train = [*same_form("jobs/train_all_tasks.py", "train"), "--config", outcome.best_file, *data]
            lines.append(("train with what was found", shlex.join(train)))
        resume = [*same_form("jobs/sweep.py", "sweep"), *manifest.resume_arguments()]
        lines.append(("resume this sweep", shlex.join(resume)))
        for label, command in lines:
            self._line(f"{label}:\n  {command}")

    def close(self, status: Status) -> None:
        """Close the sweep's run, and those of trials that were cut short."""
        self.state.close("interrupted")
        TaskRecorder(self.state.manifest.tracking_uri, self.state.parent).finish(status)
