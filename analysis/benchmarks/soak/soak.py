"""Many tiny trainings in a row, and a sweep of many tiny trials, on one Ray head: what grows with each?

    python analysis/benchmarks/soak/soak.py [--runs 200] [--trials 200] [--minutes M] [--out analysis/results/soak]

Each run is a whole job: pairs checked, one worker, two steps, one validation, checkpoints, records in MLflow, its page.
Trials keep pictures too, in processes that are used again. After each one it is seen what this process and Ray's hold:
memory, handles, threads, processes, and the files in temporary folders and in /dev/shm, which other programs of the
machine use too. A line through what was seen gives the growth per run; the first fifth, in which caches fill, does not
count. CSV files hold every sample and the table, also of a soak that is stopped, by Ctrl-C, SIGTERM or --minutes.
Nothing is left elsewhere.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NoReturn

import pandas as pd
from growth import Growth, growth_of
from rich.console import Console
from rich.table import Table
from samples import Places, sample

_TINY = {
    "data": "builtin", "threads": "1", "schedule.epochs": "1", "schedule.meta_iterations": "1",
    "schedule.fusion_steps": "1", "images.crop": "32", "images.batch": "1", "network.width": "8",
    "network.reconstruction_width": "8", "network.heads": "2", "network.blocks": "1", "validation.images": "1",
    "validation.at_start": "false", "network.start": "random",
}  # fmt: skip
# Of a run, drawing them takes its worker a second, and that process ends with it.
_NO_PICTURES, _A_PICTURE = {"validation.pictures": "0"}, {"validation.pictures": "1"}
_SPACE = "space: {schedule.rate.value: {low: 1.0e-4, high: 1.0e-2, log: true}}\n"
_AFTER, _SECONDS = "after", "seconds"
# Growth over all runs that is no news: MiB, handles, threads, processes, files, seconds.
_LEAST = {
    "MiB": 2.0, "handles": 2.0, "threads": 2.0, "processes": 1.0, "files": 2.0, "hooks": 2.0,
    "handlers": 2.0, _SECONDS: 1.0,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the soak and print its tables; the exit status is 1 where one failed, 130 of one that is stopped."""
    parser = argparse.ArgumentParser(description="What grows with each training and each trial on one Ray head.")
    parser.add_argument("--runs", type=int, default=200, help="trainings in a row [200]")
    parser.add_argument("--trials", type=int, default=200, help="trials of the sweep [200]")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of the runs, and of the trials, at most")
    parser.add_argument("--out", type=Path, help="folder for runs.csv, trials.csv and growth.csv")
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 120)
    # Otherwise this process would end at once, and leave its Ray and its folder.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    grown: list[dict[str, object]] = []
    failed = 0
    with _places() as (places, folder):
        for kind, count, soak in (("runs", options.runs, _runs), ("trials", options.trials, _trials)):
            rows: list[dict[str, float]] = []
            stopped = False
            try:
                for row in _within(options.minutes, soak(count, places, folder)):
                    failed += int(row.pop("failed"))
                    rows.append(row)
                    _write(pd.DataFrame(rows), options.out, f"{kind}.csv", "%.3f")
            except KeyboardInterrupt:
                stopped = True
            some = growths(pd.DataFrame(rows))
            console.print(table_of(kind, some, len(rows)))
            grown += [{"kind": kind, **vars(growth), "grows": _grows(growth)} for growth in some]
            _write(pd.DataFrame(grown), options.out, "growth.csv", "%.4g")
            if stopped:
                _leave(folder)
    return 1 if failed else 0


def _leave(folder: Path) -> NoReturn:
    from refusion.runtime.lifetime.leaving import leave_at_once

    # A training or sweep that is under way still waits in Ray, whose own end would end this process before its folder.
    shutil.rmtree(folder, ignore_errors=True)
    leave_at_once(130)


def _within(minutes: float, rows: Iterator[dict[str, float]]) -> Iterator[dict[str, float]]:
    end = time.monotonic() + 60 * minutes
    for row in rows:
        yield row
        if time.monotonic() > end:
            return


def _write(table: pd.DataFrame, folder: Path | None, name: str, numbers: str) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        table.to_csv(folder / name, index=False, float_format=numbers)


def growths(samples: pd.DataFrame) -> list[Growth]:
    """Returns the growth of every quantity that is not always zero, without the first fifth; none of fewer than three.

    Args:
        samples: one row after each run, with a column ``after``.
    """
    counted = samples[len(samples) // 5 :]
    if len(counted) < 3:
        return []
    names = [str(name) for name in counted if name != _AFTER and counted[name].any()]
    return [growth_of(name, counted[_AFTER].to_list(), counted[name].to_list()) for name in names]


def table_of(kind: str, grown: list[Growth], samples: int) -> Table:
    """Returns a row per quantity, those that grow marked."""
    table = Table(title=f"{kind}: {samples} samples")
    table.add_column("")
    for column in ("first", "last", f"per 100 {kind}", "95 % interval", ""):
        table.add_column(column, justify="right")
    for growth in grown:
        each = f"{100 * growth.low:+.2f} to {100 * growth.high:+.2f}"
        shown = (f"{growth.first:.1f}", f"{growth.last:.1f}", f"{100 * growth.per_run:+.2f}", each)
        table.add_row(growth.name, *shown, "grows" if _grows(growth) else "")
    return table


def _grows(growth: Growth) -> bool:
    return growth.is_more_than(_LEAST[growth.name.rpartition(" ")[2]])


def _runs(count: int, places: Places, folder: Path) -> Iterator[dict[str, float]]:
    from refusion.cli.train import train_all_tasks

    for number in range(1, count + 1):
        begun = time.monotonic()
        words = [*_words(_TINY | _NO_PICTURES), "--tasks", "IVIF", "--no-compile", "--run-name", f"run-{number}"]
        with _quiet(folder):
            status = train_all_tasks(words, "")
        yield {_AFTER: number, _SECONDS: time.monotonic() - begun, **sample(places), "failed": status}


def _trials(count: int, places: Places, folder: Path) -> Iterator[dict[str, float]]:
    from refusion.cli.sweep import sweep
    from refusion.runtime import cluster

    if not count:
        return
    # What Ray starts ends with the thread that started it, and this process with that.
    cluster.connect()
    file, records = folder / "sweep.yaml", folder / "home" / "sweeps" / "soak" / "trials"
    file.write_text(_SPACE, encoding="utf-8")
    words = [*_words(_TINY | _A_PICTURE), "--config", str(file), "--task", "IVIF", "--no-compile", "--run-name", "soak"]
    words += ["--trials", str(count), "--search", "random", "--scheduler", "none"]
    status: list[int | Exception] = []

    def search() -> None:
        try:
            status.append(sweep(words, ""))
        except Exception as error:  # noqa: BLE001 - of another thread; raised below
            status.append(error)

    # Tune wants no main thread, and a trial that begins is the moment to look.
    with _quiet(folder):
        thread = threading.Thread(target=search, daemon=True)
        thread.start()
        seen, begun = 0, time.monotonic()
        while thread.is_alive():
            thread.join(0.2)
            there = len(list(records.glob("trial_*.json"))) if records.is_dir() else 0
            if there > seen:
                now = time.monotonic()
                yield {_AFTER: there, _SECONDS: (now - begun) / (there - seen), **sample(places), "failed": 0}
                seen, begun = there, now
    if status != [0]:
        raise RuntimeError(f"the sweep failed: {status}, {(folder / 'log.txt').read_text(encoding='utf-8')[-2000:]}")


def _words(settings: dict[str, str]) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name}", value)]


@contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    with (folder / "log.txt").open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        yield


@contextmanager
def _places() -> Iterator[tuple[Places, Path]]:
    """Folders of its own for temporary files, Ray and runs, with a Ray head that has room for two workers."""
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    places = Places(folder / "tmp", folder / "r")
    places.temporary.mkdir()
    before = dict(os.environ)
    names = {"TMPDIR": places.temporary, "RAY_TMPDIR": places.session, "REFUSION_HOME": folder / "home"}
    os.environ.update({name: str(path) for name, path in names.items()} | {"RAY_ADDRESS": "local"})
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    tempfile.tempdir = None
    try:
        yield places, folder
    finally:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
