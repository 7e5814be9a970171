from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from refusion.cli import sweep as command
from refusion.cli.sweep import read_requests, sweep
from refusion.config.layers import check
from refusion.errors import UserError
from refusion.search.manifest import SweepRequest, open_manifest
from refusion.tasks import TASKS

PRESETS = Path(__file__).resolve().parents[2] / "jobs" / "presets"
CONTENT: dict[str, Any] = {
    "base": {"schedule": {"epochs": 3}, "seed": 5},
    "space": {"objective.alpha": [0.5, 1.0, 2.0]},
    "sweep": {"task": ["MIF"], "trials": 3, "max-concurrent": 2, "search": "grid"},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path, CONTENT)


def written(folder: Path, content: Any) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def asked(*arguments: str) -> SweepRequest:
    (request,) = read_requests(arguments)
    return request


def refusal(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        read_requests(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("option", "meant"),
    [("--workers", "--workers-per-trial"), ("--worker", "--workers-per-trial"), ("--tasks", "--task")],
)
def test_a_setting_that_a_sweep_says_otherwise_is_answered_with_its_own_option(option: str, meant: str) -> None:
    assert refusal(option, "2") == f"there is no option {option}; did you mean {meant}?"


def test_a_sweep_file_gives_base_space_and_options(file: Path) -> None:
    request = asked("--config", str(file))
    assert request.options == {"task": ["MIF"], "trials": 3, "max_concurrent": 2, "search": "grid"}
    assert (request.space, request.space_file) == (CONTENT["space"], str(file))
    manifest = open_manifest(request)
    assert (manifest.base.schedule.epochs, manifest.base.seed, manifest.base.tasks) == (3, 5, ("MIF",))


def test_the_command_line_goes_before_the_file(file: Path, tmp_path: Path) -> None:
    manifest = open_manifest(
        asked(
            "--config", str(file), "--task", "ivif", "mif", "--trials", "2", "--scheduler", "none", "--seed", "6",
            "--data", str(tmp_path), "--schedule.rate", "1e-3", "--schedule.epochs=2", "--run-name", "named",
            "--storage", str(tmp_path / "disk"), "--tracking-uri", "http://here:5000", "--experiment", "study",
        )
    )  # fmt: skip
    assert (manifest.options.task, manifest.options.trials) == (("IVIF", "MIF"), 2)
    assert (manifest.options.scheduler, manifest.options.search, manifest.options.max_concurrent) == ("none", "grid", 2)
    assert (manifest.base.seed, manifest.base.data, manifest.base.schedule.epochs) == (6, str(tmp_path), 2)
    assert manifest.base.schedule.rate.model_dump()["value"] == 1e-3
    assert (manifest.name, manifest.folder.uri) == ("named", str(tmp_path / "disk" / "named"))
    assert (manifest.tracking_uri, manifest.experiment) == ("http://here:5000", "study")


def test_every_option_of_a_sweep_is_one_of_the_command() -> None:
    given = {
        "task": ["all"], "trials": "9", "objective": "SSIM,Qabf:2", "search": "random", "sampler": "gp",
        "scheduler": "hyperband", "grace": "2", "reduction": "4", "interval": "3", "max_concurrent": "5",
        "workers_per_trial": "2", "gpu_per_trial": "1.0", "held_out": "0.25", "warm_start": ["one", "two"],
        "trials_per_gpu": "3",
    }  # fmt: skip
    arguments: list[str] = []
    for name, value in given.items():
        arguments += [f"--{name.replace('_', '-')}", *([value] if isinstance(value, str) else value)]
    assert asked(*arguments).options == {**given, "task": list(TASKS)}
    assert set(given) == set(command.SweepOptions.model_fields)


def test_held_back_is_still_read_as_held_out(tmp_path: Path) -> None:
    assert asked("--task", "IVIF", "--held-back", "0.25").options["held_out"] == "0.25"
    for spelling in ("held_back", "held-back", "held_out", "held-out"):
        path = written(tmp_path, {**CONTENT, "sweep": {"task": "IVIF", spelling: 0.25}})
        assert open_manifest(asked("--config", str(path))).options.held_out == 0.25
        assert asked("--config", str(path), "--held-back", "0.1").options["held_out"] == "0.1"


@pytest.mark.parametrize(
    ("given", "tasks"), [("all", list(TASKS)), ("mif", ["MIF"]), (["ivif", "Mfif"], ["IVIF", "MFIF"])]
)
def test_tasks_are_written_in_any_case_in_the_file_too(tmp_path: Path, given: Any, tasks: list[str]) -> None:
    path = written(tmp_path, {**CONTENT, "sweep": {"task": given}})
    assert asked("--config", str(path)).options["task"] == tasks


@pytest.mark.parametrize(
    ("arguments", "preset"),
    [
        ((), "sweep-schedules.yaml"),
        (("--scheduler", "asha"), "sweep-schedules.yaml"),
        (("--scheduler", "pbt"), "sweep-pbt.yaml"),
        (("--scheduler", "pb2"), "sweep-pbt.yaml"),
    ],
)
def test_without_a_file_a_preset_is_searched(arguments: Sequence[str], preset: str) -> None:
    request = asked("--task", "IVIF", *arguments)
    assert request.space_file == str(PRESETS / preset)
    assert open_manifest(request).options.scheduler == (arguments[1] if arguments else "asha")


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("sweep-*.yaml")), ids=lambda path: path.stem)
def test_every_preset_can_be_searched(preset: Path) -> None:
    manifest = open_manifest(asked("--config", str(preset), "--task", "all"))
    assert manifest.space.plain().keys() == yaml.safe_load(preset.read_text(encoding="utf-8"))["space"].keys()


def test_a_sweep_is_resumed_by_its_name_alone() -> None:
    request = asked("--resume", "first", "--trials", "40", "--threads", "2")
    assert (request.resume, request.options, request.space) == ("first", {"trials": "40"}, {})
    assert {key: value for change in request.changes for key, value in change.items()} == {"threads": "2"}


def test_a_file_with_a_resume_is_not_passed_over_in_silence(file: Path) -> None:
    assert asked("--resume", "first", "--config", str(file)).space == CONTENT["space"]


def test_one_sweep_per_task(file: Path) -> None:
    requests = read_requests(["--config", str(file), "--task", "ivif", "mfif", "--one-per-task", "--run-name", "night"])
    assert [(request.options["task"], request.run_name) for request in requests] == [
        (["IVIF"], "night-IVIF"),
        (["MFIF"], "night-MFIF"),
    ]
    assert all(request.space == CONTENT["space"] and request.options["trials"] == 3 for request in requests)


def test_one_sweep_per_task_of_all_tasks(tmp_path: Path) -> None:
    path = written(tmp_path, {"space": CONTENT["space"]})
    requests = read_requests(["--config", str(path), "--one-per-task", "--run-name", "night"])
    assert [request.run_name for request in requests] == [f"night-{task}" for task in TASKS]


def test_sweeps_per_task_are_resumed_together() -> None:
    requests = read_requests(["--resume", "night", "--task", "IVIF", "MIF", "--one-per-task"])
    assert [(request.resume, request.run_name, request.options) for request in requests] == [
        ("night-IVIF", None, {"task": ["IVIF"]}),
        ("night-MIF", None, {"task": ["MIF"]}),
    ]


def test_sweeps_per_task_need_a_name() -> None:
    assert refusal("--one-per-task") == (
        "--one-per-task: name the sweeps by --run-name NAME; they are called NAME-TASK"
    )


@pytest.mark.parametrize(
    ("content", "end"),
    [
        ({"space": {}, "base": {}}, "there is no space to search; name parameters under `space:`"),
        ({}, "there is no space to search; name parameters under `space:`"),
        ({"spaces": {}}, "a sweep file has the sections base, space, sweep, not 'spaces'"),
        ({"space": ["objective.alpha"]}, "space must be a mapping (name: …)"),
        ({**CONTENT, "base": 3}, "base must be a mapping (name: …)"),
        ({**CONTENT, "sweep": "asha"}, "sweep must be a mapping (name: …)"),
        ([1], "must hold settings as a mapping (section: …), not list"),
    ],
)
def test_a_wrong_sweep_file_is_named(tmp_path: Path, content: Any, end: str) -> None:
    path = written(tmp_path, content)
    assert refusal("--config", str(path)) == f"--config {path}: {end}"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert refusal("--config", str(tmp_path / "none.yaml")).startswith(f"--config {tmp_path / 'none.yaml'}: cannot be")


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (("--trial", "3"), "there is no option --trial"),
        (("--workers", "2"), "there is no option --workers"),
        (("--tasks", "IVIF"), "there is no option --tasks"),
        (("--trials",), "argument --trials: expected one argument"),
        (("--schedule.rate",), "--schedule.rate lacks its value"),
        (("IVIF",), "'IVIF' is not understood"),
    ],
)
def test_a_wrong_argument_is_named(file: Path, arguments: Sequence[str], start: str) -> None:
    assert refusal("--config", str(file), *arguments).startswith(start)


def test_a_wrong_option_of_the_file_is_named_as_on_the_command_line(tmp_path: Path) -> None:
    path = written(tmp_path, {**CONTENT, "sweep": {"task": "MIF", "trails": 3}})
    with pytest.raises(UserError, match=r"^there is no option --trails of a sweep"):
        open_manifest(asked("--config", str(path)))


def test_help_tells_every_option_and_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_requests(["--help"], "Search for settings.")
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert "Search for settings." in text
    options = [f"--{name.replace('_', '-')}" for name in command.SweepOptions.model_fields]
    for option in (*options, "--one-per-task", "--resume", "--data", "--schedule.inner_steps", "--objective.alpha"):
        assert f"{option} " in text
    assert "[asha]" in text
    assert "[None]" not in text.partition("settings (each")[0].partition("--threads")[0]


def test_each_sweep_is_run_and_the_worst_status_returned(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[str | None] = []

    def run_sweep(request: SweepRequest, *_: Any) -> int:
        run.append(request.run_name)
        return 1 if request.run_name == "night-IVIF" else 0

    monkeypatch.setattr("refusion.search.sweep.run_sweep", run_sweep)
    common = ["--config", str(file), "--run-name", "night"]
    assert sweep([*common, "--task", "IVIF", "MIF", "--one-per-task"], "") == 1
    assert run == ["night-IVIF", "night-MIF"]
    assert sweep([*common, "--task", "MIF"], "") == 0


def test_help_shows_no_default_of_what_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        sweep(["--help"], "")
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "--task" in shown and "[16]" in shown
    assert "Undefined" not in shown


def test_a_preset_lies_below_the_file_and_the_command_line(file: Path) -> None:
    manifest = open_manifest(asked("--preset", "published", "--config", str(file), "--images.crop", "32"))
    base = manifest.base
    assert (base.schedule.epochs, base.schedule.meta_iterations, base.images.crop) == (3, 600, 32)
    assert refusal("--preset", "nothing", "--task", "IVIF").startswith("--preset nothing: there is no such preset")


@pytest.mark.parametrize(
    "base", [{"base": {"schedule.epochs": 3, "seed": 5}}, {"base.schedule.epochs": 3, "base": {"seed": 5}}]
)
def test_dotted_names_in_a_sweep_file(tmp_path: Path, base: dict[str, Any]) -> None:
    content = {**CONTENT, "base": {}, **base}
    [request] = read_requests(["--config", str(written(tmp_path, content))])
    settings = check(request.changes)
    assert (settings.schedule.epochs, settings.seed) == (3, 5)
