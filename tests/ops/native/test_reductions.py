"""Reductions over pixels and weighted sums of maps against the same by PyTorch in double precision."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from refusion.ops.native.reductions import channel_dots, gram, weighted_sum

RELATIVE = 1e-6

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(4)


@pytest.fixture(params=[1, 2, 5], ids=lambda threads: f"{threads} threads")
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield int(request.param)
    torch.set_num_threads(before)


@pytest.fixture(params=[(1, 1), (3, 2), (2, 95), (2, 96), (1, 97), (3, 500)], ids=str)
def images(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Images and pixels: fewer than threads, and around the number that is worked on together."""
    found: tuple[int, int] = request.param
    return found


def view(images: tuple[int, int], channels: int) -> torch.Tensor:
    """(B, P, channels) among wider maps, of some rows."""
    batch, pixels = images
    return torch.randn(batch, pixels + 2, 3 * channels)[:, 1:-1, channels : 2 * channels]


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).norm() <= RELATIVE * expected.norm() + 1e-12


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (32, 32), (48, 16), (16, 80)])
def test_gram(images: tuple[int, int], inputs: int, outputs: int, threads: int) -> None:
    pairs = [(view(images, inputs), view(images, outputs)) for _ in range(2)]
    expected = [x.double().transpose(1, 2) @ y.double() for x, y in pairs]
    assert_near(gram(pairs[0]), expected[0])
    assert_near(gram(*pairs), expected[0] + expected[1])


@pytest.mark.parametrize("channels", [16, 48])
def test_dots(images: tuple[int, int], channels: int, threads: int) -> None:
    x, y = view(images, channels), view(images, channels)
    assert_near(channel_dots(x, y), (x.double() * y.double()).sum(dim=1))


# Not each width with each number of terms: the terms are added one after the other, each in one loop over the channels.
@pytest.mark.parametrize(
    ("channels", "scales", "matrices"), [(16, 0, 1), (48, 0, 2), (16, 1, 0), (48, 1, 1), (16, 2, 2), (48, 2, 2)]
)
def test_weighted_sums(images: tuple[int, int], channels: int, scales: int, matrices: int, threads: int) -> None:
    out = view(images, channels)
    around = out._base
    assert around is not None
    before = around.clone()
    factors = [torch.randn(images[0], channels), None][:scales]
    scaled = [(view(images, channels), factor) for factor in factors]
    # A matrix that is a view, as a transposed one is.
    projected = [
        (view(images, width), torch.randn(images[0], channels, width).transpose(1, 2)) for width in (16, 32)[:matrices]
    ]
    weighted_sum(out, scaled, projected)
    expected = sum(x.double() * (1 if factor is None else factor.double()[:, None]) for x, factor in scaled)
    expected = expected + sum(x.double() @ matrix.double() for x, matrix in projected)
    assert isinstance(expected, torch.Tensor)
    assert_near(out, expected)
    # Nothing beside it is touched.
    outside = torch.ones_like(around, dtype=torch.bool)
    outside[:, 1:-1, channels : 2 * channels] = False
    assert torch.equal(around[outside], before[outside])


def test_maps_whose_channels_lie_apart() -> None:
    x, y = (torch.randn(2, 16, 9).transpose(1, 2) for _ in range(2))
    side_by_side = x.contiguous(), y.contiguous()
    assert torch.equal(gram((x, y)), gram(side_by_side))
    assert torch.equal(channel_dots(x, y), channel_dots(*side_by_side))
    found, expected = torch.empty(2, 9, 16), torch.empty(2, 9, 16)
    matrix = torch.randn(2, 16, 16)
    weighted_sum(found, [(x, None)], [(y, matrix)])
    weighted_sum(expected, [(side_by_side[0], None)], [(side_by_side[1], matrix)])
    assert torch.equal(found, expected)


def test_sums_over_many_pixels_keep_their_digits() -> None:
    x = torch.rand(1, 400_000, 16)
    exact = x.double().square().sum(dim=1)
    assert ((channel_dots(x, x) - exact).abs() / exact).max() < 1e-7
    assert ((gram((x, x)).diagonal(dim1=1, dim2=2) - exact).abs() / exact).max() < 1e-6


def test_the_same_number_of_threads_gives_the_same_bits() -> None:
    x, y = view((3, 500), 32), view((3, 500), 32)
    torch.set_num_threads(3)
    try:
        assert torch.equal(gram((x, y)), gram((x, y)))
        assert torch.equal(channel_dots(x, y), channel_dots(x, y))
    finally:
        torch.set_num_threads(1)
