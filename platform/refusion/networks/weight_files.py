"""Files of weights as people pass them around: tensors by name, of PyTorch or of safetensors. No code is ever run."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from refusion.errors import UserError
from refusion.networks.foreign_files import what_it_is

Weights = dict[str, torch.Tensor]

# Wrappers of modules (`DataParallel`, `torch.compile`) that put their name before or between those of the tensors.
_WRAPPERS = {"module", "_orig_mod"}
# Deepest nesting of `{"state_dict": …}` that is looked into.
_DEPTH = 3
_MOST_NAMED = 3
_SAFETENSORS_BEGIN = b"{"


def read_tensors(path: Path) -> Any:
    """Returns what a file holds: tensors by name, perhaps within other mappings, on the CPU.

    The content says which format it is (PyTorch's old or new one, safetensors), not the suffix.

    Raises:
        UserError: the file is missing, is none of the two (the sentence says what it is), is damaged, holds more than
            tensors and plain values, or declares more than it holds.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such weight file")
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if what := what_it_is(head, path):
        raise UserError(f"{path}: cannot be read as a weight file: it {what}")
    content = _read_safetensors(path) if _is_safetensors(head) else _read_pytorch(path)
    size = path.stat().st_size
    for name, value in _all_tensors(content):
        if value.numel() * value.element_size() > size:
            shape = "×".join(str(side) for side in value.shape)
            raise UserError(
                f"{path}: is damaged: it declares {name} as {shape} numbers, more than its {size} bytes can hold"
            )
    return content


def read_safetensors(path: Path) -> Weights:
    """Returns the tensors of a file of ours.

    Raises:
        UserError: as `read_tensors`; or the file is of another format.
    """
    content = read_tensors(path)
    if not _is_state_dict(content):
        raise UserError(f"{path}: is no file of tensors by name: give the checkpoint as it was written")
    return dict(content)


def state_dicts(content: Any, depth: int = _DEPTH) -> Iterator[Weights]:
    """Yields each mapping of names to tensors in the content of a weight file, the outermost first.

    Names are without what wrappers add: `module.`, `_orig_mod.`, however often.

    >>> [sorted(found) for found in state_dicts({"epoch": 3, "model": {"module._orig_mod.scale": torch.ones(1)}})]
    [['scale']]
    """
    if not isinstance(content, Mapping):
        return
    if _is_state_dict(content):
        yield {_bare(str(name)): value for name, value in content.items()}
    elif depth:
        for value in content.values():
            yield from state_dicts(value, depth - 1)


def without_prefix(weights: Weights, last: str) -> Weights:
    """Returns the weights without what stands before the tensor ``last`` in its name, if all have that.

    >>> list(without_prefix({"net.scale": torch.ones(1), "net.shift": torch.ones(1)}, "shift"))
    ['scale', 'shift']
    """
    prefixes = {name.removesuffix(last) for name in weights if name.endswith(f".{last}")}
    if len(prefixes) != 1:
        return weights
    prefix = prefixes.pop()
    if not all(name.startswith(prefix) for name in weights):
        return weights
    return {name.removeprefix(prefix): value for name, value in weights.items()}


def named(weights: Mapping[str, torch.Tensor]) -> str:
    """Returns how many tensors there are and the names of the first, for a sentence on another network."""
    first = ", ".join(list(weights)[:_MOST_NAMED])
    return f"{len(weights)} tensors: {first}, …" if len(weights) > _MOST_NAMED else f"{len(weights)} tensors: {first}"


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _is_state_dict(content: Any) -> bool:
    return isinstance(content, Mapping) and bool(content) and all(isinstance(v, torch.Tensor) for v in content.values())


def _all_tensors(content: Any, name: str = "a tensor", depth: int = _DEPTH) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(content, torch.Tensor):
        yield name, content
    elif isinstance(content, Mapping) and depth >= 0:
        for key, value in content.items():
            yield from _all_tensors(value, str(key), depth - 1)


def _is_safetensors(head: bytes) -> bool:
    # A length of 8 bytes goes before the header, which is JSON.
    return head[8:9] == _SAFETENSORS_BEGIN and not head.startswith(b"PK")


def _read_safetensors(path: Path) -> Weights:
    try:
        tensors: Weights = safetensors.torch.load_file(str(path))
    except (OSError, safetensors.SafetensorError, ValueError, RuntimeError, MemoryError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: cannot be read as a weight file: it begins as safetensors but is damaged or half a download, "
            f"since its header does not fit its {path.stat().st_size} bytes ({reason})"
        ) from error
    return tensors


def _read_pytorch(path: Path) -> Any:
    _refuse_odd_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it wants to run {code[1]}" if code else "its pickle is damaged or no weights"
        raise UserError(
            f"{path}: cannot be read as a weight file: {reason}, and code in a file is never run; save its tensors "
            "alone, as torch.save(model.state_dict(), …) does"
        ) from error
    except MemoryError as error:
        raise UserError(f"{path}: cannot be read: it declares tensors for which there is no memory") from error
    # What PyTorch raises for a damaged file is of any kind.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
        if "allocate" in str(error):
            reason = "it declares tensors for which there is no memory"
        raise UserError(
            f"{path}: cannot be read as a weight file: it is damaged or half a download ({reason}); get it again"
        ) from error


def _refuse_odd_archive(path: Path) -> None:
    """Refuses an archive that is cut off, has no weights, holds code, or unpacks to more than it is.

    PyTorch stores tensors as they are, and would first make room for what a compressed archive declares.

    Raises:
        UserError: says which.
    """
    with path.open("rb") as file:
        if not file.read(4).startswith(b"PK\x03\x04"):
            return
    problem = f"{path}: cannot be read as a weight file: it"
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{problem} is half a download or damaged: its end is missing; get it again") from error
    names = [entry.filename for entry in entries]
    if not any(name.endswith("data.pkl") for name in names):
        raise UserError(
            f"{problem} is a ZIP archive without weights ({_first_of(names)}): unpack it and give what is meant"
        )
    if any("/code/" in name for name in names):
        raise UserError(f"{problem} is a TorchScript program, which is code: save the state_dict of its module alone")
    declared = sum(entry.file_size for entry in entries)
    if declared > path.stat().st_size:
        raise UserError(
            f"{problem} declares {declared} bytes but has {path.stat().st_size}: PyTorch never compresses weights; "
            "save them anew"
        )


def _first_of(names: list[str]) -> str:
    """Returns the first names of an archive, or that there are none."""
    return ", ".join(names[:_MOST_NAMED]) + ", …" * (len(names) > _MOST_NAMED) or "it is empty"
