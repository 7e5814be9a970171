from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refusion.images.crops import CropPlan, apply_crop, plan_fusion, plan_meta

seeds = st.integers(0, 2**40)
steps = st.integers(0, 10**6)
counts = st.integers(1, 60)
batches = st.integers(1, 24)


@given(seeds, steps, counts, batches, st.data())
def test_each_position_has_its_own_plan(seed: int, step: int, count: int, batch: int, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, batch - 1), max_size=6))
    meta = plan_meta(seed, "IVIF", step, range(batch), count)
    fusion = plan_fusion(seed, "IVIF", step, range(batch), batch, count)
    assert plan_meta(seed, "IVIF", step, wanted, count) == [meta[p] for p in wanted]
    assert plan_fusion(seed, "IVIF", step, wanted, batch, count) == [fusion[p] for p in wanted]
    for plan in meta + fusion:
        assert 0 <= plan.index < count
        assert 0 <= plan.top < 1
        assert 0 <= plan.left < 1


@given(seeds, steps, counts, batches)
def test_a_meta_iteration_shows_different_pairs_while_there_are_enough(
    seed: int, step: int, count: int, batch: int
) -> None:
    plans = plan_meta(seed, "MIF", step, range(batch), count)
    times = Counter(plan.index for plan in plans)
    assert len(times) == min(batch, count)
    assert max(times.values()) == -(-batch // count)
    assert len({(plan.top, plan.left) for plan in plans}) == batch


@given(seeds, counts, batches, st.integers(0, 3))
def test_one_pass_covers_every_pair_once(seed: int, count: int, batch: int, turn: int) -> None:
    first, last = turn * count, (turn + 1) * count - 1
    stream = [
        plan.index
        for step in range(first // batch, last // batch + 1)
        for plan in plan_fusion(seed, "MFIF", step, range(batch), batch, count)
    ]
    start = first - first // batch * batch
    assert sorted(stream[start : start + count]) == list(range(count))


def test_everything_that_names_a_crop_changes_it() -> None:
    base = plan_meta(1, "IVIF", 5, range(8), 40)
    others = [
        plan_meta(2, "IVIF", 5, range(8), 40),
        plan_meta(1, "MIF", 5, range(8), 40),
        plan_meta(1, "IVIF", 6, range(8), 40),
        plan_fusion(1, "IVIF", 5, range(8), 8, 40),
    ]
    for other in others:
        assert [plan.index for plan in other] != [plan.index for plan in base]
        assert not {plan.top for plan in other} & {plan.top for plan in base}


def test_crops_are_spread_evenly() -> None:
    plans = [plan for step in range(200) for plan in plan_meta(0, "IVIF", step, range(10), 10)]
    for values in ([p.top for p in plans], [p.left for p in plans]):
        counted, _ = np.histogram(values, bins=10, range=(0, 1))
        assert counted.min() > 140
        assert counted.max() < 260
    flips = Counter((plan.flip_horizontal, plan.flip_vertical) for plan in plans)
    assert min(flips.values()) > 400
    assert len({plan.index for plan in plans[::10]}) == 10


def test_other_processes_make_the_same_plans() -> None:
    here = repr((plan_meta(7, "MEIF", 3, range(4), 9), plan_fusion(7, "MEIF", 3, range(4), 4, 9)))
    code = (
        "from refusion.images.crops import *;"
        "print((plan_meta(7, 'MEIF', 3, range(4), 9), plan_fusion(7, 'MEIF', 3, range(4), 4, 9)))"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_the_plans_of_a_seed_never_change() -> None:
    # Recorded once: another NumPy, or a change here, that moves these would break resuming runs that exist.
    assert [plan.index for plan in plan_meta(0, "IVIF", 0, range(6), 10)] == [1, 5, 2, 0, 4, 6]
    assert [plan.index for plan in plan_fusion(0, "IVIF", 1, range(6), 6, 10)] == [8, 9, 1, 4, 0, 4]
    assert plan_meta(0, "IVIF", 0, [0], 10)[0].top == pytest.approx(0.6773069198861418, abs=1e-12)


@settings(max_examples=200)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 50),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.booleans(),
    st.booleans(),
)
def test_crops_hold_the_images_own_pixels(
    height: int, width: int, crop: int, top: float, left: float, horizontal: bool, vertical: bool
) -> None:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    region = apply_crop(np.stack([y, x]), CropPlan(0, top, left, horizontal, vertical), crop)
    assert region.shape == (2, crop, crop)
    assert region.flags["C_CONTIGUOUS"]
    # Both sources are cut alike: rows hold one y each, columns one x each, and neighbours stay neighbours.
    assert (region[0] == region[0][:, :1]).all()
    assert (region[1] == region[1][:1]).all()
    for places, side in ((region[0][:, 0], height), (region[1][0], width)):
        jumps = np.abs(np.diff(places))
        assert (jumps == (0 if side == 1 else 1)).all()
        assert places.min() >= 0
        assert places.max() < side


def test_crops_lie_where_the_plan_says() -> None:
    image = np.arange(2 * 10 * 12, dtype=np.float32).reshape(2, 10, 12)
    np.testing.assert_array_equal(apply_crop(image, CropPlan(0, 0.0, 0.999, False, False), 4), image[:, :4, 8:])
    np.testing.assert_array_equal(apply_crop(image, CropPlan(0, 0.5, 0.0, True, False), 4), image[:, 3:7, 3::-1])
    np.testing.assert_array_equal(apply_crop(image, CropPlan(0, 0.999, 0.0, False, True), 4), image[:, :5:-1, :4])


def test_small_images_are_reflected() -> None:
    row = np.array([[[0, 1, 2]]], np.float32)
    plan = CropPlan(0, 0.3, 0.3, False, False)
    np.testing.assert_array_equal(apply_crop(row, plan, 9)[0, 0], [1, 2, 1, 0, 1, 2, 1, 0, 1])


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        apply_crop(np.zeros((2, 4, 4)), CropPlan(0, 0, 0, False, False), 0)
    with pytest.raises(ValueError, match="at least 1"):
        plan_meta(0, "IVIF", 0, range(2), 0)
    with pytest.raises(ValueError, match="at least 1"):
        plan_fusion(0, "IVIF", 0, range(2), 0, 3)
