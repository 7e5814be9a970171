"""Manifest in a sweep's folder: its options and where it is recorded, so that it can be resumed by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from refusion.config.layers import check, for_task
from refusion.config.presets import read_preset, recorded_settings
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.import_path import is_import_path
from refusion.runtime.foreign_code import named_code, refuse_unnamed_code
from refusion.runtime.manifest import JobRequest, Manifest, changed_settings
from refusion.runtime.run_names import with_absolute_data
from refusion.search.options import PBT_KINDS, STOPPING, SweepOptions, read_options, with_new_names
from refusion.search.schedulers.explore import check_pbt_space
from refusion.search.schedulers.imported import imported_scheduler
from refusion.search.space.fixed import fix_given
from refusion.search.space.space import Space
from refusion.search.space.validation import check_space
from refusion.search.trials.records import Journal
from refusion.tracking.relocation import followed_store
from refusion.tracking.store import resolve_tracking_uri

# Options that may differ in a resumed sweep.
_CHANGEABLE_OPTIONS = ("trials", "max_concurrent", "trials_per_gpu")
_CHANGEABLE_SETTINGS = ("threads", "recompute", "compile", "graphs", "retries", "data", "gpu")


@dataclass(frozen=True)
class SweepRequest(JobRequest):
    """Request as read from the command line; None where nothing was said.

    Attributes:
        options: of the sweep, as plain values.
        changes: settings of all trials, each laid over what came before.
        space, space_file: as ``Space.read`` takes it, and where it was read.
        given: those of the changes that the command line itself says, which are not searched then.
        preset: name of the settings that lie below the sweep file's.
    """

    options: Mapping[str, Any]
    changes: Sequence[Mapping[str, Any]]
    space: Mapping[str, Any] = field(default_factory=dict)
    space_file: str = ""
    given: Sequence[Mapping[str, Any]] = ()
    preset: str | None = None


@dataclass(kw_only=True)
class SweepManifest(Manifest):
    """A sweep's manifest: its options, its space and the settings that all trials begin with.

    Attributes:
        fixed: parameters that the command line took out of the space, with their values.
        notes: lines for the console on what became of the request; of a new sweep.
    """

    kind: ClassVar[Literal["run", "sweep"]] = "sweep"
    file: ClassVar[str] = "sweep.yaml"

    options: SweepOptions
    space: Space
    base: Settings
    fixed: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

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

    def save(self, digests: dict[str, dict[str, str]]) -> None:
        """Write the manifest; from here on the sweep exists."""
        self.digests = digests
        self.write(
            {
                "name": self.name,
                "options": self.options.model_dump(mode="json"),
                "space": self.space.plain(),
                "fixed": self.fixed,
                "base": self.base.model_dump(mode="json"),
            }
        )

    def resume_arguments(self) -> list[str]:
        """Options that resume this sweep, with the code of the user's own that all its trials run."""
        scheduler = ["--scheduler", self.options.scheduler] if is_import_path(self.options.scheduler) else []
        return [*super().resume_arguments(), *named_code(self.base), *scheduler]


def open_manifest(request: SweepRequest) -> SweepManifest:
    """Returns the manifest of a new sweep (not written yet), or of the one to resume.

    Raises:
        UserError: an option, a setting or the space is wrong, the name is taken or unfit, there is no such sweep to
            resume, or it was asked to change what a resumed sweep cannot change.
    """
    if request.resume is not None:
        return _resumed(request, request.resume)
    options = read_options(request.options)
    # The batch must divide among a trial's workers, whatever its size in a trial.
    trained = {"tasks": list(options.task), "workers": options.workers_per_trial}
    base = _of_one_task(with_absolute_data(check([*request.changes, trained])))
    try:
        searched = fix_given(Space.read(request.space), request.given, base)
        space = searched.space
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
    if options.scheduler in STOPPING and options.grace > base.schedule.epochs:
        raise UserError(
            f"--grace {options.grace}: is longer than the trials (--schedule.epochs {base.schedule.epochs}); say a "
            f"shorter --grace, train longer, or --scheduler none"
        )
    if is_import_path(options.scheduler):
        imported_scheduler(options.scheduler, base.schedule.epochs, base.seed)
    notes = [note for note in (searched.sentence(), _on_preset(request, base)) if note]
    own = {"options": options, "space": space, "base": base, "fixed": searched.fixed, "notes": notes}
    return SweepManifest.begin(request, resolve_tracking_uri(request.tracking_uri), **own)


def _on_preset(request: SweepRequest, base: Settings) -> str:
    """Returns the sentence on settings of ``--preset`` that the sweep file's base or space replaces, if it does."""
    if request.preset is None:
        return ""
    wanted = check([read_preset(request.preset), *request.given]).model_dump()
    over = changed_settings(wanted, base.model_dump(), ("tasks", "workers", "data", "per_task"))
    return f"--preset {request.preset}: over it go the sweep file's base ({', '.join(over)}) and what is searched"


def _of_one_task(base: Settings) -> Settings:
    """Returns the settings of a sweep's only task, as all its trials begin with them.

    Raises:
        UserError: the sweep is over several tasks, of which some have settings of their own.
    """
    own = [task for task in base.tasks if task in base.per_task]
    if own and len(base.tasks) > 1:
        raise UserError(
            f"--per_task.{own[0]}: trials over several tasks have one set of settings for all of them; search one "
            f"task (--task {own[0]}, or --one-per-task), or leave per_task out"
        )
    return for_task(base, base.tasks[0])


def _resumed(request: SweepRequest, name: str) -> SweepManifest:
    content = SweepManifest.read(request)
    if request.space:
        raise UserError(f"--resume {name}: goes on with its own space; leave --config out")
    before = read_options(content["options"])
    options = read_options({**with_new_names(content["options"]), **with_new_names(request.options)})
    base_before = recorded_settings(content["base"])
    refuse_unnamed_code(name, base_before, request.changes, content["space"])
    base = _of_one_task(with_absolute_data(check(request.changes, base_before)))
    changed = [
        key.replace("_", "-")
        for key in changed_settings(before.model_dump(), options.model_dump(), _CHANGEABLE_OPTIONS)
    ]
    changed += changed_settings(base_before.model_dump(), base.model_dump(), _CHANGEABLE_SETTINGS)
    SweepManifest.refuse_changes(name, changed)
    if is_import_path(before.scheduler):
        if "scheduler" not in request.options:
            raise UserError(
                f"--resume {name}: runs code from outside of this package, which its folder alone must not choose; if "
                f"you trust it, name it again: --scheduler {before.scheduler}"
            )
        imported_scheduler(before.scheduler, base.schedule.epochs, base.seed)
    if before.scheduler in PBT_KINDS and options.trials != before.trials:
        raise UserError(f"--resume {name}: a population keeps its size ({before.trials}); leave --trials out")
    uri = resolve_tracking_uri(request.tracking_uri or followed_store(content["tracking_uri"], content.get("home")))
    own = {"options": options, "space": Space.read(content["space"]), "base": base}
    return SweepManifest.resume(request, content, uri, **own, fixed=content.get("fixed") or {})
