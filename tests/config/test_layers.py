from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from refusion.config.layers import check, leaves, merge, read_settings_file
from refusion.config.schedules import ConstantRate, CosineRate, LinearSteps, PiecewiseRate, StepRate, TiedRate
from refusion.config.settings import Settings
from refusion.errors import UserError


def refusal(*changes: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        check(changes)
    return str(caught.value)


def schedule(**changes: Any) -> dict[str, Any]:
    return {"schedule": changes}


def test_nothing_said_means_the_defaults() -> None:
    assert check([]) == Settings()


def test_later_layers_win_and_leave_the_rest() -> None:
    settings = check([{"seed": 1, "images": {"crop": 64, "batch": 4}}, {"images": {"crop": 32}}])
    assert (settings.seed, settings.images.crop, settings.images.batch) == (1, 32, 4)


def test_changes_are_laid_over_a_base() -> None:
    base = check([{"seed": 7}])
    assert check([{"images": {"crop": 32}}], base).seed == 7


def test_a_number_laid_over_a_schedule_changes_its_value() -> None:
    settings = check([schedule(rate={"kind": "step", "every": 3}), schedule(rate=2e-4)])
    assert settings.schedule.rate == StepRate(value=2e-4, every=3)


def test_a_number_laid_over_the_tied_inner_rate_unties_it() -> None:
    assert check([schedule(inner_rate=0.01)]).schedule.inner_rate == ConstantRate(value=0.01)


def test_another_kind_keeps_value_and_warm_up_only() -> None:
    settings = check(
        [schedule(rate={"kind": "step", "value": 3e-4, "warmup": 2, "every": 5}), schedule(rate={"kind": "cosine"})]
    )
    assert settings.schedule.rate == CosineRate(value=3e-4, warmup=2)


def test_the_same_kind_keeps_everything() -> None:
    settings = check([schedule(rate={"kind": "step", "every": 5}), schedule(rate={"kind": "step", "factor": 0.5})])
    assert settings.schedule.rate == StepRate(value=2e-3, every=5, factor=0.5)


def test_an_inner_rate_can_be_tied_again() -> None:
    settings = check([schedule(inner_rate=0.01), schedule(inner_rate={"kind": "tied"})])
    assert settings.schedule.inner_rate == TiedRate()


def test_piecewise_values_keep_nothing_of_another_kind_and_leave_nothing_to_it() -> None:
    to_piecewise = [schedule(rate={"warmup": 2}), schedule(rate={"kind": "piecewise", "values": {0: 1e-3}})]
    assert check(to_piecewise).schedule.rate == PiecewiseRate(values=((0, 1e-3),))
    assert check([*to_piecewise, schedule(rate=2e-4)]).schedule.rate == ConstantRate(value=2e-4)
    assert check([*to_piecewise, schedule(rate={"kind": "cosine", "value": 1})]).schedule.rate == CosineRate(value=1)
    assert check([schedule(rate=2e-4)], check(to_piecewise)).schedule.rate == ConstantRate(value=2e-4)


def test_piecewise_values_from_epoch_0_on_replace_those_of_an_earlier_layer() -> None:
    file = {"images": {"crop": {0: 64, 5: 128}}, "schedule": {"rate": {"kind": "piecewise", "values": {0: 1, 3: 2}}}}
    settings = check([file, {"images": {"crop": {0: 32}}}, schedule(rate={"values": {0: 3}})])
    assert settings.images.crop == ((0, 32),)
    assert settings.schedule.rate == PiecewiseRate(values=((0, 3.0),))


def test_later_piecewise_values_are_laid_over_those_of_an_earlier_layer() -> None:
    one_by_one = [schedule(inner_steps={"0": 1}), schedule(inner_steps={"4": 3}), schedule(inner_steps={"2": 2})]
    assert check(one_by_one).schedule.inner_steps == ((0, 1), (2, 2), (4, 3))


def test_the_former_spelling_of_piecewise_is_read_and_the_present_one_is_written() -> None:
    file = schedule(rate={"kind": "pieces", "values": {0: 1, 3: 2}}, inner_rate={"kind": "pieces", "values": [[0, 3]]})
    settings = check([file])
    assert settings.schedule.rate == PiecewiseRate(values=((0, 1.0), (3, 2.0)))
    assert settings.schedule.inner_rate == PiecewiseRate(values=((0, 3.0),))
    assert settings.model_dump()["schedule"]["rate"]["kind"] == "piecewise"
    # Both spellings are one kind, so what an earlier layer says is kept.
    later = schedule(rate={"kind": "pieces", "values": {5: 4}})
    assert check([file, later]).schedule.rate == PiecewiseRate(values=((0, 1.0), (3, 2.0), (5, 4.0)))
    assert check([file, schedule(rate={"kind": "piecewise"})]) == check([file])


def test_another_kind_of_outer_step_keeps_all_other_settings_of_its_section() -> None:
    outer = check([{"outer": {"accumulate": 4, "ratio": 3}}, {"outer": {"kind": "adam"}}]).outer
    assert (outer.kind, outer.accumulate, outer.ratio) == ("adam", 4, 3.0)


def test_another_form_of_inner_steps_replaces_the_first() -> None:
    line, values = schedule(inner_steps={"start": 1, "end": 3}), schedule(inner_steps={0: 1, 4: 3})
    assert check([line, values]).schedule.inner_steps == ((0, 1), (4, 3))
    assert check([values, line]).schedule.inner_steps == LinearSteps(start=1, end=3)
    assert check([values, schedule(inner_steps=2)]).schedule.inner_steps == 2


def test_another_kind_of_network_or_outer_step_keeps_the_other_settings_of_its_section() -> None:
    options = [{"network": {"options": {"depth": 3}}}, {"network": {"options": {"act": "gelu"}}}]
    settings = check([{"network": {"width": 8}}, *options, {"network": {"kind": "my.nets:Tiny"}}])
    assert (settings.network.kind, settings.network.width) == ("my.nets:Tiny", 8)
    assert settings.network.options == {"depth": 3, "act": "gelu"}
    assert check([{"outer": {"accumulate": 5}}, {"outer": {"kind": "adam"}}]).outer.accumulate == 5


@pytest.mark.parametrize("kind", ["unet", "my_module", "a:b:c", "os: system", ":C", "/tmp/file.py:C"])
def test_a_network_that_is_no_import_path_is_refused(kind: str) -> None:
    for name in ("kind", "loss_proposal_kind", "reconstruction_kind"):
        said = refusal({"network": {name: kind}})
        said_of_all = "must be 'refusion', or the import path of a class as module:Class"
        assert said == f"--network.{name}: {said_of_all} (it is {kind!r})"


@pytest.mark.parametrize("module", ["", "loss_proposal_", "reconstruction_"])
def test_options_go_with_a_class_only(module: str) -> None:
    assert f"{module}options are those of a class given by {module}kind" in refusal(
        {"network": {f"{module}options": {"depth": 3}}}
    )
    assert "must be a valid dictionary" in refusal({"network": {f"{module}kind": "a:B", f"{module}options": 3}})


def test_even_shares_go_with_shares_only() -> None:
    said = refusal({"network": {"output": "image", "even_below": 0.1}})
    assert "even_below goes with shares of the sources; give output mixture, or even_below 0" in said
    # As the sizes of the built-in F, it says nothing of another one.
    assert check([{"network": {"even_below": 0.1}}, {"network": {"kind": "my.nets:Tiny"}}]).network.even_below == 0.1


def test_merging_leaves_its_arguments_alone() -> None:
    base = {"images": {"crop": 8}}
    assert merge(base, {"images": {"batch": 2}}) == {"images": {"crop": 8, "batch": 2}}
    assert base == {"images": {"crop": 8}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, 3),
        ([[0, 1], [10, 2]], ((0, 1), (10, 2))),
        ({0: 1, 10: 2}, ((0, 1), (10, 2))),
        ({"start": 1, "end": 3}, LinearSteps(start=1, end=3)),
    ],
)
def test_inner_steps_of_every_form(given: Any, expected: Any) -> None:
    assert check([schedule(inner_steps=given)]).schedule.inner_steps == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (schedule(epochs=0), "--schedule.epochs must be at least 1 (it is 0)"),
        (schedule(epochs="many"), "--schedule.epochs must be a valid integer (it is 'many')"),
        (schedule(rate=-1), "--schedule.rate.value must be greater than 0 (it is -1)"),
        (schedule(epoch=5), "there is no setting --schedule.epoch here; did you mean --schedule.epochs?"),
        (schedule(xyzzy=5), "there is no setting --schedule.xyzzy here; --help lists all settings"),
        ({"sede": 5}, "there is no setting --sede here; did you mean --seed?"),
        ({"images": 5}, "--images is a section of settings: write --images.key value"),
        (
            schedule(rate=[1]),
            "--schedule.rate must be a number, or a kind with its settings: {kind: …, value: …} (it is [1])",
        ),
        (schedule(inner_rate={"kind": "constant"}), "--schedule.inner_rate.value is missing"),
        ({"tasks": "IVIF"}, "--tasks must be a list (it is 'IVIF')"),
        ({"tasks": []}, "--tasks needs at least one value"),
        ({"outer": {"kind": "sgd"}}, "--outer.kind must be 'normalised' or 'adam' (it is 'sgd')"),
        (
            schedule(inner_steps={"start": 1}),
            "--schedule.inner_steps must be a number, by epochs gone before {0: …, 5: …} or [[0, …], [5, …]], "
            "or {start: …, end: …}, each K from 1 to 20 (it is {'start': 1})",
        ),
        (
            schedule(inner_steps=[[1, 1]]),
            "--schedule.inner_steps: piecewise values must begin with 0, no epoch gone before (it is [[1, 1]])",
        ),
        (
            {"images": {"crop": "large"}},
            "--images.crop must be a number, or by epochs gone before {0: …, 5: …} or [[0, …], [5, …]] (it is 'large')",
        ),
        ({"images": {"crop": 4}}, "--images.crop must be at least 8 (it is 4)"),
        ({"images": {"crop": {0: 64, 5: 4}}}, "--images.crop must be at least 8 in every epoch (it is 4)"),
        (
            {"images": {"crop": {5: 64}}},
            "--images.crop: piecewise values must begin with 0, no epoch gone before (it is {5: 64})",
        ),
        (
            {"outer": {"ratio": [[0, 1], [4, 2], [4, 3]]}},
            "--outer.ratio: the epochs of piecewise values must rise (it is [[0, 1], [4, 2], [4, 3]])",
        ),
        (
            {"validation": {"images": {"first": 3}}},
            "--validation.images: piecewise values are written {0: value, 5: value, …} or [[0, value], …], "
            "each number the epochs gone before (it is {'first': 3})",
        ),
        (
            {"objective": {"beta": {0: "much"}}},
            "--objective.beta must be a valid number in every epoch (it is 'much')",
        ),
        (
            schedule(rate={"kind": "piecewise", "values": {0: 1e-3, 2: 0}}),
            "--schedule.rate.values must be greater than 0 in every epoch (it is 0)",
        ),
        (
            schedule(inner_rate={"kind": "piecewise", "values": 3}),
            "--schedule.inner_rate.values: piecewise values are written {0: value, 5: value, …} or [[0, value], …], "
            "each number the epochs gone before (it is 3)",
        ),
        (schedule(rate={"kind": "piecewise"}), "--schedule.rate.values is missing"),
        ({"images": {"epochs": 5}}, "there is no setting --images.epochs here; did you mean --schedule.epochs?"),
    ],
)
def test_a_wrong_setting_is_named_as_on_the_command_line(change: dict[str, Any], message: str) -> None:
    assert refusal(change) == message


def test_an_unknown_kind_of_schedule_is_answered_with_the_known_ones() -> None:
    message = refusal(schedule(rate={"kind": "linear", "value": 1}))
    assert message.startswith("--schedule.rate.kind must be one of")
    assert all(kind in message for kind in ("constant", "step", "cosine", "piecewise", "(it is 'linear')"))


def test_a_setting_of_another_kind_is_named_without_pydantics_parts() -> None:
    message = refusal(schedule(rate={"kind": "cosine", "every": 5}))
    assert message == "there is no setting --schedule.rate.every here; --help lists all settings"


@pytest.mark.parametrize("steps", ["three", 1.5, [1, 2], {"begin": 1, "end": 2}, [[1, 1]], 0, [[0, 99]]])
def test_wrong_inner_steps_are_one_sentence(steps: Any) -> None:
    message = refusal(schedule(inner_steps=steps))
    assert message.count("--schedule.inner_steps") == 1, message
    assert "LinearSteps" not in message


def test_rules_between_settings_name_them() -> None:
    message = refusal({"workers": 3, "images": {"batch": 4}})
    assert message.startswith("images.batch (4) must be a multiple of workers (3)")
    assert "heads (8)" in refusal({"network": {"width": 12}})


def test_every_wrong_setting_is_told() -> None:
    message = refusal({"seed": -1, "images": {"crop": 1, "batch": 0}})
    assert all(name in message for name in ("--seed ", "--images.crop ", "--images.batch "))


def test_an_unknown_task_is_refused_with_the_choices() -> None:
    message = refusal({"tasks": ["VIF"]})
    assert message == "--tasks must be 'IVIF', 'MIF', 'MFIF' or 'MEIF' (it is 'VIF')"


def test_a_settings_file_is_a_mapping(tmp_path: Path) -> None:
    file = tmp_path / "quick.yaml"
    file.write_text("schedule:\n  epochs: 2\n  rate: {kind: cosine, value: 1.0e-3}\n")
    settings = check([read_settings_file(file)])
    assert (settings.schedule.epochs, settings.schedule.rate) == (2, CosineRate(value=1e-3, end=1e-6))


def test_an_empty_settings_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing\n")
    assert read_settings_file(file) == {}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"- a\n- b\n", "must hold settings as a mapping"),
        (b"seed: [1\n", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
    ],
)
def test_what_is_no_settings_file_is_refused_by_its_name(tmp_path: Path, content: bytes, what: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_settings_file(file)
    assert str(caught.value).startswith(f"--config {file}: {what}")
    assert "\n" not in str(caught.value)


def test_a_missing_settings_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--config .*gone\.yaml: cannot be read \(No such file or directory\)"):
        read_settings_file(tmp_path / "gone.yaml")


def test_leaves_are_all_settings_that_are_no_sections() -> None:
    names = [name for name, _ in leaves(Settings)]
    assert {"seed", "tasks", "schedule.rate", "schedule.inner_steps", "outer.adam_eps", "checkpoints.keep"} <= set(
        names
    )
    assert "schedule" not in names
    assert len(names) == len(set(names))
