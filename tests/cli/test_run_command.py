"""Commands in terminals, pipes and locales as people have them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRAIN = [sys.executable, "jobs/train_all_tasks.py"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_is_printed_in_any_encoding(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for command in (TRAIN, [sys.executable, "-m", "refusion.cli.main"]):
        done = subprocess.run([*command, "--help"], cwd=ROOT, env=environment, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert "usage" in done.stdout.decode(encoding)


def test_a_table_of_results_is_printed_in_ascii() -> None:
    program = (
        "from refusion.cli.options import run_command\n"
        "def show(arguments, description):\n"
        "    from refusion.runtime.console import console\n"
        "    from rich.table import Table\n"
        "    table = Table('metric', title='β – means')\n"
        "    table.add_row('α')\n"
        "    console().print(table)\n"
        "    return 0\n"
        "run_command(show, None)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "metric" in done.stdout and "?" in done.stdout


def test_a_reader_that_goes_away_ends_a_command_without_a_traceback() -> None:
    command = [sys.executable, "-m", "refusion.cli.main", "--help"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 130


@pytest.mark.parametrize("seconds", [0.5, 1.5])
def test_ctrl_c_while_modules_are_imported_says_one_word(seconds: float, tmp_path: Path) -> None:
    command = [*TRAIN, "--data", str(tmp_path / "nowhere")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert (process.returncode, said) == (130, "interrupted\n")
