"""Fuses builtin stacks of exposures and of focal planes in several orders and by the baselines, and scores the results.

python analysis/benchmarks/stacks.py --out analysis/results/stacks.csv --page docs/stacks.md

The page's tables are written anew between its marks. Scores are means over the scenes: MEF-SSIM against all sources,
Qabf and SSIM as means over each two sources, and SSIM with the truth (in focus everywhere; radiance in stops).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from refusion.baselines import BASELINES
from refusion.baselines.stacks import fuse_stack_luminance
from refusion.fuse import fuse_luminance, load_pretrained
from refusion.images.colour import luminance, stretch
from refusion.images.stacks.builtin import BuiltinStack, builtin_stacks
from refusion.images.stacks.order import ORDERS, fused_along
from refusion.images.writing import to_depth
from refusion.metrics import evaluate_against
from refusion.metrics.stacks import evaluate_stack
from refusion.runtime.progress_bar import progress_bars
from refusion.stacks import sorted_stack, tree_of

Plane = NDArray[np.float32]
_TASKS = ("MEIF", "MFIF")
_COLUMNS = {"truth": "SSIM with the truth", "MEF-SSIM": "MEF-SSIM", "Qabf": "Qabf", "SSIM": "SSIM"}
_BEGIN, _END = "<!-- {task} begin -->", "<!-- {task} end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", nargs="+", type=int, default=[3, 5, 9], help="pictures in a stack [3 5 9]")
    parser.add_argument("--scenes", type=int, help="so many scenes of each task [all]")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.csv", help="a row per stack and method")
    parser.add_argument("--page", type=Path, metavar="FILE.md", help="page whose tables are written anew")
    options = parser.parse_args()
    rows = []
    with progress_bars(Console()) as show:
        for task in _TASKS:
            module = load_pretrained(task)
            for count in options.counts:
                stacks = islice(builtin_stacks(task, count), options.scenes)
                for done, stack in enumerate(stacks, start=1):
                    for method, fused in results(task, stack, module):
                        rows.append({"task": task, "pictures": count, "scene": stack.name, "method": method})
                        rows[-1] |= {name: str(round(score, 4)) for name, score in scores(stack, fused).items()}
                    show(f"{task} {count}", done, options.scenes)
    table = pd.DataFrame(rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out, index=False)
    read = pd.read_csv(options.out)
    for task in _TASKS:
        print(f"\n{task}\n{markdown(read, task)}")
    if options.page is not None:
        options.page.write_text(with_tables(options.page.read_text(encoding="utf-8"), read), encoding="utf-8")


def results(task: str, stack: BuiltinStack, module: nn.Module) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yields method and fused luminance: the task's module along each order, stretched as pairs are, and baselines."""
    planes = sorted_stack(task, [luminance(source) for source in stack.sources])
    along = tree_of(task, len(planes))

    def fuse(a: Plane, b: Plane) -> Plane:
        return fuse_luminance(module, np.stack([a, b]))

    for name, order in ORDERS.items():
        tree = order(range(len(planes)))
        chosen = ", chosen" if tree == along and tree_of(task, 5) == order(range(5)) else ""
        yield f"module, {name}{chosen}", stretch(fused_along(tree, planes, fuse))
    for name, baseline in BASELINES.items():
        if task in baseline.tasks:
            yield name, np.asarray(to_depth(fuse_stack_luminance(name, planes, along) * 255, 8), np.uint8)


def scores(stack: BuiltinStack, fused: NDArray[np.uint8]) -> dict[str, float]:
    """Returns the scores of one result."""
    sources = [luminance(source) * np.float32(255) for source in stack.sources]
    of_sources = evaluate_stack(fused, sources, ["MEF-SSIM", "Qabf", "SSIM"])
    truth = evaluate_against(fused, stack.truth, ["SSIM"])["SSIM"]
    return {"truth": float(truth), **{name: float(score) for name, score in of_sources.items()}}


def markdown(table: pd.DataFrame, task: str) -> str:
    """Returns the means of a task as a table: a row per method, a column per score and number of pictures."""
    of_task = table[table["task"] == task]
    counts = sorted(of_task["pictures"].unique())
    heads = [f"{title}, {count}" for title in _COLUMNS.values() for count in counts]
    lines = ["| method | " + " | ".join(heads) + " |", "| --- |" + " --: |" * len(heads)]
    means = of_task.groupby(["method", "pictures"], sort=False)[list(_COLUMNS)].mean()
    best: Mapping[tuple[str, int], float] = {
        (name, count): means.xs(count, level="pictures")[name].max() for name in _COLUMNS for count in counts
    }
    for method in of_task["method"].unique():
        cells = []
        for name in _COLUMNS:
            for count in counts:
                value = float(means.loc[(method, count), name])
                mark = "**" if round(value, 3) == round(best[name, count], 3) else ""
                cells.append(f"{mark}{value:.3f}{mark}")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_tables(page: str, table: pd.DataFrame) -> str:
    """Returns a page with the table of each task between its marks."""
    for task in _TASKS:
        begin, end = (mark.format(task=task) for mark in (_BEGIN, _END))
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{markdown(table, task)}\n{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
