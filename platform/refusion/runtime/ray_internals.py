"""Names of Ray that its documentation does not promise, each with the reason why it is needed.

No other module imports or spells such a name. With a new release of Ray, ``tests/runtime/test_ray_internals.py`` tells
which of them has gone or changed.
"""

from __future__ import annotations

from ray._private.utils import read_ray_address
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

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


def last_cluster_address() -> str | None:
    """Address of the cluster that was last started on this machine, dead or alive; None where there was none.

    ``ray.init`` goes to that address too, and waits ten minutes where the cluster was killed.
    """
    address: str | None = read_ray_address()
    return address


def has_auth_token() -> bool:
    """Tells whether the user has a token, in a variable or a file: a cluster started here must not get another."""
    return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))


def reload_auth() -> None:
    """Make Ray read RAY_AUTH_MODE and RAY_AUTH_TOKEN again; it has read them when it was imported."""
    AuthenticationTokenLoader.instance().reset_cache()
    Config.initialize("")
