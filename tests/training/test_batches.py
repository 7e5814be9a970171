from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.images.store import PairStore
from refusion.runtime.distributed import Shard
from refusion.training import batches as batches_module
from refusion.training.batches import Batches, Waits, read_ahead

CPU = torch.device("cpu")


@pytest.fixture
def four(tiny: Settings) -> Settings:
    return tiny.model_copy(update={"images": tiny.images.model_copy(update={"batch": 4})})


def batches(store: PairStore, settings: Settings, rank: int = 0, world: int = 1, epoch: int = 0) -> Batches:
    return Batches(store, settings, "IVIF", Shard(rank, world), CPU, epoch)


def test_batches_have_the_announced_shapes_and_range(train_store: PairStore, tiny: Settings) -> None:
    meta_train, meta_test = batches(train_store, tiny).meta(0, inner_steps=3)
    fusion = batches(train_store, tiny).fusion(0)
    assert meta_train.shape == (3, 2, 2, 16, 16)
    assert meta_test.shape == fusion.shape == (2, 2, 16, 16)
    for images in (meta_train, meta_test, fusion):
        assert images.dtype == torch.float32
        assert 0 <= images.min() < images.max() <= 1


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_the_workers_shares_make_up_the_global_batch(
    train_store: PairStore, four: Settings, world: int, inner_steps: int
) -> None:
    whole = batches(train_store, four)
    parts = [batches(train_store, four, rank, world) for rank in range(world)]
    for step in (0, 5):
        meta_train, meta_test = whole.meta(step, inner_steps)
        shares = [part.meta(step, inner_steps) for part in parts]
        assert torch.equal(torch.cat([train for train, _ in shares], dim=1), meta_train)
        assert torch.equal(torch.cat([test for _, test in shares]), meta_test)
        assert torch.equal(torch.cat([part.fusion(step) for part in parts]), whole.fusion(step))


@pytest.fixture
def known(train_store: PairStore) -> dict[tuple[float, ...], int]:
    """The pairs by the values of their whole b, which turning a crop over does not change."""
    return {tuple(np.unique(train_store.sources(index)[1])): index for index in range(len(train_store))}


@pytest.fixture
def whole(tiny: Settings) -> Settings:
    """Crops as large as the images' longer side: every crop shows all values of its image."""
    return tiny.model_copy(update={"images": tiny.images.model_copy(update={"crop": 52})})


def pairs_of(crops: torch.Tensor, known: dict[tuple[float, ...], int]) -> list[int]:
    return [known[tuple(np.unique(crop[1].numpy()))] for crop in crops]


def test_the_batches_of_a_meta_iteration_show_different_pairs(
    train_store: PairStore, whole: Settings, known: dict[tuple[float, ...], int]
) -> None:
    for step in range(10):
        meta_train, meta_test = batches(train_store, whole).meta(step, inner_steps=1)
        assert len({*pairs_of(meta_train[0], known), *pairs_of(meta_test, known)}) == 4


def test_fusion_batches_pass_over_all_pairs_before_any_comes_again(
    train_store: PairStore, whole: Settings, known: dict[tuple[float, ...], int]
) -> None:
    shown = [pair for step in range(5) for pair in pairs_of(batches(train_store, whole).fusion(step), known)]
    assert sorted(shown[:5]) == sorted(shown[5:]) == list(range(5))


def test_crops_are_of_the_size_of_the_epoch(train_store: PairStore, tiny: Settings) -> None:
    growing = check([{"images": {"crop": {0: 16, 3: 24}}}], tiny)
    for epoch, crop in ((0, 16), (2, 16), (3, 24), (9, 24)):
        made = batches(train_store, growing, epoch=epoch)
        assert made.meta(4, 2)[0].shape == (2, 2, 2, crop, crop)
        constant = check([{"images": {"crop": crop}}], tiny)
        assert torch.equal(made.fusion(7), batches(train_store, constant).fusion(7))


def test_a_subset_is_evenly_spread_and_all_that_is_shown(
    train_store: PairStore, whole: Settings, known: dict[tuple[float, ...], int]
) -> None:
    few = check([{"images": {"subset": {0: 2, 1: 3}}}], whole)
    for epoch, indices in ((0, [1, 3]), (1, [0, 2, 4])):
        made = batches(train_store, few, epoch=epoch)
        assert made.indices == indices
        meta_train, meta_test = made.meta(5, inner_steps=1)
        assert {*pairs_of(meta_train[0], known), *pairs_of(meta_test, known)} == set(indices)
        shown = [pair for step in range(len(indices)) for pair in pairs_of(made.fusion(step), known)]
        assert sorted(shown) == sorted(2 * indices)


@pytest.mark.parametrize("subset", [5, 99, {0: 5}])
def test_a_subset_of_all_pairs_changes_nothing(train_store: PairStore, tiny: Settings, subset: object) -> None:
    all_of_them = batches(train_store, check([{"images": {"subset": subset}}], tiny))
    assert torch.equal(all_of_them.fusion(3), batches(train_store, tiny).fusion(3))
    assert torch.equal(all_of_them.meta(3, 1)[0], batches(train_store, tiny).meta(3, 1)[0])


def test_batches_depend_on_step_seed_task_and_phase(train_store: PairStore, tiny: Settings) -> None:
    ours = batches(train_store, tiny)
    others = [
        ours.fusion(1),
        ours.meta(0, 1)[1],
        Batches(train_store, tiny, "MIF", Shard(), CPU).fusion(0),
        batches(train_store, tiny.model_copy(update={"seed": 1})).fusion(0),
    ]
    assert torch.equal(ours.fusion(0), batches(train_store, tiny).fusion(0))
    assert not any(torch.equal(ours.fusion(0), other) for other in others)


def test_images_go_to_a_gpu_from_pinned_memory(
    train_store: PairStore, tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda images: done.append("pinned") or images)
    monkeypatch.setattr(torch.Tensor, "to", lambda images, *to, **how: done.append((*to, how)) or images)
    without_noise = check([{"objective": {"channel_noise": 0.0}}], tiny)
    for device, pinned in ((CPU, []), (torch.device("cuda"), ["pinned"])):
        made = Batches(train_store, without_noise, "IVIF", Shard(), device)
        for make in (lambda made=made: made.fusion(0), lambda made=made: made.meta(0, 1)):
            done.clear()
            make()
            assert done == [*pinned, (device, {"non_blocking": True})]


@pytest.mark.gpu
def test_images_on_a_gpu_are_those_on_the_cpu(train_store: PairStore, tiny: Settings) -> None:
    here = batches(train_store, tiny)
    there = Batches(train_store, tiny, "IVIF", Shard(), torch.device("cuda"))
    # All are on their way before the first is looked at: no copy may take the memory of another.
    for step, sources in enumerate([there.fusion(step) for step in range(8)]):
        assert sources.device.type == "cuda"
        assert torch.equal(sources.cpu(), here.fusion(step))


def test_reading_ahead_keeps_the_order() -> None:
    assert list(read_ahead(lambda step: step * 10, range(3, 8))) == [30, 40, 50, 60, 70]
    assert list(read_ahead(lambda step: step, range(0))) == []


def test_the_next_batch_is_made_while_the_present_one_is_used() -> None:
    begun = [threading.Event() for _ in range(3)]

    def make(step: int) -> int:
        begun[step].set()
        return step

    for step in read_ahead(make, range(3)):
        if step + 1 < 3:
            assert begun[step + 1].wait(timeout=10)


def test_no_more_than_one_batch_is_made_ahead() -> None:
    made: list[int] = []
    reading = read_ahead(lambda step: made.append(step) or step, range(10))
    next(reading)
    time.sleep(0.05)
    assert len(made) <= 2
    reading.close()


def test_what_fails_while_reading_ahead_fails_where_the_batch_is_asked_for() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("file gone")
        return step

    seen = []
    with pytest.raises(ValueError, match="file gone"):
        for step in read_ahead(make, range(5)):
            seen.append(step)
    assert seen == [0, 1]


class Clock:
    """Seconds that pass only where a test says so, in the place of a module's ``time``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.looked_at = threading.Event()
        monkeypatch.setattr(batches_module, "time", SimpleNamespace(perf_counter=self.look))

    def look(self) -> float:
        now = self.now
        self.looked_at.set()
        return now


def test_the_wait_for_a_batch_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = Clock(monkeypatch), Waits(2.0)

    def make(step: int) -> int:
        assert clock.looked_at.wait(timeout=10)
        clock.now += 3.0
        return step

    assert list(read_ahead(make, range(1), waits)) == [0]
    assert waits.seconds == 5.0


def test_the_use_of_a_batch_is_no_wait_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, waits = Clock(monkeypatch), Waits()
    for _ in read_ahead(lambda step: step, range(5), waits):
        clock.now += 7.0
    assert waits.seconds == 0.0
