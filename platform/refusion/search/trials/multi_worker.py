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

from refusion.errors import UserError
from refusion.images.dataset import make_available
from refusion.runtime.distributed import Shard, use_threads
from refusion.runtime.failures import reason_of
from refusion.runtime.worker_environment import worker_environment
from refusion.search.trials.records import trial_name
from refusion.search.trials.trainable import EPOCH, NUMBER, PROBLEM, START, VALUES, Teller
from refusion.search.trials.training import Shelf, TrialPlan, TrialTraining
from refusion.training.reports import TrainingDivergedError

# Where Tune's results say where the checkpoint of a nested trial is.
CHECKPOINT_PATH = "checkpoint_path"
# What a trial's row says while Ray Train waits for its workers' places.
WAITING = "waiting for room"
_RAY_TRAINS_SETTINGS = {
    # It looks at its workers' reports this often (seconds); by default every 2 s, which each verdict would cost.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # While the workers' places are taken by others it prints a traceback this often; the sweep says so in a line.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "3600",
}


@dataclass(frozen=True)
class Nest:
    """How trials of several workers are run.

    Attributes:
        workers: of each trial.
        storage: folder of the sweep's checkpoints, seen by all nodes.
        attempt: which part of the sweep this is; Ray Train would go on with an older run of the same name.
        board: the actor that shows what trials do.
        verdicts: the actor that knows which trials go on.
        judged: the epochs after which a trial may be stopped.
    """

    workers: int
    storage: str
    attempt: str
    board: Any
    verdicts: Any
    judged: Collection[int]

    def goes_on(self, number: int, epoch: int) -> bool:
        """Whether a trial goes on after an epoch; waits for the scheduler where it may say no."""
        return epoch not in self.judged or bool(ray.get(self.verdicts.get.remote(number, epoch)))


class _Reports(TuneReportCallback):
    """Passes the epochs on to Tune, and says where the trial must wait for its workers' places again."""

    def __init__(self, nest: Nest, number: int) -> None:
        super().__init__()
        self.nest, self.number = nest, number

    def after_exception(self, run_context: Any, worker_exceptions: Any) -> None:  # noqa: ARG002
        """Workers were lost; Ray Train tries again."""
        self.nest.board.update.remote(str(self.number), phase=WAITING)


def nested_trial(config: dict[str, Any], plan: TrialPlan, nest: Nest) -> None:
    """One trial as Tune's function: runs Ray Train to its end and passes each epoch's report on to Tune.

    Args:
        config: the trial's number, values and the checkpoint to start from.
        plan: what all trials share.
        nest: how such trials are run.
    """
    gpu = bool(plan.base["gpu"])
    os.environ.update(_RAY_TRAINS_SETTINGS)
    nest.board.update.remote(str(config[NUMBER]), phase=WAITING)
    trainer = ray.train.torch.TorchTrainer(
        train_nested,
        train_loop_config={"config": config, "plan": plan, "nest": nest},
        torch_config=ray.train.torch.TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=nest.workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": plan.threads} | ({"GPU": 1} if gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=f"{nest.attempt}-{trial_name(config[NUMBER])}",
            storage_path=nest.storage,
            failure_config=ray.train.FailureConfig(max_failures=int(plan.base["retries"])),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            callbacks=[_Reports(nest, config[NUMBER])],
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
            worker_runtime_env={"env_vars": worker_environment(plan.threads)},
        ),
    )
    try:
        trainer.fit()
    except (ray.train.TrainingFailedError, ray.exceptions.RayError) as failure:
        # Ray Train has tried again as often as it was told; Tune need not.
        tune.report({NUMBER: config[NUMBER], EPOCH: 0, PROBLEM: f"failed: {reason_of(failure)}"})


def train_nested(loop_config: dict[str, Any]) -> None:
    """One worker of a nested trial: its share of every batch, a report after each epoch."""
    # Ray Train prints every report in full, through a logger that only this level reaches.
    logging.getLogger().setLevel(logging.WARNING)
    config, plan, nest = loop_config["config"], loop_config["plan"], loop_config["nest"]
    use_threads(plan.threads)
    make_available(str(plan.base["data"]), Path(plan.data_folder))
    context = ray.train.get_context()
    share = Shard(context.get_world_rank(), context.get_world_size())
    device = ray.train.torch.get_device() if plan.base["gpu"] else torch.device("cpu")
    number = {NUMBER: config[NUMBER]}
    teller = Teller(nest.board if share.rank == 0 else None, config[NUMBER])
    teller.says("starting")
    training: TrialTraining | None = None
    try:
        training = TrialTraining(Shelf(plan), config[VALUES], share, device, teller)
        newest = ray.train.get_checkpoint()
        if newest is None and config.get(START):
            newest = ray.train.Checkpoint(config[START])
        if newest is not None:
            with newest.as_directory() as folder:
                training.load(Path(folder))
        goes_on = True
        while goes_on and not training.done:
            _report_epoch(training, share, number)
            goes_on = nest.goes_on(config[NUMBER], training.epoch)
    except TrainingDivergedError as error:
        ray.train.report({**number, EPOCH: training.epoch if training else 0, PROBLEM: f"diverged: {error}"})
    except UserError as error:
        ray.train.report({**number, EPOCH: training.epoch if training else 0, PROBLEM: f"failed: {error}"})


def _report_epoch(training: TrialTraining, share: Shard, number: dict[str, Any]) -> None:
    started = time.monotonic()
    numbers = training.train_epoch()
    report = {**number, EPOCH: training.epoch, **numbers, "seconds": time.monotonic() - started}
    with tempfile.TemporaryDirectory() as folder:
        if share.rank == 0:
            training.save(Path(folder))
        ray.train.report(
            report,
            ray.train.Checkpoint.from_directory(folder) if share.rank == 0 else None,
            checkpoint_dir_name=f"epoch_{training.epoch:05d}",
        )
