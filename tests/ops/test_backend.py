"""The backend runs what is configured: compiled code or none, the plain script's default, wide maps in bfloat16."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fused_op_checks import channel_attention_inputs, cross_attention_inputs, feed_forward_inputs

import refusion.ops.inductor as inductor
from refusion.meta import meta_gradient
from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule
from refusion.ops.autodiff import jvp
from refusion.ops.backend import Compile, configure, full, narrow, recomputes, runs_inductor, runs_native
from refusion.ops.feed_forward import GatedFeedForward
from refusion.ops.fused_op import FusedOp, run
from refusion.ops.native import library
from refusion.ops.sublayers import ChannelAttention, CrossAttention
from refusion.ops.tiling import ALL_ROWS

OPS = {
    "feed forward": (GatedFeedForward(), feed_forward_inputs),
    "attention": (ChannelAttention(), channel_attention_inputs),
    "cross-attention": (CrossAttention(), cross_attention_inputs),
}
# bfloat16 keeps 8 bits; an operation rounds a few times.
NEAR = 0.03


CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def nothing_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "compiled", lambda: "no C++ compiler")
    monkeypatch.setattr(inductor, "why_not", lambda _: "no Triton")


@pytest.mark.usefixtures("nothing_compiles")
@pytest.mark.parametrize(
    ("compile", "device", "reason"),
    [
        (None, CPU, "no C++ compiler"),
        (None, None, "no C++ compiler"),
        (True, "cpu", "no C++ compiler"),
        (False, CPU, None),
        (None, GPU, None),
        (False, GPU, None),
        ("inductor", CPU, "no Triton"),
        ("native", None, "no C++ compiler"),
    ],
)
def test_on_a_cpu_our_code_elsewhere_if_told_so_pytorchs_compiler(
    compile: Compile, device: torch.device | str | None, reason: str | None
) -> None:
    backend = configure(device, compile)
    assert backend.not_compiled == reason
    assert not runs_native(torch.ones(1)) and not runs_inductor()
    sentence = f"--compile: trains without, only slower, since nothing can be compiled here: {reason}"
    assert backend.notes == ([] if reason is None else [sentence])


def test_a_processor_without_bfloat16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    backend = configure(compile=False, precision="bfloat16")
    (note,) = backend.notes
    assert note == f"--precision bfloat16: trains in float32, since {backend.not_bfloat16}"
    assert backend.not_bfloat16 == "this CPU computes in bfloat16 no faster than in float32"
    assert narrow(torch.ones(2)).dtype == torch.float32


@pytest.mark.usefixtures("native")
def test_a_block_restores_what_was_configured_before_it() -> None:
    x = torch.ones(1)
    with configure(compile=False, recompute=True) as backend:
        assert backend.notes == []
        assert recomputes() and not runs_native(x)
        with pytest.raises(ZeroDivisionError), configure(compile="native"):
            assert runs_native(x) and not recomputes()
            raise ZeroDivisionError
        assert recomputes() and not runs_native(x)
    assert runs_native(x) and not recomputes()


class Subclass(torch.Tensor): ...


@pytest.mark.usefixtures("native")
def test_our_code_runs_on_plain_tensors_of_single_precision() -> None:
    x = torch.ones(2)
    assert runs_native(x) and runs_native(torch.nn.Parameter(x))
    assert not any(runs_native(one) for one in (x.double(), x.to("meta"), x.as_subclass(Subclass)))


PLAIN_SCRIPT = """
import warnings
import torch
import refusion.meta, refusion.networks
from refusion.ops.native import library
assert library.compiled.cache_info().currsize == 0, "compiled at import"
torch.manual_seed(0)
torch.set_num_threads(1)
modules = [refusion.networks.FusionModule(16, 8, 1), refusion.networks.LossProposalModule(16, 8, 1)]
modules.append(refusion.networks.ReconstructionModule(32, 8, 1))
images = torch.rand(3, 2, 2, 12, 10)
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    for _ in range(2):
        found = [modules[0](images[2]), *refusion.meta.meta_gradient(*modules, images[:2], images[2], [0.5, 0.2])]
warned = [str(one.message) for one in warned if one.category is RuntimeWarning]
print(len(warned), torch.cat([one.detach().flatten() for one in found]).double().sum().item().hex())
print(*warned)
"""


def of_plain_script(**environment: str) -> tuple[int, str, str]:
    """Number of its warnings, digits of its results, and the warnings."""
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_SCRIPT], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    line, warned = done.stdout.splitlines()
    count, digits = line.split()
    return int(count), digits, warned


@pytest.mark.usefixtures("native")
def test_a_script_that_configures_nothing_runs_our_code() -> None:
    torch.manual_seed(0)
    modules = FusionModule(16, 8, 1), LossProposalModule(16, 8, 1), ReconstructionModule(32, 8, 1)
    images = torch.rand(3, 2, 2, 12, 10)

    def digits() -> str:
        found = [modules[0](images[2]), *meta_gradient(*modules, images[:2], images[2], [0.5, 0.2])]
        total: float = torch.cat([one.detach().flatten() for one in found]).double().sum().item()
        return total.hex()

    compiled = digits()
    configure(compile=False)
    assert digits() != compiled
    assert of_plain_script() == (0, compiled, "")


def test_a_script_without_a_compiler_is_told_so_once(tmp_path: Path) -> None:
    without = {"CXX": "no-such-compiler", "XDG_CACHE_HOME": str(tmp_path)}
    count, _, warned = of_plain_script(**without)
    assert count == 1
    assert warned.endswith("nothing can be compiled here: there is no C++ compiler no-such-compiler (CXX)")


@pytest.mark.usefixtures("bfloat16")
def test_only_single_precision_is_narrowed() -> None:
    assert narrow(torch.ones(2)).dtype == torch.bfloat16
    assert narrow(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    assert full(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32
    assert full(torch.ones(2, dtype=torch.float64)).dtype == torch.float64


def test_nothing_is_narrowed_unless_wanted() -> None:
    x = torch.ones(2)
    assert narrow(x) is x


def value_and_derivatives(op: FusedOp[object], inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """The value, its gradients, its tangent, and the gradients of that by the way through forward mode."""
    torch.manual_seed(5)
    held = [tensor.detach().requires_grad_() for tensor in inputs]
    tangents = [torch.randn_like(tensor) for tensor in held]
    value = run(op, held)
    grad = torch.randn_like(value)
    grads = torch.autograd.grad(value, held, grad)
    with torch.no_grad():
        pair = jvp(lambda *given: run(op, given), inputs, tangents)
    through = jvp(lambda *given: run(op, given), held, tangents)
    return [value, *grads, *pair, *torch.autograd.grad(through, held, [grad, grad])]


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", OPS)
def test_each_operation_is_near_its_single_precision(name: str) -> None:
    torch.manual_seed(4)
    op, inputs_of = OPS[name]
    inputs = [tensor.float() for tensor in inputs_of()]
    rounded = value_and_derivatives(op, inputs)
    configure(compile=False)
    exact = value_and_derivatives(op, inputs)
    assert all(one.dtype == torch.float32 for one in rounded)
    ones, others = (torch.cat([tensor.detach().flatten() for tensor in found]) for found in (rounded, exact))
    assert 1e-4 * others.norm() < (ones - others).norm() < NEAR * others.norm()


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", OPS)
def test_its_steps_by_hand_give_what_its_reference_gives(name: str) -> None:
    torch.manual_seed(4)
    op, inputs_of = OPS[name]
    inputs = [tensor.float() for tensor in inputs_of()]
    held = [tensor.clone().requires_grad_() for tensor in inputs]
    whole = op.reference(held, ALL_ROWS)
    grad = torch.randn_like(whole)
    with torch.no_grad():
        found = op.vjp(inputs, ALL_ROWS, op.save(inputs, ALL_ROWS), grad, [True] * len(inputs))
    for one, other in zip(found, torch.autograd.grad(whole, held, grad), strict=True):
        assert one is not None
        assert (one - other).norm() <= NEAR * other.norm() + 1e-6
