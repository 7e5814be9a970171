from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.runtime.lifetime.changed_pairs import write_pairs
from refusion.tasks import TASKS
from refusion.training.manifest import RunManifest, RunRequest, open_manifest

DIGESTS = {"IVIF": {"train": "11", "val": "22"}}


def opened(*changes: dict[str, Any], **request: Any) -> RunManifest:
    return open_manifest(RunRequest(changes, **request))


def refusal(*changes: dict[str, Any], **request: Any) -> str:
    with pytest.raises(UserError) as caught:
        opened(*changes, **request)
    return str(caught.value)


@pytest.fixture
def run(home: Path) -> RunManifest:
    """A run that has begun."""
    manifest = opened({"tasks": ["IVIF"], "schedule": {"epochs": 3}}, run_name="first", experiment="study")
    assert manifest.folder.uri.startswith(str(home))
    manifest.save(manifest.settings, DIGESTS)
    return manifest


def test_a_new_run_lies_in_our_home_with_the_settings_asked_for(home: Path) -> None:
    manifest = opened({"seed": 4}, run_name="first")
    assert manifest.folder.uri == str(home / "runs" / "first")
    assert manifest.settings == Settings(seed=4)
    assert (manifest.experiment, manifest.resumed, manifest.digests) == ("refusion", False, {})
    assert manifest.tracking_uri == f"sqlite:///{home / 'mlflow.db'}"


@pytest.mark.parametrize("folders", [("IVIF",), ("MFIF", "IVIF"), ("IVIF", "MIF", "MFIF", "MEIF", "others")])
def test_without_tasks_those_of_the_folder_are_trained(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        (tmp_path / "data" / folder).mkdir(parents=True)
    data = {"data": str(tmp_path / "data")}
    manifest = opened(data)
    assert manifest.settings.tasks == tuple(task for task in TASKS if task in folders)
    assert manifest.lacking == tuple(task for task in TASKS if task not in folders)
    assert opened(data, {"tasks": ["MEIF"]}).settings.tasks == ("MEIF",)
    assert opened({"tasks": ["MIF"]}, data).lacking == ()


def test_a_folder_without_any_task_is_refused(tmp_path: Path) -> None:
    assert refusal({"data": str(tmp_path)}).startswith(
        f"--data {tmp_path}: there is no folder of a task in {tmp_path}; it must hold TASK/{{train,val}}/{{a,b}}"
    )


def test_a_run_exists_only_once_it_is_saved() -> None:
    manifest = opened(run_name="first")
    assert not manifest.folder.exists()
    assert opened(run_name="first").name == "first"
    manifest.save(manifest.settings, DIGESTS)
    assert manifest.folder.names() == ["job.yaml"]


def test_runs_without_a_name_get_one_each() -> None:
    names = {opened().name for _ in range(3)}
    assert len(names) == 3


def test_the_file_is_plain_yaml(run: RunManifest) -> None:
    page = yaml.safe_load((run.folder / "job.yaml").read_text())
    assert Settings.model_validate(page["settings"]) == run.settings
    assert (page["run_name"], page["experiment"], page["digests"]) == ("first", "study", DIGESTS)


@pytest.mark.usefixtures("run")
def test_a_taken_name_is_refused_with_both_ways_out() -> None:
    message = refusal(run_name="first")
    assert message.startswith("--run-name first: there is a run of this name in ")
    assert "choose another name" in message
    assert "--resume first" in message


@pytest.mark.parametrize("name", ["", "../escape", "a/b", "with space", ".hidden", "-x", "é", "x" * 101])
def test_an_unfit_name_is_refused(name: str) -> None:
    if name == "":
        # An empty name is none at all.
        assert opened(run_name=name).name
    else:
        assert refusal(run_name=name).startswith(f"--run-name {name!r}: use letters, digits")


def test_a_wrong_setting_is_refused_before_anything_is_written(home: Path) -> None:
    assert refusal({"seed": -1}, run_name="first").startswith("--seed must be at least 0")
    assert not (home / "runs").exists()


@pytest.mark.usefixtures("run")
def test_a_resumed_run_is_what_it_was() -> None:
    manifest = opened(resume="first")
    assert (manifest.name, manifest.experiment, manifest.resumed) == ("first", "study", True)
    assert manifest.settings.schedule.epochs == 3
    assert manifest.settings.tasks == ("IVIF",)
    assert manifest.digests == DIGESTS


@pytest.mark.usefixtures("run")
def test_an_unknown_run_is_refused_with_those_there_are() -> None:
    message = refusal(resume="second")
    assert message.startswith("--resume second: there is no such run in ")
    assert "there are: first" in message


@pytest.mark.parametrize("name", ["first", "../runs/first", ""])
def test_where_there_are_no_runs_there_is_nothing_to_resume(name: str) -> None:
    assert "there are no runs" in refusal(resume=name)


@pytest.mark.usefixtures("run")
def test_a_resumed_run_keeps_its_name() -> None:
    assert "a resumed run keeps its name" in refusal(resume="first", run_name="second")
    assert opened(resume="first", run_name="first").name == "first"


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "--seed"),
        ({"images": {"crop": 96}}, "--images.crop"),
        ({"schedule": {"rate": 1e-3}}, "--schedule.rate.value"),
        ({"schedule": {"rate": {"kind": "step"}}}, "--schedule.rate.kind"),
        ({"network": {"blocks": 1}}, "--network.blocks"),
    ],
)
def test_what_would_make_it_another_training_is_refused(change: dict[str, Any], named: str) -> None:
    message = refusal(change, resume="first")
    assert message.startswith("--resume first: --")
    assert named in message
    assert "cannot change in a resumed run" in message


@pytest.mark.usefixtures("run")
def test_the_same_value_again_is_no_change() -> None:
    assert opened({"seed": 0}, resume="first").resumed


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    "change",
    [
        {"schedule": {"epochs": 9}},
        {"workers": 2},
        {"threads": 1},
        {"gpu": True},
        {"retries": 0},
        {"tasks": ["IVIF", "MIF"]},
        {"checkpoints": {"keep": 1}},
        {"validation": {"every": 2, "pictures": 0}},
    ],
)
def test_what_leaves_the_training_the_same_may_change(change: dict[str, Any]) -> None:
    resumed = opened(change, resume="first").settings.model_dump(mode="json")
    (section, value), *_ = change.items()
    assert resumed[section] == value if not isinstance(value, dict) else value.items() <= resumed[section].items()


def test_the_tasks_of_an_earlier_part_stay_the_runs(run: RunManifest) -> None:
    resumed = opened({"tasks": ["MIF"]}, resume="first")
    resumed.save(resumed.settings, {"MIF": {"train": "33", "val": "44"}})
    again = opened(resume="first")
    assert again.settings.tasks == ("IVIF", "MIF")
    assert set(again.digests) == {"IVIF", "MIF"}
    assert run.folder == again.folder


def test_other_images_are_refused_by_task_and_split(run: RunManifest) -> None:
    run.check_same_images(DIGESTS)
    run.check_same_images({"MIF": {"train": "0", "val": "0"}})
    write_pairs(run.folder, {"IVIF": {"val": {"kept": "1", "gone": "2", "other": "3"}}})
    now = {"IVIF": {"val": {"kept": "1", "other": "4", "new": "5"}}}
    said = (
        r"^--resume .*: the images of IVIF/val are not those the run began with: 1 added \(new\), 1 removed \(gone\), "
    )
    with pytest.raises(UserError, match=said + r"1 edited \(other\); .*--allow-changed-data"):
        run.check_same_images({"IVIF": {"train": "11", "val": "99"}}, now)
    (sentence,) = run.check_same_images({"IVIF": {"train": "11", "val": "99"}}, now, allow=True)
    assert sentence.endswith("1 edited (other); goes on with them as they are now")
    with pytest.raises(UserError, match="the images of IVIF/val are not those the run began with"):
        run.check_same_images({"IVIF": {"train": "11", "val": "99"}})


def test_own_data_is_found_from_wherever_it_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs" / "IVIF").mkdir(parents=True)
    assert opened({"data": "pairs"}).settings.data == str(tmp_path / "pairs")
    assert opened().settings.data == "builtin"


def test_resuming_needs_the_storage_only_where_it_is_not_ours(tmp_path: Path) -> None:
    assert opened(run_name="first").resume_arguments() == ["--resume", "first"]
    elsewhere = opened(run_name="first", storage=str(tmp_path / "else"))
    assert elsewhere.resume_arguments() == ["--resume", "first", "--storage", str(tmp_path / "else")]
    elsewhere.save(elsewhere.settings, {})
    assert opened(resume="first", storage=str(tmp_path / "else")).resumed


def test_a_run_of_the_users_own_code_is_resumed_only_where_that_is_named_again() -> None:
    kind = {"network": {"kind": "mine:Net"}}
    manifest = opened(kind, {"network": {"options": {"width": 3}}}, run_name="foreign")
    manifest.save(manifest.settings, DIGESTS)
    assert manifest.resume_arguments() == ["--resume", "foreign", "--network.kind", "mine:Net"]
    assert "name it again: --network.kind mine:Net" in refusal(resume="foreign")
    assert opened(kind, resume="foreign").settings == manifest.settings


def test_settings_of_a_task_are_resumed_and_cannot_change() -> None:
    own = {"per_task": {"MIF": {"images": {"crop": {0: 32, 2: 48}}, "schedule": {"epochs": 4}}}}
    manifest = opened(own, run_name="each")
    manifest.save(manifest.settings, DIGESTS)
    assert opened(resume="each").settings == manifest.settings
    assert opened(own, resume="each").settings == manifest.settings
    longer = opened({"per_task": {"MIF": {"schedule": {"epochs": 6}}}}, {"checkpoints": {"keep": 1}}, resume="each")
    assert longer.settings.per_task["MIF"]["schedule"] == {"epochs": 6}
    message = refusal({"per_task": {"MIF": {"images": {"batch": 16}}}}, resume="each")
    assert message.startswith("--resume each: --per_task.MIF.images.batch cannot change in a resumed run")
    assert "--images.crop cannot change" in refusal({"images": {"crop": 96}}, resume="each")
