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
from refusion.config.settings import BUILTIN, Settings
from refusion.home import job_command
from refusion.images.dataset import TaskPairs, digests, pair_digests
from refusion.metrics import METRICS
from refusion.metrics.listing import metric_tags
from refusion.runtime import cluster
from refusion.runtime.console import wrapped
from refusion.runtime.ending import described, next_steps, path_or_uri, same_form
from refusion.runtime.lifetime.claims import abandoned
from refusion.runtime.lifetime.interruption import terminated_is_interrupted
from refusion.runtime.progress_board import LastRows, start_progress_board, tell
from refusion.runtime.storage import Folder
from refusion.tracking import runs
from refusion.tracking.database import upgrade_database
from refusion.tracking.epochs import run_counts_from_zero
from refusion.tracking.failures import warn_of
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.registry import registered_as
from refusion.tracking.store import open_store
from refusion.tracking.views.write import describe_run, pages, write_views
from refusion.training.checkpoints import PICTURES, measured
from refusion.training.display import beginning, progress, results
from refusion.training.display.report import Ended, Report, written
from refusion.training.display.room import WithRoom
from refusion.training.epochs.sound import set_damaged_aside
from refusion.training.manifest import RunManifest, RunRequest, open_manifest
from refusion.training.recording import BEST, Recording
from refusion.training.task_run import FINAL, Outcome, run_task, usable_checkpoint


@dataclass(frozen=True)
class FinishedJob:
    """End of a job, whether or not its tasks succeeded.

    Attributes:
        run_ids: of the tasks' runs in MLflow, by task.
    """

    run_name: str
    folder: Folder
    tracking_uri: str
    run_ids: Mapping[str, str]
    outcomes: Sequence[Outcome]


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
    experiment_id = open_store(manifest.tracking_uri, manifest.experiment)
    warn_of("the views", write_views(manifest.tracking_uri, experiment_id, tags=metric_tags(METRICS)), say)
    there = cluster.connect()
    threads = settings.threads or there.default_threads(len(settings.tasks) * settings.worker_counts[-1])
    runs_at_once = there.concurrent_runs(settings, threads)
    settings = settings.model_copy(update={"threads": threads})
    if not manifest.resumed:  # After all that may be refused, since the claim makes the folder.
        held.enter_context(manifest.claimed(say))
    for name in runs.close_abandoned(manifest.tracking_uri, experiment_id, lambda uri: bool(abandoned(Folder(uri)))):
        say(f"run {name}: its job is gone; it is closed as killed in MLflow")

    parent = _parent_run(manifest, settings, experiment_id)
    job = _Job(manifest, settings, pairs, experiment_id, parent, threads, report)
    try:
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
        raise
    except BaseException:
        job.close("FAILED")
        raise
    run_ids = {task: recording.run_id for task, recording in job.recordings.items()}
    return FinishedJob(manifest.name, manifest.folder, manifest.tracking_uri, run_ids, outcomes)


def _parent_run(manifest: RunManifest, settings: Settings, experiment_id: str) -> str:
    plain = settings.model_dump(mode="json")
    found = runs.find_job_run(manifest.tracking_uri, experiment_id, manifest.name) if manifest.resumed else None
    if found is not None:
        runs.reopen_run(manifest.tracking_uri, found, plain)
        return found
    tags = {"kind": "train", "convention": "authors", runs.STORAGE_TAG: manifest.folder.uri}
    return runs.start_job_run(manifest.tracking_uri, experiment_id, manifest.name, plain, tags)


@dataclass
class _Job:
    manifest: RunManifest
    settings: Settings
    pairs: list[TaskPairs]
    experiment_id: str
    parent: str
    threads: int
    report: Report | None

    def __post_init__(self) -> None:
        self.recordings: dict[str, Recording] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.scores: list[dict[str, str | float]] = []
        self.closed = False
        self.page: str | None = None

    def run(self, at_once: int, console: Console) -> list[Outcome]:
        """Train at most so many tasks at a time, the others wait; shows them until all have ended."""
        self.progress_board = start_progress_board()
        waiting: SimpleQueue[TaskPairs] = SimpleQueue()
        for pairs in self.pairs:
            epochs = for_task(self.settings, pairs.task).schedule.epochs
            tell(self.progress_board, pairs.task, epochs=epochs)
            # All before the first begins: when a waiting task gets its turn, the store may be away for a moment.
            self.recordings[pairs.task] = self._recording(pairs)
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
        recording = self.recordings[pairs.task]
        try:
            settings = for_task(self.settings, pairs.task)
            outcome = run_task(settings, pairs, self.threads, recording, self.manifest.folder, self.progress_board)
        except Exception as error:  # noqa: BLE001 - one task must never take the others down
            outcome = Outcome(pairs.task, f"{type(error).__name__}: {error}", None)
            tell(self.progress_board, pairs.task, state="failed", message=outcome.error)
        # An interrupted job has closed the run already, and its trainings fail as Ray goes.
        if not self.closed:
            recorder = TaskRecorder(recording.tracking_uri, recording.run_id)
            recorder.finish(*(("FINISHED",) if outcome.succeeded else ("FAILED", {"error": outcome.error})))
        return outcome

    def _recording(self, pairs: TaskPairs) -> Recording:
        uri, settings = self.manifest.tracking_uri, for_task(self.settings, pairs.task)
        damaged = set_damaged_aside(self.manifest.folder / pairs.task) if self.manifest.resumed else []
        run_name = f"{pairs.task} · {self.manifest.name}"
        plain = settings.model_dump(mode="json")
        tags = {"kind": "task", "convention": "authors"}
        run_id = runs.start_task_run(uri, self.experiment_id, self.parent, pairs.task, run_name, plain, tags)
        recorder = TaskRecorder(uri, run_id)
        found = digests(pairs)
        recorder.dataset(pairs.task, found["train"], pairs.folder, len(pairs.train), "training")
        recorder.dataset(pairs.task, found["val"], pairs.folder, len(pairs.val), "validation")
        for listed, file in ((pairs.skipped, "skipped_pairs.txt"), (pairs.notes, "notes_on_pairs.txt")):
            if listed:
                runs.log_text(uri, run_id, "".join(f"{one.file}: {one.what}\n" for one in listed), file)
        recording = Recording(
            pairs.task,
            uri,
            run_id,
            (self.manifest.folder / pairs.task).uri,
            settings.schedule.epochs,
            settings.validation.best_by,
            pairs.val,
            "builtin" if settings.data == BUILTIN else "folder",
        )
        if self.manifest.resumed:
            recording = recording.resumed(self.progress_board)
            for note in damaged:
                self.progress_board.note.remote(pairs.task, note)
            if run_counts_from_zero(uri, run_id):
                note = "MLflow goes on to count this run's epochs from 0, as an earlier version began it"
                self.progress_board.note.remote(pairs.task, note)
        return recording

    def tell(self, outcomes: list[Outcome], console: Console) -> None:
        """Record and print the results and what can be done next."""
        ended = [self._result(outcome) for outcome in outcomes]
        failed = [outcome for outcome in outcomes if not outcome.succeeded]
        say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
        console.print(results.result_table(ended))
        for result in ended:
            say(results.ending(result))
            where = registered_as(self.manifest.tracking_uri, result.task, self.recordings[result.task].run_id)
            if where:
                say(f"{result.task}: registered as {where}")
        uri = self.manifest.tracking_uri
        summary = {result.task: results.summary(result) for result in ended}
        self.scores = results.result_rows(ended)
        warn_of("the summary", runs.log_results(uri, self.parent, summary, self.scores), say)
        shown = [self.recordings[result.task].run_id for result in ended]
        warn_of("the views", write_views(uri, self.experiment_id, pictures_of=shown), say)
        self.close("FAILED" if failed else "FINISHED")
        self.page = written(self.report, Ended.of(self.manifest, self.parent), console)
        self.say_next(console)

    def _result(self, outcome: Outcome) -> results.Result:
        settings = for_task(self.settings, outcome.task)
        folder = self.manifest.folder / outcome.task
        last, best = ({} if outcome.final is None else measured(folder / kind) for kind in (FINAL, BEST))
        epochs, best_by = settings.schedule.epochs, settings.validation.best_by
        return results.Result(outcome.task, outcome.error, epochs, best_by, best or last, last)

    def say_next(self, console: Console) -> None:
        """Print the job's last lines: where its pictures and its page are, and the commands that go on from here."""
        uri, say = self.manifest.tracking_uri, partial(console.print, markup=False, highlight=False, soft_wrap=True)
        look = pages(uri, self.experiment_id, ("tasks", "pictures"), self.parent)
        folders = ((pairs, usable_checkpoint(self.manifest.folder / pairs.task)) for pairs in self.pairs)
        found = next(((pairs, folder) for pairs, folder in folders if folder is not None), None)
        unfinished = sum(outcome.succeeded for outcome in self.outcomes.values()) < len(self.pairs)
        resume = [*same_form("jobs/train_all_tasks.py", "train"), *self.manifest.resume_arguments()]
        steps = {
            "report (this run beside earlier ones)": self.page,
            "pictures": path_or_uri((found[1] / PICTURES).uri) if found and (found[1] / PICTURES).exists() else None,
            "look at it in MLflow (scores, pictures, this run)": look,
            "fuse with this model (here the val pictures)": self._fuse(*found) if found else None,
            "resume this run": resume if unfinished else None,
        }
        lines = next_steps(steps)
        for line in lines:
            say(line)
        warn_of("the description", describe_run(uri, self.parent, described(self.scores, lines)), say)

    def _fuse(self, pairs: TaskPairs, checkpoint: Folder) -> list[str]:
        sources = [word for side in "ab" for word in (f"--{side}", str(Path(getattr(pairs.val[0], side)).parent))]
        of = ["--checkpoint", path_or_uri(checkpoint.uri), "--task", pairs.task]
        return [*job_command("jobs/fuse.py", "fuse"), *of, *sources, "--out", "fused"]

    def close(self, status: runs.Status) -> None:
        """Close the parent run, and those of tasks that were cut short."""
        uri, self.closed = self.manifest.tracking_uri, True
        for task, recording in self.recordings.items():
            if task not in self.outcomes:
                TaskRecorder(uri, recording.run_id).finish(status)
        TaskRecorder(uri, self.parent).finish(status)
