"""Runs one section of the report and prints each row as a line of JSON, as soon as it is measured.

A process of its own: the program that asked for it ends it when its time is over, and what it printed stays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

from gpu.rows import Row


def rows_of(section: str, device: str) -> Iterator[Row]:
    """The rows of a section on a device."""
    return _sections(device)[section](device)


def _sections(device: str) -> dict[str, Callable[[str], Iterator[Row]]]:
    # Here, so that a section that lacks a package leaves the others, and tests start without torch.
    from gpu import epoch, images, marked_tests, steps, trials

    return {
        "tests": marked_tests.test_rows,
        "step": steps.speed_rows,
        "epoch": epoch.epoch_rows,
        "kernels": steps.kernel_rows,
        "bandwidth": steps.bandwidth_rows,
        "inference": images.inference_rows,
        "metrics": images.metric_rows,
        "trials": partial(trials.trial_rows, together=(1, 2) if device == "cpu" else trials.TOGETHER),
    }


if __name__ == "__main__":
    import torch

    if sys.argv[2] == "cpu":
        # In miniature, threads only wait for one another.
        torch.set_num_threads(1)
    for row in rows_of(sys.argv[1], sys.argv[2]):
        print(row.line(), flush=True)
