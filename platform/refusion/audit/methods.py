"""The ways to fuse that an audit compares, and their pictures of both splits, held in memory as they would be saved."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from refusion import fuse
from refusion.audit.fit import Picture, Pictures, centre_crop
from refusion.baselines import BASELINES, find_baseline
from refusion.config.precision import InferencePrecision
from refusion.errors import UserError
from refusion.evaluation.methods import Method, find_methods
from refusion.evaluation.scoring import fuse_by_baseline, fuse_by_module, grey_levels
from refusion.images.pairs import Pair, dataset_digest, images_by_stem
from refusion.images.reading import read_image
from refusion.images.store import read_pair
from refusion.metrics import METRICS, evaluate
from refusion.ops.backend import configure

AVERAGE = "average"
SOURCES = ("a", "b")
"""Methods that show one source alone: their quality scores have no meaning, so that no correlation counts them."""

_SPLITS = ("train", "val")
_MLFLOW = ("models:", "runs:")
_MOST_THREADS = 16

T = TypeVar("T")
R = TypeVar("R")
_Plane = NDArray[np.uint8] | NDArray[np.float32]
_Planes = dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]]
_Sources = dict[str, list[Picture]]


@dataclass(frozen=True)
class Fused:
    """A method's pictures and scores.

    Attributes:
        name: of the method.
        train, val: its pictures.
        scores: quality metrics of each val picture's centre crop, by name, convention ``authors``.
        digest: of the method and of all sources, 12 hexadecimal digits.
    """

    name: str
    train: Pictures
    val: Pictures
    scores: dict[str, list[float]]
    digest: str


def chosen_methods(task: str, given: Sequence[tuple[str, str]]) -> list[Method]:
    """Returns the methods to compare: the average always, all of the task's baselines where none is given.

    Args:
        task: its name.
        given: option (baseline, fused, checkpoint) and value, as `find_methods` takes them.

    Raises:
        UserError: a baseline is unknown, two methods have one name, or one is called a or b.
    """
    named = list(given) or [("baseline", name) for name, found in BASELINES.items() if task in found.tasks]
    if ("baseline", AVERAGE) not in named:
        named.insert(0, ("baseline", AVERAGE))
    methods = find_methods(list(dict.fromkeys(named)))  # type: ignore[arg-type]
    for method in methods:
        if method.kind == "baseline":
            find_baseline(method.value)
        if method.name in SOURCES:
            raise UserError(f"--{method.kind}: the name {method.name!r} stands for a source alone; choose another")
    return methods


def _grey_pair(pair: Pair) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    a, b = read_pair(pair)
    return grey_levels(a), grey_levels(b)


def _grey(file: str) -> NDArray[np.float32]:
    """Returns a picture's luminance, (H, W) on 0–255, not rounded."""
    return grey_levels(read_image(Path(file)))


def _rounded(plane: _Plane) -> Picture:
    levels: Picture = np.rint(plane).astype(np.uint8)
    return levels


def _in_threads(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Returns the results in the order of the items; decoding and filters leave Python's lock to others."""
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, items))


def fuse_all(
    methods: Sequence[Method],
    pairs: dict[str, list[Pair]],
    *,
    device: str = "cpu",
    precision: InferencePrecision = "float32",
    trust_code: bool | Collection[str] = False,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> list[Fused]:
    """Fuses all train and val pairs by each method, once; adds the two sources alone as methods.

    Args:
        methods: in their order.
        pairs: checked, by split.
        device: trained modules fuse there.
        precision: "float32", or "tf32" of a GPU, there and in the fits that the digests are for.
        trust_code: as for `refusion.load_module`.
        on_progress: called with (methods done, methods in all).

    Raises:
        UserError: a checkpoint cannot be loaded, or a folder of fused pictures lacks one or has one of another size.
    """
    planes = {split: _in_threads(_grey_pair, pairs[split]) for split in _SPLITS}
    sources = {split: [np.stack([_rounded(plane) for plane in pair]) for pair in planes[split]] for split in _SPLITS}
    of_data = "".join(dataset_digest(pairs[split]) for split in _SPLITS)
    of_data += "" if precision == "float32" else precision
    found = []
    for done, method in enumerate(methods):
        if method.kind == "fused":
            fused, identity = _fused_by_others(Path(method.value).expanduser(), pairs)
        else:
            fused, identity = _fused(method, planes, device, precision, trust_code)
        found.append(_collected(method.name, sources, fused, of_data + identity, device))
        on_progress(done + 1, len(methods))
    for channel, name in enumerate(SOURCES):
        alone = {split: [picture[channel] for picture in sources[split]] for split in _SPLITS}
        found.append(_collected(name, sources, alone, of_data + name, device))
    return found


def _collected(name: str, sources: _Sources, fused: _Sources, identity: str, device: str) -> Fused:
    train, val = (Pictures(sources[split], fused[split]) for split in _SPLITS)
    return Fused(name, train, val, _scores(val, device), hashlib.sha256(identity.encode()).hexdigest()[:12])


def _scores(val: Pictures, device: str) -> dict[str, list[float]]:
    scores: dict[str, list[float]] = {name: [] for name in METRICS}
    for fused, sources in zip(val.fused, val.sources, strict=True):
        picture, a, b = (torch.from_numpy(np.array(centre_crop(plane))).to(device) for plane in (fused, *sources))
        for name, value in evaluate(picture, a, b).items():
            scores[name].append(float(value[0]))
    return scores


def _fused(
    method: Method, planes: _Planes, device: str, precision: InferencePrecision, trust_code: bool | Collection[str]
) -> tuple[_Sources, str]:
    """Returns the fused pictures by split, and a text that changes when they do."""
    if method.kind == "baseline":
        name = method.value
        return {
            split: _in_threads(lambda pair: _rounded(fuse_by_baseline(name, *pair).luminance), planes[split])
            for split in _SPLITS
        }, name
    module = _load(method.value, trust_code).to(device)
    with configure(device, precision=precision):
        fused = {
            split: [_rounded(fuse_by_module(module, *pair).luminance) for pair in planes[split]] for split in _SPLITS
        }
    return fused, _digest(module.state_dict().values())


def _load(checkpoint: str, trust_code: bool | Collection[str]) -> nn.Module:
    if not checkpoint.startswith(_MLFLOW):
        return fuse.load_module(checkpoint, trust_code=trust_code)
    # A machine without MLflow still audits checkpoints that are files.
    from refusion.tracking.loading import load_module

    return load_module(checkpoint, trust_code=trust_code)


def _digest(tensors: Iterable[torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _fused_by_others(folder: Path, pairs: dict[str, list[Pair]]) -> tuple[_Sources, str]:
    fused: _Sources = {}
    digest = hashlib.sha256()
    for split in _SPLITS:
        if not (folder / split).is_dir():
            raise UserError(
                f"--fused {folder}: there is no folder {split} in it; the audit trains R on fused pictures, and so "
                "needs those of the train pairs in DIR/train and of the val pairs in DIR/val, named as their sources"
            )
        files = images_by_stem("--fused", folder / split)
        missing = [pair.name for pair in pairs[split] if pair.name not in files]
        if missing:
            raise UserError(
                f"--fused {folder}: these {split} pairs have no fused picture of the same stem: "
                + ", ".join(missing[:20])
            )
        fused[split] = []
        for pair in pairs[split]:
            picture = _rounded(_grey(str(files[pair.name])))
            if picture.shape != (pair.height, pair.width):
                raise UserError(f"{files[pair.name]}: must be {pair.width}×{pair.height} pixels, as its sources are")
            digest.update(picture.tobytes())
            fused[split].append(picture)
    return fused, digest.hexdigest()
