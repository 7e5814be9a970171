"""PB2: a population whose new values are chosen by a Gaussian process of how scores rise, instead of by chance."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pandas as pd
from ray.tune.schedulers.pb2 import PB2

from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.base import WORST, Result, number_of
from refusion.search.schedulers.pbt import Population
from refusion.search.space.space import Space
from refusion.search.space.validation import why_invalid
from refusion.search.trials.trainable import EPOCH, VALUES

UNIT = "unit"


class Pb2(Population, PB2):
    """Population-based bandits (Parker-Holder et al., arXiv 2002.02518).

    It searches in each range's [0, 1], kept in a trial's ``config["unit"]``. The process sees every epoch of the
    population with scores of this moment. Where it cannot tell (before the first rise of a score, or when its matrix is
    singular) the new values are PBT's; so they are around a proposal that another trial has had already.
    """

    def __init__(self, scoreboard: Scoreboard, epochs: int, interval: int, space: Space, *arguments: Any) -> None:
        bounds = {parameter.name: [0.0, 1.0] for parameter in space.parameters}
        super().__init__(scoreboard, epochs, interval, space, *arguments, hyperparam_bounds={UNIT: bounds})
        # What (trial, epoch) was trained with, and which trial's score it has; apart from that, where copies began.
        self._trained: dict[tuple[str, int], tuple[int, dict[str, float]]] = {}
        self._copied: dict[tuple[str, int], tuple[int, dict[str, float]]] = {}

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Into the population, with its place in [0, 1] beside its values."""
        super().on_trial_add(controller, trial)
        trial.config.setdefault(UNIT, self._unit(trial.config[VALUES]))

    def decide(self, controller: Any, trial: Any, result: Result) -> str:
        """As the population, and the process learns of it."""
        self._trained[str(trial), int(result[EPOCH])] = (number_of(trial), trial.config[UNIT])
        return super().decide(controller, trial, result)

    def new_values(self, trial: Any, donor: Any, epoch: int) -> dict[str, Any]:
        """Where the process expects the largest rise, weighed against how little it knows of it."""
        values = self._proposed(trial, donor, epoch)
        if why_invalid(self.space, self.base, values):
            values = donor.config[VALUES]
        chosen = [unit for (_, at), (_, unit) in self._copied.items() if at == epoch]
        # All trials share their seed, so that equal weights and values would train alike.
        if values == donor.config[VALUES] or self._unit(values) in chosen:
            values = self.near(values, trial, epoch)
        self._copied[str(trial), epoch] = (number_of(donor), self._unit(values))
        return values

    def _proposed(self, trial: Any, donor: Any, epoch: int) -> dict[str, Any]:
        """The donor's own values where the process cannot tell."""
        self.data = self._table()
        before = np.random.get_state()
        np.random.seed(random.Random(f"{self.seed}/{number_of(trial)}/{epoch}").randrange(2**32))
        try:
            with warnings.catch_warnings():
                # scikit-learn says of every fit how well it converged.
                warnings.simplefilter("ignore")
                config, _ = PB2._get_new_config(self, trial, donor)
        except (np.linalg.LinAlgError, ValueError):
            # Tune's own way out of a singular matrix ends in a ValueError about shapes.
            return dict(donor.config[VALUES])
        finally:
            np.random.set_state(before)
        return self.space.from_unit(config[UNIT])

    def _get_new_config(self, trial: Any, donor: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        config, operations = super()._get_new_config(trial, donor)
        return {**config, UNIT: self._unit(config[VALUES])}, operations

    def _unit(self, values: dict[str, Any]) -> dict[str, float]:
        return {name: float(position) for name, position in self.space.to_unit(values).items()}

    def _table(self) -> pd.DataFrame:
        """What Tune's PB2 keeps as its data, with fresh scores."""
        members = {number for number, _ in self._trained.values()}
        epochs = {epoch for _, epoch in self._trained}
        scores = {epoch: self.scores_at(epoch, members) for epoch in epochs}
        rows = []
        for source in (self._trained, self._copied):
            for (name, epoch), (number, unit) in source.items():
                score = scores.get(epoch, {}).get(number, WORST)
                if score > WORST:
                    places = {f"{UNIT}/{parameter}": position for parameter, position in unit.items()}
                    rows.append({"Trial": name, "Time": epoch, **places, "Reward": score})
        columns = ["Trial", "Time", *self._hyperparam_bounds_flat, "Reward"]
        return pd.DataFrame(rows, columns=columns).sort_values(["Time", "Trial"], kind="stable", ignore_index=True)
