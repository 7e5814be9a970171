"""Every undocumented name of Ray that the package relies on is there, under the signature that it is called with."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from ray._private.utils import get_ray_address_file, read_ray_address
from ray._raylet import AuthenticationTokenLoader, Config
from ray.autoscaler._private.command_runner import DockerCommandRunner
from ray.train.v2._internal import constants

from refusion.runtime import ray_internals


def test_the_address_of_the_last_cluster_is_read_from_rays_folder(tmp_path: Path) -> None:
    assert [parameter.default for parameter in inspect.signature(read_ray_address).parameters.values()] == [None]
    assert read_ray_address(str(tmp_path)) is None
    Path(get_ray_address_file(str(tmp_path))).write_text("10.0.0.1:6379\n")
    assert read_ray_address(str(tmp_path)) == "10.0.0.1:6379"


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
