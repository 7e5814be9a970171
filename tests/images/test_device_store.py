"""Crops cut from memory that holds all pairs are those that the store cuts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from refusion.images.crops import plan_meta, plan_noise
from refusion.images.device_store import DevicePlanes, pairs_on_device
from refusion.images.noise import FIELD, noise_field
from refusion.images.pairs import Pair
from refusion.images.store import PairStore

CPU = torch.device("cpu")
SIZES = [(20, 31), (40, 17), (12, 12)]


class _Store(PairStore):
    """Pairs of random numbers of several sizes, one of them smaller than the crop."""

    def __init__(self, *of_8_bits: int) -> None:
        super().__init__([Pair(str(i), "", "", *size, digest="") for i, size in enumerate(SIZES)])
        draw = np.random.default_rng(0)
        self.values: list[list[np.ndarray]] = [list(draw.random((2, *size), dtype=np.float32)) for size in SIZES]
        for channel in of_8_bits:
            for planes in self.values:
                planes[channel] = (planes[channel] * 256).astype(np.uint8)

    def planes(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        a, b = self.values[index]
        return a, b


@pytest.mark.parametrize("crop", [8, 16])
@pytest.mark.parametrize(("of_8_bits", "bytes_each"), [((), 8), ((0,), 5), ((1,), 5), ((0, 1), 2)])
def test_crops_from_the_device_are_those_of_the_store(crop: int, of_8_bits: tuple[int, ...], bytes_each: int) -> None:
    store = _Store(*of_8_bits)
    padded = sum(max(height, crop) * max(width, crop) for height, width in SIZES)
    assert pairs_on_device(store, crop, CPU, limit_bytes=bytes_each * padded - 1) is None
    planes = pairs_on_device(store, crop, CPU, limit_bytes=bytes_each * padded)
    assert planes is not None
    assert planes.bytes == bytes_each * padded
    assert [values.dtype == torch.uint8 for values in planes.channels] == [n in of_8_bits for n in range(2)]
    plans = [plan for step in range(8) for plan in plan_meta(0, "MIF", step, range(3), len(SIZES))]
    assert {(plan.flip_horizontal, plan.flip_vertical) for plan in plans} == {(a, b) for a in (0, 1) for b in (0, 1)}
    found = planes.cut(planes.windows(plans, crop), crop)
    expected = store.batch(plans, crop)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_pairs_that_are_too_large_are_not_even_read() -> None:
    store = _Store()
    store.values.clear()
    assert pairs_on_device(store, 8, CPU, limit_bytes=1000) is None


def test_a_channel_of_which_one_plane_is_of_floats_is_held_as_floats() -> None:
    store = _Store(0, 1)
    store.values[1][0] = np.full(SIZES[1], 0.3, np.float32)
    planes = pairs_on_device(store, 8, CPU, limit_bytes=1 << 20)
    assert planes is not None
    plans = plan_meta(1, "MIF", 0, range(6), len(SIZES))
    np.testing.assert_array_equal(planes.cut(planes.windows(plans, 8), 8).numpy(), store.batch(plans, 8))


def test_a_crop_larger_than_a_plane_is_refused() -> None:
    planes = DevicePlanes([[np.zeros((8, 8), np.float32)]], CPU)
    with pytest.raises(ValueError, match="8×8 is smaller than the crop of 9"):
        planes.windows(plan_noise(0, "MIF", "meta", 0, [0]), 9)


def test_noise_is_normal_and_each_position_has_its_own() -> None:
    field = noise_field(3, "IVIF")
    assert abs(field.mean()) < 0.005
    assert field.std() == pytest.approx(1, abs=0.005)
    # A normal deviation lies beyond 2 in 4.55 % of cases.
    assert np.mean(np.abs(field) > 2) == pytest.approx(0.0455, abs=0.002)
    assert not np.array_equal(field, noise_field(4, "IVIF"))
    assert not np.array_equal(field, noise_field(3, "MIF"))
    planes = DevicePlanes([[field]], CPU)
    plans = plan_noise(3, "IVIF", "fusion", 5, range(4))
    cut = planes.cut(planes.windows(plans, 32), 32)
    assert cut.shape == (4, 1, 32, 32)
    assert not torch.equal(cut[0], cut[1])
    assert plans[2:3] == plan_noise(3, "IVIF", "fusion", 5, [2])
    assert field.shape == (FIELD, FIELD)
