"""Settings in ``--help``: by section, each with its allowed values, its default and the settings of its kinds."""

from __future__ import annotations

import inspect
import shutil
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Tag
from pydantic.fields import FieldInfo

from refusion.config.import_kind import OrImportPath
from refusion.config.layers import leaves
from refusion.config.per_epoch import PIECEWISE
from refusion.config.settings import Settings
from refusion.config.workers import read_workers

_INDENT, _COLUMN, _NARROWEST = 2, 34, 60
_EPOCH_FORM = "{{0: {0}, EPOCH: {0}}}"
# Limits beyond it are those of the type, not of the setting.
_UNLIMITED = 1e9
# pydantic keeps a limit as an object with one of these attributes.
_LIMITS = {"ge": "at least {:g}", "gt": "more than {:g}", "le": "at most {:g}", "lt": "less than {:g}"}


def settings_help() -> str:
    """Lists all settings of the sections, for ``--help``."""
    sections: dict[str, list[str]] = {}
    described: dict[type[BaseModel], str] = {}
    for name, field in leaves(Settings):
        section, _, _ = name.rpartition(".")
        if section:
            sections.setdefault(section, []).extend(_setting(name, field, described))
    lines = ["settings, each as --section.key value, or for one task as --per_task.TASK.section.key value:"]
    for section, entries in sections.items():
        model = Settings.model_fields[section].annotation
        first = (inspect.getdoc(model) or "").splitlines()[0].rstrip(".")
        lines += ["", f"{section}: {first[:1].lower()}{first[1:]}", *entries]
    return "\n".join(lines)


def allowed(field: FieldInfo) -> tuple[str, str]:
    """Returns a setting's values as they are written, such as ``N`` or ``linear|constant``, and their limits in words.

    >>> allowed(Settings.model_fields["precision"]), allowed(Settings.model_fields["workers"])
    (('float32|tf32|bfloat16', ''), ('N|LEAST..MOST', 'at least 1'))
    """
    written, limits = _values(field.annotation, field.metadata)
    return "|".join(dict.fromkeys(written)), ", ".join(dict.fromkeys(limits))


def default_text(field: FieldInfo) -> str:
    """Returns a default as it is written on the command line; empty where there is none to show."""
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    if default is None or default in ({}, ()):
        return ""
    return _plain(default.model_dump() if isinstance(default, BaseModel) else default)


def facts_text(name: str) -> str:
    """Returns a list for ``--help`` that is kept as a text, since to make it takes seconds: baselines or metrics."""
    return (Path(__file__).parents[1] / "texts" / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")


def _setting(name: str, field: FieldInfo, described: dict[type[BaseModel], str]) -> Iterator[str]:
    """Yields the lines of a setting; ``described`` says where the settings of a kind stand already."""
    values, limits = allowed(field)
    default = default_text(field)
    notes = [*[f"[{default}]"] * bool(default), *[f"({limits})"] * bool(limits)]
    yield from entry(f"--{name} {values}", " ".join([str(field.description), *notes]))
    elsewhere: dict[str, list[str]] = {}
    for member in _members(field.annotation):
        if member in described:
            elsewhere.setdefault(described[member], []).append(_form(member).removeprefix("kind: "))
        else:
            described[member] = name
            yield from entry(f"  {_form(member)}", _settings_of(member))
    for place, kinds in elsewhere.items():
        yield from entry("  kind: …", f"{', '.join(kinds)} as of --{place}")


def entry(head: str, text: str, column: int = _COLUMN) -> list[str]:
    """Returns the lines of one entry of a list: its head, and from that column on its text, wrapped to the terminal."""
    width = max(shutil.get_terminal_size().columns - 2, _NARROWEST)
    lead = f"{' ' * _INDENT}{head}"
    wrapped = textwrap.wrap(text, width - column, break_on_hyphens=False, break_long_words=False) or [""]
    own = [lead] if len(lead) >= column - 1 else []
    rest = wrapped if own else wrapped[1:]
    first = [] if own else [f"{lead:{column}}{wrapped[0]}".rstrip()]
    return [*own, *first, *(f"{' ' * column}{line}" for line in rest)]


def _form(member: type[BaseModel]) -> str:
    fields = member.model_fields
    return f"kind: {fields['kind'].default}" if "kind" in fields else f"{{{', '.join(f'{n}: …' for n in fields)}}}"


def _settings_of(member: type[BaseModel]) -> str:
    parts = []
    for name, field in member.model_fields.items():
        if name == "kind":
            continue
        values, _ = allowed(field)
        default = default_text(field)
        text = f": {field.description}" if field.description else ""
        parts.append(f"{name} {values}{text}{f' [{default}]' if default else ''}")
    return "; ".join(parts)


def _values(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[list[str], list[str]]:
    """Returns the written forms of an annotation's values, and their limits."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _values(arguments[0], [*arguments[1:], *metadata])
    found = [(getattr(one, key, None), text) for one in metadata for key, text in _LIMITS.items()]
    limits = [text.format(limit) for limit, text in found if limit is not None and abs(limit) < _UNLIMITED]
    limits += [text for one in metadata if isinstance(one, FieldInfo) for text in _values(float, one.metadata)[1]]
    imports = [one.func for one in metadata if isinstance(one, AfterValidator) and isinstance(one.func, OrImportPath)]
    if imports:
        return [*imports[0].builtin, imports[0].form], limits
    if any(isinstance(one, BeforeValidator) and one.func is read_workers for one in metadata):
        return ["N", "LEAST..MOST"], ["at least 1"]
    if any(isinstance(one, Tag) and one.tag == PIECEWISE for one in metadata) or origin is tuple:
        inner, inner_limits = _values(_of_piecewise(arguments))
        form = _EPOCH_FORM.format(inner[0]) if _is_piecewise(arguments) else f"{'|'.join(inner)} …"
        return [form], [*limits, *inner_limits]
    if origin in (typing.Union, types.UnionType):
        parts = [_values(one) for one in arguments if one is not types.NoneType]
        return [form for forms, _ in parts for form in forms], [*limits, *(text for _, own in parts for text in own)]
    if origin is Literal:
        return [str(one) for one in arguments], limits
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        # A union with kinds is also given as a plain number where its kinds have a value.
        return (["X", "{kind: …}"] if "kind" in annotation.model_fields else [_form(annotation)]), limits
    return [{bool: "true|false", int: "N", float: "X", str: "TEXT"}.get(annotation, "{key: value}")], limits


def _is_piecewise(arguments: Sequence[Any]) -> bool:
    return bool(arguments) and typing.get_origin(arguments[0]) is tuple


def _of_piecewise(arguments: Sequence[Any]) -> Any:
    """Returns the type of the values of pairs (epoch, value), or of the members of a plain list."""
    return typing.get_args(arguments[0])[1] if _is_piecewise(arguments) else arguments[0]


def _members(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yields the classes of settings in a union, one per kind."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for one in typing.get_args(annotation):
            yield from _members(one)


def _plain(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:g}"
        case dict():
            # The kind says how the rest is to be read.
            ordered = sorted(value.items(), key=lambda item: item[0] != "kind")
            return "{" + ", ".join(f"{key}: {_plain(one)}" for key, one in ordered) + "}"
        case tuple() | list():
            return " ".join(map(_plain, value))
    return str(value)
