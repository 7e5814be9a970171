"""Dotted names in mappings, as on the command line: `schedule.epochs: 2` means `schedule: {epochs: 2}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refusion.errors import UserError


def nested(content: Mapping[Any, Any]) -> dict[Any, Any]:
    """Returns the mapping with each dotted name as nested mappings; what is said of one section goes together.

    Raises:
        UserError: a name is both a value and a section.

    >>> nested({"images.crop": 48, "images": {"batch": 2}, "per_task": {"MIF": {"images.crop": 32}}})
    {'images': {'crop': 48, 'batch': 2}, 'per_task': {'MIF': {'images': {'crop': 32}}}}
    """
    result: dict[Any, Any] = {}
    for key, value in content.items():
        inner = nested(value) if isinstance(value, Mapping) else value
        parts = str(key).split(".") if isinstance(key, str) else [key]
        if not all(parts):
            parts = [key]
        for part in reversed(parts[1:]):
            inner = {part: inner}
        _put(result, parts[0], inner, str(key))
    return result


def _put(into: dict[Any, Any], key: Any, value: Any, written: str) -> None:
    old = into.get(key)
    if isinstance(old, dict) and isinstance(value, Mapping):
        for inner, its_value in value.items():
            _put(old, inner, its_value, written)
    elif key in into:
        raise UserError(f"--{written}: is said twice in one file; say it once")
    else:
        into[key] = dict(value) if isinstance(value, Mapping) else value
