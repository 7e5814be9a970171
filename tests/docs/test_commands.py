"""Command lines in the docs: every option named there exists."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import sys
import textwrap
from functools import cache
from pathlib import Path

import pytest

from refusion.cli.main import COMMANDS
from refusion.cli.options import parse_dotted
from refusion.cli.sweep import read_requests
from refusion.config.layers import check
from refusion.search.space.space import Space
from refusion.search.space.validation import check_space

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.py")])
# Subcommands of the console command, and the files that do the same.
SUBCOMMANDS = {name: command.file for name, command in COMMANDS.items()}
SUBCOMMAND = re.compile(rf"^ {{4}}(?:\$ )?refusion ({'|'.join(SUBCOMMANDS)})\b")
PROGRAM = re.compile(r"\b((?:jobs|analysis|analysis/benchmarks|docs|cluster)/\w+\.py)\b")
OPTION = re.compile(r"(?<![\w-])--([a-z][\w.-]*\w)")
# Options of other programs that the docs tell to run.
OTHERS = {
    "ray": {
        "head",
        "address",
        "working-dir",
        "generate",
        "node-ip-address",
        "redis-password",
        "dashboard-agent-listen-port",
    },
    "mlflow": {"backend-store-uri", "experiment-id", "env-manager", "port"},
    "aws": {"aws-service-name", "filters", "query", "output", "instance-ids"},
    "kubectl": {"from-file"},
    "mypy": {"strict"},
    "mkdocs": {"strict"},
    "iptables": {"syn", "dports"},
    "on_gpu.sh": set(OPTION.findall((ROOT / "analysis/benchmarks/on_gpu.sh").read_text(encoding="utf-8"))),
}


def command_lines(page: Path) -> list[tuple[str, set[str]]]:
    """Returns each command line of our programs in a page: the program, and the options it is given."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        command = re.split(r"\s#\s|;", line)[0]
        if "python " in command and (program := PROGRAM.search(command)):
            found.append((program[1], set(OPTION.findall(command[program.end() :]))))
        elif subcommand := SUBCOMMAND.search(command):
            found.append((SUBCOMMANDS[subcommand[1]], set(OPTION.findall(command[subcommand.end() :]))))
    return found


@cache
def help_of(program: str) -> str:
    """Returns what the program prints for ``--help``; runs it in this process, up to its parser."""
    path, argv, printed = list(sys.path), sys.argv, io.StringIO()
    sys.path.insert(0, str((ROOT / program).parent))
    sys.argv = [program, "--help"]
    try:
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / program), run_name="__main__")
    finally:
        sys.path[:], sys.argv = path, argv
    assert left.value.code in (0, None)
    return printed.getvalue()


def options_of(program: str) -> set[str]:
    return set(OPTION.findall(help_of(program)))


def exists(option: str, known: set[str]) -> bool:
    """Returns true for known options, for keys of settings that are mappings, and for settings of one task.

    Such as --network.options.width, --schedule.rate.kind and --per_task.MIF.images.crop.
    """
    if option.startswith("per_task"):
        _, _, option = option.removeprefix("per_task").lstrip(".").partition(".")
        return option in ("", "section.key") or option in known
    setting, _, key = option.rpartition(".")
    # A setting of several kinds is a mapping too, whose key `kind` the help explains with them.
    return option in known or (setting in known and (setting.endswith("options") or key == "kind"))


PROGRAMS = sorted({program for page in PAGES for program, _ in command_lines(page)})


def test_the_docs_name_our_main_programs() -> None:
    assert {
        "jobs/train_all_tasks.py",
        "jobs/sweep.py",
        "jobs/evaluate.py",
        "jobs/fuse.py",
        "analysis/sweep_report.py",
    } <= set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_options_in_command_lines_exist(program: str) -> None:
    named = {
        option: page.name
        for page in PAGES
        for found, options in command_lines(page)
        if found == program
        for option in options
    }
    assert not {option: page for option, page in named.items() if not exists(option, options_of(program))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_running_text_exist_somewhere(page: Path) -> None:
    known = set.union({"help"}, *map(options_of, PROGRAMS), *OTHERS.values())
    text = page.read_text(encoding="utf-8")
    named = {
        option for code in re.findall(r"`[^`\n]+`|^ {4,}.+$", text, re.MULTILINE) for option in OPTION.findall(code)
    }
    assert not {option for option in named if not exists(option, known)}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "troubleshooting.md"], ids=lambda page: page.name
)
def test_settings_with_values_are_valid(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    codes = re.findall(r"`[^`\n]+`|^ {4,}.+$", text, re.MULTILINE)
    given = [pair for code in codes for pair in re.findall(r"--(\w+\.\w+) ('[^']*'|[^\s`]+)", code)]
    for name, value in given:
        if name != "section.key":
            check(parse_dotted([f"--{name}", value.strip("'")]))


def test_settings_without_dashes_exist() -> None:
    settings = {option for option in options_of("jobs/train_all_tasks.py") if "." in option}
    sections = {setting.partition(".")[0] for setting in settings}
    pattern = re.compile(rf"`((?:{'|'.join(sections)})\.\w+)[`:]")
    named = {setting for page in PAGES for setting in pattern.findall(page.read_text(encoding="utf-8"))}
    assert len(named) > 10
    assert {setting for setting in named if not setting.endswith((".md", ".py"))} <= settings


def test_the_sweep_file_shown_can_be_searched(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"(?:^ {4}.*\n)*^ {4}space:\n(?:^ {4}.*\n)+", text, re.MULTILINE)
    file = tmp_path / "sweep.yaml"
    file.write_text(textwrap.dedent(shown), encoding="utf-8")
    (request,) = read_requests(["--config", str(file), "--task", "IVIF"])
    space = Space.read(request.space)
    check_space(space, check(request.changes))
    assert request.options["grace"] == 3
