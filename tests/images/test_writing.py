from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from refusion.errors import UserError
from refusion.images.reading import read_image
from refusion.images.writing import Carried, read_carried, to_depth, write_image

RNG = np.random.default_rng(2)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _pixels(depth: int, channels: int) -> Any:
    shape = (9, 13) if channels == 1 else (9, 13, 3)
    return RNG.integers(0, 2**depth, shape).astype(np.uint8 if depth == 8 else np.uint16)


def _source(path: Path, **options: Any) -> Path:
    exif = Image.Exif()
    exif[271], exif[274] = "Maker", options.pop("orientation", 1)
    Image.fromarray(_pixels(8, 3)).save(path, exif=exif, icc_profile=SRGB, dpi=(300, 150), **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [8, 16])
def test_every_value_comes_back(tmp_path: Path, suffix: str, channels: int, depth: int) -> None:
    pixels = _pixels(depth, channels)
    write_image(tmp_path / f"x{suffix}", pixels, read_carried(_source(tmp_path / "source.jpg"), colour=channels == 3))
    # Half of a count of 16 bits.
    scale = 1 if depth == 8 else 257
    np.testing.assert_allclose(read_image(tmp_path / f"x{suffix}"), pixels / scale, atol=0.5 / 257 * (depth == 16))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["source.jpg", f"x{suffix}"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("depth", [8, 16])
def test_profile_exif_and_resolution_are_kept(tmp_path: Path, suffix: str, depth: int) -> None:
    if suffix == ".jpg" and depth == 16:
        with pytest.raises(UserError, match="16 bits are written as PNG or TIFF"):
            write_image(tmp_path / "x.jpg", _pixels(16, 3))
        return
    carried = read_carried(_source(tmp_path / "source.jpg", orientation=6), colour=True)
    # Turned: what was down is across.
    assert carried.dpi == (150, 300)
    write_image(tmp_path / f"x{suffix}", _pixels(depth, 3), carried)
    if suffix == ".tif" and depth == 16:
        tags = tifffile.TiffFile(tmp_path / "x.tif").pages[0].tags  # type: ignore[union-attr]
        assert tags[34675].value == SRGB
        assert tags["XResolution"].value[0] / tags["XResolution"].value[1] == 150
        return
    with Image.open(tmp_path / f"x{suffix}") as written:
        assert written.info["icc_profile"] == SRGB
        assert written.info["dpi"] == pytest.approx((150, 300), rel=1e-3)
        exif = written.getexif()
        assert exif[271] == "Maker"
        assert exif.get(274, 1) == 1


def test_a_profile_of_colour_is_left_out_of_grey(tmp_path: Path) -> None:
    source = _source(tmp_path / "source.png")
    assert read_carried(source, colour=True).icc == SRGB
    assert read_carried(source, colour=False).icc is None


def test_a_source_without_anything_carries_nothing(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 4)))
    Image.fromarray(_pixels(8, 1)).save(tmp_path / "x.png")
    for name in ("x.npy", "x.png", "nowhere.png"):
        assert read_carried(tmp_path / name, colour=False) == Carried()


def test_depths() -> None:
    levels = np.array([-3.0, 0.4, 127.5, 254.6, 300.0])
    assert to_depth(levels, 8).tolist() == [0, 0, 128, 255, 255]
    assert to_depth(levels, 16).tolist() == [0, 103, 32768, 65432, 65535]


def test_a_picture_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "x.png", _pixels(8, 1))
    before = (tmp_path / "x.png").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match=r"x\.png: cannot be written \(No space left"):
        write_image(tmp_path / "x.png", _pixels(8, 1))
    assert (tmp_path / "x.png").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1
