"""Trials of earlier sweeps, from which a sweep starts warm."""

from __future__ import annotations

from refusion.errors import UserError
from refusion.search.manifest import SweepManifest
from refusion.search.objective.objective import Objective, standings
from refusion.search.suggest.samplers import KnownTrial
from refusion.tracking.sweeps import read_sweep


def known_trials(manifest: SweepManifest) -> list[KnownTrial]:
    """Results of earlier sweeps: each trial with its standing within its own sweep.

    Raises:
        UserError: there is no such sweep, or none of its trials lies in this sweep's space.
    """
    known: list[KnownTrial] = []
    for name in manifest.options.warm_start:
        sweep = read_sweep(manifest.tracking_uri, manifest.experiment, name)
        objective = Objective.parse(manifest.options.objective, sweep.spec["tasks"])
        scores = standings(objective, {trial.number: trial.history for trial in sweep.trials if trial.history})
        fitting = [
            KnownTrial(trial.values, scores[trial.number], "finished")
            for trial in sweep.trials
            if trial.number in scores and trial.values and manifest.space.contains(trial.values)
        ]
        if not fitting:
            raise UserError(
                f"--warm-start {name}: none of its {len(sweep.trials)} trials lies in this sweep's space; "
                "search the same parameters and ranges, or leave it out"
            )
        known += fitting
    return known
