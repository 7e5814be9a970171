"""The builtin data set (``--data builtin``): small pairs for all four tasks from the pictures in scikit-image's wheel.

No download is needed. The pairs are for trying the platform out, not for results: see ``renderings`` for their models.
"""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import skimage
from numpy.typing import NDArray

from refusion.errors import UserError
from refusion.images import renderings
from refusion.images.reading import read_image
from refusion.images.renderings import Byte, Float, Rendering
from refusion.images.writing import write_image

# Each change of the written pictures raises it; callers may put it into the folder's name.
BUILTIN_VERSION = "1"

_VERSION_FILE = "BUILTIN_VERSION"
_PICTURES = Path(skimage.__file__).parent / "data"
_AREA = 184 * 200  # pixels of each rendering, give or take a row

Box = tuple[float, float, float, float]
_WHOLE: Box = (0, 0, 1, 1)
_LEFT, _RIGHT, _MIDDLE = (0.1, 0.0, 1.0, 0.55), (0.1, 0.45, 1.0, 1.0), (0.2, 0.2, 0.8, 0.8)
_TOP, _BOTTOM = (0.0, 0.15, 0.6, 0.85), (0.4, 0.15, 1.0, 0.85)


@dataclass(frozen=True)
class _Scene:
    """A part of one picture: ``box`` is (top, left, bottom, right) as fractions of its sides.

    ``variant`` chooses for MFIF the near objects (bottom, centre, bright, dark, or by the measured disparity), for MIF
    the modality of source a (ct, pet).
    """

    picture: str
    box: Box = _WHOLE
    variant: str = ""


# Train and val of a task never share a picture.
_SCENES: dict[str, dict[str, tuple[_Scene, ...]]] = {
    "IVIF": {
        "train": (
            _Scene("astronaut.png", _TOP),
            _Scene("astronaut.png", _BOTTOM),
            _Scene("motorcycle_left.png", _LEFT),
            _Scene("motorcycle_left.png", _RIGHT),
            _Scene("motorcycle_right.png", _MIDDLE),
            _Scene("rocket.jpg", _LEFT),
            _Scene("rocket.jpg", _RIGHT),
            _Scene("chelsea.png"),
            _Scene("brick.png", _MIDDLE),
        ),
        "val": (_Scene("coffee.png"), _Scene("camera.png", (0.0, 0.1, 0.9, 0.9))),
    },
    "MIF": {
        "train": (
            _Scene("ihc.png", _LEFT, "ct"),
            _Scene("gravel.png", _MIDDLE, "ct"),
            _Scene("moon.png", _BOTTOM, "ct"),
            _Scene("grass.png", _MIDDLE, "ct"),
            _Scene("retina.jpg", _MIDDLE, "ct"),
            _Scene("ihc.png", _RIGHT, "pet"),
            _Scene("retina.jpg", _TOP, "pet"),
            _Scene("ihc.png", _TOP, "pet"),
            _Scene("gravel.png", _TOP, "pet"),
            _Scene("hubble_deep_field.jpg", _MIDDLE, "pet"),
        ),
        "val": (_Scene("cell.png", _MIDDLE, "ct"), _Scene("chelsea.png", _MIDDLE, "pet")),
    },
    "MFIF": {
        "train": (
            _Scene("motorcycle_left.png", _LEFT, "disparity"),
            _Scene("motorcycle_left.png", _RIGHT, "disparity"),
            _Scene("motorcycle_left.png", _MIDDLE, "disparity"),
            _Scene("coins.png", _LEFT, "bright"),
            _Scene("coins.png", _RIGHT, "bright"),
            _Scene("brick.png", _WHOLE, "bottom"),
            _Scene("gravel.png", _MIDDLE, "bottom"),
            _Scene("grass.png", _TOP, "bottom"),
            _Scene("coffee.png", _WHOLE, "bottom"),
            _Scene("chelsea.png", _WHOLE, "centre"),
        ),
        "val": (
            _Scene("camera.png", (0.0, 0.1, 0.9, 0.9), "dark"),
            _Scene("astronaut.png", _TOP, "centre"),
            _Scene("page.png", (0.0, 0.0, 1.0, 0.7), "bottom"),
        ),
    },
    "MEIF": {
        "train": (
            _Scene("astronaut.png", _TOP),
            _Scene("astronaut.png", _BOTTOM),
            _Scene("coffee.png"),
            _Scene("motorcycle_left.png", _LEFT),
            _Scene("motorcycle_left.png", _RIGHT),
            _Scene("motorcycle_right.png", _MIDDLE),
            _Scene("camera.png", _MIDDLE),
            _Scene("ihc.png", _MIDDLE),
            _Scene("gravel.png", _MIDDLE),
        ),
        "val": (_Scene("chelsea.png"), _Scene("rocket.jpg")),
    },
}

_RENDERINGS: dict[str, Rendering] = {
    "IVIF": renderings.infrared_and_visible,
    "MEIF": renderings.exposure,
    "MIF ct": renderings.ct_and_mri,
    "MIF pet": renderings.pet_and_mri,
}


def ensure_builtin(folder: Path) -> Path:
    """Creates the builtin data set in ``folder`` unless it exists: FOLDER/TASK/{train,val}/{a,b}/*.png.

    The pictures are the same every time. They are built beside the folder and moved there at the end, so a folder is
    complete or missing, and any number of processes may ask for it at once.

    Returns:
        ``folder``.

    Raises:
        UserError: the folder holds something else, cannot be written, or scikit-image came without its pictures.
    """
    if _is_complete(folder):
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        # Another process may have moved its copy here between the two checks.
        if _is_complete(folder):
            return folder
        raise UserError(f"{folder} holds something else than version {BUILTIN_VERSION} of the builtin data: remove it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise UserError(f"{folder}: the builtin data cannot be written there ({error.strerror})") from error
    try:
        _build(temporary / "complete")
        _move(temporary / "complete", folder)
    except OSError as error:
        raise UserError(f"{folder}: the builtin data cannot be written there ({error.strerror})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _is_complete(folder: Path) -> bool:
    version_file = folder / _VERSION_FILE
    return version_file.is_file() and version_file.read_text().strip() == BUILTIN_VERSION


def _move(built: Path, folder: Path) -> None:
    try:
        built.replace(folder)
    except OSError:
        # Another process was faster; its pictures are the same.
        if not _is_complete(folder):
            raise


def _build(folder: Path) -> None:
    for task, splits in _SCENES.items():
        for split, scenes in splits.items():
            for side in "ab":
                (folder / task / split / side).mkdir(parents=True)
            for number, scene in enumerate(scenes, start=1):
                name = f"{number:02d}_{Path(scene.picture).stem}.png"
                for side, image in zip("ab", _render(task, scene, name), strict=True):
                    write_image(folder / task / split / side / name, image)
    (folder / _VERSION_FILE).write_text(f"{BUILTIN_VERSION}\n")


def _render(task: str, scene: _Scene, name: str) -> tuple[Byte, Byte]:
    picture, is_grey = _picture(scene)
    if task == "MFIF":
        a, b = renderings.defocus(picture, _depth(picture, scene))
    else:
        rng = np.random.Generator(np.random.Philox(zlib.crc32(f"{task}/{name}".encode())))
        a, b = _RENDERINGS[f"{task} {scene.variant}".strip()](picture, rng)
    # A grey picture taken by a camera stays grey.
    return (a[..., 1], b[..., 1]) if is_grey and task in ("MFIF", "MEIF") else (a, b)


def scenes_of(task: str) -> Iterator[tuple[str, Float, Float | None, bool]]:
    """Yields the scenes of a task, train and val, for pictures of one's own of them.

    Returns:
        Name, picture (H, W, 3) in [0, 1], its depth as ``renderings.defocus`` takes it (MFIF) or None, and True for one
        that was taken in grey.
    """
    for split in _SCENES[task].values():
        for number, scene in enumerate(split, start=1):
            picture, is_grey = _picture(scene)
            depth = _depth(picture, scene) if task == "MFIF" else None
            yield f"{number:02d}_{Path(scene.picture).stem}", picture, depth, is_grey


def _picture(scene: _Scene) -> tuple[Float, bool]:
    path = _PICTURES / scene.picture
    if not path.is_file():
        raise UserError(f"scikit-image came without {scene.picture}: install its wheel again, or give --data DIR")
    image = read_image(path) / np.float32(255)
    colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    return np.clip(_resized(colour, scene.box), 0, 1), image.ndim == 2


def _resized(image: NDArray[np.float32], box: Box) -> Float:
    height, width = image.shape[:2]
    part = image[int(box[0] * height) : int(box[2] * height), int(box[1] * width) : int(box[3] * width)]
    scale = (_AREA / (part.shape[0] * part.shape[1])) ** 0.5
    size = (round(part.shape[1] * scale), round(part.shape[0] * scale))
    return np.asarray(
        cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.float32
    )


def _depth(picture: Float, scene: _Scene) -> Float:
    """Returns the depth of MFIF's scene, (H, W) from 0 (far) to 1 (near)."""
    height, width = picture.shape[:2]
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    if scene.variant == "disparity":
        return _disparity(replace(scene, picture="motorcycle_disp.npz"))
    if scene.variant in ("bright", "dark"):
        return _objects(picture, bright=scene.variant == "bright")
    depth = y if scene.variant == "bottom" else np.clip(1.15 - 1.6 * np.hypot(y - 0.55, x - 0.5), 0, 1)
    return np.asarray(depth, np.float32)


def _disparity(scene: _Scene) -> Float:
    """Returns the measured disparity of the stereo pair, from its farthest (0) to its nearest (1); holes filled."""
    with np.load(_PICTURES / scene.picture) as file:
        disparity = file["arr_0"].astype(np.float32)
    holes = ~np.isfinite(disparity)
    # A hole is nearly always background hidden from one camera, so it takes the farthest value around it.
    filled = np.where(holes, np.inf, disparity)
    while not np.isfinite(filled).all():
        filled = np.where(np.isfinite(filled), filled, cv2.erode(filled, np.ones((5, 5), np.uint8)))
    part = _resized(filled, scene.box)
    low, high = np.percentile(part, (1, 99))
    return np.asarray(np.clip((part - low) / (high - low), 0, 1), np.float32)


def _objects(picture: Float, *, bright: bool) -> Float:
    """Returns the depth of bright (or dark) objects in front of a plane: near 0.95, far 0.1."""
    grey = np.rint(picture[..., 1] * 255).astype(np.uint8)
    kind = cv2.THRESH_BINARY if bright else cv2.THRESH_BINARY_INV
    _, mask = cv2.threshold(cv2.GaussianBlur(grey, (0, 0), 1.5), 0, 255, kind | cv2.THRESH_OTSU)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    solid = cv2.morphologyEx(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disc), cv2.MORPH_OPEN, disc)
    return np.asarray(np.where(solid > 0, 0.95, 0.1), np.float32)
