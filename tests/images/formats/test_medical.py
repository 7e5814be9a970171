from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures.cells import dicom, nifti

from refusion.images.formats import decode_samples
from refusion.images.formats.samples import Samples
from refusion.images.limits import UnreadableImageError
from refusion.images.reading import read_image

RNG = np.random.default_rng(8)
HOUNSFIELD = RNG.integers(-1000, 1500, (7, 9), dtype=np.int16)


def _decode(path: Path, megapixels: float = 1) -> Samples:
    return decode_samples(path.read_bytes(), path, megapixels)


def test_a_ct_slice_is_shown_through_its_window(tmp_path: Path) -> None:
    window = {"WindowCenter": [40, 600], "WindowWidth": [400, 1500]}
    dicom(HOUNSFIELD + 1000, RescaleSlope=1, RescaleIntercept=-1000, **window)(tmp_path / "x.dcm")
    found = _decode(tmp_path / "x.dcm")
    np.testing.assert_array_equal(found.values, HOUNSFIELD)
    assert found.window == (40 - 0.5 - 199.5, 40 - 0.5 + 199.5)
    assert read_image(tmp_path / "x.dcm")[HOUNSFIELD > 240].min() == 255


def test_where_less_is_brighter_values_are_turned_round(tmp_path: Path) -> None:
    window = {"WindowCenter": 40, "WindowWidth": 400}
    for name, photometric in (("one", "MONOCHROME1"), ("two", "MONOCHROME2")):
        dicom(HOUNSFIELD, PhotometricInterpretation=photometric, **window)(tmp_path / f"{name}.dcm")
    one, two = (read_image(tmp_path / f"{name}.dcm") for name in ("one", "two"))
    np.testing.assert_allclose(one, 255 - two, atol=1e-3)


def test_of_several_slices_the_middle_one_is_taken_and_that_is_said(tmp_path: Path) -> None:
    volume = RNG.integers(0, 4096, (5, 7, 9), dtype=np.uint16)
    dicom(volume, NumberOfFrames=5)(tmp_path / "x.dcm")
    nifti(volume.astype(np.int16))(tmp_path / "x.nii")
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress((tmp_path / "x.nii").read_bytes()))
    for name in ("x.dcm", "x.nii", "x.nii.gz"):
        found = _decode(tmp_path / name)
        np.testing.assert_array_equal(found.values, volume[2])
        assert found.remarks == ("the middle one of 5 slices",)


@pytest.mark.parametrize(
    ("name", "write"), [("x.dcm", dicom(np.zeros((3, 70, 90), np.uint16), NumberOfFrames=3)), ("x.nii", None)]
)
def test_a_volume_beyond_the_limit_is_refused(tmp_path: Path, name: str, write: Any) -> None:
    (write or nifti(np.zeros((3, 70, 90), np.int16)))(tmp_path / name)
    with pytest.raises(UnreadableImageError, match="too large"):
        _decode(tmp_path / name, 0.01)


def test_a_packed_volume_does_not_unpack_without_end(tmp_path: Path) -> None:
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(b"\0" * (64 << 20)))
    with pytest.raises(UnreadableImageError, match=r"cannot be decoded|damaged"):
        _decode(tmp_path / "x.nii.gz", 0.01)


@pytest.mark.parametrize("cut", [140, 300, 380])
def test_a_truncated_file_is_named(tmp_path: Path, cut: int) -> None:
    dicom(HOUNSFIELD)(tmp_path / "x.dcm")
    nifti(HOUNSFIELD)(tmp_path / "x.nii")
    for name in ("x.dcm", "x.nii"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:cut])
        with pytest.raises(UnreadableImageError):
            _decode(tmp_path / name)


def test_without_the_extra_a_sentence_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dicom(HOUNSFIELD)(tmp_path / "x.dcm")
    nifti(HOUNSFIELD)(tmp_path / "x.nii")
    for name, library in (("x.dcm", "pydicom"), ("x.nii", "nibabel")):
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(UnreadableImageError, match=rf"needs {library}.*pip install 'refusion-platform\[medical\]'"):
            _decode(tmp_path / name)
