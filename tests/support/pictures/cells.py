"""Cells of the table in docs/your-data.md: a file of each format and depth, and what reading it gives."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import tifffile
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

DEPTHS = ("8 bits", "10 to 14 bits", "16 bits", "signed or 32 bits", "floats in 0–1", "other floats")
EXACT, SCALED, OWN, STATED, UNIT, NONE = (
    "exact",
    "÷ 257, or a narrow range stretched",
    "÷ its greatest value",
    "refused until `--range` says",
    "× 255",
    "–",
)
WINDOW = "its window, or percentiles"

RNG = np.random.default_rng(3)
BYTES = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 9, 3), dtype=np.uint16)
DEEP.flat[:2] = 0, 65535
TWELVE = RNG.integers(0, 4096, (6, 9, 3), dtype=np.uint16)
SIGNED = RNG.integers(-1000, 2000, (6, 9), dtype=np.int16)
UNIT_FLOATS = RNG.random((6, 9), dtype=np.float32)
KELVIN = (UNIT_FLOATS * 40 + 280).astype(np.float32)


@dataclass(frozen=True)
class Cell:
    """A file and the grey levels that an automatic range gives; ``expected`` is None where it is refused."""

    outcome: str
    write: Callable[[Path], Any]
    expected: Any
    tolerance: float = 0.0
    suffix: str = ".png"


def _pillow(pixels: Any, suffix: str, **options: Any) -> Callable[[Path], Any]:
    kind = {".pgm": "PPM", ".ppm": "PPM"}.get(suffix)
    return lambda path: Image.fromarray(pixels).save(path, kind, **options)


def _png_16(path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), DEEP[..., ::-1])


def _tiff(pixels: Any, **options: Any) -> Callable[[Path], Any]:
    return lambda path: tifffile.imwrite(path, pixels, **options)


def _pnm(pixels: Any, greatest: int) -> Callable[[Path], Any]:
    kind = "P5" if pixels.ndim == 2 else "P6"
    header = f"{kind}\n# made here\n{pixels.shape[1]} {pixels.shape[0]}\n{greatest}\n".encode()
    return lambda path: path.write_bytes(header + pixels.astype(">u2").tobytes())


def _npy(values: Any) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, values)

    return write


def dicom(values: Any, **attributes: Any) -> Callable[[Path], Any]:
    """Returns what writes a DICOM file of one slice."""

    def write(path: Path) -> None:
        dataset = pydicom.Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset.Rows, dataset.Columns = values.shape[-2:]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = values.dtype.itemsize * 8
        dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(values.dtype.kind == "i")
        for name, value in attributes.items():
            setattr(dataset, name, value)
        dataset.PixelData = values.tobytes()
        dataset.save_as(path, enforce_file_format=True)

    return write


def nifti(values: Any) -> Callable[[Path], Any]:
    """Returns what writes a NIfTI file whose slices, as they are shown, are (Z, H, W) or (H, W) ``values``."""
    stored = np.moveaxis(values, 0, -1) if values.ndim == 3 else values
    stored = np.swapaxes(stored[::-1], 0, 1)
    return lambda path: path.write_bytes(nibabel.Nifti1Image(np.ascontiguousarray(stored), np.eye(4)).to_bytes())


def _decoded_by_pillow(pixels: Any, file_format: str, **options: Any) -> Any:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, file_format, **options)
    return np.asarray(Image.open(file).convert("RGB"))


def _spread(values: Any) -> Any:
    low, high = np.percentile(values, (0.1, 99.9))
    return np.clip((values - low) / (high - low), 0, 1) * 255


_GREY, _GREY_16, _GREY_12 = BYTES[..., 0].copy(), DEEP[..., 0].copy(), TWELVE[..., 0].copy()
CELLS: dict[tuple[str, str], Cell] = {
    ("PNG", "8 bits"): Cell(EXACT, _pillow(BYTES, ".png"), BYTES),
    ("PNG", "16 bits"): Cell(SCALED, _png_16, DEEP / 257, 1e-4),
    ("JPEG", "8 bits"): Cell(
        EXACT, _pillow(BYTES, ".jpg", quality=90), _decoded_by_pillow(BYTES, "JPEG", quality=90), 0, ".jpg"
    ),
    ("BMP", "8 bits"): Cell(EXACT, _pillow(BYTES, ".bmp"), BYTES, 0, ".bmp"),
    ("WebP", "8 bits"): Cell(EXACT, _pillow(BYTES, ".webp", lossless=True), BYTES, 0, ".webp"),
    ("GIF (first frame)", "8 bits"): Cell(EXACT, _pillow(_GREY, ".gif"), np.dstack([_GREY] * 3), 0, ".gif"),
    ("PGM, PPM", "8 bits"): Cell(EXACT, _pillow(BYTES, ".ppm"), BYTES, 0, ".ppm"),
    ("PGM, PPM", "10 to 14 bits"): Cell(OWN, _pnm(_GREY_12, 4095), _GREY_12 / 4095 * 255, 1e-4, ".pgm"),
    ("PGM, PPM", "16 bits"): Cell(SCALED, _pnm(DEEP, 65535), DEEP / 257, 1e-4, ".ppm"),
    ("TIFF", "8 bits"): Cell(EXACT, _tiff(BYTES, photometric="rgb", compression="lzw"), BYTES, 0, ".tif"),
    ("TIFF", "10 to 14 bits"): Cell(
        OWN, lambda path: path.write_bytes(packed_tiff(_GREY_12, 12)), _GREY_12 / 4095 * 255, 1e-4, ".tif"
    ),
    ("TIFF", "16 bits"): Cell(SCALED, _tiff(DEEP, photometric="rgb"), DEEP / 257, 1e-4, ".tif"),
    ("TIFF", "signed or 32 bits"): Cell(STATED, _tiff(SIGNED), None, 0, ".tif"),
    ("TIFF", "floats in 0–1"): Cell(UNIT, _tiff(UNIT_FLOATS), UNIT_FLOATS * 255, 1e-4, ".tif"),
    ("TIFF", "other floats"): Cell(STATED, _tiff(KELVIN), None, 0, ".tif"),
    ("NumPy .npy", "8 bits"): Cell(EXACT, _npy(BYTES), BYTES, 0, ".npy"),
    ("NumPy .npy", "16 bits"): Cell(SCALED, _npy(DEEP), DEEP / 257, 1e-4, ".npy"),
    ("NumPy .npy", "signed or 32 bits"): Cell(STATED, _npy(SIGNED), None, 0, ".npy"),
    ("NumPy .npy", "floats in 0–1"): Cell(UNIT, _npy(UNIT_FLOATS), UNIT_FLOATS * 255, 1e-4, ".npy"),
    ("NumPy .npy", "other floats"): Cell(STATED, _npy(KELVIN), None, 0, ".npy"),
    ("DICOM", "8 bits"): Cell(EXACT, dicom(_GREY), _GREY, 0, ".dcm"),
    ("DICOM", "16 bits"): Cell(WINDOW, dicom(_GREY_16), _spread(_GREY_16), 0.1, ".dcm"),
    ("DICOM", "signed or 32 bits"): Cell(
        WINDOW,
        dicom(SIGNED, WindowCenter=40, WindowWidth=401, RescaleSlope=1, RescaleIntercept=-24),
        np.clip((SIGNED - 24.0 + 160.5) / 400, 0, 1) * 255,
        1e-3,
        ".dcm",
    ),
    ("NIfTI", "8 bits"): Cell(EXACT, nifti(_GREY), _GREY, 0, ".nii"),
    ("NIfTI", "16 bits"): Cell(WINDOW, nifti(_GREY_16), _spread(_GREY_16), 0.1, ".nii"),
    ("NIfTI", "signed or 32 bits"): Cell(WINDOW, nifti(SIGNED), _spread(SIGNED.astype(float)), 0.01, ".nii"),
    ("NIfTI", "floats in 0–1"): Cell(WINDOW, nifti(UNIT_FLOATS), _spread(UNIT_FLOATS), 0.01, ".nii"),
    ("NIfTI", "other floats"): Cell(WINDOW, nifti(KELVIN), _spread(KELVIN), 0.01, ".nii"),
}


def packed_tiff(values: Any, bits: int) -> bytes:
    """Returns a big-endian TIFF of grey samples of fewer than 16 bits, packed, as cameras write them."""
    import struct

    height, width = values.shape
    rows = np.unpackbits(values.astype(">u2").view(np.uint8).reshape(height, width, 2), axis=2)[..., 16 - bits :]
    strip = np.packbits(rows.reshape(height, -1), axis=1).tobytes()
    entries = [
        (256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
        (278, 3, height), (279, 4, len(strip)),
    ]  # fmt: skip
    directory = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack(">HHI", tag, kind, 1) + struct.pack(
            ">HH" if kind == 3 else ">I", value, *[0][: kind == 3]
        )
    padded = strip + b"\0" * (len(strip) % 2)
    return b"MM\0*" + struct.pack(">I", 8 + len(padded)) + padded + directory + b"\0\0\0\0"


def table() -> str:
    """Returns the table as docs/your-data.md has it."""
    formats = list(dict.fromkeys(name for name, _ in CELLS))
    lines = ["| format | " + " | ".join(DEPTHS) + " |", "| --- " * (len(DEPTHS) + 1) + "|"]
    for name in formats:
        outcomes = [CELLS[name, depth].outcome if (name, depth) in CELLS else NONE for depth in DEPTHS]
        lines.append(f"| {name} | " + " | ".join(outcomes) + " |")
    return "\n".join(lines)
