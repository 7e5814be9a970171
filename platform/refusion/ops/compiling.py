"""What `--compile` asks for: on a CPU parts go by rows, elsewhere what stands between convolutions becomes loops."""

from __future__ import annotations

import torch

from refusion.ops.inductor import compile_loops
from refusion.ops.native.depthwise import use_by_rows


def use_compiled_code(wanted: bool | None, device: torch.device | None = None) -> str | None:
    """From now on, whether the networks of this process run as compiled code.

    Args:
        wanted: None is yes on a CPU, where it takes seconds once and then finds what it made on disk, else no.
        device: where they will run; the CPU unless given.

    Returns:
        Why there will be none although it is wanted, in one line; None if all is as wished.
    """
    on_cpu = device is None or device.type == "cpu"
    wanted = on_cpu if wanted is None else wanted
    reason = use_by_rows(wanted and on_cpu)
    return compile_loops(wanted and not on_cpu, device) or reason
