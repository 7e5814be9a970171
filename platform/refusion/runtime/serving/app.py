"""Web apps on Ray Serve."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import refusion
from refusion.errors import UserError


def serve_app(name: str, build: Callable[[], Any]) -> Any:
    """Returns an application of Ray Serve with one replica, which finds this very code.

    Args:
        name: of its deployment.
        build: makes the ASGI application, in the replica.

    Raises:
        UserError: Ray is installed without what Serve needs.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise UserError(f"Ray Serve is not installed ({error}): pip install 'ray[serve]'") from error

    # Serve calls functions; any other callable it takes for the application.
    def built() -> Any:
        return build()

    # Threads of one picture; replicas are processes, and what a page holds of its visitor lies in one.
    code = os.pathsep.join([str(Path(refusion.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = {"num_cpus": 1, "runtime_env": {"env_vars": {"PYTHONPATH": code}}}
    deployment = serve.deployment(name=name, num_replicas=1, ray_actor_options=options)(serve.ingress(built)())
    return deployment.bind()
