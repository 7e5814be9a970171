from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
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


def _rich_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[271], exif[306], exif[33432] = "Maker", "2024:01:02 03:04:05", "me"
    exif.get_ifd(34665).update({33434: (1, 250), 34855: 400, 37386: 35.5, 36867: "2024:01:02 03:04:05"})
    exif.get_ifd(34853).update({1: "N", 2: (48.0, 8.0, 12.5), 29: "2024:01:02"})
    return exif


@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_a_tiff_of_16_bit_rgb_keeps_all_exif_data(tmp_path: Path, kind: str) -> None:
    source, file, pixels = tmp_path / f"source.{kind}", tmp_path / "x.tif", _pixels(16, 3)
    # Strips of its own, of which nothing may get into the result.
    pixels_of_source = RNG.integers(0, 256, (90, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels_of_source).save(source, exif=_rich_exif().tobytes(), dpi=(300, 300))
    write_image(file, pixels, read_carried(source, colour=True))
    with Image.open(source) as given, Image.open(file) as written:
        assert written.size == (13, 9)
        for inner in (34665, 34853):
            assert dict(written.getexif().get_ifd(inner)) == dict(given.getexif().get_ifd(inner)) != {}
        assert [written.getexif()[tag] for tag in (271, 306, 33432)] == ["Maker", "2024:01:02 03:04:05", "me"]
        assert written.info["dpi"] == pytest.approx((300, 300), rel=1e-4)
    assert np.array_equal(tifffile.imread(file), pixels)
    assert np.array_equal(cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[..., ::-1], pixels)


def test_how_a_tiff_lies_in_its_file_is_not_carried(tmp_path: Path) -> None:
    Image.fromarray(_pixels(8, 3)).save(tmp_path / "x.tif", exif=_rich_exif().tobytes(), dpi=(300, 300))
    carried = Image.Exif()
    carried.load(read_carried(tmp_path / "x.tif", colour=True).exif or b"")
    assert sorted(carried) == [271, 306, 33432, 34665, 34853]


def test_a_tiff_of_16_bit_rgb_that_carries_nothing(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 65536, (1, 7, 3)).astype(np.uint16)
    write_image(tmp_path / "x.tif", pixels)
    assert np.array_equal(tifffile.imread(tmp_path / "x.tif"), pixels)
    with Image.open(tmp_path / "x.tif") as written:
        assert "icc_profile" not in written.info
        assert 271 not in written.getexif()
