"""The console command ``refusion``: each job, reports, comparisons and audits as subcommands."""

from __future__ import annotations

import importlib
import sys
import typing
from dataclasses import dataclass

from refusion.cli.options import run_command
from refusion.config.presets import jobs_folder
from refusion.errors import UserError


@dataclass(frozen=True)
class Command:
    """A subcommand: the function in ``refusion.cli`` that it calls, and the file that does the same in a checkout."""

    module: str
    function: str
    file: str
    text: str


COMMANDS = {
    "train": Command("train", "train_all_tasks", "jobs/train_all_tasks.py", "meta-train the fusion tasks"),
    "sweep": Command("sweep", "sweep", "jobs/sweep.py", "search hyperparameters"),
    "evaluate": Command("evaluate", "evaluate", "jobs/evaluate.py", "score fused pictures, whoever made them"),
    "fuse": Command("fuse", "fuse", "jobs/fuse.py", "fuse your own pictures with a trained module"),
    "data": Command("data", "inspect_data", "jobs/data.py", "say what a folder of pictures is, and check it"),
    "runs": Command("looking.runs", "runs", "jobs/runs.py", "list what runs and sweeps there are, delete old ones"),
    "demo": Command("looking.demo", "demo", "jobs/demo.py", "try a module out in the browser"),
    "report": Command("sweep_report", "sweep_report", "analysis/sweep_report.py", "a sweep as one page"),
    "compare": Command("looking.compare", "compare_runs", "analysis/compare_runs.py", "trained runs as one page"),
    "promote": Command("looking.promote", "promote_version", "analysis/promote.py", "make a version the best one"),
    "audit": Command("audit", "audit", "analysis/reward_audit.py", "does a reward prefer good pictures?"),
}


def main() -> typing.NoReturn:
    """Run the subcommand that the command line names, and leave with its exit status."""
    name, rest = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if name in ("--help", "-h"):
        run_command(_show_overview, None)
    if name not in COMMANDS:
        run_command(_refuse, None)
    command = COMMANDS[name]
    # Only what is asked for is imported: PyTorch, Ray and MLflow take seconds.
    module = importlib.import_module(f"refusion.cli.{command.module}")
    description = str(module.__doc__).replace(f"python {command.file}", f"refusion {name}")
    sys.argv = [f"refusion {name}", *rest]
    run_command(getattr(module, command.function), description)


def overview() -> str:
    """Text of ``refusion --help``."""
    lines = [f"  {name:10}{command.text}" for name, command in COMMANDS.items()]
    folder = jobs_folder()
    files = ["", f"the same as files, for ray job submit: {folder}"] if folder is not None else []
    return "\n".join(["usage: refusion COMMAND …", "", "commands (each has its own --help):", *lines, *files])


def _show_overview(_arguments: typing.Sequence[str], _description: str) -> int:
    print(overview())
    return 0


def _refuse(arguments: typing.Sequence[str], _description: str) -> int:
    raise UserError(f"there is no command {arguments[0]!r}: choose from {', '.join(COMMANDS)} (see refusion --help)")


if __name__ == "__main__":
    main()
