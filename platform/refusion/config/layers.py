"""Settings laid over one another (defaults, file, command line), and a clear sentence where they are wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from refusion.config.dotted import nested
from refusion.config.per_epoch import NUMBER, PIECEWISE, is_piecewise
from refusion.config.schedules import InnerRate, current_kind, kinds, shared_settings
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.tasks import find_task

PER_TASK = "per_task"
_KINDS = kinds(InnerRate)
_INNER_STEPS = "schedule.inner_steps"
_PIECEWISE_FORMS = "by epochs gone before {0: …, 5: …} or [[0, …], [5, …]]"


def read_settings_file(path: Path) -> dict[str, Any]:
    """Reads the mapping in a YAML file.

    Raises:
        UserError: the file is missing, is no YAML, or holds something other than a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path}: cannot be read ({error.strerror or error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise UserError(f"--config {path}: is not YAML ({where})") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"--config {path}: must hold settings as a mapping (section: …), not {type(content).__name__}")
    return content


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``base`` with ``change`` laid over it, section by section.

    A plain number laid over a schedule changes its value; another ``kind`` keeps only what both kinds have. Piecewise
    values that begin with epoch 0 take the place of the earlier ones; others are laid over them.

    >>> merge({"images": {"crop": 64, "batch": 2}}, {"images": {"crop": 32}})
    {'images': {'crop': 32, 'batch': 2}}
    """
    merged = dict(base)
    for key, new in change.items():
        old = merged.get(key)
        is_rate = isinstance(old, Mapping) and current_kind(old.get("kind")) in _KINDS
        if isinstance(old, Mapping) and is_rate and isinstance(new, int | float | str):
            new = {"value": new} if "value" in old else {"kind": "constant", "value": new}
        if isinstance(old, Mapping) and isinstance(new, Mapping) and not _replaces(old, new):
            merged[key] = merge(_of_same_kind(old, new), new)
        else:
            merged[key] = new
    return merged


def _replaces(old: Mapping[str, Any], new: Mapping[Any, Any]) -> bool:
    """Returns true where a mapping takes the place of the old one instead of being laid over it."""
    if not is_piecewise(new):
        return is_piecewise(old)
    return not is_piecewise(old) or any(int(epoch) == 0 for epoch in new)


def _of_same_kind(old: Mapping[str, Any], new: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns what is kept of a schedule whose kind ``new`` changes: a cosine has no step size."""
    before, after = current_kind(old.get("kind")), current_kind(new.get("kind", old.get("kind")))
    # Sections with a kind of their own have the same settings whatever it is.
    if before not in _KINDS or after == before:
        return old
    return {name: value for name, value in old.items() if name in shared_settings(before, after)}


def check(changes: Iterable[Mapping[str, Any]], base: Settings | None = None) -> Settings:
    """Returns settings from nested plain values, each laid over the earlier ones (first ``base``, or the defaults).

    A change is laid over the common settings and over those of each task; what it says under ``per_task`` goes over
    that one task's alone. So an option of the command line goes over a file's ``per_task``.

    Raises:
        UserError: names each wrong setting as it is written on the command line.

    >>> settings = check([{"per_task": {"MIF": {"images": {"crop": 96}}}}, {"images": {"batch": 4}}])
    >>> for_task(settings, "MIF").images.crop, for_task(settings, "IVIF").images.crop
    (96, 64)
    """
    before = base or Settings()
    common = before.model_dump(exclude={PER_TASK})
    own: dict[str, dict[str, Any]] = {task: _resolved(before, task) for task in before.per_task}
    for change in map(nested, changes):
        said = _said_per_task(change.get(PER_TASK))
        rest = {key: value for key, value in change.items() if key != PER_TASK}
        own = {task: merge(merge(own.get(task, common), rest), said.get(task, {})) for task in (*own, *said)}
        common = merge(common, rest)
    settings = _validated(common)
    differing = {task: _difference(settings, _validated(layered, task)) for task, layered in own.items()}
    return settings.model_copy(update={PER_TASK: {task: sections for task, sections in differing.items() if sections}})


def for_task(settings: Settings, task: str) -> Settings:
    """Returns the settings that one task is trained with: the common ones and, laid over them, its own.

    Raises:
        UserError: they do not go together.
    """
    return _validated(_resolved(settings, task), task) if settings.per_task else settings


def _resolved(settings: Settings, task: str) -> dict[str, Any]:
    own = settings.per_task.get(find_task(task).name, {})
    return merge(settings.model_dump(exclude={PER_TASK}), own)


def _difference(settings: Settings, of_task: Settings) -> dict[str, dict[str, Any]]:
    """Returns, by section, each setting of the task that differs, as a whole: a rate with its kind and all of it."""
    found: dict[str, dict[str, Any]] = {}
    for section in _sections():
        common, own = (part.model_dump()[section] for part in (settings, of_task))
        if changed := {key: value for key, value in own.items() if value != common[key]}:
            found[section] = changed
    return found


def _sections() -> list[str]:
    return list(dict.fromkeys(name.partition(".")[0] for name, _ in leaves(Settings) if "." in name))


def _said_per_task(said: Any) -> dict[str, Mapping[str, Any]]:
    """Returns what a change says of each task, by the task's name.

    Raises:
        UserError: there is no such task, it says something other than sections, or names a setting of the whole job.
    """
    if not isinstance(said or {}, Mapping):
        raise UserError(f"--per_task must be a mapping {{TASK: {{section: {{key: value}}}}}} (it is {said!r})")
    found: dict[str, Mapping[str, Any]] = {}
    for name, own in (said or {}).items():
        task = find_task(str(name)).name
        if not isinstance(own or {}, Mapping):
            raise UserError(f"--per_task.{task} must be a mapping {{section: {{key: value}}}} (it is {own!r})")
        for key in own or {}:
            if key in Settings.model_fields and key not in _sections():
                raise UserError(f"--per_task.{task}.{key}: belongs to the whole job; give it once for all tasks")
        found[task] = own or {}
    return found


def _validated(layered: Mapping[str, Any], task: str | None = None) -> Settings:
    """Returns the settings that nested plain values describe, those of a task or the common ones.

    Raises:
        UserError: some are wrong.
    """
    try:
        return Settings.model_validate(layered)
    except ValidationError as error:
        text = explain(error)
        if task is None:
            raise UserError(text) from error
        named = re.sub(r"--(?!help\b)(?=\w)", f"--per_task.{task}.", text)
        raise UserError(named if named != text else f"--per_task.{task}: {text}") from error


def explain(error: ValidationError) -> str:
    """Returns one sentence per wrong setting, named as on the command line, joined by semicolons."""
    sentences: dict[str, str] = {}
    for item in error.errors():
        name = _written_name([str(part) for part in item["loc"]])
        # The members of a union are listed one by one; the first says enough.
        sentences.setdefault(name, _sentence(name, item))
    return "; ".join(sentences.values())


def _written_name(path: Sequence[str]) -> str:
    """Returns the setting's name without the parts that pydantic adds for the members of a union and of a list."""
    known = dict(leaves(Settings))
    kept: list[str] = []
    for part in path:
        if ".".join(kept) == _INNER_STEPS:
            break  # what follows are its three forms, not settings
        inside_setting = ".".join(kept[:2]) in known or ".".join(kept[:1]) in known
        if inside_setting and (part in (*_KINDS, NUMBER) or not part.isidentifier()):
            continue
        kept.append(part)
    return ".".join(kept)


def _sentence(name: str, item: Any) -> str:
    kind, value, where, context = item["type"], item["input"], item["loc"], item.get("ctx", {})
    if name == _INNER_STEPS and kind != "value_error":
        forms = f"a number, {_PIECEWISE_FORMS}, or {{start: …, end: …}}"
        return f"--{name} must be {forms}, each K from 1 to 20 (it is {value!r})"
    if kind == "extra_forbidden":
        near = _nearest(name)
        hint = f"did you mean --{near}?" if near else "--help lists all settings"
        return f"there is no setting --{name} here; {hint}"
    if kind == "missing":
        return f"--{name} is missing"
    if kind == "value_error":
        message = item["msg"].removeprefix("Value error, ")
        shown = "" if isinstance(value, dict) and PIECEWISE not in where else f" (it is {value!r})"
        return f"--{name}: {message}{shown}" if name else message
    if kind == "union_tag_invalid":
        return f"--{name}.kind must be one of {context['expected_tags']} (it is {context['tag']!r})"
    if kind == "too_short":
        return f"--{name} needs at least one value"
    if kind == "model_type":
        return f"--{name} is a section of settings: write --{name}.key value"
    if kind in ("model_attributes_type", "union_tag_not_found"):
        return f"--{name} must be a number, or a kind with its settings: {{kind: …, value: …}} (it is {value!r})"
    if kind == "tuple_type":
        return f"--{name} must be a list (it is {value!r})"
    if where[-1] == NUMBER and kind.endswith(("_type", "_parsing")):
        return f"--{name} must be a number, or {_PIECEWISE_FORMS} (it is {value!r})"
    message = item["msg"].replace("Input should be", "must be").replace("greater than or equal to", "at least")
    every = " in every epoch" if [type(part) for part in where[-2:]] == [int, int] else ""
    return f"--{name} {message.partition(', unable to parse')[0]}{every} (it is {value!r})"


def _nearest(name: str) -> str | None:
    """Returns the setting that was probably meant: a similar name in the same section, else a similar one anywhere."""
    known = [leaf for leaf, _ in leaves(Settings)]
    section, _, last = name.rpartition(".")
    if section in known:
        return None
    siblings = [leaf for leaf in known if leaf.rpartition(".")[0] == section]
    for group in (siblings, known):
        by_last = {leaf.rpartition(".")[2]: leaf for leaf in group}
        near = difflib.get_close_matches(last, list(by_last), n=1, cutoff=0.6)
        if near:
            return by_last[near[0]]
    return None


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yields (dotted name, field) of every setting that is not itself a section; ``per_task`` holds other settings."""
    for name, field in model.model_fields.items():
        if name == PER_TASK:
            continue
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field
