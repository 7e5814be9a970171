"""Manifest that a run or a sweep keeps in its folder: what it was told, so that it can be resumed by its name."""

from __future__ import annotations

import _thread
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import yaml

from refusion.errors import UserError
from refusion.home import refusion_home
from refusion.runtime.lifetime.changed_pairs import Digests, differences, read_pairs
from refusion.runtime.lifetime.claims import claimed
from refusion.runtime.run_names import new_name, resumed_name
from refusion.runtime.storage import Folder

DEFAULT_EXPERIMENT = "refusion"


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """Part of a command line that a run and a sweep have in common; None where an option was not given."""

    run_name: str | None = None
    storage: str | None = None
    tracking_uri: str | None = None
    experiment: str | None = None
    resume: str | None = None
    upgrade_store: bool = False
    allow_changed_data: bool = False


@dataclass(kw_only=True)
class Manifest:
    """Name of a run or a sweep, its folder, its place in MLflow and the digests of its images.

    Attributes:
        kind: name of such a thing in messages; its plural is the folder in our home.
        file: name of the manifest's file.
        digests: of the pairs, by task and split.
    """

    kind: ClassVar[Literal["run", "sweep"]]
    file: ClassVar[str]

    name: str
    folder: Folder
    tracking_uri: str
    experiment: str
    resumed: bool = False
    digests: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def default_storage(cls) -> Folder:
        """``$REFUSION_HOME/runs`` or ``…/sweeps``."""
        return Folder.at(refusion_home() / f"{cls.kind}s")

    @classmethod
    def begin(cls, request: JobRequest, tracking_uri: str, **own: Any) -> Self:
        """Returns the manifest of a new run or sweep, not written yet; ``own`` are the fields of the subclass.

        Raises:
            UserError: the name is taken or unfit, or the storage cannot be used.
        """
        storage = cls._storage(request)
        name = new_name(request.run_name, storage, cls.kind)
        return cls(
            name=name,
            folder=storage / name,
            tracking_uri=tracking_uri,
            experiment=request.experiment or DEFAULT_EXPERIMENT,
            **own,
        )

    @classmethod
    def read(cls, request: JobRequest) -> dict[str, Any]:
        """Content of the manifest that ``request.resume`` names.

        Raises:
            UserError: there is no such run or sweep.
        """
        storage = cls._storage(request)
        name = resumed_name(str(request.resume), request.run_name, storage, cls.kind, cls.file)
        return dict(yaml.safe_load((storage / name / cls.file).read_text()))

    @classmethod
    def resume(cls, request: JobRequest, content: Mapping[str, Any], tracking_uri: str, **own: Any) -> Self:
        """Returns the manifest to go on with, from what ``read`` returned; ``own`` are the fields of the subclass."""
        name = str(request.resume)
        return cls(
            name=name,
            folder=cls._storage(request) / name,
            tracking_uri=tracking_uri,
            experiment=request.experiment or content["experiment"],
            resumed=True,
            digests=content["digests"],
            **own,
        )

    @classmethod
    def _storage(cls, request: JobRequest) -> Folder:
        return Folder.at(request.storage) if request.storage else cls.default_storage()

    @classmethod
    def refuse_changes(cls, name: str, options: Iterable[str]) -> None:
        """Refuse to resume under other settings, which would make it another one under the old name.

        Args:
            name: of the run or sweep.
            options: names of the options that differ and may not; none is fine.

        Raises:
            UserError: there are such options.
        """
        listed = ", ".join(f"--{option}" for option in options)
        if listed:
            raise UserError(
                f"--resume {name}: {listed} cannot change in a resumed {cls.kind}; "
                f"leave it out, or start a new {cls.kind}"
            )

    def check_same_images(
        self, digests: Mapping[str, Mapping[str, str]], pairs: Digests | None = None, allow: bool = False
    ) -> list[str]:
        """Refuse to resume with other images: crops are drawn by number, so that all would be others.

        Args:
            digests: of all pairs now, by task and split.
            pairs: of each pair, which tells what has changed.
            allow: go on nevertheless.

        Returns:
            What has changed, a sentence for each split.

        Raises:
            UserError: names the task, the split and the pairs.
        """
        changed = [
            f"the images of {task}/{split} are not those the {self.kind} began with"
            + self._how(task, split, pairs or {})
            for task, splits in self.digests.items()
            for split, digest in splits.items()
            if task in digests and digests[task][split] != digest
        ]
        if changed and not allow:
            raise UserError(
                f"--resume {self.name}: {'; '.join(changed)}; put them back, start a new {self.kind}, or go on with "
                "them as they are now by --allow-changed-data"
            )
        return [f"{sentence}; goes on with them as they are now" for sentence in changed]

    def _how(self, task: str, split: str, pairs: Digests) -> str:
        before = read_pairs(self.folder).get(task, {}).get(split)
        now = pairs.get(task, {}).get(split)
        return "" if before is None or now is None else f": {differences(before, now)}"

    def require_storage(self) -> None:
        """Checks that runs can be written to the storage, before anything is recorded of this one.

        Raises:
            UserError: they cannot.
        """
        Folder(self.folder.uri.rpartition("/")[0]).require_writable()

    @contextmanager
    def claimed(self, say: Callable[[str], None]) -> Iterator[None]:
        """Holds the run or sweep, which no other job can go on with meanwhile.

        Args:
            say: called with a line where a former owner is gone, or where another job takes it over nevertheless.

        Raises:
            UserError: another job holds it.
        """

        def lost(sentence: str) -> None:
            say(sentence)
            _thread.interrupt_main()

        with claimed(self.folder, f"--{'resume' if self.resumed else 'run-name'} {self.name}", lost) as former:
            if former is not None:
                say(f"{self.kind} {self.name}: {former.owner}, which was at work on it, is gone; taken over")
            yield

    def write(self, content: Mapping[str, Any]) -> None:
        """Write the file with ``content`` and the place in MLflow; from here on the run or sweep exists."""
        home = {"home": str(refusion_home())}
        common = {"tracking_uri": self.tracking_uri, "experiment": self.experiment, **home}
        text = yaml.safe_dump({**common, **content, "digests": self.digests}, sort_keys=False, allow_unicode=True)
        (self.folder / self.file).write_text(text)

    def resume_arguments(self) -> list[str]:
        """Options that resume this run or sweep, wherever they are given."""
        storage = self.folder.uri.rpartition("/")[0]
        arguments = ["--resume", self.name]
        return arguments if storage == self.default_storage().uri else [*arguments, "--storage", storage]


def changed_settings(before: Mapping[str, Any], after: Mapping[str, Any], changeable: Iterable[str]) -> list[str]:
    """Dotted names of the settings that differ, without those that may.

    >>> changed_settings({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 5, "b": {"c": 4, "d": 3}}, ["a"])
    ['b.c']

    Args:
        before, after: nested mappings.
        changeable: dotted names of settings, or of whole sections.
    """
    allowed = tuple(changeable)
    return [
        key
        for key in _differing(before, after)
        if not any(key == name or key.startswith(f"{name}.") for name in allowed)
    ]


def _differing(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differing(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key}")
    return found
