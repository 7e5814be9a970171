"""Manifest in a sweep's folder: its options and where it is recorded, so that it can be resumed by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import yaml

from refusion.config.layers import check, leaves
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.home import refusion_home
from refusion.import_path import is_import_path
from refusion.runtime.run_names import new_name, resumed_name, with_absolute_data
from refusion.runtime.storage import Folder
from refusion.search.options import PBT_KINDS, SweepOptions, read_options, with_new_names
from refusion.search.schedulers.explore import check_pbt_space
from refusion.search.schedulers.imported import imported_scheduler
from refusion.search.space.space import Space
from refusion.search.space.validation import check_space
from refusion.search.trials.records import Journal
from refusion.tracking.store import resolve_tracking_uri

_FILE = "sweep.yaml"
# Options that may differ in a resumed sweep.
_CHANGEABLE_OPTIONS = ("trials", "max_concurrent")
_CHANGEABLE_SETTINGS = ("threads", "recompute", "compile", "retries", "data", "gpu")


@dataclass(frozen=True)
class SweepRequest:
    """Request as read from the command line; None where nothing was said.

    Attributes:
        options: of the sweep, as plain values.
        changes: settings of all trials, each laid over what came before.
        space: as ``Space.read`` takes it, and where it was read.
    """

    options: Mapping[str, Any]
    changes: Sequence[Mapping[str, Any]]
    space: Mapping[str, Any] = field(default_factory=dict)
    space_file: str = ""
    run_name: str | None = None
    storage: str | None = None
    tracking_uri: str | None = None
    experiment: str | None = None
    resume: str | None = None


@dataclass
class SweepManifest:
    """A sweep's name, folder, options, space, base settings and place in MLflow."""

    name: str
    folder: Folder
    options: SweepOptions
    space: Space
    base: Settings
    tracking_uri: str
    experiment: str
    resumed: bool
    digests: dict[str, dict[str, str]]

    @property
    def journal(self) -> Journal:
        """The trials' records."""
        return Journal(self.folder)

    @property
    def task(self) -> str:
        """The task's name, or those of several joined."""
        return self.options.task[0] if len(self.options.task) == 1 else "+".join(self.options.task)

    @property
    def parts(self) -> int:
        """Number of times that the sweep was begun or resumed before."""
        return sum(1 for name in self.folder.names() if name.startswith("part_"))

    def check_same_images(self, digests: dict[str, dict[str, str]]) -> None:
        """Refuse to resume with other images.

        Raises:
            UserError: names the task.
        """
        for task, splits in self.digests.items():
            if digests.get(task, splits) != splits:
                raise UserError(
                    f"--resume {self.name}: the images of {task} are not those the sweep began with; "
                    "put them back, or start a new sweep"
                )

    def save(self, digests: dict[str, dict[str, str]]) -> None:
        """Write the manifest; from here on the sweep exists."""
        self.digests = digests
        content = {
            "name": self.name,
            "tracking_uri": self.tracking_uri,
            "experiment": self.experiment,
            "options": self.options.model_dump(mode="json"),
            "space": self.space.plain(),
            "base": self.base.model_dump(mode="json"),
            "digests": digests,
        }
        (self.folder / _FILE).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))

    def resume_arguments(self) -> list[str]:
        """Options that resume this sweep, wherever they are given."""
        storage = self.folder.uri.rpartition("/")[0]
        arguments = ["--resume", self.name]
        if is_import_path(self.options.scheduler):
            arguments += ["--scheduler", self.options.scheduler]
        return arguments if storage == default_storage().uri else [*arguments, "--storage", storage]


def default_storage() -> Folder:
    """``$REFUSION_HOME/sweeps``."""
    return Folder.at(refusion_home() / "sweeps")


def open_manifest(request: SweepRequest) -> SweepManifest:
    """Returns the manifest of a new sweep (not written yet), or of the one to resume.

    Raises:
        UserError: an option, a setting or the space is wrong, the name is taken or unfit, there is no such sweep to
            resume, or it was asked to change what a resumed sweep cannot change.
    """
    storage = Folder.at(request.storage) if request.storage else default_storage()
    if request.resume is not None:
        return _resumed(request, storage)
    options = read_options(request.options)
    # The batch must divide among a trial's workers, whatever its size in a trial.
    own = {"tasks": list(options.task), "workers": options.workers_per_trial}
    base = with_absolute_data(check([*request.changes, own]))
    try:
        space = Space.read(request.space)
        check_space(space, base)
        if options.search == "grid":
            space.grid()
        if options.scheduler in PBT_KINDS:
            check_pbt_space(options.scheduler, space, base)
    except UserError as error:
        raise UserError(f"--config {request.space_file}: {error}") from error
    if options.scheduler in PBT_KINDS and options.interval >= base.schedule.epochs:
        raise UserError(
            f"--interval {options.interval}: no exchange takes place within --schedule.epochs "
            f"{base.schedule.epochs}; make the interval shorter or train longer"
        )
    if options.grace > base.schedule.epochs:
        raise UserError(
            f"--grace {options.grace}: is longer than the trials (--schedule.epochs {base.schedule.epochs})"
        )
    if is_import_path(options.scheduler):
        imported_scheduler(options.scheduler, base.schedule.epochs, base.seed)
    name = new_name(request.run_name, storage, "sweep")
    uri = resolve_tracking_uri(request.tracking_uri)
    return SweepManifest(name, storage / name, options, space, base, uri, request.experiment or "refusion", False, {})


def _resumed(request: SweepRequest, storage: Folder) -> SweepManifest:
    name = resumed_name(str(request.resume), request.run_name, storage, "sweep", _FILE)
    content = yaml.safe_load((storage / name / _FILE).read_text())
    if request.space:
        raise UserError(f"--resume {name}: goes on with its own space; leave --config out")
    before = read_options(content["options"])
    options = read_options({**with_new_names(content["options"]), **with_new_names(request.options)})
    base_before = Settings.model_validate(content["base"])
    base = with_absolute_data(check(request.changes, base_before))
    changed = [
        f"--{key.replace('_', '-')}"
        for key in SweepOptions.model_fields
        if getattr(before, key) != getattr(options, key) and key not in _CHANGEABLE_OPTIONS
    ]
    changed += [
        f"--{key}"
        for key, _ in leaves(Settings)
        if attrgetter(key)(base_before) != attrgetter(key)(base) and key not in _CHANGEABLE_SETTINGS
    ]
    if changed:
        what = ", ".join(changed)
        raise UserError(f"--resume {name}: {what} cannot change in a resumed sweep; leave it out, or start a new sweep")
    if is_import_path(before.scheduler):
        if "scheduler" not in request.options:
            raise UserError(
                f"--resume {name}: decides by code of your own, which runs only if you name it again: "
                f"--scheduler {before.scheduler}"
            )
        imported_scheduler(before.scheduler, base.schedule.epochs, base.seed)
    if before.scheduler in PBT_KINDS and options.trials != before.trials:
        raise UserError(f"--resume {name}: a population keeps its size ({before.trials}); leave --trials out")
    uri = resolve_tracking_uri(request.tracking_uri or content["tracking_uri"])
    experiment = request.experiment or content["experiment"]
    space = Space.read(content["space"])
    return SweepManifest(name, storage / name, options, space, base, uri, experiment, True, content["digests"])
