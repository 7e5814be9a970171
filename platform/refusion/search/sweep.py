"""A sweep from its request to its result: check everything first, search, record, compare, and tell how it ended."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console

from refusion.errors import UserError
from refusion.home import installed_command
from refusion.images.dataset import TaskPairs, digests
from refusion.runtime import cluster
from refusion.runtime.interruption import terminated_is_interrupted
from refusion.runtime.progress_board import start_board
from refusion.search.display import Standing, View, result_table
from refusion.search.manifest import Ledger, SweepRequest, open_ledger
from refusion.search.objective.objective import Objective, standings
from refusion.search.objective.scoreboard import Judge
from refusion.search.options import PAUSING, POPULATION
from refusion.search.results import conclude as finale
from refusion.search.results.held_out import TaskVal, split_val
from refusion.search.schedulers.factory import rungs
from refusion.search.state import SweepState
from refusion.search.suggest.queue import Chooser, trial_count
from refusion.search.suggest.samplers import Known
from refusion.search.trials.placement import Room, find_room
from refusion.search.trials.records import to_go_on
from refusion.search.trials.trainable import rows_of
from refusion.search.trials.training import TrialPlan
from refusion.search.tuning import tune_trials
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import Status
from refusion.tracking.store import open_store, ui_command
from refusion.tracking.sweeps import read_sweep, start_sweep_run
from refusion.training.pair_check import check_with_progress


def run_sweep(request: SweepRequest, console: Console) -> int:
    """Run a sweep, new or resumed.

    Returns:
        Exit status: 0, or 1 if no trial gave a result.

    Raises:
        UserError: the request or the data is at fault, or the cluster has no room; nothing has been trained then.
    """
    ledger = open_ledger(request)
    objective = Objective.parse(ledger.options.objective, ledger.options.task)
    pairs = check_with_progress(ledger.base, console)
    found = {task.task: digests(task) for task in pairs}
    ledger.check_same_images(found)
    experiment_id = open_store(ledger.tracking_uri, ledger.experiment)
    earlier = _earlier(ledger)
    trials = trial_count(ledger)
    room = find_room(cluster.connect(), ledger.options, ledger.base)
    base, share = ledger.base, ledger.options.held_back
    val = {task.task: split_val(task.val, share, base.validation, base.schedule.epochs) for task in pairs}

    parent = _parent_run(ledger, experiment_id, room, trials)
    ledger.save(found)
    state = SweepState(ledger, Judge(objective), parent, experiment_id)
    state.records = ledger.journal.read() if ledger.resumed else {}
    going_on = to_go_on(state.records, ledger.options.interval if ledger.options.scheduler in POPULATION else None)
    state.records |= going_on
    for number, record in state.records.items():
        for epoch, numbers in record.history.items():
            state.judge.add(number, epoch, numbers)
    if ledger.resumed:
        state.make_up()
    plan = _plan(ledger, pairs, val, room)
    console.print(
        f"sweep {ledger.name}: {trials} trials and the default settings, {room.concurrent} at a time, "
        f"{room.threads} thread{'s' if room.threads > 1 else ''} each, in {ledger.folder.uri}",
        markup=False,
        soft_wrap=True,
    )
    if ledger.resumed:
        ended = sum(1 for record in state.records.values() if record.ended)
        console.print(f"{ended} trials have ended before, {len(going_on)} go on from their checkpoints")
    chooser = Chooser(state, going_on, earlier, room.concurrent)
    sweep = _Sweep(state, plan, room, chooser, trials, console)
    try:
        with terminated_is_interrupted():
            sweep.search()
            val_digests = {task: of_task["val"] for task, of_task in found.items()}
            outcome = finale.conclude(state, val, val_digests, room.threads, console)
    except KeyboardInterrupt:
        sweep.close("KILLED")
        sweep.say_next()
        raise
    except BaseException:
        sweep.close("FAILED")
        raise
    return sweep.tell(outcome)


def _plan(ledger: Ledger, pairs: Sequence[TaskPairs], val: dict[str, TaskVal], room: Room) -> TrialPlan:
    return TrialPlan(
        ledger.base.model_dump(mode="json"),
        ledger.space.plain(),
        {
            task.task: ([asdict(pair) for pair in task.train], [asdict(pair) for pair in val[task.task].seen])
            for task in pairs
        },
        pairs[0].folder,
        room.threads,
    )


def _parent_run(ledger: Ledger, experiment_id: str, room: Room, trials: int) -> str:
    options = ledger.options
    base = ledger.base.model_dump(mode="json")
    searcher = options.search if options.search != "optuna" else f"optuna-{options.sampler}"
    epochs = ledger.base.schedule.epochs
    spec = {
        "name": ledger.name,
        "tasks": list(options.task),
        "trials": trials,
        "epochs": epochs,
        "space": ledger.space.plain(),
        "base": base,
        "objective": options.objective,
        "searcher": searcher,
        "scheduler": options.scheduler,
        "seed": ledger.base.seed,
        "concurrency": room.concurrent,
        "rungs": rungs(options.scheduler, epochs, options.grace, options.reduction),
        "options": options.model_dump(mode="json"),
    }
    tags = {
        "task": ledger.task,
        "searcher": searcher,
        "scheduler": options.scheduler,
        "objective": options.objective,
        "storage": ledger.folder.uri,
    }
    uri = ledger.tracking_uri
    return start_sweep_run(uri, experiment_id, ledger.name, base, tags, spec, resumed=ledger.resumed)


def _earlier(ledger: Ledger) -> list[Known]:
    """What earlier sweeps have learnt: each trial with its standing within its own sweep.

    Raises:
        UserError: there is no such sweep, or none of its trials lies in this sweep's space.
    """
    known: list[Known] = []
    for name in ledger.options.warm_start:
        sweep = read_sweep(ledger.tracking_uri, ledger.experiment, name)
        objective = Objective.parse(ledger.options.objective, sweep.spec["tasks"])
        scores = standings(objective, {trial.number: trial.history for trial in sweep.trials if trial.history})
        fitting = [
            Known(trial.values, scores[trial.number], "finished")
            for trial in sweep.trials
            if trial.number in scores and trial.values and ledger.space.contains(trial.values)
        ]
        if not fitting:
            raise UserError(
                f"--warm-start {name}: none of its {len(sweep.trials)} trials lies in this sweep's space; "
                "search the same parameters and ranges, or leave it out"
            )
        known += fitting
    return known


@dataclass
class _Sweep:
    state: SweepState
    plan: TrialPlan
    room: Room
    chooser: Chooser
    trials: int
    console: Console

    def search(self) -> None:
        """Run all trials that have not ended."""
        if not self.chooser.waiting and not self.chooser.coming:
            return
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        board = start_board()
        started = time.monotonic()

        def look() -> Standing:
            records, running = self.state.snapshot()
            rows = rows_of(board) if self.console.is_terminal else {}
            gone = time.monotonic() - started
            return Standing(records, frozenset(running), rows, self.state.epochs, self.trials + 1, gone)

        with View(self.console, look, self.state.judge.objective) as view:
            tune_trials(self.state, self.plan, self.room, self.chooser, board, view)

    def tell(self, outcome: finale.Outcome | None) -> int:
        """Record and print the results and what can be done next; the exit status."""
        records = list(self.state.records.values())
        failed = [record for record in records if record.ended.startswith("failed")]
        if outcome is not None:
            self.console.print(result_table(records, self.state.judge.objective, outcome.best))
        for record in failed:
            self._line(f"trial {record.number}: {record.ended}")
        self._costs()
        if outcome is None:
            self._line("no trial has finished an epoch")
        elif outcome.comparison is not None:
            self._line(outcome.comparison.sentence(f"trial {outcome.best}"))
        else:
            self._line(f"trial {outcome.best} is the best; no comparison with the default settings: {outcome.why_none}")
        self.close("FINISHED" if outcome is not None else "FAILED")
        self.say_next(outcome)
        return 0 if outcome is not None else 1

    def _costs(self) -> None:
        """What trials took besides their training: starting, checkpoints, waiting for Tune."""
        fresh = self.state.fresh
        first = [cost for number, cost in self.state.overheads.items() if number in fresh]
        later = [cost for number, cost in self.state.overheads.items() if number not in fresh]
        if self.state.ledger.options.scheduler in PAUSING or not later:
            return
        started = f"; the first {len(first)}, which started their processes, {max(first):.1f} s" if first else ""
        mean = sum(later) / len(later)
        self._line(f"a trial cost {mean:.1f} s beyond its training (at most {max(later):.1f} s){started}")

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def say_next(self, outcome: finale.Outcome | None = None) -> None:
        """The last lines: how to look at the results, use them, and go on."""
        ledger, python = self.state.ledger, installed_command("python")
        data = [] if ledger.base.data == "builtin" else ["--data", ledger.base.data]
        where = [] if ledger.experiment == "refusion" else ["--experiment", ledger.experiment]
        report = [python, "analysis/sweep_report.py", "--sweep", ledger.name, *where, "--out", f"{ledger.name}-report"]
        lines = [("open the MLflow UI", ui_command(ledger.tracking_uri)), ("report", shlex.join(report))]
        if outcome is not None:
            train = [python, "jobs/train_all_tasks.py", "--config", outcome.best_file, *data]
            lines.append(("train with what was found", shlex.join(train)))
        lines.append(("resume this sweep", shlex.join([python, "jobs/sweep.py", *ledger.resume_arguments()])))
        for label, command in lines:
            self._line(f"{label}:\n  {command}")

    def close(self, status: Status) -> None:
        """Close the sweep's run, and those of trials that were cut short."""
        self.state.close("interrupted")
        TaskRecorder(self.state.ledger.tracking_uri, self.state.parent).finish(status)
