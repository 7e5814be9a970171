from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from refusion.config.ranges import Reading
from refusion.demo.fusing import FUSED, fuse_files, preview
from refusion.demo.modules import choose
from refusion.errors import UserError
from refusion.fuse import fuse_exact
from refusion.images.writing import to_depth, write_image


def read(file: Path) -> np.ndarray:
    picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture if picture.ndim == 2 else picture[..., ::-1]


def test_a_deep_source_makes_a_deep_result_which_is_what_fusing_computes(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    chosen = choose("pretrained", "IVIF")
    steps: list[float] = []
    result = fuse_files(*pair, "IVIF", chosen, tmp_path, Reading(), lambda at, _what: steps.append(at))
    a, b = read(pair[0]) / np.float32(257), read(pair[1]).astype(np.float32)
    levels = fuse_exact(chosen.fusion, a.astype(np.float32), b)
    written = read(result.file)
    assert result.depth == 16 and written.dtype == np.uint16
    assert np.abs(written.astype(int) - to_depth(levels, 16)).max() <= 1
    assert np.abs(result.pictures[FUSED].astype(int) - to_depth(levels, 8)).max() <= 1
    assert steps == sorted(steps) and steps[0] == 0
    assert result.maps is not None and result.maps.ndim == 3
    assert {"source a", "source b", "average", "guided"} < set(result.pictures)
    assert "mertens" not in result.pictures


def test_shallow_sources_make_a_shallow_result_that_keeps_the_stem(pair: tuple[Path, Path], tmp_path: Path) -> None:
    shallow = tmp_path / "night.png"
    write_image(shallow, (read(pair[0]) // 257).astype(np.uint8))
    result = fuse_files(shallow, pair[1], "IVIF", choose("pretrained", "IVIF"), tmp_path, Reading())
    assert result.depth == 8 and read(result.file).dtype == np.uint8
    assert result.file.name == "night-fused.png"


def test_a_bad_pair_is_a_sentence_that_names_files_without_their_folders(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    small, none = tmp_path / "small.png", tmp_path / "none.png"
    write_image(small, np.zeros((20, 20), np.uint8))
    none.write_text("no picture")
    chosen = choose("pretrained", "IVIF")
    for other, said in ((small, "sizes differ: 48×40 in a, 20×20 in b"), (none, "none.png: is not a readable image")):
        with pytest.raises(UserError, match=said) as found:
            fuse_files(pair[0], other, "IVIF", chosen, tmp_path, Reading())
        assert str(tmp_path) not in str(found.value)
    with pytest.raises(UserError, match="both are the same file"):
        fuse_files(pair[0], pair[0], "IVIF", chosen, tmp_path, Reading())


def test_a_preview_is_the_picture_as_it_is_read(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert np.array_equal(preview(pair[1], "b", Reading()), read(pair[1]))
    (tmp_path / "none.png").write_text("no picture")
    with pytest.raises(UserError, match=r"^none\.png: is not a readable image"):
        preview(tmp_path / "none.png", "a", Reading())
