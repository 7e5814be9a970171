from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock

import numpy as np
import pytest
from PIL import Image

from refusion.images.limits import Allowance, UnreadableImageError, declared_pixels, read_bytes
from refusion.images.reading import read_image


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "zero.png", "folder.png"):
        with pytest.raises(UnreadableImageError, match="no regular file"):
            read_bytes(tmp_path / name)
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link.png").symlink_to("real")
    assert read_bytes(tmp_path / "link.png") == b"x"


def test_a_loop_of_links_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to("x.png")
    with pytest.raises(UnreadableImageError, match="cannot be read"):
        read_bytes(tmp_path / "x.png")


def test_the_limit_is_one_of_bytes_and_of_pixels(tmp_path: Path) -> None:
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(9 << 20)
    with pytest.raises(UnreadableImageError, match=r"too large \(9 MB\): --max-megapixels raises"):
        read_bytes(tmp_path / "sparse.png", 1)
    assert len(read_bytes(tmp_path / "sparse.png", 2)) == 9 << 20


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".gif", ".ppm", ".npy"])
def test_pixels_are_counted_before_they_are_decoded(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((100, 120), np.uint8)
    if suffix == ".npy":
        np.save(tmp_path / "x.npy", pixels)
    else:
        Image.fromarray(pixels).save(tmp_path / f"x{suffix}", "PPM" if suffix == ".ppm" else None)
    with pytest.raises(UnreadableImageError, match=r"too large \(120×100 pixels, more than 0.01 million\)"):
        read_image(tmp_path / f"x{suffix}", 0.01)
    assert read_image(tmp_path / f"x{suffix}", 0.02).shape[:2] == (100, 120)


def test_pixels_that_are_decoded_at_once_are_limited() -> None:
    allowance, under_way, most, lock = Allowance(100), 0, 0, Lock()

    def decode(pixels: int) -> None:
        nonlocal under_way, most
        with allowance.taken(pixels):
            with lock:
                under_way += pixels
                most = max(most, under_way)
            Event().wait(0.01)
            with lock:
                under_way -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [40] * 12))
    assert most == 80
    with pytest.raises(ZeroDivisionError), allowance.taken(1000):
        raise ZeroDivisionError
    with allowance.taken(100):
        pass


def test_a_header_tells_the_pixels_of_a_file(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "x.png")
    assert declared_pixels((tmp_path / "x.png").read_bytes()) == 600
    assert declared_pixels(b"no picture") == 10
