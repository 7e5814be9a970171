"""Claims of real processes: one at a time holds a folder, one that is gone loses it, and the end gives it back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from clouds.object_store import Store

from refusion.errors import UserError
from refusion.runtime.lifetime import claims
from refusion.runtime.lifetime.claims import CLAIM_FILE, Claim, abandoned, claimed, refuse_claimed
from refusion.runtime.storage import Folder

HOLDS = """
import sys, time
from refusion.errors import UserError
from refusion.runtime.lifetime.claims import claimed
from refusion.runtime.storage import Folder
while len(sys.argv) > 2 and time.time() < float(sys.argv[2]):
    pass
try:
    with claimed(Folder(sys.argv[1]), "--resume x", print):
        print("held", flush=True)
        time.sleep(float(sys.argv[3]) if len(sys.argv) > 3 else 100)
except UserError as error:
    print("refused", error, flush=True)
"""


def never(sentence: str) -> None:
    raise AssertionError(sentence)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path / "run"))


@pytest.fixture
def holder(folder: Folder) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, folder.uri], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_run_that_another_process_works_on_is_refused_in_a_sentence(
    folder: Folder, holder: subprocess.Popen[str]
) -> None:
    said = rf"^--resume x: process {holder.pid} on .* is at work on it"
    with pytest.raises(UserError, match=said) as refused, claimed(folder, "--resume x", never):
        pass
    assert "\n" not in str(refused.value)
    assert abandoned(folder) is None


def test_a_run_whose_owner_was_killed_is_taken_over_and_given_back(
    folder: Folder, holder: subprocess.Popen[str]
) -> None:
    holder.kill()
    holder.wait()
    gone = abandoned(folder)
    assert gone is not None and gone.pid == holder.pid
    with claimed(folder, "--resume x", never) as former:
        assert former == gone
        assert abandoned(folder) is None
    assert not (folder / CLAIM_FILE).exists() and not folder.exists()


def test_of_processes_that_begin_at_one_moment_one_alone_holds_it(
    folder: Folder, holder: subprocess.Popen[str]
) -> None:
    """All find the claim of a process that is gone."""
    holder.kill()
    holder.wait()
    command = [sys.executable, "-c", HOLDS, folder.uri, str(time.time() + 6), "4"]
    several = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(5)]
    said = [process.communicate(timeout=60)[0].split()[0] for process in several]
    assert sorted(said) == ["held", *["refused"] * 4]


def foreign(**changes: object) -> Claim:
    return replace(Claim.mine(), **{"host": "elsewhere", "machine": "elsewhere", **changes})


def test_an_owner_on_another_machine_lives_while_its_number_grows(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT", 1.0)
    # Its clock is an hour behind.
    theirs = foreign(at=time.time() - 3600)
    (folder / CLAIM_FILE).write_text(theirs.text)
    script = f"""
import json, time
from refusion.runtime.storage import Folder
for beat in range(1, 30):
    (Folder({folder.uri!r}) / "claim.json").write_text(json.dumps({json.loads(theirs.text)!r} | {{"beat": beat}}))
    time.sleep(0.3)
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        with pytest.raises(UserError, match="on elsewhere is at work on it"):
            refuse_claimed(folder, "--resume x")
    finally:
        process.kill()
        process.wait()
    (folder / CLAIM_FILE).write_text(theirs.text)
    assert refuse_claimed(folder, "--resume x") == theirs


def test_an_owner_on_another_machine_that_has_just_shown_life_is_refused_at_once(folder: Folder) -> None:
    (folder / CLAIM_FILE).write_text(foreign().text)
    with pytest.raises(UserError, match="is at work on it"):
        refuse_claimed(folder, "--resume x")
    assert abandoned(folder) is None
    (folder / CLAIM_FILE).write_text(foreign(at=time.time() - 700).text)
    assert abandoned(folder) is not None


def test_signs_of_life_and_the_loss_of_a_claim(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.1)
    told: list[str] = []
    with claimed(folder, "--resume x", told.append):
        deadline = time.monotonic() + 10
        while (now := Claim.read(folder)) is None or now.beat < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        other = foreign()
        (folder / CLAIM_FILE).write_text(other.text)
        while not told:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert "on elsewhere has taken this run over" in told[0]
    # It is not ours to give back.
    assert Claim.read(folder) == other


def test_a_claim_that_was_cut_off_holds_nobody_up(folder: Folder) -> None:
    (folder / CLAIM_FILE).write_text('{"token": ')
    with claimed(folder, "--resume x", never) as former:
        assert former is None


def test_a_claim_made_between_the_look_and_the_taking_is_left_alone(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = foreign(at=time.time())

    def look(folder: Folder, what: str) -> Claim | None:
        before = Claim.read(folder)
        (folder / CLAIM_FILE).write_text(theirs.text)
        return before

    monkeypatch.setattr(claims, "refuse_claimed", look)
    with pytest.raises(UserError, match="another job has begun to work on it"), claimed(folder, "--resume x", never):
        pass
    assert Claim.read(folder) == theirs


def test_a_claim_in_a_bucket_refuses_another_process_and_leaves_nothing(store: Store) -> None:
    there = Folder("s3://ours/runs/x")
    with claimed(there, "--resume x", never) as former:
        assert former is None
        program = [sys.executable, "-c", HOLDS, there.uri]
        said = subprocess.run(program, capture_output=True, text=True, check=True).stdout
        assert said.startswith("refused --resume x: process ") and "is at work on it" in said
    assert not there.exists()


def test_a_claim_in_a_bucket_is_taken_over_from_an_owner_that_is_gone(store: Store) -> None:
    there = Folder("s3://ours/runs/x")
    (there / "job.yaml").write_text("kept")
    gone = replace(Claim.mine(), pid=2**22 + 1)
    (there / CLAIM_FILE).write_text(gone.text)
    store.every = 3
    with claimed(there, "--resume x", never) as former:
        assert former == gone
        assert Claim.read(there) is not None
    assert (there / "job.yaml").read_text() == "kept" and Claim.read(there) is None
