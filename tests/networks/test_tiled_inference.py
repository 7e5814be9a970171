"""The forward pass strip by strip against the reference networks, at sizes where strips and tiles are a few pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from refusion.config.network import Output
from refusion.errors import UserError
from refusion.networks import FusionModule, fuse_tiled
from refusion.networks.reference import ReferenceFusionModule
from refusion.networks.tiled import row_maps
from refusion.networks.tiled_inference import Tiling, fused_strips
from refusion.ops.backend import Precision, configure


def modules(
    output: Output = "image", even_below: float = 0.0, **sizes: int
) -> tuple[FusionModule, ReferenceFusionModule]:
    """Ours and the reference with equal weights, biases among them."""
    torch.manual_seed(0)
    kind: Any = {"output": output, "even_below": even_below}
    module, reference = FusionModule(**sizes, **kind), ReferenceFusionModule(**sizes, **kind)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    reference.load_state_dict(module.state_dict())
    return module.eval(), reference.eval()


TILINGS = {
    "one row": Tiling(1, 1, 7),
    "two rows": Tiling(1, 2, 100),
    "some rows": Tiling(200, 6, 16),
    "one tile": Tiling(1 << 14, 100, 100),
    "default": None,
}


@pytest.fixture(params=list(TILINGS.values()), ids=list(TILINGS))
def tiling(request: pytest.FixtureRequest) -> Tiling | None:
    found: Tiling | None = request.param
    return found


@pytest.fixture(params=["in memory", "on disk"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "on disk":
        monkeypatch.setattr(row_maps, "MOST_BYTES_IN_MEMORY", 0)


@pytest.fixture(params=["eager", "compiled"])
def code(request: pytest.FixtureRequest) -> None:
    if request.param == "compiled":
        request.getfixturevalue("native")


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("shape", [(1, 2, 25, 37), (2, 2, 17, 9), (1, 2, 1, 1), (1, 2, 9, 1), (1, 2, 1, 9)])
def test_agrees_with_the_plain_network(tiling: Tiling | None, shape: tuple[int, ...]) -> None:
    module, reference = modules()
    sources = torch.rand(shape)
    with torch.no_grad():
        expected = reference(sources)
    torch.testing.assert_close(fuse_tiled(module, sources, tiling), expected, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("output", "even_below"), [("image", 0.0), ("mixture", 0.0), ("mixture", 30.0)])
@pytest.mark.parametrize("blocks", [1, 3])
def test_agrees_in_double_precision_to_its_last_digits(
    tiling: Tiling | None, output: Output, even_below: float, blocks: int
) -> None:
    module, reference = modules(output, width=8, heads=2, blocks=blocks, even_below=even_below)
    sources = torch.rand(1, 2, 19, 23, dtype=torch.float64)
    with torch.no_grad():
        expected = reference.double()(sources)
    torch.testing.assert_close(fuse_tiled(module.double(), sources, tiling), expected, rtol=0, atol=1e-13)


def test_a_flat_picture_is_none_to_divide_by(tiling: Tiling | None) -> None:
    module, reference = modules(width=8, heads=2, blocks=1)
    black = torch.zeros(1, 2, 11, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = reference.double()(black)
    torch.testing.assert_close(fuse_tiled(module.double(), black, tiling), expected, rtol=0, atol=1e-13)


def test_leaves_no_graph() -> None:
    module, _ = modules(width=8, heads=2, blocks=1)
    assert not fuse_tiled(module, torch.rand(1, 2, 8, 8)).requires_grad


def test_sources_are_read_a_strip_at_a_time_and_its_progress_is_told() -> None:
    module, _ = modules(width=8, heads=2, blocks=1)
    sources, most, told = torch.rand(1, 2, 40, 9), 0, []

    def read(top: int, bottom: int) -> torch.Tensor:
        nonlocal most
        most = max(most, bottom - top)
        return sources[:, :, top:bottom]

    strips = fused_strips(module, read, 40, 9, tiling=Tiling(1, 5, 9), progress=lambda *done: told.append(done))
    fused = torch.cat([rows for _, rows in strips], dim=2)
    torch.testing.assert_close(fused, fuse_tiled(module, sources), rtol=0, atol=1e-6)
    assert most <= 5 + 4, "no more than a strip and what its first result depends on"
    assert told == sorted(told)
    assert told[-1] == (160, 160)


@pytest.mark.usefixtures("place")
def test_what_goes_wrong_while_reading_is_said() -> None:
    module, _ = modules(width=8, heads=2, blocks=1)

    def read(top: int, bottom: int) -> torch.Tensor:
        raise UserError("cannot be read")

    with pytest.raises(UserError, match="cannot be read"):
        list(fused_strips(module, read, 8, 8))


@pytest.mark.gpu
def test_a_gpu_gives_the_same(tiling: Tiling | None) -> None:
    module, reference = modules()
    sources = torch.rand(1, 2, 64, 80)
    with torch.no_grad():
        expected = reference(sources)
    torch.testing.assert_close(fuse_tiled(module.cuda(), sources.cuda(), tiling).cpu(), expected, rtol=0, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_a_gpu_gives_the_same_whatever_was_switched_before(precision: Precision) -> None:
    module, _ = modules()
    sources = torch.rand(1, 2, 64, 80)
    with torch.no_grad():
        expected = fuse_tiled(module, sources)
        with configure("cuda", precision=precision):
            near = 1e-4 if precision == "float32" else 1e-2
            torch.testing.assert_close(fuse_tiled(module.cuda(), sources.cuda()).cpu(), expected, rtol=0, atol=near)
