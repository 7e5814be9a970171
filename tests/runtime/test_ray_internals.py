"""Every undocumented name of Ray that the package relies on is there, under the signature that it is called with."""

from __future__ import annotations

import inspect
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import ray
import ray.train
from ray._private import ray_constants, services
from ray._private.utils import get_ray_address_file, read_ray_address
from ray._raylet import AuthenticationTokenLoader, Config
from ray.autoscaler._private.command_runner import DockerCommandRunner
from ray.train.torch import TorchTrainer
from ray.train.v2._internal import constants
from ray.train.v2._internal.callbacks import DatasetsCallback
from ray.train.v2._internal.execution.scaling_policy import (
    ElasticScalingPolicy,
    NoopDecision,
    autoscaling_coordinator_client,
)
from ray.tune import tune as tunes_run
from ray.tune.experiment import Trial
from ray.tune.schedulers.pb2 import PB2

from refusion.runtime import ray_internals


def test_the_address_of_the_last_cluster_is_read_from_rays_folder(tmp_path: Path) -> None:
    assert [parameter.default for parameter in inspect.signature(read_ray_address).parameters.values()] == [None]
    assert read_ray_address(str(tmp_path)) is None
    Path(get_ray_address_file(str(tmp_path))).write_text("10.0.0.1:6379\n")
    assert read_ray_address(str(tmp_path)) == "10.0.0.1:6379"


def test_a_busy_machine_is_warned_of_in_a_line_once_that_lasts(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = autoscaling_coordinator_client.logger
    assert logger.name == ray_internals.RESOURCE_REQUESTS
    # As a program of Ray Train has them: nobody else's filter, no count of earlier warnings.
    monkeypatch.setattr(logger, "filters", [])
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(ray_internals._only_what_lasts, "warnings", 0)
    for _ in range(2):
        ray_internals.shorten_warnings()
    assert len(logger.filters) == 1
    said = []
    with caplog.at_level("WARNING", logger.name):
        for _ in range(4):
            try:
                raise TimeoutError
            except TimeoutError:
                logger.warning("failed to send resource request of %s", "train-1", exc_info=True)
            said.append(len(caplog.records))
    assert said == [0, 0, 1, 2]
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [
        ("Ray's autoscaler is slow (a busy machine?)", None)
    ] * 2


def test_rays_programs_know_the_settings_that_bound_their_memory() -> None:
    folder = Path(ray.__file__).parent / "core" / "src" / "ray"
    programs = [(folder / name).read_bytes() for name in ("gcs/gcs_server", "raylet/raylet")]
    for setting in ray_internals.BOUNDED_MEMORY:
        assert all(setting.removeprefix("RAY_").encode() in program for program in programs)


def test_a_token_is_found_once_ray_reads_its_variables_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loader = AuthenticationTokenLoader.instance()
    assert callable(loader.reset_cache)
    assert callable(Config.initialize)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    ray_internals.reload_auth()
    assert not ray_internals.has_auth_token()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    ray_internals.reload_auth()
    assert ray_internals.has_auth_token()
    monkeypatch.undo()
    ray_internals.reload_auth()


def test_files_and_variables_are_called_as_ray_calls_them() -> None:
    assert constants.CHECKPOINT_MANAGER_SNAPSHOT_FILENAME == ray_internals.CHECKPOINTS_FILE
    assert constants.ENABLE_PREEMPTION_WATCHER_ENV_VAR == ray_internals.WATCH_PREEMPTION
    assert constants.WORKER_GROUP_START_TIMEOUT_S_ENV_VAR == ray_internals.WORKER_START_SECONDS
    assert constants.HEALTH_CHECK_INTERVAL_S_ENV_VAR == ray_internals.WORKER_POLL_SECONDS
    source = inspect.getsource(inspect.getmodule(DockerCommandRunner))  # type: ignore[arg-type]
    assert f"~/{ray_internals.BOOTSTRAP_FILE}" in source


def parameters_of(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_tunes_loop_reports_a_lost_process_where_it_is_caught() -> None:
    controller = tunes_run.TuneController
    assert parameters_of(controller._trial_task_failure) == ["self", "trial", "exception"]
    assert "self._resetting_trials: Set[Trial] = set()" in inspect.getsource(controller.__init__)
    assert "self._trial_task_failure(trial" in inspect.getsource(controller._actor_failed)
    assert "TuneController" in inspect.getsource(tunes_run.run), "it makes the loop under this name"


def test_pb2_proposes_where_it_is_asked() -> None:
    assert parameters_of(PB2._get_new_config) == ["self", "trial", "trial_to_clone"]
    process = PB2(time_attr="epoch", metric="score", mode="max", hyperparam_bounds={"unit": {"rate": [0.0, 1.0]}})
    rows = [(f"toy_{number}", at, 0.1 * number, 0.1 * number * at) for at in (1, 2, 3) for number in (1, 2, 3)]
    table = pd.DataFrame(rows, columns=["Trial", "Time", "unit/rate", "Reward"])
    trial, donor = (toy_trial(number) for number in (1, 3))
    config = ray_internals.pb2_proposal(process, table, trial, donor)
    assert config["number"] == 3 and 0 <= config["unit"]["rate"] <= 1
    assert donor.config["unit"]["rate"] == pytest.approx(0.3)


def toy_trial(number: int) -> Any:
    class Toy(SimpleNamespace):
        def __str__(self) -> str:
            return f"toy_{number}"

    return Toy(config={"number": number, "unit": {"rate": 0.1 * number}})


def test_a_trial_of_tune_has_what_schedulers_use() -> None:
    """These are names of Tune's developer API, without an underscore, but described nowhere but in the source."""
    for name, expected in (
        ("set_config", ["self", "config"]),
        ("on_checkpoint", ["self", "checkpoint_result"]),
        ("is_finished", ["self"]),
    ):
        assert parameters_of(getattr(Trial, name)) == expected
    assert isinstance(Trial.latest_checkpoint_result, property) and isinstance(Trial.is_saving, property)
    statuses = (Trial.PENDING, Trial.RUNNING, Trial.PAUSED, Trial.TERMINATED, Trial.ERROR)
    assert statuses == ("PENDING", "RUNNING", "PAUSED", "TERMINATED", "ERROR")
    assert parameters_of(tunes_run.TuneController.stop_trial) == ["self", "trial"]
    assert parameters_of(tunes_run.TuneController.get_trials) == ["self"]


def test_ray_believes_that_there_is_one_machine_only_while_a_cluster_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, raising=False)
    before = ray_constants.ENABLE_RAY_CLUSTER
    with ray_internals.on_loopback():
        assert services.get_node_ip_address() == "127.0.0.1"
        assert os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] == "0"
    assert before == ray_constants.ENABLE_RAY_CLUSTER
    assert ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR not in os.environ


def test_no_process_is_started_for_datasets_of_ray_data() -> None:
    theirs = [type(each) for each in TorchTrainer(print)._create_default_callbacks()]
    ours = [type(each) for each in ray_internals.torch_trainer(print)._create_default_callbacks()]
    assert DatasetsCallback in theirs
    assert ours == [each for each in theirs if each is not DatasetsCallback]


def test_an_elastic_training_takes_the_largest_number_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of machines of which one does not answer."""
    decided: dict[str, Any] = {}
    monkeypatch.setattr(TorchTrainer, "_initialize_and_run_controller", lambda _, **given: decided.update(given))
    ports = {"a": 7001, "b": 7002, "gone": 7003}
    nodes = [
        {"NodeID": name, "NodeManagerAddress": "10.0.0.1", "NodeManagerPort": port, "Alive": True}
        for name, port in ports.items()
    ]
    monkeypatch.setattr(ray_internals.ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray_internals, "answers", lambda address: address != "10.0.0.1:7003")
    scaling = ray.train.ScalingConfig(num_workers=(2, 8), resources_per_worker={"CPU": 2})
    trainer = ray_internals.torch_trainer(print, counts=(2, 4, 8), scaling_config=scaling)
    trainer._initialize_and_run_controller(scaling_policy="Ray's own", failure_policy="as it is")
    policy = decided.pop("scaling_policy")
    assert isinstance(policy, ElasticScalingPolicy) and decided == {"failure_policy": "as it is"}
    rooms = [{"a": 4, "b": 2, "gone": 8}, {"a": 4, "b": 6}, {"a": 2}, {"a": 64}]
    found = [policy._count_possible_workers({node: {"CPU": cpus} for node, cpus in room.items()}) for room in rooms]
    assert found == [2, 4, 0, 8]
    # Where there is no room it is not asked again at once.
    monkeypatch.setattr(policy, "_maybe_send_resource_request", lambda: None)
    monkeypatch.setattr(policy, "_get_reserved_resources", lambda: {"a": {"CPU": 2.0}})
    began = time.monotonic()
    assert isinstance(policy.make_decision_for_non_running_worker_group(), NoopDecision)
    assert time.monotonic() - began >= 1
    parameters = set(inspect.signature(ElasticScalingPolicy._count_possible_workers).parameters)
    assert parameters == {"self", "reserved_resources"}


def test_a_training_with_one_number_of_workers_keeps_rays_own_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    decided: dict[str, Any] = {}
    monkeypatch.setattr(TorchTrainer, "_initialize_and_run_controller", lambda _, **given: decided.update(given))
    ray_internals.torch_trainer(print, counts=(2,))._initialize_and_run_controller(scaling_policy="Ray's own")
    assert decided == {"scaling_policy": "Ray's own"}
