from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from refusion.errors import UserError
from refusion.search.space.validation import why_invalid
from refusion.search.state import SweepState
from refusion.search.suggest import queue as choice
from refusion.search.suggest.queue import SuggestionQueue, config_of, trial_count
from refusion.search.suggest.samplers import KnownTrial, suggest_random
from refusion.search.trials.records import TrialRecord, to_go_on

Begin = Callable[..., SweepState]
RATE, STEPS, ALPHA = "schedule.rate.value", "schedule.inner_steps", "objective.alpha"
GRID: dict[str, Any] = {RATE: {"low": 1e-4, "high": 1e-2, "log": True, "points": 3}, STEPS: [1, 2]}


def quality(values: dict[str, Any]) -> float:
    """Best at a rate of 1e-3 with K = 3."""
    if not values:
        return 0.3
    return 0.9 - 0.2 * abs(math.log10(values[RATE]) + 3) - 0.1 * abs(values.get(STEPS, 1) - 3)


def end(state: SweepState, number: int, ended: str = "finished", score: float | None = None) -> None:
    """A trial that is over after two epochs; the numbers come from its values unless given."""
    record = state.records[number]
    found = quality(record.values) if score is None else score
    record.history = {1: {"Qabf": found / 2}, 2: {"Qabf": found}}
    record.ended = ended


def one_by_one(state: SweepState, **queue: Any) -> list[dict[str, Any]]:
    """Values of a sweep whose trials run one after the other."""
    choose = SuggestionQueue(state, {}, **queue)
    found: list[dict[str, Any]] = []
    while (config := choose.next_config()) != "end":
        assert isinstance(config, dict)
        found.append(config["values"])
        end(state, config["number"])
    return found


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[list[KnownTrial]]:
    """Trials that Optuna is told of at each of its suggestions."""
    seen: list[list[KnownTrial]] = []
    suggest = choice.suggest_optuna

    def listening(*arguments: Any) -> dict[str, Any]:
        seen.append(list(arguments[5]))
        return suggest(*arguments)

    monkeypatch.setattr(choice, "suggest_optuna", listening)
    return seen


@pytest.mark.parametrize("search", ["random", "optuna"])
def test_the_default_settings_come_first_and_the_end_after_the_last_trial(sweep: Begin, search: str) -> None:
    state = sweep(search=search, scheduler="none", trials=6)
    values = one_by_one(state)
    assert values[0] == {}
    assert len(values) == 7
    assert list(state.records) == list(range(7))
    base, space = state.manifest.base, state.manifest.space
    assert all(space.contains(tried) and why_invalid(space, base, tried) is None for tried in values[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"search": "random"}, {"search": "optuna"}, {"search": "optuna", "sampler": "gp"}], ids=str
)
def test_the_same_seed_chooses_the_same_and_another_seed_something_else(sweep: Begin, options: dict[str, Any]) -> None:
    common = {"scheduler": "none", "trials": 8, **options}
    first, again = (one_by_one(sweep(name, **common)) for name in ("first", "again"))
    other = one_by_one(sweep("other", base={"seed": 1}, **common))
    assert first == again
    assert all(one != another for one, another in zip(first[1:], other[1:], strict=True))


def test_a_grid_is_tried_in_its_order_as_far_as_trials_reach(sweep: Begin) -> None:
    whole = sweep("whole", space=GRID, search="grid", scheduler="none")
    assert trial_count(whole.manifest) == 6
    values = one_by_one(whole)
    assert values[1:] == whole.manifest.space.grid()
    assert sorted({tried[RATE] for tried in values[1:]}) == pytest.approx([1e-4, 1e-3, 1e-2])
    part = sweep("part", space=GRID, search="grid", scheduler="none", trials=4)
    assert one_by_one(part) == values[:5]


def test_the_number_of_trials_is_what_was_asked_for_where_there_is_no_grid(sweep: Begin) -> None:
    assert trial_count(sweep(trials=40).manifest) == 40


def test_a_trial_is_on_record_as_soon_as_it_is_chosen(sweep: Begin) -> None:
    state = sweep()
    config = SuggestionQueue(state, {}).next_config()
    assert config == config_of(0, {})
    record = state.manifest.journal.read()[0]
    assert (record.values, record.ended, record.lineage) == ({}, "", [{"epoch": 0, "from": None, "values": {}}])


def test_trials_to_go_on_with_come_first_from_their_checkpoints(sweep: Begin) -> None:
    state = sweep(search="random", scheduler="asha", trials=5)
    values = {number: suggest_random(state.manifest.space, state.manifest.base, 0, number) for number in (1, 2, 3)}
    for number in (2, 1, 3):
        state.records[number] = TrialRecord(number, values[number], history={1: {"Qabf": 0.5}, 2: {"Qabf": 0.6}})
    state.records[1].checkpoints = {1: "one@1", 2: "one@2"}
    state.records[3].ended = "stopped"
    going = to_go_on(state.records, None)
    state.records |= going
    choose = SuggestionQueue(state, going)
    configs = [choose.next_config() for _ in range(6)]
    assert configs[:2] == [config_of(1, values[1], "one@2"), config_of(2, values[2], "")]
    assert [config["number"] for config in configs[2:5] if isinstance(config, dict)] == [0, 4, 5]
    assert configs[5] == "end"


def test_a_copied_trial_goes_on_from_its_donors_checkpoint(sweep: Begin) -> None:
    state = sweep(scheduler="pbt", trials=2)
    values = {RATE: 1e-3, STEPS: 1, ALPHA: 1.0}
    for number in (1, 2):
        state.begin(number, values)
        for epoch in (1, 2):
            state.records[number].history[epoch] = {"Qabf": 0.5}
            state.saved(number, epoch, f"{number}@{epoch}")
    state.exploited(1, 2, 2, {**values, RATE: 2e-3})
    going = to_go_on(state.records, 2)
    choose = SuggestionQueue(state, going)
    assert choose.next_config() == config_of(1, {**values, RATE: 2e-3}, "2@2")
    assert choose.next_config() == config_of(2, values, "2@2")


@pytest.mark.parametrize("scheduler", ["none", "asha"])
def test_a_resumed_sweep_chooses_what_it_would_have_chosen(sweep: Begin, scheduler: str) -> None:
    """One trial after the other: what is learned from depends on no other order, also where trials are stopped."""
    common = {"search": "optuna", "scheduler": scheduler, "trials": 9, "max_concurrent": 1}
    whole = one_by_one(sweep("whole", **common))
    state = sweep("part", **common)
    choose = SuggestionQueue(state, {})
    for number in range(6):
        assert isinstance(choose.next_config(), dict)
        if number < 5:
            end(state, number)
        state.manifest.journal.write(state.records[number])
    later = SweepState(state.manifest, state.scoreboard, "", "")
    later.records = state.manifest.journal.read()
    going = to_go_on(later.records, None)
    later.records |= going
    choose = SuggestionQueue(later, going)
    found = []
    while isinstance(config := choose.next_config(), dict):
        found.append(config["values"])
        end(later, config["number"])
    assert found == whole[5:]
    drawn = [suggest_random(state.manifest.space, state.manifest.base, 0, number) for number in range(5, 10)]
    assert all(values not in drawn for values in found)


@pytest.mark.parametrize("concurrent", [1, 2, 3])
def test_optuna_without_a_scheduler_waits_for_the_trials_that_it_learns_from(sweep: Begin, concurrent: int) -> None:
    state = sweep(search="optuna", scheduler="none", trials=6)
    choose = SuggestionQueue(state, {}, concurrent=concurrent)
    begun = [choose.next_config() for _ in range(concurrent)]
    assert all(isinstance(config, dict) for config in begun)
    assert choose.next_config() is None
    # Somebody later has ended: still the first one is waited for.
    for number in range(1, concurrent):
        end(state, number)
    if concurrent > 1:
        assert choose.next_config() is None
    end(state, 0)
    assert isinstance(choose.next_config(), dict)


@pytest.mark.parametrize("options", [{"scheduler": "asha"}, {"scheduler": "none", "search": "random"}], ids=str)
def test_others_do_not_wait(sweep: Begin, options: dict[str, Any]) -> None:
    choose = SuggestionQueue(sweep(trials=6, **options), {}, concurrent=2)
    assert all(isinstance(choose.next_config(), dict) for _ in range(7))


@pytest.mark.parametrize("ended", ["finished", "diverged", "failed"])
def test_which_of_two_trials_ends_first_does_not_change_the_next_one(sweep: Begin, ended: str) -> None:
    """Trial 6 is chosen when 0 to 4 have ended; whether 5 has ended by then must not matter."""
    chosen = []
    for name, early in (("early", True), ("late", False)):
        state = sweep(name, search="optuna", scheduler="none", trials=8)
        choose = SuggestionQueue(state, {}, concurrent=2)
        for number in range(6):
            assert isinstance(choose.next_config(), dict)
            if number != 5:
                end(state, number)
        if early:
            end(state, 5, ended)
        config = choose.next_config()
        assert isinstance(config, dict)
        chosen.append(config)
    assert chosen[0] == chosen[1]


def test_optuna_learns_what_each_trial_came_to(sweep: Begin, told: list[list[KnownTrial]]) -> None:
    state = sweep(search="optuna", scheduler="asha", trials=12)
    choose = SuggestionQueue(state, {})
    for _ in range(7):
        choose.next_config()
    end(state, 0, score=0.5)
    end(state, 1, score=0.8)
    end(state, 2, "stopped", score=0.2)
    end(state, 3, "diverged: lost its numbers", score=0.9)
    end(state, 4, "failed: no memory", score=0.9)
    state.records[5].history = {1: {"Qabf": 0.4}}
    told.clear()
    choose.next_config()
    known = {number: one for number, one in enumerate(told[0], start=1)}
    assert {number: one.state for number, one in known.items()} == {
        1: "finished",
        2: "finished",
        3: "finished",
        4: "failed",
        5: "running",
        6: "running",
    }
    assert [known[number].values for number in known] == [state.records[number].values for number in known]
    assert known[3].score == -math.inf
    better, worse = known[1].score, known[2].score
    assert better is not None and worse is not None
    assert 0 <= worse < better <= 1


def test_a_diverged_trials_neighbourhood_is_left(sweep: Begin) -> None:
    """Rates above 1e-3 diverge although their last numbers were the best."""
    rates: list[float] = []
    state = sweep(search="optuna", scheduler="none", trials=30, space={RATE: {"low": 1e-5, "high": 1e-1, "log": True}})
    choose = SuggestionQueue(state, {})
    while isinstance(config := choose.next_config(), dict):
        rate = config["values"].get(RATE, 1e-4)
        rates.append(rate)
        if rate > 1e-3:
            end(state, config["number"], "diverged: lost", score=0.99)
        else:
            end(state, config["number"], score=0.5 + math.log10(rate) / 100)
    early, late = rates[1:11], rates[16:]
    assert sum(rate > 1e-3 for rate in early) / len(early) > 0.3
    assert sum(rate > 1e-3 for rate in late) / len(late) < 0.35


def test_the_best_of_earlier_sweeps_is_tried_first_and_the_others_are_learnt_from(
    sweep: Begin, told: list[list[KnownTrial]]
) -> None:
    best = {RATE: 1e-3, STEPS: 3, ALPHA: 1.0}
    earlier = [
        KnownTrial({RATE: 5e-3, STEPS: 1, ALPHA: 2.0}, 0.3, "finished"),
        KnownTrial(best, 0.9, "finished"),
        KnownTrial({RATE: 5e-4, STEPS: 2, ALPHA: 2.0}, None, "finished"),
    ]
    state = sweep(search="optuna", warm_start=["before"], trials=3)
    values = one_by_one(state, earlier=earlier)
    assert values[:2] == [{}, best]
    assert values[2] not in [known.values for known in earlier]
    assert told[0][:3] == earlier
    assert told[0][3].values == best


def test_earlier_values_that_are_no_settings_here_are_not_tried(sweep: Begin) -> None:
    # A width of 8 does not divide among 3 heads.
    good = {RATE: 1e-3, "network.heads": 4}
    earlier = [KnownTrial({RATE: 2e-3, "network.heads": 3}, 0.9, "finished"), KnownTrial(good, 0.5, "finished")]
    space = {RATE: {"low": 1e-4, "high": 1e-2}, "network.heads": [2, 4]}
    assert one_by_one(sweep(space=space, trials=1), earlier=earlier) == [{}, good]


def test_a_population_begins_with_random_values(sweep: Begin) -> None:
    state = sweep(scheduler="pbt", search="optuna", trials=4)
    choose = SuggestionQueue(state, {})
    assert choose.coming == [0, 1, 2, 3, 4]
    manifest = state.manifest
    for number in (1, 4):
        assert choose.values(number) == suggest_random(manifest.space, manifest.base, manifest.base.seed, number)
    assert choose.values(0) == {}


def test_a_grid_needs_points(sweep: Begin) -> None:
    with pytest.raises(UserError, match="points"):
        sweep(search="grid")
