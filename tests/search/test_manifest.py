from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from refusion.errors import UserError
from refusion.search.manifest import SweepManifest, SweepRequest, open_manifest
from refusion.search.state import SweepState

DIGESTS = {"IVIF": {"train": "11", "val": "22"}}
SPACE = ("schedule.rate.value", "schedule.inner_steps", "objective.alpha")
Ask = Callable[..., SweepRequest]
Begin = Callable[..., SweepState]


@pytest.fixture
def first(sweep: Begin) -> SweepManifest:
    """A sweep that has begun."""
    return sweep("first", trials=8, request={"experiment": "study"}).manifest


@pytest.fixture
def pbt_sweep(sweep: Begin) -> SweepManifest:
    return sweep("first", scheduler="pbt", trials=8).manifest


@pytest.fixture
def refusal(request_of: Ask) -> Callable[..., str]:
    def refused(*arguments: Any, **given: Any) -> str:
        with pytest.raises(UserError) as caught:
            open_manifest(request_of(*arguments, **given))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refused


def resumed(name: str = "first", *changes: dict[str, Any], **options: Any) -> SweepManifest:
    return open_manifest(SweepRequest(options, changes, resume=name))


def resume_refusal(*arguments: Any, **given: Any) -> str:
    with pytest.raises(UserError) as caught:
        resumed(*arguments, **given)
    return str(caught.value)


def test_a_new_sweep_lies_in_our_home(request_of: Ask, home: Path) -> None:
    manifest = open_manifest(request_of("first", base={"seed": 4}, trials=5))
    assert manifest.folder.uri == str(home / "sweeps" / "first")
    assert (manifest.options.trials, manifest.base.seed, manifest.base.tasks) == (5, 4, ("IVIF",))
    assert (manifest.experiment, manifest.resumed, manifest.digests, manifest.parts) == ("refusion", False, {}, 0)
    assert manifest.tracking_uri == f"sqlite:///{home / 'mlflow.db'}"
    assert {parameter.name for parameter in manifest.space.parameters} == set(SPACE)


def test_a_sweep_exists_only_once_it_is_saved(request_of: Ask) -> None:
    manifest = open_manifest(request_of())
    assert not manifest.folder.exists()
    manifest.save(DIGESTS)
    assert manifest.folder.names() == ["sweep.yaml"]
    assert manifest.digests == DIGESTS


def test_sweeps_without_a_name_get_one_each(request_of: Ask) -> None:
    assert len({open_manifest(request_of(None)).name for _ in range(3)}) == 3


def test_the_tasks_are_named_together(request_of: Ask) -> None:
    assert open_manifest(request_of(task=["MFIF"])).task == "MFIF"
    assert open_manifest(request_of(task=["IVIF", "MIF"])).task == "IVIF+MIF"


def test_the_data_folder_becomes_absolute(request_of: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_manifest(request_of(base={"data": "pairs"})).base.data == str(tmp_path / "pairs")


def test_options_of_the_sweep_go_before_the_base_settings(request_of: Ask) -> None:
    base = {"tasks": ["MIF"], "workers": 3, "images": {"batch": 4}}
    manifest = open_manifest(request_of(base=base, workers_per_trial=2))
    assert (manifest.base.tasks, manifest.base.workers) == (("IVIF",), 2)


def test_the_page_is_plain_yaml(first: SweepManifest) -> None:
    page = yaml.safe_load((first.folder / "sweep.yaml").read_text())
    assert (page["name"], page["experiment"], page["digests"]) == ("first", "study", DIGESTS)
    assert page["space"] == first.space.plain()
    assert page["options"]["trials"] == 8


def test_a_resumed_sweep_is_the_one_that_was_begun(first: SweepManifest) -> None:
    assert resumed() == replace(first, resumed=True)


def test_a_resumed_sweep_may_have_more_trials_and_other_machines(first: SweepManifest, tmp_path: Path) -> None:
    changes = {"threads": 2, "retries": 0, "gpu": True, "data": str(tmp_path)}
    manifest = resumed("first", changes, trials=20, max_concurrent=3)
    assert (manifest.options.trials, manifest.options.max_concurrent) == (20, 3)
    assert {name: getattr(manifest.base, name) for name in changes} == changes
    assert manifest.base.model_copy(update={name: getattr(first.base, name) for name in changes}) == first.base


def test_what_was_said_before_need_not_be_said_again_but_may(first: SweepManifest) -> None:
    assert resumed("first", {"schedule": {"epochs": 4}}, objective="Qabf", task=["IVIF"]) == resumed()


@pytest.mark.parametrize(
    ("changes", "options", "named"),
    [
        ({}, {"objective": "SSIM"}, "--objective"),
        ({}, {"scheduler": "none", "grace": 2}, "--scheduler, --grace"),
        ({}, {"held_out": 0.1}, "--held-out"),
        ({}, {"workers_per_trial": 2}, "--workers-per-trial"),
        ({"schedule": {"epochs": 5}}, {}, "--schedule.epochs"),
        ({"seed": 3, "images": {"crop": 24}}, {}, "--seed, --images.crop"),
        ({"seed": 3}, {"search": "random"}, "--search, --seed"),
    ],
)
def test_anything_else_cannot_change_and_is_named(
    first: SweepManifest, changes: dict[str, Any], options: dict[str, Any], named: str
) -> None:
    assert resume_refusal("first", changes, **options) == (
        f"--resume first: {named} cannot change in a resumed sweep; leave it out, or start a new sweep"
    )


def test_a_population_keeps_its_size(pbt_sweep: SweepManifest) -> None:
    assert resume_refusal(trials=9) == "--resume first: a population keeps its size (8); leave --trials out"
    assert resumed("first", {"threads": 2}, trials=8).base.threads == 2


def test_a_resumed_sweep_takes_no_other_space(first: SweepManifest, refusal: Callable[..., str]) -> None:
    message = refusal(None, request={"resume": "first"})
    assert message == "--resume first: goes on with its own space; leave --config out"


def test_a_resumed_sweep_keeps_its_name(first: SweepManifest, refusal: Callable[..., str]) -> None:
    message = refusal("other", space={}, request={"resume": "first"})
    assert message == "--run-name other and --resume first: a resumed sweep keeps its name; leave one out"


@pytest.mark.parametrize("name", ["second", "../first", "", "f"])
def test_of_unknown_sweeps_those_that_there_are_are_named(first: SweepManifest, home: Path, name: str) -> None:
    assert resume_refusal(name) == (
        f"--resume {name}: there is no such sweep in {home / 'sweeps'} (there are: first); see also --storage"
    )


def test_without_any_sweep_that_is_said(home: Path) -> None:
    assert "(there are no sweeps)" in resume_refusal("first")


def test_a_resumed_sweep_is_recorded_where_it_was_unless_told_otherwise(first: SweepManifest, home: Path) -> None:
    uri = f"sqlite:///{home / 'other.db'}"
    moved = open_manifest(SweepRequest({}, [], resume="first", tracking_uri=uri, experiment="moved"))
    assert (moved.tracking_uri, moved.experiment) == (uri, "moved")
    assert (resumed().tracking_uri, resumed().experiment) == (first.tracking_uri, "study")


def test_the_arguments_to_resume_say_the_storage_only_where_it_is_needed(request_of: Ask, tmp_path: Path) -> None:
    assert open_manifest(request_of()).resume_arguments() == ["--resume", "first"]
    elsewhere = open_manifest(request_of(request={"storage": str(tmp_path / "disk")}))
    assert elsewhere.resume_arguments() == ["--resume", "first", "--storage", str(tmp_path / "disk")]


def test_other_images_are_refused(first: SweepManifest) -> None:
    manifest = resumed()
    manifest.check_same_images(DIGESTS)
    for split in ("train", "val"):
        with pytest.raises(UserError, match=rf"^--resume first: the images of IVIF/{split} are not those"):
            manifest.check_same_images({"IVIF": {**DIGESTS["IVIF"], split: "33"}})


def test_the_parts_of_a_sweep_are_counted_by_their_folders(first: SweepManifest) -> None:
    for name in ("part_001/x", "part_002/x", "trials/x"):
        (first.folder / name).write_text("")
    assert first.parts == 2


def test_a_taken_name_is_refused_with_both_ways_out(
    first: SweepManifest, refusal: Callable[..., str], home: Path
) -> None:
    assert refusal("first") == (
        f"--run-name first: there is a sweep of this name in {home / 'sweeps'}; choose another name, "
        "or go on with that sweep by --resume first"
    )


@pytest.mark.parametrize("name", ["../escape", "a/b", "with space", ".hidden", "-x", "é", "x" * 101])
def test_an_unfit_name_is_refused(refusal: Callable[..., str], name: str) -> None:
    assert refusal(name).startswith(f"--run-name {name!r}: use letters, digits")


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ({"trials": 0}, "--trials must be at least 1"),
        ({"base": {"seed": -1}}, "--seed must be at least 0"),
        (
            {"space": {"schedule.rat.value": [1e-3]}},
            "--config sweep.yaml: schedule.rat.value: there is no such setting",
        ),
        ({"space": {"schedule.epochs": [4, 8]}}, "--config sweep.yaml: schedule.epochs: cannot be searched"),
        ({"space": {"images.crop": {"low": 4, "high": 16}}}, "--config sweep.yaml: images.crop: 4 is never valid"),
        ({"space": {"images.batch": [2, 3]}, "workers_per_trial": 2}, "--config sweep.yaml: images.batch: 3 is never"),
        ({"search": "grid"}, "--config sweep.yaml: objective.alpha: a grid needs"),
        ({"scheduler": "pbt", "space": {"images.crop": [16, 24]}}, "--config sweep.yaml: images.crop: cannot change"),
        ({"scheduler": "pbt", "interval": 4}, "--interval 4: no exchange takes place within --schedule.epochs 4"),
        ({"scheduler": "pb2", "interval": 9}, "--interval 9: no exchange takes place within --schedule.epochs 4"),
        ({"grace": 5}, "--grace 5: is longer than the trials (--schedule.epochs 4)"),
        ({"base": {"images": {"batch": 3}}, "workers_per_trial": 2}, "images.batch (3) must be a multiple of workers"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_written(
    refusal: Callable[..., str], home: Path, given: dict[str, Any], start: str
) -> None:
    assert refusal("first", **given).startswith(start)
    assert not (home / "sweeps").exists()


@pytest.mark.parametrize(
    "given", [{"scheduler": "pbt", "interval": 3}, {"grace": 4}, {"interval": 9}, {"scheduler": "none", "grace": 5}]
)
def test_the_longest_interval_and_grace_are_taken(request_of: Ask, given: dict[str, Any]) -> None:
    options = open_manifest(request_of(**given)).options
    assert {name: getattr(options, name) for name in given} == given


def test_a_sweep_with_a_scheduler_of_the_users_own_names_it_again_to_go_on(sweep: Begin, request_of: Ask) -> None:
    path = "ray.tune.schedulers:FIFOScheduler"
    manifest = sweep("first", scheduler=path).manifest
    assert manifest.resume_arguments() == ["--resume", "first", "--scheduler", path]
    assert resumed(scheduler=path).options.scheduler == path
    assert resume_refusal() == (
        "--resume first: runs code from outside of this package, which its folder alone must not choose; if you trust "
        f"it, name it again: --scheduler {path}"
    )
    assert "--scheduler cannot change" in resume_refusal(scheduler="ray.tune.schedulers:TrialScheduler")
    with pytest.raises(UserError, match=r"^--scheduler os:system: is no subclass of ray\.tune\.schedulers"):
        open_manifest(request_of("second", scheduler="os:system"))


def test_a_manifest_that_names_foreign_code_runs_none_of_it(
    sweep: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign_code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    file = sweep("first").manifest.folder / "sweep.yaml"
    file.write_text(file.read_text().replace("scheduler: asha", "scheduler: foreign_code:Scheduler"))
    assert "foreign_code:Scheduler" in resume_refusal()
    assert not (tmp_path / "ran").exists()


def test_a_sweep_that_was_begun_with_an_older_spelling_goes_on(sweep: Begin) -> None:
    file = sweep("first", held_out=0.25).manifest.folder / "sweep.yaml"
    file.write_text(file.read_text().replace("held_out: 0.25", "held_back: 0.25"))
    assert "held_back" in file.read_text() and "held_out" not in file.read_text()
    assert resumed().options.held_out == 0.25
    assert resumed(held_back=0.25).options.held_out == resumed(held_out=0.25).options.held_out == 0.25
    assert resume_refusal(held_out=0.5).startswith("--resume first: --held-out cannot change in a resumed sweep")


def test_a_sweep_of_one_task_begins_with_the_tasks_own_settings(request_of: Ask) -> None:
    own = {"per_task": {"IVIF": {"images": {"crop": 24}}, "MIF": {"images": {"crop": 48}}}}
    base = open_manifest(request_of("first", base=own)).base
    assert (base.images.crop, base.per_task) == (24, {})


def test_a_sweep_of_several_tasks_has_one_set_of_settings(request_of: Ask, refusal: Callable[..., str]) -> None:
    own = {"per_task": {"MIF": {"images": {"crop": 48}}}}
    message = refusal("first", base=own, task=["IVIF", "MIF"])
    assert message.startswith("--per_task.MIF: trials over several tasks have one set of settings")
    assert open_manifest(request_of("first", base=own, task=["IVIF", "MFIF"])).base.per_task == {}
