"""All cells of an ablation, several at once, each in a process of its own; finished ones are skipped."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from refusion.ablations.cell import Cell, Equal
from refusion.ablations.known import read_known, rows_known
from refusion.ablations.orphans import end_with_parent
from refusion.ablations.training import train_cell
from refusion.ablations.variants import LEARNED, Variant
from refusion.config.layers import check, for_task
from refusion.config.settings import Settings
from refusion.errors import TrainingDivergedError
from refusion.images.dataset import check_pairs, reading_of

TABLE = "ablations.csv"
# The same on all cells: nothing but the scores after the last epoch is wanted.
_MEASURED = {"validation": {"images": None, "pictures": 0}, "workers": 1}


@dataclass(frozen=True)
class Plan:
    """The options of analysis/ablations.py, as they were given.

    Attributes:
        base: settings of the variant `learned`.
        variants: `learned` first.
        seeds: of the trainings.
        equal: "time" where variants without meta-iterations are trained also for as long as `learned`.
        processes: trainings at once.
        threads: of each.
        known: tables of earlier ablations with these settings, whose trainings are not done again.
    """

    base: Settings
    variants: Sequence[Variant]
    seeds: Sequence[int]
    out: Path
    equal: Equal = "steps"
    processes: int = 1
    threads: int = 1
    known: Sequence[Path] = ()


def run_ablations(plan: Plan, console: Console) -> int:
    """Trains and scores what is not there yet, keeping ``ablations.csv`` up to date.

    Returns:
        Exit status: 0, or 1 where a training diverged.

    Raises:
        UserError: the settings or the data are at fault, or the folder has cells of other settings.
    """
    base = plan.base
    found = check_pairs(base.data, base.tasks, skip_bad=base.skip_bad_pairs, reading=reading_of(base))
    root = plan.out.expanduser().absolute()
    cells = [
        Cell(pairs, variant, "steps", _settings(plan, pairs.task, variant, seed), root)
        for seed in plan.seeds
        # All tasks of a variant before the next one: what is stopped has whole rows.
        for variant in plan.variants
        for pairs in found
    ]
    cells = list(_different(cells, console))
    known = read_known(plan.known)
    before = {cell.name: rows for cell in cells if (rows := rows_known(known, cell)) is not None}
    if before:
        _say(console, f"{len(before)} of {len(cells)} trainings are known")
        if plan.equal == "time":
            _say(console, "--equal time: of known trainings the work is not known, so none is trained for as long")
    failed = _train([cell for cell in cells if cell.name not in before], cells, before, plan, console)
    if plan.equal == "time":
        longer = list(_equal_time(cells))
        failed |= _train(longer, [*cells, *longer], before, plan, console)
    console.print(f"scores of every pair: {root / TABLE}", markup=False, highlight=False, soft_wrap=True)
    return int(failed)


def _settings(plan: Plan, task: str, variant: Variant, seed: int) -> Settings:
    base = for_task(plan.base, task)
    own = {"tasks": [task], "seed": seed, "threads": plan.threads}
    once = {"validation": {"every": base.schedule.epochs}}
    return variant.settings(check([own, _MEASURED, once], base))


def _different(cells: Sequence[Cell], console: Console) -> Iterator[Cell]:
    """Yields the cells but for those that would repeat an earlier one's training, which it names once a task."""
    seen: dict[tuple[str, bool], list[Cell]] = {}
    named = set()
    for cell in cells:
        # The seed is one of the settings.
        earlier = seen.setdefault((cell.pairs.task, cell.variant.random_direction), [])
        same = next((one for one in earlier if one.settings == cell.settings), None)
        if same is None:
            earlier.append(cell)
            yield cell
        elif (key := (cell.pairs.task, cell.variant.name)) not in named:
            named.add(key)
            _say(console, f"{' '.join(key)}: is {same.variant.name} with these settings, and left out")


def _equal_time(cells: Sequence[Cell]) -> Iterator[Cell]:
    """Yields the cells without meta-iterations again, with as many fusion updates as fill the time of `learned`.

    Times are those of the finished cells of equal steps with the same task and seed.
    """
    learned = {(cell.pairs.task, cell.settings.seed): cell for cell in cells if cell.variant.name == LEARNED}
    for cell in cells:
        of_learned = learned[cell.pairs.task, cell.settings.seed]
        if cell.settings.schedule.meta_iterations or not (cell.is_finished() and of_learned.is_finished()):
            continue
        cost = cell.cost()
        more = of_learned.cost().work_per_epoch / cost.work_per_epoch
        steps = max(1, round(more * cost.fusion_steps / cell.settings.schedule.epochs))
        yield replace(cell, equal="time", settings=check([{"schedule": {"fusion_steps": steps}}], cell.settings))


def _train(
    cells: Sequence[Cell], shown: Sequence[Cell], known: Mapping[str, pd.DataFrame], plan: Plan, console: Console
) -> bool:
    """Trains the unfinished ones of ``cells``, and writes the rows of ``shown``; returns true where one diverged."""
    unfinished = [cell for cell in cells if not cell.is_finished()]
    _say(console, f"{len(cells) - len(unfinished)} of {len(cells)} trainings are finished")
    diverged = False
    _write_table(shown, known)
    for cell, error in _run(unfinished, plan):
        if error is not None:
            diverged = True
            _say(console, f"{cell.name}: {error}")
            continue
        scores = cell.rows()
        means = ", ".join(f"{name} {scores[name].mean():.4f}" for name in ("SCD", "VIF", "Qabf", "SSIM"))
        _say(console, f"{cell.name}: {means}; {cell.cost().seconds:.0f} s")
        _write_table(shown, known)
    return diverged


def _run(cells: Sequence[Cell], plan: Plan) -> Iterator[tuple[Cell, TrainingDivergedError | None]]:
    """Trains cells and yields each when it ends, with the reason where it diverged."""
    if _in_this_process(plan):
        for cell in cells:
            yield cell, _diverged(train_cell, cell, plan.threads)
        return
    with ThreadPoolExecutor(plan.processes) as waiting:
        coming = {waiting.submit(_train_alone, cell, plan.threads): cell for cell in cells}
        try:
            for ended in as_completed(coming):
                yield coming[ended], _diverged(ended.result)
        except BaseException:
            waiting.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _train_alone(cell: Cell, threads: int) -> None:
    """Trains a cell in a process of its own, so that no cell is timed with what another one has compiled."""
    # Threads of torch do not survive a fork.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned, initializer=end_with_parent) as process:
        process.submit(train_cell, cell, threads).result()


def _in_this_process(plan: Plan) -> bool:
    """Tells if one process trains everything: the device is one, and its kernels are made once."""
    return plan.base.gpu


def _diverged(train: Any, *arguments: Any) -> TrainingDivergedError | None:
    try:
        train(*arguments)
    except TrainingDivergedError as error:
        return error
    return None


def _write_table(cells: Iterable[Cell], known: Mapping[str, pd.DataFrame]) -> None:
    """Joins the rows of the finished and the known cells in ROOT/ablations.csv."""
    parts = [
        (cell.root, known[cell.name] if cell.name in known else cell.rows())
        for cell in cells
        if cell.name in known or cell.is_finished()
    ]
    if parts:
        table = pd.concat([rows for _, rows in parts], ignore_index=True)
        target = parts[0][0] / TABLE
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        table.to_csv(part, index=False, na_rep="nan", lineterminator="\n")
        part.replace(target)


def _say(console: Console, text: str) -> None:
    """Prints a line of text as it is."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
