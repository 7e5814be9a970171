from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest

from refusion.runtime.storage import Folder
from refusion.search.trials.records import Journal, TrialRecord, start_of, take_ended, to_go_on, trial_name

RATE = "schedule.rate.value"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(Folder.at(tmp_path / "sweep"))


def whole(number: int = 3) -> TrialRecord:
    """A record with something in every field."""
    return TrialRecord(
        number,
        {RATE: 0.1 + 0.2, "schedule.inner_rate": {"kind": "tied", "ratio": 2.0}, "_steps": "line"},
        "diverged: lost its numbers",
        {1: {"Qabf": 1 / 3}, 2: {"Qabf": -math.inf}},
        [{"epoch": 0, "from": None, "values": {RATE: 1e-3}}, {"epoch": 1, "from": 7, "values": {RATE: 0.3}}],
        {1: "/sweep/a", 2: "/sweep/b"},
        12.5,
        13.25,
        2,
    )


def member(number: int, epoch: int, *copies: tuple[int, int], kept: range | None = None) -> TrialRecord:
    """A trial of PBT after ``epoch`` epochs; ``copies``: (epoch, donor). Its rate tells where it is from."""
    changes: list[tuple[int, int | None]] = [(0, None), *copies]
    lineage: list[dict[str, Any]] = [
        {"epoch": at, "from": donor, "values": {RATE: float(f"{number}.{at}")}} for at, donor in changes
    ]
    history = {at: {"Qabf": at / 10} for at in range(1, epoch + 1)}
    folders = {at: f"{number}@{at}" for at in (kept if kept is not None else range(1, epoch + 1))}
    return TrialRecord(number, lineage[-1]["values"], "", history, lineage, folders)


def by_number(*records: TrialRecord) -> dict[int, TrialRecord]:
    return {record.number: record for record in records}


def test_what_is_written_is_read_back_exactly(journal: Journal) -> None:
    records = by_number(whole(0), whole(3), TrialRecord(12, {}))
    for record in reversed(records.values()):
        journal.write(record)
    assert journal.read() == records
    assert list(journal.read()) == [0, 3, 12]


def test_a_number_that_is_none_survives(journal: Journal) -> None:
    journal.write(TrialRecord(1, {}, history={1: {"VIF": math.nan}}))
    assert math.isnan(journal.read()[1].history[1]["VIF"])


def test_a_later_record_takes_the_place_of_the_earlier(journal: Journal) -> None:
    record = whole()
    journal.write(record)
    record.history[3] = {"Qabf": 0.5}
    journal.write(record)
    assert journal.read() == {3: record}


def test_other_files_in_the_folder_are_no_records(journal: Journal) -> None:
    journal.write(whole())
    for name in ("trial_00009.json.part", "notes.json", "trial_9.txt"):
        (journal.folder / "trials" / name).write_text("{")
    assert list(journal.read()) == [3]


def test_a_sweep_without_trials_has_no_records(journal: Journal) -> None:
    assert journal.read() == {}


def test_records_are_json_that_others_can_read(journal: Journal, tmp_path: Path) -> None:
    journal.write(TrialRecord(4, {RATE: 1e-3}, "finished", {2: {"Qabf": 0.5}}))
    content = json.loads((tmp_path / "sweep" / "trials" / f"{trial_name(4)}.json").read_text())
    assert (content["number"], content["ended"], content["history"]) == (4, "finished", {"2": {"Qabf": 0.5}})


def test_finished_epochs_are_those_of_the_newest_numbers() -> None:
    assert TrialRecord(1, {}).epoch == 0
    assert TrialRecord(1, {}, history={2: {}, 3: {}, 1: {}}).epoch == 3


def test_cut_back_a_trial_is_as_it_was_then() -> None:
    record = member(1, 6, (2, 5), (4, 6))
    record.cut_back(3)
    assert (record.epoch, list(record.history), list(record.checkpoints)) == (3, [1, 2, 3], [1, 2, 3])
    assert [entry["epoch"] for entry in record.lineage] == [0, 2]
    assert record.values == {RATE: 1.2}


def test_a_trial_on_its_own_goes_on_from_its_newest_checkpoint() -> None:
    # Numbers of epoch 5 were told, but the process was killed before its checkpoint was there.
    going = to_go_on(by_number(member(1, 5, kept=range(3, 5)), member(2, 2, kept=range(0))), None)
    assert {number: record.epoch for number, record in going.items()} == {1: 4, 2: 0}
    assert going[1].history == {at: {"Qabf": at / 10} for at in (1, 2, 3, 4)}
    assert start_of(going[1], 4, going) == "1@4"
    assert start_of(going[2], 0, going) == ""


def test_a_checkpoint_whose_numbers_were_not_told_is_not_gone_on_from() -> None:
    assert to_go_on(by_number(member(1, 3, kept=range(2, 5))), None)[1].epoch == 3


def test_trials_that_ended_do_not_go_on() -> None:
    records = by_number(member(1, 3), member(2, 3), member(3, 3))
    records[1].ended, records[3].ended = "finished", "failed: no memory"
    assert list(to_go_on(records, None)) == [2]
    assert list(to_go_on(records, 2)) == [2]
    assert to_go_on({}, None) == to_go_on({}, 2) == {}


def test_the_records_are_left_as_they_were() -> None:
    records = by_number(member(1, 5, (4, 2), kept=range(3)), member(2, 6))
    before = copy.deepcopy(records)
    for interval in (None, 2):
        to_go_on(records, interval)
        assert records == before


@pytest.mark.parametrize(
    ("reached", "interval", "common"), [((5, 7, 6), 2, 4), ((6, 6, 6), 3, 6), ((5, 9, 9), 3, 3), ((1, 9, 9), 2, 0)]
)
def test_all_members_go_on_from_the_newest_exchange_that_everybody_reached(
    reached: tuple[int, ...], interval: int, common: int
) -> None:
    records = by_number(*(member(number, epoch) for number, epoch in enumerate(reached, start=1)))
    going = to_go_on(records, interval)
    assert {record.epoch for record in going.values()} == {common}
    assert all(set(record.history) == set(range(1, common + 1)) for record in going.values())


def test_an_exchange_without_somebodys_checkpoint_is_none_to_go_on_from() -> None:
    records = by_number(member(1, 7), member(2, 7, kept=range(1, 4)))
    assert {record.epoch for record in to_go_on(records, 2).values()} == {2}
    records = by_number(member(1, 7), member(2, 7, kept=range(0)))
    assert {record.epoch for record in to_go_on(records, 2).values()} == {0}


def test_the_default_settings_go_on_by_themselves_beside_a_population() -> None:
    slow = to_go_on(by_number(member(0, 1), member(1, 6), member(2, 7)), 2)
    assert {number: record.epoch for number, record in slow.items()} == {0: 1, 1: 6, 2: 6}
    fast = to_go_on(by_number(member(0, 9), member(1, 2), member(2, 3)), 2)
    assert {number: record.epoch for number, record in fast.items()} == {0: 9, 1: 2, 2: 2}


def test_a_trial_that_has_just_copied_another_starts_from_its_donor() -> None:
    # Trial 1 copied 2 at epoch 4 and has not trained since; its own checkpoint of epoch 4 does not count any more.
    records = by_number(member(1, 4, (4, 2)), member(2, 5))
    going = to_go_on(records, 2)
    assert {number: (record.epoch, start_of(record, 4, going)) for number, record in going.items()} == {
        1: (4, "2@4"),
        2: (4, "2@4"),
    }
    assert going[1].values == {RATE: 1.4}


def test_a_trial_that_copied_long_ago_starts_from_its_own_checkpoint() -> None:
    records = by_number(member(1, 6, (2, 2)), member(2, 7))
    assert start_of(to_go_on(records, 2)[1], 6, records) == "1@6"


def test_a_copy_that_is_cut_off_has_not_happened() -> None:
    records = by_number(member(1, 6, (2, 2), (6, 2)), member(2, 6), member(3, 5))
    going = to_go_on(records, 2)
    assert going[1].values == {RATE: 1.2}
    assert start_of(going[1], 4, going) == "1@4"


def test_a_donor_may_have_ended() -> None:
    donor = member(2, 4)
    donor.ended = "failed: lost"
    records = by_number(member(1, 5, (4, 2), kept=range(0)), donor)
    going = to_go_on(records, 2)
    assert (list(going), going[1].epoch, start_of(going[1], 4, records)) == ([1], 4, "2@4")


def test_of_two_copies_at_the_same_epoch_the_later_counts() -> None:
    records = by_number(member(1, 4, (4, 2), (4, 3)), member(2, 4), member(3, 4))
    assert start_of(records[1], 4, records) == "3@4"


def test_a_trial_that_was_killed_after_its_last_epoch_has_nothing_to_go_on_with() -> None:
    """Its checkpoint is there, the note that it has ended is not."""
    records = by_number(member(0, 4), member(1, 2), member(2, 2), member(3, 4, kept=range(1, 4)), TrialRecord(5, {}))
    records[2].last, records[3].last = 2, 4
    going = to_go_on(records, None)
    ended = take_ended(going, 4)
    assert {record.number: record.ended for record in ended} == {0: "finished", 2: "stopped"}
    # The fourth one's last checkpoint was not written yet: it trains that epoch again, and may then end elsewhere.
    assert {number: (record.epoch, record.last) for number, record in going.items()} == {
        1: (2, 0),
        3: (3, 0),
        5: (0, 0),
    }
