from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from refusion.cli.help.settings import allowed, default_text, facts_text, settings_help
from refusion.cli.main import COMMANDS
from refusion.config.layers import leaves
from refusion.config.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
FIELDS = dict(leaves(Settings))
SLOW = ("torch", "ray", "mlflow", "pandas", "scipy", "cv2", "matplotlib", "optuna", "pyarrow")


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")


def without_slow_imports(*calls: Sequence[str]) -> list[tuple[int, str, str]]:
    """Returns (status, stdout, stderr) of calls of programs where what takes seconds to import cannot be imported."""
    program = f"""
import contextlib, io, json, runpy, sys
sys.modules.update(dict.fromkeys({SLOW}))
for call in {[list(call) for call in calls]}:
    sys.argv, out, err = call, io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            runpy.run_path(call[0], run_name="__main__")
    except SystemExit as left:
        print(json.dumps([left.code or 0, out.getvalue(), err.getvalue()]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_setting_of_the_sections_has_a_line(wide: None) -> None:
    lines = settings_help().splitlines()
    for name, field in FIELDS.items():
        if "." in name:
            (line,) = [line for line in lines if line.startswith(f"  --{name} ")]
            assert str(field.description) in " ".join([line, *lines[lines.index(line) + 1 :][:1]])
    assert "schedule: length of the training, its rates, and its inner steps" in lines
    assert "Undefined" not in "".join(lines) and "[None]" not in "".join(lines)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("schedule.epochs", ("N", "at least 1")),
        ("seed", ("N", "at least 0")),
        ("images.swap", ("true|false", "")),
        ("images.crop", ("N|{0: N, EPOCH: N}", "at least 8, at most 4096")),
        ("validation.images", ("N|{0: N, EPOCH: N}", "at least 1")),
        ("network.kind", ("refusion|module:Class", "")),
        ("objective.reward", ("published|salient|detail|module:function", "")),
        ("outer.kind", ("normalised|adam", "")),
        ("schedule.inner_rate", ("X|{kind: …}", "")),
        ("tasks", ("IVIF|MIF|MFIF|MEIF …", "")),
    ],
)
def test_allowed_values_and_their_limits(name: str, expected: tuple[str, str]) -> None:
    assert allowed(FIELDS[name]) == expected


def test_defaults_are_shown_as_they_are_written() -> None:
    shown = {name: default_text(FIELDS[name]) for name in ("seed", "tasks", "gpu", "threads", "schedule.inner_rate")}
    assert shown == {
        "seed": "0",
        "tasks": "IVIF MIF MFIF MEIF",
        "gpu": "false",
        "threads": "",
        "schedule.inner_rate": "{kind: tied, ratio: 1}",
    }


def test_each_kind_of_rate_is_listed_once_with_its_settings(wide: None) -> None:
    text = settings_help()
    (step,) = [line for line in text.splitlines() if line.startswith("    kind: step ")]
    assert "every N: epochs between two steps [10]; factor X: what the rate is multiplied by" in step
    (rest,) = [line for line in text.splitlines() if line.startswith("    kind: … ")]
    assert rest.endswith("constant, step, cosine, piecewise as of --schedule.rate")


def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    wide = [line for line in settings_help().splitlines() if len(line) > 80 and line.startswith("   ")]
    assert not wide


def test_the_lists_that_are_kept_as_texts_are_what_the_code_has() -> None:
    spec = importlib.util.spec_from_file_location("metrics_table", ROOT / "docs" / "metrics_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, text in module.help_texts().items():
        assert facts_text(name) == text.rstrip("\n"), "write the texts anew by docs/metrics_table.py"


def test_help_and_what_is_wrong_need_nothing_that_is_slow_to_import() -> None:
    programs = [command.file for command in COMMANDS.values()]
    for status, out, err in without_slow_imports(*((program, "--help") for program in programs)):
        assert (status, err) == (0, "")
        assert out.startswith("usage: ") and "Undefined" not in out
    for status, out, err in without_slow_imports(*((program, "--epochs", "3") for program in programs)):
        assert (status, out) == (2, "")
        assert err.startswith("error: ") and err.count("\n") == 1


def test_a_wrong_setting_needs_nothing_that_is_slow_to_import() -> None:
    refused = {
        ("jobs/train_all_tasks.py", "--schedule.epoch", "3"): "there is no setting --schedule.epoch here; did you mean",
        ("jobs/train_all_tasks.py", "--schedule.epochs", "0"): "--schedule.epochs must be at least 1 (it is 0)",
        ("jobs/sweep.py", "--task", "IVIF", "--images.corp", "3"): "there is no setting --images.corp here; did you",
        ("jobs/sweep.py", "--trials", "3"): "--task is missing",
    }
    for (status, _, err), message in zip(without_slow_imports(*refused), refused.values(), strict=True):
        assert status == 2
        assert err.startswith(f"error: {message}")
