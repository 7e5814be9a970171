"""Reading and writing of one image: PNG, JPEG, BMP or TIFF, 8 or 16 bit, grey, RGB, RGBA or palette."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from refusion.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

# Naming the decoders keeps Pillow from trying other formats.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
# Many cameras write it as .jpg: a JPEG with a preview or depth map behind the picture.
_JPEG_AND_MORE = "MPO"
_PNG_END = b"IEND\xaeB\x60\x82"
_DEPTHS = {1, 2, 4, 8, 16}
_GREY_MODES = {"1", "L", "LA"}
_COLOUR_MODES = {"P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"}
_GREY_16_MODES = {"I;16", "I;16L", "I;16B", "I;16N"}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT, _ORIENTATION = 258, 262, 339, 274
_INTEGER_SAMPLES, _WHITE_IS_ZERO, _UPRIGHT = 1, 0, 1


class UnreadableImageError(UserError):
    """A file that is no usable image; ``what`` gives the reason, without the file's name."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what

    def __reduce__(self) -> tuple[type[UnreadableImageError], tuple[Path, str]]:
        return type(self), (self.path, self.what)


@dataclass(frozen=True)
class Decoded:
    """An image and the orientation that its EXIF data claim (1: upright), which is reported but never applied."""

    image: NDArray[np.float32]
    orientation: int


def read_image(path: Path) -> NDArray[np.float32]:
    """Returns the pixels of one file as they are stored.

    8-bit values come out exactly, 16-bit values are divided by 257, so that both span 0–255. Alpha is dropped, a
    palette is expanded, and a file with three channels stays (H, W, 3) even where they are all equal
    (``colour.has_colour`` decides). EXIF orientation is not applied: two registered files stay registered whatever
    their cameras wrote there. Colour profiles are not applied either.

    Returns:
        (H, W) grey or (H, W, 3) RGB, float32 in 0–255.

    Raises:
        UnreadableImageError: (a UserError) the file is missing, empty, no picture, truncated or damaged, or of a kind
            that has no agreed 0–255 range (float, 32-bit or signed samples, CMYK), or holds several pictures.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> file = Path(tempfile.mkdtemp()) / "grey.png"
        >>> write_image(file, np.array([[0, 128, 255]], np.uint8))
        >>> read_image(file).tolist()
        [[0.0, 128.0, 255.0]]
    """
    return decode(read_bytes(path), path).image


def read_bytes(path: Path) -> bytes:
    """Returns the whole file. Raises UnreadableImageError where the system cannot read it, or where it is empty."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(path, f"cannot be read ({error.strerror})") from error
    if not data:
        raise UnreadableImageError(path, "is empty")
    return data


def decode(data: bytes, path: Path) -> Decoded:
    """Returns the image in ``data``, as ``read_image`` describes it; ``path`` is for messages only.

    Raises:
        UnreadableImageError: as for ``read_image``.
    """
    picture = _open(data, path)
    orientation = _orientation(picture)
    try:
        what = _unsupported_reason(picture, data, orientation)
        if what is None:
            if picture.format == "PNG":
                # Loading alone skips the checksums and all that follows the pixels.
                _open(data, path).verify()
            picture.load()
    except Exception as error:
        raise UnreadableImageError(path, f"is truncated or damaged ({error})") from error
    if what:
        raise UnreadableImageError(path, what)
    if not _has_end(picture, data):
        raise UnreadableImageError(path, "is truncated or damaged (its end is missing)")
    return Decoded(_pixels(picture, data, path), orientation)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Writes (H, W) grey or (H, W, 3) RGB, uint8, in the format of the file's suffix (JPEG at quality 95).

    Raises:
        UserError: the suffix is none of ``IMAGE_SUFFIXES``, or the file cannot be written.
        ValueError: the array is not of that shape and type.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(f"expected a uint8 array of shape (H, W) or (H, W, 3), got {image.dtype} {image.shape}")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise UserError(f"{path}: give the picture one of the suffixes {', '.join(IMAGE_SUFFIXES)}")
    try:
        Image.fromarray(np.ascontiguousarray(image)).save(path, quality=95)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def _open(data: bytes, path: Path) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(path, f"is too large ({error})") from error
    except Exception as error:
        raise UnreadableImageError(path, "is not a readable image (no whole PNG, JPEG, BMP or TIFF)") from error


def _orientation(picture: Image.Image) -> int:
    try:
        value = picture.getexif().get(_ORIENTATION)
    except (SyntaxError, ValueError, KeyError, OSError, struct.error):
        return _UPRIGHT  # unreadable EXIF data do not rotate
    return value if isinstance(value, int) and 1 <= value <= 8 else _UPRIGHT


def _has_end(picture: Image.Image, data: bytes) -> bool:
    """Returns True where the last bytes, which hold no pixels and which no decoder asks for, are complete."""
    if picture.format == "PNG":
        return _PNG_END in data
    if picture.format == "BMP":
        return int.from_bytes(data[2:6], "little") <= len(data)
    return True


def _unsupported_reason(picture: Image.Image, data: bytes, orientation: int) -> str | None:
    pictures = getattr(picture, "n_frames", 1)
    if pictures > 1 and picture.format != _JPEG_AND_MORE:
        return f"holds {pictures} pictures: save the one that is meant"
    if picture.format == "TIFF":
        tags = picture.tag_v2  # type: ignore[attr-defined]
        if orientation != _UPRIGHT:
            return "is a TIFF with an orientation tag: save it upright"
        samples = set(tags.get(_SAMPLE_FORMAT, (_INTEGER_SAMPLES,)))
        if samples != {_INTEGER_SAMPLES} or not set(_bits(picture, data)) <= _DEPTHS:
            return "has float, signed or oddly sized samples, which have no agreed range: save it with 8 or 16 bits"
    if picture.mode not in _GREY_MODES | _COLOUR_MODES | _GREY_16_MODES:
        return f"has pixels of the kind {picture.mode}: save it as grey or RGB with 8 or 16 bits"
    return None


def _bits(picture: Image.Image, data: bytes) -> tuple[int, ...]:
    if picture.format == "PNG":
        return (data[24],)  # the header chunk is always first, with the depth in this byte
    if picture.format == "TIFF":
        return tuple(picture.tag_v2.get(_BITS_PER_SAMPLE, (1,)))  # type: ignore[attr-defined]
    return (8,)


def _pixels(picture: Image.Image, data: bytes, path: Path) -> NDArray[np.float32]:
    if picture.mode in _GREY_16_MODES:
        grey = np.asarray(picture).astype(np.float32)
        # Pillow inverts white-is-zero for 8 bits but not for 16.
        if picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # type: ignore[attr-defined]
            grey = np.float32(65535) - grey
        return grey / np.float32(257)
    if max(_bits(picture, data)) == 16:
        return _pixels_16(picture, data, path)
    return np.asarray(picture.convert("L" if picture.mode in _GREY_MODES else "RGB")).astype(np.float32)


def _pixels_16(picture: Image.Image, data: bytes, path: Path) -> NDArray[np.float32]:
    """Decodes several 16-bit channels by OpenCV (in the order B, G, R, A); Pillow would reduce them to 8 bits."""
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    values = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if values is None or values.dtype != np.uint16 or values.shape[1::-1] != picture.size or values.ndim != 3:
        raise UnreadableImageError(path, "has 16-bit channels in an unusual layout: save it as a 16-bit PNG")
    scaled = values.astype(np.float32) / np.float32(257)
    grey_with_alpha = picture.format == "PNG" and data[25] == 4
    return scaled[..., 0] if grey_with_alpha else np.ascontiguousarray(scaled[..., 2::-1])
