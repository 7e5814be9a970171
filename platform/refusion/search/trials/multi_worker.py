"""A trial of several workers: Ray Train inside Ray Tune. The trial itself is a small driver, its workers train."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from refusion.errors import DamagedCheckpointError, TrainingDivergedError, UserError
from refusion.images.dataset import make_available
from refusion.runtime.distributed import Shard, use_threads
from refusion.runtime.failures import cause_of, lasting_failure, reason_of
from refusion.runtime.ray_internals import WORKER_POLL_SECONDS, WORKER_START_SECONDS, torch_trainer
from refusion.runtime.storage import Folder
from refusion.runtime.worker_environment import worker_environment
from refusion.search.trials.records import trial_name
from refusion.search.trials.sound import fault_of_trial
from refusion.search.trials.trainable import EPOCH, NUMBER, PROBLEM, START, VALUES, ProgressReporter
from refusion.search.trials.training import TrialCache, TrialPlan, TrialTraining
from refusion.training.epochs.sound import set_damaged_aside

# Ray shows on the sweep's console what a trial's process logs as a warning.
_LOG = logging.getLogger(__name__)
# Key of Tune's results under which a trial of several workers reports its checkpoint's folder.
CHECKPOINT_PATH = "checkpoint_path"
# Shown while Ray Train waits for a trial's workers' resources.
WAITING = "waiting for resources"
_RAY_TRAINS_SETTINGS = {
    WORKER_POLL_SECONDS: "0.5",
    # While the workers' resources are taken by others it prints a traceback this often; the sweep says so in a line.
    WORKER_START_SECONDS: "3600",
}


@dataclass(frozen=True)
class MultiWorkerPlan:
    """Plan of the trials of several workers.

    Attributes:
        workers: of each trial.
        storage: folder of the sweep's checkpoints, seen by all nodes.
        attempt: which part of the sweep this is; Ray Train would go on with an older run of the same name.
        progress_board: the actor that shows what trials do.
        decisions: the actor that knows which trials go on.
        decision_epochs: the epochs after which a trial may be stopped.
    """

    workers: int
    storage: str
    attempt: str
    progress_board: Any
    decisions: Any
    decision_epochs: Collection[int]

    def goes_on(self, number: int, epoch: int) -> bool:
        """True where a trial goes on after an epoch; waits for the scheduler where it may say no."""
        return epoch not in self.decision_epochs or bool(ray.get(self.decisions.get.remote(number, epoch)))


class _Reports(TuneReportCallback):
    """Passes the epochs on to Tune, and says where the trial must wait for its workers' resources again."""

    def __init__(self, worker_plan: MultiWorkerPlan, number: int) -> None:
        super().__init__()
        self.worker_plan, self.number = worker_plan, number

    def after_exception(self, run_context: Any, worker_exceptions: Any) -> None:  # noqa: ARG002
        """Workers were lost; Ray Train tries again, unless that cannot mend it.

        Raises:
            ray.train.ControllerError: it cannot.
        """
        if (lasting := lasting_failure(worker_exceptions)) is not None:
            raise ray.train.ControllerError(lasting)
        self.worker_plan.progress_board.update.remote(str(self.number), phase=WAITING)


def multi_worker_trial(config: dict[str, Any], plan: TrialPlan, worker_plan: MultiWorkerPlan) -> None:
    """One trial as Tune's function: runs Ray Train to its end and passes each epoch's report on to Tune.

    Args:
        config: the trial's number, values and the checkpoint to start from.
        plan: what all trials share.
        worker_plan: how such trials are run.
    """
    os.environ.update(_RAY_TRAINS_SETTINGS)
    worker_plan.progress_board.update.remote(str(config[NUMBER]), phase=WAITING)
    try:
        while not _trained(config, plan, worker_plan):
            pass
    except (ray.train.TrainingFailedError, ray.exceptions.RayError, UserError) as failure:
        # Ray Train has tried again as often as it was told; Tune does so only where this process is lost.
        tune.report({NUMBER: config[NUMBER], EPOCH: 0, PROBLEM: f"failed: {reason_of(failure)}"})


def _trained(config: dict[str, Any], plan: TrialPlan, worker_plan: MultiWorkerPlan) -> bool:
    """Train until the end, or until a checkpoint turns out to be damaged, which is then set aside; true at the end.

    Raises:
        UserError: all its checkpoints are damaged.
        ray.train.TrainingFailedError: trying again has not helped.
    """
    try:
        _trainer(config, plan, worker_plan).fit()
    except ray.train.TrainingFailedError as failure:
        if not isinstance(cause_of(failure), DamagedCheckpointError):
            raise
        folder = Folder(worker_plan.storage) / _run_name(config, worker_plan)
        told = set_damaged_aside(folder, lambda checkpoint: fault_of_trial(checkpoint, plan.pairs.keys()))
        if not told:
            raise
        for line in told:
            _LOG.warning("trial %d: %s", config[NUMBER], line)
        return False
    return True


def _run_name(config: dict[str, Any], worker_plan: MultiWorkerPlan) -> str:
    return f"{worker_plan.attempt}-{trial_name(config[NUMBER])}"


def _trainer(config: dict[str, Any], plan: TrialPlan, worker_plan: MultiWorkerPlan) -> ray.train.torch.TorchTrainer:
    gpu = bool(plan.base["gpu"])
    return torch_trainer(
        train_worker,
        train_loop_config={"config": config, "plan": plan, "worker_plan": worker_plan},
        torch_config=ray.train.torch.TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=worker_plan.workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": plan.threads} | ({"GPU": 1} if gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=_run_name(config, worker_plan),
            **Folder(worker_plan.storage).for_ray(),
            failure_config=ray.train.FailureConfig(max_failures=int(plan.base["retries"])),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            callbacks=[_Reports(worker_plan, config[NUMBER])],
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
            worker_runtime_env={"env_vars": worker_environment(plan.threads)},
        ),
    )


def train_worker(loop_config: dict[str, Any]) -> None:
    """Trains as one worker of a trial: its share of every batch, a report after each epoch."""
    # Ray Train prints every report in full, through a logger that only this level reaches.
    logging.getLogger().setLevel(logging.WARNING)
    config, plan, worker_plan = loop_config["config"], loop_config["plan"], loop_config["worker_plan"]
    use_threads(plan.threads)
    make_available(str(plan.base["data"]), Path(plan.data_folder))
    context = ray.train.get_context()
    shard = Shard(context.get_world_rank(), context.get_world_size())
    device = ray.train.torch.get_device() if plan.base["gpu"] else torch.device("cpu")
    number = {NUMBER: config[NUMBER]}
    reporter = ProgressReporter(worker_plan.progress_board if shard.rank == 0 else None, config[NUMBER])
    reporter.says("starting")
    training: TrialTraining | None = None
    try:
        training = TrialTraining(TrialCache(plan), config[VALUES], shard, device, reporter)
        goes_on = not _load(training, config, number) or worker_plan.goes_on(config[NUMBER], training.epoch)
        while goes_on and not training.done:
            _report_epoch(training, shard, number)
            goes_on = worker_plan.goes_on(config[NUMBER], training.epoch)
    except TrainingDivergedError as error:
        # On all workers at the same step; what only one of them meets is raised, which ends the others too.
        ray.train.report({**number, EPOCH: training.epoch if training else 0, PROBLEM: f"diverged: {error}"})


def _load(training: TrialTraining, config: dict[str, Any], number: dict[str, Any]) -> bool:
    """Put the newest checkpoint into a training, else the one that the trial starts from, if there is one.

    Returns:
        True for the newest. Its epoch is reported again: what was lost may have taken the report, or the decision on
        it, along.

    Raises:
        DamagedCheckpointError: the newest cannot be gone on from.
    """
    newest = ray.train.get_checkpoint()
    found = newest or (ray.train.Checkpoint(**Folder(config[START]).as_checkpoint()) if config.get(START) else None)
    if found is None:
        return False
    try:
        with found.as_directory() as folder:
            training.load(Path(folder))
            numbers = training.saved_numbers(Path(folder))
    except (UserError, OSError) as error:
        if newest is None:
            raise
        raise DamagedCheckpointError(str(error)) from error
    if newest is not None:
        ray.train.report({**number, EPOCH: training.epoch, **numbers, CHECKPOINT_PATH: newest.path})
    return newest is not None


def _report_epoch(training: TrialTraining, shard: Shard, number: dict[str, Any]) -> None:
    started = time.monotonic()
    numbers = training.train_epoch()
    report = {**number, EPOCH: training.epoch, **numbers, "seconds": time.monotonic() - started}
    with tempfile.TemporaryDirectory() as folder:
        if shard.rank == 0:
            training.save(Path(folder))
        ray.train.report(
            report,
            ray.train.Checkpoint.from_directory(folder) if shard.rank == 0 else None,
            checkpoint_dir_name=f"epoch_{training.epoch:05d}",
        )
