"""The forward pass in tiles against the reference networks, at sizes where a tile is a few rows."""

from __future__ import annotations

import pytest
import torch

from refusion.config.network import Output
from refusion.networks import FusionModule, fuse_tiled
from refusion.networks import tiled_inference as in_strips
from refusion.networks.reference import ReferenceFusionModule


def modules(output: Output = "image", **sizes: int) -> tuple[FusionModule, ReferenceFusionModule]:
    """Ours and the reference with equal weights, biases among them."""
    torch.manual_seed(0)
    module, reference = FusionModule(**sizes, output=output), ReferenceFusionModule(**sizes, output=output)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    reference.load_state_dict(module.state_dict())
    return module, reference


@pytest.fixture(params=[1, 200, 1 << 14], ids=["4 rows", "some rows", "one tile"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_strips, "pixels_at_once", lambda _on_cpu: request.param)


@pytest.fixture(params=["eager", "compiled"])
def code(request: pytest.FixtureRequest) -> None:
    if request.param == "compiled":
        request.getfixturevalue("native")


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("shape", [(1, 2, 37, 53), (2, 2, 17, 9), (1, 2, 1, 1), (1, 2, 9, 1), (1, 2, 1, 9)])
def test_agrees_with_the_plain_network(tiles: None, shape: tuple[int, ...]) -> None:
    module, reference = modules()
    sources = torch.rand(shape)
    with torch.no_grad():
        expected = reference(sources)
    torch.testing.assert_close(fuse_tiled(module, sources), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("output", ["image", "mixture"])
def test_agrees_in_double_precision_to_its_last_digits(tiles: None, output: Output) -> None:
    module, reference = modules(output, width=8, heads=2, blocks=1)
    sources = torch.rand(2, 2, 23, 31, dtype=torch.float64)
    with torch.no_grad():
        expected = reference.double()(sources)
    torch.testing.assert_close(fuse_tiled(module.double(), sources), expected, rtol=0, atol=1e-13)


def test_a_flat_picture_is_none_to_divide_by(tiles: None) -> None:
    module, reference = modules(width=8, heads=2, blocks=1)
    black = torch.zeros(1, 2, 11, 8, dtype=torch.float64)
    with torch.no_grad():
        expected = reference.double()(black)
    torch.testing.assert_close(fuse_tiled(module.double(), black), expected, rtol=0, atol=1e-13)


def test_leaves_no_graph() -> None:
    module, _ = modules(width=8, heads=2, blocks=1)
    assert not fuse_tiled(module, torch.rand(1, 2, 8, 8)).requires_grad


@pytest.mark.gpu
def test_a_gpu_gives_the_same(tiles: None) -> None:
    module, reference = modules()
    sources = torch.rand(1, 2, 64, 80)
    with torch.no_grad():
        expected = reference(sources)
    torch.testing.assert_close(fuse_tiled(module.cuda(), sources.cuda()).cpu(), expected, rtol=0, atol=1e-4)
