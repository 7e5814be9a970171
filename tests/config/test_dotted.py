"""Dotted names are accepted wherever a file of settings has sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from refusion.config.dotted import nested
from refusion.config.layers import check, for_task
from refusion.config.presets import read_config
from refusion.errors import UserError


@pytest.mark.parametrize(
    "content",
    [
        {"schedule.epochs": 3, "images.crop": 48},
        {"schedule": {"epochs": 3}, "images.crop": 48},
        {"images.crop": 48, "schedule.epochs": 3, "images": {"batch": 4}},
        {"per_task.MIF.schedule.epochs": 3, "per_task": {"MIF": {"images.crop": 48}}},
    ],
)
def test_dotted_names_of_a_settings_file(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    settings = for_task(check([read_config(tmp_path / "settings.yaml")]), "MIF")
    assert (settings.schedule.epochs, settings.images.crop) == (3, 48)


def test_rates_keep_their_forms() -> None:
    settings = check([{"schedule.rate": {"kind": "cosine", "value": 1e-3}, "schedule.inner_steps": {0: 1, 5: 2}}])
    assert settings.schedule.rate.value == 1e-3
    assert [settings.schedule.inner_steps_at(epoch) for epoch in (0, 5)] == [1, 2]


def test_a_name_that_is_said_twice_is_refused() -> None:
    with pytest.raises(UserError, match=r"--schedule\.epochs: is said twice"):
        nested({"schedule": {"epochs": 3}, "schedule.epochs": 4})


def test_an_unknown_dotted_name_hints_at_the_right_one() -> None:
    with pytest.raises(UserError, match=r"there is no setting --schedule\.epoch here; did you mean --schedule\.epochs"):
        check([{"schedule.epoch": 3}])
