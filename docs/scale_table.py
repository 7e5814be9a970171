"""Computes the tables of docs/scale.md from the real modules, a real checkpoint and the bytes of real all-reduces.

python docs/scale_table.py           prints them; tests compare them with the page
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from refusion.config.settings import Settings
from refusion.meta.objective import loss_at, reward_of
from refusion.meta.state import TrainingState
from refusion.meta.steps import Step
from refusion.training.checkpoints import save_checkpoint

TASK = "MEIF"
WORKERS = (8, 64, 512)
# Assumed of the network, as the page says: bytes per second of one GPU's share, and seconds of one message.
BANDWIDTH, LATENCY = 1.25e9, 20e-6
# Milliseconds of a step of 8 pairs of 96² on one H200 (docs/performance.md, "On a GPU").
STEP_MS = {"fusion update": 22.8, "meta-iteration": 43.4}
PAIRS_PER_WORKER, CROP = 8, 96
NAMES = {"fusion": "F", "loss_proposal": "P", "reconstruction": "R"}


class Measured(NamedTuple):
    """Parameters by module, bytes of each all-reduce by step, and bytes of a checkpoint's files."""

    parameters: dict[str, int]
    all_reduces: dict[str, list[int]]
    checkpoint: dict[str, int]


def measure() -> Measured:
    """Takes a step of each kind on a tiny batch and writes the checkpoint that follows; pictures change no size."""
    settings = Settings()
    state, seen = TrainingState(settings, TASK), []

    def average(flat: torch.Tensor) -> torch.Tensor:
        seen.append(flat.nbytes)
        return flat

    loss, reward = loss_at(settings.objective, 0, 1), reward_of(settings.objective)
    step = Step(loss, reward, settings.images.swap, average, 1, settings.meta.space == "image")
    images, bytes_of = torch.rand(2, 1, 2, 16, 16, generator=torch.Generator().manual_seed(0)), {}
    step.fusion(state, images[:1], None, 1e-3)
    bytes_of["fusion update"], seen = seen, []
    step.meta(state, images, None, 1e-3, 1e-3)
    bytes_of["meta-iteration"] = seen
    with tempfile.TemporaryDirectory() as place:
        save_checkpoint(Path(place), state, settings, TASK, {})
        sizes = {file.name: file.stat().st_size for file in sorted(Path(place).iterdir())}
    parameters = {
        NAMES[name]: sum(parameter.numel() for parameter in module.parameters())
        for name, module in state.modules().items()
    }
    return Measured(parameters, bytes_of, sizes)


def ring_ms(size: int, workers: int) -> tuple[float, float]:
    """Milliseconds of a ring's all-reduce of ``size`` bytes: those of the bytes, and those of its messages."""
    rounds = 2 * (workers - 1)
    return 1e3 * rounds / workers * size / BANDWIDTH, 1e3 * rounds * LATENCY


def tree_ms(size: int, workers: int) -> float:
    """Milliseconds of a tree's: every byte up and down, and twice as many messages as it has levels."""
    levels = (workers - 1).bit_length()
    return 1e3 * (2 * size / BANDWIDTH + 2 * levels * LATENCY)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def sizes_table(measured: Measured) -> str:
    """Returns what does not depend on the number of workers."""
    rows = [[f"parameters of {name}", f"{count:,}"] for name, count in measured.parameters.items()]
    for step, sizes in measured.all_reduces.items():
        rows.append([f"all-reduces of a {step}", f"{len(sizes)}: {' + '.join(f'{size:,}' for size in sizes)} bytes"])
    rows.append(["a checkpoint, all files", f"{sum(measured.checkpoint.values()) / 1e6:.1f} MB"])
    return table(["what", "how much"], rows)


def workers_table(measured: Measured) -> str:
    """Returns a step's parts for each number of workers."""
    rows = []
    for workers in WORKERS:
        for step, sizes in measured.all_reduces.items():
            bytes_ms, messages_ms = (
                sum(part) for part in zip(*(ring_ms(size, workers) for size in sizes), strict=True)
            )
            best = min(bytes_ms + messages_ms, sum(tree_ms(size, workers) for size in sizes))
            efficiency = STEP_MS[step] / (STEP_MS[step] + best)
            row = [str(workers), step, f"{workers * PAIRS_PER_WORKER:,}", f"{STEP_MS[step]} ms"]
            rows.append([*row, f"{bytes_ms:.2f} + {messages_ms:.2f} ms", f"{best:.2f} ms", f"{efficiency:.0%}"])
    head = [
        "GPUs",
        "step",
        "pairs per step",
        "compute",
        "ring: bytes + messages",
        "ring or tree",
        "share that computes",
    ]
    return table(head, rows)


def main() -> None:
    """Prints the tables."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0]).parse_args()
    measured = measure()
    print(sizes_table(measured), workers_table(measured), sep="\n\n")


if __name__ == "__main__":
    main()
