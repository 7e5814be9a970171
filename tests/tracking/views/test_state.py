from __future__ import annotations

import json

import pytest

from refusion.tasks import TASKS
from refusion.tracking.views.state import view_states


@pytest.mark.parametrize("name", ["tasks", "jobs", "sweep", "pictures"])
def test_each_lists_runs_in_rows_of_their_own(name: str) -> None:
    """The page folds children below their parents where it is ordered by its own column of creation times."""
    state = json.loads(json.dumps(view_states()[name]))
    assert state["orderByKey"] not in ("", "attributes.start_time")
    assert len(state["selectedColumns"]) == len(set(state["selectedColumns"])) > 2


def test_jobs_stand_side_by_side_with_all_their_tasks() -> None:
    columns = view_states()["jobs"]["selectedColumns"]
    assert {f"metrics.`{task}/Qabf`" for task in TASKS} < set(columns)


def test_a_sweep_shows_what_was_varied() -> None:
    columns = view_states(["schedule.rate.value"])["sweep"]["selectedColumns"]
    assert "params.`schedule.rate.value`" in columns
    assert "tags.`ended`" in columns


def test_every_chart_lies_in_a_section_that_is_open() -> None:
    state = view_states()["pictures"]
    opened = {section["uuid"] for section in state["compareRunSections"] if section["display"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} <= opened
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(state["compareRunCharts"])
