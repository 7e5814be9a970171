"""Chooses how this process runs the operations: compiled or not, in which precision, keeping what in memory.

A process that configures nothing computes in float32, and runs compiled code on CPUs: it is built at its first use,
once on a machine. Where there is no compiler the operations run without, only slower.
"""

from __future__ import annotations

import ctypes
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Literal, get_args

import torch

import refusion.ops.inductor as inductor
from refusion.errors import UserError
from refusion.ops.float32 import Float32, float32_as, float32_now, set_float32
from refusion.ops.native import library

Compile = bool | Literal["native", "inductor"] | None
"""True is "native" (our C++) on a CPU and "inductor" (PyTorch's compiler) elsewhere; None is True on a CPU only."""

Precision = Literal["float32", "tf32", "bfloat16"]
"""float32 is exact on a GPU, too; there tf32 rounds products and convolutions to 10 bits. bfloat16 is of wide maps."""

GpuKernels = bool | Literal["fused"]
"""True: our Triton kernels that have been measured on a GPU; "fused": also those of `gpu_sublayers`, which have not."""

# Of one step on an H100 (docs/performance.md): a GPU is not offered what makes it slower.
_SLOWER_ON_GPU = "on a GPU it has made steps slower"


@dataclass(frozen=True)
class _Choice:
    native: bool = True
    inductor: bool = False
    bfloat16: bool = False
    tf32: bool = False
    recompute: bool = False
    gpu_kernels: GpuKernels = True


class _Process:
    """Holds this process's choice; as with its number of threads, there is one."""

    choice = _Choice()


@dataclass(frozen=True)
class Backend(AbstractContextManager["Backend"]):
    """Result of `configure`. Used in a ``with`` statement it restores at its end what was configured before.

    Attributes:
        not_compiled: in one line, why there is no compiled code although it was asked for; None if all is as asked.
        not_bfloat16: in one line, why maps stay in float32 although bfloat16 was asked for; None if all is as asked.
        not_tf32: in one line, why float32 stays exact although tf32 was asked for; None if all is as asked.
    """

    not_compiled: str | None
    not_bfloat16: str | None
    not_tf32: str | None
    _before: tuple[_Choice, Float32]

    @property
    def notes(self) -> list[str]:
        """A sentence for each thing that could not be done."""
        notes = []
        if self.not_compiled is not None:
            notes.append(
                f"--compile: goes on without, since {self.not_compiled}"
                if self.not_compiled == _SLOWER_ON_GPU
                else f"--compile: trains without, only slower, since nothing can be compiled here: {self.not_compiled}"
            )
        if self.not_bfloat16 is not None:
            notes.append(f"--precision bfloat16: trains in float32, since {self.not_bfloat16}")
        if self.not_tf32 is not None:
            notes.append(f"--precision tf32: computes in float32, since {self.not_tf32}")
        return notes

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _Process.choice, switches = self._before
        set_float32(switches)


def configure(
    device: torch.device | str | None = None,
    compile: Compile = None,
    precision: Precision = "float32",
    recompute: bool = False,
    gpu_kernels: GpuKernels = True,
    even_if_slower: bool = False,
) -> Backend:
    """Sets how this process runs the operations from now on; what cannot be done is left out and noted.

    Args:
        device: where the tensors will be; the CPU unless given.
        compile: whether to run compiled code, and which; unless given, on a CPU.
        precision: bfloat16 of the wide maps between an operation's convolutions, tf32 of a GPU's products and
            convolutions; all else is float32. Tensors of other types than float32 stay as they are.
        recompute: whether backward passes compute intermediate results again (less memory) or find them saved (faster).
        gpu_kernels: whether a GPU runs our Triton kernels and matrix products (faster), or PyTorch's convolutions;
            "fused" for fewer and larger kernels, which no GPU has timed yet.
        even_if_slower: takes what a GPU is not offered, since it has made steps slower: bfloat16, and compile as true.

    Raises:
        UserError: there is no such precision.

    Example:
        >>> with configure(compile=False) as backend:
        ...     backend.notes
        []
    """
    if precision not in get_args(Precision):
        raise UserError(f"precision {precision!r}: choose float32, tf32 or bfloat16")
    before, device = (_Process.choice, float32_now()), torch.device(device or "cpu")
    how = _implementation(compile, on_cpu=device.type == "cpu")
    pays = device.type == "cpu" or even_if_slower
    not_compiled = _SLOWER_ON_GPU if compile is True and not pays else _why_not_compiled(how, device, before[0])
    not_bfloat16 = not_tf32 = None
    if precision == "bfloat16":
        not_bfloat16 = _why_not_bfloat16(device) if pays else _SLOWER_ON_GPU
    elif precision == "tf32":
        not_tf32 = _why_not_tf32(device)
    runs = how if not_compiled is None else None
    bfloat16, tf32 = precision == "bfloat16" and not_bfloat16 is None, precision == "tf32" and not_tf32 is None
    _Process.choice = _Choice(runs == "native", runs == "inductor", bfloat16, tf32, recompute, gpu_kernels)
    set_float32(Float32(tf32, tf32))
    return Backend(not_compiled, not_bfloat16, not_tf32, before)


def float32_as_configured(x: torch.Tensor | torch.device) -> AbstractContextManager[None]:
    """Computes on a GPU in the precision that is configured, within a ``with`` statement; exactly, if nothing is.

    For functions that people call from a process that has configured nothing, whose PyTorch rounds to TF32.
    """
    device = x.device if isinstance(x, torch.Tensor) else x
    return nullcontext() if device.type == "cpu" else float32_as(_Process.choice.tf32)


def native_library() -> ctypes.CDLL | None:
    """The compiled code, built now unless it was before; None where it is not to be used or cannot be built."""
    if not _Process.choice.native:
        return None
    found = library.compiled()
    if isinstance(found, str):
        _warn_once(found)
        return None
    return found


def runs_native(x: torch.Tensor) -> bool:
    """Tells whether the compiled code may run on the tensor: a plain one of float32 on the CPU."""
    # Subclasses, as of tracing, may have no memory that the code could read.
    plain = type(x) in (torch.Tensor, torch.nn.Parameter)
    return plain and x.device.type == "cpu" and x.dtype == torch.float32 and native_library() is not None


def runs_inductor() -> bool:
    """Tells whether formulas run as kernels that PyTorch's Inductor compiles."""
    return _Process.choice.inductor


def runs_on_gpu(x: torch.Tensor) -> bool:
    """Tells whether operations take the forms that are faster on a GPU: for a plain tensor on one, unless told not to.

    Tensors inside transformations of `torch.func` are left to PyTorch's own operations.
    """
    plain = type(x) in (torch.Tensor, torch.nn.Parameter) and not torch._C._functorch.is_functorch_wrapped_tensor(x)
    return plain and x.device.type == "cuda" and bool(_Process.choice.gpu_kernels)


def runs_triton(x: torch.Tensor) -> bool:
    """Tells whether our Triton kernels may run on the tensor: as `runs_on_gpu`, and Triton runs on that GPU."""
    return runs_on_gpu(x) and _triton_runs(x.device)


def fuses_on_gpu(x: torch.Tensor) -> bool:
    """Tells whether sublayers run as few, large Triton kernels: as `runs_triton`, where "fused" is configured."""
    return _Process.choice.gpu_kernels == "fused" and runs_triton(x)


@cache
def _triton_runs(device: torch.device) -> bool:
    try:
        from refusion.ops.kernels.depthwise import convolve

        convolve(torch.zeros(1, 1, 1, 1, device=device), torch.zeros(1, 1, 3, 3, device=device))
    except Exception as error:  # noqa: BLE001 - of many kinds: no Triton, no C compiler, a GPU that is too old for it
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        warnings.warn(
            f"refusion convolves on this GPU without Triton, only slower, since it does not run here: {reason}",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def recomputes() -> bool:
    """Tells whether backward passes compute intermediate results again instead of finding them saved."""
    return _Process.choice.recompute


def narrow(x: torch.Tensor) -> torch.Tensor:
    """The tensor in bfloat16 if that is configured and it is float32, else as it is. Can be differentiated.

    Everything that is summed over many terms stays in float32: parameters and their vectors, the maps between
    operations, norms, the sums that attention is made of, losses.
    """
    return x.to(torch.bfloat16) if _Process.choice.bfloat16 and x.dtype == torch.float32 else x


def full(x: torch.Tensor) -> torch.Tensor:
    """The tensor in float32 if it is bfloat16, else as it is. Can be differentiated."""
    return x.to(torch.float32) if x.dtype == torch.bfloat16 else x


def _implementation(compile: Compile, on_cpu: bool) -> Literal["native", "inductor"] | None:
    if isinstance(compile, str):
        return compile
    asked = on_cpu if compile is None else compile
    if not asked:
        return None
    return "native" if on_cpu else "inductor"


def _why_not_compiled(how: str | None, device: torch.device, before: _Choice) -> str | None:
    if how == "native":
        found = library.compiled()
        return found if isinstance(found, str) else None
    if how == "inductor" and not before.inductor:
        return inductor.why_not(device)
    return None


def _why_not_bfloat16(device: torch.device) -> str | None:
    if device.type == "cuda":
        fast, name = torch.cuda.is_bf16_supported(including_emulation=False), "GPU"
    else:
        fast, name = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported(), "CPU"
    return None if fast else f"this {name} computes in bfloat16 no faster than in float32"


def _why_not_tf32(device: torch.device) -> str | None:
    if device.type != "cuda":
        return "a CPU has no TF32"
    return None if torch.cuda.get_device_capability(device)[0] >= 8 else "this GPU has no TF32"


@cache
def _warn_once(reason: str) -> None:
    warnings.warn(
        f"refusion runs without compiled code, only slower, since nothing can be compiled here: {reason}",
        RuntimeWarning,
        stacklevel=2,
    )
