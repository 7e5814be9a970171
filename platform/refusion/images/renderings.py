"""Renderings of one picture as two registered sources for each fusion task: the models behind the builtin data set.

Each takes a picture (H, W, 3) RGB, float32 in [0, 1], and a random generator, and returns the sources (a, b), uint8.
Defocus and exposure follow the physics of a camera; infrared and medical pictures are stand-ins, made to differ in the
way the real modalities do. They are for trying things out, never for results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Byte = NDArray[np.uint8]
Rendering = Callable[[Float, np.random.Generator], tuple[Byte, Byte]]

_GAMMA = 2.2
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def defocus(picture: Float, depth: Float, *, slices: int = 12, largest: float = 3.5) -> tuple[Byte, Byte]:
    """Renders a multi-focus pair: the lens focused on the near end, then on the far end, of the picture's depth.

    The scene is cut into fronto-parallel slices; each is blurred with its coverage by a Gaussian that grows with the
    distance from the plane of focus, and the slices are laid over one another from far to near, in linear light.

    Args:
        picture: (H, W, 3) in [0, 1].
        depth: (H, W) in [0, 1]; 1 is nearest.
        slices: number of slices.
        largest: standard deviation, in pixels, of the blur at the far end of the depth from the plane of focus.
    """
    near, far = focal_stack(picture, depth, (1.0, 0.0), slices=slices, largest=largest)
    return near, far


def focal_stack(
    picture: Float, depth: Float, planes: Sequence[float], *, slices: int = 12, largest: float = 3.5
) -> list[Byte]:
    """Renders one picture for each plane of focus (0 to 1, as ``depth``); other arguments as for ``defocus``."""
    linear = picture**_GAMMA
    return [_byte(_composite(linear, depth, plane, slices, largest) ** (1 / _GAMMA)) for plane in planes]


def exposure(picture: Float, rng: np.random.Generator, *, stops: float = 2.0) -> tuple[Byte, Byte]:
    """Renders a multi-exposure pair: a scene of high dynamic range, ``stops`` EV below and above a middle exposure.

    Radiance: the picture made linear, its highlights expanded, under a light that falls off by 3 EV across the scene.
    Camera: shot and read noise, saturation of the sensor, and a response curve with toe and shoulder.
    """
    (under, over), _ = exposure_stack(picture, rng, (-stops, stops))
    return under, over


def exposure_stack(picture: Float, rng: np.random.Generator, stops: Sequence[float]) -> tuple[list[Byte], Float]:
    """Renders one picture for each exposure, in EV from the middle one, by the model of ``exposure``.

    Returns:
        The pictures, and the scene's radiance (H, W, 3), of which 1 saturates the sensor at the middle exposure.
    """
    light = np.exp2(1.5 * _ramp(picture.shape[:2], rng))[..., None]
    radiance = picture**_GAMMA * (1 + 2 * picture.max(axis=2, keepdims=True) ** 4) * light
    radiance = radiance * np.float32(0.48 / np.percentile(radiance, 90))
    return [_photograph(radiance * np.float32(2.0**ev), rng) for ev in stops], radiance


def infrared_and_visible(picture: Float, rng: np.random.Generator) -> tuple[Byte, Byte]:
    """Renders an IVIF stand-in: a thermal-looking grey image and a colour photograph of the same scene by night.

    Infrared: each segment of the picture has one temperature (redder and darker ones are warmer), two warm bodies
    glow whatever the visible light, texture is faint and inverted, the optics are soft and columns of the sensor drift.
    Visible: low exposure with a bluish cast, one lamp, vignetting and sensor noise.
    """
    return _thermal(picture, rng), _night(picture, rng)


def ct_and_mri(picture: Float, rng: np.random.Generator) -> tuple[Byte, Byte]:
    """Renders a MIF stand-in: a head whose brain has the picture's texture, as CT and MRI, both grey.

    CT has bright bone and flat soft tissue; MRI has dark bone and textured tissue.
    """
    head = _Head(picture, rng)
    ct = 0.95 * head.bone + 0.30 * head.brain + 0.04 * head.brain * head.folds - 0.16 * head.ventricles
    ct += 0.14 * head.scalp
    return _byte(_soft(_noisy(ct, 0.006, rng) * head.inside, 0.6)), head.mri(rng)


def pet_and_mri(picture: Float, rng: np.random.Generator) -> tuple[Byte, Byte]:
    """Renders a MIF stand-in: the same head as PET (smooth activity in false colours, RGB) and MRI (grey)."""
    head = _Head(picture, rng)
    cortex = np.clip(0.5 + 0.5 * head.folds, 0, 1)
    activity = head.brain * (0.35 + 0.35 * cortex + 0.3 * head.hot_spots(rng)) - 0.3 * head.ventricles
    activity = _soft(_noisy(np.clip(activity, 0, 1), 0.03, rng), 4.0)
    palette = cv2.applyColorMap(_byte(activity / activity.max()), cv2.COLORMAP_JET)[..., ::-1] / np.float32(255)
    # False-colour maps fade to black where nothing is active.
    return _byte(palette * np.clip(activity / 0.12, 0, 1)[..., None]), head.mri(rng)


class _Head:
    """Anatomy shared by the renderings of one head: soft masks (H, W) in [0, 1] and folds in [-1, 1]."""

    def __init__(self, picture: Float, rng: np.random.Generator) -> None:
        height, width = picture.shape[:2]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        tilt, squash = rng.uniform(-0.25, 0.25), rng.uniform(0.78, 0.9)
        y, x = (y - height / 2) / (0.46 * height), (x - width / 2) / (0.46 * width)
        y, x = np.cos(tilt) * y - np.sin(tilt) * x, (np.sin(tilt) * y + np.cos(tilt) * x) / squash
        wobble = 1 + 0.02 * np.sin(3 * np.arctan2(y, x) + rng.uniform(0, 6))
        radius = np.hypot(y, x) / wobble
        skull = rng.uniform(0.08, 0.13)
        self.inside = _below(radius, 1.0)
        self.brain = _below(radius, 0.93 - skull)
        self.bone = _below(radius, 0.93) - self.brain
        self.scalp = self.inside - _below(radius, 0.93)
        size = rng.uniform(0.85, 1.2)
        left, right = (
            np.hypot((y + 0.05) / (0.3 * size), (x + s * 0.14 - 0.15 * s * y) / (0.09 * size)) for s in (-1, 1)
        )
        self.ventricles = np.maximum(_below(left, 1.0, 0.12), _below(right, 1.0, 0.12))
        texture = picture @ _LUMA
        waves = _soft(texture, 1.2) - _soft(texture, 5.0)
        self.folds = np.tanh(1.2 * waves / (waves.std() + 1e-6)).astype(np.float32)
        self._y, self._x = y, x

    def mri(self, rng: np.random.Generator) -> Byte:
        """Renders a T1-like image: white matter brighter than grey, bone and fluid dark, fat bright, a bias field."""
        value = (
            self.brain * (0.5 + 0.22 * self.folds) * (1 - 0.8 * self.ventricles) + 0.05 * self.bone + 0.65 * self.scalp
        )
        bias = 1 + 0.12 * _ramp(value.shape, rng)
        return _byte(_noisy(value * bias, 0.012, rng) * self.inside)

    def hot_spots(self, rng: np.random.Generator) -> Float:
        """Returns three smooth foci of activity, (H, W) in [0, 1]."""
        spots = np.zeros_like(self.brain)
        for _ in range(3):
            angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.6)
            squares = (self._y - distance * np.sin(angle)) ** 2 + (self._x - distance * np.cos(angle)) ** 2
            spots = np.maximum(spots, np.exp(-squares / (2 * rng.uniform(0.1, 0.2) ** 2)))
        return spots.astype(np.float32)


def _composite(linear: Float, depth: Float, focus: float, slices: int, largest: float) -> Float:
    light, coverage = np.zeros_like(linear), np.zeros_like(depth)
    place = np.minimum((depth * slices).astype(int), slices - 1)
    for k in range(slices):
        blur = largest * abs((k + 0.5) / slices - focus)
        mask = (place == k).astype(np.float32)
        alpha = _soft(mask, blur)[..., None]
        light = light * (1 - alpha) + _soft(linear * mask[..., None], blur)
        coverage = coverage * (1 - alpha[..., 0]) + alpha[..., 0]
    # A blurred edge may uncover pixels that no slice holds: normalising fills them from the slices around.
    return np.asarray(light / np.maximum(coverage, 1e-3)[..., None], np.float32)


def _photograph(radiance: Float, rng: np.random.Generator) -> Byte:
    electrons = radiance + rng.standard_normal(radiance.shape, np.float32) * np.sqrt(4e-5 * radiance + 1e-6)
    sensor = np.clip(electrons, 0, 1)
    toe_and_shoulder = sensor**0.9 / (sensor**0.9 + 0.22) * 1.22
    return _byte(toe_and_shoulder ** (1 / 1.4))


def _thermal(picture: Float, rng: np.random.Generator) -> Byte:
    # Here, since each process that trains would wait for it.
    from skimage.segmentation import felzenszwalb

    segments = felzenszwalb(picture, scale=150, sigma=0.8, min_size=60, channel_axis=-1)
    grey = picture @ _LUMA
    warmth = 0.55 * (1 - grey) + 1.4 * np.clip(picture[..., 0] - picture[..., 1:].mean(axis=2), 0, 1)
    totals = np.bincount(segments.ravel(), weights=warmth.ravel().astype(np.float64))
    temperature = (totals / np.bincount(segments.ravel()))[segments].astype(np.float32)
    texture = grey - _soft(grey, 3.0)
    bodies = np.maximum(_blob(grey.shape, rng, 0.14), _blob(grey.shape, rng, 0.09))
    value = _soft(0.12 + 0.6 * temperature - 0.35 * texture + 0.45 * bodies, 0.9)
    columns = 0.006 * rng.standard_normal((1, grey.shape[1]), np.float32)
    return _byte(_noisy(value + columns, 0.008, rng))


def _night(picture: Float, rng: np.random.Generator) -> Byte:
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    falloff = 1 - 0.6 * ((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2) * 2
    lamp = _blob((height, width), rng, 0.22)[..., None] * np.array([1.0, 0.85, 0.6], np.float32)
    ambient = np.array([0.06, 0.07, 0.10], np.float32)
    linear = picture**_GAMMA * (ambient + 0.8 * lamp) * falloff[..., None]
    noise = rng.standard_normal(linear.shape, np.float32) * np.sqrt(3e-4 * linear + 4e-6)
    return _byte(np.clip(linear + noise, 0, 1) ** (1 / _GAMMA))


def _ramp(shape: tuple[int, ...], rng: np.random.Generator) -> Float:
    """Returns a smooth field in about [-1, 1] that rises in a random direction, (H, W)."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    field = np.sin(angle) * (2 * y / shape[0] - 1) + np.cos(angle) * (2 * x / shape[1] - 1)
    return np.asarray(field, np.float32)


def _blob(shape: tuple[int, ...], rng: np.random.Generator, size: float) -> Float:
    """Returns a round Gaussian blob of height 1 at a random place in the middle of the field, (H, W)."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    top, left = rng.uniform(0.25, 0.75) * shape[0], rng.uniform(0.2, 0.8) * shape[1]
    spread = 2 * (size * min(shape)) ** 2
    return np.asarray(np.exp(-((y - top) ** 2 + (x - left) ** 2) / spread), np.float32)


def _below(field: NDArray[np.floating], limit: float, softness: float = 0.015) -> Float:
    return np.asarray(np.clip(0.5 + (limit - field) / (2 * softness), 0, 1), np.float32)


def _soft(image: Float, sigma: float) -> Float:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 1e-2), borderType=cv2.BORDER_REFLECT), np.float32)


def _noisy(image: Float, deviation: float, rng: np.random.Generator) -> Float:
    return np.asarray(image + np.float32(deviation) * rng.standard_normal(image.shape, np.float32), np.float32)


def _byte(image: NDArray[np.floating]) -> Byte:
    return np.asarray(np.clip(np.rint(image * 255), 0, 255), np.uint8)
