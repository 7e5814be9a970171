"""Settings of a run: all of them as a tag, few as MLflow params, and names that MLflow accepts.

MLflow's page prints every param of a run over each of its pictures, so that forty of them push the picture out of
sight. Params cannot be changed once they are written.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from refusion.config.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAM_LIMIT = 6000
TAG_LIMIT = 8000
TAGS_PER_BATCH = 100
METRICS_PER_BATCH = 1000
MOST_PARAMS = 6
RESUMED = "resumed."
SETTINGS_TAG = "settings"
# Shown of each run, as far as there is room.
_COMPARED = ("schedule.epochs", "schedule.rate.value", "images.crop", "images.batch")
# Sections that decide what is computed, those first that people change most.
_COMPUTED = ("schedule", "images", "objective", "meta", "outer", "network", "seed")


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


def shown_params(flat: Mapping[str, str], varied: Sequence[str] = ()) -> dict[str, str]:
    """Returns those settings that are worth a param: at most six.

    Args:
        flat: the result of ``flatten``.
        varied: names of settings that differ between runs of one study; they come first, then what differs from the
            defaults, then what people compare: epochs, rate, crop and batch.
    """
    if len(flat) <= MOST_PARAMS:
        return dict(flat)
    defaults = _defaults()
    differing = sorted(
        (name for name in flat if name.split(".")[0] in _COMPUTED and flat[name] != defaults.get(name)),
        key=lambda name: _COMPUTED.index(name.split(".")[0]),
    )
    # Of what else a run may be told, such as an evaluation's method, nothing is a default.
    others = [name for name in flat if name.split(".")[0] not in Settings.model_fields]
    names = [name for name in dict.fromkeys([*varied, *others, *differing, *_COMPARED]) if name in flat]
    return {name: flat[name] for name in names[:MOST_PARAMS]}


@cache
def _defaults() -> dict[str, str]:
    return flatten(Settings().model_dump(mode="json"))


def json_tag(name: str, content: Any) -> dict[str, str]:
    """Returns plain content as tags: NAME and, for what is longer than a tag may be, ``NAME.1``, ``NAME.2`` …"""
    text = json.dumps(content, ensure_ascii=False)
    parts = [text[start : start + TAG_LIMIT] for start in range(0, len(text), TAG_LIMIT)]
    return {_part(name, index): part for index, part in enumerate(parts)}


def read_json_tag(tags: Mapping[str, str], name: str, default: Any) -> Any:
    """Reads what ``json_tag`` wrote; parts that are left from a longer text of earlier are not read."""
    text, index = "", 0
    while _part(name, index) in tags:
        text += tags[_part(name, index)]
        index += 1
    return json.JSONDecoder().raw_decode(text)[0] if text else default


def _part(name: str, index: int) -> str:
    return f"{name}.{index}" if index else name


def recorded_settings_of(params: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, str]:
    """Returns all settings of a run as ``flatten`` gives them; those of earlier versions are params alone."""
    return {**params, **read_json_tag(tags, SETTINGS_TAG, {})}


def log_settings(client: MlflowClient, run_id: str, settings: Mapping[str, Any], varied: Sequence[str] = ()) -> None:
    """Writes settings as the tag ``settings``, some of them as params, and what a resume has changed as further tags.

    Those are named ``resumed.NAME``. A setting that once got such a tag keeps it up to date, also when a later resume
    returns to the first value.

    Args:
        settings: nested.
        varied: as in ``shown_params``.
    """
    # Here, since processes that train import this module too.
    from mlflow.entities import Param, RunTag

    flat = flatten(settings)
    data = client.get_run(run_id).data
    recorded = recorded_settings_of(data.params, data.tags)
    params = {} if recorded else shown_params(flat, varied)
    changed = {
        RESUMED + name: value
        for name, value in flat.items()
        if name in recorded and (value != recorded[name] or RESUMED + name in data.tags)
    }
    new = {**flat, **recorded}
    tags = changed if new == recorded else {**json_tag(SETTINGS_TAG, new), **changed}
    if params:
        client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])
    texts = [RunTag(name, value) for name, value in tags.items()]
    for start in range(0, len(texts), TAGS_PER_BATCH):
        client.log_batch(run_id, tags=texts[start : start + TAGS_PER_BATCH])
