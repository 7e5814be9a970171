"""Hand a sweep's trials to Ray Tune and let it run them to their ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ray import tune

from refusion.search.callbacks import Events, Suggestions
from refusion.search.display import View
from refusion.search.options import PAUSING, POPULATION
from refusion.search.schedulers.decisions import start_verdicts
from refusion.search.schedulers.factory import make_scheduler, rungs
from refusion.search.schedulers.tune_controller import mended_controller
from refusion.search.state import SweepState
from refusion.search.suggest.queue import Chooser, config_of
from refusion.search.trials.multi_worker import WAITING, Nest, nested_trial
from refusion.search.trials.placement import Room
from refusion.search.trials.records import start_of, trial_name
from refusion.search.trials.trainable import NUMBER, START, VALUES, Trial, rows_of
from refusion.search.trials.training import TrialPlan

# We have a display, a journal and results of our own; Tune's would cost time and tell the same once more.
_TUNES_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def tune_trials(state: SweepState, plan: TrialPlan, room: Room, chooser: Chooser, board: Any, view: View) -> None:
    """Run every trial that the chooser gives; what happens is told to the state. Blocks until all have ended."""
    os.environ.update(_TUNES_SETTINGS)
    ledger = state.ledger
    options = ledger.options
    population = options.scheduler in POPULATION
    nested = options.workers_per_trial > 1
    part = f"part_{ledger.parts + 1:03d}"
    storage = ledger.folder.uri
    verdicts: Any = None
    if nested:
        verdicts = start_verdicts()
        judged = rungs(options.scheduler, state.epochs, options.grace, options.reduction)
        nest = Nest(
            options.workers_per_trial, (ledger.folder / part / "train").uri, part, board, verdicts, frozenset(judged)
        )
        trainable = tune.with_parameters(nested_trial, plan=plan, nest=nest)
    else:
        trainable = tune.with_parameters(Trial, plan=plan, board=board)
    scheduler = make_scheduler(
        options.scheduler,
        state.judge,
        epochs=state.epochs,
        grace=options.grace,
        factor=options.reduction,
        interval=options.interval,
        space=ledger.space,
        base=ledger.base,
        seed=ledger.base.seed,
        on_exploit=state.exploited,
        on_verdict=verdicts.give.remote if verdicts is not None else None,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, room.resources),
        param_space=_population(chooser) if population else {},
        tune_config=tune.TuneConfig(
            # A population's scheduler chooses values itself and takes no searcher.
            search_alg=None if population else Suggestions(chooser.next_config),
            scheduler=scheduler,
            num_samples=1 if population else chooser.trials + 1,
            # Trials that wait for others count as concurrent; what the cluster has limits how many train at a time.
            max_concurrent_trials=None if options.scheduler in PAUSING else room.concurrent,
            reuse_actors=not nested,
            trial_dirname_creator=_folder_name,
        ),
        run_config=tune.RunConfig(
            name=part,
            storage_path=storage,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0 if nested else ledger.base.retries),
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=0 if nested else 1, num_to_keep=None if population else 2
            ),
            callbacks=[Events(state, view.refresh, view.say, room.resources, _waiting(board) if nested else None)],
        ),
    )
    with mended_controller():
        tuner.fit()


def _waiting(board: Any) -> Callable[[], set[int]]:
    return lambda: {number for number, row in rows_of(board).items() if row.phase == WAITING}


def _folder_name(trial: Any) -> str:
    return trial_name(int(trial.config[NUMBER]))


def _population(chooser: Chooser) -> dict[str, Any]:
    """All members at once, since a population exchanges among all of them."""
    configs: dict[int, dict[str, Any]] = {}
    for record in chooser.going_on.values():
        start = start_of(record, record.epoch, chooser.state.records)
        configs[record.number] = config_of(record.number, record.values, start)
    for number in chooser.coming:
        values = chooser.values(number)
        chooser.state.begin(number, values)
        configs[number] = config_of(number, values)
    return {
        NUMBER: tune.grid_search(sorted(configs)),
        VALUES: tune.sample_from(lambda config: configs[config[NUMBER]][VALUES]),
        START: tune.sample_from(lambda config: configs[config[NUMBER]][START]),
    }
