"""Ray cluster of a job: reached or started, and counted for the runs that fit side by side."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import socket
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import refusion
from refusion.config.settings import Settings
from refusion.errors import MachineError, UserError
from refusion.import_path import import_environment
from refusion.runtime import TRAIN_V2, ray_internals
from refusion.runtime.lifetime.interruption import handlers_kept
from refusion.runtime.ports import answers, free_ports

# More threads than this bring one worker nothing at usual crop sizes.
_MOST_THREADS = 16
_NODE_START_SECONDS = "1200"
# As ray.init calls a cluster that it starts on this machine.
LOCAL = "local"


@dataclass(frozen=True)
class Node:
    """CPUs and GPUs of one machine."""

    cpus: float
    gpus: float

    def workers(self, threads: int, gpu: bool) -> int:
        """Number of workers of that size that fit."""
        by_cpu = int(self.cpus // threads)
        return min(by_cpu, int(self.gpus)) if gpu else by_cpu


def size_of_worker(threads: int, gpu: bool) -> str:
    """Returns in words what one worker takes."""
    return f"{threads} CPU{'s' if threads > 1 else ''}" + (" and 1 GPU" if gpu else "")


@dataclass(frozen=True)
class Cluster:
    """Machines that are present, and machines that an autoscaler would add."""

    present: tuple[Node, ...]
    possible: tuple[Node, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All machines that a run may count on."""
        return self.present + self.possible

    def default_threads(self, runs: int) -> int:
        """CPUs per worker so that ``runs`` workers fit side by side, as far as any do."""
        cpus = sum(node.cpus for node in self.nodes)
        largest = max((node.cpus for node in self.nodes), default=1)
        return max(1, min(int(cpus // max(runs, 1)), int(largest), _MOST_THREADS))

    def concurrent_runs(self, settings: Settings, threads: int) -> int:
        """Number of runs that fit side by side, each with all its workers; one where there is room for its fewest.

        Raises:
            UserError: none fits; names what a run needs and what the cluster has.
        """
        if settings.gpu and not any(node.gpus for node in self.nodes):
            raise UserError("--gpu: there is no GPU in this cluster; leave --gpu out or join a node that has one")
        places = sum(node.workers(threads, settings.gpu) for node in self.nodes)
        least, most = settings.worker_counts[0], settings.worker_counts[-1]
        if places < least:
            each = size_of_worker(threads, settings.gpu)
            cpus, gpus = (sum(getattr(node, kind) for node in self.nodes) for kind in ("cpus", "gpus"))
            raise UserError(
                f"--workers {settings.workers}: a task needs {least} × {each}, but this cluster "
                f"({cpus:g} CPUs, {gpus:g} GPUs) has room for {places} such worker{'' if places == 1 else 's'}; "
                "ask for fewer --workers or --threads, or add nodes"
            )
        return max(1, places // most)


def connect() -> Cluster:
    """Join the cluster this job was submitted to, or one that runs on this machine, or start one here.

    Every worker gets the very code of this process, so that nodes with an older installation run what was submitted,
    and finds the user's own modules in the folders where this process finds them.

    Raises:
        UserError: RAY_ADDRESS names no cluster, or one that cannot be reached, or Ray cannot be started here.
        MachineError: Ray was started here, but does not answer in time.
    """
    address = os.environ.get("RAY_ADDRESS") or None
    if address is not None:
        _check_address(address)
    # A cluster that was killed leaves its address behind, on which ray.init would wait for ten minutes.
    if address is None and not answers(ray_internals.last_cluster_address()):
        address = LOCAL
    ports: dict[str, Any] = {}
    near: AbstractContextManager[None] = nullcontext()
    if address == LOCAL:
        _close_to_others()
        for name, value in ray_internals.BOUNDED_MEMORY.items():
            os.environ.setdefault(name, value)
        near = ray_internals.on_loopback()
        (ports["dashboard_port"],) = free_ports(1)
        found = {ray_internals.DASHBOARD_ADDRESS: f"http://127.0.0.1:{ports['dashboard_port']}"} | _gloo_on_loopback()
    else:
        found = {"RAY_ADDRESS": address or str(ray_internals.last_cluster_address())}
    # Ray Train's own actors look for a cluster again, and fail where this machine has several.
    environment = {**import_environment(), **found, TRAIN_V2: "1"}
    with near:
        _init(
            address,
            runtime_env={"py_modules": [str(Path(refusion.__file__).parent)], "env_vars": environment},
            **ports,
        )
    cluster = look()
    if len(cluster.nodes) == 1:
        os.environ.setdefault(ray_internals.WATCH_PREEMPTION, "0")
        # Of a short epoch, and at a training's end, the two seconds until it looks would be most of the time.
        os.environ.setdefault(ray_internals.WORKER_POLL_SECONDS, "0.5")
    if cluster.possible:
        # Machines take minutes to start; until then a worker group is no failure.
        os.environ.setdefault(ray_internals.WORKER_START_SECONDS, _NODE_START_SECONDS)
    return cluster


def _gloo_on_loopback() -> dict[str, str]:
    """Environment in which workers of this machine alone exchange gradients over loopback."""
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    return {"GLOO_SOCKET_IFNAME": names[0]} if names and "GLOO_SOCKET_IFNAME" not in os.environ else {}


def _init(address: str | None, **options: Any) -> None:
    """Calls ray.init, and says in one sentence what most often goes wrong in it.

    Raises:
        UserError, MachineError: as ``connect``.
    """
    try:
        # Ray would end this process at SIGTERM as sys.exit does, and MLflow's runs would not be closed.
        with handlers_kept(signal.SIGTERM):
            ray.init(address, ignore_reinit_error=True, logging_level="WARNING", **options)
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        reason = (str(error).splitlines() or ["no answer"])[0]
        raise UserError(f"the Ray cluster cannot be joined ({reason}); check RAY_ADDRESS and `ray status`") from error
    except OSError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"Ray cannot be started on this machine ({reason}); set RAY_TMPDIR to a folder with a short path that you "
            "may write to, such as /tmp"
        ) from error
    except (RuntimeError, ValueError, ray.exceptions.RuntimeEnvSetupError) as error:
        if ray_internals.TOO_LARGE not in str(error):
            raise
        raise UserError(
            f"{Path.cwd()} is too large for Ray to send it to its workers, as it does with what `uv run` starts; "
            "list what they do not need in .rayignore, or set RAY_ENABLE_UV_RUN_RUNTIME_ENV=0"
        ) from error
    except Exception as error:
        if ray_internals.START_TIMED_OUT not in str(error):
            raise
        raise MachineError(
            "Ray did not start within the half minute that it allows itself, since this machine is too busy or has too "
            "little memory; nothing has been trained or recorded: call the same command again when less runs here"
        ) from error


def _check_address(address: str) -> None:
    """Refuses an address at which ray.init would fail or wait.

    Raises:
        UserError: says what to write instead.
    """
    if address.startswith(("http://", "https://")):
        submit = shlex.join(["ray", "job", "submit", "--", *_called()])
        raise UserError(
            f"RAY_ADDRESS {address}: is the address of a cluster's job server: submit the job to it, by `{submit}`, "
            "or unset RAY_ADDRESS to train on this machine"
        )
    host, _, port = address.rpartition(":")
    if address in (LOCAL, "auto") or "://" in address:
        return
    if not (host and port.isdigit()):
        raise UserError(
            f"RAY_ADDRESS {address}: is no address of a cluster; write HOST:PORT, such as {address}:6379, or unset it"
        )
    if not answers(address):
        raise UserError(f"RAY_ADDRESS {address}: nothing answers there; check it with `ray status`, or unset it")


def _called() -> list[str]:
    """Words that called this program, as they can be called elsewhere."""
    program, *rest = sys.argv
    return ["python", program, *rest] if program.endswith(".py") else [*program.split(), *rest]


def _close_to_others() -> None:
    """Guard a cluster that is started here with a token of its own, where the user has set nothing.

    Left alone, Ray would write a token into the user's home, and from then on refuse that user's `ray job submit`
    to clusters of `ray start` unless RAY_AUTH_MODE is set.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    if not ray_internals.has_auth_token():
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    # Unset, it would be announced in two lines that this cluster has a token.
    os.environ["RAY_AUTH_MODE"] = "token"
    ray_internals.reload_auth()


def beside_driver() -> NodeAffinitySchedulingStrategy:
    """Returns where a job's own actors are put: on another machine they would be lost with it while the job goes on."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)


def look() -> Cluster:
    """Reads the cluster as it stands now."""
    present = tuple(
        Node(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in ray.nodes()
        if node["Alive"]
    )
    return Cluster(present, addable(Path.home() / ray_internals.BOOTSTRAP_FILE))


def addable(configuration: Path) -> tuple[Node, ...]:
    """Worker machines that the autoscaler of a `ray up` cluster may start, from its configuration file.

    Empty where there is no such file. Node types whose resources are not stated count as having none.
    """
    if not configuration.is_file():
        return ()
    content: dict[str, Any] = yaml.safe_load(configuration.read_text(encoding="utf-8")) or {}
    head = content.get("head_node_type")
    nodes: list[Node] = []
    for name, kind in (content.get("available_node_types") or {}).items():
        resources = kind.get("resources") or {}
        node = Node(float(resources.get("CPU", 0)), float(resources.get("GPU", 0)))
        nodes += [node] * (0 if name == head else int(kind.get("max_workers", 0)))
    return tuple(nodes[: int(content.get("max_workers", len(nodes)))])
