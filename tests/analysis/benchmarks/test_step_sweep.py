from __future__ import annotations

import math

import pytest
from step_measuring import Size
from step_sweep import groups, growth, megapixels_fed, sizes

SIZE = Size(3, 4, 96, 16)


def test_one_thing_is_varied_in_each_group() -> None:
    crops, batches, steps = groups(SIZE)
    assert [row.size for row in crops] == [Size(1, 4, crop, 16) for crop in (48, 96, 144)]
    assert [row.size for row in batches] == [Size(1, batch, 96, 16) for batch in (1, 2, 4, 8)]
    assert [row.size for row in steps] == [Size(k, 4, 96, 16) for k in (1, 2, 3, 4)]
    # Batch 4 at 96×96 and K = 1 stands in all three.
    assert len(sizes(SIZE)) == 3 + 4 + 4 - 2


def test_growth_is_one_where_the_cost_grows_like_the_amount() -> None:
    small, middle, large = groups(SIZE)[0]
    cost = {small.size: 2.0, middle.size: 8.0, large.size: 36.0}
    assert growth(small, small, cost) == 1.0
    assert growth(small, middle, cost) == 1.0
    assert growth(small, large, cost) == pytest.approx(2.0)
    assert math.isnan(growth(small, large, cost | {small.size: math.nan}))


def test_every_batch_is_fed() -> None:
    assert megapixels_fed(Size(3, 4, 100, 16)) == pytest.approx(0.16)
