from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from clouds.object_store import Store

from refusion.buckets.staging import staged
from refusion.errors import UserError

PAIRS = "s3://ours/pairs"


def fetched(store: Store) -> list[str]:
    return [one for one in store.asked if one.startswith("GET") and ".png" in one]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_objects_are_fetched_once_and_damaged_files_anew(pairs: Store, forget: Callable[[], None]) -> None:
    said: list[str] = []
    folder = staged(PAIRS, "--data", say=said.append)
    expected = {name: name.encode() * 100 for name in ("a/1.png", "b/1.png", "c/d/2.png")}
    assert contents(folder) == expected
    assert len(said) == 1 and "3 of 3 files fetched" in said[0]
    pairs.asked.clear()
    forget()
    assert staged(f"{PAIRS}/", "--data", say=said.append) == staged(PAIRS, "--data", say=said.append) == folder
    assert not fetched(pairs) and len(said) == 1
    (folder / "b/1.png").write_bytes(b"b/1.pnG" * 100)
    forget()
    assert contents(staged(PAIRS, "--data", say=said.append)) == expected
    assert len(fetched(pairs)) == 1 and "1 of 3 files" in said[1]


def test_a_changed_object_is_fetched_anew_beside_the_earlier_state(pairs: Store) -> None:
    before = staged(PAIRS, "--data")
    pairs.asked.clear()
    pairs.put("pairs/a/1.png", b"other")
    pairs.client.delete_object(Bucket="ours", Key="pairs/b/1.png")
    after = staged(PAIRS, "--data")
    assert contents(after) == {"a/1.png": b"other", "c/d/2.png": b"c/d/2.png" * 100}
    assert (before / "a/1.png").read_bytes() == b"a/1.png" * 100
    assert len(fetched(pairs)) == 1
    assert (before / "c/d/2.png").samefile(after / "c/d/2.png")
    with pytest.raises(UserError, match=r"--data s3://ours/pairs: its objects have changed since the job began"):
        staged(PAIRS, "--data", expected=before)


def stage_there(folder: Path) -> None:
    assert staged(PAIRS, "--data", expected=folder) == folder


def test_two_workers_of_a_machine_fetch_each_object_once(pairs: Store, tmp_path: Path) -> None:
    name = staged(PAIRS, "--data").name
    pairs.asked.clear()
    # As on another machine, whose workers come to the folder that the job's own machine has named.
    folder = tmp_path / "other" / name
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=stage_there, args=(folder,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(fetched(pairs)) == 3 and len(contents(folder)) == 3


def test_one_object_is_a_file(pairs: Store) -> None:
    file = staged(f"{PAIRS}/c/d/2.png", "--checkpoint")
    assert file.name == "2.png" and file.read_bytes() == b"c/d/2.png" * 100


def test_a_store_that_fails_now_and_then_is_asked_again(pairs: Store) -> None:
    pairs.every = 2
    assert len(contents(staged(PAIRS, "--data"))) == 3
    assert pairs.failed > 2


@pytest.mark.parametrize("key", ["pairs/../../out.png", "pairs/a//b.png"])
def test_a_key_that_leaves_the_folder_is_refused(store: Store, key: str) -> None:
    store.put(key, b"x")
    with pytest.raises(UserError, match=r"is no file's name"):
        staged(PAIRS, "--data")
    assert not list(Path(os.environ["REFUSION_HOME"]).rglob("*.png"))


def test_nothing_below_an_address_is_said(store: Store) -> None:
    with pytest.raises(UserError, match=r"^--data s3://ours/none: there is no object of this key, and none below it$"):
        staged("s3://ours/none", "--data")
    with pytest.raises(UserError, match=r"^s3://elsewhere: there is no bucket of this name"):
        staged("s3://elsewhere/pairs", "--data")
