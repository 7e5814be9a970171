"""PB2: PBT whose new values are chosen by a Gaussian process of how scores rise, instead of by chance."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pandas as pd
from ray.tune.schedulers.pb2 import PB2

from refusion.runtime.ray_internals import pb2_proposal
from refusion.search.objective.scoreboard import Scoreboard
from refusion.search.schedulers.base import SCORE, WORST, Result, number_of
from refusion.search.schedulers.pbt import Pbt
from refusion.search.space.space import Space
from refusion.search.space.validation import why_invalid
from refusion.search.trials.trainable import EPOCH, VALUES

UNIT = "unit"


class Pb2(Pbt):
    """Population-based bandits (Parker-Holder et al., arXiv 2002.02518).

    It searches in each range's [0, 1], held in a trial's ``config["unit"]``. Ray Tune's process sees every epoch of all
    trials with scores of this moment. Where it cannot tell (before the first rise of a score, or when its matrix is
    singular) the new values are PBT's; so they are around a proposal that another trial has had already.
    """

    def __init__(self, scoreboard: Scoreboard, epochs: int, interval: int, space: Space, *arguments: Any) -> None:
        super().__init__(scoreboard, epochs, interval, space, *arguments)
        bounds = {parameter.name: [0.0, 1.0] for parameter in space.parameters}
        self._process = PB2(time_attr=EPOCH, metric=SCORE, mode="max", hyperparam_bounds={UNIT: bounds})
        self._columns = ["Trial", "Time", *(f"{UNIT}/{name}" for name in bounds), "Reward"]
        # (trial, epoch) → the trial whose score counts, and its values in [0, 1]; apart from that, where copies began.
        self._trained: dict[tuple[str, int], tuple[int, dict[str, float]]] = {}
        self._copied: dict[tuple[str, int], tuple[int, dict[str, float]]] = {}

    def on_trial_add(self, controller: Any, trial: Any) -> None:
        """Take in a trial, with its place in [0, 1] beside its values."""
        super().on_trial_add(controller, trial)
        trial.config.setdefault(UNIT, self._unit(trial.config[VALUES]))

    def decide(self, controller: Any, trial: Any, result: Result) -> str:
        """Decides as PBT does; the process learns from the result."""
        self._trained[str(trial), int(result[EPOCH])] = (number_of(trial), trial.config[UNIT])
        return super().decide(controller, trial, result)

    def new_values(self, trial: Any, donor: Any, epoch: int) -> dict[str, Any]:
        """Values for which the process expects the largest rise, weighed against how little it knows of it."""
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
        """Proposal of the process; the donor's own values where it cannot tell."""
        before = np.random.get_state()
        np.random.seed(random.Random(f"{self.seed}/{number_of(trial)}/{epoch}").randrange(2**32))
        try:
            with warnings.catch_warnings():
                # scikit-learn says of every fit how well it converged.
                warnings.simplefilter("ignore")
                config = pb2_proposal(self._process, self._table(), trial, donor)
        except (np.linalg.LinAlgError, ValueError):
            # Tune's own way out of a singular matrix ends in a ValueError about shapes.
            return dict(donor.config[VALUES])
        finally:
            np.random.set_state(before)
        return self.space.from_unit(config[UNIT])

    def _exploit(self, trial: Any, donor: Any) -> None:
        super()._exploit(trial, donor)
        trial.set_config({**trial.config, UNIT: self._unit(trial.config[VALUES])})

    def _unit(self, values: dict[str, Any]) -> dict[str, float]:
        return {name: float(position) for name, position in self.space.to_unit(values).items()}

    def _table(self) -> pd.DataFrame:
        """Table that Tune's PB2 learns from, with fresh scores."""
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
        table = pd.DataFrame(rows, columns=self._columns)
        return table.sort_values(["Time", "Trial"], kind="stable", ignore_index=True)
