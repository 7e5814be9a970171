"""Job of all tasks: check everything first, train side by side where they fit, record, and report the end."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from rich.console import Console

from refusion.config.layers import for_task
from refusion.config.settings import Settings
from refusion.home import job_command
from refusion.images.dataset import TaskPairs, digests, pair_digests
from refusion.runtime import cluster
from refusion.runtime.console import wrapped
from refusion.runtime.ending import described, next_steps, path_or_uri, same_form
from refusion.runtime.lifetime.interruption import terminated_is_interrupted
from refusion.runtime.progress_board import LastRows, start_progress_board, tell
from refusion.runtime.storage import Folder
from refusion.tracking import runs
from refusion.tracking.database import upgrade_database
from refusion.training.checkpoints import PICTURES, measured
from refusion.training.display import beginning, progress, results
from refusion.training.display.report import Ended, Report, written
from refusion.training.display.room import WithRoom
from refusion.training.manifest import RunManifest, RunRequest, open_manifest
from refusion.training.record.job_record import JOB, JobRecord
from refusion.training.record.recording import BEST
from refusion.training.task_run import FINAL, Outcome, run_task, usable_checkpoint


@dataclass(frozen=True)
class FinishedJob:
    """End of a job, whether or not its tasks succeeded.

    Attributes:
        run_ids: of the tasks' runs in MLflow, by task; empty where that has not begun them.
        waiting: number of writes that MLflow does not have yet.
    """

    run_name: str
    folder: Folder
    tracking_uri: str
    run_ids: Mapping[str, str]
    outcomes: Sequence[Outcome]
    waiting: int = 0


def train_all(request: RunRequest, console: Console, report: Report | None = None) -> int:
    """Trains as `run_job`.

    Returns:
        Exit status: 0 if all tasks succeeded, 1 if one failed.
    """
    return 0 if all(outcome.succeeded for outcome in run_job(request, console, report).outcomes) else 1


@terminated_is_interrupted()
def run_job(request: RunRequest, console: Console, report: Report | None = None) -> FinishedJob:
    """Train all tasks of a request, new or resumed; at the end ``report`` writes a page beside the run.

    Raises:
        UserError: the request or the data is at fault; nothing has been trained or recorded then.
    """
    manifest = open_manifest(request)
    with ExitStack() as held:
        return _run(request, manifest, console, held, report)


def _run(
    request: RunRequest, manifest: RunManifest, console: Console, held: ExitStack, report: Report | None
) -> FinishedJob:
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    if manifest.resumed:
        held.enter_context(manifest.claimed(say))
    settings = manifest.settings
    if manifest.lacking:
        say(beginning.lacking_line(manifest.lacking, settings))
    for note in beginning.rehearsal_notes(settings):
        say(note)
    pairs = beginning.check_and_tell(settings, console)
    each = {task.task: pair_digests(task) for task in pairs}
    of_splits = {task.task: digests(task) for task in pairs}
    for line in manifest.check_same_images(of_splits, each, request.allow_changed_data):
        say(line)
    manifest.require_storage()
    if request.upgrade_store:
        say(upgrade_database(manifest.tracking_uri))
    record = JobRecord(manifest, say)
    record.connect()
    there = cluster.connect()
    threads = settings.threads or there.default_threads(len(settings.tasks) * settings.worker_counts[-1])
    runs_at_once = there.concurrent_runs(settings, threads)
    settings = settings.model_copy(update={"threads": threads})
    if not manifest.resumed:  # After all that may be refused, since the claim makes the folder.
        held.enter_context(manifest.claimed(say))
    job = _Job(manifest, settings, pairs, record, threads, report)
    try:
        record.begin(settings)
        manifest.save(settings, of_splits, each)
        at_once = min(runs_at_once, len(pairs))
        for plan in beginning.plan_lines(settings, pairs):
            for line in wrapped(plan, console.width):
                console.print(line, markup=False, highlight=False)
        some = f"{len(pairs)} task{'' if len(pairs) == 1 else 's'}, {at_once} at a time"
        say(f"run {manifest.name}: {some}, in {manifest.folder.uri}")
        outcomes = job.run(at_once, console)
        job.tell(outcomes, console)
    except KeyboardInterrupt:
        job.close("KILLED")
        # Where nobody listens any more, as after SIGHUP.
        with suppress(OSError):
            job.say_next(console)
        record.close(interrupted=True)
        raise
    except BaseException:
        job.close("FAILED")
        record.close(interrupted=True)
        raise
    record.close()
    run_ids = {task: record.run_id(task) for task in record.recordings}
    return FinishedJob(manifest.name, manifest.folder, manifest.tracking_uri, run_ids, outcomes, record.waiting)


@dataclass
class _Job:
    manifest: RunManifest
    settings: Settings
    pairs: list[TaskPairs]
    record: JobRecord
    threads: int
    report: Report | None

    def __post_init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.scores: list[dict[str, str | float]] = []
        self.closed = False
        self.page: str | None = None

    def run(self, at_once: int, console: Console) -> list[Outcome]:
        """Train at most so many tasks at a time, the others wait; shows them until all have ended."""
        self.progress_board = start_progress_board()
        waiting: SimpleQueue[TaskPairs] = SimpleQueue()
        for pairs in self.pairs:
            settings = for_task(self.settings, pairs.task)
            tell(self.progress_board, pairs.task, epochs=settings.schedule.epochs)
            self.record.begin_task(pairs, settings, self.progress_board)
            waiting.put(pairs)

        def work() -> None:
            while True:
                try:
                    pairs = waiting.get_nowait()
                except Empty:
                    return
                self.outcomes[pairs.task] = self._one(pairs)

        # Daemons: an interrupted job must not wait for trainers that block in Ray.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        rows = WithRoom(LastRows(self.progress_board), self.settings, self.threads)
        progress.watch(console, rows, lambda: any(thread.is_alive() for thread in threads))
        return [self.outcomes[pairs.task] for pairs in self.pairs]

    def _one(self, pairs: TaskPairs) -> Outcome:
        recording = self.record.recordings[pairs.task]
        try:
            settings = for_task(self.settings, pairs.task)
            outcome = run_task(settings, pairs, self.threads, recording, self.manifest.folder, self.progress_board)
        except Exception as error:  # noqa: BLE001 - one task must never take the others down
            outcome = Outcome(pairs.task, f"{type(error).__name__}: {error}", None)
            tell(self.progress_board, pairs.task, state="failed", message=outcome.error)
        # An interrupted job has closed the run already, and its trainings fail as Ray goes.
        if not self.closed:
            recorder = self.record.recorder(pairs.task)
            recorder.finish(*(("FINISHED",) if outcome.succeeded else ("FAILED", {"error": outcome.error})))
        return outcome

    def tell(self, outcomes: list[Outcome], console: Console) -> None:
        """Record and print the results and what can be done next."""
        ended = [self._result(outcome) for outcome in outcomes]
        failed = [outcome for outcome in outcomes if not outcome.succeeded]
        say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        console.print(results.result_table(ended))
        settled = self.record.settled()
        for result in ended:
            say(results.ending(result))
            where = self.record.registered(result.task)
            if where:
                say(f"{result.task}: registered as {where}")
        self.scores = results.result_rows(ended)
        self.record.results({result.task: results.summary(result) for result in ended}, self.scores)
        self.close("FAILED" if failed else "FINISHED")
        if settled and self.record.settled():
            self.page = written(self.report, Ended.of(self.manifest, self.record.run_id(JOB)), console)
        self.say_next(console)

    def _result(self, outcome: Outcome) -> results.Result:
        settings = for_task(self.settings, outcome.task)
        folder = self.manifest.folder / outcome.task
        last, best = ({} if outcome.final is None else measured(folder / kind) for kind in (FINAL, BEST))
        epochs, best_by = settings.schedule.epochs, settings.validation.best_by
        return results.Result(outcome.task, outcome.error, epochs, best_by, best or last, last)

    def say_next(self, console: Console) -> None:
        """Print the job's last lines: where its pictures and its page are, and the commands that go on from here."""
        say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        folders = ((pairs, usable_checkpoint(self.manifest.folder / pairs.task)) for pairs in self.pairs)
        found = next(((pairs, folder) for pairs, folder in folders if folder is not None), None)
        unfinished = sum(outcome.succeeded for outcome in self.outcomes.values()) < len(self.pairs)
        resume = [*same_form("jobs/train_all_tasks.py", "train"), *self.manifest.resume_arguments()]
        steps = {
            "report (this run beside earlier ones)": self.page,
            "pictures": path_or_uri((found[1] / PICTURES).uri) if found and (found[1] / PICTURES).exists() else None,
            "look at it in MLflow (scores, pictures, this run)": self.record.pages(),
            "fuse with this model (here the val pictures)": self._fuse(*found) if found else None,
            "resume this run": resume if unfinished else None,
        }
        lines = next_steps(steps)
        for line in lines:
            say(line)
        self.record.describe(described(self.scores, lines))

    def _fuse(self, pairs: TaskPairs, checkpoint: Folder) -> list[str]:
        sources = [word for side in "ab" for word in (f"--{side}", str(Path(getattr(pairs.val[0], side)).parent))]
        of = ["--checkpoint", path_or_uri(checkpoint.uri), "--task", pairs.task]
        return [*job_command("jobs/fuse.py", "fuse"), *of, *sources, "--out", "fused"]

    def close(self, status: runs.Status) -> None:
        """Close the parent run, and those of tasks that were cut short."""
        self.closed = True
        self.record.finish(status, [task for task in self.record.recordings if task not in self.outcomes])
