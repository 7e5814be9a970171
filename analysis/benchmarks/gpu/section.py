"""Runs one section of the report and prints each row as a line of JSON, as soon as it is measured.

A process of its own: the program that asked for it ends it when its time is over, and what it printed stays.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module

from gpu.rows import Row

# Module and function of each, imported alone, so that one that lacks a package leaves the others.
SECTIONS = {
    "step": ("steps", "speed_rows"),
    "epoch": ("epoch", "epoch_rows"),
    "inference": ("images", "inference_rows"),
    "trials": ("trials", "trial_rows"),
    "tests": ("marked_tests", "test_rows"),
    "kernels": ("steps", "kernel_rows"),
    "bandwidth": ("steps", "bandwidth_rows"),
    "metrics": ("images", "metric_rows"),
}


def rows_of(section: str, device: str) -> Iterator[Row]:
    """The rows of a section on a device."""
    module, function = SECTIONS[section]
    rows: Iterator[Row] = getattr(import_module(f"gpu.{module}"), function)(device)
    return rows


if __name__ == "__main__":
    import torch

    if sys.argv[2] == "cpu":
        # In miniature, threads only wait for one another.
        torch.set_num_threads(1)
    for row in rows_of(sys.argv[1], sys.argv[2]):
        print(row.line(), flush=True)
