"""MLflow's server gone from before a job to after it, slow, hanging and gone in its midst; a job killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pytest
from broken.jobs import LIMIT, Place, train, wait_for
from broken.proxy import slow_proxy
from broken.records import Server, history, record

from refusion.cli.looking.runs import runs
from refusion.tracking.comparison.files import means_file
from refusion.tracking.waiting.spool import Spool

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, LONG = 4, 34

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def arguments(place: Place, server: Server) -> Callable[..., list[str]]:
    """Command line of a small job of one worker that records in that server, a picture in each epoch."""

    def of(name: str, uri: str = server.uri, **changes: str) -> list[str]:
        small = {
            "workers": "1",
            "schedule__epochs": str(EPOCHS),
            "checkpoints__keep": str(EPOCHS + 1),
            "validation__every": "1",
            "validation__pictures": "1",
        }
        return [*place.arguments(name, **small | changes), "--tracking-uri", uri]

    return of


@pytest.fixture(scope="module")
def undisturbed(
    server: Server, arguments: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    log = tmp_path_factory.mktemp("undisturbed") / "log.txt"
    ended = train(arguments("undisturbed"), lambda: None, lambda: True, log)
    assert ended.status == 0 and "--write-waiting" not in ended.text, ended.text
    found = record(server.uri, "undisturbed")
    assert found["task"]["steps"]["rate"] == list(range(1, EPOCHS + 1)) and found["versions"]
    return found


def epochs(place: Place, name: str, least: int) -> Callable[[], bool]:
    return lambda: sum((folder / "metrics.json").exists() for folder in place.task(name).glob("epoch_*")) >= least


def recorded(spool: Spool, epoch: int) -> bool:
    """Tells if an epoch waits with the last that is recorded of it."""
    waiting = [(entry.what, entry.data.get("epoch")) for entry in spool.entries("records")]
    numbers = [place for place, (_, of) in enumerate(waiting) if of == epoch]
    return any(what == f"artifact {means_file('IVIF')}" for what, _ in waiting[numbers[0] :]) if numbers else False


def test_gone_for_the_whole_run(
    place: Place,
    server: Server,
    arguments: Callable[..., list[str]],
    undisturbed: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.kill()
    ended = train(arguments("gone"), lambda: None, lambda: True, tmp_path / "log.txt")
    text = ended.text.replace("\n", "")
    assert ended.status == 0
    assert "(it does not answer)" in text and "the training begins without it" in text
    assert "writes of this run yet" in text and "--write-waiting" in text and "Traceback" not in text
    assert runs(["--write-waiting"], "") == 1
    server.start()
    capsys.readouterr()
    assert runs(["--write-waiting"], "") == 0
    assert f"writes are in {server.uri} now" in capsys.readouterr().out
    assert record(server.uri, "gone") == undisturbed
    assert runs(["--write-waiting"], "") == 0
    assert "nothing waits for MLflow" in capsys.readouterr().out
    assert record(server.uri, "gone") == undisturbed


def test_hanging_and_gone_in_its_midst_while_the_training_goes_on(
    place: Place,
    server: Server,
    arguments: Callable[..., list[str]],
    undisturbed: dict[str, Any],
    tmp_path: Path,
) -> None:
    # On a busy machine it takes longer than the job waits for it.
    back = threading.Thread(target=server.start)

    def away() -> None:
        server.hang()
        # No answer comes, and the epochs go on.
        wait_for(epochs(place, "hanging", EPOCHS - 1))
        server.kill()
        back.start()

    ended = train(arguments("hanging"), away, epochs(place, "hanging", 1), tmp_path / "log.txt")
    assert ended.status == 0, ended.text
    back.join()
    assert runs(["--write-waiting"], "") == 0
    assert record(server.uri, "hanging") == undisturbed


def test_a_server_that_is_slow_and_then_hangs_for_40_seconds_holds_no_epoch_up(
    place: Place, server: Server, arguments: Callable[..., list[str]], tmp_path: Path
) -> None:
    begun: list[float] = []

    def disturb() -> None:
        begun.append(time.time())
        slow.seconds = 2.0
        time.sleep(8)
        slow.seconds = 0.0
        server.hang()
        time.sleep(40)
        server.go_on()
        begun.append(time.time())

    with slow_proxy(server.port) as (uri, slow):
        # An epoch takes a second or two, most of them in pauses, so that a busy machine hardly lengthens it.
        slowly = {"schedule__epochs": str(LONG), "objective__kind": "broken.parts:slow", "validation__every": "4"}
        ended = train(arguments("slow", uri, **slowly), disturb, epochs(place, "slow", 3), tmp_path / "log.txt")
        assert ended.status == 0, ended.text
        assert runs(["--write-waiting"], "") == 0
    # Of each epoch when it was there to be recorded, whenever MLflow took it.
    stamps = [point.timestamp / 1000 for point in history(server.uri, "slow")]
    assert sum(begun[0] < stamp < begun[1] for stamp in stamps) > LONG / 2
    took = [(after - before, after < begun[0]) for before, after in pairwise(stamps)]
    quiet, disturbed = ([seconds for seconds, first in took if first == which] for which in (True, False))
    assert median(disturbed) < 1.5 * median(quiet) + 1, took
    assert max(disturbed) < 2 * max(quiet) + 5, took
    # One that was asked for while the server hung may be asked for again: MLflow has it once all the same.
    assert list(dict.fromkeys(slow.epochs)) == list(range(1, LONG + 1))
    task = record(server.uri, "slow")["task"]
    assert task["status"] == "FINISHED"
    assert task["steps"]["rate"] == list(range(1, LONG + 1))
    twice = {name: steps for name, steps in task["steps"].items() if len(set(steps)) < len(steps)}
    assert not twice
    assert set(task["artifacts"].values()) == {1}


def test_a_job_killed_while_the_server_hangs_is_resumed(
    place: Place,
    server: Server,
    arguments: Callable[..., list[str]],
    undisturbed: dict[str, Any],
    tmp_path: Path,
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["RAY_ADDRESS"] = "local"
    command = [sys.executable, str(ROOT / "jobs" / "train_all_tasks.py"), *arguments("killed")]
    with (tmp_path / "first.txt").open("wb") as log:
        job = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    wait_for(lambda: epochs(place, "killed", 1)() or job.poll() is not None)
    server.hang()
    spool = Spool(place.task("killed").parent / "waiting")
    wait_for(lambda: recorded(spool, 2) or job.poll() is not None)
    assert job.poll() is None, (tmp_path / "first.txt").read_text()
    family = [*psutil.Process(job.pid).children(recursive=True), psutil.Process(job.pid)]
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    job.wait()
    assert recorded(spool, 2)
    server.go_on()
    ended = train(["--resume", "killed"], lambda: None, lambda: True, tmp_path / "again.txt")
    assert ended.status == 0, ended.text
    assert "writes to MLflow wait since the run's last part; they go first" in ended.text.replace("\n", "")
    assert runs(["--write-waiting"], "") == 0
    assert record(server.uri, "killed") == undisturbed
