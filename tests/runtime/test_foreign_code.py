from __future__ import annotations

import pytest

from refusion.config.layers import check
from refusion.errors import UserError
from refusion.runtime.foreign_code import CODE_SETTINGS, named_code, refuse_unnamed_code

NETWORK = {"network": {"kind": "mine:Net", "options": {"width": 3}}}
REWARD = {"objective": {"reward": "mine:reward"}}


@pytest.mark.parametrize("name", CODE_SETTINGS)
def test_all_settings_that_name_code_are_known(name: str) -> None:
    section, key = name.split(".")
    settings = check([{section: {key: "mine:thing"}}])
    assert named_code(settings) == [f"--{name}", "mine:thing"]
    with pytest.raises(UserError) as caught:
        refuse_unnamed_code("before", settings, [])
    assert str(caught.value).startswith("--resume before: runs code from outside of this package")
    assert str(caught.value).endswith(f"name it again: --{name} mine:thing")


def test_built_in_code_needs_no_name() -> None:
    assert named_code(check([])) == []
    refuse_unnamed_code("before", check([]), [])


def test_code_that_is_named_again_may_run_and_no_other() -> None:
    settings = check([NETWORK, REWARD])
    refuse_unnamed_code("before", settings, [{"network": {"kind": "mine:Net"}}, REWARD])
    for changes in ([], [REWARD], [{"network": {"kind": "mine:Other"}}, REWARD], [{"network": {"options": {}}}]):
        with pytest.raises(UserError, match=r"--network\.kind mine:Net"):
            refuse_unnamed_code("before", settings, changes)


@pytest.mark.parametrize("parameter", [["refusion", "mine:Net"], {"choices": ["mine:Net"], "when": {"_x": 1}}])
def test_what_a_sweep_may_draw_is_named_too(parameter: object) -> None:
    space = {"network.kind": parameter, "images.crop": [32, 48], "schedule.rate.value": {"low": 1e-4, "high": 1e-3}}
    with pytest.raises(UserError, match=r"name it again: --network\.kind mine:Net$"):
        refuse_unnamed_code("before", check([]), [], space)
    refuse_unnamed_code("before", check([]), [NETWORK], space)


def test_code_of_one_task_is_named_with_the_task() -> None:
    settings = check([{"per_task": {"MIF": NETWORK}}])
    assert named_code(settings) == ["--per_task.MIF.network.kind", "mine:Net"]
    with pytest.raises(UserError, match=r"name it again: --per_task\.MIF\.network\.kind mine:Net$"):
        refuse_unnamed_code("before", settings, [REWARD])
    refuse_unnamed_code("before", settings, [{"per_task": {"MIF": NETWORK}}])
