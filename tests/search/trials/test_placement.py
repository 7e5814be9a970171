from __future__ import annotations

import itertools
from typing import Any

import pytest

from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.runtime.cluster import Cluster, Node
from refusion.search.options import read_options
from refusion.search.trials.placement import Placement, find_placement

LAPTOP = Cluster((Node(8, 0),))
GPUS = Cluster((Node(4, 0), Node(16, 2)))


def place(cluster: Cluster, threads: int | None = None, gpu: bool = False, **options: Any) -> Placement:
    return find_placement(cluster, read_options({"task": ["IVIF"], **options}), Settings(threads=threads, gpu=gpu))


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        place(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("threads", "concurrent"), [(1, 8), (2, 4), (3, 2), (8, 1)])
def test_trials_share_the_cpus_of_a_machine(threads: int, concurrent: int) -> None:
    assert place(LAPTOP, threads) == Placement(concurrent, threads, {"CPU": threads})


def test_a_trial_is_not_split_over_machines() -> None:
    assert place(Cluster((Node(3, 0), Node(3, 0))), 2).concurrent == 2


def test_machines_that_could_be_started_count() -> None:
    assert place(Cluster((Node(2, 0),), (Node(4, 0), Node(4, 0))), 2).concurrent == 5


@pytest.mark.parametrize(("given", "concurrent"), [({"max_concurrent": 3}, 3), ({"trials": 4}, 5), ({"trials": 40}, 8)])
def test_no_more_trials_at_a_time_than_wanted_or_than_there_are(given: dict[str, int], concurrent: int) -> None:
    assert place(LAPTOP, 1, **given).concurrent == concurrent


@pytest.mark.parametrize(
    ("cluster", "given", "threads", "concurrent"),
    [
        (LAPTOP, {"trials": 16}, 1, 8),
        (LAPTOP, {"trials": 3}, 2, 4),
        (LAPTOP, {"max_concurrent": 1}, 8, 1),
        (Cluster((Node(192, 0),)), {"max_concurrent": 1}, 16, 1),
        # Four threads would leave place for one trial only, on the larger machine.
        (Cluster((Node(5, 0), Node(3, 0))), {"max_concurrent": 2}, 3, 2),
        # GPUs, not CPUs, say how many trials there are: each has the CPUs of its GPU.
        (GPUS, {"gpu": True, "trials": 16}, 8, 2),
        (GPUS, {"gpu": True, "trials": 16, "gpu_per_trial": 0.25}, 2, 8),
        # Two drivers and two workers each: 2 + 2·2·1 CPUs of 9.
        (Cluster((Node(9, 0),)), {"max_concurrent": 2, "workers_per_trial": 2}, 1, 2),
        (LAPTOP, {"max_concurrent": 1, "workers_per_trial": 2}, 3, 1),
    ],
)
def test_threads_by_default_as_many_as_cost_no_trial_its_place(
    cluster: Cluster, given: dict[str, Any], threads: int, concurrent: int
) -> None:
    found = place(cluster, None, **given)
    assert (found.threads, found.concurrent) == (threads, concurrent)


@pytest.mark.parametrize(
    ("share", "concurrent"), [(1.0, 2), (0.6, 2), (0.5, 4), (0.4, 4), (0.25, 8), (0.1, 16), (1 / 3, 6), (0.3, 6)]
)
def test_a_gpu_is_divided_into_whole_shares(share: float, concurrent: int) -> None:
    found = place(GPUS, 1, gpu=True, trials=40, gpu_per_trial=share)
    assert found == Placement(concurrent, 1, {"CPU": 1, "GPU": share})


def test_a_quarter_of_a_gpu_makes_four_trials_on_each() -> None:
    assert place(Cluster((Node(16, 1),)), gpu=True, gpu_per_trial=0.25).concurrent == 4
    assert place(Cluster((Node(16, 1),) * 3), gpu=True, gpu_per_trial=0.25).concurrent == 12


def test_cpus_limit_trials_on_gpus_too() -> None:
    assert place(Cluster((Node(3, 4),)), 1, gpu=True).concurrent == 3


def test_the_share_of_a_gpu_does_not_matter_without_gpus() -> None:
    assert place(LAPTOP, 2, gpu_per_trial=0.25) == Placement(4, 2, {"CPU": 2})


@pytest.mark.parametrize(
    ("cluster", "workers", "threads", "gpu", "concurrent"),
    [
        (Node(3, 0), 2, 1, False, 1),
        (Node(5, 0), 2, 1, False, 1),
        (Node(6, 0), 2, 1, False, 2),
        (Node(9, 0), 2, 2, False, 1),
        (Node(10, 0), 2, 2, False, 2),
        (Node(16, 4), 2, 1, True, 2),
        (Node(16, 4), 4, 3, True, 1),
    ],
)
def test_a_trial_of_several_workers_has_a_driver_besides(
    cluster: Node, workers: int, threads: int, gpu: bool, concurrent: int
) -> None:
    found = place(Cluster((cluster,)), threads, gpu, workers_per_trial=workers)
    assert found == Placement(concurrent, threads, {"CPU": 1})


def worst(cluster: Cluster, threads: int, drivers: int) -> int:
    """The fewest workers that fit, over all ways in which the drivers can land."""
    ways = itertools.product(*(range(int(node.cpus) + 1) for node in cluster.nodes))
    return min(
        sum(int((node.cpus - taken) // threads) for node, taken in zip(cluster.nodes, way, strict=True))
        for way in ways
        if sum(way) == drivers
    )


@pytest.mark.parametrize("nodes", [(5, 4), (4, 5), (7, 3), (6, 6, 2), (9, 5, 4), (8, 1, 7)])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("workers", [2, 3, 4])
def test_the_workers_of_all_trials_find_room_wherever_the_drivers_land(
    nodes: tuple[int, ...], threads: int, workers: int
) -> None:
    cluster = Cluster(tuple(Node(cpus, 0) for cpus in nodes))
    fitting = [
        trials
        for trials in range(1, sum(nodes) // (1 + workers * threads) + 1)
        if worst(cluster, threads, trials) >= trials * workers
    ]
    if fitting:
        assert place(cluster, threads, workers_per_trial=workers, trials=40).concurrent == max(fitting)
    else:
        assert refusal(cluster, threads, workers_per_trial=workers).startswith(f"--workers-per-trial {workers}: ")


def test_gpu_workers_need_machines_with_gpus() -> None:
    assert refusal(GPUS, 1, True, workers_per_trial=3) == (
        "--workers-per-trial 3: a trial needs 1 CPU for its driver and 3 × 1 CPU and 1 GPU for its workers, but this "
        "cluster (20 CPUs, 2 GPUs) cannot hold one; ask for fewer --workers-per-trial or --threads, or add nodes"
    )


@pytest.mark.parametrize(
    ("cluster", "threads", "given", "expected"),
    [
        # Four hosts of two threads, of which each trial takes a quarter.
        (LAPTOP, 2, {"trials_per_gpu": 4, "trials": 40}, Placement(16, 2, {"CPU": 0.5}, 4)),
        (LAPTOP, None, {"trials_per_gpu": 4, "trials": 8}, Placement(9, 2, {"CPU": 0.5}, 4)),
        (LAPTOP, None, {"trials_per_gpu": 16, "trials": 40}, Placement(41, 2, {"CPU": 0.125}, 16)),
        (LAPTOP, 1, {"trials_per_gpu": 16, "max_concurrent": 4}, Placement(4, 1, {"CPU": 0.25}, 4)),
        (
            GPUS,
            1,
            {"gpu": True, "trials_per_gpu": 16, "trials": 40},
            Placement(32, 1, {"CPU": 0.0625, "GPU": 0.0625}, 16),
        ),
        (
            GPUS,
            None,
            {"gpu": True, "trials_per_gpu": 3, "trials": 40},
            Placement(6, 8, {"CPU": 2.6666, "GPU": 0.3333}, 3),
        ),
    ],
)
def test_trials_of_one_process_share_what_one_trial_would_take(
    cluster: Cluster, threads: int | None, given: dict[str, Any], expected: Placement
) -> None:
    found = place(cluster, threads, **given)
    assert found == expected
    assert all(
        amount * found.together <= {"CPU": found.threads, "GPU": 1}[kind] for kind, amount in found.resources.items()
    )


def test_a_placement_in_words() -> None:
    assert str(Placement(8, 1, {})) == "8 at a time, 1 thread each"
    assert str(Placement(8, 2, {}, 4)) == "8 at a time, 4 in a process of 2 threads"


def test_too_many_threads_are_refused() -> None:
    assert refusal(LAPTOP, 9) == (
        "--threads 9: a trial needs 9 CPUs, but this cluster (8 CPUs, 0 GPUs) cannot hold one; "
        "ask for fewer --threads, or add nodes"
    )
    assert "a trial needs 20 CPUs and 0.5 GPU, but" in refusal(GPUS, 20, gpu=True, gpu_per_trial=0.5)


def test_too_many_workers_are_refused_with_the_fewest_threads() -> None:
    assert "a trial needs 1 CPU for its driver and 8 × 1 CPU for its workers" in refusal(LAPTOP, workers_per_trial=8)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert refusal(LAPTOP, gpu=True).startswith("--gpu: there is no GPU in this cluster")
