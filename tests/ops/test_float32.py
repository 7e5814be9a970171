"""TF32 is switched on where it is asked for, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from refusion.errors import UserError
from refusion.fuse import fuse_pair
from refusion.ops import backend
from refusion.ops.backend import configure, float32_as_configured
from refusion.ops.float32 import Float32, float32_as, float32_now, set_float32

PYTORCHS_OWN, EXACT, ROUNDED = Float32(False, True), Float32(False, False), Float32(True, True)
GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def _as_pytorch_begins() -> Iterator[None]:
    before = float32_now()
    set_float32(PYTORCHS_OWN)
    with configure(compile=False):
        set_float32(PYTORCHS_OWN)
        yield
    set_float32(before)


@pytest.fixture
def _modern_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))


@pytest.mark.usefixtures("_modern_gpu")
def test_a_gpu_computes_exactly_unless_tf32_is_asked_for() -> None:
    with configure(GPU) as backend_now:
        assert float32_now() == EXACT
        assert backend_now.notes == []
        with configure(GPU, precision="tf32") as backend_now:
            assert float32_now() == ROUNDED
            assert backend_now.notes == []
        assert float32_now() == EXACT
    assert float32_now() == PYTORCHS_OWN


@pytest.mark.parametrize(("device", "reason"), [("cpu", "a CPU has no TF32"), (GPU, "this GPU has no TF32")])
def test_where_there_is_no_tf32_it_is_said(
    device: str | torch.device, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 0))
    with configure(device, precision="tf32", compile=False) as backend_now:
        assert float32_now() == EXACT
        assert backend_now.notes == [f"--precision tf32: computes in float32, since {reason}"]


def test_functions_of_a_process_that_configured_nothing_are_exact_on_a_gpu() -> None:
    with float32_as_configured(GPU):
        assert float32_now() == EXACT
    assert float32_now() == PYTORCHS_OWN


@pytest.mark.usefixtures("_modern_gpu")
def test_and_in_the_precision_that_was_configured_where_one_was() -> None:
    with configure(GPU, precision="tf32"):
        with float32_as_configured(torch.device("cuda:1")):
            assert float32_now() == ROUNDED
        assert float32_now() == ROUNDED


def test_on_a_cpu_the_switches_are_left_alone() -> None:
    with float32_as_configured(torch.ones(1)):
        assert float32_now() == PYTORCHS_OWN


def test_they_are_put_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), float32_as(tf32=False):
        raise ZeroDivisionError
    assert float32_now() == PYTORCHS_OWN


def test_pictures_are_fused_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's network on a GPU sees exact products; here the CPU stands in for the GPU."""
    seen = []

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, sources: torch.Tensor) -> torch.Tensor:
            seen.append(float32_now())
            return sources.mean(dim=1, keepdim=True) * self.scale

    import refusion.networks.full_size as full_size

    monkeypatch.setattr(full_size, "float32_as_configured", lambda _: float32_as(tf32=False))
    picture = np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8)
    fuse_pair(Net(), picture, picture[::-1])
    assert seen == [EXACT]
    assert float32_now() == PYTORCHS_OWN


def test_a_gpu_is_not_offered_what_makes_it_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "inductor", SimpleNamespace(why_not=lambda _: None))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    reason = "on a GPU it has made steps slower"
    with configure(GPU, compile=True, precision="bfloat16") as backend_now:
        assert backend_now.notes == [
            f"--compile: goes on without, since {reason}",
            f"--precision bfloat16: trains in float32, since {reason}",
        ]
        assert not backend.runs_inductor()
        assert backend.narrow(torch.ones(1)).dtype == torch.float32
    with configure(GPU, compile=True, precision="bfloat16", even_if_slower=True) as backend_now:
        assert backend_now.notes == []
        assert backend.runs_inductor()
        assert backend.narrow(torch.ones(1)).dtype == torch.bfloat16


def test_another_precision_is_refused() -> None:
    with pytest.raises(UserError, match="precision 'float16': choose float32, tf32 or bfloat16"):
        configure(precision="float16")  # type: ignore[arg-type]


def test_no_warning_comes_of_it() -> None:
    """PyTorch has two interfaces to the switches; a mixture makes it warn, or refuse to be read."""
    import subprocess
    import sys

    program = (
        "import warnings; warnings.simplefilter('error'); import torch; from refusion.ops.backend import configure;"
        "configure(compile=False); torch.backends.cudnn.flags(enabled=True).__enter__();"
        "print(torch.get_float32_matmul_precision())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "highest"), done.stderr
