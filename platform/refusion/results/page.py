"""Parts of the results page, each made from CSV files and preceded by the command that made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from refusion.ablations.variants import LEARNED
from refusion.audit.methods import AVERAGE, SOURCES
from refusion.baselines import BASELINES
from refusion.errors import UserError
from refusion.evaluation.results import MethodScores
from refusion.results.ablation_table import ablation_table, learning_table, read_ablations
from refusion.results.audit_table import audit_table, read_audits
from refusion.results.further_parts import adapted_part, learning_part, one_for_all_part, unseen_part
from refusion.results.method_tables import comparison_table, score_table
from refusion.results.scores import read_scores
from refusion.results.targets import target_table
from refusion.tasks import TASKS, find_task

_WIDTH = 100


@dataclass(frozen=True)
class Sources:
    """Files that the page is made of, and how to make them again.

    Attributes:
        folder: holds ``scores/TASK.csv``, ``ablations*.csv``, at any depth ``*_pairs.csv`` of audits, and what
            `further_parts` reads.
        data: the data set as the commands name it.
        weights: folder of the authors' weight files as the commands name it.
        base: settings file of the ablations as the commands name it.
        ours, published: names of methods.
    """

    folder: Path
    data: str
    weights: str
    base: str
    ours: str
    published: str

    def part(self, name: str) -> str | None:
        """Makes the part of that name; None where its files are missing.

        Raises:
            UserError: there is no such part, or a file is at fault.
        """
        kind, _, task = name.partition(" ")
        parts: dict[str, Callable[[str], str | None]] = {
            "scores": self._scores,
            "tests": self._tests,
            "targets": self._targets,
            "ablation": self._ablation,
        }
        of_all: dict[str, Callable[[], str | None]] = {
            "learning": self._learning,
            "audit": self._audit,
            "adapted": lambda: adapted_part(self.folder, self._ours),
            "one for all": lambda: one_for_all_part(self.folder, self._ours),
            "unseen": lambda: unseen_part(self.folder, self._ablations),
            "folds": lambda: learning_part(self.folder, "folds"),
            "equal time": lambda: learning_part(self.folder, "equal_time"),
        }
        if name in of_all:
            return of_all[name]()
        if kind not in parts or task not in TASKS:
            known = ", ".join(f"{kind} TASK" for kind in parts)
            raise UserError(f"there is no part {name!r} of the results page: choose from {known}, {', '.join(of_all)}")
        return parts[kind](task)

    def _methods(self, task: str) -> list[MethodScores]:
        found = read_scores(self.folder / "scores", task)
        # Ours first: the others are compared with it.
        return sorted(found, key=lambda method: (method.name != self.ours, method.name != self.published))

    def _ours(self, task: str) -> pd.DataFrame | None:
        """Returns our scores of a task, None where there are none."""
        return next((method.frame for method in self._methods(task) if method.name == self.ours), None)

    def _scores(self, task: str) -> str | None:
        methods = self._methods(task)
        if len(methods) < 2:
            return None
        return f"{self._evaluation(task, methods)}\n\n{score_table(task, methods, self.ours)}"

    def _tests(self, task: str) -> str | None:
        methods = self._methods(task)
        if len(methods) < 2 or methods[0].name != self.ours:
            return None
        return f"{self._evaluation(task, methods)}\n\n{comparison_table(task, methods, self.ours)}"

    def _targets(self, task: str) -> str | None:
        methods = self._methods(task)
        if not methods or methods[0].name != self.ours:
            return None
        table = target_table(task, methods, self.ours, self.published)
        return f"{self._evaluation(task, methods)}\n\n{table}"

    def _evaluation(self, task: str, methods: Sequence[MethodScores]) -> str:
        given = ["--task", task, "--data", self.data, "--split val"]
        given += [self._option(task, method.name) for method in methods]
        return command("jobs/evaluate.py", [*given, f"--out {self._named('scores', f'{task}.csv')}"])

    def _option(self, task: str, method: str) -> str:
        """Returns the option that names a method."""
        if method == self.ours:
            return f"--checkpoint {method}=pretrained"
        if method == self.published:
            return f"--checkpoint {method}={self.weights}/ReFusion_{task}.pth"
        return f"--baseline {method}" if method in BASELINES else f"--fused {method}=PICTURES"

    @cached_property
    def _ablations(self) -> pd.DataFrame:
        return read_ablations(sorted(self.folder.glob("ablations*.csv")))

    def _ablation(self, task: str) -> str | None:
        rows = self._ablations
        rows = rows[rows["task"] == task]
        return f"{self._ablation_command([task], rows)}\n\n{ablation_table(task, rows)}" if len(rows) else None

    def _learning(self) -> str | None:
        rows = self._ablations
        if not (rows["variant"] == "half").any():
            return None
        tasks = [task for task in TASKS if (rows["task"] == task).any()]
        return f"{self._ablation_command(tasks, rows)}\n\n{learning_table(rows)}"

    def _ablation_command(self, tasks: Sequence[str], rows: pd.DataFrame) -> str:
        variants = [_quoted(name) for name in dict.fromkeys(rows["variant"]) if name != LEARNED]
        seeds = sorted(set(rows["seed"]))
        given = ["--task", *tasks, "--data", self.data, "--config", self.base, "--variants", *variants]
        given += ["--seeds", *map(str, seeds)]
        if (rows["equal"] == "time").any():
            given.append("--equal time")
        return command("analysis/ablations.py", [*given, "--out ablations"])

    def _audit(self) -> str | None:
        rows = read_audits(sorted(self.folder.rglob("*_pairs.csv")))
        if rows.empty:
            return None
        commands = []
        for (task, steps, batch, crop, from_fused), part in rows.groupby(
            ["task", "steps", "batch", "crop", "from_fused"], sort=False
        ):
            # These come along without being asked for.
            named = [name for name in dict.fromkeys(part["method"]) if name not in (AVERAGE, *SOURCES)]
            given = ["--task", str(task), "--data", self.data, *(self._option(str(task), name) for name in named)]
            for option, column in (("reward", "reward_name"), ("channel-noise", "channel_noise"), ("width", "width")):
                given += [f"--{option}", *(f"{value}" for value in dict.fromkeys(part[column]))]
            given += [f"--seeds {part['seed'].nunique()}", f"--steps {steps} --batch {batch} --crop {crop}"]
            given += ["--from-fused"] if from_fused else []
            commands.append(command("analysis/reward_audit.py", [*given, f"--out {self._named('audit.csv')}"]))
        return "\n".join(commands) + f"\n\n{audit_table(rows)}"

    def _named(self, *parts: str) -> str:
        return Path(self.folder, *parts).as_posix()


def command(program: str, given: Iterable[str]) -> str:
    """Returns a command line as a block of code, wrapped.

    >>> print(command("jobs/data.py", ["DATA", "--tasks", "IVIF"]))
        python jobs/data.py DATA --tasks IVIF
    """
    lines, line = [], f"python {program}"
    for word in given:
        if len(line) + len(word) + 1 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {word}"
    return " \\\n".join(f"    {part}" for part in [*lines, line])


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name


def task_parts(task: str) -> list[str]:
    """Returns the names of the parts that each task has."""
    return [f"{kind} {find_task(task).name}" for kind in ("scores", "tests", "targets", "ablation")]
