from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
import torch

from refusion.errors import UserError
from refusion.networks.tiled import row_maps
from refusion.networks.tiled.row_maps import row_map, temporary_folder


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(row_maps, "MOST_BYTES_IN_MEMORY", 0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("most", [0, 1 << 20])
def test_rows_are_found_where_they_were_put(most: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_maps, "MOST_BYTES_IN_MEMORY", most)
    values = torch.rand(1, 9, 5, 3, dtype=dtype)
    with row_map(9, 5, 3, values) as maps:
        maps.write(4, values[:, 4:])
        maps.write(0, values.flip(1)[:, :4])
        maps.write(0, values[:, :4])
        assert torch.equal(maps.read(2, 7), values[:, 2:7])
        assert torch.equal(maps.read(8, 9), values[:, 8:])


def test_the_file_has_its_room_at_once_no_name_and_no_end(on_disk: Path) -> None:
    before = psutil.Process().num_fds()
    with row_map(100, 50, 4, torch.empty(0)) as maps:
        assert list(on_disk.iterdir()) == []
        assert os.fstat(maps._file.fileno()).st_size == 100 * 50 * 4 * 4  # type: ignore[attr-defined]
    assert psutil.Process().num_fds() == before


def test_a_full_disk_is_one_sentence(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=rf"{on_disk}: a picture of this size needs .* GB .*TMPDIR"):
        # More than any file system holds.
        row_map(1 << 30, 1 << 20, 1 << 10, torch.empty(0))
    assert list(on_disk.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_is_one_sentence(on_disk: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with row_map(4, 4, 4, torch.empty(0)) as maps, full.open("r+b", buffering=0) as device:
        maps._file.close()  # type: ignore[attr-defined]
        maps._file = device  # type: ignore[attr-defined]
        with pytest.raises(UserError, match="No space left on device"):
            maps.write(0, torch.zeros(1, 4, 4, 4))


def test_a_folder_that_is_none_is_one_sentence(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_maps, "temporary_folder", lambda: on_disk / "nowhere")
    with pytest.raises(UserError, match="No such file or directory"):
        row_map(4, 4, 4, torch.empty(0))


def test_the_folder_is_the_one_that_is_named(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert temporary_folder() == on_disk
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    assert temporary_folder().is_dir()
