from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refusion.errors import UserError
from refusion.images.colour import luminance
from refusion.images.crops import apply_crop, plan_fusion
from refusion.images.pair_check import find_and_check
from refusion.images.pairs import Pair
from refusion.images.reading import read_image
from refusion.images.store import PairStore, read_beside
from refusion.images.writing import write_image

HEIGHT, WIDTH = 20, 30
PAIR_BYTES = HEIGHT * WIDTH * (1 + 4)  # a is 8-bit grey, b is colour


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    rng = np.random.default_rng(5)
    for side, shape in (("a", (HEIGHT, WIDTH)), ("b", (HEIGHT, WIDTH, 3))):
        (tmp_path / "MIF" / "val" / side).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "MIF" / "val" / side / f"{number}.png")
    return find_and_check(tmp_path, "MIF", "val").pairs


def test_sources_are_luminance(pairs: list[Pair]) -> None:
    store = PairStore(pairs)
    assert len(store) == 5
    for _ in range(2):  # read, then from memory
        for index, pair in enumerate(pairs):
            expected = np.stack([luminance(read_image(Path(file))) for file in (pair.a, pair.b)])
            sources = store.sources(index)
            assert sources.dtype == np.float32
            np.testing.assert_array_equal(sources, expected)
    assert store.cached_bytes == 5 * PAIR_BYTES


def test_sixteen_bit_sources_keep_their_precision(pairs: list[Pair]) -> None:
    deep = np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
    Image.fromarray(deep).save(pairs[0].a)
    store = PairStore(pairs)
    np.testing.assert_allclose(store.sources(0)[0], deep / 65535, atol=1e-6)
    for _ in range(2):
        np.testing.assert_allclose(store.originals(0)[0], deep / np.float32(257), atol=1e-4)


def test_the_bound_holds_and_the_last_used_stay(pairs: list[Pair]) -> None:
    store = PairStore(pairs, cache_bytes=2 * PAIR_BYTES + 10)
    for index in (0, 1, 0, 2):  # 1 was used longest ago and goes
        store.sources(index)
        assert store.cached_bytes <= store.cache_bytes
    assert store.cached_bytes == 2 * PAIR_BYTES
    for index in (0, 1, 2):
        Path(pairs[index].a).unlink()
    store.sources(0)
    store.sources(2)
    with pytest.raises(UserError, match=r"1\.png"):
        store.sources(1)


def test_a_pair_larger_than_the_bound_is_not_kept(pairs: list[Pair]) -> None:
    store = PairStore(pairs, cache_bytes=PAIR_BYTES - 1)
    assert store.sources(0).shape == (2, HEIGHT, WIDTH)
    assert store.cached_bytes == 0


def test_originals_are_as_read_and_read_once(pairs: list[Pair]) -> None:
    store = PairStore(pairs)
    expected = [read_image(Path(file)) for file in (pairs[3].a, pairs[3].b)]
    for _ in range(2):
        for original, image in zip(store.originals(3), expected, strict=True):
            assert original.dtype == np.float32
            np.testing.assert_array_equal(original, image)
        Path(pairs[3].a).unlink(missing_ok=True)
    assert store.cached_bytes == HEIGHT * WIDTH * (1 + 3)
    # Without a cache it is read anew.
    with pytest.raises(UserError, match=r"3\.png"):
        PairStore(pairs, 0).originals(3)


@pytest.mark.parametrize("crop", [8, 24, 48])
def test_batches_are_cuts_of_the_sources(pairs: list[Pair], crop: int) -> None:
    store = PairStore(pairs, cache_bytes=2 * PAIR_BYTES)
    plans = plan_fusion(0, "MIF", 0, range(7), 7, len(pairs))
    batch = store.batch(plans, crop)
    assert batch.shape == (7, 2, crop, crop)
    assert batch.dtype == np.float32
    assert batch.flags["C_CONTIGUOUS"]
    for row, plan in zip(batch, plans, strict=True):
        np.testing.assert_array_equal(row, apply_crop(store.sources(plan.index), plan, crop))


def test_threads_may_share_a_store(pairs: list[Pair]) -> None:
    store = PairStore(pairs, cache_bytes=2 * PAIR_BYTES)
    plans = [plan_fusion(0, "MIF", step, range(4), 4, len(pairs)) for step in range(40)]
    expected = [PairStore(pairs).batch(plan, 16) for plan in plans]
    with ThreadPoolExecutor(4) as pool:
        for got, wanted in zip(pool.map(lambda plan: store.batch(plan, 16), plans), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
    assert store.cached_bytes == 2 * PAIR_BYTES


def test_a_file_that_changed_its_size_is_named(pairs: list[Pair]) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH + 1), np.uint8)).save(pairs[2].a)
    with pytest.raises(UserError, match=r"2\.png.*changed"):
        PairStore(pairs).sources(2)


def test_real_pairs_are_read(shared_data: Path) -> None:
    found = find_and_check(shared_data, "MIF", "val").pairs
    store = PairStore(found[:4])
    for index, pair in enumerate(found[:4]):
        sources = store.sources(index)
        assert sources.shape == (2, pair.height, pair.width)
        assert 0 <= sources.min() < sources.max() <= 1


def test_a_picture_beside_a_pair_may_be_as_large_as_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refusion.images.store.DEFAULT_MEGAPIXELS", 0.0001)
    pixels = np.arange(600, dtype=np.uint8).reshape(20, 30)
    write_image(tmp_path / "fused.png", pixels)
    large = Pair("x", "", "", 20, 30, "")
    assert np.array_equal(read_beside(tmp_path / "fused.png", large), pixels)
    with pytest.raises(UserError, match="too large"):
        read_beside(tmp_path / "fused.png", Pair("x", "", "", 2, 3, ""))
