from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from clouds.object_store import Store

from refusion.errors import UserError
from refusion.runtime.storage import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder.at(tmp_path)


def test_a_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Folder.at("runs").uri == str(tmp_path / "runs")
    assert Folder.at(Path("~/runs")).uri == str(tmp_path / "home" / "runs")


def test_a_uri_stays_one(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}"
    assert Folder.at(f"{uri}/").uri == uri
    assert (Folder.at(uri) / "run" / "IVIF").uri == f"{uri}/run/IVIF"


@pytest.mark.parametrize("place", ["nosuch://bucket/runs", "://x"])
def test_what_is_no_storage_is_refused_by_its_name(place: str) -> None:
    with pytest.raises(UserError, match="is no folder or URI that can be used") as caught:
        Folder.at(place)
    assert str(caught.value).startswith(f"--storage {place}: ")


@pytest.mark.parametrize("kind", ["path", "uri"])
def test_what_is_written_can_be_read_seen_and_listed(tmp_path: Path, kind: str) -> None:
    folder = Folder.at(tmp_path if kind == "path" else f"file://{tmp_path}")
    file = folder / "run" / "job.yaml"
    assert not file.exists()
    file.write_text("name: Größe\n")
    assert file.exists()
    assert file.read_text() == "name: Größe\n"
    (folder / "run" / "a.txt").write_text("")
    assert (folder / "run").names() == ["a.txt", "job.yaml"]
    assert folder.names() == ["run"]
    assert (tmp_path / "run" / "job.yaml").read_text(encoding="utf-8") == "name: Größe\n"


def test_writing_again_replaces(folder: Folder) -> None:
    for text in ("long before", "now"):
        (folder / "file").write_text(text)
    assert (folder / "file").read_text() == "now"


def test_what_stands_there_stays_whole_until_the_new_text_does(folder: Folder) -> None:
    (folder / "file").write_text("whole")
    with pytest.raises(UnicodeEncodeError):
        (folder / "file").write_text("half of it, then \ud800")
    assert (folder / "file").read_text() == "whole"
    (folder / "file").write_text("new")
    assert folder.names() == ["file"]


def test_a_folder_that_is_not_there_is_empty(folder: Folder) -> None:
    assert (folder / "gone").names() == []


def test_a_copy_has_what_the_source_has_and_nothing_from_before(folder: Folder) -> None:
    (folder / "epoch_1" / "state.pt").write_text("new")
    (folder / "epoch_1" / "pictures" / "fused.png").write_text("picture")
    (folder / "best" / "old.txt").write_text("old")
    (folder / "best").replace_by(folder / "epoch_1")
    assert (folder / "best").names() == ["pictures", "state.pt"]
    assert (folder / "best" / "pictures" / "fused.png").read_text() == "picture"
    assert (folder / "epoch_1" / "state.pt").read_text() == "new"


def test_a_copy_can_go_where_nothing_was(folder: Folder) -> None:
    (folder / "epoch_1" / "state.pt").write_text("new")
    (folder / "run" / "final").replace_by(folder / "epoch_1")
    assert (folder / "run" / "final").names() == ["state.pt"]


def test_the_earlier_copy_stays_whole_where_the_disk_is_full(tmp_path: Path) -> None:
    """The process may write no file of more than 4 kB, which fails in the midst of a copy as a full disk does."""
    for name, text in (("best", "earlier"), ("epoch_1", "later")):
        (Folder.at(tmp_path) / name / "settings.yaml").write_text(text)
    (tmp_path / "epoch_1" / "state.pt").write_bytes(bytes(100_000))
    program = (
        "import resource, sys; from refusion.runtime.storage import Folder; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
        "(Folder(sys.argv[1]) / 'best').replace_by(Folder(sys.argv[1]) / 'epoch_1')"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert (tmp_path / "best" / "settings.yaml").read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"best", "epoch_1"}


def test_a_file_address_is_a_path(tmp_path: Path) -> None:
    assert Folder.at(f"file:{tmp_path}/a%20b") == Folder(f"{tmp_path}/a b")


def test_a_folder_is_known_to_be_writable_before_it_is_needed(tmp_path: Path) -> None:
    Folder.at(tmp_path / "new" / "runs").require_writable()
    assert list((tmp_path / "new" / "runs").iterdir()) == []
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "runs", Path("/proc/runs")):
        with pytest.raises(UserError, match=rf"^{place} cannot be written to \(.*\): give another --storage"):
            Folder.at(place).require_writable()


def test_a_folder_in_a_bucket_is_as_one_on_a_disk(store: Store, tmp_path: Path) -> None:
    there = Folder.at("s3://ours/runs/")
    there.require_writable()
    (tmp_path / "near" / "below").mkdir(parents=True)
    (tmp_path / "near" / "below" / "x").write_text("x")
    (there / "one" / "old").write_text("old")
    store.every = 4
    (there / "one").replace_by(Folder(str(tmp_path / "near")))
    assert there.names() == ["one"] and (there / "one").names() == ["below"]
    assert (there / "one" / "below" / "x").read_text() == "x"
    assert there.usage()[0] == 1
    assert there.for_ray()["storage_path"] == "ours/runs" and there.of_ray("ours/runs/one").uri == "s3://ours/runs/one"
    (there / "one").remove()
    assert not (there / "one").exists() and store.failed


def test_a_bucket_that_there_is_not_is_refused_at_once(store: Store) -> None:
    with pytest.raises(UserError, match=r"^--storage s3://elsewhere/x: s3://elsewhere: there is no bucket"):
        Folder.at("s3://elsewhere/x")
