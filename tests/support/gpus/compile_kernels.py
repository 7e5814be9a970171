"""Compiles every Triton kernel for GPUs, which need not be there, and prints what each takes.

Triton's interpreter runs much that its compiler refuses.
"""

from __future__ import annotations

from importlib import import_module

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

# Compute capabilities, of A100 and H100.
TARGETS = (80, 90)
SIZES = {
    "ROWS": 64,
    "CHANNELS": 32,
    "OUTPUTS": 64,
    "PARTS": 2,
    "STEPS": 3,
    "PIXELS": 32,
    "WEIGHTED": True,
    "SUMS": True,
}
# By module and kernel: arguments that are numbers, and the values of those that are fixed at compile time.
KERNELS: dict[str, dict[str, list[dict[str, object]]]] = {
    "depthwise": {"_kernel": [{"REVERSE": True, "CONVOLVES": True, "PIXELS": 16}]},
    "layer_norm": {"_value": [{}], "_vjp": [{}]},
    "gated_depthwise": {
        "_kernel": [
            {"BACKWARD": False, "FORWARD": False},
            {"BACKWARD": True, "FORWARD": False},
            {"BACKWARD": False, "FORWARD": True},
        ]
    },
    "norm_pointwise": {"_value": [{"FORWARD": False}, {"FORWARD": True}], "_vjp": [{}], "_pointwise_sums": [{}]},
    "attention_sums": {"_sums": [{"PIXELS": 64}], "_weighted": [{"PIXELS": 64, "ADDS": True, "OUTPUTS": 32}]},
}
NUMBERS = {"pixels", "height", "width", "channels", "rows", "outputs", "half", "programs"}
STRIDES = {"q_image", "q_pixel", "k_image", "k_pixel", "v_image", "v_pixel"}


def main() -> None:
    """Compile all and print a line for each."""
    for module_name, kernels in KERNELS.items():
        module = import_module(f"refusion.ops.kernels.{module_name}")
        for name, ways in kernels.items():
            for way in ways:
                for target in TARGETS:
                    print(f"{module_name}.{name}", *way.items(), f"sm_{target}", compiled(module, name, way, target))


def compiled(module: object, name: str, way: dict[str, object], target: int) -> str:
    """Registers, bytes that they spill, and shared memory of one kernel."""
    function = getattr(module, name)
    fixed = SIZES | way
    constants = {argument.name: fixed[argument.name] for argument in function.params if argument.is_constexpr}
    signature = {argument.name: kind_of(argument.name, argument.is_constexpr) for argument in function.params}
    source = ASTSource(
        function, signature, {(function.arg_names.index(key),): value for key, value in constants.items()}
    )
    options = {"num_warps": 4}
    done = triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)
    return f"{done.metadata.shared} bytes shared, {len(done.asm['ptx'].splitlines())} lines of PTX"


def kind_of(name: str, fixed: bool) -> str:
    """Triton's type of an argument."""
    if fixed:
        return "constexpr"
    if name in NUMBERS | STRIDES:
        return "i32"
    return "fp32" if name == "eps" else "*fp32"


if __name__ == "__main__":
    main()
