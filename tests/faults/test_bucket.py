"""Jobs whose pairs, runs and checkpoints lie in a bucket, which fails now and then, is away, or is wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from broken.jobs import LIMIT, Place, train
from clouds.object_store import BUCKET, Store, object_store

from refusion.runtime.lifetime.claims import CLAIM_FILE

ROOT = Path(__file__).resolve().parents[2]
RUNS, PAIRS = f"s3://{BUCKET}/runs", f"s3://{BUCKET}/pairs"
# Longer than pyarrow's own patience.
SECONDS_AWAY = 8

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]


@pytest.fixture(scope="module", autouse=True)
def store() -> Iterator[Store]:
    """The bucket, known to Ray's processes too, which start after it."""
    with object_store() as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment().items():
            patch.setenv(name, value)
        yield store


@pytest.fixture(scope="module")
def filled(store: Store, place: Place) -> Store:
    for file in place.data.rglob("*.png"):
        store.put(f"pairs/{file.relative_to(place.data).as_posix()}", file.read_bytes())
    return store


@pytest.fixture(scope="module", autouse=True)
def gone(store: Store, place: Place) -> Iterator[subprocess.Popen[str]]:
    """A job at an address where nothing answers, begun before the others, since it tries for most of a minute."""
    with socket.socket() as taken:
        # Bound, and never listening.
        taken.bind(("127.0.0.1", 0))
        nobody = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{taken.getsockname()[1]}"}
        words = [*place.arguments("gone", schedule__epochs="1"), "--storage", RUNS]
        with job("train_all_tasks.py", *words, **nobody) as process:
            yield process
            process.kill()


def arguments(place: Place, name: str, **changes: str) -> list[str]:
    # A cosine would fall otherwise over more epochs.
    given = {"validation__every": "1", "checkpoints__every_steps": "4", "schedule__rate__kind": "constant", **changes}
    return [*place.arguments(name, **given), "--data", PAIRS, "--storage", RUNS]


def job(file: str, *words: object, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "jobs" / file), *map(str, words)]
    names = {name: value for name, value in {**os.environ, **environment}.items() if value}
    return subprocess.Popen(command, env=names, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_job_goes_on_over_a_bucket_that_fails_and_is_away_and_is_resumed_and_fused_from_it(
    filled: Store, place: Place, tmp_path: Path
) -> None:
    filled.every = 9

    def go_away() -> None:
        filled.away = True
        threading.Timer(SECONDS_AWAY, lambda: setattr(filled, "away", False)).start()

    def first_epoch_is_there() -> bool:
        return any(key.startswith("runs/far/IVIF/epoch_00001/") for key in filled.all_keys())

    begun = train(arguments(place, "far", schedule__epochs="2"), go_away, first_epoch_is_there, tmp_path / "log.txt")
    assert begun.status == 0, begun.text
    assert filled.failed > 10
    again = ["--resume", "far", "--storage", RUNS, "--schedule.epochs", "3"]
    resumed = train(again, lambda: None, lambda: True, tmp_path / "again.txt")
    assert resumed.status == 0, resumed.text
    filled.every = 0
    keys = filled.all_keys()
    assert "runs/far/IVIF/final/fusion.safetensors" in keys and f"runs/far/{CLAIM_FILE}" not in keys

    # The same training on a disk, without a break.
    near = arguments(place, "near", schedule__epochs="3")
    near[near.index(RUNS)], near[near.index(PAIRS)] = str(tmp_path / "runs"), str(place.data)
    assert train(near, lambda: None, lambda: True, tmp_path / "near.txt").status == 0
    for file in ("fusion.safetensors", "loss_proposal.safetensors", "reconstruction.safetensors"):
        found = filled.client.get_object(Bucket=BUCKET, Key=f"runs/far/IVIF/final/{file}")["Body"].read()
        assert found == (tmp_path / "runs" / "near" / "IVIF" / "final" / file).read_bytes(), file

    val, out = place.data / "IVIF" / "val", tmp_path / "fused"
    final = f"{RUNS}/far/IVIF/final"
    fusing = job("fuse.py", "--checkpoint", final, "--task", "IVIF", "--a", val / "a", "--b", val / "b", "--out", out)
    listing = job("runs.py", "--storage", RUNS, "--csv")
    table = tmp_path / "scores.csv"
    scoring = job(
        "evaluate.py", "--checkpoint", f"{final}/fusion.safetensors", "--task", "IVIF", "--data", PAIRS,
        "--metrics", "EN", "--out", table,
    )  # fmt: skip
    said = [process.communicate() for process in (fusing, listing, scoring)]
    assert [process.returncode for process in (fusing, listing, scoring)] == [0, 0, 0], said
    assert len(list(out.glob("*.png"))) == 2 and table.read_text().count("\n") == 3
    assert "far" in said[1][0] and "finished" in said[1][0]


def test_what_is_wrong_with_a_bucket_is_one_sentence(filled: Store, place: Place, tmp_path: Path) -> None:
    small = place.arguments("wrong", schedule__epochs="1")
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    val = place.data / "IVIF" / "val"
    sources = ("--task", "IVIF", "--a", val / "a", "--b", val / "b", "--out", tmp_path)
    started = {
        "error: --storage s3://elsewhere/runs: s3://elsewhere: there is no bucket of this name": job(
            "train_all_tasks.py", *small, "--storage", "s3://elsewhere/runs"
        ),
        f"error: --storage {RUNS}: s3://{BUCKET}: may not be used with the credentials that are set, or none is set": (
            job("train_all_tasks.py", *small, "--storage", RUNS, **nobody)
        ),
        f"error: --data s3://{BUCKET}/none: there is no object of this key": job(
            "train_all_tasks.py", *small, "--data", f"s3://{BUCKET}/none"
        ),
        f"error: --checkpoint s3://{BUCKET}/none.pth: there is no object of this key": job(
            "fuse.py", "--checkpoint", f"s3://{BUCKET}/none.pth", *sources
        ),
        "error: --storage s3://elsewhere: s3://elsewhere: there is no bucket": job(
            "runs.py", "--storage", "s3://elsewhere"
        ),
    }
    for beginning, process in started.items():
        said = process.communicate()[1]
        assert process.returncode == 2, said
        assert said.startswith(beginning) and said.count("\n") == 1


def test_a_bucket_that_stays_away_ends_the_job_with_its_name(gone: subprocess.Popen[str]) -> None:
    said = gone.communicate()[1]
    assert gone.returncode == 1
    assert said.startswith(f"error: --storage {RUNS}: s3://{BUCKET}: the store does not answer, after all retries")
    assert said.count("\n") == 1
