from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import yaml

from refusion.errors import UserError
from refusion.home import refusion_home
from refusion.runtime.manifest import JobRequest, Manifest, changed_settings

URI = "sqlite:////disk/mlflow.db"
DIGESTS = {"IVIF": {"train": "11", "val": "22"}}


@dataclass(kw_only=True)
class Note(Manifest):
    """The smallest manifest: one field of its own."""

    kind: ClassVar[Literal["run", "sweep"]] = "sweep"
    file: ClassVar[str] = "note.yaml"

    text: str


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, so that nothing reaches the user's."""
    monkeypatch.setenv("REFUSION_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def first() -> Note:
    """A manifest that is written."""
    note = Note.begin(JobRequest(run_name="first", experiment="study"), URI, text="α")
    note.digests = DIGESTS
    note.write({"text": note.text})
    return note


def test_a_new_one_has_a_place_and_exists_once_it_is_written(home: Path) -> None:
    note = Note.begin(JobRequest(run_name="first"), URI, text="")
    assert note.folder.uri == str(home / "sweeps" / "first")
    assert (note.experiment, note.tracking_uri) == ("refusion", URI)
    assert (note.resumed, note.digests) == (False, {})
    assert not note.folder.exists()


def test_the_file_holds_the_common_and_the_own_fields(first: Note) -> None:
    assert yaml.safe_load((first.folder / "note.yaml").read_text()) == {
        "tracking_uri": URI,
        "experiment": "study",
        "text": "α",
        "digests": DIGESTS,
        "home": str(refusion_home()),
    }


def test_what_was_written_is_resumed_and_may_be_recorded_elsewhere(first: Note) -> None:
    request = JobRequest(resume="first")
    content = Note.read(request)
    resumed = Note.resume(request, content, content["tracking_uri"], text=content["text"])
    assert (resumed.name, resumed.folder, resumed.text) == (first.name, first.folder, "α")
    assert (resumed.experiment, resumed.tracking_uri, resumed.digests) == ("study", URI, DIGESTS)
    assert resumed.resumed
    moved = Note.resume(JobRequest(resume="first", experiment="moved"), content, "sqlite:////other.db", text="")
    assert (moved.tracking_uri, moved.experiment) == ("sqlite:////other.db", "moved")


def test_a_name_that_is_taken_or_unknown_is_refused(first: Note) -> None:
    with pytest.raises(UserError, match="--run-name first: there is a sweep of this name"):
        Note.begin(JobRequest(run_name=first.name), URI, text="")
    with pytest.raises(UserError, match=r"--resume second: there is no such sweep in .*there are: first"):
        Note.read(JobRequest(resume="second"))


def test_other_images_are_refused_by_task_and_split(first: Note) -> None:
    first.check_same_images(DIGESTS)
    first.check_same_images({"MIF": {"train": "0", "val": "0"}})
    with pytest.raises(UserError, match="the images of IVIF/val are not those the sweep began with"):
        first.check_same_images({"IVIF": {"train": "11", "val": "99"}})


def test_changes_are_refused_by_the_names_of_their_options() -> None:
    Note.refuse_changes("first", [])
    with pytest.raises(UserError, match="--resume first: --seed, --grace cannot change in a resumed sweep"):
        Note.refuse_changes("first", ["seed", "grace"])


def test_settings_that_differ_are_named_down_to_the_last_section() -> None:
    before = {"seed": 0, "rate": {"kind": "constant", "value": 1.0}, "network": {"width": 8}, "threads": 1}
    after = {"seed": 0, "rate": {"kind": "cosine", "first": 1.0}, "network": {"width": 4}, "threads": 2}
    assert changed_settings(before, after, ["threads", "net"]) == [
        "rate.kind",
        "rate.value",
        "rate.first",
        "network.width",
    ]
    assert changed_settings(before, after, ["threads", "rate", "network"]) == []


def test_the_storage_is_needed_to_resume_only_where_it_is_not_ours(tmp_path: Path) -> None:
    assert Note.begin(JobRequest(run_name="first"), URI, text="").resume_arguments() == ["--resume", "first"]
    elsewhere = Note.begin(JobRequest(run_name="first", storage=str(tmp_path / "disk")), URI, text="")
    assert elsewhere.resume_arguments() == ["--resume", "first", "--storage", str(tmp_path / "disk")]
