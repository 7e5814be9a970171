"""Settings of a task's own: laid over the common ones, and under what comes later."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from refusion.config.layers import check, for_task
from refusion.config.schedules import CosineRate, PiecewiseRate, StepRate
from refusion.config.settings import Settings
from refusion.errors import UserError

STEP = {"schedule": {"rate": {"kind": "step", "value": 1e-3}}}
FILE = {"images": {"crop": 64}, "per_task": {"IVIF": STEP, "MIF": {"images": {"batch": 8}}}}


def own(task: str, sections: dict[str, Any]) -> dict[str, Any]:
    return {"per_task": {task: sections}}


def test_each_task_has_its_own_over_the_common_ones() -> None:
    settings = check([FILE])
    assert for_task(settings, "IVIF").schedule.rate == StepRate(value=1e-3)
    assert for_task(settings, "IVIF").images == settings.images
    assert (for_task(settings, "MIF").images.crop, for_task(settings, "MIF").images.batch) == (64, 8)
    assert for_task(settings, "MFIF") == check([{"images": {"crop": 64}}])


def test_a_tasks_settings_are_whole_and_have_no_tasks_of_their_own() -> None:
    settings = check([FILE])
    assert for_task(settings, "IVIF") == check([{"images": {"crop": 64}}, STEP])
    assert for_task(settings, "IVIF").per_task == {}


def test_without_any_they_are_the_common_settings() -> None:
    assert for_task(Settings(), "IVIF") == Settings()


def test_a_later_option_goes_over_every_task() -> None:
    settings = check([FILE, {"schedule": {"rate": 2e-4}}, {"images": {"batch": 4}}])
    assert for_task(settings, "IVIF").schedule.rate == StepRate(value=2e-4)
    assert settings.schedule.rate == CosineRate(value=2e-4, end=1e-6)
    assert for_task(settings, "MIF").images.batch == 4
    assert set(settings.per_task) == {"IVIF"}


def test_a_later_option_for_one_task_leaves_the_others() -> None:
    settings = check([FILE, own("ivif", {"schedule": {"rate": {"value": 5e-3}}})])
    assert for_task(settings, "IVIF").schedule.rate == StepRate(value=5e-3)
    assert settings.schedule.rate == Settings().schedule.rate
    assert for_task(settings, "MIF").images.batch == 8


def test_within_one_layer_a_tasks_own_goes_over_the_common() -> None:
    settings = check([{"schedule": {"rate": 1e-2}, **own("MIF", {"schedule": {"rate": {"warmup": 1.0}}})}])
    assert for_task(settings, "MIF").schedule.rate == CosineRate(value=1e-2, end=1e-6, warmup=1.0)


def test_they_are_laid_over_a_base_that_has_some() -> None:
    base = check([FILE])
    settings = check([{"seed": 3}, own("IVIF", {"images": {"crop": 32}})], base)
    assert for_task(settings, "IVIF").schedule.rate == StepRate(value=1e-3)
    assert (for_task(settings, "IVIF").seed, for_task(settings, "IVIF").images.crop) == (3, 32)


def test_as_a_file_they_are_read_again() -> None:
    values = {"kind": "piecewise", "values": {0: 1e-3, 5: 1e-4}}
    settings = check([own("MEIF", {"schedule": {"rate": values}, "images": {"crop": {0: 32, 4: 64}}})])
    read = Settings.model_validate(yaml.safe_load(yaml.safe_dump(settings.model_dump(mode="json"))))
    task = for_task(read, "MEIF")
    assert task == for_task(settings, "MEIF")
    assert isinstance(task.schedule.rate, PiecewiseRate)
    assert check([], read) == settings


@pytest.mark.parametrize(
    ("per_task", "sentence"),
    [
        ({"IVIF": {"seed": 1}}, "--per_task.IVIF.seed: belongs to the whole job; give it once for all tasks"),
        ({"IVIF": {"tasks": ["MIF"]}}, "--per_task.IVIF.tasks: belongs to the whole job; give it once for all tasks"),
        ({"MIF": {"schedule": {"epochs": 0}}}, "--per_task.MIF.schedule.epochs must be at least 1 (it is 0)"),
        (
            {"MIF": {"schedule": {"epoch": 3}}},
            "there is no setting --per_task.MIF.schedule.epoch here; did you mean --per_task.MIF.schedule.epochs?",
        ),
        ({"MIF": {"other": {}}}, "there is no setting --per_task.MIF.other here; --help lists all settings"),
        ({"MIF": {"network": {"width": 9}}}, "--per_task.MIF.network: width (9) must be a multiple of heads (8)"),
        ({"IVIF": 3}, "--per_task.IVIF must be a mapping {section: {key: value}} (it is 3)"),
        ("IVIF", "--per_task must be a mapping {TASK: {section: {key: value}}} (it is 'IVIF')"),
        ({"XVIF": {}}, "there is no fusion task 'XVIF': choose from IVIF, MIF, MFIF, MEIF"),
    ],
)
def test_what_is_wrong_is_named_with_its_task(per_task: Any, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        check([{"per_task": per_task}])
    assert str(refused.value) == sentence


def test_the_batch_of_a_task_divides_among_the_jobs_workers() -> None:
    with pytest.raises(UserError, match=r"^--per_task\.MIF: images\.batch \(3\) must be a multiple of workers \(2\)"):
        check([{"workers": 2}, own("MIF", {"images": {"batch": 3}})])
