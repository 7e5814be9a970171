"""Runs all sections within their seconds, prints one table and writes JSON (see ``on_gpu.sh``)."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from gpu.ratios import with_times
from gpu.rows import Row, read_row, table_of
from gpu.section import rows_of
from gpu.targets import target_rows
from measuring import machine
from rich.console import Console

# Seconds of each section; what one leaves over goes to those after it. What has a target comes first.
BUDGETS = {
    "step": 140, "epoch": 35, "inference": 40, "trials": 70, "tests": 90, "kernels": 40, "bandwidth": 25, "metrics": 30,
}  # fmt: skip
WHOLE = 470
RESULTS = Path("analysis/results/gpu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; return 1 where a test failed or something broke. What is measured is written as it comes."""
    options = _options(arguments)
    device = "cpu" if options.dry_run else "cuda"
    report = Report(options.out or results_file(device), device, time.monotonic() - options.gone)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"{report.name}; at most {options.seconds:.0f} s, of which {options.gone:.0f} are gone")
    rows: list[Row] = []
    allowed = options.gone
    for section in options.only or BUDGETS:
        allowed += BUDGETS[section]
        left = min(allowed, options.seconds) - report.seconds
        for row in run_here(section, device) if options.dry_run else run_section(section, device, left):
            rows.append(row)
            report.write(rows)
            if _is_bad(row):
                console.print(f"{section}: {row.what}: {row.note}", markup=False)
        console.print(f"{section}: done after {report.seconds:.0f} s")
    rows = report.write(rows)
    console.print(table_of(rows, report.name))
    console.print(f"written to {report.file}")
    bad = sum(map(_is_bad, rows))
    console.print(f"{bad} of {len(rows)} rows FAILED or broke" if bad else "nothing failed")
    return int(bad > 0)


@dataclass(frozen=True)
class Report:
    """The file of what was measured so far.

    Attributes:
        file: written anew for each row.
        device: "cuda" or "cpu".
        start: when all of it began, by `time.monotonic`.
    """

    file: Path
    device: str
    start: float

    @property
    def name(self) -> str:
        """The machine and PyTorch's version."""
        return f"{machine(self.device)}, torch {torch.__version__}"

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.start

    def write(self, measured: Sequence[Row]) -> list[Row]:
        """Writes all rows with the targets; returns them."""
        rows = with_times(measured)
        rows += target_rows(rows, machine(self.device) if self.device == "cuda" else "")
        content = {
            "machine": self.name,
            "device": self.device,
            "versions": versions(),
            "seconds": self.seconds,
            "rows": [row.plain() for row in rows],
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        # In one move: whoever ends the program ends it at any moment.
        unfinished = self.file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False))
        unfinished.replace(self.file)
        return rows


def _is_bad(row: Row) -> bool:
    return row.note.startswith(("FAILED", "broke"))


def results_file(device: str) -> Path:
    """Place of a report's JSON: one file for each card, which stays."""
    if device == "cpu":
        return Path("build/on_gpu.json")
    return RESULTS / (re.sub(r"[^a-z0-9]+", "-", machine(device).lower()).strip("-") + ".json")


@cache
def versions() -> dict[str, str | None]:
    """Versions of what the numbers depend on; None for what is not here."""
    found: dict[str, str | None] = {"python": platform.python_version(), "torch": torch.__version__}
    found |= {"cuda": torch.version.cuda, "triton": None, "commit": None}
    with suppress(PackageNotFoundError):
        found["triton"] = version("triton")
    with suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "describe", "--always", "--dirty"]
        found["commit"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return found


def run_here(section: str, device: str) -> Iterator[Row]:
    """The rows of a section in this process, which saves a dry run the imports; an error of one leaves the others."""
    torch.set_num_threads(1)  # in miniature, threads only wait for one another
    try:
        yield from rows_of(section, device)
    except Exception as error:  # noqa: BLE001 - whatever it is, the report names it
        yield Row(section, "the rest", note=f"broke: {type(error).__name__}: {error}")


def run_section(section: str, device: str, seconds: float) -> Iterator[Row]:
    """The rows that a section prints within its seconds, and a row that says so where it was cut off or broke."""
    if seconds <= 0:
        yield Row(section, "all of it", note="left out: no time was left")
        return
    command = [sys.executable, "-m", "gpu.section", section, device]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    said: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    reader = threading.Thread(target=lambda pipe: said.extend(pipe), args=(process.stderr,), daemon=True)
    reader.start()
    cut = threading.Event()

    def end() -> None:
        # Its compilers and tests, too.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def end_late() -> None:
        cut.set()
        end()

    timer = threading.Timer(seconds, end_late)
    timer.start()
    try:
        for line in process.stdout:
            try:
                row = read_row(line)
            except ValueError:
                continue  # a compiler's words, or a line that was cut off
            yield row
        status = process.wait()
    finally:
        timer.cancel()
        end()  # where this program is interrupted
    reader.join(timeout=5)
    if cut.is_set():
        yield Row(section, "the rest", note=f"cut off after {seconds:.0f} s")
    elif status:
        reason = next((line.strip() for line in reversed(said) if line.strip()), f"status {status}")
        yield Row(section, "the rest", note=f"broke: {reason}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="on_gpu.sh", description="What only a GPU can show, as a table and as JSON.")
    parser.add_argument("--dry-run", action="store_true", help="in miniature on the CPU")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.json", help=f"[{RESULTS}/CARD.json; of a dry run build/on_gpu.json]"
    )
    parser.add_argument("--seconds", type=float, default=WHOLE, help=f"for all sections together [{WHOLE}]")
    parser.add_argument("--gone", type=float, default=0, help="of them, what installing took")
    parser.add_argument("--only", nargs="+", choices=BUDGETS, metavar="SECTION", help=f"of {', '.join(BUDGETS)}")
    options = parser.parse_args(arguments)
    if not options.dry_run and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --dry-run runs the same in miniature on the CPU")
    return options


if __name__ == "__main__":
    sys.exit(main())
