from __future__ import annotations

import typing

import pytest

from refusion.errors import UserError
from refusion.tasks import TASKS, TaskName, find_task


def test_there_are_the_four_tasks_of_the_paper() -> None:
    assert list(TASKS) == ["IVIF", "MIF", "MFIF", "MEIF"] == list(typing.get_args(TaskName))
    assert all(name == task.name for name, task in TASKS.items())


def test_sources_stand_in_the_order_that_the_networks_are_trained_with() -> None:
    assert [(task.a, task.b) for task in TASKS.values()] == [
        ("infrared", "visible"),
        ("CT, PET or SPECT", "MRI"),
        ("focus on near", "focus on far"),
        ("under-exposed", "over-exposed"),
    ]


@pytest.mark.parametrize("name", ["MFIF", "mfif", "Mfif"])
def test_a_task_is_found_in_any_case(name: str) -> None:
    assert find_task(name) is TASKS["MFIF"]


def test_an_unknown_task_is_refused_with_the_choices() -> None:
    with pytest.raises(UserError, match="no fusion task 'VIF': choose from IVIF, MIF, MFIF, MEIF"):
        find_task("VIF")
