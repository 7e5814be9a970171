from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refusion.checksums import CHECKSUMS_FILE, check_checksums, write_checksums
from refusion.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "one.bin").write_bytes(bytes(range(256)))
    (tmp_path / "below" / "two three.txt").write_text("text")
    write_checksums(tmp_path)
    return tmp_path


def test_files_that_are_as_they_were_pass(folder: Path) -> None:
    check_checksums(folder, whole=True)
    done = subprocess.run(["sha256sum", "-c", CHECKSUMS_FILE], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.count(": OK") == 2


@given(name=st.sampled_from(["one.bin", "below/two three.txt", CHECKSUMS_FILE]), data=st.data())
def test_any_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("folder")
    (folder / "below").mkdir()
    (folder / "one.bin").write_bytes(bytes(range(256)))
    (folder / "below" / "two three.txt").write_text("text")
    write_checksums(folder)
    content = bytearray((folder / name).read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    (folder / name).write_bytes(content)
    with pytest.raises(UserError) as refused:
        check_checksums(folder, whole=True)
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)


def test_each_flipped_bit_of_the_digests_is_found(folder: Path) -> None:
    listed = folder / CHECKSUMS_FILE
    written = listed.read_bytes()
    for bit in range(8 * len(written)):
        content = bytearray(written)
        content[bit // 8] ^= 1 << bit % 8
        listed.write_bytes(content)
        with pytest.raises(UserError):
            check_checksums(folder, whole=True)


def test_a_missing_file_is_a_fault_only_where_the_whole_is_asked_for(folder: Path) -> None:
    (folder / "one.bin").unlink()
    check_checksums(folder, whole=False)
    with pytest.raises(UserError, match=r"one\.bin: is missing"):
        check_checksums(folder, whole=True)


def test_a_folder_without_digests_passes(tmp_path: Path) -> None:
    (tmp_path / "one.bin").write_bytes(b"1")
    check_checksums(tmp_path, whole=True)


def test_digests_that_were_cut_off_are_a_fault(folder: Path) -> None:
    for content in ("", "0123"):
        (folder / CHECKSUMS_FILE).write_text(content)
        with pytest.raises(UserError, match=f"{CHECKSUMS_FILE}: is damaged"):
            check_checksums(folder, whole=False)
