from __future__ import annotations

import pytest

from refusion.images.stacks.order import ORDERS, fused_along


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("count", range(1, 10))
def test_every_source_is_fused_once(name: str, count: int) -> None:
    leaves = fused_along(ORDERS[name](range(count)), [[number] for number in range(count)], lambda a, b: a + b)
    assert sorted(leaves) == list(range(count))


def test_an_even_and_an_odd_stack() -> None:
    assert ORDERS["extremes inward"](range(4)) == ((0, 3), (1, 2))
    assert ORDERS["extremes outward"](range(4)) == ((1, 2), (0, 3))
    assert ORDERS["neighbours"](range(5)) == (((0, 1), 2), (3, 4))
