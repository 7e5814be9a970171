from __future__ import annotations

from refusion.runtime.distributed import Shard


def test_shards_are_equal_parts_of_the_batch_in_order() -> None:
    assert [list(Shard(rank, 4).of(8)) for rank in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert list(Shard().of(3)) == [0, 1, 2]
