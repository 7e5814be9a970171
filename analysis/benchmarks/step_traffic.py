"""Distance of the meta-gradient from the limit that the memory's bandwidth sets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from measuring import timed
from rich.console import RenderableType
from step_gradient import EAGER, TEXTBOOK, prepared
from step_measuring import Say, Size, table_of
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}
COPIES = 7
_ALLOCATIONS = ("empty", "new_empty")
# Of these the first argument only says what the result is to look like, or is overwritten.
_FIRST_NOT_READ = ("zeros_like", "ones_like", "full_like", "_new_zeros", "new_", "copy_", "fill_", "zero_")


class Traffic(TorchDispatchMode):
    """Adds up, while it is entered, the bytes of what each operation reads and writes.

    Every tensor that goes in is read once and every one that comes out is written once, as if nothing stayed in a
    cache; what an operation moves inside itself is not seen. Views, allocations and questions of shape move nothing.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.moved += _bytes_moved(func._schema, args, kwargs or {}, _tensors(out))
        return out


def bytes_moved(call: Callable[[], object]) -> int:
    """Bytes that the operations of one call read and write."""
    traffic = Traffic()
    with traffic:
        call()
    return traffic.moved


def copy_bandwidth(device: str) -> float:
    """Bytes per second, read and written, of a large copy: the median of several."""
    source = torch.zeros(COPY_BYTES[device], dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    seconds = [timed(lambda: target.copy_(source), device)[1] for _ in range(COPIES + 1)]
    return 2 * source.nbytes / statistics.median(seconds[1:])


def section(seconds: Mapping[Size, Mapping[str, float]], device: str, say: Say) -> list[RenderableType]:
    """Traffic, its rate, and the rate's share of the copy bandwidth, for ours and the textbook way: a table.

    For ours without compiled code, whose inside nobody sees.
    """
    say("bandwidth of a large copy")
    bandwidth = copy_bandwidth(device)
    table = table_of(
        f"Memory traffic if nothing stayed in a cache; a large copy moves {bandwidth / 1e9:.1f} GB/s",
        "GB moved",
        "GB/s",
        "share of the copy's",
    )
    for size, of_methods in seconds.items():
        for name in (EAGER, TEXTBOOK):
            if name in of_methods:
                say(f"traffic: {name}, {size}")
                moved = bytes_moved(prepared(name, size))
                rate = moved / of_methods[name]
                label = f"{name}, K = {size.inner_steps}"
                table.add_row(label, f"{moved / 1e9:.3f}", f"{rate / 1e9:.2f}", f"{rate / bandwidth:.1%}")
    return [table]


def _bytes_moved(schema: Any, args: Any, kwargs: Any, results: list[torch.Tensor]) -> int:
    name = schema.name.partition("::")[2]
    if name.startswith(_ALLOCATIONS):
        return 0
    read = _tensors((args[name.startswith(_FIRST_NOT_READ) :], kwargs))
    written = _changed(schema, args, kwargs)
    if not written:
        places = {_place(tensor) for tensor in _tensors((args, kwargs))}
        written = [tensor for tensor in results if _place(tensor) not in places]
    return sum(map(_bytes, (*read, *written))) if written else 0


def _changed(schema: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
    """The arguments that the operation writes to."""
    given = {argument.name: value for argument, value in zip(schema.arguments, args, strict=False)} | kwargs
    written = [argument.name for argument in schema.arguments if argument.alias_info and argument.alias_info.is_write]
    return _tensors([given.get(name) for name in written])


def _tensors(nested: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(nested) if isinstance(leaf, torch.Tensor)]


def _place(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: torch.Tensor) -> int:
    # Forward mode's stand-ins for zeros have no memory; expanded tensors have less than their shape says.
    return 0 if tensor._is_zerotensor() else min(tensor.nbytes, tensor.untyped_storage().nbytes())
