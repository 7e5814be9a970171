from __future__ import annotations

import math
import time

import pytest
from mlflow import MlflowClient
from sweep_states import VALUES, Begin, journal_of, train, trials_of

from refusion.search.state import SweepState


def test_a_trial_is_recorded_in_the_journal_and_in_mlflow(recorded: Begin) -> None:
    state = recorded()
    train(state, 1, 0.5, 0.6)
    assert state.running == {1}
    record = journal_of(state)[1]
    assert record.history == {1: {"Qabf": 0.5, "loss/fusion": 1.0}, 2: {"Qabf": 0.6, "loss/fusion": 0.5}}
    assert (record.values, record.ended, record.trained) == (VALUES, "", 0.5)
    trial = trials_of(state)[1]
    assert (trial.ended, trial.values) == ("running", VALUES)
    assert trial.history == {
        1: {"Qabf": 0.5, "loss/fusion": 1.0, "score": 0.5},
        2: {"Qabf": 0.6, "loss/fusion": 0.5, "score": 0.6},
    }


def test_the_params_of_a_trials_run_are_its_own_settings(recorded: Begin) -> None:
    state = recorded()
    train(state, 0, values={})
    train(state, 1)
    runs = {number: state.recorder(number).run_id for number in (0, 1)}
    client = MlflowClient(tracking_uri=state.manifest.tracking_uri)
    params = {number: client.get_run(run).data.params for number, run in runs.items()}
    assert float(params[1]["schedule.rate.value"]) == 3e-3
    assert float(params[0]["schedule.rate.value"]) == 1e-3
    assert (params[0]["schedule.inner_steps"], params[1]["schedule.inner_steps"]) == ("1", "2")


@pytest.mark.parametrize(
    ("scores", "why", "ended", "status"),
    [
        ((0.1, 0.2, 0.3, 0.4), "", "finished", "FINISHED"),
        ((0.1, 0.2), "", "stopped", "FINISHED"),
        ((0.1,), "diverged: lost", "diverged: lost", "FAILED"),
        ((), "failed: no memory", "failed: no memory", "FAILED"),
    ],
)
def test_how_a_trial_ended_is_known_everywhere(
    recorded: Begin, scores: tuple[float, ...], why: str, ended: str, status: str
) -> None:
    state = recorded()
    train(state, 1, *scores)
    state.ended(1, why)
    assert state.records[1].ended == journal_of(state)[1].ended == trials_of(state)[1].ended == ended
    assert state.running == set()
    run = MlflowClient(tracking_uri=state.manifest.tracking_uri).get_run(state.recorder(1).run_id)
    assert run.info.status == status


def test_the_time_of_a_trial_is_counted_while_it_is_not_paused(recorded: Begin) -> None:
    state = recorded()
    state.begin(1, VALUES)
    for _ in range(2):
        state.started(1)
        time.sleep(0.05)
        state.paused(1)
        assert state.running == set()
        time.sleep(0.2)
    state.started(1)
    state.reported(1, 4, {"Qabf": 0.5}, 1e-6)
    state.ended(1)
    record = state.records[1]
    assert record.spent >= 0.1
    assert record.trained == 1e-6
    assert 0 < state.overheads[1] < record.spent
    spent = record.spent
    state.paused(1)
    assert state.records[1].spent == spent


def test_numbers_that_are_none_do_not_stop_anything(recorded: Begin) -> None:
    state = recorded()
    train(state, 1, math.nan)
    trial = trials_of(state)[1]
    assert math.isnan(trial.history[1]["score"])
    assert math.isnan(journal_of(state)[1].history[1]["Qabf"])


def test_ranks_are_scored_among_the_trials_known_so_far(recorded: Begin) -> None:
    state = recorded(objective="Qabf,SSIM")
    for number, score in ((1, 0.5), (2, 0.7), (3, 0.3)):
        state.begin(number, VALUES)
        state.started(number)
        state.reported(number, 1, {"Qabf": score, "SSIM": score}, 1.0)
    assert {number: trial.history[1]["score"] for number, trial in trials_of(state).items()} == {1: 0.5, 2: 1, 3: 0}
    assert state.scoreboard.scores_at(1) == {1: 0.5, 2: 1.0, 3: 0.0}


def test_the_two_newest_checkpoints_of_a_trial_on_its_own_are_known(sweep: Begin) -> None:
    state = sweep()
    state.begin(1, VALUES)
    for epoch in (1, 2, 3):
        state.records[1].history[epoch] = {}
        state.saved(1, epoch, f"at{epoch}")
    assert journal_of(state)[1].checkpoints == {2: "at2", 3: "at3"}
    assert state.checkpoint_of(1) == "at3"


def test_every_checkpoint_of_a_population_is_known(sweep: Begin) -> None:
    state = sweep(scheduler="pbt")
    state.begin(1, VALUES)
    for epoch in (1, 2, 3):
        state.saved(1, epoch, f"at{epoch}")
    assert journal_of(state)[1].checkpoints == {1: "at1", 2: "at2", 3: "at3"}


def test_a_copy_is_on_record_with_where_it_came_from(sweep: Begin) -> None:
    state = sweep(scheduler="pbt")
    for number in (1, 2):
        state.begin(number, {**VALUES, "objective.alpha": float(number)})
        for epoch in (1, 2):
            state.records[number].history[epoch] = {"Qabf": number / 10}
            state.saved(number, epoch, f"{number}@{epoch}")
    state.exploited(1, 2, 2, {**VALUES, "objective.alpha": 2.5})
    record = journal_of(state)[1]
    assert record.values["objective.alpha"] == 2.5
    assert [(entry["epoch"], entry["from"]) for entry in record.lineage] == [(0, None), (2, 2)]
    assert record.lineage[0]["values"]["objective.alpha"] == 1.0
    # Its numbers of epoch 2 are still of what it had trained itself, and so is that checkpoint.
    assert (record.history[2], state.checkpoint_of(1)) == ({"Qabf": 0.1}, "1@2")


def test_what_was_trained_beyond_the_donors_epoch_is_lost(sweep: Begin) -> None:
    state = sweep(scheduler="pbt")
    for number in (1, 2):
        state.begin(number, VALUES)
    for epoch in (1, 2, 3):
        state.records[1].history[epoch] = {"Qabf": 0.1}
        state.saved(1, epoch, f"1@{epoch}")
    state.records[2].checkpoints = {2: "2@2"}
    state.exploited(1, 2, 2, VALUES)
    record = journal_of(state)[1]
    assert (list(record.history), list(record.checkpoints)) == ([1, 2], [1, 2])


def test_a_trial_without_checkpoints_has_none(sweep: Begin) -> None:
    state = sweep()
    state.begin(1, VALUES)
    assert state.checkpoint_of(1) == ""


def test_an_interrupted_sweep_says_so_and_keeps_its_trials_open(recorded: Begin) -> None:
    state = recorded()
    train(state, 1, 0.1, 0.2, 0.3, 0.4)
    state.ended(1)
    train(state, 2, 0.1)
    state.close("interrupted")
    assert {number: trial.ended for number, trial in trials_of(state).items()} == {1: "finished", 2: "interrupted"}
    records = journal_of(state)
    assert {number: record.ended for number, record in records.items()} == {1: "finished", 2: ""}
    assert records[2].spent > 0
    run = MlflowClient(tracking_uri=state.manifest.tracking_uri).get_run(state.recorder(2).run_id)
    assert run.info.status == "KILLED"


def test_a_resumed_sweep_goes_on_in_the_same_runs(recorded: Begin) -> None:
    state = recorded()
    train(state, 1, 0.1, 0.2, 0.3, 0.4)
    state.ended(1)
    train(state, 2, 0.1)
    state.close("interrupted")
    again = SweepState(state.manifest, state.scoreboard, state.parent, state.experiment_id)
    again.records = journal_of(state)
    again.started(2)
    again.reported(2, 2, {"Qabf": 0.9}, 0.5)
    trial = trials_of(state)[2]
    assert (trial.ended, list(trial.history)) == ("running", [1, 2])
    assert again.recorder(2).run_id == state.recorder(2).run_id
    # As the conclusion does with the best trial, which ended in an earlier part.
    assert again.recorder(1).run_id == state.recorder(1).run_id
    assert trials_of(state)[1].ended == "finished"


def test_the_display_sees_a_copy_of_who_is_there_and_runs(recorded: Begin) -> None:
    state = recorded()
    train(state, 1, 0.1)
    state.begin(2, VALUES)
    records, running = state.snapshot()
    running.clear()
    records.pop()
    assert [record.number for record in state.snapshot()[0]] == [1, 2]
    assert state.snapshot()[1] == {1}


def test_a_restart_is_counted(sweep: Begin) -> None:
    state = sweep()
    state.begin(1, VALUES)
    state.restarted(1)
    state.restarted(1)
    assert state.records[1].restarts == 2


def test_beginning_again_keeps_what_is_known(sweep: Begin) -> None:
    state = sweep()
    first = state.begin(1, VALUES)
    first.history[1] = {"Qabf": 0.5}
    assert state.begin(1, {}) is first
    assert journal_of(state)[1] == first


def test_an_epoch_that_is_trained_again_is_in_mlflow_once(recorded: Begin) -> None:
    """After the loss of a process whose newest checkpoint was damaged."""
    state = recorded()
    train(state, 1, 0.5, 0.6)
    state.reported(1, 2, {"Qabf": 0.6, "loss/fusion": 0.5}, 0.25)
    state.reported(1, 3, {"Qabf": 0.7, "loss/fusion": 0.25}, 0.25)
    client = MlflowClient(tracking_uri=state.manifest.tracking_uri)
    points = client.get_metric_history(state.recorder(1).run_id, "Qabf")
    assert [point.value for point in points] == [0.5, 0.6, 0.7]


def test_the_last_epoch_of_a_trial_is_on_record_with_its_numbers(recorded: Begin) -> None:
    state = recorded()
    state.begin(1, VALUES)
    state.started(1)
    state.reported(1, 1, {"Qabf": 0.1}, 1.0)
    assert journal_of(state)[1].last == 0
    state.to_end(1, 2)
    state.reported(1, 2, {"Qabf": 0.2}, 1.0)
    assert journal_of(state)[1].last == 2
    # Its process was lost, and the scheduler has decided otherwise since.
    state.reported(1, 3, {"Qabf": 0.3}, 1.0)
    assert journal_of(state)[1].last == 0
