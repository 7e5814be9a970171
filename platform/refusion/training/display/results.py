"""Display of a job at its end: one table of results, and how each task ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from refusion.metrics import CATALOGUE, METRICS
from refusion.training.display.progress import epoch_name
from refusion.training.reports import own_scores

_BEST, _LAST, _AVERAGE = "trained, best epoch", "trained, last epoch", "(a + b) / 2"
# A score below this share of the best is not the noise of a validation.
_NOISE = 0.99


@dataclass(frozen=True)
class Result:
    """End of one task's training.

    Attributes:
        error: why it failed; empty where it did not.
        epochs: that it was to have.
        best_by: the metric that chooses the best epoch.
        best, last: numbers of the best epoch and of the newest, as in a checkpoint's ``metrics.json``; empty where
            there is none.
    """

    task: str
    error: str
    epochs: int
    best_by: str
    best: Mapping[str, float]
    last: Mapping[str, float]


def summary(result: Result) -> dict[str, float]:
    """Returns a task's metrics in the job's run: the best epoch's scores and number, and under ``last/`` the last's."""
    found: dict[str, float] = {}
    for prefix, numbers in (("", result.best), ("last/", result.last)):
        scores = own_scores(numbers)
        if scores:
            found |= {f"{prefix}{name}": value for name, value in scores.items()}
            found[f"{prefix}epoch"] = numbers["epoch"]
    return found


def result_rows(results: Sequence[Result]) -> list[dict[str, str | float]]:
    """Builds three rows per task: the best epoch, the last, the average of the sources; one column per metric."""
    rows: list[dict[str, str | float]] = []
    for result in results:
        state = result.error or "done"
        for method, numbers, prefix in (
            (_BEST, result.best, ""),
            (_LAST, result.last, ""),
            (_AVERAGE, result.best, "baseline/"),
        ):
            own = method != _AVERAGE
            row: dict[str, str | float] = {"task": result.task, "method": method, "state": state if own else ""}
            row["epoch"] = int(numbers["epoch"]) if own and "epoch" in numbers else ""
            rows.append(row | {name: numbers.get(prefix + name, float("nan")) for name in METRICS})
    return rows


def result_table(results: Sequence[Result]) -> Group:
    """Builds the final table. Its head names the convention: a score means nothing without it."""
    better = [name for name in METRICS if not CATALOGUE[name].noise_sensitive]
    noisy = [name for name in METRICS if name not in better]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("task", "", *(f"{name} ↑" for name in better), *noisy):
        table.add_column(title, justify="left" if title in ("task", "") else "right")
    for result in results:
        for label, row in _shown_rows(result):
            values = [row[name] for name in better], [row[name] for name in noisy]
            cells = [_cell(value, digits) for digits, some in zip((4, 2), values, strict=True) for value in some]
            table.add_row(result.task, label, *cells)
        table.add_section()
    head = "Validation means (convention 'authors')"
    below = f"↑: higher is better. Noise raises {', '.join(noisy)} too: they choose nothing."
    if any(result.best.get("epoch") == result.last.get("epoch") is not None for result in results):
        below += " No last: it is the best."
    return Group(Text(head, style="italic"), table, Text(below, style="dim"))


def _shown_rows(result: Result) -> list[tuple[str, dict[str, str | float]]]:
    """Returns the rows of a task with their labels: one for an epoch that is both best and last."""
    best, last, average = result_rows([result])
    if best["epoch"] == "":
        return [("no epoch", best)]
    if best["epoch"] == last["epoch"]:
        return [(f"best: epoch {best['epoch']}", best), (_AVERAGE, average)]
    return [(f"best: epoch {best['epoch']}", best), (f"last: epoch {last['epoch']}", last), (_AVERAGE, average)]


def _cell(value: str | float, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, float) and value == value else "–"


def ending(result: Result) -> str:
    """Says in lines how a task ended, which epoch is the best, and where training has made it worse."""
    lines = [f"{result.task}: FAILED: {result.error}"] if result.error else []
    name, best, last = result.best_by, result.best, result.last
    if name not in best:
        return "\n".join(lines or [f"{result.task}: done, but nothing was measured"])
    epoch, score = int(best["epoch"]), best[name]
    average = best.get(f"baseline/{name}", float("nan"))
    than = " is less than" if score < average else ", against"
    lines.append(
        f"{result.task}: the best is {epoch_name(epoch)} of {result.epochs}: "
        f"{name} {score:.4f}{than} the average's {average:.4f}"
    )
    if name in last and last["epoch"] != best["epoch"]:
        worse = "training has made it worse since" if last[name] < _NOISE * score else "the last is no better"
        lines.append(
            f"{result.task}: {worse}: {last[name]:.4f} at epoch {int(last['epoch'])}; "
            f"what is kept as best is {epoch_name(epoch)}"
        )
    return "\n".join(lines)
