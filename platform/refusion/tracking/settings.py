"""Settings of a run as MLflow params, which cannot be changed once they are written, and names that MLflow accepts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Param, RunTag

PARAM_LIMIT = 6000
TAG_LIMIT = 8000
PARAMS_PER_BATCH = 100
RESUMED = "resumed."


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns nested settings as dotted params: ``{"schedule": {"epochs": 50}}`` as ``{"schedule.epochs": "50"}``.

    Lists and empty mappings become JSON; a value longer than MLflow's 6000 characters is truncated and ends in "…".

    Example:
        >>> flatten({"schedule": {"epochs": 50, "rates": [0.1, 0.2]}})
        {'schedule.epochs': '50', 'schedule.rates': '[0.1, 0.2]'}
    """
    flat: dict[str, str] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[safe_name(name)] = truncate(_text(value), PARAM_LIMIT)
    return flat


def _text(value: object) -> str:
    return json.dumps(value, default=str) if isinstance(value, list | tuple | Mapping) else str(value)


def truncate(text: str, limit: int) -> str:
    """Returns the text, at most ``limit`` characters long."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def safe_name(name: str, limit: int = 120) -> str:
    """Returns a name that MLflow accepts for params, metrics and images; a digest tells replaced characters apart."""
    safe = re.sub(r"[^A-Za-z0-9_\-./ ]", "_", name)
    # The name is also stored as a file's: no empty, "." or ".." part, and short enough.
    safe = "/".join(part for part in safe.split("/") if part.strip(". ")) or "unnamed"
    if safe == name and len(safe) <= limit:
        return safe
    return f"{safe[: limit - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def log_settings(client: MlflowClient, run_id: str, settings: Mapping[str, Any]) -> None:
    """Writes settings as params, and as a tag ``resumed.<param>`` where the run has a param of another value already.

    A param that once got such a tag keeps it up to date, also when a later resume returns to the first value.
    """
    flat = flatten(settings)
    data = client.get_run(run_id).data
    new = [Param(name, value) for name, value in flat.items() if name not in data.params]
    changed = [
        RunTag(RESUMED + name, value)
        for name, value in flat.items()
        if name in data.params and (value != data.params[name] or RESUMED + name in data.tags)
    ]
    for start in range(0, len(new), PARAMS_PER_BATCH):
        client.log_batch(run_id, params=new[start : start + PARAMS_PER_BATCH])
    for start in range(0, len(changed), PARAMS_PER_BATCH):
        client.log_batch(run_id, tags=changed[start : start + PARAMS_PER_BATCH])
