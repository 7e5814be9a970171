"""Runs a sweep's trials by Ray Tune."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ray import tune

from refusion.runtime.ray_internals import losses_counted_once
from refusion.search.callbacks import Events, Suggestions
from refusion.search.display import View
from refusion.search.options import PAUSING, PBT_KINDS
from refusion.search.schedulers.base import OnDecision
from refusion.search.schedulers.decisions import start_decisions
from refusion.search.schedulers.factory import make_scheduler, rungs
from refusion.search.state import SweepState
from refusion.search.suggest.queue import SuggestionQueue, config_of
from refusion.search.trials.multi_worker import WAITING, MultiWorkerPlan, multi_worker_trial
from refusion.search.trials.placement import Placement
from refusion.search.trials.records import start_of, trial_name
from refusion.search.trials.stacked.hosts import start_hosts
from refusion.search.trials.stacked.trainable import StackedTrial
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


def tune_trials(
    state: SweepState, plan: TrialPlan, placement: Placement, queue: SuggestionQueue, progress_board: Any, view: View
) -> None:
    """Run every trial that the queue gives; what happens is told to the state. Blocks until all have ended."""
    os.environ.update(_TUNES_SETTINGS)
    manifest = state.manifest
    options = manifest.options
    pbt = options.scheduler in PBT_KINDS
    multi_worker = options.workers_per_trial > 1
    part = f"part_{manifest.parts + 1:03d}"
    decisions: Any = None
    if multi_worker:
        decisions = start_decisions()
        decided_at = rungs(options.scheduler, state.epochs, options.grace, options.reduction)
        worker_plan = MultiWorkerPlan(
            options.workers_per_trial,
            (manifest.folder / part / "train").uri,
            part,
            progress_board,
            decisions,
            frozenset(decided_at),
        )
        trainable = tune.with_parameters(multi_worker_trial, plan=plan, worker_plan=worker_plan)
    else:
        trainable = _trainable(plan, progress_board, (manifest.folder / part).uri, placement.together)
    scheduler = make_scheduler(
        options.scheduler,
        state.scoreboard,
        epochs=state.epochs,
        grace=options.grace,
        factor=options.reduction,
        interval=options.interval,
        space=manifest.space,
        base=manifest.base,
        seed=manifest.base.seed,
        on_exploit=state.exploited,
        on_decision=_decided(state, decisions) if decisions is not None else None,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, placement.resources),
        param_space=_pbt_configs(queue) if pbt else {},
        tune_config=tune.TuneConfig(
            # PBT's schedulers choose values themselves and take no searcher.
            search_alg=None if pbt else Suggestions(queue.next_config),
            scheduler=scheduler,
            num_samples=1 if pbt else queue.trials + 1,
            # Trials that wait for others count as concurrent; what the cluster has limits how many train at a time.
            max_concurrent_trials=None if options.scheduler in PAUSING else placement.concurrent,
            reuse_actors=not multi_worker,
            trial_dirname_creator=_folder_name,
        ),
        run_config=tune.RunConfig(
            name=part,
            **manifest.folder.for_ray(),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=manifest.base.retries),
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=0 if multi_worker else 1, num_to_keep=None if pbt else 2
            ),
            callbacks=[
                Events(
                    state,
                    view.refresh,
                    view.say,
                    placement.resources,
                    _waiting(progress_board) if multi_worker else None,
                )
            ],
        ),
    )
    with losses_counted_once():
        tuner.fit()


def _trainable(plan: TrialPlan, progress_board: Any, folder: str, together: int) -> Any:
    given = {"plan": plan, "progress_board": progress_board, "folder": folder}
    if together == 1:
        return tune.with_parameters(Trial, **given)
    return tune.with_parameters(StackedTrial, **given, hosts=start_hosts(plan, progress_board, together))


def _decided(state: SweepState, decisions: Any) -> OnDecision:
    known: set[tuple[int, int]] = set()

    def decided(number: int, epoch: int, goes_on: bool) -> None:
        # Asked again after a loss: the first decision counts.
        if (number, epoch) in known:
            return
        known.add((number, epoch))
        if not goes_on:
            state.to_end(number, epoch)
        decisions.give.remote(number, epoch, goes_on)

    return decided


def _waiting(progress_board: Any) -> Callable[[], set[int]]:
    return lambda: {number for number, row in rows_of(progress_board).items() if row.phase == WAITING}


def _folder_name(trial: Any) -> str:
    return trial_name(int(trial.config[NUMBER]))


def _pbt_configs(queue: SuggestionQueue) -> dict[str, Any]:
    """Configurations of all trials at once, since PBT exchanges among all of them."""
    configs: dict[int, dict[str, Any]] = {}
    for record in queue.going_on.values():
        start = start_of(record, record.epoch, queue.state.records)
        configs[record.number] = config_of(record.number, record.values, start)
    for number in queue.coming:
        values = queue.values(number)
        queue.state.begin(number, values)
        configs[number] = config_of(number, values)
    return {
        NUMBER: tune.grid_search(sorted(configs)),
        VALUES: tune.sample_from(lambda config: configs[config[NUMBER]][VALUES]),
        START: tune.sample_from(lambda config: configs[config[NUMBER]][START]),
    }
