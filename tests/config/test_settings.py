from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import refusion.config
from refusion.config.layers import check
from refusion.config.network import NetworkSettings
from refusion.config.objective import ObjectiveSettings
from refusion.config.presets import read_preset
from refusion.config.schedules import ConstantRate, CosineRate, LinearSteps, PiecewiseRate, StepRate, TiedRate
from refusion.config.settings import ImagesSettings, OuterSettings, ScheduleSettings, Settings, ValidationSettings


def test_settings_are_offered_by_the_package() -> None:
    assert refusion.config.Settings is Settings


def test_the_defaults_are_what_the_results_were_made_with() -> None:
    """The preset has more to say of tasks, validation and threads, and of nothing else."""
    preset = check([read_preset("results")])
    for section in ("schedule", "meta", "outer", "objective", "images", "network"):
        default = getattr(Settings(), section)
        # The preset says what the default is for the published loss.
        if section == "objective":
            default = default.model_copy(update={"learned": default.learned_weights})
        assert default == getattr(preset, section)


def test_what_is_learned_by_default_is_what_there_is_to_learn() -> None:
    assert ObjectiveSettings().learned_weights == "gradient"
    assert ObjectiveSettings(learned="intensity").learned_weights == "intensity"
    assert ObjectiveSettings(gradient="maxabs").learned_weights == "both"
    assert ObjectiveSettings(kind="my.losses:mine").learned_weights == "both"


def test_by_default_the_fusion_module_is_the_published_network() -> None:
    network = Settings().network
    assert (network.kind, network.width, network.heads, network.blocks, network.expansion) == ("refusion", 16, 8, 2, 2)


def test_all_four_tasks_are_trained_on_one_worker_unless_told_otherwise() -> None:
    settings = Settings()
    assert settings.tasks == ("IVIF", "MIF", "MFIF", "MEIF")
    assert (settings.workers, settings.gpu, settings.data) == (1, False, "builtin")


@pytest.mark.parametrize("of", [Settings(), Settings(schedule=ScheduleSettings(inner_steps=((0, 1), (3, 2))))])
def test_settings_survive_plain_values(of: Settings) -> None:
    assert Settings.model_validate(of.model_dump(mode="json")) == of


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (2e-4, StepRate(value=2e-4)),
        ({"value": 1.0, "every": 5}, StepRate(value=1.0, every=5)),
        ({"kind": "cosine", "value": 1.0, "end": 0.5}, CosineRate(value=1.0, end=0.5)),
        ({"kind": "constant", "value": 3}, ConstantRate(value=3.0)),
        ({"kind": "piecewise", "values": {5: 3e-4, 0: "1e-3"}}, PiecewiseRate(values=((0, 1e-3), (5, 3e-4)))),
        ({"kind": "piecewise", "values": [[0, 1], [5, 2]]}, PiecewiseRate(values=((0, 1.0), (5, 2.0)))),
    ],
)
def test_a_rate_is_a_number_or_a_schedule(given: Any, expected: Any) -> None:
    assert ScheduleSettings(rate=given).rate == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0.01, ConstantRate(value=0.01)),
        ({"kind": "tied", "ratio": 2}, TiedRate(ratio=2.0)),
        ({"kind": "piecewise", "values": {0: 1}}, PiecewiseRate(values=((0, 1.0),))),
    ],
)
def test_an_inner_rate_is_a_number_or_a_schedule_or_tied(given: Any, expected: Any) -> None:
    assert ScheduleSettings(inner_rate=given).inner_rate == expected


@pytest.mark.parametrize("given", [0, -1.0, float("nan"), float("inf"), True, "fast", {"kind": "tied", "ratio": 1}])
def test_a_rate_is_refused_where_it_is_none(given: Any) -> None:
    with pytest.raises(ValidationError):
        ScheduleSettings(rate=given)


def test_a_cosine_never_rises() -> None:
    with pytest.raises(ValidationError, match="must not lie above its value"):
        CosineRate(value=1.0, end=2.0)


@pytest.mark.parametrize(
    "values", [{}, {1: 1e-3}, [[0, 1e-3], [0, 1e-4]], {0: 0}, {0: 1e-3, 2: -1}, {0: 1e31}, {0: float("nan")}, 1e-3]
)
def test_piecewise_rates_are_refused_where_they_make_no_sense(values: Any) -> None:
    for name in ("rate", "inner_rate"):
        with pytest.raises(ValidationError):
            ScheduleSettings(**{name: {"kind": "piecewise", "values": values}})


def test_piecewise_rates_have_no_warm_up() -> None:
    with pytest.raises(ValidationError):
        ScheduleSettings(rate={"kind": "piecewise", "values": {0: 1e-3}, "warmup": 1})


PIECEWISE: list[tuple[str, str, Any]] = [
    ("objective", "alpha", 0.1),
    ("objective", "beta", 0.7),
    ("outer", "ratio", 1 / 3),
    ("images", "crop", 64),
    ("images", "subset", 5),
    ("validation", "images", 3),
]


@pytest.mark.parametrize(("section", "name", "number"), PIECEWISE)
def test_numbers_that_may_change_with_the_epoch(section: str, name: str, number: Any) -> None:
    for written in ({0: number, 4: 2 * number}, [[0, number], [4, 2 * number]]):
        read = Settings.model_validate({section: {name: written}})
        assert getattr(getattr(read, section), name) == ((0, number), (4, 2 * number))
    assert getattr(getattr(Settings.model_validate({section: {name: number}}), section), name) == number


@pytest.mark.parametrize(("section", "name", "number"), PIECEWISE)
@pytest.mark.parametrize("wrong", ["outside", "late", "twice", "text"])
def test_piecewise_numbers_are_refused_like_numbers(section: str, name: str, number: Any, wrong: str) -> None:
    values = {
        "outside": [[0, number], [2, -1]],
        "late": [[1, number]],
        "twice": [[0, number], [0, number]],
        "text": {0: "much"},
    }
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({section: {name: values[wrong]}})
    assert caught.value.errors()[0]["loc"][:2] == (section, name)


# A busy machine is no fault of the code.
@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1e30, exclude_min=True), min_size=2, max_size=4),
    st.lists(st.floats(0, exclude_min=True, allow_infinity=False), min_size=2, max_size=4),
)
@example([1e-5, 0.1 + 0.2, 5e-324], [1e300, 1 / 3])
def test_settings_survive_a_yaml_file_to_the_last_bit(rates: list[float], weights: list[float]) -> None:
    values = [[3 * number, value] for number, value in enumerate(weights)]
    settings = Settings.model_validate(
        {
            "schedule": {
                "rate": {"kind": "piecewise", "values": dict(enumerate(rates))},
                "inner_rate": rates[0],
                "inner_steps": {0: 1, 4: 3},
            },
            "objective": {"alpha": weights[0], "beta": values},
            "outer": {"ratio": values},
            "images": {"crop": {0: 32, 2: 64}, "subset": {0: 4, 3: 8}},
            "validation": {"images": {0: 1, 1: 2}},
        }
    )
    written = yaml.safe_dump(settings.model_dump(mode="json"))
    assert Settings.model_validate(yaml.safe_load(written)) == settings


@pytest.mark.parametrize(
    "given",
    [1, 20, ((0, 1), (5, 3)), {0: 1, 4: 3}, {"4": 3, "0": 1}, LinearSteps(start=1, end=4), {"start": 3, "end": 1}],
)
def test_inner_steps_are_a_number_a_list_or_a_line(given: Any) -> None:
    assert ScheduleSettings(inner_steps=given).inner_steps


@pytest.mark.parametrize(
    "given",
    [
        0,
        21,
        [],
        [[1, 1]],
        [[0, 1], [0, 2]],
        [[0, 1], [5, 2], [3, 1]],
        [[0, 0]],
        [[0, 21]],
        {"start": 0, "end": 2},
        1.5,
        {4: 3},
        {0: 21},
        {0: 1, "end": 3},
    ],
)
def test_inner_steps_are_refused_where_they_make_no_sense(given: Any) -> None:
    with pytest.raises(ValidationError):
        ScheduleSettings(inner_steps=given)


@pytest.mark.parametrize(
    "objective",
    [
        {"alpha": 0, "beta": 0},
        {"alpha": 0, "gradient": "maxabs"},
        {"gradient": "maxabs", "learned": "gradient"},
        {"alpha": -1},
        {"beta": float("nan")},
        {"alpha": {0: 1, 3: 0}, "beta": {0: 1, 5: 0}},
        {"alpha": {0: 1, 3: 0}, "gradient": "maxabs"},
        {"alpha": 0, "beta": {0: 1, 3: 0, 5: 1}},
    ],
)
def test_an_objective_without_anything_to_learn_is_refused(objective: Any) -> None:
    with pytest.raises(ValidationError):
        ObjectiveSettings(**objective)


def test_one_learned_term_is_enough() -> None:
    assert ObjectiveSettings(alpha=0).beta == 1.0
    assert ObjectiveSettings(beta=0, gradient="maxabs").alpha == 0.05


def test_one_learned_term_at_each_epoch_is_enough() -> None:
    taking_turns = ObjectiveSettings.model_validate({"alpha": {0: 1, 3: 0, 5: 1}, "beta": {0: 0, 3: 1, 5: 0}})
    assert taking_turns.alpha == ((0, 1.0), (3, 0.0), (5, 1.0))


def test_the_epoch_without_anything_to_learn_is_told() -> None:
    with pytest.raises(ValidationError, match="after 5 epochs, with alpha 0 no term has learned weights"):
        ObjectiveSettings.model_validate({"alpha": {0: 1, 3: 0}, "beta": {0: 1, 5: 0}})


@pytest.mark.parametrize("name", ["width", "reconstruction_width"])
def test_heads_must_divide_every_width(name: str) -> None:
    with pytest.raises(ValidationError, match=rf"{name} \(20\) must be a multiple of heads \(8\)"):
        NetworkSettings(**{name: 20})


def test_the_batch_must_divide_among_the_workers() -> None:
    with pytest.raises(ValidationError, match=r"images.batch \(6\) must be a multiple of workers \(4\)"):
        Settings(workers=4, images=ImagesSettings(batch=6))
    assert Settings(workers=3, images=ImagesSettings(batch=6)).workers == 3


@pytest.mark.parametrize("tasks", [(), ("IVIF", "IVIF"), ("VIF",)])
def test_tasks_are_known_and_named_once(tasks: Any) -> None:
    with pytest.raises(ValidationError):
        Settings(tasks=tasks)


@pytest.mark.parametrize("noise_lover", ["EN", "SD", "SF", "AG"])
def test_no_metric_that_rewards_noise_may_choose_the_best(noise_lover: Any) -> None:
    with pytest.raises(ValidationError):
        ValidationSettings(best_by=noise_lover)


@pytest.mark.parametrize(
    ("section", "wrong"),
    [
        (ScheduleSettings, {"epochs": 0}),
        (ScheduleSettings, {"meta_iterations": -1}),
        (ScheduleSettings, {"fusion_steps": 0}),
        (ScheduleSettings, {"learning_rate": 1}),
        (OuterSettings, {"accumulate": 0}),
        (OuterSettings, {"kind": "sgd"}),
        (ImagesSettings, {"crop": 7}),
        (ImagesSettings, {"batch": 0}),
        (ValidationSettings, {"every": 0}),
        (Settings, {"seed": -1}),
        (Settings, {"seed": 2**63}),
        (Settings, {"workers": 0}),
        (Settings, {"data": ""}),
    ],
)
def test_what_is_out_of_range_or_unknown_is_refused(section: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        section(**wrong)
    assert caught.value.errors()[0]["loc"][0] == next(iter(wrong))


def test_settings_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().seed = 1  # type: ignore[misc]


def test_a_rate_that_no_float32_holds_is_refused() -> None:
    with pytest.raises(ValidationError):
        ConstantRate(value=1e38)
