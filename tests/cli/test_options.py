from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from refusion.cli.options import (
    Parser,
    add_plain_options,
    given_options,
    parse_dotted,
    run_command,
)
from refusion.cli.train import read_request
from refusion.config.layers import check, leaves
from refusion.config.settings import Settings
from refusion.errors import UserError


def exit_status(command: Callable[[Sequence[str], str], int], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", ["job.py", "--seed", "3"])
    with pytest.raises(SystemExit) as caught:
        run_command(command, "What the job does.")
    return caught.value.code


def parsed(*arguments: str) -> dict[str, Any]:
    parser = Parser()
    add_plain_options(parser)
    return given_options(parser.parse_args(arguments))


def test_a_command_gets_arguments_and_description_and_says_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def command(arguments: Sequence[str], description: str) -> int:
        seen.extend([list(arguments), description])
        return 1

    assert exit_status(command, monkeypatch) == 1
    assert seen == [["--seed", "3"], "What the job does."]


def test_a_users_mistake_is_status_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(_arguments: Sequence[str], _description: str) -> int:
        raise UserError("--data X: there is no folder X")

    assert exit_status(command, monkeypatch) == 2
    assert capsys.readouterr() == ("", "error: --data X: there is no folder X\n")


def test_an_interruption_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def command(_arguments: Sequence[str], _description: str) -> int:
        raise KeyboardInterrupt

    assert exit_status(command, monkeypatch) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_our_own_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(_arguments: Sequence[str], _description: str) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["job.py"])
    with pytest.raises(ZeroDivisionError):
        run_command(command, None)


def test_dotted_options_become_sections_in_their_order() -> None:
    assert parse_dotted(["--schedule.rate", "2e-4", "--images.crop=64", "--schedule.rate.kind", "cosine"]) == [
        {"schedule": {"rate": "2e-4"}},
        {"images": {"crop": 64}},
        {"schedule": {"rate": {"kind": "cosine"}}},
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("-1", -1),
        ("true", True),
        ("null", None),
        ("[[0, 1], [5, 2]]", [[0, 1], [5, 2]]),
        ("{start: 1, end: 3}", {"start": 1, "end": 3}),
        ("a=b", "a=b"),
    ],
)
def test_values_are_read_as_yaml(value: str, expected: Any) -> None:
    assert parse_dotted(["--x.y", value]) == [{"x": {"y": expected}}]
    assert parse_dotted([f"--x.y={value}"]) == [{"x": {"y": expected}}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stray"], "'stray' is not understood: settings are written --section.key value (see --help)"),
        (["--images.crop"], "--images.crop lacks its value"),
        (["--images.crop", "--images.batch", "2"], "--images.crop lacks its value"),
        (["--images.crop", "[1"], "--images.crop: the value '[1' cannot be read"),
        (["--sede", "3"], "there is no option --sede; did you mean --seed?"),
        (["--worker", "3"], "there is no option --worker; did you mean --workers?"),
        (["--resum"], "there is no option --resum; did you mean --resume?"),
        (["--skip_bad_pairs"], "there is no option --skip_bad_pairs; did you mean --skip-bad-pairs?"),
        (["--epochs", "3"], "there is no option --epochs; did you mean --schedule.epochs?"),
        (["--meta-iterations=3"], "there is no option --meta-iterations; did you mean --schedule.meta_iterations?"),
        (
            ["--kind", "x"],
            "there is no option --kind; did you mean --outer.kind, --objective.kind or --network.kind?",
        ),
        (
            ["--schedule", "3"],
            "--schedule is a section of settings: write --schedule.epochs and the like (see --help)",
        ),
        (["--xyzzy=1"], "there is no option --xyzzy; --help lists all options"),
    ],
)
def test_what_is_not_understood_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_dotted(arguments, ["--resume", "--config"])
    assert str(caught.value) == message


def test_only_what_was_said_is_given() -> None:
    assert parsed() == {}
    assert parsed("--gpu", "--workers", "2") == {"gpu": True, "workers": "2"}
    assert [parsed(option) for option in ("--compile", "--no-compile")] == [{"compile": True}, {"compile": False}]
    assert parsed("--no-graphs") == {"graphs": False}


def test_tasks_are_a_list_in_any_case() -> None:
    assert parsed("--tasks", "ivif", "Meif") == {"tasks": ["IVIF", "MEIF"]}


def test_every_plain_setting_is_an_option() -> None:
    parser = Parser()
    add_plain_options(parser)
    names = [name for name, _ in leaves(Settings) if "." not in name]
    text = parser.format_help()
    assert names
    assert all(f"--{name.replace('_', '-')}" in text for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nmae", "x"], "there is no option --nmae; did you mean --name?"),
        (["--xyzzy"], "there is no option --xyzzy; --help lists all options"),
        (["stray"], "'stray' is not understood (see --help)"),
    ],
)
def test_an_option_that_a_command_does_not_have_is_refused_with_the_nearest(arguments: list[str], message: str) -> None:
    parser = Parser()
    parser.add_argument("--name")
    with pytest.raises(UserError) as caught:
        parser.parse_args(arguments)
    assert str(caught.value) == message


def test_help_names_what_must_be_given() -> None:
    parser = Parser("Fuses.", settings=True)
    parser.add_argument("--task", required=True, metavar="T")
    parser.add_argument("--seed", metavar="N")
    assert " --task T [options] [--section.key value …]\n" in parser.format_help()


def test_argparses_own_complaints_are_one_sentence() -> None:
    parser = Parser()
    parser.add_argument("--run-name")
    with pytest.raises(UserError, match=r"--run-name: expected one argument \(see --help\)"):
        parser.parse_args(["--run-name"])


def test_a_setting_that_is_absent_from_the_options_is_not_given() -> None:
    assert given_options(argparse.Namespace(seed=None, run_name="x")) == {}


def test_a_start_is_short_for_the_setting() -> None:
    request = read_request(["--start", "random", "--preset", "quick"])
    assert check(request.changes).network.start == "random"
    assert check(read_request(["--preset", "quick", "--network.start", "random"]).changes) == check(request.changes)
