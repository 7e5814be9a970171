"""Names of Ray that its documentation does not promise, each with the reason why it is needed.

No other module imports or spells such a name. With a new release of Ray, ``tests/runtime/test_ray_internals.py`` tells
which of them has gone or changed.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import ray
from ray._private import ray_constants
from ray._private.utils import read_ray_address
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.exceptions import RayActorError

from refusion.runtime.ports import answers

if TYPE_CHECKING:
    import pandas as pd
    from ray.train.torch import TorchTrainer
    from ray.tune.schedulers.pb2 import PB2

# File that `ray up` leaves in the home of the head node: only it tells which machines the autoscaler could add.
BOOTSTRAP_FILE = "ray_bootstrap_config.yaml"
# File of a training run's folder that lists its whole checkpoints; without it ``ray.train.Result.from_path`` raises a
# RuntimeError like any other.
CHECKPOINTS_FILE = "checkpoint_manager_snapshot.json"
# Environment variables of Ray Train without a field in its configuration. Nobody takes a single machine away, and
# starting the watcher prints an alarming line.
WATCH_PREEMPTION = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"
# Machines that an autoscaler adds take longer to start than Ray Train waits for its workers.
WORKER_START_SECONDS = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
# By default it looks at its workers' reports every 2 s, which each decision of a sweep's scheduler would wait for.
WORKER_POLL_SECONDS = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"
# Where Ray's state API, which Ray Train asks, finds the dashboard of a cluster.
DASHBOARD_ADDRESS = "RAY_API_SERVER_ADDRESS"
# For Prometheus, which nobody has here, an agent keeps the numbers of each process until it asks; for `ray list tasks`
# the head keeps the newest 100,000 calls, some 4 KiB each.
BOUNDED_MEMORY = {"RAY_enable_metrics_collection": "0", "RAY_task_events_max_num_task_in_gcs": "10000"}
# Part of what is raised where a working directory exceeds what Ray packs, which has no exception of its own.
TOO_LARGE = "exceeds the maximum size"
# Part of what is raised, as a plain Exception, where a Ray that is started does not answer within half a minute.
START_TIMED_OUT = "timed out during startup"
# Logger of Ray Train's controller. Where a busy machine takes more than 5 s to answer, it warns with 20 lines of
# traceback that this is safe to ignore, and asks again every 20 s.
RESOURCE_REQUESTS = "ray.train.v2._internal.execution.scaling_policy.autoscaling_coordinator_client"


class _OnlyWhatLasts(logging.Filter):
    """Leaves out the first two warnings, since two cores that start workers answer late, and the others' tracebacks."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings = 0

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args, record.exc_info = "Ray's autoscaler is slow (a busy machine?)", (), None
        self.warnings += 1
        return self.warnings > 2


_only_what_lasts = _OnlyWhatLasts()


def shorten_warnings() -> None:
    """Leaves one line of each warning of Ray Train's controller that lasts; call it in the controller's process."""
    logging.getLogger(RESOURCE_REQUESTS).addFilter(_only_what_lasts)


def last_cluster_address() -> str | None:
    """Address of the cluster that was last started on this machine, dead or alive; None where there was none.

    ``ray.init`` goes to that address too, and waits ten minutes where the cluster was killed.
    """
    address: str | None = read_ray_address()
    return address


def submitted_job(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Returns what Ray's job server gave a job that was submitted to it (``runtime_env``, ``metadata``), else None."""
    given = environment.get("RAY_JOB_CONFIG_JSON_ENV_VAR")
    return dict(json.loads(given)) if given else None


def has_auth_token() -> bool:
    """Tells whether the user has a token, in a variable or a file: a cluster started here must not get another."""
    return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))


def reload_auth() -> None:
    """Make Ray read RAY_AUTH_MODE and RAY_AUTH_TOKEN again; it has read them when it was imported."""
    AuthenticationTokenLoader.instance().reset_cache()
    Config.initialize("")


@contextmanager
def on_loopback() -> Iterator[None]:
    """Lets a cluster that is started meanwhile listen to this machine alone.

    ``ray.init`` turns 127.0.0.1 into the machine's address, and only where Ray believes that there can be no further
    machine (which it does on Windows and macOS by itself) do its servers bind to loopback.
    """
    before, variable = ray_constants.ENABLE_RAY_CLUSTER, ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    given = os.environ.get(variable)
    ray_constants.ENABLE_RAY_CLUSTER = False
    # For the processes that Ray starts.
    os.environ[variable] = "0"
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        os.environ.pop(variable)
        if given is not None:
            os.environ[variable] = given


def pb2_proposal(process: PB2, table: pd.DataFrame, trial: Any, donor: Any) -> dict[str, Any]:
    """Configuration that Tune's PB2 proposes for a trial that goes on from a donor's checkpoint.

    Tune asks its PB2 for one only within exchanges of its own, which know neither our scores nor our seeds.

    Args:
        process: remembers its proposals of the same time.
        table: what it learns from: Trial, Time, the hyperparameters and Reward.
        trial, donor: Tune's.

    Raises:
        ValueError, numpy.linalg.LinAlgError: its matrix is singular.
    """
    process.data = table
    config, _ = process._get_new_config(trial, donor)
    return dict(config)


def torch_trainer(*given: Any, counts: Sequence[int] = (), **named: Any) -> TorchTrainer:
    """Ray Train's trainer without the process that shares out datasets of Ray Data, which it starts even for none.

    Args:
        given, named: arguments of ``ray.train.torch.TorchTrainer``; not ``datasets``.
        counts: numbers of workers of a training in which that may change, ascending; see `elastic_policy`.
    """
    # Importing Ray Train takes long.
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.callbacks import DatasetsCallback

    class Trainer(TorchTrainer):
        """Starts one process less, which would hold 200 MB for as long as the training lasts."""

        def _create_default_callbacks(self) -> list[Any]:
            return [each for each in super()._create_default_callbacks() if not isinstance(each, DatasetsCallback)]

        def _initialize_and_run_controller(self, **own: Any) -> Any:
            if len(counts) > 1:
                own["scaling_policy"] = elastic_policy(counts, self.scaling_config)
            return super()._initialize_and_run_controller(**own)

    return Trainer(*given, **named)


def elastic_policy(counts: Sequence[int], scaling: Any) -> Any:
    """Returns a scaling policy of Ray Train that takes the largest of these numbers of workers there is room for.

    Ray Train takes any number within ``ScalingConfig.num_workers``, and has no setting for which. After a machine is
    lost it counts on it for up to 20 s, and would then wait for a minute for workers that cannot come: this one asks
    for the cluster as it stands.

    Args:
        counts: of workers, ascending; the first and the last are those of the ``ScalingConfig``.
        scaling: that ``ScalingConfig``.
    """
    from ray.train.v2._internal.execution.scaling_policy import ElasticScalingPolicy, NoopDecision

    class Among(ElasticScalingPolicy):
        """Decides, beside the controller, on one of the numbers."""

        def _count_possible_workers(self, reserved_resources: Mapping[str, Mapping[str, float]]) -> int:
            room = super()._count_possible_workers(answering(reserved_resources))
            return max((count for count in counts if count <= room), default=0)

        def make_decision_for_non_running_worker_group(self) -> Any:
            decision = super().make_decision_for_non_running_worker_group()
            if isinstance(decision, NoopDecision):
                # The controller asks again at once, which would take a CPU for as long as there is no room.
                time.sleep(1)
            return decision

    return Among(scaling)


@contextmanager
def losses_counted_once() -> Iterator[None]:
    """Make ``Tuner.fit`` count the loss of a process once; Tune has no setting for that.

    Ray 2.60 reports the loss of a process that turns to its next trial twice: that the process ended, and that it did
    not do what it was asked. At the first report the trial is queued again; the second one finds it waiting and gives
    it up, whatever retries it has left. Nor would it ever get another process, since Tune still counts on the lost
    one's turn to it.
    """
    # Only sweeps need Tune, and importing it takes long.
    from ray.tune import tune as tunes_run
    from ray.tune.experiment import Trial

    tunes_own = tunes_run.TuneController

    class Controller(tunes_own):  # type: ignore[misc,valid-type]
        """Handles the loss of a process once, and gives its trial another."""

        def _trial_task_failure(self, trial: Any, exception: Exception) -> None:
            self._resetting_trials.discard(trial)
            # At the first report Tune has its trial RUNNING, at the second one no longer.
            if trial.status == Trial.RUNNING or not isinstance(exception, RayActorError):
                super()._trial_task_failure(trial, exception)

    tunes_run.TuneController = Controller
    try:
        yield
    finally:
        tunes_run.TuneController = tunes_own


def answering(resources: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    """Returns the resources of those machines, by their ids at Ray, whose raylets can be reached.

    Ray takes up to half a minute to count a machine as dead that is gone without a word.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    raylets = {node["NodeID"]: f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}" for node in alive}
    return {node: own for node, own in resources.items() if node in raylets and answers(raylets[node])}


def recorded_checkpoints(record: str) -> list[str] | None:
    """Folder names of a run's checkpoints in the content of ``CHECKPOINTS_FILE``; None where it cannot be read.

    Ray Train does not replace that file but writes over it, so that a job that is killed meanwhile leaves half of it.
    """
    try:
        return [str(found["checkpoint_dir_name"]) for found in json.loads(record)["checkpoint_results"]]
    except (ValueError, KeyError, TypeError):
        return None


def record_of_checkpoints(record: str, names: Sequence[str]) -> str:
    """Returns the content of ``CHECKPOINTS_FILE`` with these checkpoints alone, the newest last.

    Args:
        record: the content so far, which may be damaged.
        names: of folders.
    """
    # Importing Ray Train takes long.
    from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import (
        _CheckpointManagerState,
        _TrainingResultState,
    )

    before = json.loads(record) if recorded_checkpoints(record) is not None else {}
    metrics = {found["checkpoint_dir_name"]: found["metrics"] for found in before.get("checkpoint_results", ())}
    results = [_TrainingResultState(checkpoint_dir_name=name, metrics=metrics.get(name, {})) for name in names]
    state = _CheckpointManagerState(
        checkpoint_results=results,
        checkpoint_report_indices=list(range(len(results))),
        latest_checkpoint_result=results[-1] if results else None,
        pending_training_results=[],
        pending_validation_specs=[],
        current_report_index=len(results),
        validated_checkpoint_dir_names=[],
        timed_out_validation_checkpoint_dir_names=[],
        failed_validation_checkpoint_dir_names=[],
    )
    return str(state.model_dump_json())
