"""Samplers: the next trial's values as a pure function of seed, trial number and what is known of the other trials.

Nothing is kept between two suggestions: an interrupted sweep goes on as it would have gone on.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState, create_trial

from refusion.config.settings import Settings
from refusion.search.space.space import Space
from refusion.search.space.validation import draw_valid, why_invalid

STARTUP = 10
_TRIES = 10


@dataclass(frozen=True)
class KnownTrial:
    """One trial of the sweep as far as a suggestion needs it.

    ``score`` is of finished trials (also of those stopped early), higher is better, NaN or infinite counts as the worst
    of all; a trial that diverged is best given as finished with the lowest score, for of failed ones samplers learn
    nothing. Trials with values outside the space, as the default settings' {}, are left out.
    """

    values: dict[str, Any]
    score: float | None
    state: Literal["finished", "running", "failed"]


def suggest_random(space: Space, base: Settings, seed: int, number: int) -> dict[str, Any]:
    """Values drawn from the space that make valid settings together with ``base``.

    Raises:
        UserError: none was found (``refusion.search.space.validation.draw_valid``).
    """
    return draw_valid(space, base, random.Random(f"{seed}/{number}"))


def suggest_optuna(
    space: Space,
    base: Settings,
    sampler: Literal["tpe", "gp"],
    seed: int,
    number: int,
    known: Sequence[KnownTrial],
    startup: int = STARTUP,
) -> dict[str, Any]:
    """Values that an Optuna sampler suggests after ``known``; while fewer than ``startup`` are finished, a random draw.

    Args:
        space: what is searched.
        base: the settings that the values are laid over; combinations that are invalid over them are told as bad.
        sampler: tpe: multivariate tree-structured Parzen estimator, conditional parameters by group. gp: Gaussian
            process with log expected improvement, on the parameters that all trials share; the conditional ones are
            drawn at random. Both allow for the trials that still run (constant liar and q-logEI).
        seed, number: of the sweep and of the trial to come.
        known: in the order of their numbers; the same ones give the same values, and none of theirs are suggested
            again unless nothing new is found.
        startup: finished trials before the sampler begins.

    Raises:
        UserError: no valid combination was found.
    """
    usable = [trial for trial in known if trial.values and space.contains(trial.values)]
    finished = [trial for trial in usable if trial.state == "finished"]
    if len(finished) < max(startup, 1):
        return suggest_random(space, base, seed, number)
    scores = [trial.score for trial in finished if trial.score is not None and math.isfinite(trial.score)]
    worst = min(scores, default=0.0)
    tried = [trial.values for trial in known]
    with _quiet():
        study = optuna.create_study(direction="maximize", sampler=_sampler(sampler, f"{seed}/{number}/{sampler}"))
        study.add_trials([_as_optuna(space, trial, worst) for trial in usable])
        for _ in range(_TRIES):
            trial = study.ask()
            values = space.ask(trial)
            if why_invalid(space, base, values) is not None:
                # Told as the worst score rather than as failed: from failures the samplers learn nothing.
                study.tell(trial, worst)
            elif values not in tried:
                return values
            # What was tried already would come out the same; left running, it turns the sampler away from there.
    return _random_but_new(space, base, random.Random(f"{seed}/{number}"), tried)


def _random_but_new(
    space: Space, base: Settings, drawn: random.Random, tried: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    draws = (draw_valid(space, base, drawn) for _ in range(_TRIES))
    return next((values for values in draws if values not in tried), None) or draw_valid(space, base, drawn)


def _sampler(kind: Literal["tpe", "gp"], seed: str) -> optuna.samplers.BaseSampler:
    number = random.Random(seed).getrandbits(32)
    # `suggest_optuna` has drawn the first ones at random, so neither sampler needs a start of its own.
    if kind == "gp":
        return optuna.samplers.GPSampler(seed=number, n_startup_trials=1, warn_independent_sampling=False)
    return optuna.samplers.TPESampler(seed=number, n_startup_trials=1, multivariate=True, group=True)


def _as_optuna(space: Space, known: KnownTrial, worst: float) -> FrozenTrial:
    params, distributions = space.encoded(known.values), space.distributions(known.values)
    if known.state == "finished":
        score = known.score if known.score is not None and math.isfinite(known.score) else worst
        return create_trial(params=params, distributions=distributions, value=score)
    state = TrialState.RUNNING if known.state == "running" else TrialState.FAIL
    return create_trial(params=params, distributions=distributions, state=state)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Optuna's log lines and its notes that an option is experimental."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
