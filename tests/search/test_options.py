from __future__ import annotations

from typing import Any

import pytest

from refusion.errors import UserError
from refusion.search.options import SweepOptions, read_options

TASK = {"task": ["IVIF"]}


def refusal(**given: Any) -> str:
    with pytest.raises(UserError) as caught:
        read_options({**TASK, **given})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_task_is_all_that_must_be_said() -> None:
    options = read_options(TASK)
    assert options == SweepOptions(task=("IVIF",))
    assert (options.search, options.sampler, options.scheduler, options.trials) == ("optuna", "tpe", "asha", 16)


def test_options_come_as_texts_from_the_command_line() -> None:
    given = {"trials": "8", "max_concurrent": "3", "gpu_per_trial": "0.25", "held_out": "0", "warm_start": ["a", "b"]}
    options = read_options({**TASK, **given})
    assert (options.trials, options.max_concurrent, options.gpu_per_trial, options.held_out) == (8, 3, 0.25, 0.0)
    assert options.warm_start == ("a", "b")


def test_options_survive_yaml() -> None:
    options = read_options({**TASK, "trials": 5, "warm_start": ["a"], "held_out": 0.1})
    assert read_options(options.model_dump(mode="json")) == options


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"task": ["FUSION"]}, "--task must be 'IVIF', 'MIF', 'MFIF' or 'MEIF' (it is 'FUSION')"),
        ({"task": []}, "--task needs at least one value"),
        ({"task": "IVIF"}, "--task must be a list (it is 'IVIF')"),
        ({"trials": 0}, "--trials must be at least 1 (it is 0)"),
        ({"trials": "many"}, "--trials must be a valid integer (it is 'many')"),
        ({"trials": 1.5}, "--trials must be a valid integer, got a number with a fractional part (it is 1.5)"),
        ({"search": "tpe"}, "--search must be 'random', 'grid' or 'optuna' (it is 'tpe')"),
        ({"sampler": "cma"}, "--sampler must be 'tpe' or 'gp' (it is 'cma')"),
        (
            {"scheduler": "bohb"},
            "--scheduler must be 'asha', 'hyperband', 'median', 'pbt', 'pb2', 'none' or module:Class (it is 'bohb')",
        ),
        ({"grace": 0}, "--grace must be at least 1 (it is 0)"),
        ({"reduction": 1}, "--reduction must be at least 2 (it is 1)"),
        ({"interval": 0}, "--interval must be at least 1 (it is 0)"),
        ({"max_concurrent": 0}, "--max-concurrent must be at least 1 (it is 0)"),
        ({"workers_per_trial": 0}, "--workers-per-trial must be at least 1 (it is 0)"),
        (
            {"workers_per_trial": "1..2"},
            "--workers-per-trial 1..2: a trial keeps its number of workers; give one number (ranges are for trainings)",
        ),
        ({"gpu_per_trial": 0}, "--gpu-per-trial must be greater than 0 (it is 0)"),
        ({"gpu_per_trial": 2}, "--gpu-per-trial must be less than or equal to 1 (it is 2)"),
        ({"gpu_per_trial": "nan"}, "--gpu-per-trial must be a finite number (it is 'nan')"),
        ({"trials_per_gpu": 0}, "--trials-per-gpu must be at least 1 (it is 0)"),
        ({"held_out": 1}, "--held-out must be less than 1 (it is 1)"),
        ({"held_out": -0.1}, "--held-out must be at least 0 (it is -0.1)"),
        ({"warm_start": "first"}, "--warm-start must be a list (it is 'first')"),
        ({"objective": 3}, "--objective must be a valid string (it is 3)"),
        ({"max_trials": 3}, "there is no option --max-trials of a sweep (see --help)"),
    ],
)
def test_a_wrong_option_is_named_in_one_sentence(given: dict[str, Any], sentence: str) -> None:
    assert refusal(**given) == sentence


def test_a_missing_task_is_said() -> None:
    with pytest.raises(UserError, match=r"^--task is missing$"):
        read_options({})


def test_all_wrong_options_are_named() -> None:
    assert refusal(trials=0, grace=0) == "--trials must be at least 1 (it is 0); --grace must be at least 1 (it is 0)"


@pytest.mark.parametrize(
    ("given", "named", "way_out"),
    [
        ({"scheduler": "pbt", "trials": 1}, "--scheduler pbt", "--trials 2 or more"),
        ({"scheduler": "pb2", "trials": 1}, "--scheduler pb2", "--trials 2 or more"),
        ({"scheduler": "pbt", "search": "grid"}, "--scheduler pbt", "leave --search grid out"),
        ({"scheduler": "pb2", "search": "grid"}, "--scheduler pb2", "leave --search grid out"),
        ({"scheduler": "pbt", "workers_per_trial": 2}, "--scheduler pbt", "leave --workers-per-trial out"),
        ({"scheduler": "pb2", "max_concurrent": 2}, "--scheduler pb2", "leave --max-concurrent out"),
        ({"workers_per_trial": 2, "gpu_per_trial": 0.5}, "--gpu-per-trial", "leave --workers-per-trial out"),
        ({"workers_per_trial": 2, "trials_per_gpu": 4}, "--trials-per-gpu", "leave one of them out"),
        ({"gpu_per_trial": 0.5, "trials_per_gpu": 4}, "--gpu-per-trial", "leave one of them out"),
        ({"warm_start": ["first"], "search": "random"}, "--warm-start", "--search optuna"),
        ({"warm_start": ["first"], "search": "grid"}, "--warm-start", "--search optuna"),
        ({"warm_start": ["first"], "scheduler": "pbt"}, "--warm-start", "without a population"),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_way_out(given: dict[str, Any], named: str, way_out: str) -> None:
    message = refusal(**given)
    assert message.startswith(named)
    assert way_out in message
    # Each part on its own is fine.
    for name, value in given.items():
        if (name, value) not in (("warm_start", ["first"]), ("trials", 1)):
            read_options({**TASK, name: value})


@pytest.mark.parametrize(
    "given",
    [
        {"scheduler": "pbt", "trials": 2},
        {"scheduler": "pb2", "search": "random"},
        {"workers_per_trial": 2, "gpu_per_trial": 1},
        {"warm_start": ["first"], "scheduler": "hyperband", "sampler": "gp"},
        {"scheduler": "none", "search": "grid", "trials": 1},
        {"scheduler": "median", "workers_per_trial": 4},
        {"scheduler": "pbt", "trials_per_gpu": 16},
        {"task": ["IVIF", "MIF"]},
    ],
)
def test_what_goes_together_is_taken(given: dict[str, Any]) -> None:
    options = read_options({**TASK, **given})
    assert {name: getattr(options, name) for name in given} == {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }


def test_an_older_spelling_is_read_and_refusals_name_the_new_one() -> None:
    assert read_options({"task": ["IVIF"], "held_back": "0.25"}).held_out == 0.25
    assert "held_back" not in read_options({"task": ["IVIF"], "held_back": 0.25}).model_dump()
    assert refusal(task=["IVIF"], held_back=2).startswith("--held-out must be less than 1")
