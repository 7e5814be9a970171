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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from gpu.rows import Row, read_row, table_of
from gpu.section import rows_of
from gpu.targets import target_rows
from measuring import machine
from rich.console import Console

# Seconds of each section; what one leaves over goes to those after it.
BUDGETS = {
    "step": 140, "epoch": 35, "inference": 40, "kernels": 40, "bandwidth": 25, "trials": 70, "tests": 90, "metrics": 30,
}  # fmt: skip
WHOLE = 470
RESULTS = Path("analysis/results/gpu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; return 1 where a test failed or a section broke."""
    options = _options(arguments)
    device = "cpu" if options.dry_run else "cuda"
    name = f"{machine(device)}, torch {torch.__version__}"
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"{name}; at most {options.seconds:.0f} s")
    rows: list[Row] = []
    start = time.monotonic()
    allowed = 0.0
    for section in options.only or BUDGETS:
        allowed += BUDGETS[section]
        left = start + min(allowed, options.seconds) - time.monotonic()
        rows += run_here(section, device) if options.dry_run else run_section(section, device, left)
        console.print(f"{section}: done after {time.monotonic() - start:.0f} s")
    rows += target_rows(rows)
    console.print(table_of(rows, name))
    options.out = options.out or results_file(device)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    spent = time.monotonic() - start
    content = {
        "machine": name,
        "device": device,
        "versions": versions(),
        "seconds": spent,
        "rows": [row.plain() for row in rows],
    }
    options.out.write_text(json.dumps(content, indent=1, ensure_ascii=False))
    console.print(f"written to {options.out}")
    return int(any(row.note.startswith(("FAILED", "broke")) for row in rows))


def results_file(device: str) -> Path:
    """Place of a report's JSON: one file for each card, which stays."""
    if device == "cpu":
        return Path("build/on_gpu.json")
    return RESULTS / (re.sub(r"[^a-z0-9]+", "-", machine(device).lower()).strip("-") + ".json")


def versions() -> dict[str, str | None]:
    """Versions of what the numbers depend on; None for what is not here."""
    found: dict[str, str | None] = {"python": platform.python_version(), "torch": torch.__version__}
    found |= {"cuda": torch.version.cuda, "triton": None}
    with suppress(PackageNotFoundError):
        found["triton"] = version("triton")
    return found


def run_here(section: str, device: str) -> list[Row]:
    """The rows of a section in this process, which saves a dry run the imports; an error of one leaves the others."""
    torch.set_num_threads(1)  # in miniature, threads only wait for one another
    try:
        return list(rows_of(section, device))
    except Exception as error:  # noqa: BLE001 - whatever it is, the report names it
        return [Row(section, "all of it", note=f"broke: {type(error).__name__}: {error}")]


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
        cut.set()
        # Its compilers and tests, too.
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, end)
    timer.start()
    try:
        for line in process.stdout:
            try:
                row = read_row(line)
            except ValueError:
                continue  # a compiler's words, or a line that was cut off
            yield row
    finally:
        status = process.wait()
        timer.cancel()
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
    parser.add_argument("--only", nargs="+", choices=BUDGETS, metavar="SECTION", help=f"of {', '.join(BUDGETS)}")
    options = parser.parse_args(arguments)
    if not options.dry_run and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --dry-run runs the same in miniature on the CPU")
    return options


if __name__ == "__main__":
    sys.exit(main())
